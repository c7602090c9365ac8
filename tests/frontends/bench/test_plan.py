"""The plan: order, load, and places that are not for it."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ozrepro.errors import UsageError
from ozrepro.frontends.bench.host import Place
from ozrepro.frontends.bench.nodes import Nodes
from ozrepro.frontends.bench.plan import Load, Plan, check_place, fresh_words, order, predict
from ozrepro.frontends.bench.workload import Workload, of_imports

EMPTY = (Workload("empty"),)


@given(st.integers(), st.sets(st.text(min_size=1), min_size=1, max_size=5), st.integers(1, 20))
def test_every_round_has_every_candidate_once(seed: int, names: set[str], rounds: int) -> None:
    blocks = order(seed, list(names), rounds)
    assert len(blocks) == rounds
    assert all(sorted(block) == sorted(names) for block in blocks)


def test_the_same_seed_gives_the_same_order_whatever_the_candidates_order_was() -> None:
    assert order(5, ["a", "b", "c"], 10) == order(5, ["c", "a", "b"], 10)
    assert order(5, ["a", "b", "c"], 10) != order(6, ["a", "b", "c"], 10)


def test_every_place_in_a_round_is_taken_by_every_candidate_about_as_often() -> None:
    first = Counter(block[0] for block in order(1, ["a", "b", "c"], 600))
    assert all(150 < first[name] < 250 for name in "abc")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"states": ("hot",)}, "unknown state 'hot'"),
        ({"states": ()}, "no state given"),
        ({"workloads": ()}, "nothing to start"),
        ({"ranks": (0,)}, "--ranks must be from 1"),
        ({"ranks": ()}, "--ranks must be from 1"),
        ({"rounds": 0}, "--rounds must be at least 1"),
        ({"workloads": (*EMPTY, *EMPTY)}, "the workload empty is named twice"),
        ({"budget_seconds": 0.0}, "--budget must be more than 0 seconds"),
        (
            {"ranks": (1, 4), "nodes": Nodes("n1", ("n2",))},
            "2 kinds of start.* each takes a node of its own: 1 fresh node for it\n  try: salloc --nodes=3",
        ),
    ],
)
def test_a_plan_of_impossible_numbers_is_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Plan(**{"workloads": EMPTY, **changes})  # type: ignore[arg-type]


def test_the_load_is_counted_from_single_starts() -> None:
    plan = Plan(EMPTY, ("warm", "cold-client"), (1, 4), rounds=10, cold_rounds=3, warmups=2)
    first, later = {"lookup": 60, "open": 20, "close": 20}, {"miss": 10, "open": 10, "close": 10}
    load = predict(plan, {"venv": False, "container": True}, {("venv", "empty"): first}, {("venv", "empty"): later}, 0)
    warm = 1 * 100 + (2 + 10 * 5 - 1) * 30
    cold = 3 * 2 * 100 + (3 * 5 - 6) * 30
    assert load.requests["venv"] == warm + cold
    assert load.processes == 2 * (2 + 10 * 5 + 3 * 5)
    assert load.assumed == ("container",)
    assert f"venv {warm + cold:,}" in load.words()
    assert "assumed for container" in load.words()


def test_opens_that_the_client_has_a_lock_for_are_no_load() -> None:
    plan = Plan(EMPTY, ("warm", "cold-client"), (1, 8), rounds=10, cold_rounds=3, warmups=2)
    first, later = {"lookup": 60, "open": 20, "close": 20}, {"miss": 1, "open": 10, "close": 10}
    load = predict(plan, {"venv": False}, {("venv", "empty"): first}, {("venv", "empty"): later}, 5)
    warm = 100 + (2 + 10 * 9 - 1) * 1 + 4 * 10 + 3 * 10
    cold = 3 * (100 + 100 + 7 * 1 + 4 * 10 + 3 * 10)
    assert load.requests["venv"] == warm + cold


def test_an_image_is_assumed_to_ask_for_less_than_a_tree() -> None:
    numpy = (of_imports("numpy", ("numpy",)),)
    load = predict(Plan(numpy), {"venv": False, "container": True}, {}, {}, 5)
    assert load.requests["container"] * 50 < load.requests["venv"]
    assert predict(Plan(EMPTY), {"venv": False}, {}, {}, 5).requests["venv"] < load.requests["venv"]


def test_many_ranks_on_a_login_node_are_refused_and_in_a_job_they_are_not() -> None:
    plan = Plan(EMPTY, ranks=(1, 64))
    with pytest.raises(UsageError, match="64 processes at once are too many for a login node"):
        check_place(plan, Place(8, scheduler=True))
    check_place(plan, Place(8, job="17", scheduler=True))
    check_place(plan, Place(8))


def test_many_requests_from_a_login_node_are_refused() -> None:
    with pytest.raises(UsageError, match="about 900,000 requests"):
        check_place(Plan(EMPTY), Place(8, scheduler=True), Load(10, {"venv": 900_000}, 1))
    check_place(Plan(EMPTY), Place(8, scheduler=True), Load(10, {"venv": 9_000}, 1))


@pytest.mark.parametrize(("count", "rounds"), [(2, 1), (7, 3), (14, 7), (40, 7)])
def test_a_cold_client_has_no_more_rounds_than_fresh_nodes_for_each_kind_of_start(count: int, rounds: int) -> None:
    nodes = Nodes("own", tuple(f"n{number}" for number in range(count)))
    plan = Plan(EMPTY, ("warm", "cold-client"), (1, 4), rounds=10, cold_rounds=7, nodes=nodes)
    assert [plan.rounds_of(state) for state in plan.states] == [10, rounds]
    assert plan.starts("cold-client") == rounds * 5


def test_what_fresh_nodes_are_enough_for_is_said_with_how_many_there_should_be() -> None:
    nodes = Nodes("own", tuple("abcdefg"))
    assert fresh_words(Plan(EMPTY, ranks=(1, 4), nodes=nodes)) == (
        "cold-client: 7 fresh nodes give 3 rounds of 2 kinds of start; 9 rounds would need a job of 19 nodes"
    )
    assert fresh_words(Plan(EMPTY, cold_rounds=1, nodes=Nodes("own", ("a",)))) == (
        "cold-client: 1 fresh node gives 1 round of 1 kind of start"
    )


def test_the_order_of_nodes_is_drawn_from_the_seed() -> None:
    nodes = Nodes("own", tuple("abcdefg"))
    first, second, other = (Plan(EMPTY, seed=seed, nodes=nodes).nodes_drawn() for seed in (1, 1, 2))
    assert first == second != other
    assert sorted(first) == sorted(other) == list("abcdefg")
    assert Plan(EMPTY).nodes_drawn() == ()
