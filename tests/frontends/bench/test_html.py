"""The HTML report: whole in one file, small, and laid out so that nothing overlaps, in a real browser."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ozrepro.frontends.bench import html
from ozrepro.frontends.bench.html import html_report
from ozrepro.frontends.bench.result import Result, Row
from ozrepro.frontends.bench.summary import summarise
from ozrepro.frontends.bench.verdict import judge
from tests.frontends.bench.browser import CHROMIUM, Box, lay_out, picture
from tests.frontends.bench.made import SPEED, made
from tests.frontends.bench.values import a_result, a_row

pytestmark = pytest.mark.slow

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
LONG = "sessions/a_very_long_name_of_a_script_that_somebody_has_written_for_his_thesis.py"


def report(result: Result) -> str:
    """Return the report of a result."""
    summary = summarise(result)
    return html_report(summary, judge(summary))


@pytest.fixture(scope="module")
def usual() -> str:
    """Give the report of three methods with all that can be measured."""
    return report(made(workloads=("empty", "imports"), refused=("venv: not locked for this platform (any)",)))


@pytest.fixture(scope="module")
def crowded() -> str:
    """Give the report of six candidates with names, versions and words that are too long."""
    names = ("modules", "conda", "container", "venv", "conda-with-a-long-label", "m" * 40)
    speed = {name: {"warm": 0.001 * 8**at} for at, name in enumerate(names)}
    rows = (a_row("venv", 1, workload=LONG, status=1, ready=(), error="E" * 200), a_row("modules", workload=LONG))
    first = made(speed=speed, workloads=(LONG,), ranks=(1, 2, 4, 8, 16, 32, 64, 128), rounds=6)
    replay = tuple(replace(item, preset="a folder " * 20) for item in first.replay)
    text = report(made(speed=speed, rows=(*first.rows, *rows), workloads=(LONG,), ranks=(), notes=("n" * 300,), replay=replay))
    assert LONG in text
    return text


def test_the_html_report_needs_no_other_file(usual: str) -> None:
    """No script, no address, no font or picture from anywhere; a browser is told to allow none."""
    lowered = usual.lower()
    for forbidden in ("<script", "javascript:", "http:", "https:", "//", "url(", "@import", "src=", "href=", "<link", " on"):
        if forbidden == " on":
            assert not re.search(r"<[^>]*\son\w+=", lowered)
        else:
            assert forbidden not in lowered.partition("<body>")[0].replace("http-equiv", "") + re.sub(r">[^<]*<", "><", lowered)
    assert "default-src 'none'" in usual


def test_the_html_report_has_every_section(usual: str) -> None:
    """In an order that begins with the verdict."""
    assert re.findall(r"<h[12]>(.*?)</h", usual) == [
        "Which method for analysis?",
        "How long a start takes",
        "Compared with modules",
        "Where the time goes",
        "What was compared",
        "All times",
        "Requests to the file system",
        "Many nodes",
        "What this does not show",
        "How it was measured",
    ]


def test_markup_in_a_result_is_text_in_the_html_report(usual: str) -> None:
    """Names, errors and versions are escaped."""
    evil = "<img src=x onerror=alert(1)>&\"'"
    text = report(
        a_result(session=evil, rows=(a_row("venv", workload=evil), a_row("conda", status=1, ready=(), error=evil)), notes=(evil,))
    )
    assert "<img" not in text
    assert "&lt;img src=x" in text


def test_the_interval_of_few_starts_is_said_to_be_their_range(usual: str) -> None:
    """Of six on the word holds."""
    speed = {"venv": {"warm": 0.3}, "conda": {"warm": 0.4}}
    words = "Of fewer than 6 starts the interval is their range, which holds the true median less often."
    assert words in report(made(speed=speed, rounds=5))
    assert words not in report(made(speed=speed, rounds=6))


def test_the_html_report_is_small(usual: str) -> None:
    """It is copied from a login node over a slow line, and opened on a telephone."""
    assert len(usual.encode()) < 40_000
    speed = {name: {"warm": 0.3, "cold-client": 1.0} for name in ("modules", "conda", "container", "venv")}
    large = report(made(speed=speed, workloads=("empty", "numpy", "imports", "fit.py"), ranks=(1, 2, 4, 8), rounds=20))
    assert len(large.encode()) < 120_000


@pytest.mark.parametrize("result", [a_result(), a_result(rows=()), a_result(rows=(), candidates=(), counts=(), replay=())])
def test_little_or_nothing_measured_is_still_a_page(result: Result) -> None:
    """An interrupted run has what it has."""
    text = report(result)
    assert text.startswith("<!DOCTYPE html>")
    assert text.count("<table") == text.count("</table>")


def failing(result: Result, lost: Callable[[Row], bool]) -> Result:
    """Return a result in which some starts failed."""
    rows = (replace(row, status=1, ready=(), phases={}, error="no such file") if lost(row) else row for row in result.rows)
    return replace(result, rows=tuple(rows))


def test_a_bar_has_the_phases_of_a_start_on_an_axis_of_all() -> None:
    """Half the time is half as long; one that failed has no bar, and a start far from the others is counted."""
    first = made(speed={"modules": {"warm": 0.3}, "conda": {"warm": 0.6}, "venv": {"warm": 0.6}}, ranks=(1,))
    rows = [replace(row, ready=tuple(9 * time for time in row.ready)) if row.round == 3 else row for row in first.rows]
    text = report(failing(replace(first, rows=tuple(rows)), lambda row: row.candidate == "venv"))
    drawn = text.partition("Where the time goes")[2].partition("</figure>")[0]
    bars = [sum(map(float, re.findall(r"width:([\d.]+)%", row))) for row in drawn.split('class="row"')[1:]]
    assert len(bars) == 2
    assert bars[1] == pytest.approx(100 / 1.04, abs=0.3)
    assert 0.45 < bars[0] / bars[1] < 0.55
    assert len(re.findall(r", \d far\b", text)) == 2


def test_every_figure_has_an_axis_with_a_label_and_its_unit(usual: str) -> None:
    """And says what its marks are."""
    figures = re.findall(r"<figure[^>]*>(.*?)</figure>", usual)
    labels = [re.findall(r'class="label">(.*?)<', figure) for figure in figures]
    assert labels == [
        ["seconds from the start to the end of the first call (logarithmic)"],
        ["time divided by that of modules in the same round (logarithmic)"],
        ["seconds, one phase after the other"],
    ]
    for figure in figures:
        assert len(re.findall(r"<b style", figure)) >= 2
        assert "<figcaption>" in figure


def test_the_words_of_the_cases_are_explained_where_they_stand() -> None:
    """Those that occur, and no other."""
    text = report(made(workloads=("imports",), ranks=(1,), speed={"venv": {"warm": 0.3}, "conda": {"warm": 0.4}}))
    assert re.findall(r"<dt>(.*?)</dt>", text) == ["warm", "imports"]
    text = report(made(workloads=("imports", "empty")))
    assert sorted(re.findall(r"<dt>(.*?)</dt>", text)) == ["cold-client", "empty", "imports", "ranks", "warm"]


def test_one_method_gives_a_short_report() -> None:
    """Without a comparison: no ratio, no other versions, no other columns."""
    text = report(made(speed={"venv": {"warm": 0.3}}, ranks=(1,)))
    assert re.findall(r"<h[12]>(.*?)</h", text) == [
        "How fast does analysis start?",
        "How long a start takes",
        "Where the time goes",
        "What was started",
        "All times",
        "Requests to the file system",
        "What this does not show",
        "How it was measured",
    ]
    assert "against" not in text


TWO = {name: SPEED[name] for name in ("modules", "container")}
KEYS = [(name, state, ranks) for name in TWO for state in ("warm", "cold-client") for ranks in (1, 4)]


@settings(max_examples=40, deadline=None)
@given(
    lost=st.sets(st.sampled_from(KEYS)),
    empty=st.booleans(),
    left_out=st.sets(st.sampled_from(["replay", "counts", "profile"])),
    only=st.sampled_from([("imports",), ("imports", "empty")]),
)
def test_whatever_failed_the_report_is_a_whole_page(
    lost: set[tuple[str, str, int]], empty: bool, left_out: set[str], only: tuple[str, ...]
) -> None:
    """Any groups of starts, with the other workload or without, and any part of what is measured besides them."""
    first = failing(
        made(speed=TWO, workloads=only, rounds=1),
        lambda row: (row.candidate, row.state, row.ranks) in lost and (empty or row.workload != "empty"),
    )
    nothing: dict[str, Any] = {name: None if name == "profile" else () for name in left_out}
    text = report(replace(first, **nothing))
    assert text.startswith("<!DOCTYPE html>")
    assert text.count("<table") == text.count("</table>")


def _wrong(boxes: tuple[Box, ...]) -> list[str]:
    """Return what overlaps."""
    return [f"{one.words!r} on {two.words!r}" for one, two in combinations(boxes, 2) if one.meets(two, 1.0)]


@needs_chromium
@pytest.mark.parametrize("name", ["usual", "crowded"])
@pytest.mark.parametrize("width", [360, 1200])
def test_nothing_overlaps_on_a_telephone_and_on_a_screen(
    width: int, name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """No text on another or on a bar, and the page itself does not scroll sideways."""
    page = lay_out(request.getfixturevalue(name), width, tmp_path)
    assert page.width <= width
    assert len([box for box in page.boxes if box.kind == "text"]) > 150
    assert len([box for box in page.boxes if box.kind == "bar"]) > 30
    assert _wrong(page.boxes) == []


@needs_chromium
def test_the_test_for_overlaps_sees_one(tmp_path: Path) -> None:
    """The measure finds two texts at one place."""
    text = '<p style="position:absolute;top:0">one</p><p style="position:absolute;top:4px">two</p>'
    assert _wrong(lay_out(f"<!DOCTYPE html><body>{text}</body>", 360, tmp_path).boxes) == ["'one' on 'two'"]


@needs_chromium
def test_the_html_report_is_dark_where_the_reader_prefers_dark(usual: str, tmp_path: Path) -> None:
    """By the reader's own setting, without a script."""
    light, dark = (lay_out(usual, 360, tmp_path, dark=dark) for dark in (False, True))
    assert (light.back, dark.back) == ("rgb(255, 255, 255)", "rgb(22, 24, 27)")
    assert picture(usual, 360, 800, tmp_path, dark=True).startswith(b"\x89PNG")


def _contrast(one: str, two: str) -> float:
    """Return the contrast of two colours as WCAG 2 defines it."""

    def light(colour: str) -> float:
        full = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
        parts = (int(full[at : at + 2], 16) / 255 for at in (0, 2, 4))
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((light(one), light(two)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [html._LIGHT, html._DARK])
def test_colours_of_the_html_report_contrast_with_the_page(theme: str) -> None:
    """Text by 4.5, the mark of the verdict by 3, as WCAG asks for."""
    colours = dict(item.split(":") for item in theme.replace("--", "").split(";") if item)
    for name in ("fg", "soft"):
        assert _contrast(colours[name], colours["bg"]) >= 4.5, name
    assert _contrast(colours["mark"], colours["bg"]) >= 3


def test_the_model_is_shown_of_the_main_workload() -> None:
    """The table says which, and has no number of another; without a count of it there is none."""
    result = made(workloads=("imports", "empty"), ranks=(1,), rounds=2)
    text = report(result)
    assert "has read imports: predicted by a model" in text
    assert "<td>busy</td>" in text
    assert len(re.findall("<td>busy</td>", text)) == 4
    less = report(replace(result, replay=tuple(item for item in result.replay if item.workload == "empty")))
    assert "predicted by a model" not in less
    assert "<h2>Many nodes</h2>" not in less
    before = report(replace(result, replay=tuple(replace(item, workload="") for item in result.replay[:4])))
    assert "has read the workload that was started last: predicted" in before


def test_what_a_lustre_client_counted_has_a_column_where_there_is_any() -> None:
    """A start in which it was not counted has a dash there."""
    first = a_result()
    warm = replace(first.counts[0], state="warm", client={"close": 1_171})
    text = report(replace(first, counts=(first.counts[0], warm)))
    assert '<th class="n">counted by the client</th></tr>' in text
    assert '<td class="n">10</td><td class="n">-</td></tr>' in text
    assert '<td class="n">10</td><td class="n">1,171</td></tr>' in text
    assert "counted by the client" not in report(first)
