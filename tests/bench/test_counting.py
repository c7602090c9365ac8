"""What a Lustre client of the node counted during a whole run."""

from __future__ import annotations

from ozrepro.bench.compare import differences
from ozrepro.bench.counting import with_counters
from ozrepro.lustre.counters import Counters
from tests.bench.made import made


def test_what_a_lustre_client_counted_is_told_beside_the_prediction() -> None:
    """All of the node's requests, as other users' cannot be told apart; nothing where there is no such client."""
    result = made(speed={"venv": {"warm": 1.0}}, rounds=1)
    assert with_counters(result, Counters({}, {}, ())) is result
    found = with_counters(result, Counters({"close": 1200, "intent_lock": 90}, {}, ("mdc.fred",), ("llite cannot be read",)))
    assert found.notes[0].endswith("these requests to metadata servers: close 1,200, intent_lock 90.")
    assert found.notes[1] == "llite cannot be read"
    assert found.fs["counters"]["mds"] == {"close": 1200, "intent_lock": 90}
    assert differences(result, found) == ()
