"""The store: where built environments live, each in a generation of its own, published by one exclusive symlink.

`owner` says who builds and whether he is dead, `turn` decides who builds next, `manifest` says what is in a generation,
`publish` makes one, `collect` removes what nobody needs. Called by the workflow and the command line; knows no method.
"""

from __future__ import annotations

import errno
import json
import os
import shlex
import stat
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ozrepro.errors import StoreError
from ozrepro.store.claim import CACHE_SETTING, ENTRIES, cache_name, check_place, claim, closed_to_others, is_inside

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from typing import Any

    from ozrepro.project.settings import Settings

FULL = (errno.ENOSPC, errno.EDQUOT)
DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)
_PLENTY = 1024
"""MiB with which a disk is not taken for full, whatever it answered."""
FOLDERS = tuple(ENTRIES)


@dataclass(frozen=True, slots=True)
class Store:
    """One store's folder and how its turns are taken.

    `locks` is auto, flock or ticket; `patience` the seconds to wait for another build; `lease` the seconds after which a silent
    ticket is broken; `poll` the shortest and longest pause between two looks, in seconds. `root` is the project that chose the
    store, `setting` the variable that chooses it.
    """

    folder: Path
    locks: str = "auto"
    patience: float = 3600.0
    lease: float = 120.0
    poll: tuple[float, float] = (0.5, 5.0)
    group: str = ""
    root: Path | None = None
    setting: str = "OZREPRO_STORE"

    def name(self, key: str) -> Path:
        """Return the symlink that names the published generation of `key`."""
        return self.folder / "names" / key

    def open(self) -> Store:
        """Make the store's folders where they are missing, check that they are safe, and return self.

        Raises StoreError where another user could have put something in, and where the folder is not ozrepro's to use.
        """
        try:
            self.check()
            claim(self.folder, self.setting)
            for name in FOLDERS:
                (self.folder / name).mkdir(mode=0o755, exist_ok=True)
                self.share(self.folder / name)
        except OSError as error:
            raise failed("prepare the store", self.folder, error) from error
        return self

    def share(self, path: Path) -> None:
        """Let the group read a file or folder of this user's, and enter it, where it may the store: whatever the umask is.

        Never to write: only the owner of a store builds. Raises OSError.
        """
        found = os.stat(path)
        wanted = stat.S_IMODE(os.stat(self.folder).st_mode) & (0o050 if stat.S_ISDIR(found.st_mode) else 0o040)
        if wanted & ~found.st_mode and found.st_uid == os.geteuid():
            os.chmod(path, stat.S_IMODE(found.st_mode) | wanted)

    def check(self) -> None:
        """Raise StoreError when the store or one of its folders may be written by others, is a planted link, or git tracks it."""
        check_place(self.folder, self.root)
        for path in (self.folder, *(self.folder / name for name in (*FOLDERS, "cache"))):
            try:
                found = os.lstat(path)
            except (FileNotFoundError, PermissionError):  # what cannot be looked at cannot be used either
                continue
            if path != self.folder and not stat.S_ISDIR(found.st_mode):
                raise planted(path, "is not a directory")
            if path == self.folder:
                found = os.stat(path)
            if found.st_mode & 0o002:
                raise StoreError("can be written by everybody", where=str(path), hint=f"chmod o-w {shlex.quote(str(path))}")
            if not self.is_ours(found):
                raise StoreError(
                    f"belongs to another user (uid {found.st_uid})",
                    where=str(path),
                    hint="set OZREPRO_STORE to a directory of your own, or store-group to the group that shares it",
                )

    def check_readable(self) -> None:
        """Raise StoreError where this user is of the group that shares the store, and it is closed to the group."""
        for path in (self.folder, *(self.folder / name for name in ("names", "gens"))):
            try:
                found = os.stat(path)
            except OSError:
                continue
            if os.geteuid() not in (found.st_uid, 0) and self._of_group(found.st_gid) and found.st_mode & 0o050 != 0o050:
                hint = opening(self.folder, found.st_uid)
                raise StoreError("cannot be read by the group that shares it", where=str(path), hint=hint)

    def is_ours(self, found: os.stat_result) -> bool:
        """Say whether something belongs to this user, to root, or to the group that shares the store."""
        return found.st_uid in (os.geteuid(), 0) or self._of_group(found.st_gid)

    def _of_group(self, gid: int) -> bool:
        if not self.group:
            return False
        import grp

        try:
            return grp.getgrnam(self.group).gr_gid == gid and gid in (os.getegid(), *os.getgroups())
        except KeyError:
            return False


def opening(folder: Path, owner: int, closed: Iterable[str] = ()) -> str:
    """Return the command, for the owner of a store to give, by which the group that shares it may read what is in it.

    Not for all that lies below, but for what is closed: a change of a generation's modes is one of its ctime, and the next
    start builds it once more.
    """
    folders = (folder, *(folder / name for name in dict.fromkeys(("names", "gens", *closed))))
    return f"chmod g+rX {shlex.join(map(str, folders))}  # by the store's owner, uid {owner}"


def cache_of(settings: Settings, name: str) -> Path:
    """Return the folder of the caches of this name, safe to read from and out of git's sight; made where that is possible.

    Raises StoreError where another user or a repository could have put something in.
    """
    owner = store_of(settings)
    if settings.cache is not None:
        owner = replace(owner, folder=settings.cache, setting=CACHE_SETTING)
    owner.check()
    with suppress(OSError):  # a store that cannot be written keeps nothing
        claim(owner.folder, owner.setting)
    folder = owner.folder if settings.cache is not None else owner.folder / "cache"
    if is_inside(owner.folder, settings.root):
        try:
            folder /= cache_name(owner.folder)
        except OSError:
            folder /= os.urandom(8).hex()  # without a marker nothing there can be told from what a clone brought
    folder /= name
    Store(folder, group=settings.store_group).check()
    with suppress(OSError), closed_to_others():
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    return folder


def store_of(settings: Settings) -> Store:
    """Return the store that the settings choose, not opened yet."""
    return Store(settings.store, settings.locks, settings.lock_timeout, group=settings.store_group, root=settings.root)


def failed(doing: str, path: Path, error: OSError, *, setting: str = "OZREPRO_STORE") -> StoreError:
    """Return the StoreError for a failed file operation; where the disk may be full, with what is left of space and files there.

    On Lustre a quota shows as EDQUOT at any call up to the flush, so every step of the store comes here.
    `setting` is the variable that has the files written elsewhere.
    """
    left = ""
    if error.errno in FULL:
        hint = f"check your quota (quota -s, lfs quota -h .), then: ozrepro store gc; or set {setting} to a folder elsewhere"
    elif error.errno in DENIED:
        hint = f"set {setting} to a folder of your own"
    else:
        hint = "the same command again"
    probe = path
    while not os.path.exists(probe) and probe != probe.parent:
        probe = probe.parent
    if error.errno == errno.ENOSPC:  # a quota is not what a file system tells of itself
        with suppress(OSError):
            room = os.statvfs(probe)
            free, files = room.f_bavail * room.f_frsize // 2**20, room.f_favail
            # What failed may have tidied up behind itself, or one server of many be full: no figures that speak against it.
            if free < 1 or (room.f_files > 0 and files < 10):
                left = f"; left there: {free} MiB and {files} files"
            elif free < _PLENTY:
                left = f"; it takes more than the {free} MiB and {files} files that are left there"
    named = error.filename2 or error.filename  # of a symlink the first is what it says, not where it is
    return StoreError(
        f"cannot {doing}: {error.strerror or error} [errno {error.errno}]{left}",
        where=shown(os.fsdecode(named) if isinstance(named, (str, bytes)) else str(path)),
        hint=hint,
    )


def planted(path: Path, what: str) -> StoreError:
    """Return the StoreError for something at `path` that ozrepro never makes there."""
    return StoreError(f"{what}: somebody may have planted it", where=str(path), hint=f"rm -r {shlex.quote(str(path))}")


def shown(path: str) -> str:
    """Return a path as it can be printed on one line: odd names, and bytes that are no text, with backslashes."""
    return path if path.isprintable() else ascii(path)[1:-1]


LARGEST_RECORD = 8 << 20
"""Bytes of a card or record; those that ozrepro writes have some thousands."""


def read_json(path: Path) -> dict[str, Any]:
    """Return a small record of the store: a table in a regular file of its own. Raises OSError, and ValueError for all else."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("is not a regular file")
        content = stream.read(LARGEST_RECORD + 1)
    if len(content) > LARGEST_RECORD:
        raise ValueError("is too large")
    try:
        table = json.loads(content)
    except RecursionError as error:
        raise ValueError("is nested too deep") from error
    if not isinstance(table, dict):
        raise ValueError("holds no table")  # noqa: TRY004 - the text is wrong, not a type of the program's
    return table
