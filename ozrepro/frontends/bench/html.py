"""The report as one HTML file that needs nothing else: no script, no font, no address, under 200 KB, light and dark."""

from __future__ import annotations

from dataclasses import replace
from html import escape
from typing import TYPE_CHECKING

from ozrepro.frontends.bench import svg
from ozrepro.frontends.bench.estimates import FEWEST, verdict_words
from ozrepro.frontends.bench.result import PHASES
from ozrepro.frontends.bench.summary import case_words, client_requests, metadata_requests, place_words, time_words
from ozrepro.project.formatting import size_words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ozrepro.frontends.bench.result import Counted
    from ozrepro.frontends.bench.summary import Group, Summary
    from ozrepro.frontends.bench.verdict import Verdict

LIMIT = 200_000
"""Bytes that a report may have: it is copied from a login node over a slow line, and opened on a telephone."""

WIDEST = 500
"""CSS pixels that a figure is scaled to at most: beyond it, its text would be larger than the page's."""

_LIGHT = "--bg:#fff;--fg:#1b1b1b;--soft:#666;--rule:#ccc;--zone:#e6e6e6;"
_LIGHT += "--c0:#0072b2;--c1:#b35900;--c2:#00805c;--c3:#a8417f;--c4:#6b5fb5;--c5:#7a6a00;"
_LIGHT += "--p0:#9a9a9a;--p1:#3d85c6;--p2:#e0962a;--p3:#7b5ea7"
_DARK = "--bg:#16181b;--fg:#e8e8e8;--soft:#a3a3a3;--rule:#444;--zone:#2c3035;"
_DARK += "--c0:#56b4e9;--c1:#f0a04b;--c2:#2fc79a;--c3:#e08fc0;--c4:#a99ff0;--c5:#d9c84a;"
_DARK += "--p0:#8a8a8a;--p1:#5aa2e0;--p2:#eeb04f;--p3:#a98fd3"

STYLE = f"""
:root{{color-scheme:light dark;{_LIGHT}}}
@media(prefers-color-scheme:dark){{:root{{{_DARK}}}}}
*{{box-sizing:border-box}}
body{{margin:0 auto;padding:16px;max-width:1000px;background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,sans-serif;
overflow-wrap:anywhere}}
h1{{font-size:1.4em;line-height:1.25;margin:.2em 0}}h2{{font-size:1.1em;margin:1.8em 0 .4em}}
p,ul{{margin:.5em 0}}ul{{padding-left:1.2em}}.soft,figcaption,caption{{color:var(--soft);font-size:.9em;text-align:left}}
.verdict{{border-left:4px solid var(--c0);padding:.2em 0 .2em 12px}}.verdict strong{{font-size:1.1em}}
.scroll{{overflow-x:auto}}table{{border-collapse:collapse;font-size:.9em;overflow-wrap:normal}}
th,td{{text-align:left;padding:3px 12px 3px 0;border-bottom:1px solid var(--rule);vertical-align:top;white-space:nowrap}}
td.n,th.n{{text-align:right;font-variant-numeric:tabular-nums}}
figure{{margin:.4em 0}}svg{{display:block;width:100%;max-width:{WIDEST}px;height:auto}}
.key{{display:flex;flex-wrap:wrap;gap:2px 14px;font-size:.9em;padding:0;margin:.3em 0;list-style:none}}
.key i{{display:inline-block;width:11px;height:11px;margin-right:5px;border-radius:2px}}
text{{font-size:12px;fill:var(--fg);font-family:system-ui,sans-serif}}text.h{{font-weight:600}}text.n{{text-anchor:end}}
text.s,text.t{{fill:var(--soft);font-size:11px}}text.t{{text-anchor:middle}}
path{{fill:none}}.axis{{stroke:var(--rule)}}.zone{{fill:var(--zone)}}.i{{stroke-width:4;stroke-linecap:round;opacity:.55}}
.l{{stroke-width:2}}.m{{stroke-width:1.5;stroke-dasharray:5 4}}.d{{stroke-width:7;stroke-linecap:round}}
.far{{stroke-width:13;stroke-linecap:round;opacity:.35}}
"""
STYLE += "".join(
    f"path.c{n}{{stroke:var(--c{n})}}rect.c{n}{{fill:var(--c{n})}}i.c{n}{{background:var(--c{n})}}" for n in range(6)
)
STYLE += "".join(f"rect.p{n}{{fill:var(--p{n})}}i.p{n}{{background:var(--p{n})}}" for n in range(4))
POLICY = "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"


def html_report(summary: Summary, verdict: Verdict) -> str:
    """Return the report of a result. Where all of it would be over LIMIT, it has fewer cases, and says so."""
    ordered = sorted(summary.cases, key=lambda case: case[0] != summary.main)
    most = len(ordered)
    while True:
        kept = set(ordered[:most])
        cases = tuple(case for case in summary.cases if case in kept)
        shown = replace(summary, cases=cases, ratios=tuple(item for item in summary.ratios if item.case in kept))
        text = _page(shown, verdict, len(ordered) - most)
        if len(text.encode()) <= LIMIT or most == 0:
            return text
        most = most * 3 // 4


def _page(summary: Summary, verdict: Verdict, left_out: int) -> str:
    name = escape(summary.result.session)
    head = f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">{POLICY}<title>ozrepro bench: {name}</title>'
    head += f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head><body>'
    parts = (
        _verdict(summary, verdict),
        _candidates(summary),
        _numbers(summary, left_out),
        *_figures(summary),
        _how(summary),
    )
    return f"{head}{''.join(parts)}</body></html>\n"


def _verdict(summary: Summary, verdict: Verdict) -> str:
    result = summary.result
    where = place_words(result)
    sentences = "".join(f"<p>{escape(text)}</p>" for text in verdict.sentences)
    text = f"<h1>Which method for {escape(result.session)}?</h1><p class='soft'>Measured on {escape(where or 'this machine')}</p>"
    text += f'<div class="verdict"><p><strong>{escape(verdict.headline)}</strong></p>{sentences}</div>'
    if verdict.unmeasured:
        text += f"<h2>What this does not tell</h2>{_list(verdict.unmeasured)}"
    return text


def _list(lines: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers: int) -> str:
    """Return a table of which the columns from `numbers` on are numbers. It scrolls by itself where it is too wide."""

    def cells(row: Sequence[str], tag: str) -> str:
        named = (f'<{tag} class="n">' if place >= numbers else f"<{tag}>" for place in range(len(row)))
        return "".join(f"{start}{escape(cell)}</{tag}>" for start, cell in zip(named, row, strict=True))

    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    return f'<div class="scroll"><table><tr>{cells(head, "th")}</tr>{body}</table></div>'


def _candidates(summary: Summary) -> str:
    rows = [
        (
            item.name,
            item.base or "unknown",
            item.mount or "unknown",
            f"{item.files:,}" if item.files else "?",
            size_words(item.bytes) if item.files else "?",
            time_words(item.build_seconds) if item.build_seconds is not None else "?",
        )
        for item in summary.result.candidates
    ]
    text = "<h2>What was compared</h2>"
    text += _table(("method", "base interpreter", "on", "files", "size", "build"), rows, 3)
    if len(rows) < 2:
        return text
    if not summary.unlike:
        return text + "<p>No package is in different versions.</p>"
    unlike = [(package, *(table.get(name, "") or "-" for name in summary.names)) for package, table in summary.unlike.items()]
    more = f"<p class='soft'>and {len(unlike) - 30} more</p>" if len(unlike) > 30 else ""
    return f"{text}<p>In different versions:</p>{_table(('package', *summary.names), unlike[:30], 9)}{more}"


def _numbers(summary: Summary, left_out: int) -> str:
    ratios = {(item.candidate, item.case): verdict_words(item.ratio) for item in summary.ratios}
    rows = [
        _row(group, ratios.get((name, case), "reference" if name == summary.reference else ""))
        for case in summary.cases
        for name in summary.names
        if (group := summary.group(name, case)) is not None
    ]
    head = (
        "method",
        "workload and state",
        f"to {summary.reference}",
        "median",
        "95 % interval",
        "least",
        "p90",
        "most",
        "starts",
    )
    note = "Seconds until the last rank had done its first call. No start is left out."
    if any(group.seconds is not None and group.seconds.count < FEWEST for group in summary.groups.values()):
        note += f" Of fewer than {FEWEST} starts the interval is their range, which holds the true median less often."
    if any(group.failed for group in summary.groups.values()):
        note += " Those behind a “+” failed, and are not in the times."
    if left_out:
        note += f" {left_out} combinations of workload, state and ranks are left out here to keep this file small: "
        note += "`--json FILE` has them."
    return f"<h2>Times</h2><p class='soft'>{note}</p>{_table(head, rows, 3)}"


def _row(group: Group, words: str) -> tuple[str, ...]:
    starts = str(len(group.runs)) + (f" +{group.failed} failed" if group.failed else "")
    if group.seconds is None:
        return (group.candidate, case_words(group.case), "failed", "-", "-", "-", "-", "-", starts)
    found = group.seconds
    times = (found.median, f"{time_words(found.low)} to {time_words(found.high)}", group.least, group.p90, group.most)
    shown = (time if isinstance(time, str) else time_words(time) for time in times)
    return (group.candidate, case_words(group.case), words, *shown, starts)


def _figures(summary: Summary) -> Iterator[str]:
    methods = {name: svg.colour(summary, name) for name in summary.names}
    if summary.ratios:
        note = f"Median of the ratios of runs of one round to {summary.reference}, with its 95 % interval. Left of 1 is faster; "
        note += "an interval that reaches the grey band is no clear difference."
        yield _figure("Ratios", note, methods, lambda canvas: svg.ratios(summary, canvas))
    names = ("environment (container, launcher)", "interpreter", "imports", "first call")
    if any(group.phases for group in summary.groups.values()):
        key = {name: f"p{number}" for number, name in enumerate(names[: len(PHASES)])}
        note = "The median of each phase; the number is the median of the whole."
        yield _figure("Phases", note, key, lambda canvas: svg.phases(summary, canvas))
    yield from _counts(summary, methods)
    yield from _ranks(summary, methods)
    if any(group.runs for group in summary.groups.values()):
        note = "Every start in its order from left to right; a halo marks one that is far from the others. A slope is a drift."
        yield _figure("Raw runs", note, methods, lambda canvas: svg.raw_runs(summary, canvas))


def _counts(summary: Summary, methods: Mapping[str, str]) -> Iterator[str]:
    kinds = list(dict.fromkeys((item.workload, item.state) for item in summary.result.counts if item.requests))
    if not kinds:
        return

    def draw(canvas: svg.Canvas) -> None:
        for workload, state in kinds:
            svg.requests(summary, canvas, workload, state)

    rows: list[tuple[str, ...]] = [
        (item.candidate, f"{item.workload}, {item.state}", *(f"{number:,}" for number in _counted(item)))
        for item in summary.result.counts
    ]
    head: tuple[str, ...] = ("method", "workload and state", "found", "missing", "opened", "read", "bytes", "metadata requests")
    told = [client_requests(item) for item in summary.result.counts]
    note = (
        "What one start would send on Lustre, predicted by the cost model from its system calls, which were counted in runs of "
    )
    note += "their own."
    if any(number is not None for number in told):
        head = (*head, "counted by the client")
        rows = [(*row, "-" if number is None else f"{number:,}") for row, number in zip(rows, told, strict=True)]
        note += " The last column is what this node's own Lustre client counted meanwhile, for all users of the node."
    yield _figure("Requests", note, methods, draw)
    yield _table(head, rows, 2)


def _counted(item: Counted) -> tuple[int, ...]:
    return (item.found, item.missing, item.opened, item.read, item.bytes, metadata_requests(item))


def _ranks(summary: Summary, methods: Mapping[str, str]) -> Iterator[str]:
    states = list(dict.fromkeys(case[1] for case in summary.cases if case[0] == summary.main))
    many = [state for state in states if len({case[2] for case in summary.cases if case[:2] == (summary.main, state)}) > 1]
    preset = svg.shown_preset(summary)
    curves = any(svg.replayed(summary.replay, name, preset) for name in summary.names)
    wanted = many or (states[:1] if summary.replay else [])
    # A state in which every start failed has no dot, and without a curve not even a scale.
    shown = [
        state for state in wanted if curves or any(svg.measured(summary, name, summary.main, state) for name in summary.names)
    ]
    if not shown or not any(summary.seconds(*key) for key in summary.groups):
        return

    def draw(canvas: svg.Canvas) -> None:
        for state in shown:
            svg.scaling(summary, canvas, summary.main, state)

    note = "Time until the last process is ready, both axes logarithmic. Dots were measured"
    note += f"; a dashed line is the model's, of nodes that know nothing yet, with the profile {preset}." if preset else "."
    yield _figure("Ranks", note, methods, draw)
    if summary.replay:
        yield _replay_table(summary)


def _replay_table(summary: Summary) -> str:
    """Return what the model says, a row for each preset and number of nodes, a column for each candidate."""
    table: dict[tuple[str, int, int], dict[str, str]] = {}
    for item in summary.replay:
        table.setdefault((item.preset, item.nodes, item.ranks), {})[item.candidate] = time_words(item.last)
    rows = [
        (preset, f"{nodes:,}", f"{ranks:,}", *(times.get(name, "-") for name in summary.names))
        for (preset, nodes, ranks), times in table.items()
    ]
    workload = summary.replay[0].workload or "the workload that was started last"
    note = f"The model's own word of {workload}: what waits for the file system, without what the program computes."
    return f"<p class='soft'>{escape(note)}</p>{_table(('model', 'nodes', 'ranks on each', *summary.names), rows, 1)}"


def _figure(title: str, note: str, key: Mapping[str, str], draw: Callable[[svg.Canvas], None]) -> str:
    canvas = svg.Canvas()
    draw(canvas)
    legend = "".join(f'<li><i class="{style}"></i>{escape(name)}</li>' for name, style in key.items())
    legend = f'<ul class="key">{legend}</ul>' if legend else ""
    return f"<h2>{escape(title)}</h2><p class='soft'>{escape(note)}</p>{legend}<figure>{canvas.drawn(title)}</figure>"


def _how(summary: Summary) -> str:
    result = summary.result
    lines = [_state(state, words) for state, words in result.states.items()]
    plan = ", ".join(
        f"{name.replace('_', ' ')} {value:g}" for name, value in result.plan.items() if isinstance(value, (int, float))
    )
    lines.append(f"Order: every round runs each method once, in an order drawn from seed {result.seed}. {plan}.")
    lines.append(f"Lock {result.lock[:16]}; machine: {_told(result.host)}; file system: {_told(result.fs)}.")
    if result.profile:
        lines.append(f"Profile of the model: {_told(result.profile)}.")
    return f"<h2>How it was measured</h2>{_list(lines)}"


def _state(state: str, words: Mapping[str, str]) -> str:
    leaves = words.get("leaves", "")
    return f"{state}: {words.get('how', '')}." + (f" It leaves {leaves}." if leaves else "")


def _told(table: Mapping[str, object]) -> str:
    words = []
    for name, value in table.items():
        shown = " ".join(map(str, value)) if isinstance(value, (list, tuple)) else value
        if name != "counters" and shown not in ("", None):
            words.append(f"{name.replace('_', ' ')} {shown}")
    return ", ".join(words) or "unknown"
