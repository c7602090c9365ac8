"""The figures of the page that `page.py` writes, by matplotlib: the same results give the same files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from measured import COLD, REQUESTS, WARM, methods_of, of_session, sessions_of, typical

from ozrepro.frontends.bench.estimates import DEAD_ZONE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from measured import Measured

FORMS = (("", "o", ""), (" as a file", "s", "//"), (" as a staged file", "D", ".."))
"""How a candidate's name ends, the last one that fits: its marker, and the hatch of its bars. Its method has a colour."""
COLOURS = ("#0072b2", "#b35900", "#00805c", "#a8417f", "#6b5fb5", "#7a6a00")
"""Those of the HTML report on a light page."""

STYLES = {"quiet": ":", "busy": "--", "storm": "-"}
NAMES = ("ratios", "requests", "replay")


def write_plots(cells: Sequence[Measured], folder: Path) -> tuple[Path, ...]:
    """Write all figures as SVG and return the files."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    written = []
    sessions = sessions_of(cells)
    for name, draw, height in (("ratios", _ratios, 8.4), ("requests", _requests, 3.9), ("replay", _replay, 4.2)):
        # Neither a date nor random names inside.
        with rc_context({"svg.hashsalt": "ozrepro", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
            figure = Figure(figsize=(max(7.6, 2.9 * len(sessions)), height), layout="constrained")
            draw(figure, cells, sessions)
            path = folder / f"{name}.svg"
            figure.savefig(path, metadata={"Date": None})
            written.append(path)
    return tuple(written)


def _form(name: str) -> tuple[str, str, str]:
    return next(form for form in reversed(FORMS) if name.endswith(form[0]))


def _colour(cells: Sequence[Measured], name: str) -> str:
    methods = list(dict.fromkeys(other.removesuffix(_form(other)[0]) for other in methods_of(cells)))
    return COLOURS[methods.index(name.removesuffix(_form(name)[0])) % len(COLOURS)]


def _grid(figure: Figure, rows: int, columns: int, alike: Literal["x", "y"]) -> list[list[Axes]]:
    """Return axes by row and column, all of one horizontal or of one vertical scale; the latter is named once."""
    grid: list[list[Axes]] = []
    for row in range(rows):
        grid.append([])
        for column in range(columns):
            first = grid[0][0] if row or column else None
            shared = {"sharex": first} if alike == "x" else {"sharey": first}
            axes = figure.add_subplot(rows, columns, row * columns + column + 1, **shared)
            axes.tick_params(axis="y", labelleft=alike == "x" or column == 0)
            grid[-1].append(axes)
    return grid


def _legend(figure: Figure, axes: Axes, columns: int) -> None:
    """Put the legend above all axes, each entry once."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=columns, frameon=False)


def _ratios(figure: Figure, cells: Sequence[Measured], sessions: Sequence[str]) -> None:
    """Draw ratios to the first method with their intervals: a column for each session, cold above warm."""
    grid = _grid(figure, 2, len(sessions), "x")
    for column, session in enumerate(sessions):
        some = of_session(cells, session)
        for row, (state, words) in enumerate(((COLD, "cold"), (WARM, "warm"))):
            axes = grid[row][column]
            cases = [(cell, case) for cell in some for case in cell.cases(state)]
            _ratio_axes(axes, cells, cases)
            axes.set_title(f"{session}, {words}", fontsize=10)
    figure.supxlabel("time, divided by that of the session's first method in the same round (median, 95 %)", fontsize=9)
    _legend(figure, grid[0][0], 4)


def _ratio_axes(axes: Axes, cells: Sequence[Measured], cases: Sequence[tuple[Measured, tuple[str, str, int]]]) -> None:
    axes.axvspan(1 - DEAD_ZONE, 1 + DEAD_ZONE, color="0.9")
    axes.axvline(1, color="0.6", linewidth=0.8)
    names = methods_of(cells)[1:]
    for number, name in enumerate(names):
        shift = 0.8 / max(1, len(names)) * (number - (len(names) - 1) / 2)
        points = [
            (len(cases) - 1 - place - shift, found)
            for place, (cell, case) in enumerate(cases)
            if name != cell.names[0] and (found := cell.ratio(name, cell.names[0], case)) is not None
        ]
        middles = [found.median for _, found in points]
        ends = [[found.median - found.low for _, found in points], [found.high - found.median for _, found in points]]
        axes.errorbar(
            middles,
            [place for place, _ in points],
            xerr=ends,
            fmt=_form(name)[1],
            markersize=4,
            capsize=3,
            color=_colour(cells, name),
            label=name,
        )
    labels = [f"{cell.preset}, {case[2]} rank{'s' if case[2] > 1 else ''}" for cell, case in cases]
    axes.set_yticks(range(len(cases)), labels[::-1])
    axes.set_ylim(-0.6, len(cases) - 0.4)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")
    axes.tick_params(axis="x", labelbottom=True)
    _few_ticks(axes)


def _few_ticks(axes: Axes) -> None:
    """Name 1, 2 and 5 of each decade: a log axis of less than a decade would have one name else, or twenty."""
    from matplotlib.ticker import LogLocator

    axes.xaxis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0)))


def _requests(figure: Figure, cells: Sequence[Measured], sessions: Sequence[str]) -> None:
    """Draw the requests of a cold start by kind, and the predicted ones as a line across the bar."""
    grid = _grid(figure, 1, len(sessions), "y")[0]
    kinds = REQUESTS
    for axes, session in zip(grid, sessions, strict=True):
        cell = typical(of_session(cells, session))
        width = 0.8 / len(cell.names)
        for number, name in enumerate(cell.names):
            served, predicted = cell.served(name, COLD), cell.predicted(name, COLD)
            places = [place + width * (number - (len(cell.names) - 1) / 2) for place in range(len(kinds))]
            heights = [(served or predicted).get(kind, 0) for kind in kinds]
            axes.bar(places, heights, width * 0.92, color=_colour(cells, name), hatch=_form(name)[2], edgecolor="w", label=name)
            marks = [predicted.get(kind, 0) or float("nan") for kind in kinds]
            label = "predicted" if number == len(cell.names) - 1 else None
            axes.plot(places, marks, linestyle="", marker="_", markersize=4, markeredgewidth=1.4, color="black", label=label)
        axes.set_xticks(range(len(kinds)), kinds, rotation=40, ha="right", rotation_mode="anchor")
        axes.set_yscale("log")
        axes.set_ylim(bottom=0.5)  # so that a single request is seen
        axes.set_title(session, fontsize=10)
    grid[0].set_ylabel("requests of one cold start")
    _legend(figure, grid[0], 4)


def _replay(figure: Figure, cells: Sequence[Measured], sessions: Sequence[str]) -> None:
    """Draw the replay against the number of ranks: a line for each method and preset."""
    grid = _grid(figure, 1, len(sessions), "y")[0]
    ticks: dict[int, str] = {}
    for axes, session in zip(grid, sessions, strict=True):
        for cell in of_session(cells, session):
            for number, name in enumerate(cell.names):
                found = [item for item in cell.summary.replay if item.candidate == name]
                points = sorted((item.nodes * item.ranks, item.last) for item in found)
                ticks |= {item.nodes * item.ranks: f"{item.nodes} × {item.ranks}" for item in found}
                axes.plot(
                    [ranks for ranks, _ in points],
                    [seconds for _, seconds in points],
                    linestyle=STYLES.get(cell.preset, "-"),
                    marker=_form(name)[1],
                    # Lines that coincide are both seen: the first one's is broader, below the others.
                    markersize=4 if number else 7,
                    linewidth=1.2 if number else 3.5,
                    color=_colour(cells, name),
                )
        axes.set_title(session, fontsize=10)
        axes.set_xlabel("nodes × ranks on each")
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xticks(list(ticks), list(ticks.values()))
        axes.set_xticks([], minor=True)
        axes.yaxis.set_major_formatter("{x:g}")
    grid[0].set_ylabel("seconds of waiting, the last rank")
    _replay_legend(figure, cells)


def _replay_legend(figure: Figure, cells: Sequence[Measured]) -> None:
    """Name colours and kinds of line apart: a line for each pair would be nine names."""
    from matplotlib.lines import Line2D

    names = methods_of(cells)
    presets = [preset for preset in STYLES if any(cell.preset == preset for cell in cells)]
    handles = [
        *(Line2D([], [], color=_colour(cells, name), marker=_form(name)[1], markersize=4, label=name) for name in names),
        *(Line2D([], [], color="0.3", linestyle=STYLES[preset], label=preset) for preset in presets),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=4, frameon=False)
