"""Writes docs/explanation/benchmark.md and its figures from the results of `suite.py`, and every sentence that hangs on a number.

python benchmarks/page.py [--results DIR] [--docs DIR]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from measured import COLD, REQUESTS, TOO_FEW, WARM, methods_of, of_session, read, sessions_of, total, typical  # noqa: E402

from ozrepro.bench.statistics import DEAD_ZONE, FEWEST, verdict_words  # noqa: E402
from ozrepro.bench.summary import METADATA, OBJECTS, time_words  # noqa: E402
from ozrepro.bench.verdict import judge  # noqa: E402
from ozrepro.words import size_words  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from measured import Measured

    from ozrepro.bench.statistics import Estimate
    from ozrepro.bench.summary import Case

RESULTS = ROOT / "benchmarks" / "results"
DOCS = ROOT / "docs" / "explanation"
PAGE, FIGURES = "benchmark.md", "benchmark"


def page_text(cells: Sequence[Measured]) -> str:
    """Return the page."""
    parts = (_head, _short, _compared, _times, _requests, _replays, _verdicts, _limits, _made)
    return "\n\n".join("\n".join(part(cells)) for part in parts) + "\n"


def _head(cells: Sequence[Measured]) -> list[str]:
    sessions, methods = _count(len(sessions_of(cells)), "session"), _listed(methods_of(cells))
    return [
        "<!-- Written by benchmarks/page.py from benchmarks/results: change those, never this page. -->",
        "",
        "# The methods on an emulated Lustre",
        "",
        f"{sessions}, each by {methods}, started on one machine from an emulated Lustre.",
        "The presets say how fast its servers answer: see [how Lustre serves an import](lustre.md#from-requests-to-time).",
        "Cold is the first start of a client that has seen no file, warm one that follows.",
        "This page and its figures are written from the results by code; no number was put in by hand.",
    ]


def _short(cells: Sequence[Measured]) -> list[str]:
    return [
        "## In short",
        "",
        *_fastest_words(cells, COLD),
        *_fastest_words(cells, WARM),
        *(line for session in sessions_of(cells) for line in _metadata_words(of_session(cells, session))),
        *(line for session in sessions_of(cells) for line in _growth_words(of_session(cells, session))),
        *_inside_words(cells),
    ]


def _fastest_words(cells: Sequence[Measured], state: str) -> list[str]:
    """Say how often each method is clearly the fastest, also that it never is."""
    found = [cell.fastest(case) for cell in cells for case in cell.cases(state)]
    told = [name for name in found if name != TOO_FEW]
    lead = {COLD: "Cold", WARM: "Warm"}[state]
    lines = []
    if told:
        each = [f"{name} in {told.count(name)}" for name in methods_of(cells)]
        none = f", none in {told.count('')}" if told.count("") else ""
        lines.append(f"- {lead}, of {_count(len(told), 'case')}, the clearly fastest is {', '.join(each)}{none}.")
    few = len(found) - len(told)
    if few:
        words = f"{_count(few, 'more case')} {'has' if few == 1 else 'have'} under {FEWEST} rounds"
        lines.append(f"- {lead}, {words}: too few to say which is fastest.")
    return lines


def _metadata_words(cells: Sequence[Measured]) -> list[str]:
    """Say how many requests a cold start sends to the metadata server, and the factor between most and fewest."""
    cell = typical(cells)
    sent = {name: total(cell.served(name, COLD) or cell.predicted(name, COLD), METADATA) for name in cell.names}
    if not all(sent.values()):
        return []
    least, most = min(sent, key=lambda name: sent[name]), max(sent, key=lambda name: sent[name])
    each = ", ".join(f"{name} {number:,}" for name, number in sent.items())
    factor = sent[most] / sent[least]
    return [
        f"- A cold start of `{cell.session}` asks the metadata server for: {each}; {most} {_factor(factor)} as often as {least}."
    ]


def _growth_words(cells: Sequence[Measured]) -> list[str]:
    """Say how the time of a cold start grows from the first preset to the last that has the same ranks."""
    if len(cells) < 2:
        return []
    first, last = cells[0], cells[-1]
    parts = []
    for name in first.names:
        times = [cell.summary.seconds(name, case) for cell in (first, last) for case in cell.cases(COLD) if case[2] == 1]
        if len(times) == 2 and None not in times:
            parts.append(f"{name} from {time_words(times[0] or 0)} to {time_words(times[1] or 0)}")
    if not parts:
        return []
    return [f"- From `{first.preset}` to `{last.preset}`, a cold start of `{first.session}` goes with {'; '.join(parts)}."]


def _inside_words(cells: Sequence[Measured]) -> list[str]:
    """Say what of a warm start passes before an image's interpreter begins."""
    found = [
        group.phases["environment"]
        for cell in cells
        for case in cell.cases(WARM)
        for name in cell.names
        if case[2] == 1 and (group := cell.summary.group(name, case)) is not None and group.phases.get("environment", 0.0) > 0
    ]
    if not found:
        return []
    return [f"- Of a warm start in the image, {_between(found)} pass before its interpreter begins."]


def _compared(cells: Sequence[Measured]) -> list[str]:
    lines = ["## What was compared", ""]
    lines += ["| session | method | files | size | build | interpreter |", "|---|---|---|---|---|---|"]
    for session in sessions_of(cells):
        for item in of_session(cells, session)[0].summary.result.candidates:
            built = time_words(item.build_seconds) if item.build_seconds is not None else "not known"
            where = "in the image" if item.base.endswith("inside the image") else _where(item.base)
            lines.append(f"| {session} | {item.name} | {item.files:,} | {size_words(item.bytes)} | {built} | {where} |")
    lines += ["", "Files and size are those of the environment alone: what the site's modules hold belongs to the site."]
    for session in sessions_of(cells):
        lines += _payload_words(of_session(cells, session)[0])
    return lines


def _where(base: str) -> str:
    return {"site": "of the site's module", "project": "of the environment"}.get(base.partition("/")[0], "of the machine")


def _payload_words(cell: Measured) -> list[str]:
    imports = cell.about.get("imports", [])
    lines = [f"`{cell.session}` imports {_listed([f'`{name}`' for name in imports])}."] if imports else []
    unlike = cell.summary.unlike
    versions = cell.summary.result.candidates[0].versions
    shared = [
        f"{name} {versions[name]}" for name in ("python", "numpy", "scipy", "pandas", "matplotlib", "astropy") if name in versions
    ]
    if not unlike:
        return [*lines, f"No package that several methods of it hold differs in version: {', '.join(shared)}."]
    table = [
        f"Versions that differ in `{cell.session}`:",
        "",
        f"| package | {' | '.join(cell.names)} |",
        f"|---|{'---|' * len(cell.names)}",
    ]
    table += [f"| {package} | {' | '.join(row[name] or '-' for name in cell.names)} |" for package, row in unlike.items()]
    return [*lines, "", *table]


def _times(cells: Sequence[Measured]) -> list[str]:
    reference = methods_of(cells)[0]
    lines = [
        "## Start-up",
        "",
        "Median seconds until the last rank has done its first call.",
        f"In brackets: the ratio to {reference}, the median over the rounds of each round's own ratio, with its 95 % interval.",
        f"Below 1 the method is faster; in bold where the interval clears 1 by {DEAD_ZONE * 100:.0f} %.",
        "",
        "![Cold and warm starts: ratio to the first method, by preset](benchmark/ratios.svg)",
    ]
    for session in sessions_of(cells):
        some = of_session(cells, session)
        lines += ["", f"### {session}", "", f"| preset | state | ranks | rounds | {' | '.join(some[0].names)} |"]
        lines.append(f"|---|---|---|---|{'---|' * len(some[0].names)}")
        for cell in some:
            for state, words in ((COLD, "cold"), (WARM, "warm")):
                for case in cell.cases(state):
                    lines.append(
                        f"| {cell.preset} | {words} | {case[2]} | {_rounds(cell, case)} | {' | '.join(_time_cells(cell, case))} |"
                    )
    return lines


def _rounds(cell: Measured, case: Case) -> int:
    groups = [cell.summary.group(name, case) for name in cell.names]
    return min(len(group.runs) if group is not None else 0 for group in groups)


def _time_cells(cell: Measured, case: Case) -> Iterable[str]:
    reference = cell.names[0]
    for name in cell.names:
        seconds = cell.summary.seconds(name, case)
        found = cell.ratio(name, reference, case) if name != reference else None
        if seconds is None:
            yield "failed"
        elif found is None:
            yield time_words(seconds)
        else:
            clear = verdict_words(found).startswith(("faster", "slower"))
            words = f"({ratio_words(found)})"
            yield f"{time_words(seconds)} {f'**{words}**' if clear else words}"


def ratio_words(found: Estimate) -> str:
    """Return a ratio with its interval, with digits enough to tell it from nothing."""
    digits = 2 if found.median >= 0.1 else 3
    return f"{found.median:.{digits}f} [{found.low:.{digits}f}, {found.high:.{digits}f}]"


def _requests(cells: Sequence[Measured]) -> list[str]:
    lines = [
        "## What a start asks the servers for",
        "",
        "Requests of one start of one rank: what the emulated servers were asked for, as the median of the rounds.",
        "Behind it stands what the [model](lustre.md#what-a-client-sends) predicts from the system calls of another start.",
        "Lookups, misses, opens, closes and listings go to the metadata server, which all users of a file system share.",
        "",
        "![Requests of a cold start by kind, on a logarithmic axis](benchmark/requests.svg)",
    ]
    for session in sessions_of(cells):
        cell = typical(of_session(cells, session))
        lines += [
            "",
            f"### {session}, on {cell.preset}",
            "",
            f"| requests | {' | '.join(f'{name}, cold | warm' for name in cell.names)} |",
        ]
        lines.append(f"|---|{'---|---|' * len(cell.names)}")
        columns = [(cell.served(name, state), cell.predicted(name, state)) for name in cell.names for state in (COLD, WARM)]
        lines += [f"| {kind} | {' | '.join(_pair(column, (kind,)) for column in columns)} |" for kind in REQUESTS]
        lines.append(f"| to the metadata server | {' | '.join(_pair(column, METADATA) for column in columns)} |")
        lines.append(f"| to the object servers | {' | '.join(_pair(column, OBJECTS) for column in columns)} |")
        lines += _agreement_words(cell)
    return lines


def _pair(column: tuple[Mapping[str, int], Mapping[str, int]], kinds: Sequence[str]) -> str:
    served, predicted = (f"{total(part, kinds):,}" if part else "-" for part in column)
    return f"{served} / {predicted}"


def _agreement_words(cell: Measured) -> list[str]:
    """Say how far prediction and emulation are apart, method by method."""
    parts = []
    for name in cell.names:
        served, predicted = (total(part, METADATA) for part in (cell.served(name, COLD), cell.predicted(name, COLD)))
        if served and predicted:
            parts.append(f"{name} {(predicted - served) / served * 100:+.0f} %")
    return ["", f"Predicted metadata requests of a cold start against those asked for: {', '.join(parts)}."] if parts else []


def _replays(cells: Sequence[Measured]) -> list[str]:
    lines = [
        "## Many nodes at once",
        "",
        "The [replay](lustre.md#from-requests-to-time) of the predicted requests: when the last rank has all its answers.",
        "It is the waiting for the servers alone, without the processor's time, which the table above has.",
        "",
        "![Replay: seconds until the last rank is ready against ranks](benchmark/replay.svg)",
        "",
    ]
    names = methods_of(cells)
    lines += [f"| session | preset | nodes × ranks | {' | '.join(names)} |", f"|---|---|---|{'---|' * len(names)}"]
    most: list[str] = []
    for cell in cells:
        table = {(item.nodes, item.ranks, item.candidate): item.last for item in cell.summary.result.replay}
        points = sorted({key[:2] for key in table})
        for nodes, ranks in points:
            times = [table.get((nodes, ranks, name)) for name in names]
            shown = " | ".join(time_words(value) if value is not None else "-" for value in times)
            lines.append(f"| {cell.session} | {cell.preset} | {nodes} × {ranks} | {shown} |")
        most += _most_words(cell, table, points[-1]) if points else []
    return [*lines, "", *most]


def _most_words(cell: Measured, table: Mapping[tuple[int, int, str], float], point: tuple[int, int]) -> list[str]:
    keys = {name: (point[0], point[1], name) for name in cell.names}
    times = {name: table[key] for name, key in keys.items() if key in table}
    if len(times) < 2:
        return []
    first, last = min(times, key=lambda name: times[name]), max(times, key=lambda name: times[name])
    words = f"`{cell.session}` on `{cell.preset}`, {point[0]} × {point[1]}: {last} waits for {time_words(times[last])}"
    return [f"- {words}, {first} for {time_words(times[first])}."]


def _verdicts(cells: Sequence[Measured]) -> list[str]:
    lines = [
        "## The verdicts",
        "",
        "What [`ozrepro bench`](../reference/bench.md#the-verdict) says of each result by its fixed rules, in its own words.",
    ]
    for cell in cells:
        verdict = judge(cell.summary, int(cell.about.get("jobs", 0)))
        lines += [
            "",
            f"### {cell.session} on {cell.preset}",
            "",
            f"**{verdict.headline}**",
            "",
            *verdict.sentences,
            *verdict.unmeasured,
        ]
    return lines


def _limits(cells: Sequence[Measured]) -> list[str]:
    cpus = int(cells[0].summary.result.host["cpus"])
    ranks = max(case[2] for cell in cells for case in cell.summary.cases)
    competing = (
        f"- The machine has {_count(cpus, 'processor')}, for which {ranks} ranks compete: their times hold much computing."
    )
    return [
        "## What this cannot tell",
        "",
        "- The emulator is this project's reading of Lustre, not Lustre: nothing here was measured on a real one, nor on OzSTAR.",
        "- It served one node, from the same machine: the starts and the emulator shared its processors.",
        *([competing] if ranks > cpus else []),
        "- FUSE has a cost of its own, so that short answers are served less exactly than the preset says.",
        "- The machine's own C library asks the emulated servers for nothing; an image brings its own, and reads it from there.",
        "- Presets are of the order of what others report; none is of a particular site.",
        "- The replay knows what a start asks for, and nothing of other users.",
        *_state_words(cells[0]),
        "- Another session, another site and another day give other numbers: [measure yours](../how-to/bench.md).",
    ]


def _state_words(cell: Measured) -> list[str]:
    found = cell.summary.result.states.get(COLD, {})
    how, leaves = found.get("how", ""), found.get("leaves", "")
    return [f"- Cold here means: {how}. What that leaves in memory: {leaves}."] if how and leaves else []


def _made(cells: Sequence[Measured]) -> list[str]:
    host, about = cells[0].summary.result.host, cells[0].about
    dates = sorted({str(cell.about["date"]) for cell in cells})
    when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    machine = [str(host.get("model", "")), _count(int(host["cpus"]), "processor"), size_words(int(host.get("memory", 0)))]
    tools = [str(host.get("system", "")), f"Apptainer {about.get('apptainer', '')}", f"Lmod {about.get('lmod', '')}"]
    return [
        "## How it was made",
        "",
        f"`nox -s bench`, {when}: {', '.join([*machine, *tools])}.",
        "Each file of results has its own command, as this one:",
        "",
        "```text",
        str(about["command"]),
        "```",
        "",
        "`benchmarks/README.md` says how one of them is measured again.",
    ]


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _factor(factor: float) -> str:
    return f"{factor:,.0f} times" if factor >= 9.5 else f"{factor:.1f} times"


def _between(values: Sequence[float]) -> str:
    low, high = time_words(min(values)), time_words(max(values))
    return low if low == high else f"{low} to {high}"


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def write(results: Path, docs: Path) -> None:
    """Write the page and its figures."""
    from plots import write_plots

    cells = read(results)
    if not cells:
        sys.exit(f"no results in {results}: python benchmarks/suite.py")
    docs.mkdir(parents=True, exist_ok=True)
    (docs / PAGE).write_text(page_text(cells), encoding="utf-8")
    write_plots(cells, docs / FIGURES)


def main() -> None:
    """Write the page from the committed results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="DIR", help="default: benchmarks/results")
    parser.add_argument("--docs", type=Path, default=DOCS, metavar="DIR", help="default: docs/explanation")
    given = parser.parse_args()
    write(given.results, given.docs)


if __name__ == "__main__":
    main()
