"""From rows to medians, ratios and differences."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ozrepro.frontends.bench.result import About, Counted
from ozrepro.frontends.bench.summary import (
    case_words,
    client_requests,
    compare_in,
    metadata_requests,
    requests_of,
    summarise,
    time_words,
)
from tests.frontends.bench.made import made
from tests.frontends.bench.values import a_result, a_row

CASE = ("numpy", "warm", 1)


def test_medians_and_extremes_are_of_the_time_until_the_last_rank_is_ready() -> None:
    """Not of the wall time, which has the end of the processes in it; of many ranks the last counts."""
    rows = tuple(a_row(number=number, wall=9.0, ready=(0.1, time), ranks=2) for number, time in enumerate((0.4, 0.5, 0.9), 1))
    group = summarise(a_result(rows=rows)).group("venv", ("numpy", "warm", 2))
    assert group is not None
    assert group.seconds is not None
    assert (group.seconds.median, group.least, group.most) == (0.5, 0.4, 0.9)
    assert group.p90 == pytest.approx(0.82)
    assert group.runs == ((1, 0.4), (2, 0.5), (3, 0.9))


def test_a_failed_start_has_no_time_and_counts_as_failed() -> None:
    """Its last line is kept; a group of failures has no median."""
    rows = (a_row(), a_row(number=2, status=1, ready=(), error="boom"), a_row("conda", status=-9, ready=(), error=""))
    summary = summarise(a_result(rows=rows))
    venv, conda = summary.group("venv", CASE), summary.group("conda", CASE)
    assert venv is not None
    assert conda is not None
    assert (len(venv.runs), venv.failed, venv.error) == (1, 1, "boom")
    assert (conda.seconds, conda.failed) == (None, 1)
    assert summary.seconds("conda", CASE) is None


def test_ratios_pair_rounds_in_which_both_went_well() -> None:
    """A drift that both share is divided out; a round with a failure is not a pair."""
    rows = []
    for number in range(1, 11):
        drift = 1.0 + number
        rows += [a_row(number=number, ready=(drift,)), a_row("conda", number, ready=(2 * drift,))]
    rows.append(a_row(number=11, ready=(100.0,)))
    rows.append(a_row("conda", 11, status=1, ready=()))
    (found,) = summarise(a_result(rows=tuple(rows))).ratios
    assert (found.candidate, found.reference) == ("conda", "venv")
    assert (found.ratio.median, found.ratio.low, found.ratio.high, found.ratio.count) == (2.0, 2.0, 2.0, 10)


def test_without_a_common_round_there_is_no_ratio() -> None:
    """Nor where one of the two has no start of the case."""
    summary = summarise(a_result(rows=(a_row(), a_row("conda", 2))))
    assert summary.ratios == ()
    assert compare_in(summary.groups, "venv", "container", CASE, 1) is None


def test_the_reference_is_the_first_that_has_a_time() -> None:
    """The spec's first is what would be taken; one that only failed is no measure."""
    rows = (a_row(status=1, ready=()), a_row("conda"))
    assert summarise(a_result(rows=rows)).reference == "conda"
    assert summarise(a_result()).reference == "venv"
    assert summarise(a_result(), "conda").reference == "conda"


def test_a_far_start_is_flagged_and_stays_in_the_numbers() -> None:
    """Round 5 took ten times as long."""
    times = [0.40, 0.41, 0.42, 0.43, 4.0, 0.41, 0.42, 0.40]
    group = summarise(a_result(rows=tuple(a_row(number=at, ready=(time,)) for at, time in enumerate(times, 1)))).group(
        "venv", CASE
    )
    assert group is not None
    assert group.far == (5,)
    assert group.most == 4.0
    assert group.noisy


def test_phases_are_medians_of_starts_that_went_well() -> None:
    """A phase that nobody reached is absent."""
    rows = tuple(a_row(number=at, phases={"environment": 0.0, "imports": time}) for at, time in enumerate((0.1, 0.2, 0.6), 1))
    group = summarise(a_result(rows=(*rows, a_row(number=4, status=1, ready=(), phases={"imports": 99.0})))).group("venv", CASE)
    assert group is not None
    assert group.phases == {"environment": 0.0, "imports": 0.2}


def test_versions_that_differ_between_methods_are_listed() -> None:
    """A package that one candidate alone has is not a difference of versions."""
    candidates = (
        About("venv", versions={"numpy": "1", "six": "1", "pip": "24"}),
        About("conda", versions={"numpy": "2", "six": "1"}),
    )
    assert summarise(a_result(candidates=candidates)).unlike == {"numpy": {"venv": "1", "conda": "2"}}


@pytest.mark.parametrize(
    ("workloads", "main"),
    [
        (("empty", "numpy", "imports"), "imports"),
        (("empty", "numpy", "fit.py"), "fit.py"),
        (("empty", "numpy"), "numpy"),
        (("empty", "other"), "other"),
        (("empty",), "empty"),
    ],
)
def test_the_verdict_is_about_the_workload_closest_to_the_users(workloads: tuple[str, ...], main: str) -> None:
    """The spec's imports, else a script, else numpy, else whatever is not empty."""
    assert summarise(made(workloads=workloads, rounds=2)).main == main


def test_the_replay_is_that_of_the_main_workload() -> None:
    """Wherever that stands in the plan; nothing of another stands in for it where it could not be counted."""
    result = made(workloads=("imports", "empty"), rounds=2)
    found = summarise(result).replay
    assert {item.workload for item in result.replay} == {"imports", "empty"}
    assert found
    assert {item.workload for item in found} == {"imports"}
    assert summarise(replace(result, replay=tuple(item for item in result.replay if item.workload == "empty"))).replay == ()


def test_the_replay_of_a_file_that_names_no_workload_is_kept() -> None:
    """It is of the last workload of the plan, which is not known to be the main one."""
    result = made(workloads=("imports", "empty"), rounds=2)
    before = tuple(replace(item, workload="") for item in result.replay if item.workload == "empty")
    assert summarise(replace(result, replay=before)).replay == before


def test_requests_have_an_order_and_those_of_metadata_are_told_from_others() -> None:
    """That of the report; bytes are no requests."""
    counted = Counted("venv", "numpy", "warm", {}, 0, 0, 0, 0, 0, {"read": 5, "miss": 2, "lookup": 10, "bytes": 999, "open": 0})
    assert list(requests_of(counted).items()) == [("lookup", 10), ("miss", 2), ("read", 5)]
    assert metadata_requests(counted) == 12


def test_what_a_client_counted_is_added_up_but_for_looks_at_its_own_locks() -> None:
    """A client that counted nothing is another thing than none."""
    counted = a_result().counts[0]
    assert client_requests(counted) is None
    assert client_requests(replace(counted, client={})) == 0
    assert client_requests(replace(counted, client={"close": 3, "intent_lock": 9, "revalidate_lock": 50})) == 12


def test_times_have_three_digits_and_cases_are_named_in_words() -> None:
    """Three digits at most, and the unit that has them."""
    shown = [time_words(value) for value in (0.0004, 0.0094, 0.0842, 0.9994, 0.9996, 1.744, 9.996, 99.96, 12345.6)]
    assert shown == ["0.4 ms", "9.4 ms", "84 ms", "999 ms", "1.00 s", "1.74 s", "10.0 s", "100 s", "12,346 s"]
    assert case_words(("numpy", "warm", 1)) == "numpy, warm"
    assert case_words(("numpy", "warm", 4)) == "numpy, warm, 4 ranks"
