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

from measured import (  # noqa: E402
    COLD,
    KEPT,
    TOO_FEW,
    WARM,
    methods_of,
    of_session,
    read,
    read_builds,
    sessions_of,
    total,
    typical,
)
from page_tables import builds_table, compared, listed, ratio_words, replays, requests, times  # noqa: E402

from ozrepro.frontends.bench.estimates import FEWEST  # noqa: E402
from ozrepro.frontends.bench.lustre.model import METADATA  # noqa: E402
from ozrepro.frontends.bench.summary import time_words  # noqa: E402
from ozrepro.frontends.bench.verdict import judge  # noqa: E402
from ozrepro.project.formatting import size_words  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Sequence

    from measured import Build, Measured

    from ozrepro.frontends.bench.summary import Case

RESULTS = ROOT / "benchmarks" / "results"
DOCS = ROOT / "docs" / "explanation"
PAGE, FIGURES = "benchmark.md", "benchmark"


def page_text(cells: Sequence[Measured], builds: Sequence[Build] = ()) -> str:
    """Return the page."""
    before, after = (_head, _short, compared, times, requests), (replays, _verdicts, _limits, _made)
    parts = [*(part(cells) for part in before), *([builds_table(builds)] if builds else []), *(part(cells) for part in after)]
    return "\n\n".join("\n".join(lines) for lines in parts) + "\n"


def _head(cells: Sequence[Measured]) -> list[str]:
    sessions, methods = (
        _count(len(sessions_of(cells)), "session"),
        listed([name for name in methods_of(cells) if " " not in name]),
    )
    return [
        "<!-- Written by benchmarks/page.py from benchmarks/results: change those, never this page. -->",
        "",
        "# The methods on an emulated Lustre",
        "",
        *_gain_words(cells),
        "",
        f"{sessions}, by {methods}, started on one machine from an emulated Lustre, as trees of files and as one file each.",
        "A staged file is the node's own copy of that file, made once a job.",
        "The presets say how fast its servers answer: see [how Lustre serves an import](lustre.md#from-requests-to-time).",
        "Cold is the first start of a client that has seen no file, warm one that follows.",
        "This page and its figures are written from the results by code; no number was put in by hand.",
    ]


def _gain_words(cells: Sequence[Measured]) -> list[str]:
    """Say what a setting changes for whoever uses modules, also where that is nothing, and where it was not measured."""
    both = [cell for cell in cells if cell.preset == "busy" and {_TREE, _FILE} <= set(cell.names)]
    layer = next((cell for cell in both if not cell.session.endswith(KEPT)), None)
    kept = next((cell for cell in both if cell.session.endswith(KEPT)), None)
    if layer is None and kept is None:
        return ["What one setting changes for sessions on modules was not measured."]
    lines = []
    if layer is not None:
        setting = 'Do you load modules? Then one line in `pyproject.toml`, `form = "file"` below `[tool.ozrepro]`'
        lines += [f"{setting}{_worth(layer)}.", *_times_words(layer)]
        lines.append("The layer on top of the modules is one file then; the site's own software stays where it is.")
    if kept is not None and layer is not None:
        lines += ['With `keep = "all"` below `[modules]` that software is in the file too.', *_times_words(kept)]
    elif kept is not None:
        setting = 'Do you load modules? Then `form = "file"` in your settings, with `keep = "all"` below `[modules]`'
        lines += [f"{setting}{_worth(kept)}.", *_times_words(kept)]
        lines.append("Your packages and the site's software below them are one file then.")
    if _was_busy(layer or kept):
        lines.append("These times are of a machine that other work kept busy: [how it was made](#how-it-was-made).")
    return lines


_TREE, _FILE = "modules", "modules as a file"


def _worth(cell: Measured) -> str:
    ratio = cell.ratio(_FILE, _TREE, cell.cases(COLD)[0])
    return ", is worth a try" if ratio is not None and ratio.median < 1 else " makes your starts no faster"


def _times_words(cell: Measured) -> list[str]:
    """Say what the file changes of a first and of a later start, and of what the first one asks."""
    cold, warm = (_change_words(cell, _TREE, _FILE, state) for state in (COLD, WARM))
    before, after = (total(cell.served(name, COLD), METADATA) for name in (_TREE, _FILE))
    name = cell.session.removesuffix(KEPT)
    lines = [f"On a busy Lustre the first start of `{name}` on a node then takes {cold}; a later one takes {warm}."]
    if before and after:
        asked = (
            f"That first start asks the metadata server, which you share with everybody, {after:,} times instead of {before:,}"
        )
        lines.append(f"{asked}.")
    return lines


def _change_words(cell: Measured, before: str, after: str, state: str) -> str:
    """Return both times of one rank, and their ratio with its interval."""
    case = cell.cases(state)[0]
    found = cell.ratio(after, before, case)
    old, new = (cell.summary.seconds(name, case) or 0.0 for name in (before, after))
    share = f" ({ratio_words(found)} of it)" if found is not None else ""
    return f"{time_words(new)} instead of {time_words(old)}{share}"


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
    """Say which method is clearly fastest and how often, also that none is, with the times of a usual case."""
    fastest = [(cell, case, cell.fastest(case)) for cell in cells for case in cell.cases(state)]
    lead = {COLD: "The first start on a node", WARM: "Every later start"}[state]
    clear = [name for _, _, name in fastest if name != TOO_FEW]
    wins = {name: clear.count(name) for name in methods_of(cells) if name in clear}
    lines = []
    if wins:
        often = " and ".join(f"with {name} in {_of_all(number, len(clear))}" for name, number in wins.items())
        none = f"; in {clear.count('')} no method is" if "" in clear else ""
        lines.append(f"- {lead} is clearly fastest {often}{none}.{_example(fastest)}")
    elif clear:
        lines.append(f"- {lead} is clearly fastest with no method: choose by what follows.{_example(fastest)}")
    few = len(fastest) - len(clear)
    if few:
        words = f"{_count(few, 'more case' if clear else 'case')} {'has' if few == 1 else 'have'} under {FEWEST} rounds"
        lines.append(f"- {lead}: {words}, too few to say which is fastest.")
    return lines


def _of_all(number: int, cases: int) -> str:
    if number == cases == 2:
        return "both cases"
    return f"all {_count(cases, 'case')}" if number == cases else f"{number} of {_count(cases, 'case')}"


def _example(fastest: Sequence[tuple[Measured, Case, str]]) -> str:
    """Return the times of the first case of one rank on busy servers, or of the first there is, fastest first."""
    cell, case, _ = next(
        (item for item in fastest if item[0].preset == "busy" and item[1][2] == 1 and item[2] != TOO_FEW), fastest[0]
    )
    times = {name: seconds for name in cell.names if (seconds := cell.summary.seconds(name, case)) is not None}
    each = ", ".join(f"{time_words(times[name])} with {name}" for name in sorted(times, key=lambda name: times[name]))
    return f" `{cell.session}` on `{cell.preset}` takes {each}." if times else ""


def _metadata_words(cells: Sequence[Measured]) -> list[str]:
    """Say how many requests a cold start sends to the metadata server, and the factor between most and fewest."""
    cell = typical(cells)
    sent = {name: total(cell.served(name, COLD) or cell.predicted(name, COLD), METADATA) for name in cell.names}
    if not all(sent.values()):
        return []
    least, most = min(sent, key=lambda name: sent[name]), max(sent, key=lambda name: sent[name])
    each = ", ".join(f"{sent[name]:,} times with {name}" for name in sorted(sent, key=lambda name: sent[name]))
    factor = sent[most] / sent[least]
    text = f"- A first start of `{cell.session}` asks the metadata server, which all users share, {each}"
    return [f"{text}: with {most} {_factor(factor)} as often as with {least}."]


def _growth_words(cells: Sequence[Measured]) -> list[str]:
    """Say how the time of a cold start grows from the first preset to the last that has the same ranks."""
    if len(cells) < 2:
        return []
    first, last = cells[0], cells[-1]
    parts = []
    for name in first.names:
        times = [cell.summary.seconds(name, case) for cell in (first, last) for case in cell.cases(COLD) if case[2] == 1]
        if len(times) == 2 and None not in times:
            parts.append(f"from {time_words(times[0] or 0)} to {time_words(times[1] or 0)} with {name}")
    if not parts:
        return []
    servers = f"From `{first.preset}` to `{last.preset}` servers"
    return [f"- {servers} the time of a first start of `{first.session}` goes {', '.join(parts)}."]


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
    return [f"- An image has its price: {_between(found)} of every later start pass before Python begins."]


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
        "- Apptainer lies on the emulated file system too: its requests for its own files are among the container's.",
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
        *_load_words(cells),
        "Each file of results has its own command, as this one:",
        "",
        "```text",
        str(about["command"]),
        "```",
        "",
        "`benchmarks/README.md` says how one of them is measured again.",
    ]


def _load_words(cells: Sequence[Measured]) -> list[str]:
    """Say where other work kept the machine busy, as far as that is known: the measured starts are part of a load average."""
    busy = [f"`{cell.session}` on `{cell.preset}` ({_load_of(cell)})" for cell in cells if _was_busy(cell)]
    lines = []
    if busy:
        lines.append(f"Other work kept the processors busy during {listed(busy)}, in load average before and after: ")
        lines[-1] += "times are longer and intervals wider there than on a quiet machine; counts are the same."
    trees = [
        f"`{name}`" for name in sessions_of(cells) if not any(_FORM in other for other in methods_of(of_session(cells, name)))
    ]
    if trees:
        lines.append(f"{listed(trees)} {'was' if len(trees) == 1 else 'were'} measured before an environment could be one file")
        lines[-1] += " and an image was packed in the order in which a start reads it."
    return lines


def _was_busy(cell: Measured | None) -> bool:
    """Say whether more than twice as much was at work as the machine has processors."""
    return cell is not None and max(cell.about.get("load", (0,))) > 2 * int(cell.summary.result.host["cpus"])


def _load_of(cell: Measured) -> str:
    return " to ".join(f"{float(number):.0f}" for number in cell.about["load"])


_FORM = " as a file"


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _factor(factor: float) -> str:
    return f"{factor:,.0f} times" if factor >= 9.5 else f"{factor:.1f} times"


def _between(values: Sequence[float]) -> str:
    low, high = time_words(min(values)), time_words(max(values))
    return low if low == high else f"{low} to {high}"


def write(results: Path, docs: Path) -> None:
    """Write the page and its figures."""
    from plots import write_plots

    cells = read(results)
    if not cells:
        sys.exit(f"no results in {results}: python benchmarks/suite.py")
    docs.mkdir(parents=True, exist_ok=True)
    (docs / PAGE).write_text(page_text(cells, read_builds(results)), encoding="utf-8")
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
