"""What is in a generation: one line a file, with digest, size, mode and path."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import stat
from concurrent.futures import ThreadPoolExecutor
from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING, NamedTuple

from ozrepro.errors import StoreError
from ozrepro.store import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from ozrepro.store.states import Noted

_BLOCK = 1 << 20
_FOLDER = 0o755
"""The mode of a published folder, whatever the umask was: with files in folders that he may not write, no owner can `rm -rf`."""

_INSTALLED = re.compile(r"(?:(.+)/)?(?:[^/]+\.dist-info|conda-meta)/[^/]+\Z")
"""A record of an installed package, and the folder that it is about (PEP 376, PEP 627, conda's prefix records)."""


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
    return sorted(path for path, entry in scan(folder) if not entry.is_dir(follow_symlinks=False))


def exposed(folder: Path) -> list[str]:
    """Return the relative paths of `folder` itself and all below it that everybody may write to, sorted."""
    found = ["."] if os.stat(folder).st_mode & 0o002 else []
    found += [path for path, entry in scan(folder) if not entry.is_symlink() and entry.stat().st_mode & 0o002]
    return sorted(found)


def scan(folder: Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield everything below `folder`.

    Errors raise: os.walk swallows them, and a manifest made that way once published an incomplete environment.
    """
    pending = [""]
    while pending:
        inner = pending.pop()
        with os.scandir(folder / inner) as entries:
            for entry in entries:
                path = inner + entry.name
                if entry.is_dir(follow_symlinks=False):
                    pending.append(path + "/")
                yield path, entry


class Digests:
    """Digests taken while an environment is built, so that its checks and its manifest read each file once.

    One counts only as long as the file's inode, size and times are what they were. `roots` are folders in a cache by the name of
    their note, `noted` those whose files are to be noted as they are when the environment is published, `looked` what lstat said
    of its files then, and `clock` the time of the file system just before, in ns; see `states`.
    """

    __slots__ = ("_expected", "_known", "_linked", "clock", "looked", "noted", "roots")

    def __init__(self) -> None:
        self._known: dict[tuple[int, ...], str] = {}
        self._linked: dict[tuple[int, ...], str] = {}
        self._expected: dict[str, str] = {}
        self.roots: dict[str, str] = {}
        self.noted: list[Noted] = []
        self.looked: dict[str, os.stat_result] = {}
        self.clock = 0

    def trust(self, found: os.stat_result, digest: str) -> None:
        """Take the digest of a cached file that is about to be linked, as a link moves a file's time of change; till `settle`."""
        self._linked[_state(found)[:-1]] = digest

    def settle(self) -> None:
        """Take no more files for those that were trusted: all links were made and looked at."""
        self._linked.clear()

    def of(self, path: str, found: os.stat_result) -> str:
        """Return the sha256 of the regular file `path`, in hexadecimal; `found` is what lstat says of it."""
        digest = self.known(found)
        if digest is None:
            digest = self._known[_state(found)] = digest_file(path)
        return digest

    def read(self, path: str) -> str | None:
        """Return the sha256 of what stands at `path`, or None where that is not a regular file. Raises OSError.

        As `of` for a file that is not known yet, with one search for the path instead of two.
        """
        if self._linked and (digest := self.known(os.lstat(path))) is not None:
            return digest
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError as error:
            if error.errno == errno.ELOOP and stat.S_ISLNK(os.lstat(path).st_mode):
                return None
            raise
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                return None
            state = _state(found)
            digest = self._known.get(state)
            if digest is None:
                digest = self._known[state] = _digest(descriptor, found.st_size)
            return digest
        finally:
            os.close(descriptor)

    def known(self, found: os.stat_result) -> str | None:
        """Return the sha256 of the regular file of which lstat says `found`, where it was taken already."""
        state = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        digest = self._known.get(state)
        if digest is None and self._linked and (digest := self._linked.get(state[:-1])) is not None:
            self._known[state] = digest
        return digest

    def moved(self, before: os.stat_result, after: os.stat_result) -> os.stat_result:
        """Return what lstat says of a file after its mode was changed here; its digest is what it was."""
        digest = self.known(before)
        if digest is not None and _state(before)[:-1] == _state(after)[:-1]:
            self._known[_state(after)] = digest
        return after

    def expect(self, files: Mapping[str, str]) -> None:
        """Note what files must have been when the environment is published: sha256 by path, "" where that is not known."""
        self._expected.update(files)

    def unlike(self, folder: Path, entries: Iterable[Entry]) -> list[str]:
        """Return a line for each expected file that is gone from `folder` or another; `entries` are those of its manifest.

        Of a symlink and a folder only that they are there is asked.
        """
        found = {entry.path: entry.digest for entry in entries} if self._expected else {}
        return [
            line
            for path, digest in self._expected.items()
            if found.get(path) != digest and (line := self._differs(f"{folder}/{path}", path, digest))
        ]

    def _differs(self, full: str, path: str, digest: str) -> str | None:
        """Look at one file itself: it may be reached by a folder that is a link, and so not be in the manifest by this path."""
        try:
            found = os.lstat(full)
            if not stat.S_ISREG(found.st_mode) or not digest or self.of(full, found) == digest:
                return None
        except OSError as error:
            return f"{shown(path)}: {error.strerror}"
        return f"{shown(path)}: was changed"


def _state(found: os.stat_result) -> tuple[int, int, int, int, int]:
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def digest_file(path: str | Path) -> str:
    """Return the sha256 of a file's content, in hexadecimal. Raises OSError, also for a pipe or a device."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "is not a regular file", str(path))
        return _digest(descriptor, found.st_size)
    finally:
        os.close(descriptor)


def _digest(descriptor: int, size: int) -> str:
    """Return the sha256 of an open file of `size` bytes; most are read by one call, with no second one for the end."""
    # A byte more than there should be: a file that has grown meanwhile is read on.
    block = os.read(descriptor, min(size + 1, _BLOCK))
    digest, left = hashlib.sha256(block), size - len(block)
    while left and block:
        block = os.read(descriptor, _BLOCK)
        digest.update(block)
        left -= len(block)
    return digest.hexdigest()


def take(folder: Path, digests: Digests | None = None, *, protect: bool = False) -> list[Entry]:
    """Return the entries of all files below `folder`, by path. `digests` are those known already; every file is read without.

    `protect` takes the write permission from all files on the way, as a published environment never changes: to find each by
    its path once more costs as much as the rest.
    """
    known = digests or Digests()
    entries: list[Entry] = []
    unread: list[tuple[str, os.stat_result]] = []
    for path, found in _protected(folder, known) if protect else _found(folder):
        mode = found.st_mode
        if stat.S_ISREG(mode):
            digest = known.known(found)
            if digest is None:
                unread.append((path, found))
            else:
                entries.append(Entry(path, digest, found.st_size, mode & 0o100 != 0))
        elif stat.S_ISLNK(mode):
            entries.append(Entry(path, f"-> {os.readlink(f'{folder}/{path}')}", 0, executable=False))
        elif not stat.S_ISDIR(mode):
            raise StoreError("is neither a file nor a link", where=shown(f"{folder}/{path}"))
    entries += _read(str(folder), unread, known)
    entries.sort()  # by path, which no two have
    return entries


def _found(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    for path, item in scan(folder):
        yield path, item.stat(follow_symlinks=False)


def _protected(folder: Path, digests: Digests) -> Iterator[tuple[str, os.stat_result]]:
    """Yield what `_found` does after taking the write permission; `digests` gets it too where it is to be noted."""
    os.chmod(folder, _FOLDER)
    digests.clock = os.stat(folder).st_ctime_ns
    for path, item in scan(folder):
        found = item.stat(follow_symlinks=False)
        if not stat.S_ISLNK(found.st_mode):
            if _protect(item.path, found.st_mode):
                found = digests.moved(found, os.lstat(item.path))
            if digests.noted:
                digests.looked[path] = found
        yield path, found


def _protect(path: str, mode: int) -> bool:
    """Give a file or folder the mode of a published one; say whether it had another."""
    # The group may read what the owner may: who may enter is said by the mode of the store, not by the umask of a build.
    now = mode & 0o7777
    wanted = _FOLDER if stat.S_ISDIR(mode) else now & 0o555 | (mode & 0o500) >> 3
    if now == wanted:  # a hard link to a cache's file was protected with the environment before
        return False
    os.chmod(path, wanted)
    return True


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


def gates(folder: Path, entries: Iterable[Entry]) -> dict[str, int]:
    """Return the folders into which installers put packages, with their time of change in ns: an installation moves it.

    Folders of a published environment can be written. Those are few, and every start compares them.
    """
    records = (entry.path for entry in entries if ".dist-info/" in entry.path or "conda-meta/" in entry.path)
    matches = map(_INSTALLED.match, records)
    found = dict.fromkeys(match[0].split("/")[0] if match[1] is None else match[1] for match in matches if match)
    return {path: os.lstat(folder / path).st_mtime_ns for path in found}


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
