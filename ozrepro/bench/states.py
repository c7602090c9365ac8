"""In which state a start finds the machine: warm, or cold in one of several ways, each named with what it cannot clear.

No way reaches the caches of the servers: they stay as warm as other users keep them.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ozrepro import process
from ozrepro.store.publish import remove_tree

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ozrepro.bench.candidate import Candidate

DROP_CACHES = "/proc/sys/vm/drop_caches"
_SERVERS = "the servers' own caches"


class State(Protocol):
    """What is done before a start. `how` and `leaves` stand in the result, for those who read the numbers."""

    how: str
    leaves: str

    def prepare(self, candidate: Candidate) -> Candidate:
        """Bring about the state for one start, outside the timing; return what to start. Raises OSError."""

    def after(self, candidate: Candidate) -> None:
        """Take away what `prepare` made."""


@dataclass(slots=True)
class Warm:
    """Whatever the starts before have left in memory."""

    how: str = "started before on this node, discarded"
    leaves: str = "everything; on Lustre, locks that nobody uses are dropped after ten minutes"

    def prepare(self, candidate: Candidate) -> Candidate:
        """Do nothing."""
        return candidate

    def after(self, candidate: Candidate) -> None:
        """Do nothing."""


@dataclass(slots=True)
class ColdData:
    """The pages of files dropped from memory, which needs no right: names, attributes and locks stay."""

    how: str = "the content of every file of the environment was dropped from this node's memory (posix_fadvise)"
    leaves: str = f"names, attributes and locks that this node holds; files that a running process has mapped; {_SERVERS}"
    listed: dict[tuple[str, ...], list[str]] = field(default_factory=dict)

    def prepare(self, candidate: Candidate) -> Candidate:
        """Drop the pages of each file that the candidate's programs may read."""
        if candidate.data not in self.listed:
            self.listed[candidate.data] = list(_files(candidate.data))
        drop_pages(self.listed[candidate.data])
        return candidate

    def after(self, candidate: Candidate) -> None:
        """Do nothing."""


@dataclass(slots=True)
class FreshCopy:
    """A copy of the environment that no process has looked at, below `work`; removed after the start."""

    work: Path
    how: str = "a fresh copy of the environment for each start, written out and dropped from memory"
    leaves: str = (
        "what lies outside of the environment, such as modules or the base interpreter; this node made the copy, so a Lustre "
        f"client may hold locks of its files; {_SERVERS}"
    )
    number: int = 0

    def prepare(self, candidate: Candidate) -> Candidate:
        """Copy the prefix and return the candidate that stands there."""
        self.number += 1
        target = self.work / f"copy-{os.getpid()}-{self.number}" / os.path.basename(candidate.prefix)
        try:
            # An image may be a link to the user's own file; links inside an environment are its own and stay links.
            shutil.copytree(candidate.prefix, target, symlinks=not candidate.is_image)
            files = list(_files((str(target),)))
            for path in files:
                _flush(path)
            drop_pages(files)
        except OSError:
            remove_tree(target.parent)
            raise
        return candidate.moved(str(target))

    def after(self, candidate: Candidate) -> None:
        """Remove the copy."""
        remove_tree(Path(candidate.prefix).parent)


@dataclass(slots=True)
class DropCaches:
    """All caches of this node dropped, as root: for a machine of one's own, as everybody on it feels it."""

    lctl: str = ""
    switch: str = DROP_CACHES
    how: str = "all file system caches of this node were dropped (drop_caches, as root)"
    leaves: str = f"files that a running process has mapped; {_SERVERS}"

    def prepare(self, candidate: Candidate) -> Candidate:
        """Write everything out, drop what is cached, and Lustre's locks where its tool is here."""
        os.sync()
        with open(self.switch, "w", encoding="ascii") as stream:
            stream.write("3\n")
        if self.lctl:
            process.run([self.lctl, "set_param", "ldlm.namespaces.*.lru_size=clear"], env={"PATH": "/usr/bin:/bin"}, timeout=60)
        return candidate

    def after(self, candidate: Candidate) -> None:
        """Do nothing."""


class Remountable(Protocol):
    """What `Remount` needs of the emulator."""

    def remount(self) -> None:
        """Give its mounts a cold client."""


@dataclass(slots=True)
class Remount:
    """The emulated Lustre mounted anew: a client that has never seen a file."""

    emulator: Remountable
    how: str = "the emulated Lustre was mounted anew for each start"
    leaves: str = "what lies outside of the emulated file system"

    def prepare(self, candidate: Candidate) -> Candidate:
        """Mount anew."""
        self.emulator.remount()
        return candidate

    def after(self, candidate: Candidate) -> None:
        """Do nothing."""


def states_for(words: Iterable[str], work: Path, environ: Mapping[str, str], *, drop: bool = False) -> dict[str, State]:
    """Return what brings about each state of these words, of `plan.STATES`, on this machine.

    A cold client is a fresh copy below `work`; with `drop`, all caches of the node dropped, which needs root: an OSError of its
    `prepare` says where that may not be.
    """
    found: dict[str, State] = {}
    for word in words:
        if word == "warm":
            found[word] = Warm()
        elif word == "cold-data":
            found[word] = ColdData()
        elif drop:
            found[word] = DropCaches(process.find_program("lctl", environ.get("PATH", "")) or "")
        else:
            found[word] = FreshCopy(work)
    return found


def _files(roots: Iterable[str]) -> Iterator[str]:
    """Yield each regular file below folders, links not followed; a root may be a file itself."""
    for root in roots:
        if os.path.isfile(root):
            yield root
        for base, _, names in os.walk(root):
            yield from (path for name in names if os.path.isfile(path := os.path.join(base, name)))


def drop_pages(paths: Iterable[str]) -> int:
    """Drop the pages of files from memory; return of how many. What cannot be opened is passed over: it is not read either.

    Pages that were not written out yet cannot be dropped: the caller has them flushed.
    """
    count = 0
    if not hasattr(os, "posix_fadvise"):
        raise OSError("this system has no posix_fadvise")
    for path in paths:
        with suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            try:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
                count += 1
            finally:
                os.close(descriptor)
    return count


def _flush(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
