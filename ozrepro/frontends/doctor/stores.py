"""The store: where it is, whether it can be written, and whether a lock and a name there are really one process's alone."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import sys
import tempfile
from typing import TYPE_CHECKING

from ozrepro import process
from ozrepro.errors import StoreError
from ozrepro.frontends.doctor.finding import Finding, fine, note, wrong
from ozrepro.site import home_warning, mount_of
from ozrepro.store import FOLDERS, opening, store_of
from ozrepro.store.turn import flock_is_shared

if TYPE_CHECKING:
    from pathlib import Path

    from ozrepro.frontends.doctor.surroundings import Surroundings
    from ozrepro.store import Store

PATIENCE = 30.0
"""Seconds that the second process may take: a lock server that does not answer must not hold the doctor."""

_ELSEWHERE = "a folder of yours on project storage"
_SECOND = """\
import errno, fcntl, os, sys
descriptor = os.open(sys.argv[1], os.O_RDWR)
try:
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    print("refused")
except OSError as error:
    print(errno.errorcode.get(error.errno, error.errno))
else:
    print("taken")
"""
_NO_FLOCK = ("ENOSYS", "EOPNOTSUPP", "ENOTSUP", "ENOLCK", "EINVAL")


def is_chosen(place: Surroundings) -> bool:
    """Say whether there is a store to speak of: a project's, or one that the caller has named."""
    return place.is_project or bool(place.environ.get("OZREPRO_STORE"))


def check_store(place: Surroundings) -> list[Finding]:
    """Look where the store is, on which file system, and whether it is safe and can be written."""
    if not is_chosen(place):
        return [fine("no project here and no OZREPRO_STORE: there is no store to look at")]
    store = store_of(place.settings)
    shown = place.short(store.folder)
    found: list[Finding] = []
    warning = home_warning(store.folder, place.environ)
    if warning:
        why = "Environments have thousands of files, and a home has room for few."
        found.append(wrong(warning.partition(":")[0], why, f"export OZREPRO_STORE=DIR  # {_ELSEWHERE}"))
    found += _check_group(place, store)
    try:
        store.check()
    except StoreError as error:
        why = "What is built there could be changed by others."
        return [*found, wrong(f"the store {shown}: {place.short(error.what)}", why, *filter(None, [error.hint]))]
    folder = nearest(store.folder)
    if not os.access(folder, os.W_OK | os.X_OK):
        why = "Sessions can be started from it but not built."
        found.append(wrong(f"the store {shown} cannot be written", why, f"export OZREPRO_STORE=DIR  # {_ELSEWHERE}"))
        return found
    mount = mount_of(folder)
    kind = f"on {mount.kind}" if mount else "on a file system that is not known"
    state = "can be written" if folder == store.folder else "is not made yet and can be"
    return [*found, fine(f"the store {shown} {state}, {kind}")]


def _check_group(place: Surroundings, store: Store) -> list[Finding]:
    """Say whether the group may read what is built in a store that it may enter, or that this user shares as a member."""
    closed, shown = _closed(store.folder), place.short(store.folder)
    if closed:
        why = "The group may enter the store, but members cannot start what is built there, as after a build with umask 077."
        remedy = opening(store.folder, os.stat(store.folder).st_uid, closed)
        return [wrong(f"the group cannot read {', '.join(closed)} of the store {shown}", why, remedy)]
    try:
        store.check_readable()
    except StoreError as error:
        return [wrong(f"the store {shown} {error.what}", "Members cannot start what is built there.", error.hint)]
    return []


def _closed(folder: Path) -> list[str]:
    """Return the folders, and the first generation, that the group may not enter although it may the store itself."""
    try:
        if not _is_shared(folder):
            return []
        closed = [name for name in FOLDERS if (folder / name).is_dir() and not _is_shared(folder / name)]
        generations = sorted((folder / "gens").iterdir()) if not closed else []
        return closed or [f"gens/{path.name}" for path in generations if not _is_shared(path)][:1]
    except OSError:
        return []  # there is no store yet, or none that can be looked at, which is told for itself


def _is_shared(folder: Path) -> bool:
    return os.stat(folder).st_mode & 0o050 == 0o050


def nearest(folder: Path) -> Path:
    """Return the folder, or its nearest parent that exists."""
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    return folder


def check_locks(place: Surroundings) -> list[Finding]:
    """Try, in a folder that is removed again, whether a lock and a new name can be had by one process only."""
    folder = nearest(store_of(place.settings).folder)
    if not os.access(folder, os.W_OK | os.X_OK):
        return [note(f"locks were not tried: {place.short(folder)} cannot be written")]
    try:
        trial = tempfile.mkdtemp(prefix=".ozrepro-doctor-", dir=folder)
    except OSError as error:
        seen = f"no folder can be made in {place.short(folder)}: {error.strerror}"
        return [
            wrong(seen, "Nothing can be built there.", f"export OZREPRO_STORE=DIR  # {_ELSEWHERE}")
            if is_chosen(place)
            else note(seen)
        ]
    try:
        return [*_try_names(place, folder, trial), *_try_flock(place, folder, os.path.join(trial, "lock"))]
    finally:
        shutil.rmtree(trial, ignore_errors=True)


def _try_names(place: Surroundings, folder: Path, trial: str) -> list[Finding]:
    name = os.path.join(trial, "name")
    why = "An environment is published by making a symbolic link that nobody else has made."
    remedy = f"export OZREPRO_STORE=DIR  # {_ELSEWHERE}"
    try:
        os.symlink("one", name)
    except OSError as error:
        return [wrong(f"no symbolic links in {place.short(folder)}: {error.strerror}", why, remedy)]
    try:
        os.symlink("two", name)
    except FileExistsError:
        return []
    return [wrong(f"a name in {place.short(folder)} could be taken twice", why, remedy)]


def _try_flock(place: Surroundings, folder: Path, path: str) -> list[Finding]:
    """Hold a lock and let a second process try to take it; then release it and let it try again."""
    shown = place.short(folder)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        held = _second(path)
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        free = _second(path)
    except OSError as error:
        return [_without_flock(place, shown, errno.errorcode.get(error.errno or 0, str(error)))]
    finally:
        os.close(descriptor)
    return [judge(place, shown, held, free)]


def _second(path: str) -> str:
    """Return what a process of its own meets when it tries the lock: refused, taken, or an error's name."""
    words = [sys.executable, "-I", "-S", "-c", _SECOND, path]
    return process.run(words, env={"PATH": process.CLEAN_PATH}, cwd="/", timeout=PATIENCE).output.strip()


def judge(place: Surroundings, shown: str, held: str, free: str) -> Finding:
    """Return what follows from what the second process met while the lock was held, and after."""
    locks = place.settings.locks
    tickets = "export OZREPRO_LOCKS=ticket"
    if held in _NO_FLOCK:
        return _without_flock(place, shown, held)
    if (held, free) != ("refused", "taken"):
        why = "Two builds of one environment then run at once: one is thrown away, and time and quota with it."
        met = f"a second process met {held or 'nothing'} while it was held, {free or 'nothing'} after"
        seen = f"locks in {shown} do not exclude: {met}"
        return note(f"{seen}; tickets are used", why) if locks == "ticket" else wrong(seen, why, tickets)
    if not flock_is_shared(store_of(place.settings)):
        if locks == "ticket":
            return fine(f"locks in {shown} exclude another process of this node; tickets are used, as is set")
        why = "This mount of Lustre does not share locks, so ozrepro takes tickets, which are slower to notice a dead builder."
        return note(f"locks in {shown} hold on this node only", why)
    return fine(f"a lock in {shown} was refused to a second process, and given once it was free")


def _without_flock(place: Surroundings, shown: str, error: str) -> Finding:
    seen = f"no file locks in {shown} ({error})"
    if place.settings.locks == "flock":
        why = "The setting `locks` asks for them."
        return wrong(seen, why, "export OZREPRO_LOCKS=auto")
    return note(seen, "ozrepro takes tickets instead, which are slower to notice a dead builder.")
