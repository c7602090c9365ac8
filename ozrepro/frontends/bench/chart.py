"""Charts of the HTML report in HTML and CSS alone: texts keep their size on a telephone, which those of an SVG do not."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ozrepro.frontends.bench.estimates import Estimate

MOST_TICKS = 6
"""Numbers below a linear axis: 6 of them fit into 330 pixels."""

NEAREST = 0.14
"""Share of a logarithmic axis between two ticks: `200 ms` takes 45 of 330 pixels."""

STYLE = """
figure{margin:1em 0}figcaption{font-size:.9em;color:var(--soft)}
.row,.axis,.unit{display:grid;grid-template-columns:9em 1fr 15em;column-gap:12px;align-items:center}
.row .value{font-variant-numeric:tabular-nums;font-size:.9em}.case{font-weight:600;margin:.9em 0 .1em}
.track,.ticks{position:relative;height:1.5em}.track{background:var(--grid)}.track i{position:absolute}
.track .band{top:0;bottom:0;background:var(--band)}
.whisker{top:50%;height:2px;margin-top:-1px;min-width:2px;background:var(--mark)}
.whisker::before,.whisker::after{content:"";position:absolute;top:-4px;height:10px;width:2px;background:var(--mark)}
.whisker::before{left:0}.whisker::after{right:0}
.dot{top:50%;width:10px;height:10px;margin:-5px 0 0 -5px;border-radius:50%;background:var(--mark)}
.part{top:25%;height:50%}
.ticks{border-top:1px solid var(--soft);font-size:.8em}.ticks b{position:absolute;top:3px;font-weight:400;white-space:nowrap;
transform:translateX(-50%)}.ticks b::before{content:"";position:absolute;left:50%;top:-3px;height:4px;width:1px;
background:var(--soft)}
.unit{font-size:.85em;color:var(--soft);text-align:center}
@media(max-width:640px){.row{grid-template-columns:1fr auto}.row .track{grid-row:2;grid-column:1/3}
.axis,.unit{grid-template-columns:1fr}.axis>:not(.ticks),.unit>:not(.label){display:none}}
"""

LEAST = 3.0
"""Ratio of the ends of a logarithmic axis: a narrower one has hardly a tick, and makes noise look like a difference."""


@dataclass(frozen=True, slots=True)
class Axis:
    """A horizontal axis.

    Attributes:
        low, high: the values at its ends.
        ticks: the values that are named.
        label: what it shows, with its unit.
        name: the text of a value below the axis.
        logarithmic: equal ratios are equally far apart.

    """

    low: float
    high: float
    ticks: tuple[float, ...]
    label: str
    name: Callable[[float], str]
    logarithmic: bool = True

    def at(self, value: float) -> float:
        """Return the place of a value in percent of the axis."""
        if self.logarithmic:
            return 100 * math.log(value / self.low) / math.log(self.high / self.low)
        return 100 * (value - self.low) / (self.high - self.low)


@dataclass(frozen=True, slots=True)
class Dot:
    """A row with an interval: its name, the estimate (None where it failed), and the words behind it."""

    name: str
    estimate: Estimate | None
    words: str


@dataclass(frozen=True, slots=True)
class Bar:
    """A row with parts one behind the other, by the part's number, and the words behind it."""

    name: str
    parts: Mapping[int, float]
    words: str


def seconds_name(seconds: float) -> str:
    """Return a tick's seconds, such as `50 ms` or `2 s`."""
    return f"{seconds:g} s" if seconds >= 1 else f"{seconds * 1000:g} ms" if seconds else "0"


def log_axis(values: Sequence[float], label: str, name: Callable[[float], str]) -> Axis:
    """Return a logarithmic axis that holds the values, which are above 0, with room at its ends and at least two ticks."""
    low, high = min(values), max(values)
    room = max(0.08 * math.log(high / low), math.log(LEAST / (high / low)) / 2)
    low, high = low * math.exp(-room), high * math.exp(room)
    first, last = math.ceil(math.log10(low)), math.floor(math.log10(high))
    stride = math.ceil(NEAREST * math.log10(high / low))  # over seven decades not each one has room for its name
    shown = [10.0**decade for decade in range(first, last + 1, stride)]
    for digits in ((1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        ticks = [round(digit * 10.0**decade, 9) for decade in range(first - 1, last + 1) for digit in digits]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if any(math.log(above / below) < NEAREST * math.log(high / low) for below, above in pairwise(ticks)):
            break
        shown = ticks
    return Axis(low, high, tuple(shown), label, name)


def linear_axis(most: float, label: str, name: Callable[[float], str]) -> Axis:
    """Return an axis from 0 to `most`, which is above 0, with three to six ticks."""
    high = 1.04 * most
    step = 10.0 ** math.floor(math.log10(high))
    step = next(part for part in (step / 5, step / 2, step, 2 * step) if high / part < MOST_TICKS)
    ticks = tuple(round(step * at, 9) for at in range(int(high / step) + 1))
    return Axis(0.0, high, ticks, label, name, logarithmic=False)


def dots(panels: Sequence[tuple[str, Sequence[Dot]]], axis: Axis, caption: str, band: tuple[float, float] | None = None) -> str:
    """Return a figure with a panel for each case, all on one axis.

    Args:
        panels: the words of each case, and its rows.
        axis: of all panels.
        caption: what the figure shows, as HTML.
        band: the values between which a difference is not told from none.

    """
    back = f'<i class="band" style="{_span(axis, *band)}"></i>' if band else ""

    def mark(row: Dot) -> str:
        found = row.estimate
        if found is None:
            return back
        whisker = f'<i class="whisker" style="{_span(axis, found.low, found.high)}"></i>'
        return f'{back}{whisker}<i class="dot" style="left:{axis.at(found.median):.1f}%"></i>'

    return _figure([(case, [(row.name, mark(row), row.words) for row in rows]) for case, rows in panels], axis, caption)


def bars(panels: Sequence[tuple[str, Sequence[Bar]]], axis: Axis, caption: str) -> str:
    """Return a figure of stacked bars with a panel for each case, all on one axis."""

    def mark(row: Bar) -> str:
        text, begin = "", 0.0
        for number, size in row.parts.items():
            text += f'<i class="part p{number}" style="{_span(axis, begin, begin + size)}"></i>'
            begin += size
        return text

    return _figure([(case, [(row.name, mark(row), row.words) for row in rows]) for case, rows in panels], axis, caption)


def _span(axis: Axis, low: float, high: float) -> str:
    begin, end = max(0.0, axis.at(low)), min(100.0, axis.at(high))
    return f"left:{begin:.1f}%;width:{max(0.0, end - begin):.1f}%"


def _figure(panels: Sequence[tuple[str, Sequence[tuple[str, str, str]]]], axis: Axis, caption: str) -> str:
    grid = ",".join(f"linear-gradient(var(--rule),var(--rule)) {axis.at(tick):.1f}% 0/1px 100% no-repeat" for tick in axis.ticks)
    text = ""
    for case, rows in panels:
        text += f'<p class="case">{escape(case)}</p>'
        for name, mark, words in rows:
            row = f'<span>{escape(name)}</span><span class="track">{mark}</span><span class="value">{escape(words)}</span>'
            text += f'<div class="row">{row}</div>'
    ticks = "".join(f'<b style="left:{axis.at(tick):.1f}%">{escape(axis.name(tick))}</b>' for tick in axis.ticks)
    text += f'<div class="axis"><span></span><span class="ticks">{ticks}</span><span></span></div>'
    text += f'<div class="unit"><span></span><span class="label">{escape(axis.label)}</span><span></span></div>'
    return f'<figure style="--grid:{grid}">{text}<figcaption>{caption}</figcaption></figure>'
