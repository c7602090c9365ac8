"""Whose turn it is to build: a kernel lock, or a ticket where that is missing or node-local.

A turn only saves work. Two builders at once are harmless: the publish step decides (publish.py). Measured ways in which locks
fail on cluster file systems, and why `FileLock` with its silent soft fallback is not used: docs, explanation, "The store".
"""

from __future__ import annotations

import errno
import os
import random
import secrets
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ozrepro.errors import BuildError, NodeError, StoreError
from ozrepro.site import mount_of
from ozrepro.store import planted
from ozrepro.store.owner import Owner, is_dead, myself, read_owner
from ozrepro.store.writing import write_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ozrepro.store import Store

FIRST_WORD = 5.0
"""Seconds of waiting after which a waiter says whom it waits for."""
NEXT_WORD = 60.0
HEARTBEAT = 15.0
"""Seconds between two signs of life of a ticket's holder; a lease is eight of them."""


def flock_is_shared(store: Store) -> bool:
    """Say whether a kernel lock in this store excludes processes of other nodes, as far as the mount tells.

    Lustre's `localflock` succeeds on each client separately (mount.lustre(8)); others either share flock or refuse it.
    """
    if store.locks != "auto":
        return store.locks == "flock"
    mount = mount_of(store.folder)
    return mount is None or mount.kind != "lustre" or ("flock" in mount.options and "localflock" not in mount.options)


@contextmanager
def wait_turn(store: Store, key: str, published: Callable[[], bool], say: Callable[[str], None]) -> Iterator[bool]:
    """Wait until this process may build `key`; give True then, or False when somebody else has published it meanwhile.

    `say` is told whom we wait for. Raises StoreError after the store's patience, BuildError when the builder we waited for failed
    with an error: a thousand tasks of one job must not repeat a failing build one after the other.
    """
    failure = _Failure(store, key)
    mine, began, pause = myself(), time.monotonic(), store.poll[0]
    next_word = FIRST_WORD
    tickets = _Tickets(store, key, mine)
    while not published():
        held = _try_flock(store, key) if flock_is_shared(store) else None
        release = held if held is not None and held.works else tickets
        if (held is not None and held.held) or (release is tickets and tickets.take()):
            try:
                # Not recorded again: that would tell it to those who came after the failure.
                failure.raise_if_new()
                with _noted_holder(store, key, mine), failure.recorded():
                    yield not _published_for_sure(store, published)
            finally:
                release.release()
            return
        failure.raise_if_new()
        waited = time.monotonic() - began
        if waited > store.patience:
            raise StoreError(
                f"waited {waited:.0f} s for {_holder(store, key)}", where=str(store.folder), hint="see whether it still works"
            )
        if waited >= next_word:
            say(f"waiting for {_holder(store, key)}, who builds this environment ({waited:.0f} s)")
            next_word = waited + NEXT_WORD
        # Waiters notice the name instead of queueing; jitter keeps a thousand tasks from asking the metadata server together.
        time.sleep(min(pause * random.uniform(0.5, 1.0), next_word - waited))  # noqa: S311
        pause = min(pause * 1.5, store.poll[1])
    yield False


def _published_for_sure(store: Store, published: Callable[[], bool]) -> bool:
    """Ask once more, after listing the names: an NFS client may remember for a minute that a name was absent."""
    with suppress(OSError):
        os.listdir(store.folder / "names")
    return published()


@dataclass(slots=True)
class _Flock:
    lock: object
    held: bool
    works: bool

    def release(self) -> None:
        if self.held:
            self.lock.release()  # type: ignore[attr-defined]


def _try_flock(store: Store, key: str) -> _Flock:
    from filelock import Timeout, UnixFileLock

    lock = UnixFileLock(store.folder / "locks" / f"{key}.flock", timeout=0, fallback_to_soft=False, preserve_lock_file=True)
    try:
        lock.acquire()
    except Timeout:
        return _Flock(lock, held=False, works=True)
    except (NotImplementedError, OSError):
        # ENOSYS, EOPNOTSUPP, ENOLCK: this mount has no flock. A full disk shows again in the ticket.
        return _Flock(lock, held=False, works=False)
    return _Flock(lock, held=True, works=True)


class _Tickets:
    """One symlink whose target is the holder's record: atomic, never empty, and EEXIST with our own record is a lost reply."""

    def __init__(self, store: Store, key: str, mine: Owner) -> None:
        self.folder = store.folder / "locks"
        self.path = self.folder / f"{key}.ticket"
        self.lease = store.lease
        self.mine = mine
        self.seen: tuple[str, int] | None = None
        self.seen_at = self.ask_at = 0.0
        self.stop = threading.Event()

    def _beat_file(self, record: str) -> Path:
        return self.folder / f"{record.rpartition(':')[2]}.beat"

    def take(self) -> bool:
        try:
            os.symlink(self.mine.record(), self.path)
        except FileExistsError:
            record = self._read()
            if record != self.mine.record():
                if record is not None and self._is_over(record):
                    self._break(record)
                return False
        # Without its beat a ticket is only broken sooner.
        with suppress(OSError):
            self._beat_file(self.mine.record()).touch()
        threading.Thread(target=self._beat, daemon=True).start()
        return True

    def _read(self) -> str | None:
        try:
            return os.readlink(self.path)
        except OSError as error:
            if error.errno == errno.EINVAL:
                raise planted(self.path, "is not a ticket") from error
            return None

    def _is_over(self, record: str) -> bool:
        owner = read_owner(record)
        if owner is None:
            return True
        try:
            beat = self._beat_file(record).stat().st_mtime_ns
        except OSError:
            beat = 0
        now = time.monotonic()
        # Judged by this waiter's own clock: the file's time comes from a server whose clock may differ.
        if self.seen != (record, beat):
            self.seen, self.seen_at = (record, beat), now
            self.ask_at = now + self.lease / 4
        # The scheduler is asked when two beats are missing, not by every waiter at every look.
        ask = now >= self.ask_at
        if ask:
            self.ask_at = now + self.lease / 4
        return is_dead(owner, ask_scheduler=ask) or now - self.seen_at > self.lease

    def _break(self, record: str) -> None:
        aside = self.folder / f"{secrets.token_hex(8)}.broken"
        with suppress(OSError):
            os.rename(self.path, aside)
            if os.readlink(aside) != record:
                # Another waiter broke the judged ticket first and this is a living one: put it back.
                with suppress(FileExistsError):
                    os.symlink(os.readlink(aside), self.path)
            os.unlink(aside)
            self._beat_file(record).unlink(missing_ok=True)

    def _beat(self) -> None:
        path = self._beat_file(self.mine.record())
        while not self.stop.wait(min(HEARTBEAT, self.lease / 8)):
            try:
                os.utime(path)
            except FileNotFoundError:
                return  # somebody broke the ticket; the publish step decides
            except OSError:
                continue

    def release(self) -> None:
        """Give the turn back. What cannot be removed is judged by this process's death, or by the silence from now on."""
        self.stop.set()
        with suppress(OSError, StoreError):
            if self._read() == self.mine.record():
                self.path.unlink(missing_ok=True)
        with suppress(OSError):
            self._beat_file(self.mine.record()).unlink(missing_ok=True)


@contextmanager
def _noted_holder(store: Store, key: str, mine: Owner) -> Iterator[None]:
    """Tell the waiters who builds. Only a courtesy: what fails here fails no build."""
    path = store.folder / "locks" / f"{key}.holder"
    temporary = path.with_name(f".{mine.token}.holder")
    try:
        os.symlink(mine.record(), temporary)
        os.replace(temporary, path)
    except OSError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    try:
        yield
    finally:
        with suppress(OSError):
            if os.readlink(path) == mine.record():
                path.unlink(missing_ok=True)


def _holder(store: Store, key: str) -> str:
    for suffix in ("holder", "ticket"):
        try:
            owner = read_owner(os.readlink(store.folder / "locks" / f"{key}.{suffix}"))
        except OSError:
            continue
        if owner is not None:
            return owner.describe()
    return "another process"


class _Failure:
    """The last failed build of a key, told to those who were already waiting when it failed and to nobody else."""

    def __init__(self, store: Store, key: str) -> None:
        self.path = store.folder / "locks" / f"{key}.failed"
        self.before = self._stamp()

    def _stamp(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self.path)
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns

    def raise_if_new(self) -> None:
        now = self._stamp()
        if now is None or now == self.before:
            return
        try:
            text = self.path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return
        raise BuildError(f"the build that this process waited for failed: {text}")

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Record an error that leaves the block, best effort: on a full disk there may be no room for it."""
        try:
            yield
        except NodeError:
            raise
        except Exception as error:
            with suppress(OSError):
                write_whole(self.path, str(error).encode(errors="backslashreplace"))
            raise
        with suppress(OSError):
            self.path.unlink(missing_ok=True)
