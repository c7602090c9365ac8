"""The report as one HTML file that needs nothing else: no script, no font, no address; light and dark."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from ozrepro.frontends.bench.estimates import FEWEST, verdict_words
from ozrepro.frontends.bench.result import PHASES
from ozrepro.frontends.bench.summary import (
    case_words,
    client_requests,
    metadata_requests,
    place_words,
    requests_of,
    time_words,
)
from ozrepro.project.formatting import size_words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ozrepro.frontends.bench.result import Counted
    from ozrepro.frontends.bench.summary import Group, Summary
    from ozrepro.frontends.bench.verdict import Verdict

_LIGHT = "--bg:#fff;--fg:#1b1b1b;--soft:#666;--rule:#ccc;--mark:#0072b2;--p0:#9a9a9a;--p1:#3d85c6;--p2:#e0962a;--p3:#7b5ea7"
_DARK = "--bg:#16181b;--fg:#e8e8e8;--soft:#a3a3a3;--rule:#444;--mark:#56b4e9;--p0:#8a8a8a;--p1:#5aa2e0;--p2:#eeb04f;--p3:#a98fd3"

STYLE = f"""
:root{{color-scheme:light dark;{_LIGHT}}}
@media(prefers-color-scheme:dark){{:root{{{_DARK}}}}}
*{{box-sizing:border-box}}
body{{margin:0 auto;padding:16px;max-width:1100px;background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,sans-serif;
overflow-wrap:anywhere}}
h1{{font-size:1.4em;line-height:1.25;margin:.2em 0}}h2{{font-size:1.1em;margin:1.8em 0 .4em}}
p,ul{{margin:.5em 0}}ul{{padding-left:1.2em}}.soft{{color:var(--soft);font-size:.9em}}
.verdict{{border-left:4px solid var(--mark);padding:.2em 0 .2em 12px}}.verdict strong{{font-size:1.1em}}
.scroll{{overflow-x:auto}}table{{border-collapse:collapse;font-size:.9em;overflow-wrap:normal}}
th,td{{text-align:left;padding:3px 12px 3px 0;border-bottom:1px solid var(--rule);vertical-align:top;white-space:nowrap}}
td.n,th.n{{text-align:right;font-variant-numeric:tabular-nums}}
i{{display:inline-block;height:11px}}.bar{{min-width:120px}}.key i{{width:11px;margin:0 5px 0 14px}}
"""
STYLE += "".join(f".p{number}{{background:var(--p{number})}}" for number in range(len(PHASES)))
POLICY = "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"


def html_report(summary: Summary, verdict: Verdict) -> str:
    """Return the report of a result."""
    name = escape(summary.result.session)
    head = f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">{POLICY}<title>ozrepro bench: {name}</title>'
    head += f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head><body>'
    parts = (
        _verdict(summary, verdict),
        _candidates(summary),
        _numbers(summary),
        _counts(summary),
        _many(summary),
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
        text += f"<h2>What this does not show</h2>{_list(verdict.unmeasured)}"
    return text


def _list(lines: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers: int, bars: Sequence[str] = ()) -> str:
    """Return a table of which the columns from `numbers` on are numbers. It scrolls by itself where it is too wide.

    `bars` has the HTML of one more cell for each row, in front of the numbers.
    """

    def line(row: Sequence[str], tag: str, bar: str = "") -> str:
        words = [f"<{tag}>{escape(cell)}</{tag}>" for cell in row[:numbers]]
        words += [bar, *(f'<{tag} class="n">{escape(cell)}</{tag}>' for cell in row[numbers:])]
        return f"<tr>{''.join(words)}</tr>"

    body = "".join(line(row, "td", bar) for row, bar in zip(rows, bars or [""] * len(rows), strict=True))
    return f'<div class="scroll"><table>{line(head, "th", "<th></th>" if bars else "")}{body}</table></div>'


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


def _numbers(summary: Summary) -> str:
    ratios = {(item.candidate, item.case): verdict_words(item.ratio) for item in summary.ratios}
    rows, bars = [], []
    for case in summary.cases:
        groups = [group for name in summary.names if (group := summary.group(name, case)) is not None]
        most = max(sum(group.phases.values()) for group in groups)
        for group in groups:
            rows.append(
                _row(group, ratios.get((group.candidate, case), "reference" if group.candidate == summary.reference else ""))
            )
            bars.append(_bar(group.phases, most))
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
    note = "Seconds until the last rank had done its first call. No start is left out, also where it is far from the others."
    if any(group.seconds is not None and group.seconds.count < FEWEST for group in summary.groups.values()):
        note += f" Of fewer than {FEWEST} starts the interval is their range, which holds the true median less often."
    if any(group.failed for group in summary.groups.values()):
        note += " Those behind a “+” failed, and are not in the times."
    key = "".join(f'<i class="p{number}"></i>{phase.replace("_", " ")}' for number, phase in enumerate(PHASES))
    note = f"<p class='soft'>{note}</p><p class='soft key'>The bars are the medians of the phases: {key}</p>"
    return f"<h2>Times</h2>{note}{_table(head, rows, 3, bars)}"


def _bar(phases: Mapping[str, float], most: float) -> str:
    """Return a cell with the phases of a start one behind the other, `most` seconds being its whole width."""
    parts = enumerate(100 * phases.get(phase, 0.0) / (most or 1.0) for phase in PHASES)
    return f'<td class="bar">{"".join(f"""<i class="p{at}" style="width:{share:.1f}%"></i>""" for at, share in parts)}</td>'


def _row(group: Group, words: str) -> tuple[str, ...]:
    starts = str(len(group.runs)) + (f" +{group.failed} failed" if group.failed else "")
    starts += (f", {len(group.far)} far" if group.far else "") + (", noisy" if group.noisy else "")
    if group.seconds is None:
        return (group.candidate, case_words(group.case), "failed", "-", "-", "-", "-", "-", starts)
    found = group.seconds
    times = (found.median, f"{time_words(found.low)} to {time_words(found.high)}", group.least, group.p90, group.most)
    shown = (time if isinstance(time, str) else time_words(time) for time in times)
    return (group.candidate, case_words(group.case), words, *shown, starts)


def _counts(summary: Summary) -> str:
    counts = summary.result.counts
    if not any(item.requests for item in counts):
        return ""
    kinds = list(dict.fromkeys(kind for item in counts for kind in requests_of(item)))
    rows: list[tuple[str, ...]] = [
        (item.candidate, f"{item.workload}, {item.state}", *(f"{number:,}" for number in _counted(item, kinds)))
        for item in counts
    ]
    head: tuple[str, ...] = ("method", "workload and state", "found", "missing", "opened", "read", "bytes", *kinds, "metadata")
    told = [client_requests(item) for item in counts]
    note = (
        "What one start asks for, counted in runs of its own, and the requests that it would send on Lustre, predicted from it."
    )
    if any(number is not None for number in told):
        head = (*head, "counted by the client")
        rows = [(*row, "-" if number is None else f"{number:,}") for row, number in zip(rows, told, strict=True)]
        note += " The last column is what this node's own Lustre client counted meanwhile, for all users of the node."
    return f"<h2>Requests</h2><p class='soft'>{escape(note)}</p>{_table(head, rows, 2)}"


def _counted(item: Counted, kinds: Sequence[str]) -> tuple[int, ...]:
    requests = (item.requests.get(kind, 0) for kind in kinds)
    return (item.found, item.missing, item.opened, item.read, item.bytes, *requests, metadata_requests(item))


def _many(summary: Summary) -> str:
    """Return what the model says, a row for each preset and number of nodes, a column for each candidate."""
    if not summary.replay:
        return ""
    table: dict[tuple[str, int, int], dict[str, str]] = {}
    for item in summary.replay:
        table.setdefault((item.preset, item.nodes, item.ranks), {})[item.candidate] = time_words(item.last)
    rows = [
        (preset, f"{nodes:,}", f"{ranks:,}", *(times.get(name, "-") for name in summary.names))
        for (preset, nodes, ranks), times in table.items()
    ]
    workload = summary.replay[0].workload or "the workload that was started last"
    note = f"The model's own word of {workload}: what waits for the file system, without what the program computes."
    shown = _table(("model", "nodes", "ranks on each", *summary.names), rows, 1)
    return f"<h2>Many nodes</h2><p class='soft'>{escape(note)} No node knows anything yet.</p>{shown}"


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
