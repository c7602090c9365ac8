"""How long requests take when many wait for the same servers: the queues behind the replay and the emulator.

A server takes one request after the other, each for the time in which it could serve it at its highest rate; what is left of a
request's latency passes without keeping others. So one client
alone sees the latency, and many together see the rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ozrepro.frontends.bench.lustre.model import KINDS

if TYPE_CHECKING:
    from ozrepro.frontends.bench.lustre.profile import Profile

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
    """The servers of one file system in virtual time. Requests are to come in the order of their instants."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.free = [0.0 for _ in SERVERS]

    def finish(self, kind: str, size: int, now: float) -> float:
        """Return when a request that is made at second `now` is answered, with all that were made before it."""
        item = cost(self.profile, kind, size)
        self.free[item.server] = max(now, self.free[item.server]) + item.busy
        return self.free[item.server] + item.wait
