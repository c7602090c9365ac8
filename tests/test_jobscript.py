"""A job's script: the environment of a run without Python, refused when what it was made from has changed; in an image by exec."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from ozrepro.activation import MARK, Active
from ozrepro.environment import Environment, joined_by
from ozrepro.jobscript import job_script
from tests.test_activation import HOSTILE, variables

JOB = {"HOME": "/home/me", "PATH": "/usr/bin:/bin", "SLURM_JOB_ID": "7", "TZ": "UTC", "MY_DATA": "a b", "PYTHONPATH": "/x"}


class TestJobScript:
    @pytest.fixture
    def script(self, tmp_path: Path) -> Path:
        lock, module = tmp_path / "work.lock", tmp_path / "gcc's module.lua"
        files = []
        for path in (lock, module):
            path.write_text(f"{path.name}\n")
            files.append((str(path), hashlib.sha256(path.read_bytes()).hexdigest()))
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

    def test_it_gives_the_environment_of_a_run_and_needs_no_python(self, script: Path) -> None:
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

    @pytest.mark.parametrize("caller", [{"SCRATCH": "/s c/$x", "N": "8"}, {"SCRATCH": ""}, {"N": "8", "GONE": "g"}, {}])
    def test_what_follows_the_caller_is_what_a_run_gives(self, tmp_path: Path, caller: dict[str, str]) -> None:
        cases = {
            "CACHE": ((("SCRATCH:",), ("", "SCRATCH", "/it's")), (("SCRATCH",), ("empty",)), ((), ("/tmp",))),
            "SCRATCH": (((), ("now ", "SCRATCH")),),  # the caller's is taken before it is set
            "N": ((("N",), ()), ((), ("1",))),
            "GONE": (((), None),),
            "MAYBE": ((("N",), ("yes",)),),
        }
        entry = ((("SCRATCH",), ("", "SCRATCH", "/bin")), ((), ()))
        environment = Environment(path=("/env", entry), base=("/bin", entry), following=cases, passed=("N", "GONE"))
        path = tmp_path / "job.sh"
        path.write_text(job_script(Active("work", environment), []))
        wanted = {"HOME": "/h", "PATH": "/usr/bin:/bin", **caller}
        done = subprocess.run(["bash", str(path), "/usr/bin/env", "-0"], env=wanted, capture_output=True, check=True)
        assert variables(done.stdout.decode()) == {**environment.variables_for(wanted), MARK: "work"}

    @pytest.mark.parametrize(
        ("caller", "said"),
        [
            ({"ARCH": "a b", "JOB": ""}, ""),
            ({"ARCH": "avx512", "JOB": ""}, "ARCH is avx512, and was 'a b' when work was locked"),
            ({"JOB": ""}, "ARCH is not set, and was 'a b' when"),
            ({"ARCH": "a b"}, "JOB is not set, and was set when"),
            ({"ARCH": "a b", "JOB": "", "NONE": "1"}, "NONE is 1, and was not set when"),
        ],
    )
    def test_it_refuses_a_caller_whose_variables_are_otherwise(self, tmp_path: Path, caller: dict[str, str], said: str) -> None:
        path = tmp_path / "job.sh"
        path.write_text(job_script(Active("work", Environment(expected={"ARCH": "a b", "JOB": True, "NONE": None})), []))
        env = {"PATH": "/usr/bin:/bin", **caller}
        done = subprocess.run(["bash", str(path), "echo", "ran"], env=env, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == ((3, "") if said else (0, "ran\n"))
        assert said in done.stderr

    def test_sourced_it_changes_the_shell(self, script: Path) -> None:
        text = f". '{script}' && echo $PATH $SLURM_JOB_ID ${{PYTHONPATH-none}}"
        done = subprocess.run(["bash", "-c", text], env=JOB, capture_output=True, text=True, check=True)
        assert done.stdout.split()[0].startswith("/env/bin:")
        assert done.stdout.split()[1:] == ["7", "none"]

    @pytest.mark.parametrize("name", ["work.lock", "gcc's module.lua"])
    @pytest.mark.parametrize("damage", ["changed", "gone"])
    def test_it_refuses_and_names_what_has_changed(self, script: Path, name: str, damage: str) -> None:
        path = script.parent / name
        if damage == "gone":
            path.unlink()
        else:
            path.write_text("other\n")
        done = subprocess.run(["bash", str(script), "echo", "ran"], env=JOB, capture_output=True, text=True, check=False)
        assert done.returncode == 3
        assert done.stdout == ""
        assert f"{path} has changed" in done.stderr
        assert "ozrepro activate work --output" in done.stderr
        for flags, ends in (("-c", ("", 3)), ("-ic", ("refused 3\n", 0))):
            words = ["bash", "--norc", "--noprofile", flags, f". '{script}' || echo refused $?"]
            sourced = subprocess.run(words, env=JOB, capture_output=True, text=True, check=False)
            assert (sourced.stdout, sourced.returncode) == ends, "a job's script ends, a prompt stays"


@pytest.mark.parametrize("shell", ["zsh", "sh"])
def test_a_job_s_script_says_that_it_is_for_bash(shell: str, tmp_path: Path) -> None:
    path = tmp_path / "job.sh"
    path.write_text(job_script(Active("work", Environment()), []))
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
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
            inner="APPTAINERENV_",
        )
        path = tmp_path / "job env.sh"
        found = image.stat()
        path.write_text(job_script(Active("work", environment), [], [(str(image), found.st_size, found.st_mtime_ns // 10**9)]))
        return path

    def start(self, script: Path, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["bash", str(script), *words], env=JOB, capture_output=True, text=True, check=False)

    def test_it_runs_the_words_behind_it_inside(self, script: Path) -> None:
        done = self.start(script, "sh", "-c", 'printf "%s|" "$INSIDE" "$APPTAINER_HOME" "$SLURM_JOB_ID" "${PYTHONPATH-none}" "$@"',
                          "sh", "a  b", "$HOME", "")  # fmt: skip
        assert done.stdout == "it's $HOME|/home/me|7|none|a  b|$HOME||", done.stderr

    def test_no_function_of_the_host_reaches_the_image(self, script: Path) -> None:
        text = f"module () {{ :; }}; export -f module; exec bash '{script}' /usr/bin/env"
        done = subprocess.run(["bash", "-c", text], env=JOB, capture_output=True, text=True, check=True)
        assert "INSIDE=it's $HOME" in done.stdout
        assert "BASH_FUNC" not in done.stdout

    def test_the_status_passes(self, script: Path) -> None:
        assert self.start(script, "sh", "-c", "exit 42").returncode == 42

    @pytest.mark.parametrize(("flags", "ends"), [("-c", ("", 3)), ("-ic", ("refused 3\n", 0))])
    def test_sourced_it_says_that_no_shell_enters_an_image(self, script: Path, flags: str, ends: tuple[str, int]) -> None:
        words = ["bash", "--norc", "--noprofile", flags, f". '{script}' || echo refused $?"]
        done = subprocess.run(words, env=JOB, capture_output=True, text=True, check=False)
        assert (done.stdout, done.returncode) == ends
        assert "is an image, which no shell enters by reading a file" in done.stderr
        assert "try: bash " in done.stderr

    def test_without_a_command_it_says_how_it_is_used(self, script: Path) -> None:
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
    def test_it_adds_nothing_to_an_image(self, script: Path, words: tuple[str, ...]) -> None:
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
    def test_other_commands_of_the_same_programs_are_started(self, script: Path, words: tuple[str, ...], tmp_path: Path) -> None:
        program = tmp_path / words[0]
        program.write_text('#!/bin/sh\necho "started $*"\n')
        program.chmod(0o755)
        done = self.start(script, str(program), *words[1:])
        assert done.stdout == f"started {' '.join(words[1:])}\n", done.stderr
