"""The emulated folder as one that can be changed: what a build asks the servers for.

On Lustre a file is made and opened by one request to the metadata server, and closed by another (llite/namei.c); to make or
remove a folder, a link or a name, or to set attributes, is one each. What is written goes to the object servers in parts, after
one lock a file. A client may put off what is written; requests are as many, and times are those of one that waits.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from ozrepro.frontends.bench.lustre.emulated import Asked, Node, Tree

if TYPE_CHECKING:
    from collections.abc import Callable

    from ozrepro.frontends.bench.lustre.emulated import Ledger
    from ozrepro.frontends.bench.lustre.profile import Profile

__all__ = ["WritableTree"]

_WRITING = os.O_WRONLY | os.O_RDWR


class _Node(Node):
    """What a client keeps, which its own changes add to and take away from."""

    def made(self, path: str) -> None:
        """Keep what the answer to a change says: the name, and that nothing is read of it."""
        with self.lock:
            self.seen |= {("name", path), ("size", path)}
            self.seen.discard(("absent", path))

    def gone(self, path: str) -> None:
        """Forget a name and all below it."""
        with self.lock:
            below = f"{path}/"
            self.seen = {(what, which) for what, which in self.seen if which != path and not str(which).startswith(below)}
            self.opens = type(self.opens)({name: number for name, number in self.opens.items() if name != path})

    def wrote(self, path: str, offset: int, length: int) -> Asked:
        """Say what writing costs: the file's lock, and each part that was not written before."""
        step = self.profile.read_bytes
        numbers = range(offset // step, max(offset + length - 1, 0) // step + 1)
        return self._first(("lock", path, "enqueue", 0), *(("written", f"{path}\0{number}", "write", 0) for number in numbers))


class WritableTree(Tree):
    """One mount of the folder, through which it can be changed."""

    def __init__(self, source: str, number: int, ledger: Ledger, profile: Profile, ready: Callable[[], None]) -> None:
        super().__init__(source, number, ledger, profile, ready)
        self.node: _Node = _Node(profile)

    def _change(self, kind: str = "change") -> None:
        self._pay([(kind, 0)])

    def _opened(self, path: str, descriptor: int) -> int:
        with self.guard:
            self.unclosed[descriptor] = path
        self.ledger.opened(1)
        return descriptor

    def create(self, path: str, mode: int, flags: int) -> int:
        """Make a file and open it."""
        descriptor = os.open(self.source + path, (flags & ~os.O_APPEND) | os.O_CREAT, mode)
        self.node.made(path)
        self._opened(path, descriptor)
        self._change("create")
        return descriptor

    def open(self, path: str, flags: int) -> int:
        """Open a file, also for writing. The kernel says where to append."""
        descriptor = os.open(self.source + path, flags & (_WRITING | os.O_TRUNC))
        self._opened(path, descriptor)
        self._pay(self.node.opened(path))
        return descriptor

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        """Write a part."""
        written = os.pwrite(fh, data, offset)
        self._pay(self.node.wrote(path, offset, written))
        return written

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        """Cut a file, or fill it up."""
        os.truncate(self.source + path, length)
        self._change()
        return 0

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        """Flush a file: its parts are counted already."""
        os.fsync(fh)
        return 0

    def mknod(self, path: str, mode: int, dev: int) -> int:
        """Make a file without opening it, or a pipe."""
        os.mknod(self.source + path, mode, dev)
        self.node.made(path)
        self._change("create")
        return 0

    def mkdir(self, path: str, mode: int) -> int:
        """Make a folder."""
        os.mkdir(self.source + path, mode)
        self.node.made(path)
        self._change()
        return 0

    def rmdir(self, path: str) -> int:
        """Remove a folder."""
        os.rmdir(self.source + path)
        self.node.gone(path)
        self._change()
        return 0

    def unlink(self, path: str) -> int:
        """Remove a name."""
        os.unlink(self.source + path)
        self.node.gone(path)
        self._change()
        return 0

    def rename(self, old: str, new: str) -> int:
        """Give a name to another place."""
        os.rename(self.source + old, self.source + new)
        for path in (old, new):
            self.node.gone(path)
        self.node.made(new)
        self._change()
        return 0

    def link(self, target: str, source: str) -> int:
        """Give a file a second name."""
        os.link(self.source + source, self.source + target)
        self.node.made(target)
        self._change()
        return 0

    def symlink(self, target: str, source: str) -> int:
        """Make a symbolic link."""
        os.symlink(source, self.source + target)
        self.node.made(target)
        self._change()
        return 0

    def chmod(self, path: str, mode: int) -> int:
        """Set a mode."""
        os.chmod(self.source + path, stat.S_IMODE(mode))
        self._change()
        return 0

    def chown(self, path: str, uid: int, gid: int) -> int:
        """Set owner and group, where each is not -1."""
        whole = (1 << 32) - 1
        os.chown(self.source + path, *(-1 if number == whole else number for number in (uid, gid)), follow_symlinks=False)
        self._change()
        return 0

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
        """Set times, in nanoseconds."""
        os.utime(self.source + path, ns=times, follow_symlinks=False) if times else os.utime(self.source + path)
        self._change()
        return 0
