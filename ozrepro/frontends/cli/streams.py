"""Standard output and standard error that are closed, full, or read by nobody: the work goes on, and its end tells."""

from __future__ import annotations

import errno
import io
import os
import stat
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from ozrepro.errors import OzreproError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from _typeshed import ReadableBuffer


class _Descriptor(io.FileIO):
    """A descriptor that takes whatever is written to it: the first failure is kept, and what comes after is dropped.

    So that what a reader gets has no gap, and no writer, be it argparse, rich or the interpreter's own flush, meets an error.
    """

    failure: OSError | None = None

    def write(self, data: ReadableBuffer, /) -> int:
        """Write bytes, or seem to."""
        if self.failure is None:
            try:
                return super().write(data)
            except OSError as error:
                self.failure = error
        return memoryview(data).nbytes

    @property
    def unread(self) -> bool:
        """Whether the failure is that nobody reads: no descriptor for writing, a pipe's reader or a terminal that has gone."""
        if self.failure is None:
            return False
        if self.failure.errno == errno.EIO:  # of a file, it is the disk that is broken
            return stat.S_ISCHR(os.fstat(self.fileno()).st_mode)
        return self.failure.errno in (errno.EPIPE, errno.EBADF)


@dataclass(frozen=True, slots=True)
class Streams:
    """What became of standard output and standard error, as far as they are descriptors of this process."""

    output: _Descriptor | None
    errors: _Descriptor | None

    def reader_gone(self) -> bool:
        """Say whether the reader of a pipe has gone."""
        _flush()
        failures = (stream.failure for stream in (self.output, self.errors) if stream is not None)
        return any(failure is not None and failure.errno == errno.EPIPE for failure in failures)

    def lost(self) -> OzreproError | None:
        """Return the error of a standard output that somebody reads and that could not be written, such as on a full disk."""
        _flush()
        if self.output is None or self.output.failure is None or self.output.unread:
            return None
        failure = self.output.failure
        hint = "the same command with >FILE where there is room: quota -s, or df -h, shows"
        what = f"cannot be written: {failure.strerror} [errno {failure.errno}], so that not all of it is there"
        return OzreproError(what, where="standard output", hint=hint)


@contextmanager
def standard_streams() -> Iterator[Streams]:
    """Let everything be printed without an error for as long as a `with` lasts, and give what became of it."""
    _open_missing()
    own = sys.stdout, sys.stderr
    output, errors = map(_descriptor, own)
    try:
        sys.stdout, sys.stderr = (
            stream if taken is None else _text(stream, taken)  # type: ignore[arg-type]
            for stream, taken in zip(own, (output, errors), strict=True)
        )
        yield Streams(output, errors)
    finally:
        _flush()
        sys.stdout, sys.stderr = own


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()


def _open_missing() -> None:
    """Open the null device for each standard stream that was closed: else the next file would get its number, and its text."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            number = os.open(os.devnull, os.O_RDWR)  # the lowest that is free
            os.set_inheritable(number, True)
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - open until the end


def _descriptor(stream: TextIO) -> _Descriptor | None:
    """Return the descriptor below a stream, None where it has none: such as text that is kept in memory."""
    raw = getattr(getattr(stream, "buffer", None), "raw", getattr(stream, "buffer", None))
    return _Descriptor(raw.fileno(), "w", closefd=False) if isinstance(raw, io.FileIO) else None


def _text(stream: io.TextIOWrapper, raw: _Descriptor) -> TextIO:
    """Return a stream like the interpreter's own above another descriptor; PYTHONUNBUFFERED leaves out the buffer."""
    unbuffered = isinstance(stream.buffer, io.RawIOBase)
    return io.TextIOWrapper(
        raw if unbuffered else io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
