"""The figures of the HTML report, drawn by hand: no library, no script, colours by the page's own style sheet.

Every text has a line of its own or a half of one, so that nothing overlaps. A figure is drawn once and scaled by the
browser: it is little wider than a telephone, where its text stays readable.
"""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

from ozrepro.frontends.bench.estimates import DEAD_ZONE, verdict_words
from ozrepro.frontends.bench.lustre.model import METADATA, OBJECTS
from ozrepro.frontends.bench.result import PHASES
from ozrepro.frontends.bench.summary import case_words, requests_of, time_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ozrepro.frontends.bench.result import Counted, Replay
    from ozrepro.frontends.bench.summary import Group, Summary

LINE, BAR, EDGE = 18, 12, 8
"""Height of a line of text, height of a bar, room at the left and right edge, in pixels."""

_THIN, _FAT = frozenset(" .,:;'|!ijlftr()[]-·I"), frozenset("mwMW@%…×")


def room_of(words: str) -> float:
    """Return the pixels that a text may need at 12 pixels' height: DejaVu Sans, the widest of the usual sans-serif fonts."""
    return sum(5.0 if char in _THIN else 12.0 if char in _FAT else 9.5 if char.isupper() else 7.8 for char in words)


def cut(words: str, room: float) -> str:
    """Return a text that fits into `room` pixels, its end replaced by `…` where it must be."""
    if room_of(words) <= room:
        return words
    while words and room_of(words) + 12 > room:
        words = words[:-1]
    return f"{words}…"


class Canvas:
    """Collects shapes from top to bottom; `y` is where the next one goes, `width` in the figure's own units."""

    width = 400

    def __init__(self) -> None:
        self.y = 4.0
        self._shapes: list[str] = []

    @property
    def inner(self) -> float:
        """The width between the edges."""
        return self.width - 2 * EDGE

    def text(self, words: str, *, right: str = "", style: str = "", indent: float = 0.0) -> None:
        """Put a line of text; `right` ends at the right edge, and `words` are cut where the two would meet."""
        room = self.inner - indent - (room_of(right) + 8 if right else 0)
        shown = cut(words, room / 1.1 if style == "h" else room)
        self.y += LINE
        base = self.y - 5
        named = f' class="{style}"' if style else ""
        self._shapes.append(f'<text{named} x="{EDGE + indent:.0f}" y="{base:.0f}">{escape(shown)}</text>')
        if style == "h":
            self.y += 3
        if right:
            self._shapes.append(f'<text class="n" x="{self.width - EDGE}" y="{base:.0f}">{escape(right)}</text>')

    def gap(self, height: float = 6.0) -> None:
        """Leave room."""
        self.y += height

    def rect(self, x: float, width: float, style: str, *, height: float = BAR, y: float | None = None) -> None:
        """Put a rectangle `x` pixels from the left edge, at `y` or where the next shape goes."""
        top = self.y if y is None else y
        self._shapes.append(
            f'<rect class="{style}" x="{EDGE + x:.1f}" y="{top:.1f}" width="{max(width, 0.5):.1f}" height="{height:.0f}"/>'
        )

    def line(self, x1: float, y1: float, x2: float, y2: float, style: str) -> None:
        """Put a line; x counts from the left edge, y from the top of the figure."""
        self._shapes.append(f'<path class="{style}" d="M{EDGE + x1:.1f} {y1:.1f}L{EDGE + x2:.1f} {y2:.1f}"/>')

    def path(self, points: Sequence[tuple[float, float]], style: str, *, dots: bool = False) -> None:
        """Put a line through points, or a dot at each."""
        if dots:
            route = "".join(f"M{EDGE + x:.1f} {y:.1f}h0" for x, y in points)
        else:
            route = "M" + "L".join(f"{EDGE + x:.1f} {y:.1f}" for x, y in points)
        if points:
            self._shapes.append(f'<path class="{style}" d="{route}"/>')

    def tick(self, x: float, words: str, *, width: float) -> None:
        """Put a label below an axis, centred at `x` but inside the figure of `width`. It does not move on."""
        half = room_of(words) / 2
        place = min(max(x, half), max(width - half, half))
        self._shapes.append(f'<text class="t" x="{EDGE + place:.0f}" y="{self.y + LINE - 5:.0f}">{escape(words)}</text>')

    def drawn(self, title: str) -> str:
        """Return the figure; `title` is what a screen reader says."""
        height = math.ceil(self.y + 4)
        head = f'<svg viewBox="0 0 {self.width} {height}" role="img">'
        return f"{head}<title>{escape(title)}</title>{''.join(self._shapes)}</svg>"


def colour(summary: Summary, name: str) -> str:
    """Return the class that colours a candidate."""
    return f"c{summary.names.index(name) % 6}"


def ratios(summary: Summary, canvas: Canvas) -> None:
    """Draw each candidate's ratio to the reference with its interval, on a log axis, the dead zone shaded."""
    low = min(0.5, *(item.ratio.low for item in summary.ratios))
    high = max(2.0, *(item.ratio.high for item in summary.ratios))
    low, high = max(low, 1e-3) / 1.1, min(high, 1e3) * 1.1

    def place(value: float) -> float:
        return canvas.inner * math.log(min(max(value, low), high) / low) / math.log(high / low)

    for case in summary.cases:
        found = [item for item in summary.ratios if item.case == case]
        if not found:
            continue
        canvas.text(case_words(case), style="h")
        for item in found:
            canvas.text(item.candidate, right=verdict_words(item.ratio))
            middle = canvas.y + 8
            canvas.rect(place(1 - DEAD_ZONE), place(1 + DEAD_ZONE) - place(1 - DEAD_ZONE), "zone", height=16)
            canvas.line(0, middle, canvas.inner, middle, "axis")
            canvas.line(place(1), canvas.y, place(1), canvas.y + 16, "axis")
            mark = colour(summary, item.candidate)
            canvas.line(place(item.ratio.low), middle, place(item.ratio.high), middle, f"i {mark}")
            canvas.path([(place(item.ratio.median), middle)], f"d {mark}", dots=True)
            canvas.gap(18)
        canvas.gap()
    for value in _spaced([0.001, 0.01, 0.1, 0.25, 0.5, 1, 2, 4, 10, 100, 1000], low, high, canvas.inner):
        canvas.tick(place(value), f"{value:g}×", width=canvas.inner)
    canvas.gap(LINE)


def _spaced(values: Sequence[float], low: float, high: float, width: float) -> list[float]:
    """Return those of rising values on a log axis that have room for a label; 1 is always among them, if it is there."""
    scale = width / math.log(high / low)
    inside = [value for value in values if low <= value <= high]
    kept: list[float] = []
    for value in sorted(inside, key=lambda value: (value != 1, abs(math.log(value)))):
        if all(abs(math.log(value / other)) * scale > 48 for other in kept):
            kept.append(value)
    return sorted(kept)


def phases(summary: Summary, canvas: Canvas) -> None:
    """Draw the phases of each candidate as one bar, in the same scale within a case."""
    for case in summary.cases:
        found = [group for name in summary.names if (group := summary.group(name, case)) is not None and group.seconds]
        most = max((sum(group.phases.values()) for group in found), default=0.0)
        if not most:
            continue
        canvas.text(case_words(case), style="h")
        for group in found:
            assert group.seconds is not None
            canvas.text(group.candidate, right=time_words(group.seconds.median))
            x = 0.0
            for number, phase in enumerate(PHASES):
                width = canvas.inner * group.phases.get(phase, 0.0) / most
                if width > 0:
                    canvas.rect(x, width, f"p{number}", y=canvas.y + 1)
                x += width
            canvas.gap(BAR + 5)
        canvas.gap()


def raw_runs(summary: Summary, canvas: Canvas) -> None:
    """Draw every start in its order, a strip for each candidate, from 0 to the slowest of the case; rings mark far ones."""
    for case in summary.cases:
        found = [group for name in summary.names if (group := summary.group(name, case)) is not None and group.runs]
        if not found:
            continue
        most = max(group.most for group in found)
        canvas.text(case_words(case), right=f"0 to {time_words(most)}", style="h")
        rounds = max(number for group in found for number, _ in group.runs)
        for group in found:
            _strip(summary, canvas, group, most, rounds)
        canvas.gap()


def _strip(summary: Summary, canvas: Canvas, group: Group, most: float, rounds: int) -> None:
    height = 36.0
    noisy = ", noisy" if group.noisy else ""
    canvas.text(group.candidate, right=f"{time_words(group.least)} to {time_words(group.most)}{noisy}")
    top = canvas.y + 8  # a halo is as high as that
    canvas.line(0, top + height, canvas.inner, top + height, "axis")
    points = {
        number: ((number - 0.5) / rounds * canvas.inner, top + height - seconds / most * height) for number, seconds in group.runs
    }
    canvas.path(
        [point for number, point in points.items() if number in group.far], f"far {colour(summary, group.candidate)}", dots=True
    )
    canvas.path(list(points.values()), f"d {colour(summary, group.candidate)}", dots=True)
    canvas.gap(height + 12)


def requests(summary: Summary, canvas: Canvas, workload: str, state: str) -> None:
    """Draw the predicted requests of one start by kind, on a log axis from 1; servers of metadata first."""
    order = {name: place for place, name in enumerate(summary.names)}
    counts = [
        item for item in summary.result.counts if (item.workload, item.state) == (workload, state) and item.candidate in order
    ]
    found = sorted(counts, key=lambda item: order[item.candidate])
    most = max((number for item in found for number in requests_of(item).values()), default=1)
    top = 10 ** math.ceil(math.log10(max(most, 10)))
    room = canvas.inner - 70
    canvas.text(f"{workload}, {state}", right=f"log axis, 1 to {top:,}", style="h")
    for kind in (*METADATA, *OBJECTS):
        if any(kind in requests_of(item) for item in found):
            canvas.text(kind, right="metadata server" if kind in METADATA else "data servers")
            _bars(summary, canvas, found, kind, (room, top))
    canvas.gap()


def _bars(summary: Summary, canvas: Canvas, found: Sequence[Counted], kind: str, scale: tuple[float, int]) -> None:
    room, top = scale
    for item in found:
        number = requests_of(item).get(kind, 0)
        width = room * math.log10(number) / math.log10(top) if number else 0.0
        if number:
            canvas.rect(0, max(width, 2), f"b {colour(summary, item.candidate)}", height=10, y=canvas.y + 4)
        canvas.text(f"{number:,}", indent=max(width, 2) + 6, style="s")
        canvas.y -= 3


def scaling(summary: Summary, canvas: Canvas, workload: str, state: str) -> None:
    """Draw ranks against the time until the last is ready, both axes logarithmic; the model's curve is dashed."""
    dots = {name: measured(summary, name, workload, state) for name in summary.names}
    preset = shown_preset(summary)
    curves = {name: replayed(summary.replay, name, preset) for name in summary.names}
    points = [point for table in (dots, curves) for row in table.values() for point in row]
    ranks, times = [point[0] for point in points], [point[1] for point in points]
    low, high = min(times) / 1.2, max(times) * 1.2
    last = max(*ranks, 2)
    height = 180.0
    model = cut(f"model: {preset}", canvas.inner / 2) if preset else ""  # a profile has the name of any folder
    canvas.text(f"{workload}, {state}", right=model, style="h")
    canvas.text(time_words(high / 1.2), style="s")
    top = canvas.y

    def at(point: tuple[float, float]) -> tuple[float, float]:
        x = 6 + (canvas.inner - 12) * math.log(point[0]) / math.log(last)
        return x, top + height * (1 - math.log(point[1] / low) / math.log(high / low))

    canvas.line(0, top, 0, top + height, "axis")
    canvas.line(0, top + height, canvas.inner, top + height, "axis")
    for name in summary.names:
        canvas.path([at(point) for point in curves[name]], f"m {colour(summary, name)}")
        canvas.path([at(point) for point in dots[name]], f"l {colour(summary, name)}")
        canvas.path([at(point) for point in dots[name]], f"d {colour(summary, name)}", dots=True)
    canvas.y = top + height
    for value in _spaced([2.0**power for power in range(24)], 1, last, canvas.inner):
        canvas.tick(at((value, low))[0], f"{value:,.0f}", width=canvas.inner)
    canvas.gap(LINE)
    canvas.text(time_words(low * 1.2), right="processes", style="s")
    canvas.gap()


def measured(summary: Summary, name: str, workload: str, state: str) -> list[tuple[float, float]]:
    """Return ranks and median seconds, for each number of ranks that was measured."""
    cases = sorted(case for case in summary.cases if case[:2] == (workload, state))
    found = ((case[2], summary.seconds(name, case)) for case in cases)
    return [(float(ranks), seconds) for ranks, seconds in found if seconds]


def shown_preset(summary: Summary) -> str:
    """Return the preset whose curve is drawn: the run's own, `busy` where it has several, or the first; "" without a replay."""
    presets = [item.preset for item in summary.replay]
    given = str((summary.result.profile or {}).get("name", ""))
    return next((name for name in (given, "busy", *presets) if name in presets), "")


def replayed(replay: Sequence[Replay], name: str, preset: str) -> list[tuple[float, float]]:
    """Return processes and seconds; of several shapes with as many processes, the fewest nodes."""
    found: dict[int, Replay] = {}
    own = [item for item in replay if (item.candidate, item.preset) == (name, preset) and item.last > 0]
    for item in sorted(own, key=lambda item: -item.nodes):
        found[item.nodes * item.ranks] = item
    return [(float(processes), found[processes].last) for processes in sorted(found)]
