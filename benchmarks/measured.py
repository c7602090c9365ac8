"""The suite's results as values: what its page and its figures ask of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from ozrepro.frontends.bench.estimates import FEWEST, verdict_words
from ozrepro.frontends.bench.lustre.model import CHANGING, METADATA, OBJECTS
from ozrepro.frontends.bench.lustre.profile import PRESETS
from ozrepro.frontends.bench.result import read_result
from ozrepro.frontends.bench.summary import compare_in, requests_of, summarise

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from ozrepro.frontends.bench.estimates import Estimate
    from ozrepro.frontends.bench.summary import Case, Summary

COLD, WARM = "cold-client", "warm"
TOO_FEW = "too few rounds"
KEPT = "-kept"
"""How a session is called whose file of modules has the toolchain too: it is that of the name before it, with `keep = "all"`."""
BUILDS = "builds.json"
"""The file of results that has what builds ask the servers for."""
REQUESTS = tuple(kind for kind in (*METADATA, *OBJECTS) if kind not in CHANGING)


@dataclass(frozen=True)
class Measured:
    """One file of results: a session on a preset.

    Attributes:
        about: what the suite has noted beside the result: date, preset, command, versions, jobs.

    """

    summary: Summary
    about: Mapping[str, Any]

    @property
    def session(self) -> str:
        """The session's name."""
        return self.summary.result.session

    @property
    def preset(self) -> str:
        """The preset's name."""
        return str(self.about["preset"])

    @property
    def names(self) -> tuple[str, ...]:
        """The methods, the one that the others are compared with first."""
        return self.summary.names

    def cases(self, state: str) -> tuple[Case, ...]:
        """Return the cases of a state, fewest ranks first."""
        return tuple(sorted((case for case in self.summary.cases if case[1] == state), key=lambda case: case[2]))

    def ratio(self, name: str, other: str, case: Case) -> Estimate | None:
        """Return the ratio of the times of two methods by round, None where they have no round in common."""
        found = compare_in(self.summary.groups, name, other, case, self.summary.result.seed)
        return found.ratio if found is not None else None

    def fastest(self, case: Case) -> str:
        """Return the method that is clearly faster than each other, "" where there is none, or TOO_FEW."""
        for name in self.names:
            found = [self.ratio(name, other, case) for other in self.names if other != name]
            if any(item is None or item.count < FEWEST for item in found):
                return TOO_FEW
            if all(item is not None and verdict_words(item).startswith("faster") for item in found):
                return name
        return ""

    def served(self, name: str, state: str) -> dict[str, int]:
        """Return what the emulated servers were asked for in one start of one rank, by kind: the median of the rounds."""
        rows = [row for row in self.summary.result.rows if (row.candidate, row.state, row.ranks) == (name, state, 1)]
        found = [asked for row in rows if (asked := dict(row.requests)) and row.status == 0]
        return {kind: round(median([asked.get(kind, 0) for asked in found])) for kind in (*REQUESTS, "bytes")} if found else {}

    def predicted(self, name: str, state: str) -> dict[str, int]:
        """Return what the model predicts from the system calls of one start, by kind; nothing where none were counted."""
        rows = [item for item in self.summary.result.counts if (item.candidate, item.state) == (name, state)]
        return {**dict.fromkeys(REQUESTS, 0), **requests_of(rows[0])} if rows else {}


def read(folder: Path) -> tuple[Measured, ...]:
    """Return all results of a folder: sessions by name, presets from quiet to storm."""
    found = []
    for path in sorted(path for path in folder.glob("*.json") if path.name != BUILDS):
        about = json.loads(path.read_text(encoding="utf-8"))["suite"]
        found.append(Measured(summarise(read_result(path)), about))
    order = list(PRESETS)
    return tuple(sorted(found, key=lambda item: (item.session, order.index(item.preset))))


@dataclass(frozen=True)
class Build:
    """What the first build of a candidate into an empty store asked the servers for, by kind."""

    session: str
    candidate: str
    requests: Mapping[str, int]


def read_builds(folder: Path) -> tuple[Build, ...]:
    """Return what is known of builds, in the order in which they were measured."""
    path = folder / BUILDS
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else ()
    return tuple(Build(row["session"], row["candidate"], row["requests"]) for row in rows)


def typical(cells: Sequence[Measured]) -> Measured:
    """Return the result on busy where there is one: requests do not depend on the preset, but one has to be shown."""
    return next((cell for cell in cells if cell.preset == "busy"), cells[0])


def total(table: Mapping[str, int], kinds: Iterable[str]) -> int:
    """Return how many requests of these kinds there are."""
    return sum(table.get(kind, 0) for kind in kinds)


def sessions_of(cells: Sequence[Measured]) -> list[str]:
    """Return the sessions, in order."""
    return list(dict.fromkeys(cell.session for cell in cells))


def of_session(cells: Sequence[Measured], session: str) -> list[Measured]:
    """Return the results of a session, in order."""
    return [cell for cell in cells if cell.session == session]


def methods_of(cells: Sequence[Measured]) -> list[str]:
    """Return the methods, the one that the others are compared with first."""
    return list(dict.fromkeys(name for cell in cells for name in cell.names))
