"""Two results beside each other."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ozrepro.frontends.bench.compare import changes, differences, head, rows, unpaired, within
from ozrepro.frontends.bench.result import About
from ozrepro.frontends.bench.summary import summarise
from tests.frontends.bench.made import made
from tests.frontends.bench.values import a_result, a_row

FAST = {"modules": {"warm": 0.3}, "conda": {"warm": 0.3}}
SLOW = {"modules": {"warm": 0.9}, "conda": {"warm": 0.3}}


def test_a_comparison_tells_what_became_slower_and_what_did_not() -> None:
    """Three times as long for one of the two."""
    found = changes(*(summarise(made(speed=speed, ranks=(1,), seed=seed)) for speed, seed in ((FAST, 1), (SLOW, 2))))
    assert [item.candidate for item in found] == ["modules", "conda"]
    assert found[0].words.startswith("slower by 2.") or found[0].words.startswith("slower by 3.")
    assert found[1].words == "no clear difference"
    table = rows(found)
    assert table[0][:2] == ("modules", "imports, warm")
    assert all(len(row) == 5 for row in table)


def test_only_starts_that_both_results_have_are_compared() -> None:
    """A candidate or case of one alone is named among the differences."""
    first, second = made(speed=FAST, ranks=(1,)), made(speed={"conda": {"warm": 0.3}}, ranks=(1, 4))
    assert {item.case for item in changes(summarise(first), summarise(second))} == {("imports", "warm", 1)}
    assert differences(first, second) == (
        "only in the first: modules",
        "only in the second: imports, warm, 4 ranks",
    )


def test_a_comparison_tells_differences_of_place_lock_and_versions() -> None:
    """Each with both values; nothing is said of what is alike."""
    one = a_result()
    assert differences(one, one) == ()
    candidates = (About("venv", versions={"numpy": "2.1"}, base="/usr", mount="ext4"), About("conda"))
    other = a_result(
        session="fit", lock="", host={"name": "other", "cpus": 2}, fs={"type": "lustre", "options": ["rw"]}, candidates=candidates
    )
    assert differences(one, other) == (
        "session: work, then fit",
        "lock: 000000000000, then none",
        "host name: node, then other",
        "file system type: ext4, then lustre",
        "venv: numpy 2.0, then 2.1",
    )


FRESH, DROPPED = "a fresh copy for each start", "all caches of this node were dropped"


def test_a_state_of_one_name_that_was_brought_about_differently_is_told() -> None:
    """A fresh copy and dropped caches are both called cold-client, and are not the same start."""
    one = a_result(states={"warm": {"how": "started before", "leaves": ""}, "cold-client": {"how": FRESH, "leaves": "servers"}})
    other = a_result(states={"warm": {"how": "started before", "leaves": ""}, "cold-client": {"how": DROPPED, "leaves": "locks"}})
    assert differences(one, other) == (f"cold-client: {FRESH}; then {DROPPED}",)
    assert differences(one, a_result()) == (), "a state of one alone is not compared"


def test_what_a_state_leaves_is_told_where_it_was_brought_about_alike() -> None:
    """Nodes that several methods share are not as fresh as nodes of their own."""
    one, other = (a_result(states={"cold-client": {"how": "fresh nodes", "leaves": leaves}}) for leaves in ("", "what is shared"))
    assert differences(one, other) == ("cold-client leaves: nothing; then what is shared",)


def test_another_base_interpreter_or_mount_of_a_method_is_told() -> None:
    """Both decide what a start reads and from where; one that was not found out is unknown."""
    one = a_result(candidates=(About("venv", base="/usr", mount="ext4"), About("conda", base="/opt")))
    other = a_result(candidates=(About("venv", base="/apps/python", mount="lustre"), About("conda")))
    assert differences(one, other) == (
        "venv: base interpreter /usr, then /apps/python",
        "venv: on ext4, then lustre",
        "conda: base interpreter /opt, then unknown",
    )


def test_what_is_the_same_of_several_methods_is_told_once() -> None:
    """And what the file system's own line says is not said again of each method that is on it."""
    one, other = (
        a_result(
            fs={"type": kind},
            candidates=(
                *(About(name, versions={"numpy": version}, base=base, mount=kind) for name in ("modules", "conda")),
                About("container", mount=f"{kind}, by squashfuse"),
            ),
        )
        for kind, version, base in (("ext4", "2.0", "/usr"), ("lustre", "2.1", "/apps"))
    )
    assert differences(one, other) == (
        "file system type: ext4, then lustre",
        "modules, conda: base interpreter /usr, then /apps",
        "modules, conda: numpy 2.0, then 2.1",
        "container: on ext4, by squashfuse, then lustre, by squashfuse",
    )


def test_a_script_whose_text_was_changed_is_told() -> None:
    """Its name is the workload in both results; without its text a ratio says nothing of the methods."""
    rows = (a_row(workload="fit.py"), a_row(workload="same.py"), a_row(workload="numpy"), a_row(workload="gone.py"))
    one = a_result(rows=rows, scripts={"fit.py": "1" * 64, "same.py": "2" * 64, "gone.py": "3" * 64})
    other = replace(one, rows=rows[:3], scripts={"fit.py": "4" * 64, "same.py": "2" * 64})
    assert differences(one, other) == (
        "fit.py: another text, sha256 111111111111, then 444444444444",
        "only in the first: gone.py, warm",
    )


@pytest.mark.parametrize(
    ("one", "two", "which"), [({}, {"fit.py": "1"}, "first"), ({"fit.py": "1"}, {}, "second"), ({}, {}, "two")]
)
def test_a_script_of_a_result_that_did_not_keep_its_text_may_be_another(one: object, two: object, which: str) -> None:
    """Results of before it was kept."""
    first, second = (a_result(rows=(a_row(workload="fit.py"), a_row()), scripts=scripts) for scripts in (one, two))
    assert differences(first, second) == (f"fit.py: perhaps another text, as the {which} did not keep its sha256",)


def test_a_comparison_tells_failed_starts_and_an_incomplete_result() -> None:
    """A start that always failed, and a run that was cut short."""
    failed = (*(a_row("conda", number, status=1, ready=()) for number in (1, 2)), a_row(number=1, status=1), a_row(number=2))
    one = a_result(rows=(a_row("conda"), a_row()))
    assert differences(one, replace(one, rows=failed, complete=False, why="interrupted")) == (
        "in the second each start failed of conda, numpy, warm",
        "the second is not complete: interrupted",
    )


def test_another_lock_may_have_the_same_versions() -> None:
    """Such as one that was made again after a comment of the spec."""
    one = a_result()
    assert differences(one, replace(one, lock="1" * 64)) == (
        "lock: 000000000000, then 111111111111, with the same versions of what both measured",
    )


def test_facts_that_differ_are_told_in_words() -> None:
    """Memory as a size, no options that only another file system has, and two profiles of one name by their numbers."""
    one = a_result(host={"memory": 8 << 30}, fs={"type": "ext4", "options": ["rw"]})
    other = replace(
        one, host={"memory": 16 << 30}, fs={"type": "emulated lustre", "profile": "own"}, profile={"name": "own", "mds_us": 1}
    )
    assert differences(one, other) == ("host memory: 8.0 GiB, then 16 GiB", "file system type: ext4, then emulated lustre")
    assert differences(other, replace(other, profile={"name": "own", "mds_us": 2})) == ("profile mds_us: 1, then 2",)
    assert differences(other, replace(other, profile={"name": "storm", "mds_us": 2})) == (), "that one is the model's alone"


def test_the_head_of_a_comparison_names_both_results_within_80_columns() -> None:
    """The file, where it was measured, and when."""
    one = a_result(began="2026-11-27 13:10 UTC")
    other = a_result(states={"warm": {"how": "started before, " * 10, "leaves": ""}}, fs={"type": "ext4", "options": ["rw"]})
    lines = list(head(summarise(one), summarise(other), ("a.json", "b.json")))
    assert lines[:2] == ["first: a.json, work, on node, ext4, 2026-11-27 13:10 UTC", "second: b.json, work, on node, ext4"]
    assert lines[2].startswith("not alike: warm: started before; then started before, started")
    assert len(lines) > 4
    assert max(map(len, lines)) <= 80


def test_rows_of_a_comparison_are_in_the_order_of_cases_and_methods() -> None:
    """Whatever the order drawn was."""
    summary = summarise(made(speed={name: {"warm": 0.3} for name in ("modules", "conda")}, rounds=6, ranks=(1, 4), seed=3))
    assert summary.result.rows[0].candidate == "conda", "drawn first"
    assert [(item.candidate, item.case[2]) for item in changes(summary, summary)] == [
        *(("modules", 1), ("conda", 1)),
        *(("modules", 4), ("conda", 4)),
    ]


def test_the_ratio_within_each_result_is_what_travels() -> None:
    """Each is paired by round, whatever the load of the two days was."""
    first, second = (summarise(made(speed=speed, ranks=(1,))) for speed in (FAST, SLOW))
    (found,) = within(first, second)
    assert (found.candidate, found.reference, found.case) == ("conda", "modules", ("imports", "warm", 1))
    assert found.first == "no clear difference"
    assert found.second.startswith("faster by ")


def test_results_with_methods_in_another_order_have_their_ratios() -> None:
    """The second is told against the reference of the first: another order in the spec is no other result."""
    first, second = (summarise(made(speed=speed, ranks=(1,))) for speed in (FAST, SLOW))
    turned = replace(second.result, candidates=second.result.candidates[::-1])
    assert summarise(turned).reference != first.reference
    assert within(first, summarise(turned)) == within(first, second)


def test_the_reference_of_a_comparison_is_the_first_method_that_both_have() -> None:
    """One method in common alone has no ratio within."""
    speed = {name: {"warm": seconds} for name, seconds in (("modules", 0.3), ("conda", 0.3), ("container", 0.9))}
    first = summarise(made(speed=speed, ranks=(1,)))
    second = summarise(made(speed={name: speed[name] for name in ("container", "conda")}, ranks=(1,)))
    (found,) = within(first, second)
    assert (found.candidate, found.reference) == ("container", "conda")
    assert found.first.startswith("slower by ")
    assert within(first, summarise(made(speed={"conda": speed["conda"]}))) == ()


def test_the_interval_of_a_ratio_of_two_samples_is_computed() -> None:
    """It holds the ratio, repeats by its seed, and counts the smaller sample."""
    found = unpaired([2.0, 2.2, 1.8, 2.1, 1.9, 2.0, 2.0], [1.0, 1.1, 0.9, 1.0, 1.05, 0.95], 3)
    assert found.low <= 2.0 <= found.high
    assert found.count == 6
    assert found == unpaired([2.0, 2.2, 1.8, 2.1, 1.9, 2.0, 2.0], [1.0, 1.1, 0.9, 1.0, 1.05, 0.95], 3)
    for values, reference in (([], [1.0]), ([1.0], []), ([1.0], [0.0])):
        with pytest.raises(ValueError, match="ratio"):
            unpaired(values, reference, 1)
