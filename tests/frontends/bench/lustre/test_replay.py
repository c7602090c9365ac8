"""When the last rank is ready: known cases by hand, and what holds for all."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ozrepro.errors import UsageError
from ozrepro.frontends.bench.lustre.model import KINDS, PRESETS, QUIET, STORM, Client, Profile, Request, requests
from ozrepro.frontends.bench.lustre.replay import replay
from ozrepro.frontends.bench.lustre.trace import Event

LOOKUP = Request("lookup", "mds", kept=True)
OPEN, CLOSE = Request("open", "mds"), Request("close", "mds")

request = st.builds(
    lambda kind, size, kept: Request(kind, KINDS[kind], size if kind == "read" else 0, kept),
    st.sampled_from(list(KINDS)),
    st.integers(0, 4 << 20),
    st.booleans(),
)
sequences = st.lists(request, max_size=12)
profiles = st.sampled_from(list(PRESETS.values()))
small = st.integers(1, 12)


def last(asked: list[Request], profile: Profile, nodes: int, ranks: int, *, shared: bool) -> float:
    return replay(asked, profile, nodes=nodes, ranks=ranks, shared=shared).last


def test_one_rank_alone_sees_the_latency_of_each_request() -> None:
    found = replay([LOOKUP, OPEN, CLOSE], QUIET, nodes=1, ranks=1, shared=True)
    assert found.last == pytest.approx(3 * 200e-6)
    assert found.events == 3


def test_a_read_takes_its_bytes_time_besides() -> None:
    asked = [Request("read", "ost", 2_000_000)]
    assert last(asked, QUIET, 1, 1, shared=True) == pytest.approx(300e-6 + 2e-3)


def test_many_ranks_see_the_rate_of_the_server() -> None:
    found = replay([OPEN] * 10, STORM, nodes=500, ranks=4, shared=True)
    assert found.last == pytest.approx(20_000 / 10_000, rel=0.01)
    assert found.busiest == "mds"
    assert found.busy == pytest.approx(20_000 / 10_000)


def test_ranks_of_a_node_share_what_its_client_keeps() -> None:
    assert replay([LOOKUP] * 10, QUIET, nodes=2, ranks=16, shared=True).events == 20
    assert replay([LOOKUP] * 10, QUIET, nodes=2, ranks=16, shared=False).events == 320


def test_opens_are_free_for_ranks_after_the_open_lock() -> None:
    assert replay([OPEN, CLOSE], QUIET, nodes=1, ranks=16, shared=True).events == 5 + 4
    assert replay([OPEN, CLOSE], replace(QUIET, open_lock_after=0), nodes=1, ranks=16, shared=True).events == 32
    assert replay([OPEN, CLOSE], QUIET, nodes=1, ranks=16, shared=False).events == 32


def test_ranks_in_turn_and_a_replay_send_the_same_opens() -> None:
    events = [Event("open", "/fs/a"), Event("close", "/fs/a")]
    cache = Client(("/fs",))
    by_model = sum(len(requests(events, cache)) for _ in range(9))
    first = requests(events, Client(("/fs",)))
    assert replay(first, QUIET, nodes=1, ranks=9, shared=True).events == by_model


def test_a_node_has_no_more_than_its_requests_under_way() -> None:
    profile = replace(QUIET, mds_opens=10**9, in_flight=2)
    assert last([OPEN], profile, 1, 6, shared=False) == pytest.approx(3 * 200e-6, rel=0.01)
    assert last([OPEN], profile, 6, 1, shared=False) == pytest.approx(200e-6, rel=0.01)


def test_a_million_requests_are_each_served() -> None:
    found = replay([LOOKUP, OPEN, CLOSE] * 170, QUIET, nodes=64, ranks=32, shared=False)
    assert found.events == 170 * 3 * 64 * 32 > 10**6
    assert len(found.by_rank) == 64 * 32


def test_a_replay_without_requests_is_ready_at_once() -> None:
    found = replay([], QUIET, nodes=2, ranks=2, shared=True)
    assert (found.last, found.events) == (0.0, 0)


@pytest.mark.parametrize(("nodes", "ranks"), [(0, 1), (1, 0), (-1, 2)])
def test_a_replay_without_nodes_or_ranks_is_refused(nodes: int, ranks: int) -> None:
    with pytest.raises(UsageError, match="at least one"):
        replay([], QUIET, nodes=nodes, ranks=ranks, shared=True)


@given(sequences, profiles, small, small, st.booleans())
@settings(max_examples=300)
def test_more_ranks_nodes_or_latency_never_finish_earlier(
    asked: list[Request], profile: Profile, nodes: int, ranks: int, shared: bool
) -> None:
    here = last(asked, profile, nodes, ranks, shared=shared)
    assert last(asked, profile, nodes, ranks + 1, shared=shared) >= here
    assert last(asked, profile, nodes + 1, ranks, shared=shared) >= here
    assert last(asked, replace(profile, mds_us=profile.mds_us + 7), nodes, ranks, shared=shared) >= here
    assert last(asked, replace(profile, ost_us=profile.ost_us * 2), nodes, ranks, shared=shared) >= here


@given(sequences, profiles, small, small)
def test_sharing_a_cache_never_sends_more(asked: list[Request], profile: Profile, nodes: int, ranks: int) -> None:
    alone, together = (replay(asked, profile, nodes=nodes, ranks=ranks, shared=shared) for shared in (False, True))
    assert together.events <= alone.events


@given(sequences, profiles, small, small, st.booleans())
def test_a_replay_repeats_exactly(asked: list[Request], profile: Profile, nodes: int, ranks: int, shared: bool) -> None:
    first, second = (replay(asked, profile, nodes=nodes, ranks=ranks, shared=shared) for _ in range(2))
    assert first == second
