"""How long requests take when many wait for the same servers: the queues behind the replay and the emulator.

A server takes one request after the other, each for the time in which it could serve it at its highest rate; what is left of a
request's latency passes without keeping others. So one client alone sees the latency, and many together see the rate. A node
has a number of requests under way to the metadata server, and no more.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ozrepro.lustre.model import KINDS

if TYPE_CHECKING:
    from ozrepro.lustre.profile import Profile

__all__ = ["SERVERS", "Cost", "Servers", "cost"]

SERVERS = ("mds", "ost")
"""The servers, in the order of their numbers."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a request costs: the number of its server, the seconds for which it keeps that, and those that pass besides."""

    server: int
    busy: float
    wait: float


def cost(profile: Profile, kind: str, size: int = 0) -> Cost:
    """Return the cost of a request of `kind`, which brings `size` bytes."""
    if KINDS[kind] == "mds":
        busy = 1 / (profile.mds_opens if kind in {"open", "close"} else profile.mds_stats)
        return Cost(0, busy, max(0.0, profile.mds_us / 1e6 - busy))
    busy = max(1 / profile.ost_requests, size / profile.ost_total)
    return Cost(1, busy, max(0.0, profile.ost_us / 1e6 + size / profile.ost_stream - busy))


class Servers:
    """The servers of one file system in virtual time, and its nodes' limits. Not safe for several threads at once."""

    def __init__(self, profile: Profile, nodes: int) -> None:
        self.profile = profile
        self.free = [0.0 for _ in SERVERS]
        self.slots = [[0.0] * profile.in_flight for _ in range(nodes)]

    def finish(self, node: int, kind: str, size: int, now: float) -> float:
        """Return when a request that node number `node` makes at second `now` is answered, with all that were made before it."""
        item = cost(self.profile, kind, size)
        begin = now
        if item.server == 0:
            begin = max(begin, self.slots[node][0])
        self.free[item.server] = max(begin, self.free[item.server]) + item.busy
        end = self.free[item.server] + item.wait
        if item.server == 0:
            heapq.heapreplace(self.slots[node], end)
        return end
