"""Which requests a Lustre client sends for what a program does.

A cold client asks the metadata server (MDS) once for each name, and keeps what locks let it keep; opens and closes it asks for
each time. The object servers (OST) are asked for sizes, locks and data. The rules, from the sources of Lustre 2.15 and after:

- A part of a path that is there: one lookup, kept (llite/namei.c). - A part that is missing: one lookup, which is kept only
while the client holds the lock on the folder's content, as after a listing or a stat of the folder (llite/namei.c, the end of a
lookup). What would stand below it costs nothing. - The size of a regular file: one glimpse, kept. Where a symbolic link leads:
one lookup, kept. - An open, and a close: one request each time, also for a folder, but not for the one that is mounted
(ll_file_open). From the fifth open on the client holds a lock on it and asks no more (LU-10948). - A listing: one request,
kept. The first read: one lock, kept, and the data in parts of 4 MiB; a file of up to that size as a whole.

Left out: files on several stripes, and small files on the MDS itself; changes by others, which take locks away; statahead.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

from ozrepro.frontends.bench.lustre.profile import BUSY, PRESETS, QUIET, STORM, Profile, read_profile, write_profile
from ozrepro.frontends.bench.lustre.trace import Event

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = [
    "BUSY",
    "KINDS",
    "PRESETS",
    "QUIET",
    "STORM",
    "Client",
    "Profile",
    "Request",
    "Totals",
    "read_profile",
    "requests",
    "write_profile",
]

KINDS: Mapping[str, str] = {
    "lookup": "mds",
    "miss": "mds",
    "open": "mds",
    "close": "mds",
    "readdir": "mds",
    "create": "mds",
    "change": "mds",
    "glimpse": "ost",
    "enqueue": "ost",
    "read": "ost",
    "write": "ost",
}
"""The kinds of requests, and who answers them."""

METADATA = tuple(kind for kind, server in KINDS.items() if server == "mds")
"""The requests that go to the metadata server."""

OBJECTS = tuple(kind for kind, server in KINDS.items() if server == "ost")
"""The requests that go to the servers of the data."""

CHANGING = ("create", "change", "write")
"""The requests of programs that change files: a build sends them, a start does not."""

_EXECUTED = 128 << 10
"""Bytes of a program of unknown size that are read at its start: Linux's usual readahead."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request of a client.

    `bytes` are those that a read brings; `kept` tells that the client keeps the answer for other processes.
    """

    kind: str
    server: str
    bytes: int = 0
    kept: bool = False


@dataclass(frozen=True, slots=True)
class Totals:
    """Requests by kind, and the bytes that reads bring. As a table the keys are those of `KINDS`, and `bytes`."""

    lookups: int = 0
    misses: int = 0
    opens: int = 0
    closes: int = 0
    readdirs: int = 0
    creates: int = 0
    changes: int = 0
    glimpses: int = 0
    enqueues: int = 0
    reads: int = 0
    writes: int = 0
    bytes: int = 0

    @classmethod
    def of(cls, sent: Iterable[Request]) -> Totals:
        """Count requests."""
        found: Counter[str] = Counter()
        size = 0
        for request in sent:
            found[request.kind] += 1
            size += request.bytes
        return cls.from_dict({**found, "bytes": size})

    @property
    def mds(self) -> int:
        """Requests to the metadata server."""
        return self.lookups + self.misses + self.opens + self.closes + self.readdirs + self.creates + self.changes

    @property
    def ost(self) -> int:
        """Requests to the object servers."""
        return self.glimpses + self.enqueues + self.reads + self.writes

    def as_dict(self) -> dict[str, int]:
        """Return the totals as a table: kinds of requests, and bytes."""
        return dict(zip((*KINDS, "bytes"), (getattr(self, item.name) for item in fields(self)), strict=True))

    @classmethod
    def from_dict(cls, table: Mapping[str, int]) -> Totals:
        """Return the totals of such a table; a kind that it lacks was not sent."""
        names = dict(zip((*KINDS, "bytes"), (item.name for item in fields(cls)), strict=True))
        return cls(**{name: table.get(kind, 0) for kind, name in names.items()})


@dataclass(slots=True)
class Client:
    """What a node keeps: names and locks that it has been given. Cold when new; every process on the node adds to the same one.

    Not kept in mind: that a node has room for some thousands of unused locks only, and drops those of over ten minutes' age.
    """

    roots: tuple[str, ...] = ("/",)
    """Where the file systems are mounted: what is above them costs nothing."""
    profile: Profile = QUIET
    """Of which only the sizes of reads and the rule of open locks count here."""
    names: set[str] = field(default_factory=set)
    absent: set[str] = field(default_factory=set)
    links: set[str] = field(default_factory=set)
    held: set[str] = field(default_factory=set)
    listed: set[str] = field(default_factory=set)
    sized: set[str] = field(default_factory=set)
    locked: set[str] = field(default_factory=set)
    sizes: dict[str, int] = field(default_factory=dict)
    fetched: dict[str, int] = field(default_factory=dict)
    opens: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.roots = tuple(root.rstrip("/") for root in self.roots)
        self.held.update(self.roots)


def requests(events: Iterable[Event], cache: Client) -> tuple[Request, ...]:
    """Return what one run of a program, with these events, makes a client send. `cache` then holds what the client has learnt.

    What the program still has open at its end is closed then.
    """
    events = tuple(events)
    # The client knows a size as soon as it needs it, a trace only once the program asks.
    cache.sizes.update((event.path, event.size) for event in events if event.kind == "stat")
    run = _Run(cache, _there(events))
    sent: list[Request] = []
    for event in events:
        sent += run.requests(event)
    sent += run.ended()
    return tuple(sent)


def _there(events: Iterable[Event]) -> frozenset[str]:
    """Return all paths that the events show to exist: those that were found, and what stands above them."""
    known: set[str] = set()
    for event in events:
        path = event.path if event.found else ""
        while path and path not in known:
            known.add(path)
            path = path.rpartition("/")[0]
    return frozenset(known)


class _Run:
    """One program on a client."""

    def __init__(self, cache: Client, there: frozenset[str]) -> None:
        self.cache = cache
        self.there = there
        self.open: Counter[str] = Counter()
        self.asked: dict[str, int] = {}

    def requests(self, event: Event) -> Iterator[Request]:
        """Yield what one event sends."""
        if event.kind == "missing":
            yield from self._walk(event.path)
        elif event.kind in {"open", "exec", "opendir"}:
            yield from self._walk(event.path)
            yield from self._open(event.path)
            if event.kind == "exec":
                yield from self._executed(event.path)
        elif event.kind == "close":
            if self.open[event.path]:
                yield from self._close(event.path)
        elif event.kind in {"read", "map"}:
            yield from self._read(event)
        elif event.kind == "readdir":
            yield from self._once("readdir", event.path, self.cache.listed)
            self.cache.held.add(event.path)
        else:
            yield from self._walk(event.path)
            yield from self._looked(event)

    def ended(self) -> Iterator[Request]:
        """Yield the closes at the end of the program."""
        for path, number in sorted(self.open.items()):
            for _ in range(number):
                yield from self._close(path)

    def _looked(self, event: Event) -> Iterator[Request]:
        if event.kind == "stat":
            yield from self._once("glimpse", event.path, self.cache.sized)
        elif event.kind == "link":  # the target is a request of its own, and kept with the link
            yield from self._once("lookup", event.path, self.cache.links)
        elif event.kind == "dir":
            self.cache.held.add(event.path)

    def _walk(self, path: str) -> Iterator[Request]:
        """Yield the lookups of a path's parts below its root, as far as it exists."""
        for part in self._parts(path):
            if part in self.cache.names:
                continue
            if part in self.there:
                self.cache.names.add(part)
                yield _request("lookup", kept=True)
                continue
            if part not in self.cache.absent:
                yield self._miss(part)
            return

    def _parts(self, path: str) -> list[str]:
        root = max((root for root in self.cache.roots if path == root or path.startswith(root + "/")), key=len, default=None)
        if root is None or path in {root, root + "/"}:
            return []
        parts = [path]
        while (parent := parts[-1].rpartition("/")[0]) != root:
            parts.append(parent)
        return parts[::-1]

    def _miss(self, path: str) -> Request:
        # Only under the lock on the folder's content, which a listing or a stat of the folder gives, can a client know that a
        # name is still absent.
        kept = path.rpartition("/")[0] in self.cache.held
        if kept:
            self.cache.absent.add(path)
        return _request("miss", kept=kept)

    def _open(self, path: str) -> Iterator[Request]:
        self.open[path] += 1
        self.cache.opens[path] += 1
        # Lustre opens the folder that is mounted without asking.
        # The open that reaches the number asks for the lock, and is itself still a request.
        locked = 0 < self.profile.open_lock_after < self.cache.opens[path]
        if path not in self.cache.roots and not locked:
            yield _request("open")

    def _executed(self, path: str) -> Iterator[Request]:
        # The kernel maps the program, for which it needs its size; no system call tells of it, nor how large the program is.
        yield from self._once("glimpse", path, self.cache.sized)
        yield from self._read(Event("map", path, size=_EXECUTED))

    def _close(self, path: str) -> Iterator[Request]:
        self.open[path] -= 1
        locked = 0 < self.profile.open_lock_after <= self.cache.opens[path]
        if path not in self.cache.roots and not locked:
            yield _request("close")

    def _read(self, event: Event) -> Iterator[Request]:
        cache, path = self.cache, event.path
        yield from self._once("enqueue", path, cache.locked)
        # A trace does not say from where in a file was read: a program is taken to begin at the front, and to go on.
        before = self.asked.get(path, 0)
        self.asked[path] = max(before, event.size) if event.kind == "map" else before + event.size
        size = cache.sizes.get(path)
        wanted = self.asked[path] if size is None else min(self.asked[path], size)
        if size is not None and size <= self.profile.whole_bytes:
            wanted = size
        done = cache.fetched.get(path, 0)
        while done < wanted:
            part = min(self.profile.read_bytes, (wanted if size is None else size) - done)
            done += part
            yield _request("read", bytes=part, kept=True)
        cache.fetched[path] = done

    def _once(self, kind: str, path: str, seen: set[str]) -> Iterator[Request]:
        if path not in seen:
            seen.add(path)
            yield _request(kind, kept=True)

    @property
    def profile(self) -> Profile:
        return self.cache.profile


def senders(kind: str, starts: int, open_lock_after: int) -> int:
    """Return how many of so many starts by one client send their requests of a kind, where the client kept no answer.

    The open that is number `open_lock_after` still asks, and its close no more; 0 is for a client that always asks.
    """
    if not open_lock_after or kind not in {"open", "close"}:
        return starts
    return min(starts, open_lock_after if kind == "open" else open_lock_after - 1)


def of_starts(first: Mapping[str, int], later: Mapping[str, int], starts: int, open_lock_after: int) -> dict[str, int]:
    """Return the requests by kind of so many starts by one client, one or more, from those of a cold start and of the next."""
    return {
        kind: first.get(kind, 0) + max(0, senders(kind, starts, open_lock_after) - 1) * later.get(kind, 0)
        for kind in KINDS
        if first.get(kind) or later.get(kind)
    }


def _request(kind: str, *, bytes: int = 0, kept: bool = False) -> Request:  # noqa: A002
    return Request(kind, KINDS[kind], bytes, kept)
