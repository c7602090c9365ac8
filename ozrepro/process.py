"""The one function that starts processes, and the two ways to deal with one: to its end, and as a companion that answers.

Exceptions, by design: nox's own, pexpect's shell, the final `exec` of `ozrepro run` or of its child that is recorded, and what
the benchmark's launcher starts: a program of its own, so that a measured process does not inherit this one's memory.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ozrepro.errors import CommandFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence


class Ended(KeyboardInterrupt):
    """A signal that ends a process, such as the end of a job or of a terminal; `status` is what a shell makes of it."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.status = 128 + number


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Have SIGTERM and SIGHUP raise Ended, as Ctrl-C raises KeyboardInterrupt, so that what is half made is removed.

    A signal that somebody handles already, or that is ignored as by nohup, stays so; and all do outside of the main thread.
    """

    def end(number: int, _frame: object) -> None:
        for each in before:  # the first one has begun to remove things
            signal.signal(each, signal.SIG_IGN)
        raise Ended(number)

    numbers = (signal.SIGTERM, signal.SIGHUP) if threading.current_thread() is threading.main_thread() else ()
    before = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]
    for number in before:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in before:
            signal.signal(number, signal.SIG_DFL)


def end_with(parent: int, number: signal.Signals = signal.SIGTERM) -> None:
    """Have a signal come to this process when the one that started it ends, however that ended (PR_SET_PDEATHSIG of prctl(2)).

    To be called once all rights are given up, and by a process that it ends: Ended is raised where `parent` is gone already.
    """
    import ctypes

    ctypes.CDLL(None).prctl(_PDEATHSIG, number, 0, 0, 0)
    if os.getppid() != parent:
        raise Ended(number)


_PDEATHSIG = 1  # linux/prctl.h
CLEAN_PATH = "/usr/local/bin:/usr/bin:/bin"


def safe_folders(path: str) -> Iterator[str]:
    """Yield the folders of a PATH that a program may be taken from: absolute, and not writable by everybody."""
    for folder in dict.fromkeys(path.split(":")):
        with suppress(OSError):
            if folder.startswith("/") and not os.stat(folder).st_mode & 0o002:
                yield folder


def find_program(name: str, path: str, *, outside: str = "") -> str | None:
    """Return the first program `name` in a PATH, or None.

    Its relative and world-writable folders are passed over, and what lies in the folder `outside`, links resolved.
    """
    candidates = (os.path.join(folder, name) for folder in safe_folders(path))
    programs = (item for item in candidates if os.path.isfile(item) and os.access(item, os.X_OK))
    return next((item for item in programs if not (outside and is_inside(item, outside))), None)


def is_inside(path: str | os.PathLike[str], folder: str | os.PathLike[str]) -> bool:
    """Say whether a path, its links resolved, is a folder or lies below it.

    Folders are compared by their inodes: a cluster shows one file system under several paths.
    """
    real = os.path.realpath(path)
    while True:
        with suppress(OSError):
            if os.path.samefile(real, folder):
                return True
        above = os.path.dirname(real)
        if above == real:
            return False
        real = above


@dataclass(frozen=True, slots=True)
class Finished:
    """A process that has ended: its words, exit status (negative: the signal), and what it printed."""

    argv: tuple[str, ...]
    status: int
    output: str
    errors: str

    def checked(self, doing: str, *, hint: str = "") -> Finished:
        """Return self, or raise CommandFailed saying what was being done and the end of what the program said."""
        if self.status == 0:
            return self
        said = (self.errors.strip() or self.output.strip()).splitlines()[-12:]
        how = f"signal {-self.status}" if self.status < 0 else f"status {self.status}"
        name = os.path.basename(self.argv[0])
        raise CommandFailed("\n    ".join((f"{doing}: {name} ended with {how}", *said)), hint=hint)


def start(argv: Sequence[str], *, env: Mapping[str, str], cwd: str | os.PathLike[str] | None = None) -> subprocess.Popen[bytes]:
    """Start a program with pipes to it, in a process group of its own. `env` is the whole environment.

    Raises CommandFailed when it cannot be started.
    """
    try:
        return subprocess.Popen(
            list(argv),
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise CommandFailed(f"cannot start {argv[0]}: {error.strerror or error}") from error


def run(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: str | os.PathLike[str] | None = None,
    text: str = "",
    timeout: float | None = None,
    on_line: Callable[[str], None] | None = None,
) -> Finished:
    """Run a program to its end, in a process group of its own, and return what it printed.

    `argv[0]` should be an absolute path: PATH is only searched as `env` gives it. `env` is the whole environment. `text` goes to
    its standard input. `timeout` is in seconds. `on_line` is called with each line of its standard error as it comes.
    Standard output comes back byte for byte (surrogates stand for what is not UTF-8), standard error as readable text.
    When the caller is interrupted, or after `timeout`, the whole group is ended, so that no installer goes on writing behind an
    error: asked first, then killed. Raises CommandFailed when the program cannot be started or takes longer than `timeout`.
    """
    process = start(argv, env=env, cwd=cwd)
    said: list[str] = []
    late = threading.Event()

    def end_late() -> None:
        late.set()
        _end_group(process)

    killer = threading.Timer(timeout or 0, end_late)
    listener = threading.Thread(target=_listen, args=(process, said, on_line), daemon=True)
    try:
        listener.start()
        killer.daemon = True
        if timeout is not None:
            killer.start()
        output = _exchange(process, text)
        status = process.wait()
    except BaseException:
        _end_group(process)
        process.wait()
        raise
    finally:
        killer.cancel()
        if killer.ident is not None:
            killer.join()
        if listener.ident is not None:
            listener.join()
        for stream in (process.stdin, process.stdout, process.stderr):
            assert stream is not None
            stream.close()
    if late.is_set():
        raise CommandFailed(f"{os.path.basename(argv[0])} was killed: it took longer than {timeout:g} s")
    return Finished(tuple(argv), status, output, "".join(said))


def _listen(process: subprocess.Popen[bytes], said: list[str], on_line: Callable[[str], None] | None) -> None:
    assert process.stderr is not None
    for raw in process.stderr:
        line = raw.decode("utf-8", "replace")
        said.append(line)
        if on_line is not None:
            on_line(line.rstrip("\n"))


def _exchange(process: subprocess.Popen[bytes], text: str) -> str:
    assert process.stdin is not None
    assert process.stdout is not None
    with suppress(BrokenPipeError):  # it ended without reading; its status tells
        process.stdin.write(text.encode("utf-8", "surrogateescape"))
        process.stdin.close()
    return process.stdout.read().decode("utf-8", "surrogateescape")


def _end_group(process: subprocess.Popen[bytes], patience: float = 2.0) -> None:
    """End a program with its whole group: asked first, killed after `patience` seconds.

    A container that is killed at once leaves the mount of its image behind, and the program that serves it.
    """
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    deadline = time.monotonic() + patience
    try:
        while time.monotonic() < deadline and _is_there(process):
            time.sleep(0.01)
    finally:  # a second Ctrl-C ends the patience, not the killing
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


class NoAnswer(CommandFailed):
    """A companion runs, and has not answered in time."""


class Companion:
    """A program that stays, and answers each line that it is sent with one line. It is ended with all that it started.

    Or it is left behind: one that has gone into the background by itself.

    Its standard error must stay short: it is read only when the program has ended.
    """

    def __init__(self, argv: Sequence[str], *, env: Mapping[str, str], cwd: str | os.PathLike[str] | None = None) -> None:
        self._name = os.path.basename(argv[0])
        self._process = start(argv, env=env, cwd=cwd)
        self._rest = b""

    @property
    def pid(self) -> int:
        """The number of its process."""
        return self._process.pid

    def __enter__(self) -> Companion:  # noqa: PYI034 - Self is of Python 3.11
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, line: bytes, timeout: float | None = None) -> bytes:
        """Return the answer to a line, both without their newline.

        Raises NoAnswer when none comes within `timeout` seconds, another CommandFailed when it has ended.
        """
        self.send(line)
        return self._read(None if timeout is None else time.monotonic() + timeout, timeout)

    def send(self, line: bytes) -> None:
        """Send it a line."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended: the reading says so
            self._process.stdin.write(line + b"\n")
            self._process.stdin.flush()

    def hear(self, timeout: float) -> bytes:
        """Return the next line that it says by itself. Raises as `ask`."""
        return self._read(time.monotonic() + timeout, timeout)

    def leave(self) -> None:
        """Leave it behind, running in the background."""
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert stream is not None
            with suppress(BrokenPipeError):
                stream.close()

    def _read(self, deadline: float | None, timeout: float | None) -> bytes:
        assert self._process.stdout is not None
        source = self._process.stdout.fileno()
        poll = select.poll()
        poll.register(source, select.POLLIN)
        parts = [self._rest]
        while b"\n" not in parts[-1]:
            left = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
            if not poll.poll(left):
                raise NoAnswer(f"{self._name} gave no answer within {timeout:g} s")
            parts.append(os.read(source, 1 << 20))
            if not parts[-1]:
                raise CommandFailed(f"{self._name} ended without an answer: {self._last_words()}")
        answer, _, self._rest = b"".join(parts).partition(b"\n")
        return answer

    def _last_words(self) -> str:
        assert self._process.stderr is not None
        status = self._process.wait()
        said = self._process.stderr.read().decode("utf-8", "replace").strip()
        return said.splitlines()[-1] if said else f"status {status}"

    def close(self, patience: float = 2.0) -> None:
        """End it and all that it started: asked first, killed after `patience` seconds."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        _end_group(self._process, patience)
        self._process.wait()
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()


def _is_there(process: subprocess.Popen[bytes]) -> bool:
    """Say whether the process or one of its group still runs."""
    process.poll()  # a leader that has ended and is not waited for would count
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    return True
