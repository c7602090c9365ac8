"""The one function that starts processes.

Exceptions, by design: nox's own, pexpect's shell, and the final `exec` of `ozrepro run`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ozrepro.errors import CommandFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

CLEAN_PATH = "/usr/local/bin:/usr/bin:/bin"


def safe_folders(path: str) -> Iterator[str]:
    """Yield the folders of a PATH that a program may be taken from: absolute, and not writable by everybody."""
    for folder in dict.fromkeys(path.split(":")):
        with suppress(OSError):
            if folder.startswith("/") and not os.stat(folder).st_mode & 0o002:
                yield folder


def find_program(name: str, path: str) -> str | None:
    """Return the first program `name` in a PATH, passing over its relative and world-writable folders, or None."""
    candidates = (os.path.join(folder, name) for folder in safe_folders(path))
    return next((item for item in candidates if os.path.isfile(item) and os.access(item, os.X_OK)), None)


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
    Standard output comes back byte for byte (surrogates stand for what is no UTF-8), standard error as readable text.
    When the caller is interrupted, the whole group is killed, so that no installer goes on writing behind an error.
    Raises CommandFailed when the program cannot be started or takes longer than `timeout`.
    """
    try:
        process = subprocess.Popen(
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
    said: list[str] = []
    killer = threading.Timer(timeout or 0, _kill_group, (process.pid,))
    listener = threading.Thread(target=_listen, args=(process, said, on_line), daemon=True)
    try:
        listener.start()
        killer.daemon = True
        if timeout is not None:
            killer.start()
        output = _exchange(process, text)
        status = process.wait()
    except BaseException:
        _kill_group(process.pid)
        process.wait()
        raise
    finally:
        killer.cancel()
        if listener.ident is not None:
            listener.join()
        for stream in (process.stdin, process.stdout, process.stderr):
            assert stream is not None
            stream.close()
    if timeout is not None and status == -signal.SIGKILL:
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


def _kill_group(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
