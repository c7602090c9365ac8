"""What a warm start does and leaves undone: `ozrepro run` and `nox -s` of a locked, built session.

Counts of system calls are exact and repeat; nothing here asserts a time (benchmarks/overhead.py measures those).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import BIN, Project
from tests.faststart import strace
from tests.faststart.spellings import HEAVY, check_spellings
from tests.methods.container.standin import boxed
from tests.sealed import system_path
from tests.wheels import make_wheel

NAME = "tiny"
LIMIT = 290
"""Path-taking calls that `ozrepro run NAME -- true` may make more than the environment's own `python -c pass`.

About 105 of them are of `re`, which the launcher that pip 23 writes imports; the one that uv writes does not.
"""

NOXFILE = '''\
import ozrepro


@ozrepro.session
def tiny(session):
    """Do nothing in the locked environment."""
    session.run("true", external=True)
'''
WRITES = (
    *("chmod", "chown", "creat", "fchmodat", "fchmodat2", "fchownat", "lchown", "link", "linkat", "mkdir", "mkdirat", "mknod"),
    *("mknodat", "removexattr", "rename", "renameat", "renameat2", "rmdir", "setxattr", "symlink", "symlinkat", "truncate"),
    *("unlink", "unlinkat", "utime", "utimensat", "utimes"),
)
"""Calls of strace's class %file that change a file system."""

_REASON = strace.why_not()
needs_strace = pytest.mark.skipif(bool(_REASON), reason=_REASON or "strace works")


def _build(folder: Path, count: int) -> Project:
    """Make a project in a path with a space, with one session of `count` distributions, locked and built by the commands."""
    root, home, wheels = folder / "a project", folder / "home", folder / "wheels"
    for made in (root / "sessions", home):
        made.mkdir(parents=True)
    names = [f"{NAME}{number:02d}" for number in range(count)]
    for number, name in enumerate(names):
        modules = {f"{name}/__init__.py": f"NUMBER = {number}\n", f"{name}/part.py": "", f"{name}/table.txt": "1\n" * number}
        make_wheel(wheels, name, "1.0", requires=tuple(names[:number][-1:]), modules=modules)
    (root / "noxfile.py").write_text(NOXFILE, encoding="utf-8")
    environ = {
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "PATH": f"{BIN}:{system_path()}",
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_FIND_LINKS": str(wheels),
        "PIP_NO_INDEX": "1",
    }
    project = Project(root, environ)
    wanted = ", ".join(f'"{name}"' for name in names)
    project.spec(f'imports = ["{names[0]}"]\n\n[venv]\nrequirements = [{wanted}]\n', NAME)
    project.done("lock", NAME)
    project.done("build", NAME)
    # The first start also writes the bytecode of an ozrepro that was installed without.
    project.done("run", NAME, "--", "true")
    assert project.run("nox", "-s", NAME).returncode == 0
    return project


@pytest.fixture(scope="module")
def forty(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Give a project whose built session has 40 distributions."""
    return _build(tmp_path_factory.mktemp("warm40"), 40)


@pytest.fixture(scope="module")
def five(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Give a project whose built session has 5 distributions, otherwise the same."""
    return _build(tmp_path_factory.mktemp("warm05"), 5)


def _started(*command: str) -> list[str]:
    """Return the words that run a command in the session."""
    return [str(BIN / "ozrepro"), "run", NAME, "--", *command]


def _traced(project: Project, select: str, command: list[str]) -> strace.Traced:
    """Trace a command that must succeed."""
    traced = strace.trace(command, select, cwd=project.root, env=project.environ)
    assert traced.status == 0, traced.output
    assert traced.calls
    return traced


def _store_calls(project: Project, command: list[str]) -> list[str]:
    """Return name and path, inside the store, of each path-taking call on it; what is drawn at random is left out."""
    inside = f"{project.store()}/"
    found: list[str] = []
    for call in _traced(project, "%file", command).calls:
        for path in call.paths[:2]:
            if f"{path}/".startswith(inside):
                parts = path[len(inside) :].split("/")
                found.append("/".join((call.name, *("*" if len(part) > 20 else part for part in parts))))
    return found


@pytest.fixture(scope="module")
def run_calls(forty: Project) -> strace.Traced:
    """Give all calls of a warm `ozrepro run` on files, processes, the network and file locks."""
    return _traced(forty, "%file,%process,%network,flock,fcntl", _started("true"))


@needs_strace
def test_a_warm_start_takes_no_more_path_taking_calls_than_allowed(forty: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """`ozrepro run NAME -- true` makes few more path-taking calls than the environment's Python does by itself."""
    bare = len(_traced(forty, "%file", [str(forty.prefix() / "bin" / "python"), "-c", "pass"]).calls)
    ours = len(_traced(forty, "%file", _started("true")).calls)
    with capsys.disabled():
        print(f"\n  ozrepro run NAME -- true: {ours} path-taking calls, python -c pass: {bare}, more: {ours - bare}")
    assert ours - bare <= LIMIT


def _starts_a_script(path: str) -> bool:
    """Say whether a program is the Python of these scripts: in a folder with a space pip makes them start it through /bin/sh."""
    return os.path.dirname(path) == str(BIN) and os.path.basename(path).startswith("python")


@needs_strace
def test_run_starts_nothing_but_the_command(run_calls: strace.Traced) -> None:
    """One process, from the first call to the last; the only programs are ozrepro and the command, found along PATH."""
    assert run_calls.named("clone", "clone3", "fork", "vfork") == []
    assert len({call.pid for call in run_calls.calls}) == 1
    first, *others = run_calls.named("execve", "execveat")
    assert first.paths[0] == str(BIN / "ozrepro")
    others = [call for call in others if not _starts_a_script(call.paths[0])]
    assert {os.path.basename(call.paths[0]) for call in others} == {"true"}
    assert [call.failed for call in others] == [True] * (len(others) - 1) + [False]


@needs_strace
def test_run_touches_no_network(run_calls: strace.Traced) -> None:
    """Not even a socket is made."""
    assert run_calls.named("bind", "connect", "recvfrom", "sendmsg", "sendto", "socket") == []


@needs_strace
def test_run_writes_nothing(run_calls: strace.Traced) -> None:
    """No file is opened for writing, made, changed or removed, anywhere."""
    assert run_calls.named(*WRITES) == []
    opened = run_calls.named("open", "openat", "openat2")
    assert opened
    assert [call for call in opened if any(word in call.text for word in ("O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC"))] == []


@needs_strace
def test_run_takes_no_lock(run_calls: strace.Traced) -> None:
    """A thousand ranks may start at once; a lock would make them queue, and a Lustre mounted without flock refuse."""
    assert run_calls.named("flock") == []
    assert [call for call in run_calls.named("fcntl") if "LK" in call.text] == []


@needs_strace
def test_run_cost_does_not_grow_with_the_environment(five: Project, forty: Project) -> None:
    """The calls on the store are the same few for 5 and for 40 distributions."""
    few = _store_calls(five, _started("true"))
    assert few
    assert _store_calls(forty, _started("true")) == few


@needs_strace
def test_nox_cost_does_not_grow_with_the_environment(five: Project, forty: Project) -> None:
    """The same holds under nox, whose own files are not counted."""
    command = [str(BIN / "nox"), "-s", NAME]
    few = _store_calls(five, command)
    assert few
    assert _store_calls(forty, command) == few


@needs_strace
def test_nox_starts_no_uv_and_no_connection(forty: Project) -> None:
    """Under nox a locked, built session starts its own command alone.

    nox 2026 asks `uv self version` before each session, whatever its backend is; ozrepro keeps it from that.
    """
    traced = _traced(forty, "%process,%network", [str(BIN / "nox"), "-s", NAME])
    started = [call.paths[0] for call in traced.named("execve", "execveat") if not call.failed]
    assert [os.path.basename(path) for path in started if not _starts_a_script(path)] == ["nox", "true"]
    assert [call for call in traced.named("connect", "sendto", "socket") if "AF_UNIX" not in call.text] == []


def _loaded(words: list[str], project: Project) -> set[str]:
    """Return the modules that a command of Python loads, as `-X importtime` lists them up to the exec."""
    command = [sys.executable, "-X", "importtime", *words]
    done = subprocess.run(command, cwd=project.root, env=project.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip() for line in lines}


def _heavy(words: list[str], project: Project) -> set[str]:
    """Return the heavy modules that a command loads and a bare Python does not (a `.pth` file may load anything)."""
    loaded = _loaded(words, project) - _loaded(["-c", "pass"], project)
    return {name for name in loaded if any(f"{name}.".startswith(f"{heavy}.") for heavy in HEAVY)}


def test_importing_ozrepro_loads_nothing_heavy(forty: Project) -> None:
    """`import ozrepro` loads no nox, rich, packaging, filelock, TOML parser or the like."""
    assert _heavy(["-c", "import ozrepro"], forty) == set()
    assert "nox" in _heavy(["-c", "import ozrepro; ozrepro.session"], forty), "the measure would not see it"


def test_warm_run_loads_nothing_heavy(forty: Project) -> None:
    """A warm `ozrepro run` parses no arguments with argparse and no lock."""
    assert _heavy(_started("true"), forty) == set()
    assert "ozrepro.faststart.ready" in _loaded(_started("true"), forty)


def test_a_start_is_light_however_it_is_spelt(forty: Project) -> None:
    """In the folder of the project or not, and with the method named or not."""
    check_spellings(forty, NAME, "venv")


@pytest.mark.parametrize("environ", [{"OZREPRO_METHOD": "venv"}, {"OZREPRO_METHODS": "conda,venv"}], ids=str)
def test_a_start_is_light_where_a_variable_asks_for_the_method(forty: Project, environ: dict[str, str]) -> None:
    """The first one with this variable leaves a record of its own, which the next one finds."""
    asked = Project(forty.root, {**forty.environ, **environ})
    command = [str(BIN / "ozrepro"), "run", NAME, "--", "true"]
    asked.done(*command[1:])
    assert _heavy(command, asked) == set()


def test_a_start_from_a_folder_below_and_by_the_project_s_variable_is_light(forty: Project) -> None:
    """The nearest folder above with the session is found, and the one that OZREPRO_PROJECT names."""
    command = [str(BIN / "ozrepro"), "run", NAME, "--", "true"]
    below = Project(forty.root / "sessions", forty.environ)
    named = Project(forty.root.parent, {**forty.environ, "OZREPRO_PROJECT": str(forty.root)})
    for project in (below, named):
        project.done(*command[1:])
        assert _heavy(command, project) == set()


def _no_network() -> list[str]:
    """Return the words that run a command without network, or skip the test."""
    for flags in ("-rn", "-n"):
        with_flags = ["unshare", flags]
        try:
            if subprocess.run([*with_flags, "true"], capture_output=True, check=False).returncode == 0:
                return with_flags
        except FileNotFoundError:
            pytest.skip("unshare is not installed")
    pytest.skip("a network namespace is not permitted here")


def test_a_warm_run_works_with_the_network_cut_off(forty: Project) -> None:
    """Where there is not even a loopback address, both ways to start a session work."""
    cut = _no_network()
    code = f"import {NAME}39; print({NAME}39.NUMBER)"
    done = forty.run(*cut, *_started("python", "-c", code))
    assert (done.returncode, done.stdout, done.stderr) == (0, "39\n", "")
    done = forty.run(*cut, str(BIN / "nox"), "-s", NAME)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("status", [0, 1, 3, 7, 127, 255])
def test_the_exit_status_of_a_warm_run_is_the_command_s_own(forty: Project, status: int) -> None:
    """What the command returns is returned, also where ozrepro's own table of exit codes has the same number."""
    done = forty.run(*_started("sh", "-c", f"exit {status}"))
    assert (done.returncode, done.stdout, done.stderr) == (status, "", "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_signals_reach_the_command(forty: Project, number: signal.Signals) -> None:
    """The command takes over the process: the scheduler's signals need nobody to pass them on."""
    code = (
        "import os, signal, sys\n"
        f"signal.signal({number.value}, lambda number, frame: os._exit(100 + number))\n"
        "print(os.getpid(), flush=True)\n"
        "signal.alarm(20)\n"
        "while True:\n    signal.pause()\n"
    )
    command = _started("python", "-c", code)
    with subprocess.Popen(command, cwd=forty.root, env=forty.environ, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"{process.pid}\n"
        process.send_signal(number)
        assert process.wait(20) == 100 + number


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="signal masks are read from /proc")
@pytest.mark.parametrize("ignored", ["HUP", "PIPE"])
def test_a_run_leaves_ignored_signals_as_the_caller_has_them(forty: Project, ignored: str) -> None:
    """Python ignores SIGPIPE for itself: the command must not, and what the caller ignores, as nohup does, stays ignored.

    Where the caller ignores SIGPIPE, the default is restored, as Python's own subprocess does.
    """
    shell = ["sh", "-c", f'trap "" {ignored}; exec "$@"', "sh"]
    grep = ["grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"]
    expected = forty.run(*(shell if ignored != "PIPE" else []), *grep)
    assert expected.stdout.count("Sig") == 2
    assert forty.run(*shell, *_started(*grep)).stdout == expected.stdout


def test_a_run_hands_the_standard_streams_on_untouched(forty: Project) -> None:
    """Nothing is read ahead from standard input, nothing added to the output, and inherited descriptors stay open."""
    script = 'exec 9<&0; "$@" | cat; cat'
    command = ["sh", "-c", script, "sh", *_started("dd", "bs=1", "count=3", "status=none", "if=/dev/fd/9")]
    content = b"abc\0\xffdef\r\n"
    done = subprocess.run(command, cwd=forty.root, env=forty.environ, input=content, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, content, b"")


def test_a_command_run_at_a_terminal_has_the_terminal(forty: Project) -> None:
    """The command sees the caller's terminal on all three streams."""
    ours, theirs = os.openpty()
    try:
        command = _started("sh", "-c", "test -t 0 && test -t 1 && test -t 2")
        done = subprocess.run(
            command, cwd=forty.root, env=forty.environ, stdin=theirs, stdout=theirs, stderr=theirs, check=False, timeout=20
        )
    finally:
        os.close(theirs)
        os.close(ours)
    assert done.returncode == 0


def _hostile(folder: Path) -> dict[str, str]:
    """Return a caller's variables that would change which Python or which packages a program gets."""
    (folder / f"{NAME}00.py").write_text("raise SystemExit('taken from PYTHONPATH')\n", encoding="utf-8")
    (folder / "sitecustomize.py").write_text("print('sitecustomize')\n", encoding="utf-8")
    return {
        "CONDA_PREFIX": str(folder),
        "LD_LIBRARY_PATH": str(folder),
        "LD_PRELOAD": "libm.so.6",
        "PIP_REQUIRE_VIRTUALENV": "1",
        "PYTHONHOME": sys.base_prefix,
        "PYTHONOPTIMIZE": "2",
        "PYTHONPATH": str(folder),
        "PYTHONSTARTUP": str(folder / "sitecustomize.py"),
        "PYTHONUSERBASE": str(folder),
        "PYTHONWARNINGS": "error",
        "UV_PYTHON": "3.8",
        "VIRTUAL_ENV": str(folder),
    }


def test_the_callers_variables_do_not_reach_the_command(forty: Project, tmp_path: Path) -> None:
    """Interpreter, flags, search path and packages are the environment's own, whatever the caller has set."""
    code = (
        f"import os, sys, {NAME}00\n"
        f"print(sys.version, sys.executable, sys.prefix, sys.path, sys.flags, sys.warnoptions, {NAME}00.__file__)\n"
        "print(sorted(os.environ.items()))\n"
    )
    # -I: PYTHONHOME would keep any script of any venv from starting, ozrepro's too, before it could say a word.
    command = [sys.executable, "-I", *_started("python", "-c", code)]
    clean = forty.run(*command)
    assert clean.returncode == 0, clean.stderr
    assert str(forty.prefix()) in clean.stdout
    hostile = forty.run(*command, **_hostile(tmp_path))
    assert (hostile.returncode, hostile.stdout, hostile.stderr) == (0, clean.stdout, clean.stderr)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Give a project with a built image; a stand-in of a shell starts its commands."""
    folder = tmp_path_factory.mktemp("warm image")
    for made in ("home", "a project/sessions"):
        (folder / made).mkdir(parents=True)
    environ = {"HOME": str(folder / "home"), "LANG": "C.UTF-8", "PATH": f"{BIN}:{system_path()}"}
    found = boxed(Project(folder / "a project", environ), more='pass = ["MINE"]\nbind = ["/usr/share:/a \\"b\\",c"]\n')
    found.done("run", "work", "--", "true")
    return found


class TestImage:
    """A locked, built session that is an image: the same few calls, and then the program that runs it."""

    def started(self, *command: str) -> list[str]:
        return [str(BIN / "ozrepro"), "run", "work", "--", *command]

    @needs_strace
    def test_a_start_takes_few_calls_writes_nothing_and_reads_no_image(self, image: Project) -> None:
        traced = _traced(image, "%file,%process,%network,flock", self.started("true"))
        number = next(
            n for n, call in enumerate(traced.calls) if call.name == "execve" and "apptainer" in call.paths[0] and not call.failed
        )
        own = [call for call in traced.calls[:number] if call.paths]
        bare = len(_traced(image, "%file", [sys.executable, "-c", "pass"]).calls)
        assert len(own) - bare <= LIMIT
        assert not [call for call in own if call.name in ("open", "openat") and ".sif" in call.text]
        names = {call.name for call in traced.calls[:number]}
        assert names.isdisjoint({*WRITES, "clone", "clone3", "fork", "vfork", "connect", "socket", "flock"})

    def test_a_start_loads_nothing_heavy(self, image: Project) -> None:
        assert _heavy(self.started("true"), image) == set()
        check_spellings(image, "work", "container")

    def test_the_words_and_the_variables_that_are_passed_arrive_unchanged(self, image: Project) -> None:
        words = ["a b", "$HOME", "c\nd", "\"e'", "", "*"]
        code = 'printf "%s|" "$MINE" "${SECRET-none}" "$APPTAINERENV_PYTHONNOUSERSITE" "$APPTAINER_HOME" "$@"'
        done = image.run(*self.started("sh", "-c", code, "sh", *words), MINE="m $x", SECRET="s", PYTHONPATH="/hostile")
        assert done.stdout == "|".join(("m $x", "none", "1", image.environ["HOME"], *words, ""))
        assert (done.returncode, done.stderr) == (0, "")

    @pytest.mark.parametrize("status", [0, 3, 42, 255])
    def test_the_status_is_the_command_s_own(self, image: Project, status: int) -> None:
        assert image.run(*self.started("sh", "-c", f"exit {status}")).returncode == status

    @pytest.mark.parametrize(
        "words", ["pip install six", "python3 -m pip install --user six", "uv pip install six", "conda install six"]
    )
    def test_installing_is_refused_before_anything_is_started(self, image: Project, words: str) -> None:
        done = image.run(*self.started(*words.split()))
        assert (done.returncode, done.stdout) == (1, "")
        assert "cannot add to an image: it is read-only" in done.stderr
        assert done.stderr.endswith("  try: add the package to %post of the definition, then: ozrepro lock work\n")
        assert not (Path(image.environ["HOME"]) / ".local").exists()

    def test_in_another_environment_pip_is_a_command_like_any_other(self, forty: Project) -> None:
        assert "cannot add to an image" not in forty.run(*_started("pip", "install", "--help")).stderr
