"""What is in a generation: one line a file, with digest, size, mode and path."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from json.encoder import encode_basestring_ascii
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from ozrepro.errors import StoreError
from ozrepro.store import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

_BLOCK = 1 << 20
_FOLDER = 0o555
"""The mode of a published folder, whatever the umask was."""


class Entry(NamedTuple):
    """One file or symlink: path in the environment, sha256 (`-> target` for a symlink), bytes, executable or not.

    A named tuple, as an environment has tens of thousands: one takes a third of the time that a frozen dataclass takes.
    """

    path: str
    digest: str
    size: int
    executable: bool

    def line(self) -> str:
        """Return the entry as its line of the manifest: JSON, as json.dumps writes it and in a quarter of its time."""
        digest, path = encode_basestring_ascii(self.digest), encode_basestring_ascii(self.path)
        return f"[{digest}, {self.size}, {int(self.executable)}, {path}]"


def walk(folder: Path) -> list[str]:
    """Return the relative paths of all files and symlinks below `folder`, sorted."""
    return sorted(path for path, entry in _scan(folder) if not entry.is_dir(follow_symlinks=False))


def exposed(folder: Path) -> list[str]:
    """Return the relative paths of `folder` itself and all below it that everybody may write to, sorted."""
    found = ["."] if os.stat(folder).st_mode & 0o002 else []
    found += [path for path, entry in _scan(folder) if not entry.is_symlink() and entry.stat().st_mode & 0o002]
    return sorted(found)


def _scan(folder: Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield everything below `folder`.

    Errors raise: os.walk swallows them, and a manifest made that way once published an incomplete environment.
    """
    pending = [""]
    while pending:
        inner = pending.pop()
        with os.scandir(folder / inner) as entries:
            for entry in entries:
                path = f"{inner}{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    pending.append(f"{path}/")
                yield path, entry


class Digests:
    """Digests taken while an environment is built, so that its checks and its manifest read each file once.

    One counts only as long as the file's inode, size and times are what they were.
    """

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[tuple[int, ...], str] = {}

    def of(self, path: str, found: os.stat_result) -> str:
        """Return the sha256 of the regular file `path`, in hexadecimal; `found` is what lstat says of it."""
        state = _state(found)
        digest = self._known.get(state)
        if digest is None:
            digest = self._known[state] = digest_file(path, found.st_size)
        return digest

    def known(self, found: os.stat_result) -> str | None:
        """Return the sha256 of the regular file of which lstat says `found`, where it was taken already."""
        return self._known.get(_state(found))


def _state(found: os.stat_result) -> tuple[int, ...]:
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def digest_file(path: str | Path, size: int | None = None) -> str:
    """Return the sha256 of a file's content, in hexadecimal. `size`, its bytes where they are known, saves a call for its end."""
    digest = hashlib.sha256()
    done = 0
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        # One byte more is asked for than is left: a file that has grown since is read on.
        while block := os.read(descriptor, _BLOCK if size is None else min(_BLOCK, max(size - done, 0) + 1)):
            digest.update(block)
            done += len(block)
            if done == size:
                break
    finally:
        os.close(descriptor)
    return digest.hexdigest()


def take(folder: Path, digests: Digests | None = None, *, protect: bool = False) -> list[Entry]:
    """Return the entries of all files below `folder`, by path. `digests` are those known already; every file is read without.

    `protect` takes the write permission from all files and folders on the way, as a published environment never changes: to
    find each by its path once more costs as much as the rest.
    """
    known = digests or Digests()
    entries: list[Entry] = []
    unread: list[tuple[str, os.stat_result]] = []
    if protect:
        os.chmod(folder, _FOLDER)
    for path, item in _scan(folder):
        found = item.stat(follow_symlinks=False)
        mode = found.st_mode
        if stat.S_ISLNK(mode):
            entries.append(Entry(path, f"-> {os.readlink(item.path)}", 0, executable=False))
            continue
        if protect:
            _protect(item.path, mode)
        if stat.S_ISREG(mode):
            digest = known.known(found)
            if digest is None:
                unread.append((path, found))
            else:
                entries.append(Entry(path, digest, found.st_size, bool(mode & 0o100)))
        elif not stat.S_ISDIR(mode):
            raise StoreError("is neither a file nor a link", where=shown(item.path))
    return sorted((*entries, *_read(str(folder), unread, known)), key=attrgetter("path"))


def _protect(path: str, mode: int) -> None:
    wanted = _FOLDER if stat.S_ISDIR(mode) else stat.S_IMODE(mode) & 0o555
    if stat.S_IMODE(mode) != wanted:  # a hard link to a cache's file was protected with the environment before
        os.chmod(path, wanted)


def _read(top: str, files: Sequence[tuple[str, os.stat_result]], digests: Digests) -> Iterator[Entry]:
    """Yield the entries of regular files whose digests are not known.

    Hashing runs in threads: hashlib releases the interpreter's lock, and a parallel file system answers several at once.
    """

    def several(part: Sequence[tuple[str, os.stat_result]]) -> list[Entry]:
        return [
            Entry(path, digests.of(f"{top}/{path}", found), found.st_size, bool(found.st_mode & 0o100)) for path, found in part
        ]

    workers = min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 4)
    if workers == 1 or not files:
        yield from several(files)
        return
    # By parts, not by files: handing one file to a thread costs more than hashing most of them.
    parts = [files[start : start + 64] for start in range(0, len(files), 64)]
    with ThreadPoolExecutor(max_workers=workers) as pool:
        for part in pool.map(several, parts):
            yield from part


def to_bytes(entries: Iterable[Entry]) -> bytes:
    """Return the manifest's bytes."""
    return "".join(f"{entry.line()}\n" for entry in entries).encode()


def from_bytes(content: bytes) -> list[Entry]:
    """Return the entries of a manifest. Raises ValueError where it is damaged."""
    return [
        Entry(path, digest, size, bool(executable)) for digest, size, executable, path in map(json.loads, content.splitlines())
    ]


def differences(expected: Iterable[Entry], actual: Iterable[Entry]) -> Iterator[str]:
    """Yield, in words, each difference between what should be there and what is."""
    wanted = {entry.path: entry for entry in expected}
    found = {entry.path: entry for entry in actual}
    for path in sorted(wanted.keys() | found.keys()):
        if path not in found:
            yield f"{shown(path)}: is gone"
        elif path not in wanted:
            yield f"{shown(path)}: was added"
        elif wanted[path].digest != found[path].digest:
            yield f"{shown(path)}: was changed"
        elif wanted[path].executable != found[path].executable:
            yield f"{shown(path)}: its mode was changed"
