"""The tables of the HTML report, each with what its columns mean."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from ozrepro.frontends.bench.estimates import verdict_words
from ozrepro.frontends.bench.summary import case_words, client_requests, metadata_requests, requests_of, time_words
from ozrepro.project.formatting import size_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ozrepro.frontends.bench.result import Counted
    from ozrepro.frontends.bench.summary import Group, Summary

_MOST_UNLIKE = 30
"""Packages in different versions that are shown: a screen of them."""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers: int) -> str:
    """Return a table of which the columns from `numbers` on are numbers. It scrolls by itself where it is too wide."""

    def line(row: Sequence[str], tag: str) -> str:
        words = [f"<{tag}>{escape(cell)}</{tag}>" for cell in row[:numbers]]
        words += [f'<{tag} class="n">{escape(cell)}</{tag}>' for cell in row[numbers:]]
        return f"<tr>{''.join(words)}</tr>"

    return f'<div class="scroll"><table>{line(head, "th")}{"".join(line(row, "td") for row in rows)}</table></div>'


def _note(text: str) -> str:
    return f"<p class='soft'>{escape(text)}</p>"


def candidates_table(summary: Summary) -> str:
    """Return what was compared: files, size and build of each method, and packages in different versions."""
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
    title = "What was compared" if len(rows) > 1 else "What was started"
    text = f"<h2>{title}</h2>" + _note("Files and size are those of the environment, without what the site's modules hold.")
    text += _table(("method", "interpreter", "file system", "files", "size", "time of the build"), rows, 3)
    if len(rows) < 2:
        return text
    if not summary.unlike:
        return text + "<p>All packages that several methods have are of the same version.</p>"
    unlike = [(package, *(table.get(name, "") or "-" for name in summary.names)) for package, table in summary.unlike.items()]
    more = _note(f"and {len(unlike) - _MOST_UNLIKE} more") if len(unlike) > _MOST_UNLIKE else ""
    return f"{text}<p>In different versions:</p>{_table(('package', *summary.names), unlike[:_MOST_UNLIKE], 9)}{more}"


def numbers_table(summary: Summary) -> str:
    """Return all times: of each method and case the median, its interval and what lies around it."""
    ratios = {(item.candidate, item.case): verdict_words(item.ratio) for item in summary.ratios}
    several = len(summary.names) > 1
    rows = []
    for case in summary.cases:
        for name in summary.names:
            group = summary.group(name, case)
            if group is not None:
                words = ratios.get((name, case), "reference" if name == summary.reference else "")
                rows.append(_row(group, (words,) if several else ()))
    head = ["method", "start", "median", "95 % interval", "fastest", "9 of 10 within", "slowest", "starts"]
    if several:
        head.insert(2, f"against {summary.reference}")
    note = (
        "No start is left out. “Far” counts those far from the others; of “noisy” times the spread is 10 % of the mean or more."
    )
    if any(group.failed for group in summary.groups.values()):
        note += " Those behind a “+” failed, and are not in the times."
    return f"<h2>All times</h2>{_note(note)}{_table(head, rows, 3 if several else 2)}"


def _row(group: Group, words: tuple[str, ...]) -> tuple[str, ...]:
    starts = str(len(group.runs)) + (f" +{group.failed} failed" if group.failed else "")
    starts += (f", {len(group.far)} far" if group.far else "") + (", noisy" if group.noisy else "")
    lead = (group.candidate, case_words(group.case))
    if group.seconds is None:
        return (*lead, *(("failed",) if words else ()), "-", "-", "-", "-", "-", starts)
    interval = f"{time_words(group.seconds.low)} to {time_words(group.seconds.high)}"
    rest = (time_words(value) for value in (group.least, group.p90, group.most))
    return (*lead, *words, time_words(group.seconds.median), interval, *rest, starts)


def requests_table(summary: Summary) -> str:
    """Return what one start asks of the file system, counted, and the requests that it would send on Lustre."""
    counts = summary.result.counts
    if not any(item.requests for item in counts):
        return ""
    kinds = list(dict.fromkeys(kind for item in counts for kind in requests_of(item)))
    rows: list[tuple[str, ...]] = [
        (item.candidate, f"{item.workload}, {item.state}", *(f"{number:,}" for number in _counted(item, kinds)))
        for item in counts
    ]
    head: tuple[str, ...] = ("method", "start", "found", "missing", "opened", "read", "bytes", *kinds, "metadata")
    counted = [client_requests(item) for item in counts]
    note = "What one start asks for, counted in runs of its own: paths found and missing, files opened and read, bytes read. "
    note += (
        "Then the requests that it would send on Lustre, predicted from it, and as “metadata” the sum of those that go to the "
    )
    note += "metadata server, which all users of a file system share."
    if any(number is not None for number in counted):
        head = (*head, "counted by the client")
        rows = [(*row, "-" if number is None else f"{number:,}") for row, number in zip(rows, counted, strict=True)]
        note += " The last column is what this node's own Lustre client counted meanwhile, for all users of the node."
    return f"<h2>Requests to the file system</h2>{_note(note)}{_table(head, rows, 2)}"


def _counted(item: Counted, kinds: Sequence[str]) -> tuple[int, ...]:
    requests = (item.requests.get(kind, 0) for kind in kinds)
    return (item.found, item.missing, item.opened, item.read, item.bytes, *requests, metadata_requests(item))


def replay_table(summary: Summary) -> str:
    """Return what the model says, a row for each profile and number of nodes, a column for each candidate."""
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
    note = f"Until the last rank has read {workload}: predicted by a model of Lustre from the counts above, not measured. "
    note += "It is the wait for the file system alone, on nodes that have read nothing yet."
    return f"<h2>Many nodes</h2>{_note(note)}{_table(('profile', 'nodes', 'ranks on each', *summary.names), rows, 1)}"
