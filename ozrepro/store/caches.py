"""The caches of the installers: which may be believed, where they can be locked, and what is taken from them.

uv and rattler give up where their cache cannot be locked, whatever the reason. And a file that a published environment shares
with a cache changes with it: so it is shared with a cache of the store's own alone, in which nobody else's environments are.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ozrepro.errors import NodeError
from ozrepro.store import DENIED, FULL, cache_of, planted

if TYPE_CHECKING:
    from collections.abc import Callable

    from ozrepro.project.settings import Settings

_CLONE = 0x40049409
"""FICLONE of linux/fs.h: two files share their blocks until one of them is written to (ioctl_ficlone(2))."""


def lockable(settings: Settings, name: str, say: Callable[[str], None] | None = None) -> Path:
    """Return the folder of the cache of this name; where it cannot be locked, one of this node, and `say` is told.

    Raises StoreError where another user could have put something in, and where neither can be locked.
    """
    folder = cache_of(settings, name)
    problem = _why_no_lock(folder)
    if problem is None:
        return folder
    nearby = _of_this_node(name)
    again = _why_no_lock(nearby)
    if again is not None:
        raise NodeError(
            f"the package cache cannot be locked: {_words(problem)}; nor can one in {nearby.parent}: {_words(again)}",
            where=str(folder),
            hint="set OZREPRO_CACHE to a folder on a file system with working locks, such as a disk of the node",
        )
    if say is not None:
        say(f"the cache {folder} cannot be locked ({_words(problem)}): {nearby} is used; OZREPRO_CACHE names another")
    return nearby


def _words(error: OSError) -> str:
    return f"{os.strerror(error.errno or 0)} [errno {error.errno}]"


def _why_no_lock(folder: Path) -> OSError | None:
    """Return why the lock file of uv's cache, or one like it, cannot be locked; None where it can or that cannot be told."""
    try:
        with open(folder / ".lock", "ab") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:  # somebody holds it
        return None
    except OSError as error:
        return None if error.errno in (*DENIED, *FULL) or isinstance(error, FileNotFoundError) else error
    return None


def _of_this_node(name: str) -> Path:
    """Return a cache in the folder for temporary files, made where it is missing. Raises StoreError where it was planted."""
    base = Path(tempfile.gettempdir()) / f"ozrepro-cache-{os.geteuid()}"
    for folder in (base, base / name):
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        found = os.lstat(folder)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise planted(folder, "is not a folder that you alone may write to")
    return base / name


def shares(settings: Settings, cache: str | Path) -> bool:
    """Say whether files of this cache may be hard-linked into the store: it lies there, so nobody else links from it."""
    return os.path.realpath(cache).startswith(f"{os.path.realpath(settings.store)}{os.sep}")


def take(settings: Settings, source: Path, target: Path) -> None:
    """Put a cached file into the store: as a link from the store's own cache, else as a copy that shares nothing with it.

    On Btrfs, XFS and the like the copy takes no space. Raises OSError.
    """
    put(source, target, linked=shares(settings, source))


def put(source: str | Path, target: str | Path, *, linked: bool) -> None:
    """Give a file a second place: as a link where it may be and can be, else as a copy that shares nothing with it.

    Raises OSError, of which FileExistsError where something has that place.
    """
    if linked:
        try:
            os.link(source, target)
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links, or another one
            pass
        else:
            return
    with open(source, "rb") as old, open(target, "xb") as new:
        try:
            fcntl.ioctl(new, _CLONE, old.fileno())
        except OSError:
            shutil.copyfileobj(old, new, 1 << 22)
