"""Which of the measured methods are left to take, by load, start-up and quota.

The rule, in this order; a step that leaves nobody is skipped:

1. A method whose main workload failed is out. Where another was not started, nothing is recommended.
2. Load: where the stated jobs would keep a metadata server busy for a second or more, a method that sends over twice the requests
   of the lightest is out, unless the lightest is clearly slower, by a factor of 2 or more.
   Where one of the two states that decide has too few rounds, this alone decides or nothing does; slower is the median then.
3. Start-up: a method that is clearly slower than another, by at least a tenth of a second, is out; first cold, then warm.
4. Quota: a method with over ten times the files of another is out, if these are over 10,000.

One that is left alone is recommended. If nobody went out, it does not matter here. Of several that are left, the spec's order
decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ozrepro.frontends.bench.estimates import DEAD_ZONE, FEWEST
from ozrepro.frontends.bench.lustre.model import METADATA, of_starts
from ozrepro.frontends.bench.lustre.profile import QUIET
from ozrepro.frontends.bench.summary import Compared, compare_in
from ozrepro.site import LOCAL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ozrepro.frontends.bench.result import Counted
    from ozrepro.frontends.bench.summary import Case, Summary

JOBS = 100
"""Jobs that are assumed where the user states none."""

SERVER = 100_000
"""Operations a second that a metadata server does for everybody: what OzSTAR's guide says of its own."""

NOTICED = 0.1
"""Seconds per start below which a difference, however clear, is none that matters to a job."""

MANY_FILES = 10_000
"""Files from which their number counts: a twentieth of OzSTAR's quota for a home, 200,000."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What is left to take, and on what grounds.

    Attributes:
        cold, warm: the cases that decide: the main workload, with most ranks; None where there is none.
        working: the methods that started in them without a failure.
        missing: those that were not started in them.
        loads: requests to a metadata server of all jobs, by each that works; None where they were not counted.
        few: the states that decide and have too few rounds for it, with how many they have.
        left: the methods to take, in the session's order: all that work where nothing speaks against one.

    """

    cold: Case | None
    warm: Case | None
    working: tuple[str, ...]
    missing: tuple[str, ...]
    loads: Mapping[str, int | None]
    few: Mapping[str, int]
    left: tuple[str, ...]

    @property
    def cases(self) -> tuple[Case, ...]:
        """The cases that decide, cold first."""
        return tuple(case for case in (self.cold, self.warm) if case is not None)


def choose(summary: Summary, jobs: int) -> Choice:
    """Return what is left to take for so many jobs, each with as many ranks as were measured at most."""
    cold, warm = _case(summary, cold=True), _case(summary, cold=False)
    cases = tuple(case for case in (cold, warm) if case is not None)
    working = tuple(name for name in summary.names if _works(summary, name, cases))
    failed = {name for (name, case), group in summary.groups.items() if case in cases and group.failed}
    missing = tuple(name for name in summary.names if name not in working and name not in failed)
    loads = {name: _load(summary, name, jobs) for name in working}
    few = _few(summary, working, cases)
    left = _lighter(summary, working, loads, next(iter(cases), None))
    if missing or (few and len(left) > 1):
        left = working
    elif not few:
        left = _quickest(summary, left, cases)
    return Choice(cold, warm, working, missing, loads, few, left)


def _case(summary: Summary, *, cold: bool) -> Case | None:
    """Return the case that decides: the main workload, with most ranks, in the cold state or in the warm one."""
    found = [case for case in summary.cases if case[:2] == (summary.main, "cold-client" if cold else "warm")]
    return max(found, key=lambda case: case[2]) if found else None


def _works(summary: Summary, name: str, cases: Sequence[Case]) -> bool:
    groups = [group for case in cases if (group := summary.group(name, case)) is not None]
    return bool(groups) and all(group.failed == 0 for group in groups)


def _count(summary: Summary, name: str, *, cold: bool) -> Counted | None:
    found = [item for item in summary.result.counts if (item.candidate, item.workload) == (name, summary.main)]
    return next((item for item in found if (item.state != "warm") == cold and item.requests), None)


def most_ranks(summary: Summary) -> int:
    """Return with how many ranks the main workload was started at most."""
    return max((case[2] for case in summary.cases if case[0] == summary.main), default=1)


def _load(summary: Summary, name: str, jobs: int) -> int | None:
    """Return the requests to a metadata server of all jobs, each on a node that is cold for its first rank; None if not counted.

    Where no warm start was counted, the others are taken to be like the first: more than they are.
    """
    cold = _count(summary, name, cold=True)
    if cold is None:
        return None
    warm = _count(summary, name, cold=False) or cold
    after = int((summary.result.profile or {}).get("open_lock_after", QUIET.open_lock_after))
    sent = of_starts(cold.requests, warm.requests, most_ranks(summary), after)
    return jobs * sum(sent.get(kind, 0) for kind in METADATA)


def is_shared(summary: Summary) -> bool:
    """Say whether others may wait for the file system that was measured; one that is not known is taken for such."""
    return str(summary.result.fs.get("type", "")) not in LOCAL


def ratio_of(summary: Summary, first: str, second: str, case: Case | None) -> Compared | None:
    """Return how two methods compare in a case, None where they have no round of it in common."""
    return None if case is None else compare_in(summary.groups, first, second, case, summary.result.seed)


def _loses(
    summary: Summary, name: str, other: str, case: Case | None, *, factor: float = 1 + DEAD_ZONE, fewest: int = FEWEST
) -> bool:
    """Say whether `name` is clearly slower than `other`, by `factor`, and so much that it is noticed.

    Fewer rounds than `fewest` never say so; where they are too few for an interval, their median does.
    """
    found = ratio_of(summary, name, other, case)
    if found is None or case is None or found.ratio.count < fewest:
        return False
    if (found.ratio.low if found.ratio.count >= FEWEST else found.ratio.median) <= factor:
        return False
    mine, theirs = summary.seconds(name, case), summary.seconds(other, case)
    return mine is not None and theirs is not None and mine - theirs >= NOTICED


def _lighter(summary: Summary, working: tuple[str, ...], loads: Mapping[str, int | None], case: Case | None) -> tuple[str, ...]:
    """Return the methods that load does not rule out: step 2."""
    counted = {name: number for name, number in loads.items() if number is not None}
    if not counted or not is_shared(summary) or max(counted.values()) < SERVER:
        return working
    lightest = min(counted, key=lambda name: counted[name])
    if any(_loses(summary, lightest, other, case, factor=2.0, fewest=1) for other in working):
        return working
    return tuple(name for name in working if counted.get(name, 0) <= 2 * counted[lightest])


def _quickest(summary: Summary, lighter: Sequence[str], cases: Sequence[Case]) -> tuple[str, ...]:
    """Return the methods that are left of those of step 2: steps 3 and 4."""
    left = list(lighter)
    for case in cases:
        left = [name for name in left if not any(_loses(summary, name, other, case) for other in left)] or left
    files = {item.name: item.files for item in summary.result.candidates if item.files}
    small = [
        name
        for name in left
        if not (files.get(name, 0) > MANY_FILES and any(files.get(other, files[name]) * 10 < files[name] for other in left))
    ]
    return tuple(small or left)


def _few(summary: Summary, working: Sequence[str], cases: Sequence[Case]) -> dict[str, int]:
    """Return the states in which several methods have too few rounds, and how many."""
    if len(working) < 2:
        return {}
    groups = {case[1]: [summary.group(name, case) for name in working] for case in cases}
    rounds = {state: min(len(group.runs) if group is not None else 0 for group in found) for state, found in groups.items()}
    return {state: number for state, number in rounds.items() if number < FEWEST}
