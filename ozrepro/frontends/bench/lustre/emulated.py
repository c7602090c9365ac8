"""A folder served by FUSE as a Lustre client would: each request is counted, and takes the time of the profile.

The kernel caches names, attributes and pages for the mount, which stands in for Lustre's locks; what it does not cache as
Lustre would, a `Node` keeps in mind. Runs in the emulator's own process; the only module that loads mfusepy.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
import time
from collections import Counter
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import mfusepy

from ozrepro.frontends.bench.lustre.model import KINDS, Totals
from ozrepro.frontends.bench.lustre.mounting import SOURCE
from ozrepro.frontends.bench.lustre.serving import Servers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ozrepro.frontends.bench.lustre.profile import Profile

__all__ = ["Ledger", "Node", "Tree", "serve"]

Asked = list[tuple[str, int]]
"""Requests, as their kind and bytes."""

OVERHEAD = 100e-6
"""Seconds of a request's time that the way through FUSE and the end of a sleep take already. Measured: 300 µs asked for were
391 to 404 µs; less this, 306 to 341. So times from 200 µs on are right to about 15 %, and shorter ones are not."""

FOREVER = 86_400
THREADS = 64
_IDS = 1 << 32
_READDIRPLUS = 1 << 13 | 1 << 14  # FUSE_CAP_READDIRPLUS and FUSE_CAP_READDIRPLUS_AUTO


class Ledger:
    """Counts the requests of all mounts, and lets each wait its turn at the servers that they share."""

    def __init__(self, profile: Profile, nodes: int) -> None:
        self.servers = Servers(profile)
        self.lock = threading.Lock()
        self.slots = [threading.BoundedSemaphore(profile.in_flight) for _ in range(nodes)]
        self.sent: Counter[str] = Counter()
        self.settled = threading.Condition(self.lock)
        self.open = 0

    def pay(self, node: int, asked: Asked) -> None:
        """Count requests that node number `node` makes one after the other, and return when the last is answered."""
        end = time.monotonic()
        for kind, size in asked:
            with self.slots[node] if KINDS[kind] == "mds" else nullcontext():
                end = self._wait(kind, size, end)

    def _wait(self, kind: str, size: int, since: float) -> float:
        """Count one request that follows on what ended at `since`, and return when it is answered."""
        with self.lock:
            # A sleep ends a little before the instant that it stands for: see OVERHEAD.
            end = self.servers.finish(kind, size, max(since, time.monotonic()))
            self.sent[kind] += 1
            self.sent["bytes"] += size
        left = end - time.monotonic() - OVERHEAD
        if left > 0:
            time.sleep(left)
        return end

    def opened(self, change: int) -> None:
        """Keep in mind how many files and folders are open."""
        with self.settled:
            self.open += change
            self.settled.notify_all()

    def totals(self, patience: float) -> Totals:
        """Return what was sent, after at most `patience` seconds in which the kernel may end the closes of programs."""
        with self.settled:
            self.settled.wait_for(lambda: self.open == 0, patience)
            return Totals.from_dict(self.sent)


class Node:
    """What one client keeps besides the kernel's caches. Each method returns the requests that an act costs it."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.lock = threading.Lock()
        self.seen: set[tuple[str, str | int]] = set()
        self.opens: Counter[str] = Counter()

    def _first(self, *things: tuple[str, str | int, str, int]) -> Asked:
        """Return a request for each thing that is seen for the first time: (what, which, kind of request, bytes)."""
        asked: Asked = []
        with self.lock:
            for what, which, kind, size in things:
                if (what, which) not in self.seen:
                    self.seen.add((what, which))
                    asked.append((kind, size))
        return asked

    def found(self, path: str, *, regular: bool) -> Asked:
        """Say what a lookup costs: also the size, if it is a regular file, for FUSE always answers with it."""
        if path == "/":
            return []
        return self._first(("name", path, "lookup", 0), *([("size", path, "glimpse", 0)] if regular else []))

    def missed(self, path: str) -> Asked:
        """Say what asking for a missing name costs: nothing if it was asked for since its folder was listed.

        On Lustre a stat of the folder has the same effect; the kernel does not let FUSE see it. Who stats a folder, lists it as
        a rule.
        """
        with self.lock:
            listed = ("list", path.rpartition("/")[0] or "/") in self.seen
        return self._first(("absent", path, "miss", 0)) if listed else [("miss", 0)]

    def followed(self, path: str) -> Asked:
        """Say what reading a symbolic link costs."""
        return self._first(("link", path, "lookup", 0))

    def listed(self, path: str) -> Asked:
        """Say what listing a folder costs."""
        return self._first(("list", path, "readdir", 0))

    def opened(self, path: str) -> Asked:
        """Say what an open costs."""
        with self.lock:
            self.opens[path] += 1
            locked = 0 < self.profile.open_lock_after < self.opens[path]
        return [] if path == "/" or locked else [("open", 0)]

    def closed(self, path: str) -> Asked:
        """Say what a close costs."""
        locked = 0 < self.profile.open_lock_after <= self.opens[path]
        return [] if path == "/" or locked else [("close", 0)]

    def read(self, path: str, size: int, offset: int, length: int) -> Asked:
        """Say what reading `length` bytes of a file of `size` bytes costs: its lock, and each part that was not read before."""
        if size <= self.profile.whole_bytes:
            parts = [("part", f"{path}\0{0}", "read", size)] if size else []
        else:
            step = self.profile.read_bytes
            numbers = range(offset // step, (min(offset + length, size) - 1) // step + 1)
            parts = [("part", f"{path}\0{number}", "read", min(step, size - number * step)) for number in numbers]
        return self._first(("lock", path, "enqueue", 0), *parts)


class Tree(mfusepy.Operations):  # type: ignore[misc]
    """One mount of the folder: one client node. Read-only."""

    use_ns = True

    def __init__(self, source: str, number: int, ledger: Ledger, profile: Profile, ready: Callable[[], None]) -> None:
        self.source = source.rstrip("/")
        self.number = number
        self.ledger = ledger
        self.node = Node(profile)
        self.ready = ready
        self.guard = threading.Lock()  # `lock` is the name of an operation
        self.unclosed: dict[int, str] = {}
        self.folders: dict[int, str] = {}
        self.last = _IDS

    def _pay(self, asked: Asked) -> None:
        self.ledger.pay(self.number, asked)

    def init_with_config(self, conn_info: Any, config_3: Any) -> None:
        """Say that the mount is there. Listings are not to fill the kernel's cache of names: on Lustre each name is a lookup."""
        if conn_info is not None and mfusepy.fuse_version_major >= 3:
            conn_info.want &= ~_READDIRPLUS
        self.ready()

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        """Look a name up."""
        try:
            found = os.lstat(self.source + path)
        except OSError:
            self._pay(self.node.missed(path))
            raise
        self._pay(self.node.found(path, regular=stat.S_ISREG(found.st_mode)))
        names = ("st_mode", "st_ino", "st_dev", "st_nlink", "st_uid", "st_gid", "st_size", "st_blocks")
        times = {name: getattr(found, f"{name}_ns") for name in ("st_atime", "st_mtime", "st_ctime")}
        return {**{name: getattr(found, name) for name in names}, **times}

    def readlink(self, path: str) -> str:
        """Say where a link leads."""
        self._pay(self.node.followed(path))
        return os.readlink(self.source + path)

    def open(self, path: str, flags: int) -> int:
        """Open a file for reading."""
        if flags & (os.O_WRONLY | os.O_RDWR):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        descriptor = os.open(self.source + path, os.O_RDONLY)
        with self.guard:
            self.unclosed[descriptor] = path
        self.ledger.opened(1)
        self._pay(self.node.opened(path))
        return descriptor

    def flush(self, path: str, fh: int) -> int:
        """Close for the program: this is what it waits for. A file may be flushed several times, and is closed once."""
        with self.guard:
            asked = self.unclosed.pop(fh, None)
        if asked is not None:
            self._pay(self.node.closed(asked))
        return 0

    def release(self, path: str, fh: int) -> int:
        """Close for good. What was executed is never flushed, so that it pays here."""
        self.flush(path, fh)
        os.close(fh)
        self.ledger.opened(-1)
        return 0

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        """Read a part."""
        content = os.pread(fh, size, offset)
        self._pay(self.node.read(path, os.fstat(fh).st_size, offset, len(content)))
        return content

    def opendir(self, path: str) -> int:
        """Open a folder, which on Lustre is a request like that for a file."""
        with self.guard:
            self.last += 1
            number = self.last
            self.folders[number] = path
        self.ledger.opened(1)
        self._pay(self.node.opened(path))
        return number

    def releasedir(self, path: str, fh: int) -> int:
        """Close a folder."""
        with self.guard:
            opened = self.folders.pop(fh)
        self._pay(self.node.closed(opened))
        self.ledger.opened(-1)
        return 0

    def readdir(self, path: str, fh: int) -> Iterator[tuple[str, dict[str, int], int]]:
        """List a folder, with each entry's type: without it programs would look each up."""
        self._pay(self.node.listed(path))
        with os.scandir(self.source + path) as entries:
            named = [(item.name, {"st_mode": _type(item), "st_ino": item.inode()}, 0) for item in entries]
        return iter([(name, {"st_mode": stat.S_IFDIR, "st_ino": 1}, 0) for name in (".", "..")] + named)

    def statfs(self, path: str) -> dict[str, int]:
        """Say how large the file system is."""
        found = os.statvfs(self.source + path)
        names = (
            "f_bavail",
            "f_bfree",
            "f_blocks",
            "f_bsize",
            "f_favail",
            "f_ffree",
            "f_files",
            "f_flag",
            "f_frsize",
            "f_namemax",
        )
        return {name: getattr(found, name) for name in names}


def _type(entry: os.DirEntry[str]) -> int:
    if entry.is_symlink():
        return stat.S_IFLNK
    return stat.S_IFDIR if entry.is_dir(follow_symlinks=False) else stat.S_IFREG


def serve(tree: Tree, mount: str, *, helper: bool, writable: bool = False) -> None:
    """Serve a tree at `mount` until it is unmounted. With `helper`, fusermount3 unmounts it also when this process is killed.

    `writable` is for a `writable.WritableTree`. Raises RuntimeError when it cannot be mounted.
    """
    # The kernel keeps what is there. What is missing it asks for each time, for a Lustre client does not always know that either.
    options: dict[str, Any] = {"entry_timeout": FOREVER, "attr_timeout": FOREVER, "negative_timeout": 0, "kernel_cache": True}
    if (mfusepy.fuse_version_major, mfusepy.fuse_version_minor) >= (3, 12):
        options["max_threads"] = options["max_idle_threads"] = THREADS
    # The folder's own inodes, by which a start of one file knows it. A listing without them would come out empty.
    options["use_ino"] = True
    mfusepy.FUSE(tree, mount, foreground=True, ro=not writable, fsname=SOURCE, auto_unmount=helper, **options)
