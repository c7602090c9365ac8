"""In which state a start finds the machine: warm, or cold in one of several ways, each named with what it cannot clear.

No way reaches the caches of the servers: they stay as warm as other users keep them.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ozrepro.errors import OzreproError, UsageError
from ozrepro.frontends.bench.nodes import ALLOCATE, next_node
from ozrepro.store import failed
from ozrepro.store.forms import FILE_VARIABLE
from ozrepro.store.writing import remove_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from ozrepro.frontends.bench.candidate import Candidate
    from ozrepro.frontends.bench.lustre.model import Totals

_SERVERS = "the servers' own caches"


class State(Protocol):
    """What is done before a start. `how` and `leaves` are in the result, for those who read the numbers."""

    @property
    def how(self) -> str:
        """How it is brought about."""

    @property
    def leaves(self) -> str:
        """What it does not clear."""

    def prepare(self, candidate: Candidate) -> Candidate:
        """Bring about the state for one start, outside the timing; return what to start. Raises OSError."""

    def after(self, candidate: Candidate) -> Mapping[str, int]:
        """Take away what `prepare` made; return the requests that servers counted since then, none where nobody counts.

        Raises OzreproError where they have gone.
        """


@dataclass(slots=True)
class Warm:
    """Whatever the starts before have left in memory."""

    how: str = "started before on this node, discarded"
    leaves: str = "everything; on Lustre, locks that nobody uses are dropped after ten minutes"

    def prepare(self, candidate: Candidate) -> Candidate:
        """Do nothing."""
        return candidate

    def after(self, candidate: Candidate) -> Mapping[str, int]:
        """Do nothing."""
        return {}


@dataclass(slots=True)
class FreshCopy:
    """A copy of the environment that no process has looked at, below `work`; removed after the start.

    Of an environment that is one file, of that file: it is mounted where the environment was built.
    """

    work: Path
    how: str = "a fresh copy of the environment for each start, written out and dropped from memory"
    leaves: str = (
        "what lies outside of the environment, such as modules or the base interpreter; this node made the copy, so a Lustre "
        f"client may hold locks of its files; {_SERVERS}"
    )
    number: int = 0

    def prepare(self, candidate: Candidate) -> Candidate:
        """Copy the environment and return the candidate that starts from the copy."""
        if candidate.is_staged:  # a node that has just copied it knows nothing else of it
            _flush(candidate.file)
            drop_pages((candidate.file,))
            return candidate.mounted_anew()
        self.number += 1
        target = self.work / f"copy-{os.getpid()}-{self.number}" / os.path.basename(candidate.file or candidate.prefix)
        try:
            if candidate.file:
                target.parent.mkdir(parents=True)
                _copy(candidate.file, str(target))
            else:
                # An image may be a link to the user's own file; links inside an environment are its own and stay links.
                shutil.copytree(candidate.prefix, target, symlinks=not candidate.is_image, copy_function=_copy)
            files = list(_files((str(target),)))
            for path in files:
                _flush(path)
            drop_pages(files)
        except (OSError, OzreproError) as error:
            remove_tree(target.parent)
            if isinstance(error, shutil.Error):  # it goes on after a failure, and tells them all
                raise OSError(error.args[0][0][2]) from None
            raise
        return candidate.mounted_anew(str(target)) if candidate.file else candidate.moved(str(target))

    def after(self, candidate: Candidate) -> Mapping[str, int]:
        """Remove the copy."""
        if candidate.is_staged:
            return {}
        copy = candidate.environment.variables[FILE_VARIABLE] if candidate.file else candidate.prefix
        remove_tree(Path(copy).parent)
        return {}


_SHARED = "what methods share, such as a base interpreter, where another was started on that node before, each in its turn"


@dataclass(slots=True)
class FreshNode:
    """Another node of the job for each start of a candidate; `nodes` in the order in which they are taken.

    The node that runs the benchmark has touched every candidate, and is none of them.
    """

    nodes: tuple[str, ...]
    how: str = (
        "each start of a method was sent to a node of the job on which this run had not started it before, in an order drawn "
        "from the seed; what srun takes is in its time"
    )
    touched: dict[str, set[str]] = field(default_factory=dict)

    @property
    def leaves(self) -> str:
        """Say it of what was started until now."""
        before = f"what other programs, this job's and those of others, have read on that node before; {_SERVERS}"
        starts = [node for nodes in self.touched.values() for node in nodes]
        return before if len(starts) == len(set(starts)) else f"{_SHARED}; {before}"

    def prepare(self, candidate: Candidate) -> Candidate:
        """Return the candidate on a fresh node. Raises UsageError where there is none left."""
        node = next_node(self.nodes, self.touched, candidate.name)
        if not node:
            raise UsageError(f"{candidate.name} was started on every node of this job", hint=ALLOCATE)
        self.touched.setdefault(candidate.name, set()).add(node)
        return replace(candidate, node=node)

    def after(self, candidate: Candidate) -> Mapping[str, int]:
        """Do nothing: what the node knows now it keeps."""
        return {}


class Servers(Protocol):
    """What `Emulated` needs of the emulator."""

    def remount(self, meanwhile: Callable[[], None]) -> None:
        """Give its mounts a cold client, and count from zero; call `meanwhile` with nothing mounted."""

    def totals(self) -> Totals:
        """Return what its servers were asked for."""


@dataclass(slots=True)
class Emulated:
    """The emulated Lustre as it is, or remounted: with a client that has never seen a file.

    `meanwhile` starts what must not have files open there: a program is killed when it reads from a mount that is gone.
    """

    servers: Servers
    cold: bool
    meanwhile: Callable[[], None]
    before: Mapping[str, int] = field(default_factory=dict)

    @property
    def how(self) -> str:
        """Say it of this one."""
        if self.cold:
            return "the emulated Lustre was remounted for each start"
        return "started before on the emulated Lustre, discarded"

    @property
    def leaves(self) -> str:
        """Say it of this one."""
        return "what lies outside of the emulated folders: the system's own libraries" if self.cold else "everything"

    def prepare(self, candidate: Candidate) -> Candidate:
        """Mount again where it is to be cold."""
        if self.cold:
            self.servers.remount(self.meanwhile)
        self.before = self.servers.totals().as_dict()
        return candidate.mounted_anew()  # what a job has mounted was read before, and not from here

    def after(self, candidate: Candidate) -> Mapping[str, int]:
        """Return what the servers were asked for since then."""
        found = self.servers.totals().as_dict()
        return {kind: number - self.before[kind] for kind, number in found.items()}


def states_for(words: Iterable[str], work: Path, fresh: Sequence[str] = ()) -> dict[str, State]:
    """Return what brings about each state of these words, of `plan.STATES`, on this machine.

    A cold client is a fresh copy below `work`; with `fresh`, one of these nodes.
    """
    cold = FreshNode(tuple(fresh)) if fresh else FreshCopy(work)
    return {word: Warm() if word == "warm" else cold for word in words}


def _files(roots: Iterable[str]) -> Iterator[str]:
    """Yield each regular file below folders, links not followed; a root may be a file itself."""
    for root in roots:
        if os.path.isfile(root):
            yield root
        for base, _, names in os.walk(root):
            yield from (path for name in names if os.path.isfile(path := os.path.join(base, name)))


def drop_pages(paths: Iterable[str]) -> None:
    """Drop the pages of files from memory. What cannot be opened is passed over: it is not read either.

    Pages that were not written out yet cannot be dropped: the caller has them flushed.
    """
    if not hasattr(os, "posix_fadvise"):
        raise OSError("this system has no posix_fadvise")
    for path in paths:
        with suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            try:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)


def _copy(source: str, target: str) -> str:
    """Copy one file. Raises StoreError, at which copying a tree ends: of an OSError it would collect one for each file."""
    try:
        return shutil.copy2(source, target)
    except OSError as error:
        raise failed("make a fresh copy", Path(target), error) from error


def _flush(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
