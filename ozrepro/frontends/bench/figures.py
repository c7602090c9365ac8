"""Figures as files, for papers and talks: drawn by matplotlib, which the extra `ozrepro[report]` brings.

Nothing else imports matplotlib: it takes a second, and most people want the HTML report.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ozrepro.errors import StoreError, UsageError
from ozrepro.frontends.bench.estimates import DEAD_ZONE
from ozrepro.frontends.bench.lustre.model import METADATA, OBJECTS
from ozrepro.frontends.bench.result import PHASES
from ozrepro.frontends.bench.summary import case_words, requests_of
from ozrepro.frontends.bench.svg import measured, replayed, shown_preset

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ozrepro.frontends.bench.summary import Group, Summary

FORMATS = ("png", "svg", "pdf")
COLOURS = ("#0072b2", "#b35900", "#00805c", "#a8417f", "#6b5fb5", "#7a6a00")
"""Those of the HTML report on a light page."""


def write_figures(summary: Summary, folder: Path, form: str = "svg") -> tuple[Path, ...]:
    """Write ratios, phases, requests and ranks, those that there are numbers for, and return the files.

    Raises UsageError without matplotlib or for another format, StoreError where a file cannot be written.
    """
    if form not in FORMATS:
        raise UsageError(f"{form!r} is no format of figures", hint=f"one of: {', '.join(FORMATS)}")
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError("figures as files need matplotlib", hint="pip install 'matplotlib>=3.8'") from error
    drawn = {"ratios": _ratios, "phases": _phases, "requests": _requests, "ranks": _ranks}
    written = []
    for name, draw in drawn.items():
        rows = {"ratios": len(summary.ratios), "phases": len(_of_main(summary))}.get(name, 10)
        figure = Figure(figsize=(7, 1.4 + 0.28 * rows), layout="constrained")
        if draw(summary, figure.subplots()):
            written.append(_save(figure, folder / f"{name}.{form}"))
    return tuple(written)


def _save(figure: Figure, path: Path) -> Path:
    from matplotlib import rc_context

    dated = {"svg": "Date", "pdf": "CreationDate"}.get(path.suffix[1:])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Neither a date nor random names inside: the same result gives the same file.
        with rc_context({"svg.hashsalt": "ozrepro"}):
            figure.savefig(path, dpi=160, metadata={dated: None} if dated else {})
    except OSError as error:
        raise StoreError(f"cannot write the figure: {error.strerror or error}", where=str(path)) from error
    return path


def _colour(summary: Summary, name: str) -> str:
    return COLOURS[summary.names.index(name) % len(COLOURS)]


def _literal(words: str) -> str:
    """Return words of somebody's as matplotlib shows them as they are: two dollar signs would begin and end a formula."""
    return words.replace("$", r"\$")


def _ratios(summary: Summary, axes: Axes) -> bool:
    found = list(reversed(summary.ratios))
    axes.axvspan(1 - DEAD_ZONE, 1 + DEAD_ZONE, color="0.9")
    axes.axvline(1, color="0.6", linewidth=0.8)
    for place, item in enumerate(found):
        ends = [[item.ratio.median - item.ratio.low], [item.ratio.high - item.ratio.median]]
        axes.errorbar([item.ratio.median], [place], xerr=ends, fmt="o", color=_colour(summary, item.candidate), capsize=3)
    axes.set_yticks(range(len(found)), [_literal(f"{item.candidate}: {case_words(item.case)}") for item in found], fontsize=8)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:.1g}")
    axes.tick_params(axis="x", which="both", labelsize=8)
    axes.set_xlabel(f"time, divided by that of {summary.reference} in the same round (median, 95 %)", fontsize=9)
    return bool(found)


def _of_main(summary: Summary) -> list[Group]:
    cases = [case for case in summary.cases if case[0] == summary.main]
    found = (summary.group(name, case) for case in cases for name in summary.names)
    return [group for group in found if group is not None and group.phases]


def _legend(axes: Axes, columns: int) -> None:
    """Put the legend above the figure, where it covers nothing."""
    axes.legend(fontsize=8, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=columns)


def _phases(summary: Summary, axes: Axes) -> bool:
    groups = _of_main(summary)[::-1]
    begun = [0.0] * len(groups)
    for phase, shade in zip(PHASES, ("#9a9a9a", "#3d85c6", "#e0962a", "#7b5ea7"), strict=True):
        widths = [group.phases.get(phase, 0.0) for group in groups]
        axes.barh(range(len(groups)), widths, left=begun, color=shade, label=phase.replace("_", " "))
        begun = [start + width for start, width in zip(begun, widths, strict=True)]
    axes.set_yticks(
        range(len(groups)), [_literal(f"{group.candidate}: {case_words(group.case)}") for group in groups], fontsize=8
    )
    axes.set_xlabel("seconds, median of each phase", fontsize=9)
    _legend(axes, len(PHASES))
    return bool(groups)


def _requests(summary: Summary, axes: Axes) -> bool:
    found = [item for item in summary.result.counts if item.requests and item.workload == summary.main and item.state != "warm"]
    kinds = [kind for kind in (*METADATA, *OBJECTS) if any(kind in requests_of(item) for item in found)]
    width = 0.8 / max(len(found), 1)
    for number, item in enumerate(found):
        places = [place + width * (number - (len(found) - 1) / 2) for place in range(len(kinds))]
        heights = [requests_of(item).get(kind, 0) for kind in kinds]
        axes.bar(places, heights, width, color=_colour(summary, item.candidate), label=item.candidate)
    if found:
        axes.set_xticks(range(len(kinds)), kinds)
        axes.set_yscale("log")
        axes.set_ylim(bottom=0.5)  # so that a single request is seen
        axes.set_ylabel(f"requests of one cold start of {_literal(summary.main)}", fontsize=9)
        _legend(axes, len(found))
    return bool(found)


def _ranks(summary: Summary, axes: Axes) -> bool:
    """Draw measured times of the main workload, a line for each candidate and state, and the model's, dashed."""
    preset = shown_preset(summary)
    cases = [case for case in summary.cases if case[0] == summary.main]
    shown = False
    for name in summary.names:
        for state in dict.fromkeys(case[1] for case in cases):
            points = measured(summary, name, summary.main, state)
            shown = shown or len(points) > 1
            marker = "o" if state == "warm" else "s"
            axes.plot(*_columns(points), marker=marker, color=_colour(summary, name), label=f"{name}, {state}")
        points = replayed(summary.replay, name, preset)
        shown = shown or bool(points)
        if points:
            axes.plot(
                *_columns(points), linestyle="--", color=_colour(summary, name), label=f"{name}, model ({_literal(preset)})"
            )
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_yscale("log")
    axes.set_xlabel("processes", fontsize=9)
    axes.set_ylabel("seconds until the last is ready", fontsize=9)
    if shown:
        _legend(axes, 3)
    return shown


def _columns(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [point[0] for point in points], [point[1] for point in points]
