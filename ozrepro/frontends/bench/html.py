"""The report as one HTML file that needs nothing else: no script, no font, no address; light and dark."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from ozrepro.frontends.bench import chart
from ozrepro.frontends.bench.chart import Bar, Dot, linear_axis, log_axis, seconds_name
from ozrepro.frontends.bench.estimates import DEAD_ZONE, FEWEST, verdict_words
from ozrepro.frontends.bench.htmltables import candidates_table, numbers_table, replay_table, requests_table
from ozrepro.frontends.bench.result import PHASES
from ozrepro.frontends.bench.summary import case_words, place_words, time_words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ozrepro.frontends.bench.summary import Case, Summary
    from ozrepro.frontends.bench.verdict import Verdict

_LIGHT = "--bg:#fff;--fg:#1b1b1b;--soft:#666;--rule:#ddd;--band:#eee;--mark:#0072b2"
_LIGHT += ";--p0:#9a9a9a;--p1:#3d85c6;--p2:#e0962a;--p3:#7b5ea7"
_DARK = "--bg:#16181b;--fg:#e8e8e8;--soft:#a3a3a3;--rule:#3a3a3a;--band:#2a2d31;--mark:#56b4e9"
_DARK += ";--p0:#8a8a8a;--p1:#5aa2e0;--p2:#eeb04f;--p3:#a98fd3"

STYLE = f"""
:root{{color-scheme:light dark;{_LIGHT}}}
@media(prefers-color-scheme:dark){{:root{{{_DARK}}}}}
*{{box-sizing:border-box}}
body{{margin:0 auto;padding:16px;max-width:1000px;background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,sans-serif;
overflow-wrap:anywhere}}
h1{{font-size:1.4em;line-height:1.25;margin:.2em 0}}h2{{font-size:1.1em;margin:1.8em 0 .4em}}
p,ul,dl{{margin:.5em 0}}ul{{padding-left:1.2em}}.soft,dl{{color:var(--soft);font-size:.9em}}
dt{{float:left;clear:left;margin-right:.5em;color:var(--fg)}}dd{{margin:0 0 .2em}}
.verdict{{border-left:4px solid var(--mark);padding:.2em 0 .2em 12px}}.verdict strong{{font-size:1.1em}}
.scroll{{overflow-x:auto}}table{{border-collapse:collapse;font-size:.9em;overflow-wrap:normal}}
th,td{{text-align:left;padding:3px 12px 3px 0;border-bottom:1px solid var(--rule);vertical-align:top;white-space:nowrap}}
td.n,th.n{{text-align:right;font-variant-numeric:tabular-nums}}
.key i{{display:inline-block;height:11px;width:11px;margin:0 5px 0 0}}.key span{{display:inline-block;margin-right:14px}}
"""
STYLE += "".join(f".p{number}{{background:var(--p{number})}}" for number in range(len(PHASES))) + chart.STYLE
POLICY = "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"

_PHASE_WORDS = {
    "environment": "what runs before the interpreter, such as a container's start",
    "interpreter": "Python itself",
    "imports": "the packages",
    "first_call": "a first use of the packages",
}
_STATE_WORDS = {
    "cold-client": "the first start on a node that has read none of the files",
    "warm": "a start on a node that has read the files before",
}


def html_report(summary: Summary, verdict: Verdict) -> str:
    """Return the report of a result. That of one method has nothing to compare, and is shorter."""
    name = escape(summary.result.session)
    head = f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">{POLICY}<title>ozrepro bench: {name}</title>'
    head += f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head><body>'
    several = len(summary.names) > 1
    parts = (
        _verdict(summary, verdict),
        _times(summary),
        _ratios(summary) if several else "",
        _phases(summary),
        candidates_table(summary),
        numbers_table(summary),
        requests_table(summary),
        replay_table(summary) if several else "",
        _how(summary, verdict),
    )
    return f"{head}{''.join(parts)}</body></html>\n"


def _verdict(summary: Summary, verdict: Verdict) -> str:
    result = summary.result
    sentences = "".join(f"<p>{escape(text)}</p>" for text in verdict.sentences)
    name = escape(result.session)
    text = f"<h1>{f'Which method for {name}' if len(summary.names) > 1 else f'How fast does {name} start'}?</h1>"
    text += f"<p class='soft'>Measured on {escape(place_words(result) or 'this machine')}</p>"
    return text + f'<div class="verdict"><p><strong>{escape(verdict.headline)}</strong></p>{sentences}</div>'


def _list(lines: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>"


def _terms(words: Mapping[str, str]) -> str:
    return f"<dl>{''.join(f'<dt>{escape(term)}</dt><dd>{escape(text)}</dd>' for term, text in words.items())}</dl>"


def _case_terms(summary: Summary) -> str:
    """Return what the words of the cases mean, those alone that occur."""
    terms = {state: _STATE_WORDS[state] for state in dict.fromkeys(case[1] for case in summary.cases) if state in _STATE_WORDS}
    if any(case[0] == "imports" for case in summary.cases):
        terms["imports"] = "imports what the session's description names"
    if any(case[0] == "empty" for case in summary.cases):
        terms["empty"] = "a Python program that does nothing"
    if any(case[2] > 1 for case in summary.cases):
        terms["ranks"] = "processes that start at once; the time is that of the last one"
    return _terms(terms)


def _times(summary: Summary) -> str:
    panels = []
    for case in summary.cases:
        groups = [group for name in summary.names if (group := summary.group(name, case)) is not None]
        panels.append((case_words(case), [Dot(group.candidate, group.seconds, _time_words(group.seconds)) for group in groups]))
    values = [value for _, rows in panels for row in rows if row.estimate for value in (row.estimate.low, row.estimate.high)]
    if not values or min(values) <= 0:
        return ""
    axis = log_axis(values, "seconds from the start to the end of the first call (logarithmic)", seconds_name)
    note = "The dot is the median of all starts, the line its 95 % interval. "
    if any(row.estimate and row.estimate.count < FEWEST for _, rows in panels for row in rows):
        note += f"Of fewer than {FEWEST} starts the interval is their range, which holds the true median less often. "
    return f"<h2>How long a start takes</h2>{_case_terms(summary)}{chart.dots(panels, axis, note + 'Further left is faster.')}"


def _time_words(found: object) -> str:
    median, low, high = (getattr(found, name, None) for name in ("median", "low", "high"))
    if median is None or low is None or high is None:
        return "failed"
    return f"{time_words(median)} ({time_words(low)} to {time_words(high)})"


def _ratios(summary: Summary) -> str:
    by_case: dict[Case, list[Dot]] = {}
    for item in summary.ratios:
        by_case.setdefault(item.case, []).append(Dot(item.candidate, item.ratio, verdict_words(item.ratio)))
    values = [
        value for rows in by_case.values() for row in rows if row.estimate for value in (row.estimate.low, row.estimate.high)
    ]
    if not values or min(values) <= 0:
        return ""
    band = (1 - DEAD_ZONE, 1 + DEAD_ZONE)
    axis = log_axis((*values, *band), f"time divided by that of {summary.reference} in the same round (logarithmic)", _times_name)
    note = "The dot is the median over the rounds, the line its 95 % interval. Left of 1 the method is faster. "
    note += f"A difference is said where the line is clear of the grey band, {100 * DEAD_ZONE:g} % around 1."
    panels = [(case_words(case), rows) for case, rows in by_case.items()]
    title = f"<h2>Compared with {escape(summary.reference)}</h2>"
    return title + chart.dots(panels, axis, note, band)


def _times_name(ratio: float) -> str:
    return f"{ratio:g}×"


def _phases(summary: Summary) -> str:
    panels = []
    for case in summary.cases:
        groups = [group for name in summary.names if (group := summary.group(name, case)) is not None and group.phases]
        if case[0] == summary.main and groups:
            rows = [
                Bar(
                    group.candidate,
                    {number: group.phases[phase] for number, phase in enumerate(PHASES) if phase in group.phases},
                    ", ".join(f"{phase.replace('_', ' ')} {time_words(seconds)}" for phase, seconds in _largest(group.phases)),
                )
                for group in groups
            ]
            panels.append((case_words(case), rows))
    most = max((sum(row.parts.values()) for _, rows in panels for row in rows), default=0.0)
    if most <= 0:
        return ""
    axis = linear_axis(most, "seconds, one phase after the other", seconds_name)
    key = "".join(
        f'<span><i class="p{number}"></i>{phase.replace("_", " ")}: {escape(_PHASE_WORDS[phase])}</span>'
        for number, phase in enumerate(PHASES)
    )
    note = f"<span class='key'>{key}</span><br>Medians of each phase; they need not add up to the median of the whole."
    return f"<h2>Where the time goes</h2>{chart.bars(panels, axis, note)}"


def _largest(phases: Mapping[str, float]) -> list[tuple[str, float]]:
    """Return the longest phase."""
    return sorted(phases.items(), key=lambda item: -item[1])[:1]


def _how(summary: Summary, verdict: Verdict) -> str:
    result = summary.result
    lines = [_state(state, words) for state, words in result.states.items()]
    plan = ", ".join(
        f"{name.replace('_', ' ')} {value:g}" for name, value in result.plan.items() if isinstance(value, (int, float))
    )
    lines.append(f"Order: every round runs each method once, in an order drawn from seed {result.seed}. {plan}.")
    lines.append(f"Lock {result.lock[:16]}; machine: {_table_words(result.host)}; file system: {_table_words(result.fs)}.")
    if result.profile:
        lines.append(f"Profile of the model: {_table_words(result.profile)}.")
    text = f"<h2>What this does not show</h2>{_list(verdict.unmeasured)}" if verdict.unmeasured else ""
    return f"{text}<h2>How it was measured</h2>{_list(lines)}"


def _state(state: str, words: Mapping[str, str]) -> str:
    leaves = words.get("leaves", "")
    return f"{state}: {words.get('how', '')}." + (f" It leaves {leaves}." if leaves else "")


def _table_words(table: Mapping[str, object]) -> str:
    words = []
    for name, value in table.items():
        shown = " ".join(map(str, value)) if isinstance(value, (list, tuple)) else value
        if name != "counters" and shown not in ("", None):
            words.append(f"{name.replace('_', ' ')} {shown}")
    return ", ".join(words) or "unknown"
