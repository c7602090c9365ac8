"""Measures a real file system for the cost model, with fewer than 2,000 operations.

Latencies are measured; how many requests the servers take from everybody cannot be seen from one node without being a burden to
others, so that those numbers stay the assumptions of the quiet preset.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ozrepro.errors import OzreproError
from ozrepro.frontends.bench.lustre.profile import QUIET, Profile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["LIMIT", "calibrate"]

LIMIT = 2000
"""No calibration makes as many operations: a user job of that size is not noticed by a server that takes 100,000 a second."""

_ALONE = 100
"""Files for one thread: the median of as many is steady to a few per cent."""
_TOGETHER = 120
"""More files, for eight threads."""
_MADE = 160
"""Files that are made where there are too few."""
_FOLDERS = 60
"""Folders that are listed at most."""
_STREAM = 64 << 20
_PART = 4 << 20
_SEEN = 60e-6
"""A stat of a file that is quicker than this did not go to a server: the quickest networks take longer."""

_NAMES = ("a first stat", "an open", "a first read", "a close")


@dataclass(frozen=True, slots=True)
class _Acts:
    """Seconds for the first stat of a file, an open, the first read of 4 KiB, and the close."""

    stat: float
    open: float
    read: float
    close: float


def calibrate(folder: Path, say: Callable[[str], None]) -> Profile:
    """Return a profile of the file system that `folder` is on, measured in it; `say` is told each step and doubt.

    Looks at files that are there, best ones that this node has not touched; makes some of its own, and removes them, where
    there are too few. What is written goes into one temporary folder inside. Raises OzreproError when there is nothing to
    measure with.
    """
    if not folder.is_dir():
        raise OzreproError(
            f"cannot measure in {folder}: no such directory", hint="give one on the file system that your environments are on"
        )
    files = list(_files(folder))
    few = len(files) < _ALONE
    try:
        own = tempfile.TemporaryDirectory(prefix=".ozrepro-calibrate-", dir=folder)
    except OSError as error:
        if few:
            raise OzreproError(
                f"{folder} has {len(files)} files, too few to measure with, and nothing can be written there: {error.strerror}",
                hint="give a folder with an environment in it, or one that you may write to",
            ) from error
        say(f"nothing can be written to {folder}: the rate of reading stays an assumption")
        return _measured(folder, files, None, say)
    with own as name:
        try:
            if few:
                say(f"{folder} has {len(files)} files: making {_MADE}. This node has then seen them; another folder shows more")
                files = list(_make(Path(name)))
            stream = _stream(Path(name), say)
        except OSError as error:
            raise OzreproError(f"cannot write {_STREAM >> 20} MiB to {folder}: {error.strerror}") from error
        return _measured(folder, files, stream, say)


def _files(folder: Path) -> Iterator[str]:
    """Yield files below `folder` by their names alone: a look at one would make the client know it."""
    pending, left = [str(folder)], _FOLDERS
    wanted = _ALONE + _TOGETHER
    while pending and left and wanted > 0:
        left -= 1
        with suppress(OSError), os.scandir(pending.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                elif entry.is_file(follow_symlinks=False) and wanted > 0:
                    wanted -= 1
                    yield entry.path


def _make(folder: Path) -> Iterator[str]:
    for number in range(_MADE):
        path = folder / f"file{number}"
        path.write_bytes(b"x" * 4096)
        yield str(path)


def _stream(folder: Path, say: Callable[[str], None]) -> int:
    """Return the bytes a second of reading a file of 64 MiB from the servers."""
    path = folder / "stream"
    block = os.urandom(_PART)  # a file system that compresses would make nothing of zeros
    with open(path, "wb", buffering=0) as written:
        written.writelines(block for _ in range(_STREAM // _PART))
        os.fsync(written.fileno())
        _forget(written.fileno())
    with open(path, "rb", buffering=0) as read:
        began = time.perf_counter()
        while read.read(_PART):
            pass
        rate = _STREAM / (time.perf_counter() - began)
    say(f"reading {_STREAM >> 20} MiB: {rate / 1e6:.0f} MB/s")
    return round(rate)


def _measured(folder: Path, files: list[str], stream: int | None, say: Callable[[str], None]) -> Profile:
    alone, together = files[:_ALONE], files[_ALONE:]
    absent = [_timed(partial(os.path.exists, f"{path}.ozrepro-none")) for path in alone]
    each = [acts for acts in map(_acts, alone) if acts is not None]
    if not each:
        raise OzreproError(
            f"none of the first {_ALONE} files in {folder} can be read", hint="give a folder with files of your own"
        )
    said = {"a missing name": absent, **{name: [getattr(acts, name.split()[-1]) for acts in each] for name in _NAMES}}
    for name, times in said.items():
        say(f"{name}: {statistics.median(times) * 1e6:.0f} µs")
    if statistics.median(acts.stat for acts in each) < _SEEN:
        say("this node knew these files already, or they are on a local disk: a folder that it has not touched tells more")
    began = time.perf_counter()
    with ThreadPoolExecutor(8) as pool:
        done = sum(acts is not None for acts in pool.map(_acts, together))
    if done:
        say(f"eight threads: {4 * done / (time.perf_counter() - began):.0f} operations a second")
    asked = statistics.median([*absent, *(acts.open for acts in each), *(acts.close for acts in each)])
    # A first stat asks both servers. A first read asks the object server twice, for the lock and for the data.
    objects = statistics.median([*(max(0.0, acts.stat - asked) for acts in each), *(acts.read / 2 for acts in each)])
    profile = replace(QUIET, name=folder.resolve().name or "measured", mds_us=round(asked * 1e6), ost_us=round(objects * 1e6))
    return profile if stream is None else replace(profile, ost_stream=max(1, stream))


def _acts(path: str) -> _Acts | None:
    """Return how long what an import does to a file takes, or None if it cannot be read."""
    try:
        looked = _timed(partial(os.stat, path))
        began = time.perf_counter()
        descriptor = os.open(path, os.O_RDONLY)
        opened = time.perf_counter()
    except OSError:
        return None
    try:
        _forget(descriptor)
        read = _timed(partial(os.read, descriptor, 4096))
    finally:
        closed = _timed(partial(os.close, descriptor))
    return _Acts(looked, opened - began, read, closed)


def _forget(descriptor: int) -> None:
    """Ask the kernel to drop what it keeps of a file's content."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def _timed(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began
