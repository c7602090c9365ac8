"""The launchers' script: the environment of a run without Python, in each shell that may be `sh`; and the folder that holds it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from ozrepro import environment as rules
from ozrepro.environment import Environment, joined_by
from ozrepro.errors import UsageError
from ozrepro.frontends.activation import OF_THE_SHELL
from ozrepro.frontends.launchers import Launchers, link_launchers
from ozrepro.frontends.launcherscript import CHECK, Programs, launcher_script
from ozrepro.frontends.startscript import Compared, compared, compared_folder
from tests.frontends.test_activation import HOSTILE, variables

JOB = {"HOME": "/home/me", "PATH": "/usr/bin:/bin", "SLURM_JOB_ID": "7", "TZ": "UTC", "MY_DATA": "a b", "PYTHONPATH": "/x"}
SHELLS = [words for words in (("dash",), ("bash", "--posix"), ("busybox", "sh")) if shutil.which(words[0])]

Start = Callable[..., "subprocess.CompletedProcess[bytes]"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give the folder of the launchers, with a space and a quote in its path."""
    made = tmp_path / "it's a folder"
    made.mkdir()
    return made


def write(folder: Path, environment: Environment, files: Iterable[Compared] = (), *, has_pip: bool = False) -> None:
    """Write launchers of an environment whose programs are `env` and `sh`, and of a Python that shows what it gets."""
    programs = Programs(("env", "sh", "odd name's"), "python3", has_pip=has_pip, digest="sha256:1f")
    script = folder / "env"
    script.write_text(launcher_script("work", environment, files, programs, folder), encoding="utf-8")
    script.chmod(0o755)
    for name in ("python", "python3", "sh", "pip", CHECK, "odd name's"):
        os.link(script, folder / name)


@pytest.fixture(params=SHELLS, ids=lambda words: words[0])
def start(request: pytest.FixtureRequest, folder: Path) -> Start:
    """Give what starts a launcher as the kernel does where `/bin/sh` is this shell."""

    def starting(*words: str | bytes, **environ: str) -> subprocess.CompletedProcess[bytes]:
        command = [*request.param, str(folder / os.fsdecode(words[0])), *words[1:]]
        return subprocess.run(command, env=environ or JOB, capture_output=True, check=False, input=b"from stdin\n")

    return starting


ENVIRONMENT = Environment(
    path=("/env/bin",),
    variables={**HOSTILE, "HOSTNAME": "set"},
    following={"CACHE": joined_by("HOME", ("", "/it's/.cache"))},
    removed=("TZ",),
    passed=("MY_DATA", "OLDPWD"),
)


def test_a_program_gets_the_variables_of_a_run(folder: Path, start: Start) -> None:
    write(folder, ENVIRONMENT)
    caller = {
        **JOB,
        "SECRET": "s",
        "ODD": "x\nexport HOME=/evil\nPATH=/evil",
        "IFS": ":",
        "OLDPWD": "/",
        "BASH_FUNC_m%%": "() { :; }",
    }
    done = start("env", "-0", **caller)
    assert done.returncode == 0, done.stderr
    found = variables(done.stdout.decode())
    assert found | {"OLDPWD": "/"} == {name: value for name, value in ENVIRONMENT.variables_for(caller).items() if name != "_"}
    assert b"BASH_FUNC" not in done.stdout


def test_the_same_of_a_job_s_variables_is_kept_as_by_a_run(folder: Path, start: Start) -> None:
    parts = ("HOME", "CUDA_", "SLURM_", "FI_", "MPI", "PATH", "VISIBLE_DEVICES", "PLUGIN", "TASK_PROLOG", "_", "VERSION")
    names = {f"{one}{two}{three}" for one in parts for two in parts for three in ("", "_PLUGIN", "_NUM_THREADS")}
    names |= {*rules.INHERITED, *rules.PLACES, *rules.KEPT_OUT_PREFIXES} - {"LOGNAME", "USER", "PATH"}
    caller = {name: "1" for name in names if name not in OF_THE_SHELL}
    environment = Environment(passed=("XMPI", "PLUGIN*"))
    write(folder, environment)
    assert variables(start("env", "-0", **caller).stdout.decode()) == environment.variables_for(caller)


def test_arguments_input_and_status_pass_as_they_are(folder: Path, start: Start) -> None:
    write(folder, Environment())
    words: list[str | bytes] = ["a  b", "", "$HOME", "x\ny", "'", '"', "\\", "*", "-n", b"\xff\x81\x88\xfe"]
    done = start("sh", "-c", 'cat; printf "%s|" "$@"; exit 42', "sh", *words)
    expected = b"|".join(word if isinstance(word, bytes) else word.encode() for word in words)
    assert (done.stdout, done.returncode) == (b"from stdin\n" + expected + b"|", 42), done.stderr


def test_values_that_are_not_text_pass(folder: Path, start: Start) -> None:
    write(folder, Environment(passed=("MY_DATA",)))
    value = os.fsdecode(bytes(range(1, 256)))
    done = start("env", "-0", **{**JOB, "MY_DATA": value, "GONE": value})
    found = dict(entry.partition(b"=")[::2] for entry in done.stdout.split(b"\0"))
    assert found[b"MY_DATA"] == os.fsencode(value)
    assert b"GONE" not in found


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_stays_closed(folder: Path, tmp_path: Path, closed: str) -> None:
    (tmp_path / "lock").write_text("as locked\n")
    write(folder, Environment(), [compared(tmp_path / "lock")])
    text = (
        f'exec "$1" -c \'readlink /proc/self/fd/0 /proc/self/fd/1 >"$0" 2>/dev/null; ls /proc/self/fd > "$0.fds"\' "$2" {closed}'
    )
    out = tmp_path / "out"
    done = subprocess.run(["bash", "-c", text, "bash", str(folder / "sh"), str(out)], env=JOB, check=False, stdin=-3)
    plain = subprocess.run(["bash", "-c", text, "bash", "/bin/sh", f"{out}2"], env=JOB, check=False, stdin=-3)
    assert done.returncode == plain.returncode
    assert Path(f"{out}.fds").read_text() == Path(f"{out}2.fds").read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_reaches_the_program_itself(folder: Path, number: signal.Signals) -> None:
    write(folder, Environment())
    text = f'trap "echo got; exit 9" {number.name[3:]}; echo $$; while :; do sleep 0.05; done'
    with subprocess.Popen([folder / "sh", "-c", text], env=JOB, stdout=-1, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"{process.pid}\n"
        process.send_signal(number)
        assert process.stdout.readline() == "got\n"
        assert process.wait(20) == 9


class TestWhatIsCompared:
    @pytest.fixture
    def files(self, tmp_path: Path) -> list[Path]:
        paths = [tmp_path / "work.lock", tmp_path / "gcc's module.lua"]
        for path in paths:
            path.write_text("as locked\n")
            os.utime(path, (1, 1))
        return paths

    def test_a_file_that_has_changed_or_gone_stops_a_start(self, folder: Path, start: Start, files: list[Path]) -> None:
        write(folder, Environment(), map(compared, files))
        assert start("sh", "-c", "echo ran").stdout == b"ran\n"
        for path in files:
            for how in (b"has changed", b"was removed"):
                if how == b"has changed":
                    path.write_text("AS LOCKED\n")
                else:
                    path.unlink()
                done = start("sh", "-c", "echo ran")
                assert (done.stdout, done.returncode) == (b"", 3)
                assert os.fsencode(path) + b" " + how + b" since work was built\n  try: ozrepro build work\n" in done.stderr
            path.write_text("as locked\n")
            assert start("sh", "-c", "echo ran").stdout == b"ran\n", "the same content is the same file, whatever its time"

    def test_a_change_that_keeps_size_and_time_is_seen(self, folder: Path, start: Start, files: list[Path]) -> None:
        write(folder, Environment(), map(compared, files))
        files[0].write_text("AS LOCKED\n")
        os.utime(files[0], (1, 1))
        assert start("sh", "-c", "echo ran").returncode == 3

    def test_what_was_written_a_moment_ago_has_a_stamp_that_a_later_change_differs_from(self, tmp_path: Path) -> None:
        """Without one, each start of a launcher that a quick build wrote would read all files: 224 path-taking calls more."""
        for number in range(5):
            path, folder = tmp_path / f"new {number}", tmp_path / f"folder {number}"
            path.write_text("new\n")
            before = compared(path)
            assert (before.stamp.split()[0], before.proof) == ("4", "sha256")
            path.write_text("NEW\n")
            assert compared(path).stamp != before.stamp
            folder.mkdir()
            assert compared_folder(folder).stamp

    def test_a_large_file_is_not_read(self, tmp_path: Path) -> None:
        path = tmp_path / "image"
        path.write_bytes(b"12345")
        os.utime(path, (7, 7))
        assert (compared(path, largest=4).proof, compared(path, largest=4).value) == ("%s %Y", "5 7")

    def test_another_folder_by_the_same_name_stops_a_start(self, folder: Path, tmp_path: Path, start: Start) -> None:
        (tmp_path / "one").mkdir()
        (tmp_path / "name").symlink_to("one")
        write(folder, Environment(), [compared_folder(tmp_path / "name")])
        assert start("sh", "-c", "exit 0").returncode == 0
        (tmp_path / "two").mkdir()
        (tmp_path / "name").unlink()
        (tmp_path / "name").symlink_to("two")
        assert start("sh", "-c", "exit 0").returncode == 3

    def test_what_is_expected_of_the_caller_is_asked(self, folder: Path, start: Start) -> None:
        write(folder, Environment(expected={"SITE_TREE": "2024", "EMPTY": None}))
        assert start("sh", "-c", "exit 0", **JOB, SITE_TREE="2024").returncode == 0
        refused = start("sh", "-c", "exit 0", **JOB, SITE_TREE="2025")
        assert refused.returncode == 3
        assert b"SITE_TREE is 2025, and was 2024 when work was locked" in refused.stderr


class TestNames:
    def test_a_name_starts_the_program_of_its_name_and_python_that_which_is_there(self, folder: Path, tmp_path: Path) -> None:
        (tmp_path / "bin").mkdir()
        for name in ("python3", "odd name's"):
            program = tmp_path / "bin" / name
            program.write_text('#!/bin/sh\nprintf "%s " "${0##*/}" "$@"\n')
            program.chmod(0o755)
        write(folder, Environment(path=(str(tmp_path / "bin"),)))
        for name, said in (("python", "python3 -V "), ("python3", "python3 -V "), ("odd name's", "odd name's -V ")):
            assert subprocess.run([folder / name, "-V"], env=JOB, capture_output=True, text=True).stdout == said

    def test_an_unknown_name_and_a_copy_elsewhere_are_refused(self, folder: Path, tmp_path: Path) -> None:
        write(folder, Environment())
        os.link(folder / "sh", folder / "other")
        done = subprocess.run([folder / "other"], env=JOB, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (2, "ozrepro: other is not a program of work\n  try: ozrepro build work\n")
        copy = tmp_path / "sh"
        shutil.copy(folder / "sh", copy)
        done = subprocess.run([copy, "-c", "echo ran"], env=JOB, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (3, "")
        assert f"{copy} is a copy of {folder}/sh" in done.stderr

    @pytest.mark.parametrize("cwd", ["", "elsewhere"])
    def test_a_link_and_a_relative_path_are_followed(self, folder: Path, tmp_path: Path, cwd: str) -> None:
        write(folder, Environment())
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "elsewhere" / "sh").symlink_to(folder / "sh")
        place = tmp_path / cwd if cwd else folder
        done = subprocess.run(["./sh", "-c", "echo ran"], cwd=place, env=JOB, capture_output=True, text=True)
        assert done.stdout == "ran\n", done.stderr

    def test_pip_explains(self, folder: Path, start: Start) -> None:
        write(folder, Environment())
        for words in (("pip", "install", "six"), ("pip",), ("python", "-m", "pip", "install", "six")):
            done = start(*words)
            assert done.returncode == 1
            assert b"packages cannot be added to a locked environment\n  try: ozrepro add work PKG\n" in done.stderr

    def test_the_check_says_by_its_status_whether_a_start_would_work(self, folder: Path, tmp_path: Path, start: Start) -> None:
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin" / "python3").symlink_to("/bin/true")
        write(folder, Environment(path=(str(tmp_path / "bin"),), base=()))
        assert (start(CHECK).returncode, start(CHECK).stdout) == (0, b"")
        (tmp_path / "bin" / "python3").unlink()
        assert start(CHECK).returncode == 3

    def test_the_check_prints_the_digest_of_what_can_be_started_and_starts_nothing(
        self, folder: Path, tmp_path: Path, start: Start
    ) -> None:
        lock = tmp_path / "work.lock"
        lock.write_text("as locked\n")
        write(folder, Environment(prefix=("/bin/false",)), [compared(lock)])
        assert (start(CHECK, "--digest").stdout, start(CHECK, "--digest").returncode) == (b"sha256:1f\n", 0)
        lock.write_text("AS LOCKED\n")
        assert (start(CHECK, "--digest").stdout, start(CHECK, "--digest").returncode) == (b"", 3)

    def test_the_check_starts_what_a_start_goes_through(self, folder: Path, start: Start) -> None:
        write(folder, Environment(prefix=("/bin/false",)))
        done = start(CHECK)
        assert done.returncode == 4
        assert b"the environment of work cannot be started on this machine" in done.stderr


def test_words_in_front_of_a_program_are_put_there(folder: Path, start: Start) -> None:
    environment = Environment(
        prefix=("/usr/bin/env", "INSIDE=it's $HOME"),
        variables={"APPTAINERENV_PYTHONNOUSERSITE": "1"},
        container_env_prefix="APPTAINERENV_",
    )
    write(folder, environment)
    places = {"TMPDIR": "/usr", "SSL_CERT_FILE": "/no", "JOBFS": "/home/me/x", "XAUTHORITY": "a", "PBS_JOBFS": "/bin"}
    done = start("env", "-0", **JOB, **places)
    found = variables(done.stdout.decode())
    assert found.pop("INSIDE") == "it's $HOME"
    for gpu in ("APPTAINER_NV", "APPTAINER_ROCM"):
        found.pop(gpu, None)
    assert found == environment.variables_for({**JOB, **places})


class TestLinks:
    @pytest.fixture
    def launchers(self, folder: Path) -> Launchers:
        write(folder, Environment())
        return Launchers(folder, ("env", "python", "sh"))

    def test_links_are_made_and_those_that_lead_nowhere_removed(self, launchers: Launchers, tmp_path: Path) -> None:
        target = tmp_path / "some" / "bin"
        link_launchers(launchers, target)
        (target / "mine").write_text("kept\n")
        (target / "old").symlink_to(launchers.folder / "old")
        link_launchers(launchers, target)
        assert sorted(path.name for path in target.iterdir()) == ["env", "mine", "python", "sh"]
        done = subprocess.run([target / "sh", "-c", "echo ran"], env=JOB, capture_output=True, text=True)
        assert done.stdout == "ran\n"

    def test_a_file_of_another_s_is_never_replaced(self, launchers: Launchers, tmp_path: Path) -> None:
        (tmp_path / "python").symlink_to("/usr/bin/python3")
        with pytest.raises(UsageError, match="has files of its own named python"):
            link_launchers(launchers, tmp_path)
        assert os.readlink(tmp_path / "python") == "/usr/bin/python3"
        assert not (tmp_path / "env").exists()

    def test_a_folder_that_everybody_may_write_to_is_refused(self, launchers: Launchers, tmp_path: Path) -> None:
        (tmp_path / "open").mkdir()
        (tmp_path / "open").chmod(0o777)
        with pytest.raises(UsageError, match="can be written by everybody"):
            link_launchers(launchers, tmp_path / "open")
