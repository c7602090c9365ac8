"""The report for a terminal: 80 columns, lines with a style each, no colours and no printing of its own."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ozrepro.frontends.bench.estimates import verdict_words
from ozrepro.frontends.bench.summary import case_words, client_requests, metadata_requests, place_words, time_words
from ozrepro.project.formatting import size_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ozrepro.frontends.bench.summary import Case, Group, Summary
    from ozrepro.frontends.bench.verdict import Verdict

WIDTH = 80
_BLOCKS = " ▏▎▍▌▋▊▉█"


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the report and what it is: `head`, `strong`, `soft`, or nothing special."""

    text: str
    style: str = ""


def terminal_report(summary: Summary, verdict: Verdict, *, plain: bool = False) -> tuple[Line, ...]:
    """Return the lines of the report, none over 80 columns; `plain` has ASCII bars."""
    parts = (_candidates(summary), _times(summary, plain=plain), _counts(summary), _failures(summary), _verdict(verdict))
    return tuple(line for part in parts for line in part)


def _candidates(summary: Summary) -> Iterator[Line]:
    result = summary.result
    where = place_words(result)
    yield Line(_cut(f"{result.session}: {len(result.candidates)} compared" + (f" on {where}" if where else "")), "head")
    rows = []
    for item in result.candidates:
        size = (f"{item.files:,}", size_words(item.bytes)) if item.files else ("?", "?")
        built = time_words(item.build_seconds) if item.build_seconds is not None else "?"
        rows.append((item.name, *size, built, item.base or "?"))
    yield from _table(("METHOD", "FILES", "SIZE", "BUILD", "BASE INTERPRETER"), rows, numbers=(1, 2, 3))
    if summary.unlike:
        yield Line("")
        shown = [(package, *(table.get(name, "") or "-" for name in summary.names)) for package, table in summary.unlike.items()]
        yield from _table(("OTHER VERSIONS", *summary.names), shown[:8])
        if len(shown) > 8:
            yield Line(f"and {len(shown) - 8} packages more: in the HTML report and the JSON", "soft")
    elif len(rows) > 1:
        yield Line("no package is in different versions", "soft")


def _times(summary: Summary, *, plain: bool) -> Iterator[Line]:
    for case in summary.cases:
        found = [group for name in summary.names if (group := summary.group(name, case)) is not None]
        most = max((group.seconds.median for group in found if group.seconds), default=0.0)
        yield Line("")
        yield Line(_cut(f"{case_words(case)} (seconds until the last rank is ready)"), "head")
        rows = [_time_row(summary, group, case, most, plain=plain) for group in found]
        against = f"TO {summary.reference}" if len(summary.names) > 1 else ""
        yield from _table(("METHOD", "MEDIAN", "LEAST", "P90", "MOST", "", against), rows, numbers=(1, 2, 3, 4))


def _time_row(summary: Summary, group: Group, case: Case, most: float, *, plain: bool) -> tuple[str, ...]:
    if group.seconds is None:
        return (group.candidate, "failed", "-", "-", "-", "", "")
    times = (group.seconds.median, group.least, group.p90, group.most)
    compared = next((item for item in summary.ratios if (item.candidate, item.case) == (group.candidate, case)), None)
    words = verdict_words(compared.ratio) if compared is not None else ""
    drawn = bar(group.seconds.median / most, 12, plain=plain) if most else ""
    return (group.candidate, *(time_words(time) for time in times), drawn, words)


def bar(share: float, width: int, *, plain: bool = False) -> str:
    """Return a bar of `share` (0 to 1) of `width` columns, in eighths of one, or whole ones of ASCII."""
    if plain:
        return "#" * max(round(share * width), 1)
    eighths = max(round(share * width * 8), 1)
    return "█" * (eighths // 8) + _BLOCKS[eighths % 8].strip()


def _counts(summary: Summary) -> Iterator[Line]:
    if not summary.result.counts:
        return
    yield Line("")
    yield Line("paths that a start asks for, and requests on Lustre that the model predicts", "head")
    rows = [
        (
            item.candidate,
            f"{item.workload}, {item.state}",
            *(f"{number:,}" for number in (item.found, item.missing, item.opened)),
            f"{metadata_requests(item):,}" if item.requests else "?",
        )
        for item in summary.result.counts
    ]
    told = [client_requests(item) for item in summary.result.counts]
    head: tuple[str, ...] = ("METHOD", "START", "FOUND", "MISSING", "OPENED", "METADATA")
    if all(number is None for number in told):
        yield from _table(head, rows, numbers=(2, 3, 4, 5))
        return
    beside = [(*row, "-" if number is None else f"{number:,}") for row, number in zip(rows, told, strict=True)]
    yield from _table((*head, "CLIENT"), beside, numbers=(2, 3, 4, 5, 6))
    yield Line("CLIENT is what this node's Lustre client counted meanwhile, for all users of it", "soft")


def _failures(summary: Summary) -> Iterator[Line]:
    groups = summary.groups.values()
    far = [(group, number) for group in groups for number in group.far]
    noisy = [group for group in groups if group.noisy]
    if far or noisy:
        yield Line("")
    if far:
        text = f"{len(far)} start{'s are' if len(far) > 1 else ' is'} far from the others of the kind; none is left out."
        yield from _wrapped(text, "soft")
    if noisy:
        names = "; ".join(f"{group.candidate} ({case_words(group.case)})" for group in noisy[:3])
        more = f" and {len(noisy) - 3} more" if len(noisy) > 3 else ""
        yield from _wrapped(f"Noisy, so more rounds would help: {names}{more}.", "soft")


def _verdict(verdict: Verdict) -> Iterator[Line]:
    yield Line("")
    yield from _wrapped(verdict.headline, "strong")
    for text in verdict.sentences:
        yield from _wrapped(text)
    if verdict.unmeasured:
        yield Line("")
        yield Line("What this does not show", "head")
        for text in verdict.unmeasured:
            yield from _wrapped(text, start="- ")


def _wrapped(text: str, style: str = "", *, start: str = "") -> Iterator[Line]:
    flat = " ".join(text.split())
    lines = textwrap.wrap(flat, WIDTH, initial_indent=start, subsequent_indent=" " * len(start), break_on_hyphens=False)
    yield from (Line(line, style) for line in lines)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: Iterable[int] = ()) -> Iterator[Line]:
    """Yield rows under a head; columns that are numbers stand right; what is over 80 columns is cut with `…`."""
    right = set(numbers)
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    for row in (head, *rows):
        cells = [row[place].rjust(width) if place in right else row[place].ljust(width) for place, width in enumerate(widths)]
        yield Line(_cut("  ".join(cells).rstrip()), "soft" if row is head else "")


def _cut(text: str) -> str:
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 1]}…"
