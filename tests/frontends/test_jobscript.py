"""A job's script: the environment of a run without Python, refused when what it was made from has changed; in an image by exec."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from ozrepro import environment as rules
from ozrepro.environment import Environment, joined_by
from ozrepro.frontends import startscript
from ozrepro.frontends.activation import MARK, OF_THE_SHELL, Active
from ozrepro.frontends.jobscript import job_script
from ozrepro.frontends.startscript import compared
from tests.frontends.test_activation import HOSTILE, variables

JOB = {"HOME": "/home/me", "PATH": "/usr/bin:/bin", "SLURM_JOB_ID": "7", "TZ": "UTC", "MY_DATA": "a b", "PYTHONPATH": "/x"}


class TestJobScript:
    @pytest.fixture
    def script(self, tmp_path: Path) -> Path:
        lock, module = tmp_path / "work.lock", tmp_path / "gcc's module.lua"
        files = []
        for path in (lock, module):
            path.write_text(f"{path.name}\n")
            files.append(compared(path))
        environment = Environment(
            path=("/env/bin",),
            variables=HOSTILE,
            following={"CACHE": joined_by("HOME", ("", "/it's/.cache"))},
            removed=("TZ",),
            passed=("MY_DATA",),
        )
        path = tmp_path / "job env.sh"
        path.write_text(job_script(Active("work", environment, limits=("ulimit -c 0",)), files))
        return path

    def test_a_job_script_gives_the_environment_of_a_run_without_python(self, script: Path) -> None:
        wanted = {**JOB, "SECRET": "s", "ODD": "x\ny"}
        done = subprocess.run(["bash", str(script), "/usr/bin/env", "-0"], env=wanted, capture_output=True, check=True)
        found = variables(done.stdout.decode())
        expected = Environment(
            path=("/env/bin",),
            variables=HOSTILE,
            following={"CACHE": joined_by("HOME", ("", "/it's/.cache"))},
            removed=("TZ",),
            passed=("MY_DATA",),
        ).variables_for(wanted)
        assert found == {**expected, MARK: "work"}

    def test_a_job_script_keeps_the_same_of_the_job_s_variables_as_a_run(self, tmp_path: Path) -> None:
        parts = ("HOME", "CUDA_", "SLURM_", "FI_", "MPI", "PATH", "VISIBLE_DEVICES", "PLUGIN", "TASK_PROLOG", "_", "VERSION")
        names = {f"{one}{two}{three}" for one in parts for two in parts for three in ("", "_PLUGIN", "_NUM_THREADS")}
        names |= {*rules.INHERITED, *rules.PLACES, *rules.KEPT_OUT_PREFIXES} - {"LOGNAME", "USER", "PATH"}
        caller = {name: "1" for name in names if name not in OF_THE_SHELL}
        path = tmp_path / "job.sh"
        path.write_text(job_script(Active("work", Environment(passed=("XMPI", "PLUGIN*"))), []))
        done = subprocess.run(["/bin/bash", str(path), "/usr/bin/env", "-0"], env=caller, capture_output=True, check=True)
        expected = Environment(passed=("XMPI", "PLUGIN*")).variables_for(caller)
        assert variables(done.stdout.decode()) == {**expected, MARK: "work"}

    def test_a_sourced_job_script_changes_the_shell(self, script: Path) -> None:
        text = f". '{script}' && echo $PATH $SLURM_JOB_ID ${{PYTHONPATH-none}}"
        done = subprocess.run(["bash", "-c", text], env=JOB, capture_output=True, text=True, check=True)
        assert done.stdout.split()[0].startswith("/env/bin:")
        assert done.stdout.split()[1:] == ["7", "none"]

    @pytest.mark.parametrize("name", ["work.lock", "gcc's module.lua"])
    @pytest.mark.parametrize("damage", ["changed", "gone"])
    def test_a_job_script_refuses_and_names_what_has_changed(self, script: Path, name: str, damage: str) -> None:
        path = script.parent / name
        if damage == "gone":
            path.unlink()
        else:
            path.write_text("other\n")
        done = subprocess.run(["bash", str(script), "echo", "ran"], env=JOB, capture_output=True, text=True, check=False)
        assert done.returncode == 3
        assert done.stdout == ""
        assert f"{path} {'was removed' if damage == 'gone' else 'has changed'} since this script was made" in done.stderr
        assert "ozrepro activate work --output" in done.stderr
        for flags, ends in (("-c", ("", 3)), ("-ic", ("refused 3\n", 0))):
            words = ["bash", "--norc", "--noprofile", flags, f". '{script}' || echo refused $?"]
            sourced = subprocess.run(words, env=JOB, capture_output=True, text=True, check=False)
            assert (sourced.stdout, sourced.returncode) == ends, "a job's script ends, a prompt stays"


@pytest.mark.parametrize(
    "shell",
    ["sh", pytest.param("zsh", marks=pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed"))],
)
def test_a_job_s_script_says_that_it_is_for_bash(shell: str, tmp_path: Path) -> None:
    path = tmp_path / "job.sh"
    path.write_text(job_script(Active("work", Environment()), []))
    done = subprocess.run(
        [shell, "-c", f". '{path}'; echo went on"], env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True
    )
    assert "is written for bash" in done.stderr
    assert "not found" not in done.stderr


class TestInAnImage:
    """The words in front of a command are `env MARK=in`, which shows that they ran; real images are in tests/cli."""

    @pytest.fixture
    def image(self, tmp_path: Path) -> Path:
        path = tmp_path / "it's an image.sif"
        path.write_bytes(b"12345")
        return path

    @pytest.fixture
    def script(self, tmp_path: Path, image: Path) -> Path:
        environment = Environment(
            prefix=("/usr/bin/env", "INSIDE=it's $HOME"),
            variables={"APPTAINERENV_PYTHONNOUSERSITE": "1"},
            following={"APPTAINER_HOME": joined_by("HOME", ("", ""))},
            container_env_prefix="APPTAINERENV_",
        )
        path = tmp_path / "job env.sh"
        path.write_text(job_script(Active("work", environment), [compared(image, largest=1)]))
        return path

    def start(self, script: Path, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["bash", str(script), *words], env=JOB, capture_output=True, text=True, check=False)

    def test_a_job_script_of_an_image_runs_the_words_behind_it_inside(self, script: Path) -> None:
        done = self.start(script, "sh", "-c", 'printf "%s|" "$INSIDE" "$APPTAINER_HOME" "$SLURM_JOB_ID" "${PYTHONPATH-none}" "$@"',
                          "sh", "a  b", "$HOME", "")  # fmt: skip
        assert done.stdout == "it's $HOME|/home/me|7|none|a  b|$HOME||", done.stderr

    @pytest.mark.parametrize(("driver", "name"), [("DRIVER", "APPTAINER_NV"), ("AMD", "APPTAINER_ROCM")])
    def test_the_gpu_s_libraries_are_asked_for_where_there_is_a_driver(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, driver: str, name: str
    ) -> None:
        for other in ("DRIVER", "AMD"):
            monkeypatch.setattr(startscript, other, str(tmp_path if other == driver else tmp_path / "none"))
        path = tmp_path / "job.sh"
        path.write_text(job_script(Active("work", Environment(prefix=("env",), container_env_prefix="APPTAINERENV_")), []))
        assert f"{name}=1\n" in self.start(path, "/usr/bin/env").stdout

    def test_a_place_that_the_job_names_is_seen_inside_or_not_named(self, script: Path) -> None:
        places = {
            "TMPDIR": "/usr",
            "SSL_CERT_FILE": "/no",
            "JOBFS": "/home/me/x",
            "XAUTHORITY": "a",
            "PBS_JOBFS": "/bin",
            "X509_CERT_DIR": "/usr",
        }
        job = {**JOB, **places}
        words = ["bash", str(script), "/usr/bin/env", "-0"]
        done = subprocess.run(words, env=job, capture_output=True, check=True)
        inside = variables(done.stdout.decode())
        environment = Environment(container_env_prefix="APPTAINERENV_").variables_for(job)
        seen = {name for name in rules.PLACES if name in inside}
        assert seen == {name for name in rules.PLACES if name in environment} == {"TMPDIR", "JOBFS", "PBS_JOBFS", "X509_CERT_DIR"}
        assert inside["APPTAINER_BIND"] == environment["APPTAINER_BIND"] == "/usr,/bin"

    def test_no_function_of_the_host_reaches_the_image(self, script: Path) -> None:
        text = f"module () {{ :; }}; export -f module; exec bash '{script}' /usr/bin/env"
        done = subprocess.run(["bash", "-c", text], env=JOB, capture_output=True, text=True, check=True)
        assert "INSIDE=it's $HOME" in done.stdout
        assert "BASH_FUNC" not in done.stdout

    def test_the_status_of_a_program_in_an_image_is_the_job_script_s(self, script: Path) -> None:
        assert self.start(script, "sh", "-c", "exit 42").returncode == 42

    @pytest.mark.parametrize(("flags", "ends"), [("-c", ("", 3)), ("-ic", ("refused 3\n", 0))])
    def test_a_sourced_job_script_of_an_image_says_that_no_shell_enters_it(
        self, script: Path, flags: str, ends: tuple[str, int]
    ) -> None:
        words = ["bash", "--norc", "--noprofile", flags, f". '{script}' || echo refused $?"]
        done = subprocess.run(words, env=JOB, capture_output=True, text=True, check=False)
        assert (done.stdout, done.returncode) == ends
        assert "is an image, which no shell enters by reading a file" in done.stderr
        assert "try: bash " in done.stderr

    def test_a_job_script_of_an_image_without_a_command_says_how_it_is_used(self, script: Path) -> None:
        done = self.start(script)
        assert done.returncode == 2
        assert "no command to run in the image of work" in done.stderr

    def test_an_image_of_another_size_or_time_is_refused_unread(self, script: Path, image: Path) -> None:
        image.write_bytes(b"123456")
        done = self.start(script, "true")
        assert done.returncode == 3
        assert f"{image} has changed" in done.stderr

    @pytest.mark.parametrize(
        "words",
        [
            ("pip", "install", "six"),
            ("/opt/bin/pip3.11", "-q", "install", "six"),
            ("python", "-m", "pip", "install", "--user", "six"),
            ("uv", "pip", "install", "six"),
            ("conda", "update", "--all"),
            ("python3", "-X", "dev", "-I", "-m", "pip", "install", "six"),
            ("uv", "tool", "install", "six"),
            ("conda", "env", "update", "-f", "environment.yml"),
        ],
    )
    def test_a_job_script_refuses_commands_that_would_install_into_an_image(self, script: Path, words: tuple[str, ...]) -> None:
        done = self.start(script, *words)
        assert done.returncode == 1
        assert "an image is read-only" in done.stderr
        assert "ozrepro lock work" in done.stderr

    @pytest.mark.parametrize(
        "words",
        [
            *(("pip", "list"), ("python", "-m"), ("python",), ("pip",), ("python", "x.py", "install"), ("python", "-X")),
            *(
                ("python", "-c", "-m pip install"),
                ("uv", "pip", "list"),
                ("uv", "run", "install"),
                ("uv", "pip", "pip", "install"),
            ),
            *(("python", "-m", "json.tool", "install"), ("pip", "env", "install")),
        ],
    )
    def test_commands_of_installers_that_install_nothing_are_started_in_an_image(
        self, script: Path, words: tuple[str, ...], tmp_path: Path
    ) -> None:
        program = tmp_path / words[0]
        program.write_text('#!/bin/sh\necho "started $*"\n')
        program.chmod(0o755)
        done = self.start(script, str(program), *words[1:])
        assert done.stdout == f"started {' '.join(words[1:])}\n", done.stderr
