"""The container method with real Apptainer and a real registry, as an ordinary user: locked by digest, run from one file."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ozrepro.methods.container.apptainer import ORDER_LINE, gpu_here
from ozrepro.methods.reading import load_lock
from tests.fake_cluster.containers import TAG, Containers
from tests.fake_cluster.fixtures import OrdinaryProject
from tests.fake_cluster.ordinary import Account
from tests.fake_cluster.registry import Registry
from tests.faststart import strace
from tests.methods.container.contained import DEFINITION, HUB, SPEC, contained, images, python, started, tmpfs

BARE = f"Bootstrap: docker\nFrom: python:{TAG}\n"
BUILDING = "building the image of sessions/work.def"
_REASON = strace.why_not()


def section_of(project: OrdinaryProject) -> dict[str, object]:
    """Return the content of the only section of the lock."""
    lock = load_lock(project.root, "work")
    assert lock is not None
    (section,) = lock.sections
    return dict(section.content)


def elsewhere(project: OrdinaryProject, name: str = "elsewhere") -> OrdinaryProject:
    """Return the project as on another machine: a store and a cache with nothing in them."""
    folder = project.root.parent / name
    stores = {"OZREPRO_STORE": str(folder / "store"), "OZREPRO_CACHE": str(folder / "cache")}
    return dataclasses.replace(project, environ={**project.environ, **stores})


def forget_builds(account: Account) -> None:
    """End what a killed builder has started, and remove its folder for the time of a build: /tmp is everybody's."""
    account.end_processes()
    for folder in Path("/tmp").glob("ozrepro-*") if account.borrowed else ():
        with contextlib.suppress(FileNotFoundError):  # another's may end at this moment
            if folder.stat().st_uid == account.uid:
                shutil.rmtree(folder)


class TestLocking:
    def test_a_session_is_locked_built_run_and_run_again_without_network(
        self, imaged: OrdinaryProject, hub: Registry, containers: Containers
    ) -> None:
        imaged.done("lock")
        said = imaged.ozrepro("build")
        assert re.search(r"the image has \S+ MiB and is read through (squashfuse|the kernel)\n", said.stderr), said.stderr
        done = imaged.run("nox", "-s", "work", "--", "two words")
        assert done.returncode == 0, done.stderr
        assert done.stdout == "alpha 1.0 two words\n"
        hub.forget()
        assert python(imaged.offline, "import alpha; print(alpha.VERSION)") == "1.0\n"
        again = imaged.offline.run("nox", "-s", "work")
        assert again.stdout == "alpha 1.0\n", again.stderr
        assert hub.asked() == []
        section = section_of(imaged)
        assert section["base"] == [{"bootstrap": "docker", "from": f"docker.io/{HUB}:{TAG}", "digest": containers.index}]
        assert section["tool"] == f"apptainer {containers.version}"
        text = imaged.lock().read_text()
        assert '{ name = "alpha", version = "1.0" }' in text
        assert re.search(r'"python3\.11 3\.11\.2-\S+"', text)
        for word in ("127.0.0.1", str(imaged.home), str(imaged.root), imaged.account.name):
            assert word not in text

    def test_a_moved_tag_is_taken_by_an_upgrade_alone_and_builds_use_the_locked_base(
        self, imaged: OrdinaryProject, hub: Registry, containers: Containers, request: pytest.FixtureRequest
    ) -> None:
        imaged.done("lock")
        moved = hub.change(HUB, TAG)
        request.addfinalizer(lambda: hub.move(HUB, TAG, containers.index))
        assert "unchanged" in imaged.done("lock")
        other = elsewhere(imaged)
        said = other.ozrepro("build")
        assert said.returncode == 0, said.stderr
        assert re.search(r"it has the same \d+ packages as the locked one and \S.*; only its bytes differ", said.stderr)
        look = "import os; print(os.path.exists('/etc/changed'))"
        assert python(other, look) == "False\n"
        imaged.done("lock", "--upgrade")
        assert moved in str(section_of(imaged)["base"])
        assert python(imaged, look) == "True\n"

    def test_another_version_inside_is_refused_with_a_list_until_it_is_accepted(self, contained_built: OrdinaryProject) -> None:
        lock = contained_built.lock()
        text = lock.read_text()
        lock.write_text(
            re.sub(r'(\{ name = "alpha", version = )"1.0"', r'\1"0.9"', text).replace(
                f'"{section_of(contained_built)["sha256"]}"', f'"{"0" * 64}"'
            )
        )
        said = contained_built.ozrepro("build")
        assert said.returncode == 1, said.stderr
        assert "~ alpha 0.9 -> 1.0" in said.stderr
        assert "try: ozrepro lock work --method container --accept" in said.stderr
        took = contained_built.ozrepro("lock", "--method", "container", "--accept")
        assert took.returncode == 0, took.stderr
        assert BUILDING not in took.stderr
        assert lock.read_text() == text
        contained_built.done("build")

    def test_apptainer_packs_by_the_order_in_which_a_start_of_the_imports_opens_files(
        self, ordinary: OrdinaryProject, hub: Registry
    ) -> None:
        project = contained(ordinary, hub)
        # Apptainer ends a build whose %test fails, and does not show the home inside.
        lines = ["%environment", "export MARK=set", "%test", 'grep -n alpha "${OZREPRO_ORDER%.py}" && test "$MARK" = set']
        project.write("sessions/work.def", DEFINITION + "\n".join(lines) + "\n")
        project.done("lock")
        project.done("build")
        image = next(path for path in images(project) if "gens" in path.parts)
        inspected = project.run("apptainer", "inspect", "--test", str(image)).stdout
        assert ORDER_LINE in inspected
        assert str(project.home) not in inspected
        assert python(project, "import alpha; print(alpha.VERSION)") == "1.0\n"
        project.write("sessions/work.def", DEFINITION + "%test\nfalse\n")
        assert project.ozrepro("lock").returncode == 1

    def test_twelve_first_runs_at_once_build_one_image(self, ordinary: OrdinaryProject, hub: Registry) -> None:
        project = contained(ordinary, hub)
        runs = [started(project, "nox", "-s", "work", "--", str(number)) for number in range(12)]
        ends = [run.communicate() for run in runs]
        assert [run.returncode for run in runs] == [0] * 12, ends
        assert sorted(out for out, _ in ends) == sorted(f"alpha 1.0 {number}\n" for number in range(12))
        assert sum(BUILDING in errors for _, errors in ends) == 1


class TestFailures:
    def test_the_failing_line_of_a_definition_is_told_with_its_number_and_log(
        self, ordinary: OrdinaryProject, hub: Registry
    ) -> None:
        project = contained(ordinary, hub)
        project.write(
            "sessions/work.def", f"{BARE}\n%post\n    echo first\n    python3 -c 'import no_such_module'\n    echo after\n"
        )
        said = project.ozrepro("lock")
        assert said.returncode == 1
        assert "sessions/work.def, line 6: %post failed at: python3 -c" in said.stderr, said.stderr
        assert "ModuleNotFoundError: No module named 'no_such_module'" in said.stderr
        project.write("sessions/work.def", f"{BARE}\n%pots\n    true\n")
        said = project.ozrepro("lock")
        assert "while parsing definition: sessions/work.def: invalid section(s) specified: pots" in said.stderr
        assert "/tmp/" not in said.stderr
        assert not project.lock().exists()
        assert images(project) == []

    def test_a_builder_killed_at_any_step_leaves_nothing_that_is_taken_for_an_image(
        self, ordinary: OrdinaryProject, hub: Registry
    ) -> None:
        project = contained(ordinary, hub, APPTAINER_TMPDIR=str(ordinary.root))
        for step in ("fetching", "creating sif", "looking into"):
            with started(project, "ozrepro", "lock") as process:
                assert process.stderr is not None
                assert any(step in line for line in process.stderr), step
                os.killpg(process.pid, signal.SIGKILL)
                forget_builds(project.account)
            assert not project.lock().exists()
            assert not list(project.store().rglob("image.sif"))
        project.done("lock")
        assert python(project, "import alpha; print(alpha.VERSION)") == "1.0\n"

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a tmpfs")
    @pytest.mark.parametrize("what", ["OZREPRO_STORE", "APPTAINER_TMPDIR"])
    def test_a_full_disk_is_told_and_leaves_nothing(self, what: str, ordinary: OrdinaryProject, hub: Registry) -> None:
        with tmpfs(ordinary, "20m") as disk:
            project = contained(ordinary, hub, None, **{what: str(disk)})
            project.write("sessions/work.def", BARE)
            project.spec(SPEC.replace('"alpha"', ""))
            said = project.ozrepro("lock")
            assert said.returncode == 1, said.stderr
            assert "there was no room to build the image" in said.stderr or "No space left" in said.stderr, said.stderr
            assert not project.lock().exists()
            assert not list(disk.rglob("*.sif"))
            subprocess.run(["mount", "-o", "remount,size=400m", str(disk)], check=True)
            project.done("lock")
            assert python(project, "print(1)") == "1\n"


class TestWhereImagesAreBuilt:
    def test_a_job_does_not_build_an_image_and_runs_a_built_one(
        self, contained_built: OrdinaryProject, ordinary: OrdinaryProject
    ) -> None:
        job = {"SLURM_JOB_ID": "12"}
        said = elsewhere(contained_built).ozrepro("build", **job)
        assert said.returncode == 1
        assert "an image is not built in a Slurm job\n  try: on a login node: ozrepro build work" in said.stderr, said.stderr
        assert python(contained_built.offline, "import os; print(os.environ['SLURM_JOB_ID'])", **job) == "12\n"
        contained_built.lock().unlink()
        said = elsewhere(contained_built).ozrepro("lock", **job)
        assert said.returncode == 1
        assert "try: on a login node: ozrepro lock work" in said.stderr, said.stderr

    def test_a_build_of_an_image_without_network_is_not_begun(self, contained_built: OrdinaryProject) -> None:
        said = elsewhere(contained_built).offline.ozrepro("build")
        assert said.returncode == 1
        assert "the registry cannot be reached" in said.stderr
        assert "try: the same command on a login node" in said.stderr
        assert not list((contained_built.root.parent / "elsewhere").rglob("*.sif"))


def changed(image: Path) -> None:
    image.write_bytes(image.read_bytes()[:-1] + b"!")


def cut(image: Path) -> None:
    os.truncate(image, image.stat().st_size // 2)


def closed(image: Path) -> None:
    image.chmod(0)


class TestImageFile:
    def test_its_user_throws_the_store_away_by_rm_alone(self, contained_built: OrdinaryProject) -> None:
        done = contained_built.run("rm", "-rf", str(contained_built.store()))
        assert (done.returncode, done.stderr) == (0, "")
        assert not contained_built.store().exists()

    @pytest.mark.parametrize(
        ("damage", "reason"),
        [
            (changed, "the image was changed or replaced: it has another sha256"),
            (cut, "were built: it was replaced or cut off"),
            (closed, "the image cannot be read: Permission denied"),
        ],
    )
    def test_a_damaged_image_is_told_by_its_name_and_mended_by_a_rebuild(
        self, damage: Callable[[Path], None], reason: str, contained_built: OrdinaryProject
    ) -> None:
        python(contained_built, "print(1)")
        image = contained_built.prefix() / "image.sif"
        damage(image)
        said = contained_built.ozrepro("run", "work", "--", "true")
        assert said.returncode == 1
        assert said.stderr.startswith(f"ozrepro: {image}: ")
        assert said.stderr.endswith(f"{reason}\n  try: ozrepro build work --rebuild\n")
        contained_built.done("build", "work", "--rebuild")
        assert python(contained_built, "print(1)") == "1\n"

    @pytest.mark.parametrize("how", ["gone", "replaced"])
    def test_a_folder_in_which_something_was_put_or_removed_is_built_once_more(
        self, how: str, contained_built: OrdinaryProject
    ) -> None:
        image = contained_built.prefix() / "image.sif"
        copy = contained_built.account.give(Path(shutil.copy2(image, image.with_name("copy"))))
        image.unlink()
        if how == "replaced":
            copy.rename(image)
        said = contained_built.ozrepro("run", "work", "--", "python", "-c", "print(1)")
        assert (said.returncode, said.stdout) == (0, "1\n"), said.stderr
        assert "is in the store, but cannot be used: is not as it was published" in said.stderr
        assert contained_built.prefix() / "image.sif" != image

    def test_verify_finds_changes_of_an_image_that_a_start_cannot_see(self, contained_built: OrdinaryProject) -> None:
        contained_built.done("verify", "work", "--level", "2")
        image = contained_built.prefix() / "image.sif"
        before = image.stat()
        with open(image, "r+b") as stream:
            stream.seek(-1, os.SEEK_END)
            stream.write(b"!")
        os.utime(image, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert python(contained_built, "print(1)") == "1\n"
        said = contained_built.ozrepro("verify", "work")
        assert said.returncode == 1
        assert "image.sif" in said.stderr
        contained_built.done("build", "work", "--rebuild")  # from the cache, whose image is a file of its own
        contained_built.done("verify", "work")

    @pytest.mark.skipif(bool(_REASON), reason=_REASON or "strace works")
    def test_a_start_does_not_open_the_image_nor_does_the_second_after_it_was_touched(
        self, contained_built: OrdinaryProject
    ) -> None:
        python(contained_built, "print(1)")
        assert self._opened(contained_built) == []
        image = contained_built.prefix() / "image.sif"
        os.utime(image)
        assert len(self._opened(contained_built)) == 1, "it is read once to see that it is the same"
        assert self._opened(contained_built) == []

    def _opened(self, project: OrdinaryProject) -> list[str]:
        """Return the calls by which a start opens the image before it becomes Apptainer."""
        log = project.root / "calls"
        words = ("strace", "-o", str(log), "-e", "trace=open,openat,execve", str(project.programs / "ozrepro"))
        done = project.run(*words, "run", "work", "--", "true")
        assert done.returncode == 0, done.stderr
        lines = log.read_text(errors="replace").splitlines()
        # Apptainer starts programs of its own, and opens the image from its first thread in one start of forty: its first call counts.
        started = next(
            number
            for number, line in enumerate(lines)
            if line.startswith("execve") and line.endswith("= 0") and "apptainer" in line
        )
        log.unlink()
        return [line for line in lines[:started] if "image.sif" in line]


ADDING = """import ozrepro


@ozrepro.session
def work(session):
    how = session.posargs[0]
    if how == "install":
        session.install("six")
    elif how == "run_install":
        session.run_install("pip", "install", "six")
    else:
        session.run(*session.posargs)
"""


class TestInstalling:
    def test_an_image_is_never_added_to_and_the_home_stays_empty(self, contained_built: OrdinaryProject) -> None:
        project = contained_built
        project.write("noxfile.py", ADDING)
        for words in (
            ("pip", "install", "six"),
            ("python", "-m", "pip", "install", "--user", "six"),
            ("python3.11", "-m", "pip", "install", "six"),
            ("install",),
            ("run_install",),
        ):
            done = project.run("nox", "-s", "work", "--", *words)
            assert done.returncode == 1
            assert "to %post of the definition, then: ozrepro lock work" in done.stderr, (words, done.stderr)
        for words in (("pip", "install", "six"), ("python", "-m", "pip", "install", "six")):
            done = project.ozrepro("run", "work", "--", *words)
            assert done.returncode == 1
            assert "pip install cannot add to an image: it is read-only" in done.stderr
            assert "ozrepro lock work" in done.stderr
        wheel = project.root / "sessions" / "alpha-1.0-py3-none-any.whl"
        install = f"pip install --user --no-deps --ignore-installed '{wheel}'"
        done = project.ozrepro("run", "work", "--", "sh", "-c", install)
        assert done.returncode != 0
        assert "an-image-is-read-only" in done.stderr
        assert not (project.home / ".local").exists()


ODD = 'it\'s, a "dir": $UNSET `x` \\ new\nline'
ODD_PATH = 'it\'s, a "dir" $UNSET `x` \\ new line'
"""The same without what divides PATH and ends a script's line: such a project is refused."""


class TestRunning:
    def test_names_and_values_with_every_odd_character_arrive_unchanged(self, contained_built: OrdinaryProject) -> None:
        folder = contained_built.root.parent
        shutil.rmtree(contained_built.store())
        root = contained_built.root.rename(folder / ODD_PATH)
        data = folder / 'bound, "data": it\'s $HOME'
        data.mkdir()
        (data / "file").write_text("read\n")
        contained_built.account.give(data)
        odd = dataclasses.replace(contained_built, root=root)
        target = '/mnt/it\'s, a "dir": $UNSET `x`'
        bind = json.dumps(":".join(text.replace(":", "\\:").replace("$", "\\$") for text in (f"../{data.name}", target)) + ":ro")
        odd.spec(f'{SPEC}bind = [{bind}]\npass = ["PASSED"]\n')
        odd.done("lock")
        (root / ODD).mkdir()
        odd.account.give(root / ODD)
        code = (
            "import json, os, sys\n"
            "try:\n    open(sys.argv[1] + '/new', 'w')\nexcept OSError as error:\n    said = error.strerror\n"
            "print(json.dumps([os.getcwd(), sys.argv[2:], os.environ['PASSED'], open(sys.argv[1] + '/file').read(), said]))"
        )
        here = dataclasses.replace(odd, root=root / ODD)
        words = (target, ODD, "", "*")
        found = json.loads(python(here, code, *words, PASSED=ODD))
        assert found == [str(root / ODD), [ODD, "", "*"], ODD, "read\n", "Read-only file system"]
        odd.write(
            "noxfile.py",
            "import ozrepro\n\n\n@ozrepro.session\ndef work(session):\n"
            "    code = 'import os, sys; print(repr([os.environ[\"GIVEN\"], sys.argv[1:]]))'\n"
            "    session.run('python', '-c', code, *session.posargs, env={'GIVEN': session.posargs[0]})\n",
        )
        done = odd.run("nox", "-s", "work", "--", ODD, "*")
        assert done.stdout == repr([ODD, [ODD, "*"]]) + "\n", done.stderr
        # A setting's `$` is the caller's variable, and it has no newlines.
        assert python(odd, "print(1)", OZREPRO_STORE=str(folder / f"store {ODD_PATH}".replace("$", ""))) == "1\n"

    def test_a_program_inherits_what_is_listed_and_nothing_else(self, imaged: OrdinaryProject) -> None:
        imaged.spec(f'{SPEC}pass = ["PASSED"]\n')
        imaged.done("lock")
        kept = {"SLURM_NTASKS": "4", "OMP_NUM_THREADS": "2", "PASSED": "yes", "LC_ALL": "C.UTF-8", "TZ": "Australia/Melbourne"}
        dropped = {
            "PYTHONPATH": "/caller",
            "PYTHONHOME_": "/caller",
            "LD_LIBRARY_PATH": "/caller/lib",
            "LD_PRELOAD": "",
            "LOADEDMODULES": "gcc/11",
            "EBROOTGCC": "/caller/gcc",
            "MODULEPATH": "/caller/modules",
            "APPTAINER_BIND": "/nowhere/at/all",
            "APPTAINER_BINDPATH": "/nowhere/at/all",
            "APPTAINERENV_SECRET": "no",
            "SINGULARITYENV_SECRET": "no",
            "OTHER": "no",
        }
        raw = imaged.done("run", "work", "--", "env", "-0", **kept, **dropped)
        found = dict(entry.partition("=")[::2] for entry in raw.split("\0") if entry)
        assert {name: found.get(name) for name in kept} == kept
        assert found["PYTHONNOUSERSITE"] == "1"
        assert found["HOME"] == str(imaged.home)
        # Apptainer gives every program these two, with what is its own.
        assert set(found) & {*dropped, "SECRET"} <= {"LD_LIBRARY_PATH", "APPTAINER_BIND"}
        assert "caller" not in raw
        assert "nowhere" not in raw
        other = imaged.root.parent / "other home"
        other.mkdir()
        imaged.account.give(other)
        code = "import os, pathlib; (pathlib.Path.home() / 'made').touch(); print(os.environ['HOME'])"
        assert python(imaged, code, HOME=str(other)) == f"{other}\n"
        assert (other / "made").exists()

    def test_status_and_signals_pass_to_and_from_an_image(self, contained_built: OrdinaryProject) -> None:
        assert contained_built.ozrepro("run", "work", "--", "sh", "-c", "exit 42").returncode == 42
        # Waited for and not handled: a handler can come too late.
        code = (
            "import signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, [15]); print('ready', flush=True); "
            "sys.exit(signal.sigwait([15]) == 15 and 7)"
        )
        with started(contained_built, "ozrepro", "run", "work", "--", "python", "-c", code) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 7
        with started(
            contained_built, "ozrepro", "run", "work", "--", "sh", "-c", "echo ready; read answer; exec sleep 600"
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            process.send_signal(signal.SIGKILL)
            assert process.wait(60) == -signal.SIGKILL

    def test_a_launcher_starts_its_program_inside_or_is_refused(self, contained_built: OrdinaryProject) -> None:
        folder = contained_built.root.parent / "slurm"
        folder.mkdir()
        launcher = folder / "srun"
        launcher.write_text('#!/bin/sh\necho launched\nexec "$@"\n')
        launcher.chmod(0o755)
        contained_built.account.give(folder)
        contained_built.write(
            "noxfile.py",
            "import ozrepro\n\n\n@ozrepro.session\ndef work(session):\n"
            "    session.run('srun', *session.inside('python', '-c', 'import alpha; print(alpha.VERSION)'))\n"
            "    session.run('srun', 'python', '-c', 'pass')\n",
        )
        done = contained_built.run("nox", "-s", "work", OZREPRO_PATH=str(folder))
        assert done.returncode == 1
        assert done.stdout == "launched\n1.0\n", done.stderr
        assert 'srun would start its program outside the image\n  try: session.run("srun", …, *session.inside(' in done.stderr

    def test_a_gpu_is_asked_for_where_the_spec_says_so(self, imaged: OrdinaryProject) -> None:
        imaged.done("lock")
        python(imaged, "print(1)")
        assert ("--nv" in _ready(imaged)) == (gpu_here() == "nvidia")
        imaged.spec(f'{SPEC}gpu = "nvidia"\n')
        imaged.done("lock")
        assert python(imaged, "print(1)") == "1\n"
        assert "--nv" in _ready(imaged)

    def test_a_bound_folder_that_is_not_there_is_a_reason_not_to_serve(self, imaged: OrdinaryProject) -> None:
        data = imaged.root.parent / "data"
        data.mkdir()
        imaged.spec(f'{SPEC}bind = ["../data:/data"]\n')
        imaged.done("lock")
        assert python(imaged, "import os; print(os.path.isdir('/data'))") == "True\n"
        data.rmdir()
        said = imaged.ozrepro("build")
        assert said.returncode == 4
        assert f"container: {data}, which bind names, is not here" in said.stderr


def _ready(project: OrdinaryProject) -> list[str]:
    """Return the words in front of a command, of the record that was written last."""
    records = sorted((project.store() / "ready").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    return list(json.loads(records[-1].read_bytes())["environment"]["prefix"])
