"""What is in a generation: one line a file, with digest, size, mode and path."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ozrepro.errors import StoreError
from ozrepro.store import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Entry:
    """One file or symlink: path in the environment, sha256 (`-> target` for a symlink), bytes, executable or not."""

    path: str
    digest: str
    size: int
    executable: bool

    def line(self) -> str:
        """Return the entry as its line of the manifest."""
        return json.dumps([self.digest, self.size, int(self.executable), self.path])


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
        state = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        digest = self._known.get(state)
        if digest is None:
            digest = self._known[state] = digest_file(path)
        return digest


def digest_file(path: str | Path) -> str:
    """Return the sha256 of a file's content, in hexadecimal."""
    digest = hashlib.sha256()
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        while block := os.read(descriptor, _BLOCK):
            digest.update(block)
    finally:
        os.close(descriptor)
    return digest.hexdigest()


def _entry(folder: str, path: str, digests: Digests) -> Entry:
    full = f"{folder}/{path}"
    found = os.lstat(full)
    if stat.S_ISLNK(found.st_mode):
        return Entry(path, f"-> {os.readlink(full)}", 0, executable=False)
    if not stat.S_ISREG(found.st_mode):
        raise StoreError("is neither a file nor a link", where=shown(full))
    return Entry(path, digests.of(full, found), found.st_size, bool(found.st_mode & 0o100))


def take(folder: Path, digests: Digests | None = None) -> list[Entry]:
    """Return the entries of all files below `folder`. `digests` are those known already; every file is read without.

    Hashing runs in threads: hashlib releases the interpreter's lock, and a parallel file system answers several at once.
    """
    paths, top, known = walk(folder), str(folder), digests or Digests()
    workers = min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 4)
    if workers == 1:
        return [_entry(top, path, known) for path in paths]
    # By parts, not by files: handing one file to a thread costs more than hashing most of them.
    parts = [paths[start : start + 64] for start in range(0, len(paths), 64)]
    with ThreadPoolExecutor(max_workers=workers) as pool:
        return [entry for part in pool.map(lambda part: [_entry(top, path, known) for path in part], parts) for entry in part]


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
