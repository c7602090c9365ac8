"""What a Lustre client of the node counted during a whole run, and what is replayed of one start."""

from __future__ import annotations

from dataclasses import replace

from ozrepro.environment import Environment
from ozrepro.frontends.bench.candidate import Candidate
from ozrepro.frontends.bench.compare import differences
from ozrepro.frontends.bench.counting import Asked, replays, with_counters
from ozrepro.frontends.bench.lustre.counters import Counters
from ozrepro.frontends.bench.lustre.model import QUIET
from ozrepro.frontends.bench.lustre.trace import Event
from tests.frontends.bench.made import made


def test_what_a_lustre_client_counted_is_told_beside_the_prediction() -> None:
    """All of the node's requests, as other users' cannot be told apart; nothing where there is no such client."""
    result = made(speed={"venv": {"warm": 1.0}}, rounds=1)
    assert with_counters(result, Counters({}, {}, ())) is result
    found = with_counters(result, Counters({"close": 1200, "intent_lock": 90}, {}, ("mdc.fred",), ("llite cannot be read",)))
    assert found.notes[0].endswith("these requests to metadata servers: close 1,200, intent_lock 90.")
    assert found.notes[1] == "llite cannot be read"
    assert found.fs["counters"]["mds"] == {"close": 1200, "intent_lock": 90}
    assert differences(result, found) == ()


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
