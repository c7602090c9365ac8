"""Values of JSON that are none of a result's: told by their key, and never met later."""

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
from ozrepro.frontends.bench.result import Result, csv_text, hyperfine_text, read_result, write_result, write_text
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
        (("rows",), 3, "rows: is 3; an array is wanted"),
        (
            ("rows", 0),
            {"candidate": "x"},
            "rows[0]: lacks workload, state, ranks, round, phases, wall, user, system, rss, status",
        ),
        (("rows", 0, "ready"), [0.0], "rows[0].ready[0]: is 0.0; a number above 0 is wanted"),
        (("rows", 0, "wall"), float("nan"), "rows[0].wall: is nan; a number from 0 is wanted"),
        (("rows", 0, "rss"), 1.5, "rows[0].rss: is 1.5; a whole number from 0 is wanted"),
        (("rows", 0, "status"), True, "rows[0].status: is true; a whole number is wanted"),
        (("rows", 1, "candidate"), "nix", "rows[1].candidate: 'nix' is none of the candidates"),
        (("rows", 0, "phases"), {"imports": "1"}, "rows[0].phases.imports: is '1'; a number is wanted"),
        (("rows", 0, "phases"), {"\ud800": 1}, "is a key that is no text"),
        (("candidates", 0), 3, "candidates[0]: is 3; a table is wanted"),
        (("importtime", 0), [], "importtime[0]: is an array; a table is wanted"),
        (("importtime", 0, "modules", 1, "depth"), 10**9, "a whole number from 0 to 99,999 is wanted"),
        (("host",), None, "host: is null; a table is wanted"),
        (("host", "cpus"), 10**30, "host.cpus: is nested too deeply, or holds what is no text or a number of more than 64 bits"),
        (("host", "name"), "\ud800", "host.name: is nested too deeply, or holds what is no text"),
        (("session",), None, "session: is null; a string is wanted"),
        (("session",), "\ud800", "session: is '\\ud800'; a string is wanted"),
        (("complete",), "yes", "complete: is 'yes'; true or false is wanted"),
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
    assert str(caught.value).startswith(f"{tmp_path / 'r.json'}: is no whole result:")
    assert "try: mend these, or measure anew: ozrepro bench NAME --json FILE" in str(caught.value)


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
@example(("importtime", 0, "modules", 0, "depth"), 10**18)
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
    write_text(tmp_path / "r.csv", csv_text(result) + hyperfine_text(result))
    write_result(tmp_path / "r.json", result)
    assert read_result(tmp_path / "r.json") == result
