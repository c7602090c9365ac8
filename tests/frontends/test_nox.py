"""`nox` with locked sessions: the real nox, as a process, on real environments."""

from __future__ import annotations

import json

import pytest

from tests.conftest import Project
from tests.methods.container.standin import boxed

NOXFILE = """
import nox
import ozrepro


@ozrepro.session
def work(session):
    \"\"\"Do the work.\"\"\"
    session.run("python", "-c", "import alpha, sys; print('alpha', alpha.VERSION, sys.argv[1:])", *session.posargs)


@ozrepro.session(spec="work", name="twice", tags=["all"], requires=["work"])
@nox.parametrize("number", [1, 2])
def second(session, number):
    session.run("python", "-c", f"print('number', {number})")


@ozrepro.session(spec="work", default=False)
def adds(session):
    session.install("numpy")


@ozrepro.session(spec="work", default=False)
def shows(session):
    session.env["MINE"] = "1"
    session.run("env", external=True)


@ozrepro.session(spec="work", default=False)
def outside(session):
    session.run("only-on-my-path")


@ozrepro.session(spec="work", default=False)
def prepares(session):
    session.run_install("python", "-c", "print('prepared')")
    session.run("python", "-c", "print('ran')")


@ozrepro.session(spec="unbuildable", default=False)
def broken(session):
    session.run("python", "--version")


@nox.session(venv_backend="none", default=False)
def plain(session):
    session.run("true", external=True)
"""


@pytest.fixture
def nox(built: Project) -> Project:
    """Give the built project with a noxfile."""
    (built.root / "noxfile.py").write_text(NOXFILE, encoding="utf-8")
    return built


def test_a_session_runs_in_its_locked_environment_with_its_arguments(nox: Project) -> None:
    done = nox.run("nox", "-s", "work", "--", "a b", "$c")
    assert done.returncode == 0, done.stderr
    assert "alpha 1.0 ['a b', '$c']" in done.stdout


def test_a_session_without_a_lock_is_locked_with_a_message_and_run(small: Project) -> None:
    (small.root / "noxfile.py").write_text(NOXFILE, encoding="utf-8")
    done = small.run("nox", "-s", "work")
    assert done.returncode == 0, done.stderr
    assert "work has no lock yet: resolving venv and writing sessions/work.lock; commit it" in done.stderr
    assert small.lock().exists()


@pytest.mark.parametrize(
    ("variable", "said"), [("CI", "CI is set"), ("SLURM_JOB_ID", "this is a Slurm job"), ("LSB_JOBID", "this is an LSF job")]
)
def test_no_lock_is_made_in_ci_and_in_jobs(small: Project, variable: str, said: str) -> None:
    (small.root / "noxfile.py").write_text(NOXFILE, encoding="utf-8")
    done = small.run("nox", "-s", "work", **{variable: "1"})
    assert done.returncode == 1
    assert said in done.stderr
    assert "ozrepro lock work" in done.stderr
    assert not small.lock().exists()


def test_options_of_nox_apply_to_locked_sessions(nox: Project) -> None:
    done = nox.run("nox", "-t", "all")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["alpha 1.0 []", "number 1", "number 2"]
    assert "twice(number=2)" in done.stderr


def test_listing_shows_the_sessions_as_nox_does(nox: Project) -> None:
    assert "* work -> Do the work." in nox.run("nox", "-l").stdout
    listed = json.loads(nox.run("nox", "-l", "--json").stdout)
    assert [item["session"] for item in listed] == ["work", "twice(number=1)", "twice(number=2)"]
    assert "adds" not in [item["name"] for item in listed]


def test_reuse_install_only_and_no_install_keep_their_meaning(nox: Project) -> None:
    generations = nox.store() / "gens"
    before = sorted(generations.iterdir())
    assert "ran" in nox.run("nox", "-R", "-s", "prepares").stdout
    assert "prepared" not in nox.run("nox", "-R", "-s", "prepares").stdout
    only = nox.run("nox", "--install-only", "-s", "prepares")
    assert "prepared" in only.stdout
    assert "ran" not in only.stdout
    assert "prepared" in nox.run("nox", "-s", "prepares").stdout
    assert sorted(generations.iterdir()) == before
    assert nox.run("nox", "--reuse-venv=never", "-s", "work").returncode == 0
    assert sorted(generations.iterdir()) != before


def test_sessions_run_in_parallel_and_are_in_nox_s_report(nox: Project) -> None:
    done = nox.run("nox", "-j", "2", "--allow-parallel", "-s", "work", "shows", "--report", "report.json")
    if "unrecognized arguments" in done.stderr:
        pytest.skip("this nox has no parallel sessions")
    assert done.returncode == 0, done.stderr
    report = json.loads((nox.root / "report.json").read_text())
    assert {item["name"]: item["result"] for item in report["sessions"]} == {"work": "success", "shows": "success"}


def test_installing_into_a_locked_session_says_how_to_add_the_package(nox: Project) -> None:
    done = nox.run("nox", "-s", "adds")
    assert done.returncode == 1
    assert "session.install cannot add to a locked environment: the lock lacks numpy" in done.stderr
    assert "try: ozrepro add work numpy" in done.stderr
    assert "Traceback" not in done.stderr


def test_installing_what_the_lock_has_passes_with_a_note(nox: Project) -> None:
    (nox.root / "noxfile.py").write_text(
        "import ozrepro\n\n\n@ozrepro.session\ndef work(session):\n    session.install(*session.posargs)\n"
    )
    (nox.root / "more.txt").write_text("alpha\n")
    for words, passes in (
        (("alpha", "Alpha>=1"), True),
        (("-q", "alpha"), True),
        (("alpha", "alpha==99"), False),
        (("-r", "more.txt"), False),
        (("-e", "."), False),
    ):
        done = nox.run("nox", "-s", "work", "--", *words)
        assert (done.returncode == 0) is passes, done.stderr
        note = f"session.install {' '.join(words)}: in the lock of work"
        assert (note in done.stderr) is passes


def test_a_session_that_is_called_as_a_function_says_what_to_write(nox: Project) -> None:
    (nox.root / "noxfile.py").write_text(CALLS)
    for caller in ("plain", "locked"):
        done = nox.run("nox", "-s", caller)
        assert done.returncode == 1
        assert "session 'work' was called as a function, and runs only in an environment of its own" in done.stderr
        assert f'try: requires=["work"] at {caller}, session.notify("work") in it' in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", [("--no-venv",), ("--force-venv-backend", "virtualenv"), ("-fb", "none")])
def test_another_backend_is_refused_with_the_reason(nox: Project, words: tuple[str, ...]) -> None:
    done = nox.run("nox", *words, "-s", "work")
    assert done.returncode == 1
    assert "runs only in its locked environment" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_shell_that_starts_nox_does_not_reach_a_session_s_programs(nox: Project) -> None:
    done = nox.run("nox", "-s", "shows", PYTHONPATH="/hostile", LD_LIBRARY_PATH="/hostile", SECRET="s", SLURM_JOB_ID="5")
    assert done.returncode == 0, done.stderr
    shown = dict(line.partition("=")[::2] for line in done.stdout.splitlines())
    assert "hostile" not in done.stdout
    assert "SECRET" not in shown
    assert shown["SLURM_JOB_ID"] == "5"
    assert shown["MINE"] == "1"
    assert shown["NOX_CURRENT_SESSION"] == "shows"
    assert shown["VIRTUAL_ENV"] == str(nox.prefix())
    assert shown["PYTHONNOUSERSITE"] == "1"
    assert shown["PATH"].split(":")[0] == str(nox.prefix() / "bin")


def test_a_program_of_the_caller_s_path_is_not_found_and_the_remedy_is_told(nox: Project) -> None:
    folder = nox.root / "my bin"
    folder.mkdir()
    program = folder / "only-on-my-path"
    program.write_text("#!/bin/sh\necho leaked\n")
    program.chmod(0o755)
    path = f"{folder}:{nox.environ['PATH']}"
    done = nox.run("nox", "-s", "outside", PATH=path)
    assert done.returncode == 1
    assert "leaked" not in done.stdout
    assert "[tool.ozrepro]" in done.stderr
    (nox.root / "pyproject.toml").write_text(f'[tool.ozrepro]\npath = ["{folder}"]\n')
    assert "leaked" in nox.run("nox", "-s", "outside", PATH=path).stdout


def test_a_failure_of_ozrepro_fails_its_session_and_lets_the_others_go_on(nox: Project) -> None:
    nox.spec('[venv]\npython = "3.10 or so"\n', "unbuildable")
    done = nox.run("nox", "-s", "broken", "work")
    assert done.returncode == 1
    assert "'3.10 or so' is not a version range" in done.stderr
    assert "alpha 1.0" in done.stdout
    assert "Traceback" not in done.stderr


def test_a_session_that_only_names_the_backend_is_refused(nox: Project) -> None:
    (nox.root / "noxfile.py").write_text(
        'import nox, ozrepro.frontends.nox\n\n@nox.session(venv_backend="ozrepro")\ndef work(session):\n    pass\n'
    )
    done = nox.run("nox")
    assert done.returncode == 1
    assert "@ozrepro.session" in done.stderr


def test_an_option_that_the_spec_decides_is_refused(nox: Project) -> None:
    (nox.root / "noxfile.py").write_text("import ozrepro\n\n@ozrepro.session(reuse_venv=False)\ndef work(session):\n    pass\n")
    done = nox.run("nox", "-l")
    assert done.returncode != 0
    assert "takes no reuse_venv" in done.stdout + done.stderr


def test_plain_sessions_of_a_noxfile_stay_nox_s_own(nox: Project) -> None:
    assert nox.run("nox", "-s", "plain").returncode == 0


def test_a_noxfile_is_run_from_another_folder(nox: Project) -> None:
    inner = nox.root / "deep" / "inside"
    inner.mkdir(parents=True)
    done = Project(inner, nox.environ).run("nox", "-f", "../../noxfile.py", "-s", "work")
    assert done.returncode == 0, done.stderr


IN_IMAGE = """
import ozrepro


@ozrepro.session(spec="work")
def shows(session):
    session.env["OF_SESSION"] = "a b"
    session.run("sh", "-c", 'env; echo "$0 $1"', "$HOME", "c  d", env={"OF_CALL": "1", "HOME": "/h"})


@ozrepro.session(spec="work")
def ends(session):
    session.run("sh", "-c", "exit 3", success_codes=[3])
    session.run("no-such-program")


@ozrepro.session(spec="work")
def pip(session):
    session.run(*session.posargs)


@ozrepro.session(spec="work")
def adds(session):
    session.install("six")


@ozrepro.session(spec="work")
def launches(session):
    session.run("srun", "-n", "2", *session.inside("sh", "-c", "echo inside"))


@ozrepro.session(spec="work")
def astray(session):
    session.run("srun", "python", "x.py")


@ozrepro.session(spec="work")
def submits(session):
    session.run("sbatch", "job.sh")
"""

CALLS = """
import nox
import ozrepro


@ozrepro.session
def work(session):
    session.run("true")


@nox.session(venv_backend="none")
def plain(session):
    work(session)


@ozrepro.session(spec="work")
def locked(session):
    work(session)
"""


class TestInAnImage:
    """Sessions of the container method; a stand-in starts the commands, so nothing here depends on what a container does."""

    @pytest.fixture
    def image(self, project: Project) -> Project:
        """Give a project whose session is an image, with a noxfile and a scheduler's programs."""
        found = boxed(project)
        (found.root / "noxfile.py").write_text(IN_IMAGE, encoding="utf-8")
        folder = found.root / "slurm bin"
        folder.mkdir()
        for name in ("srun", "sbatch"):
            (folder / name).write_text(
                f'#!/bin/sh\necho "{name} outside"\n[ "$1" != -n ] || shift 2\n[ {name} = sbatch ] || exec "$@"\n'
            )
            (folder / name).chmod(0o755)
        (found.root / "pyproject.toml").write_text(f'[tool.ozrepro]\npath = ["{folder}"]\n')
        return found

    def test_a_command_is_run_inside_and_logged_as_it_was_written(self, image: Project) -> None:
        done = image.run("nox", "-s", "shows", SECRET="s", PYTHONPATH="/hostile")
        assert done.returncode == 0, done.stderr
        shown = dict(line.partition("=")[::2] for line in done.stdout.splitlines())
        assert shown["APPTAINERENV_OF_CALL"] == "1"
        assert shown["APPTAINERENV_OF_SESSION"] == "a b"
        assert shown["APPTAINERENV_PYTHONNOUSERSITE"] == "1"
        assert shown["HOME"] == "/h", "Apptainer refuses to have it set inside by its own name for it"
        assert shown["APPTAINER_HOME"] == image.environ["HOME"]
        assert "SECRET" not in shown
        assert "APPTAINERENV_PATH" not in shown
        assert "/hostile" not in done.stdout
        assert "APPTAINERENV_APPTAINERENV" not in done.stdout
        assert done.stdout.splitlines()[-1] == "$HOME c  d"
        assert """sh -c 'env; echo "$0 $1"' '$HOME' 'c  d'""" in done.stderr
        assert "--no-eval" not in done.stderr

    def test_the_status_of_a_command_in_an_image_is_its_own_under_nox(self, image: Project) -> None:
        done = image.run("nox", "-s", "ends")
        assert done.returncode == 1
        assert "exit 3" in done.stderr
        assert "no-such-program" in done.stderr

    @pytest.mark.parametrize(
        "words",
        ["pip install six", "pip3.11 install --user six", "python -m pip install six", "uv pip install six", "conda install six"],
    )
    def test_installing_is_refused_with_what_to_do(self, image: Project, words: str) -> None:
        done = image.run("nox", "-s", "pip", "--", *words.split())
        assert done.returncode == 1
        assert "cannot add to an image: it is read-only" in done.stderr
        assert "add the package to %post of the definition, then: ozrepro lock work" in done.stderr
        assert "Traceback" not in done.stderr

    def test_session_install_says_where_the_package_goes(self, image: Project) -> None:
        done = image.run("nox", "-s", "adds")
        assert done.returncode == 1
        assert "the lock lacks six\n  try: add them to %post of the definition, then: ozrepro lock work" in done.stderr

    def test_a_launcher_stays_outside_and_starts_what_is_inside(self, image: Project) -> None:
        done = image.run("nox", "-s", "launches")
        assert (done.returncode, done.stdout) == (0, "srun outside\ninside\n"), done.stderr

    def test_a_launcher_that_would_start_its_program_outside_is_refused(self, image: Project) -> None:
        done = image.run("nox", "-s", "astray")
        assert done.returncode == 1
        assert "srun would start its program outside the image" in done.stderr
        assert 'session.run("srun", …, *session.inside("python", …))' in done.stderr

    def test_a_scheduler_s_program_that_starts_nothing_itself_is_run_outside(self, image: Project) -> None:
        done = image.run("nox", "-s", "submits")
        assert (done.returncode, done.stdout) == (0, "sbatch outside\n"), done.stderr

    def test_the_option_inside_changes_nothing_outside_images(self, nox: Project) -> None:
        (nox.root / "noxfile.py").write_text(
            'import ozrepro\n\n@ozrepro.session\ndef work(session):\n    print(session.inside("srun", "a b"))\n'
        )
        assert nox.run("nox").stdout == "('srun', 'a b')\n"
