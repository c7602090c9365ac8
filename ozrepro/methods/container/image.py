"""An image in the store: what its file is now against what it was when it was built, without reading gigabytes at a start."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from ozrepro.errors import Remedy, StoreError
from ozrepro.methods.container.contents import as_table, read_contents
from ozrepro.python.distributions import UNREADABLE
from ozrepro.store.manifest import digest_file
from ozrepro.store.writing import write_whole

if TYPE_CHECKING:
    from pathlib import Path

    from ozrepro.methods.container.contents import Contents

NAME = "image.sif"
_CARD, _CONTENTS = "image.json", "contents.json"
_REBUILD = Remedy("ozrepro build {session} --rebuild")
_KINDS = {"squashfs": "the kernel", "fuse.squashfuse_ll": "squashfuse", "fuse.squashfuse": "squashfuse"}


@dataclass(frozen=True, slots=True)
class Seen:
    """An image as it was when it was built.

    Attributes:
        sha256: its digest, in hexadecimal.
        size: its bytes.
        mtime_ns: when it was changed last, in ns.
        inode: its number on the file system.
        mount: how programs see it: through the kernel (setuid), squashfuse, or extracted.
        tool: the program that built or fetched it, and its version.
        seconds: how long building or fetching it took, 0 where nobody measured it.

    """

    sha256: str
    size: int
    mtime_ns: int
    inode: int
    mount: str
    tool: str
    seconds: float = 0.0


def see(path: Path, sha256: str, mount: str, tool: str, seconds: float = 0.0) -> Seen:
    """Return an image as it is now. Raises OSError."""
    found = path.stat()
    return Seen(sha256, found.st_size, found.st_mtime_ns, found.st_ino, mount, tool, seconds)


def keep(seen: Seen, prefix: Path) -> None:
    """Write what is known of an image beside it."""
    (prefix / _CARD).write_text(json.dumps(asdict(seen), indent=1, sort_keys=True) + "\n", encoding="utf-8")


def kept(prefix: Path) -> Seen:
    """Return what `keep` wrote. Raises StoreError where it is gone or damaged."""
    try:
        return Seen(**json.loads((prefix / _CARD).read_bytes()))
    except (OSError, ValueError, TypeError) as error:
        raise StoreError(f"cannot be read: {error}", where=str(prefix / _CARD), hint=_REBUILD) from error


def keep_contents(contents: Contents, prefix: Path) -> None:
    """Write what a look into the image told beside it: nobody has to start it to know."""
    (prefix / _CONTENTS).write_text(json.dumps(as_table(contents), indent=1, sort_keys=True) + "\n", encoding="utf-8")


def kept_contents(prefix: Path) -> Contents | None:
    """Return what `keep_contents` wrote, None where an earlier version built it. Raises StoreError where it is damaged."""
    try:
        return read_contents(json.loads((prefix / _CONTENTS).read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, *UNREADABLE) as error:
        raise StoreError(f"cannot be read: {error}", where=str(prefix / _CONTENTS), hint=_REBUILD) from error


def check(prefix: Path) -> None:
    """Raise StoreError where the image is not the one that was built.

    Its bytes are read only when its size, time or inode are others than they were.
    """
    path, seen = prefix / NAME, kept(prefix)
    try:
        found = path.stat()
        if (found.st_size, found.st_mtime_ns, found.st_ino) == (seen.size, seen.mtime_ns, seen.inode) and os.access(
            path, os.R_OK
        ):
            return
        if found.st_size != seen.size:
            what = f"the image has {found.st_size} bytes, and {seen.size} were built: it was replaced or cut off"
            raise StoreError(what, where=str(path), hint=_REBUILD)
        if digest_file(path) != seen.sha256:
            raise StoreError("the image was changed or replaced: it has another sha256", where=str(path), hint=_REBUILD)
    except OSError as error:
        raise StoreError(f"the image cannot be read: {error.strerror}", where=str(path), hint=_REBUILD) from error


def digest_of(path: str, cache: Path) -> str:
    """Return the sha256 of an image file of the user's own, in hexadecimal; it is read only where it is another than before.

    `cache` is a folder that only the user can write to: what is known of a file there is believed. Raises OSError.
    """
    real = os.path.realpath(path)
    found = os.stat(real)
    state = [real, found.st_size, found.st_mtime_ns, found.st_ino, found.st_ctime_ns]
    note = cache / f"{hashlib.sha256(os.fsencode(real)).hexdigest()[:32]}.json"
    with suppress(OSError, ValueError, KeyError, TypeError):
        known = json.loads(note.read_bytes())
        if known["state"] == state:
            return str(known["sha256"])
    sha256 = digest_file(real)
    with suppress(OSError):
        write_whole(note, json.dumps({"state": state, "sha256": sha256}).encode())
    return sha256


def mount_kind(mountinfo: str, folder: str) -> str:
    """Return how a running program sees its image, from its /proc/self/mountinfo (proc(5)).

    `folder` is the end of the place where Apptainer mounts images, which is in that text below the session's own mounts.
    """
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        fields = left.split()
        if len(fields) > 4 and fields[4].endswith(folder) and right:
            kind = right.split()[0]
            return _KINDS.get(kind, f"extracted ({kind})")
    return "not known"
