"""Figures as files, for papers and talks: drawn by matplotlib, which the extra `ozrepro[report]` brings.

Nothing else imports matplotlib: it takes a second, and most people want the HTML report.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ozrepro.bench.result import PHASES
from ozrepro.bench.statistics import DEAD_ZONE
from ozrepro.bench.summary import METADATA, OBJECTS, case_words, requests_of
from ozrepro.errors import StoreError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ozrepro.bench.summary import Summary

FORMATS = ("png", "svg", "pdf")
COLOURS = ("#0072b2", "#b35900", "#00805c", "#a8417f", "#6b5fb5", "#7a6a00")
"""Those of the HTML report on a light page."""


def write_figures(summary: Summary, folder: Path, form: str = "svg") -> tuple[Path, ...]:
    """Write ratios, phases and requests, those that there are numbers for, and return the files.

    Raises UsageError without matplotlib or for another format, StoreError where a file cannot be written.
    """
    if form not in FORMATS:
        raise UsageError(f"{form!r} is no format of figures", hint=f"one of: {', '.join(FORMATS)}")
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError("figures as files need matplotlib", hint="pip install 'ozrepro[report]'") from error
    drawn = {"ratios": _ratios, "phases": _phases, "requests": _requests}
    written = []
    for name, draw in drawn.items():
        figure = Figure(figsize=(7, 4), layout="constrained")
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


def _ratios(summary: Summary, axes: Axes) -> bool:
    found = list(reversed(summary.ratios))
    axes.axvspan(1 - DEAD_ZONE, 1 + DEAD_ZONE, color="0.9")
    axes.axvline(1, color="0.6", linewidth=0.8)
    for place, item in enumerate(found):
        ends = [[item.ratio.median - item.ratio.low], [item.ratio.high - item.ratio.median]]
        axes.errorbar([item.ratio.median], [place], xerr=ends, fmt="o", color=_colour(summary, item.candidate), capsize=3)
    axes.set_yticks(range(len(found)), [f"{item.candidate}: {case_words(item.case)}" for item in found], fontsize=8)
    axes.set_xscale("log")
    axes.set_xlabel(f"time to that of {summary.reference} in the same round, median and 95 % interval")
    return bool(found)


def _phases(summary: Summary, axes: Axes) -> bool:
    groups = [group for group in summary.groups.values() if group.phases and group.case[0] == summary.main][::-1]
    begun = [0.0] * len(groups)
    for phase, shade in zip(PHASES, ("#9a9a9a", "#3d85c6", "#e0962a", "#7b5ea7"), strict=True):
        widths = [group.phases.get(phase, 0.0) for group in groups]
        axes.barh(range(len(groups)), widths, left=begun, color=shade, label=phase.replace("_", " "))
        begun = [start + width for start, width in zip(begun, widths, strict=True)]
    axes.set_yticks(range(len(groups)), [f"{group.candidate}: {case_words(group.case)}" for group in groups], fontsize=8)
    axes.set_xlabel("seconds, median of each phase")
    axes.legend(fontsize=8)
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
        axes.set_ylabel(f"requests of one cold start of {summary.main}")
        axes.legend(fontsize=8)
    return bool(found)
