"""The report for a terminal: 80 columns, everything in it, plain where asked."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ozrepro.frontends.bench.html import html_report
from ozrepro.frontends.bench.result import About, Result
from ozrepro.frontends.bench.summary import summarise
from ozrepro.frontends.bench.terminal import WIDTH, bar, terminal_report
from ozrepro.frontends.bench.verdict import judge
from tests.frontends.bench.made import SPEED, made
from tests.frontends.bench.values import a_result, a_row


def shown(result: Result, *, plain: bool = True) -> str:
    """Return the report as text."""
    summary = summarise(result)
    return "\n".join(line.text for line in terminal_report(summary, judge(summary), plain=plain))


def test_no_line_of_the_terminal_report_is_over_80_columns() -> None:
    """Also with names that do not fit."""
    long = "an/extremely/long/path/" * 6
    candidates = tuple(
        About(name, 10**7, 10**13, {"numpy": long, name: "1"}, long, "lustre", 1e6) for name in ("modules", "conda")
    )
    result = made(
        candidates=candidates, speed={"modules": {"warm": 1.0}, "conda": {"warm": 2.0}}, refused=(f"venv: {long}",), notes=(long,)
    )
    for plain in (True, False):
        assert max(len(line) for line in shown(result, plain=plain).splitlines()) <= WIDTH


def test_the_plain_report_is_ascii_but_for_the_times_sign() -> None:
    """A bar is of #; the other way has eighths of a block."""
    text = shown(made())
    assert set(text) - set(map(chr, range(32, 127))) <= {"\n", "×"}
    assert "█" in shown(made(), plain=False)


@pytest.mark.parametrize(
    ("share", "drawn", "plain"), [(1.0, "████", "####"), (0.5, "██", "##"), (0.53, "██▏", "##"), (0.0, "▏", "#")]
)
def test_bars_are_drawn_in_proportion(share: float, drawn: str, plain: str) -> None:
    """Eighths of a column; something is always seen."""
    assert bar(share, 4) == drawn
    assert bar(share, 4, plain=True) == plain


def test_the_terminal_report_has_all_parts() -> None:
    """What was compared, what differs, each case, counts, the verdict and what it does not show."""
    text = shown(made(refused=("venv: not locked for this platform (any)",)))
    for part in (
        "analysis: 3 compared on node, lustre",
        "41,080  300 MiB",
        "OTHER VERSIONS",
        "imports, cold-client, 4 ranks",
        "faster by",
        "METADATA",
        "Take container.",
        "What this does not show",
        "- Not measured: venv: not locked for this platform (any)",
    ):
        assert part in text


def test_an_emulated_file_system_is_named_with_its_profile() -> None:
    """Times on a busy one and on a quiet one are far apart."""
    result = made(fs={"type": "emulated lustre", "profile": "storm"})
    summary = summarise(result)
    assert terminal_report(summary, judge(summary))[0].text.endswith(" compared on node, emulated lustre (storm)")
    assert "node, emulated lustre (storm)" in html_report(summary, judge(summary))


def test_a_failed_group_and_far_starts_are_told() -> None:
    """Without a number where there is none."""
    times = (0.40, 0.41, 0.42, 0.43, 4.0, 0.41, 0.42)
    rows = (
        *(a_row(number=at, ready=(time,)) for at, time in enumerate(times, 1)),
        a_row("conda", status=1, ready=(), error="boom"),
    )
    text = shown(a_result(rows=rows))
    assert "conda  failed" in " ".join(text.split(" ")).replace("   ", "  ")
    assert "1 start is far from the others of the kind; none is left out." in text
    assert "Noisy, so more rounds would help: venv (numpy, warm)." in text
    assert "conda failed in 1 start (numpy, warm, 1 rank): boom" in text


def test_what_a_lustre_client_counted_has_a_column_where_there_is_any() -> None:
    """Of the starts that it was counted in; it says that it is the whole node's."""
    result = made(speed=SPEED)
    told = replace(
        result,
        counts=tuple(replace(item, client={"close": 1_171}) if item.state == "warm" else item for item in result.counts),
    )
    text = shown(told)
    rows = [line.split() for line in text.splitlines() if line.startswith("modules") and "imports," in line]
    assert [row[-2:] for row in rows] == [["797", "-"], ["342", "1,171"]]
    assert "METADATA  CLIENT" in text
    assert "for all users of it" in text
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "CLIENT" not in shown(result)


def test_an_empty_result_can_be_shown() -> None:
    """An interrupted run may have no row at all."""
    text = shown(a_result(rows=(), counts=(), complete=False, why="interrupted"))
    assert "Nothing can be recommended" in text
    assert "The run is not complete: interrupted." in text


def test_control_characters_of_a_stranger_do_not_break_lines() -> None:
    """A line feed in a name is not a line of the report."""
    text = shown(a_result(rows=(a_row(status=1, ready=(), error="a\nb"),)))
    assert ": a b" in text
