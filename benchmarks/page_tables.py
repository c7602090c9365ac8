"""The parts of the suite's page that are tables: what was compared, times, requests, and the replay."""

from __future__ import annotations

from typing import TYPE_CHECKING

from measured import COLD, KEPT, REQUESTS, WARM, methods_of, of_session, sessions_of, total, typical

from ozrepro.frontends.bench.estimates import DEAD_ZONE, verdict_words
from ozrepro.frontends.bench.lustre.model import METADATA, OBJECTS
from ozrepro.frontends.bench.summary import time_words
from ozrepro.project.formatting import size_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from measured import Build, Measured

    from ozrepro.frontends.bench.estimates import Estimate
    from ozrepro.frontends.bench.summary import Case

UNBROKEN = "\u00a0"
"""A space at which no line of a narrow table is broken."""


def compared(cells: Sequence[Measured]) -> list[str]:
    """Return what the methods hold, and which versions differ."""
    lines = ["## What was compared", ""]
    lines += ["| session | method | files | size | build | copy on a node | interpreter |", "|---|---|---|---|---|---|---|"]
    for session in sessions_of(cells):
        for item in of_session(cells, session)[0].summary.result.candidates:
            built = time_words(item.build_seconds) if item.build_seconds is not None else "not known"
            where = "in the image" if item.base.endswith("inside the image") else _where(item.base)
            staged = time_words(item.stage_seconds) if item.stage_seconds is not None else "-"
            size = f"{item.files:,} | {size_words(item.bytes)}"
            lines.append(f"| {session} | {item.name} | {size} | {built} | {staged} | {where} |")
    lines += ["", "Files and size are those of the environment alone: what the site's modules hold belongs to the site."]
    lines.append("The build is the one that made the environment, with whatever was in the cache then.")
    kept = [session for session in sessions_of(cells) if session.endswith(KEPT)]
    lines += [
        f'`{name}` is `{name.removesuffix(KEPT)}` with `keep = "all"`: its file has the site\'s software too.' for name in kept
    ]
    lines.append("A copy on a node was made once from the emulated Lustre of the first preset.")
    for session in sessions_of(cells):
        lines += _payload_words(of_session(cells, session)[0])
    return lines


def _where(base: str) -> str:
    return {"site": "of the site's module", "project": "of the environment"}.get(base.partition("/")[0], "of the machine")


def _payload_words(cell: Measured) -> list[str]:
    imports = cell.about.get("imports", [])
    lines = [f"`{cell.session}` imports {listed([f'`{name}`' for name in imports])}."] if imports else []
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


def times(cells: Sequence[Measured]) -> list[str]:
    """Return the times of each session, and their ratios to the first method."""
    lines = [
        "## Start-up",
        "",
        "Median seconds until the last rank has done its first call.",
        "In brackets: the ratio to the row's first method: the median of each round's own ratio, with its 95 % interval.",
        f"Below 1 the method is faster; in bold where the interval clears 1 by {DEAD_ZONE * 100:.0f} %.",
        "",
        "![Cold and warm starts: ratio to the first method, by preset](benchmark/ratios.svg)",
    ]
    for session in sessions_of(cells):
        some = of_session(cells, session)
        names = methods_of(some)
        lines += ["", f"### {session}", "", f"| preset | state | ranks | rounds | {' | '.join(names)} |"]
        lines.append(f"|---|---|---|---|{'---|' * len(names)}")
        for cell in some:
            for state, words in ((COLD, "cold"), (WARM, "warm")):
                for case in cell.cases(state):
                    row = " | ".join(_time_cells(cell, case, names))
                    lines.append(f"| {cell.preset} | {words} | {case[2]} | {_rounds(cell, case)} | {row} |")
    return lines


def _rounds(cell: Measured, case: Case) -> int:
    groups = [cell.summary.group(name, case) for name in cell.names]
    return min(len(group.runs) if group is not None else 0 for group in groups)


def _time_cells(cell: Measured, case: Case, names: Sequence[str]) -> Iterable[str]:
    reference = cell.names[0]
    for name in names:
        if name not in cell.names:
            yield "-"
            continue
        seconds = cell.summary.seconds(name, case)
        found = cell.ratio(name, reference, case) if name != reference else None
        if seconds is None:
            yield "failed"
        elif found is None:
            yield time_words(seconds)
        else:
            clear = verdict_words(found).startswith(("faster", "slower"))
            words = f"({ratio_words(found)})".replace(" ", UNBROKEN)
            yield f"{time_words(seconds)} {f'**{words}**' if clear else words}"


def ratio_words(found: Estimate) -> str:
    """Return a ratio with its interval, with digits enough to tell it from nothing."""
    digits = 2 if found.median >= 0.1 else 3
    return f"{found.median:.{digits}f} [{found.low:.{digits}f}, {found.high:.{digits}f}]"


def requests(cells: Sequence[Measured]) -> list[str]:
    """Return what one start asks the servers for, measured and predicted."""
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
        lines += ["", f"### {session}, on {cell.preset}", "", f"| requests | {' | '.join(cell.names)} |"]
        lines.append(f"|---|{'---|' * len(cell.names)}")
        lines += [f"| {kind}, cold | {_pairs(cell, COLD, (kind,))} |" for kind in REQUESTS]
        for state, words in ((COLD, "cold"), (WARM, "warm")):
            lines.append(f"| to the metadata server, {words} | {_pairs(cell, state, METADATA)} |")
            lines.append(f"| to the object servers, {words} | {_pairs(cell, state, OBJECTS)} |")
        lines += ["", *_agreement_words(cell), *_open_lock_words(cell)]
    return lines


def _pairs(cell: Measured, state: str, kinds: Sequence[str]) -> str:
    """Return what each method's start asked for and was predicted to, as the cells of a row."""
    found = []
    for name in cell.names:
        counts = (cell.served(name, state), cell.predicted(name, state))
        found.append(" / ".join(f"{total(part, kinds):,}" if part else "-" for part in counts))
    return " | ".join(found)


def _agreement_words(cell: Measured) -> list[str]:
    """Say how far prediction and emulation are apart, method by method; nothing where one of them is missing."""
    parts = []
    for name in cell.names:
        served, predicted = (total(part, METADATA) for part in (cell.served(name, COLD), cell.predicted(name, COLD)))
        if served and predicted:
            parts.append(f"{name} {round((predicted - served) / served * 100):+d} %")
    if not parts:
        return ["What the servers were asked for is not in the results: only the prediction is."]
    return [f"Predicted metadata requests of a cold start against those asked for: {', '.join(parts)}."]


def _open_lock_words(cell: Measured) -> list[str]:
    """Say why warm starts open less than predicted, where they do: the prediction is of the second start."""
    pairs = [(cell.served(name, WARM).get("open", 0), cell.predicted(name, WARM).get("open", 0)) for name in cell.names]
    after = int((cell.summary.result.profile or {}).get("open_lock_after", 0))
    if not after or not any(2 * served < predicted for served, predicted in pairs):
        return []
    return [
        "The prediction of a warm start is of the second one on a node, which opens each file anew.",
        f"The measured ones are later: from open {after} of a file on, the client holds a lock for it and asks no more.",
    ]


BUILD_KINDS = {
    "made": ("create",),
    "changed": ("change",),
    "opened": ("open",),
    "closed": ("close",),
    "looked up": ("lookup", "miss", "readdir"),
}
"""The columns of the table of builds, as kinds of requests."""


def builds_table(builds: Sequence[Build]) -> list[str]:
    """Return what builds ask the metadata server for, and what a tree asks for more than a file."""
    lines = [
        "## What a build asks the metadata server for",
        "",
        "Requests of the first build into an empty store, with the packages in a cache on another file system.",
        "Names that are made are files, folders and links; changed are modes, times and names; looked up are names and folders.",
        "These are counts: they do not depend on the preset, nor on other work.",
        "",
        f"| session | method | {' | '.join(BUILD_KINDS)} | all |",
        f"|---|---|{'---|' * (len(BUILD_KINDS) + 1)}",
    ]
    for item in builds:
        counts = [f"{total(item.requests, kinds):,}" for kinds in BUILD_KINDS.values()]
        lines.append(f"| {item.session} | {item.candidate} | {' | '.join(counts)} | {total(item.requests, METADATA):,} |")
    return [*lines, "", *_build_factor_words(builds)]


def _build_factor_words(builds: Sequence[Build]) -> list[str]:
    """Say how many times as often a tree's build asks as a file's."""
    sent = {(item.session, item.candidate): total(item.requests, METADATA) for item in builds}
    pairs = [(key, sent.get((key[0], f"{key[1]} as a file"), 0)) for key in sent]
    return [
        f"- A tree of `{session}` by {name} asks {sent[session, name] / file:,.0f} times as often as one file."
        for (session, name), file in pairs
        if file
    ]


def replays(cells: Sequence[Measured]) -> list[str]:
    """Return what the model says of many nodes."""
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
        table = {(item.nodes, item.ranks, item.candidate): item.last for item in cell.summary.replay}
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


def listed(words: Sequence[str]) -> str:
    """Return words with an `and` before the last."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
