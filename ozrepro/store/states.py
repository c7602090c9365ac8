"""What the cache's files were when their contents were last compared: one that is still so is linked without being read again.

A note has inode, size and both times of each file of an archive, as they were after an environment was built from it. Nobody can
set a file's time of change (ctime), and no content changes without moving it. A link moves it too, so the note is written again
after each build: from the look before a file is linked to the look after it, its inode, size and time of modification stand for
it. A file that a clean-up or another build has touched since is read, which is never wrong, only slower.
"""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from ozrepro.store.manifest import Digests

FOLDER = "states"
"""The folder of the notes, beside the caches of the installers; a note has the name of its archive's digest."""

_FORM = b"1\n"
"""Counted in a note's digest: notes written in another way are not read."""

GRANULE = 20_000_000
_SECOND = 1_000_000_000
"""Nanoseconds in which a second change may leave a time as it is: a clock tick of the kernel, or where only seconds are kept."""


class Noted(NamedTuple):
    """What was unpacked or made in the cache: its note, its folder, and its files by their path in the environment."""

    note: Path
    root: str
    files: Mapping[str, str]


def recall_all(notes: Iterable[Path], digests: Digests, device: int) -> None:
    """Tell `digests` of several archives; see `recall`."""
    for note in notes:
        recall(note, digests, device)


def recall(note: Path, digests: Digests, device: int) -> None:
    """Tell `digests` where an archive is unpacked, and of its files that are as they were noted.

    `device` is that of the environment: from another one nothing is linked, and nothing is looked at.
    """
    try:
        content = note.read_bytes()
        root, *rows = content[65:].decode("utf-8", "surrogateescape").split("\n")[:-1]
        root = os.path.normpath(note.parent / root)
        if content[:64] != _digest(content[65:], note) or os.stat(root).st_dev != device:
            return
    except (OSError, ValueError):
        return
    digests.roots[note.name] = root
    for row in rows:
        state, sha256, path = row.split("\t", 2)
        with suppress(OSError):
            found = os.lstat(f"{root}/{path}")
            if _words(found) == state:
                digests.trust(found, sha256)


def _digest(content: bytes, note: Path) -> bytes:
    return hashlib.sha256(_FORM + os.fsencode(note.name) + b"\n" + content).hexdigest().encode()


def write_all(digests: Digests) -> None:
    """Note what the files of archives were as they were published; in a cache that cannot be written to nothing is noted.

    What was changed so shortly before it was looked at that a second change would leave no trace is looked at once more, a tick
    later.
    """
    now = clock = digests.clock
    times = [found.st_ctime_ns for found in digests.looked.values()]
    late = [changed for changed in times if changed + GRANULE > clock and changed % _SECOND]
    for archive in digests.noted:
        with suppress(OSError):
            archive.note.parent.mkdir(mode=0o755, exist_ok=True)
            if late:
                now, late = _wait(archive.note, max(late) + GRANULE), []
            _write(archive, digests, clock, now)


def _is_past(found: os.stat_result, clock: int) -> bool:
    """Say whether a change at this time or later would give a file another time than it has."""
    return found.st_ctime_ns + (GRANULE if found.st_ctime_ns % _SECOND else 2 * _SECOND) <= clock


def _wait(note: Path, until: int) -> int:
    """Wait for this time of the file system, two ticks at most, and return it. Raises OSError."""
    aside = _aside(note)
    begun = time.monotonic()
    try:
        with open(aside, "xb") as stream:
            while (now := os.fstat(stream.fileno()).st_ctime_ns) < until and time.monotonic() - begun < 2e-9 * GRANULE:
                time.sleep(2e-3)
                os.utime(stream.fileno())
        return now
    finally:
        os.unlink(aside)


def _aside(note: Path) -> Path:
    return note.with_name(f".{note.name[:32]}.{os.urandom(4).hex()}")


def _write(archive: Noted, digests: Digests, clock: int, now: int) -> None:
    note, rows, looked = archive.note, [], digests.looked
    for there, path in archive.files.items():
        found = looked.get(there)
        if found is None or found.st_nlink < 2 or "\n" in path:
            continue
        sha256 = digests.known(found)
        if sha256 is not None:
            state = _words(found)
            if _is_past(found, clock) or (_is_past(found, now) and _is_still(f"{archive.root}/{path}", state)):
                rows.append(f"{state}\t{sha256}\t{path}\n")
    if rows:
        root = os.path.relpath(archive.root, note.parent)
        content = f"{root}\n{''.join(rows)}".encode("utf-8", "surrogateescape")
        aside = _aside(note)
        aside.write_bytes(_digest(content, note) + b"\n" + content)
        os.replace(aside, note)


def _is_still(path: str, state: str) -> bool:
    with suppress(OSError):
        return _words(os.lstat(path)) == state
    return False


def _words(found: os.stat_result) -> str:
    return f"{found.st_ino} {found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"
