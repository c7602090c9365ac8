"""Keeps the record of a run: a file of its own in a folder, or a line at the end of a file. A failure is said, and stops no run.

Many write at once, from many nodes. A file of its own, put in place by its name, needs nothing of the file system but that. Lines
of one file are appended under a lock, where the file system has locks, so that they also hold on NFS, whose clients each know
another end of the file.
"""

from __future__ import annotations

import datetime as dt
import errno
import fcntl
import os
import stat
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ozrepro.pipeline.records.record import RECORD_ID, line_of, time_text
from ozrepro.store.claim import closed_to_others
from ozrepro.store.writing import write_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ozrepro.pipeline.records.record import Record

_PATIENCE = 10.0
"""Seconds that a lock is waited for: each holder writes one line. One that does not give it back must not stop a run."""


class Place(Protocol):
    """Where a record is kept."""

    def begin(self, record: Record) -> None:
        """Keep a run that starts, or see that it can be kept. Raises OSError."""

    def end(self, record: Record) -> None:
        """Keep the run, which has ended. Raises OSError."""


class Folder:
    """A folder with a file for each run, which is there whole from its start, and is replaced at its end."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self, record: Record) -> None:
        """Write the file. Raises OSError."""
        with closed_to_others():
            self.path.mkdir(parents=True, exist_ok=True)
        self.end(record)

    def end(self, record: Record) -> None:
        """Write the file again. Raises OSError."""
        write_whole(self.path / f"{record.id}.json", line_of(record))


class Lines:
    """A file with a line for each run that has ended. It is opened at the start, so that what hinders is known then."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = -1

    def begin(self, record: Record) -> None:
        """Open the file, and make it where it is missing. Raises OSError."""
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        with closed_to_others():
            self._descriptor = os.open(self.path, flags, 0o664)
        if not stat.S_ISREG(os.fstat(self._descriptor).st_mode):
            os.close(self._descriptor)
            raise OSError(errno.EINVAL, "is not a file", str(self.path))

    def end(self, record: Record) -> None:
        """Append the line, whole or not at all. Raises OSError."""
        line = line_of(record)
        try:
            with _locked(self._descriptor) as is_alone:
                size = os.fstat(self._descriptor).st_size
                # What another program has left without its newline would swallow this line.
                if size and os.pread(self._descriptor, 1, size - 1) != b"\n":
                    line = b"\n" + line
                written = os.write(self._descriptor, line)
                if written < len(line):
                    if is_alone:
                        os.ftruncate(self._descriptor, size)
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        finally:
            os.close(self._descriptor)


@contextmanager
def _locked(descriptor: int) -> Iterator[bool]:
    """Hold the file's lock; yield False where the file system has no locks, or another process keeps it too long."""
    deadline = time.monotonic() + _PATIENCE
    is_held = False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_held = True
        except BlockingIOError:
            if time.monotonic() < deadline:
                time.sleep(0.01)
                continue
        except OSError:
            pass  # Lustre without -o flock: there one append is whole across its clients
        break
    try:
        yield is_held
    finally:
        if is_held:
            with suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_UN)


def place_of(path: str) -> Place:
    """Return where `--record` keeps a record: a folder, which is there or is named with a slash at its end, else a file."""
    return Folder(Path(path)) if path.endswith("/") or os.path.isdir(path) else Lines(Path(path))


class Recording:
    """A run that is being recorded.

    Attributes:
        id: the record's.
        variables: what its programs are started with besides, so that their results can name the record.

    """

    def __init__(self, record: Record, place: Place, say: Callable[[str], None]) -> None:
        self.id = record.id
        self.variables = {RECORD_ID: record.id}
        self._record, self._place, self._say = record, place, say

    def end(self, status: int | None, signal: str = "") -> None:
        """Note the end of the run.

        Args:
            status: the exit status as a shell has it, 0 to 255; None for a run that did nothing, as a session that nox skips.
            signal: the name of the signal that ended it.

        """
        now = time_text(dt.datetime.now(dt.timezone.utc))
        try:
            self._place.end(replace(self._record, end=now, status=status, signal=signal))
        except OSError as error:
            self._say(f"the end of this run is not recorded: {_reason(error)}")


def begin(record: Record, place: Place, say: Callable[[str], None]) -> Recording | None:
    """Return the run that is recorded from now on, None where that cannot be, which is said."""
    try:
        place.begin(record)
    except OSError as error:
        say(f"this run is not recorded: {_reason(error)}")
        return None
    return Recording(record, place, say)


def _reason(error: OSError) -> str:
    path = error.filename2 or error.filename
    return f"{os.fsdecode(path)}: {error.strerror or error}" if isinstance(path, (str, bytes)) else str(error.strerror or error)
