"""Results that were edited or damaged: each wrong value is reported with its key, and never met later."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ozrepro.errors import OzreproError, UsageError
from ozrepro.frontends.bench.compare import changes, differences, rows, within
from ozrepro.frontends.bench.html import html_report
from ozrepro.frontends.bench.result import Result, read_result, write_result, write_text
from ozrepro.frontends.bench.summary import summarise
from ozrepro.frontends.bench.terminal import terminal_report
from ozrepro.frontends.bench.verdict import judge
from tests.frontends.bench.values import a_result

BASE = json.loads(json.dumps(a_result(scripts={"fit.py": "1" * 64}).as_dict()))
WRONG: tuple[object, ...] = (
    *(None, [], [None], ["x"], [0.0], [1], "", "x", "\ud800", "\x1b[31m", True, {}, {"x": 1}, {"x": []}, {"": {}}),
    *(0, -1, 1.5, 1e-300, 1e18, 10**30, 10**400, float("nan"), float("inf")),
)


def put(value: Any, path: Sequence[str | int], new: object) -> Any:
    """Return a value of JSON with another at a path in it."""
    if not path:
        return new
    parts: Any = value.copy() if isinstance(value, dict) else list(value)
    parts[path[0]] = put(parts[path[0]], path[1:], new)
    return parts


def places(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the paths of all values in a value of JSON, of a list of likes those of the first."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    for key, item in inner:
        yield from places(item, (*path, key))


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("rows",), 3, "rows: is a whole number; write an array"),
        (
            ("rows", 0),
            {"candidate": "x"},
            "rows[0]: lacks workload, state, ranks, round, phases, wall, user, system, rss, status",
        ),
        (("rows", 0, "ready"), [0.0], "rows[0].ready[0]: is 0.0; write a number above 0"),
        (("rows", 0, "wall"), float("nan"), "rows[0].wall: is nan; write a number from 0"),
        (("rows", 0, "rss"), 1.5, "rows[0].rss: is a number; write a whole number from 0"),
        (("rows", 0, "status"), True, "rows[0].status: is true or false; write a whole number"),
        (("rows", 1, "candidate"), "nix", "rows[1].candidate: 'nix' is not one of the candidates"),
        (("rows", 0, "phases"), {"imports": "1"}, "rows[0].phases.imports: is a string; write a number"),
        (("rows", 0, "phases"), {"\ud800": 1}, "is not valid Unicode"),
        (("candidates", 0), 3, "candidates[0]: is a whole number; write a table"),
        (("replay", 0), [], "replay[0]: is an array; write a table"),
        (("replay", 0, "nodes"), 0, "replay[0].nodes: is 0; write a whole number from 1"),
        (("host",), None, "host: is null; write a table"),
        (("host", "cpus"), 10**30, "host.cpus: is nested too deeply, or holds invalid Unicode or a number of more than 64 bits"),
        (("host", "name"), "\ud800", "host.name: is nested too deeply, or holds invalid Unicode"),
        (("session",), None, "session: is null; write a string in quotes"),
        (("session",), "\ud800", "session: '\\ud800' is not valid Unicode"),
        (("complete",), "yes", "complete: is a string; write true or false"),
    ],
)
def test_a_value_of_a_wrong_type_is_told_with_its_key(
    tmp_path: Path, path: tuple[str | int, ...], value: object, said: str
) -> None:
    """And the file, and what to try."""
    (tmp_path / "r.json").write_text(json.dumps(put(a_result().as_dict(), path, value)))
    with pytest.raises(UsageError) as caught:
        read_result(tmp_path / "r.json")
    assert said in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path / 'r.json'}: invalid result:")
    assert "try: correct these values, or measure again: ozrepro bench NAME --json FILE" in str(caught.value)


def test_all_mistakes_of_a_result_are_told_together(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(json.dumps({**a_result().as_dict(), "host": None, "seed": "x", "notes": [1]}))
    with pytest.raises(UsageError) as caught:
        read_result(tmp_path / "r.json")
    assert [line.split(":")[0].strip() for line in str(caught.value).splitlines()[1:-1]] == ["host", "seed", "notes[0]"]


def test_whatever_a_value_is_replaced_by_the_file_is_read_or_refused(tmp_path: Path) -> None:
    """Every value of a file, each by every kind of value."""
    path, read, refused = tmp_path / "r.json", 0, 0
    for place in places(BASE):
        for value in WRONG:
            path.write_text(json.dumps(put(BASE, place, value)))
            try:
                assert isinstance(read_result(path), Result)
                read += 1
            except OzreproError as error:
                assert str(path) in str(error)
                assert "try: " in str(error)
                refused += 1
    assert min(read, refused) > 100


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(list(places(BASE))), st.sampled_from(WRONG))
@example(("candidates",), [])
@example(("candidates", 0, "name"), "\x1b[31m")
@example(("rows", 0, "ready", 0), 0.0)
@example(("rows", 0, "ready", 0), 1e18)
@example(("host",), None)
def test_a_damaged_result_that_is_read_can_be_shown_and_compared(
    tmp_path: Path, place: tuple[str | int, ...], value: object
) -> None:
    """In the terminal, as a page, beside another result, and as files."""
    (tmp_path / "r.json").write_text(json.dumps(put(BASE, place, value)))
    try:
        result = read_result(tmp_path / "r.json")
    except OzreproError:
        return
    found, other = summarise(result), summarise(a_result())
    for one, two in ((found, other), (other, found)):
        differences(one.result, two.result)
        assert all(len(row) == 5 for row in rows(changes(one, two)))
        within(one, two)
    verdict = judge(found, 0)
    assert terminal_report(found, verdict)
    write_text(tmp_path / "r.html", html_report(found, verdict))
    write_result(tmp_path / "r.json", result)
    assert read_result(tmp_path / "r.json") == result
