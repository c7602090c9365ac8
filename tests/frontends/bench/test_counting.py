"""What is replayed of one start."""

from __future__ import annotations

from dataclasses import replace

from ozrepro.environment import Environment
from ozrepro.frontends.bench.candidate import Candidate
from ozrepro.frontends.bench.counting import Asked, replays
from ozrepro.frontends.bench.lustre.model import QUIET
from ozrepro.frontends.bench.lustre.trace import Event
from tests.frontends.bench.made import made


def test_each_profile_is_replayed_with_the_requests_of_its_own_client() -> None:
    """A client that reads less at once asks more often, and each time waits for an answer."""
    events = (Event("open", "/fs/a"), Event("read", "/fs/a", size=1 << 20), Event("close", "/fs/a"))
    counts = made(speed={"venv": {"warm": 1.0}}, rounds=1).counts
    asked = Asked(events, (counts[0], counts[1]), (), ())
    candidate = Candidate("venv", Environment(), "/fs", ("/fs",))
    profiles = (QUIET, replace(QUIET, name="small", read_bytes=1 << 12, whole_bytes=0))
    quiet, small = replays(candidate, asked, profiles, ((1, 1),))
    assert (quiet.preset, small.preset) == ("quiet", "small")
    assert small.last > quiet.last + 255 * QUIET.ost_us / 1e6
