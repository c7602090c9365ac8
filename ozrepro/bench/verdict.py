"""Which method to take, in three sentences with their numbers, and what nobody measured.

The rule, in this order; a step that leaves nobody is skipped:

1. A method whose main workload failed is out.
2. Load: where the stated jobs would keep a metadata server busy for a second or more, a method that sends over twice the requests
   of the lightest is out, unless the lightest is clearly slower, by a factor of 2 or more.
3. Start-up: a method that is clearly slower than another, by at least a tenth of a second, is out; first cold, then warm.
4. Quota: a method with over ten times the files of another is out, if these are over 10,000.

One that is left alone is recommended. If nobody went out, it does not matter here. Of several that are left, the spec's order
decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ozrepro.bench.statistics import DEAD_ZONE, FEWEST, verdict_words
from ozrepro.bench.summary import Compared, compare_in, metadata_requests, time_words
from ozrepro.site import LOCAL
from ozrepro.words import size_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ozrepro.bench.result import About, Counted
    from ozrepro.bench.summary import Case, Group, Summary

JOBS = 100
"""Jobs that are assumed where the user states none."""

SERVER = 100_000
"""Operations a second that a metadata server does for everybody: what OzSTAR's guide says of its own."""

NOTICED = 0.1
"""Seconds per start below which a difference, however clear, is none that matters to a job."""

MANY_FILES = 10_000
"""Files from which their number counts: a twentieth of OzSTAR's quota for a home, 200,000."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is recommended.

    Attributes:
        choice: the candidate to take; "" where there is nothing to choose.
        headline: the recommendation in one line.
        sentences: start-up; load; quota and build.
        unmeasured: what was not measured, one sentence each.

    """

    choice: str
    headline: str
    sentences: tuple[str, str, str]
    unmeasured: tuple[str, ...]


def judge(summary: Summary, jobs: int = 0) -> Verdict:
    """Return the verdict for so many jobs, each with as many ranks as were measured at most; 0 stands for 100, and says so."""
    cold, warm = _case(summary, cold=True), _case(summary, cold=False)
    working = [name for name in summary.names if _works(summary, name, (cold, warm))]
    loads = {name: _load(summary, name, jobs or JOBS) for name in working}
    left = _choose(summary, working, loads, (cold, warm))
    choice = left[0] if left else ""
    sentences = (
        _startup(summary, choice, working, cold, warm),
        _load_words(summary, loads, jobs),
        _cost_words(summary, choice, working, cold or warm),
    )
    return Verdict(choice, _headline(summary, choice, working, left), sentences, _unmeasured(summary, loads, cold, warm))


def _case(summary: Summary, *, cold: bool) -> Case | None:
    """Return the case that decides: the main workload, with most ranks, in the coldest state or in the warm one."""
    order = ("cold-client", "cold-data") if cold else ("warm",)
    found = [case for state in order for case in summary.cases if case[:2] == (summary.main, state)]
    return max(found, key=lambda case: (case[1] == found[0][1], case[2])) if found else None


def _works(summary: Summary, name: str, cases: Sequence[Case | None]) -> bool:
    groups = [group for case in cases if case is not None and (group := summary.group(name, case)) is not None]
    return bool(groups) and all(group.failed == 0 for group in groups)


def _count(summary: Summary, name: str, *, cold: bool) -> Counted | None:
    found = [item for item in summary.result.counts if (item.candidate, item.workload) == (name, summary.main)]
    return next((item for item in found if (item.state != "warm") == cold and item.requests), None)


def _ranks(summary: Summary) -> int:
    return max((case[2] for case in summary.cases if case[0] == summary.main), default=1)


def _load(summary: Summary, name: str, jobs: int) -> int | None:
    """Return the requests to a metadata server of all jobs, each on a node that is cold for its first rank; None if not counted.

    Where no warm start was counted, the others are taken to be like the first: more than they are.
    """
    cold = _count(summary, name, cold=True)
    if cold is None:
        return None
    first = metadata_requests(cold)
    warm = _count(summary, name, cold=False)
    later = metadata_requests(warm) if warm is not None else first
    return jobs * (first + (_ranks(summary) - 1) * later)


def _is_shared(summary: Summary) -> bool:
    return str(summary.result.fs.get("type", "")) not in LOCAL


def _ratio(summary: Summary, first: str, second: str, case: Case | None) -> Compared | None:
    return None if case is None else compare_in(summary.groups, first, second, case, summary.result.seed)


def _loses(summary: Summary, name: str, other: str, case: Case | None, *, factor: float = 1 + DEAD_ZONE) -> bool:
    """Say whether `name` is clearly slower than `other`, by `factor`, and so much that it is noticed."""
    found = _ratio(summary, name, other, case)
    if found is None or case is None or found.ratio.count < FEWEST or found.ratio.low <= factor:
        return False
    mine, theirs = summary.seconds(name, case), summary.seconds(other, case)
    return mine is not None and theirs is not None and mine - theirs >= NOTICED


def _choose(
    summary: Summary, working: Sequence[str], loads: dict[str, int | None], cases: tuple[Case | None, Case | None]
) -> list[str]:
    left = list(working)
    counted = {name: number for name, number in loads.items() if number is not None}
    if counted and _is_shared(summary) and max(counted.values()) >= SERVER:
        lightest = min(counted, key=lambda name: counted[name])
        if not any(_loses(summary, lightest, other, cases[0] or cases[1], factor=2.0) for other in working):
            left = [name for name in left if counted.get(name, 0) <= 2 * counted[lightest]]
    for case in cases:
        left = [name for name in left if not any(_loses(summary, name, other, case) for other in left)] or left
    files = {item.name: item.files for item in summary.result.candidates if item.files}
    return [
        name
        for name in left
        if not (files.get(name, 0) > MANY_FILES and any(files.get(other, files[name]) * 10 < files[name] for other in left))
    ] or left


def _headline(summary: Summary, choice: str, working: Sequence[str], left: Sequence[str]) -> str:
    if not summary.groups:
        return "Nothing can be recommended: no start was measured."
    if not working:
        return "Nothing can be recommended: no method started its workload without a failure."
    if len(summary.names) == 1:
        return f"There is nothing to choose: {choice} is the only method that was measured."
    if len(working) == 1:
        return f"Take {choice}: the others failed."
    if len(left) == len(working):
        if not _enough(summary):
            return (
                f"Too few rounds to choose, at least {FEWEST} are needed: until then keep {choice}, named first by the session."
            )
        return f"It does not matter here: keep {choice}, which the session names first."
    if len(left) == 1:
        return f"Take {choice}."
    return f"Take {' or '.join(left)}: between them it does not matter here."


def _enough(summary: Summary) -> bool:
    found = (group for (_, case), group in summary.groups.items() if case[0] == summary.main)
    return any(group.seconds is not None and group.seconds.count >= FEWEST for group in found)


def _startup(summary: Summary, choice: str, working: Sequence[str], cold: Case | None, warm: Case | None) -> str:
    """Return the sentence on start-up, cold and warm."""
    if not choice:
        return "Start-up: no time was measured."
    parts = [
        f"{words}, {_against(summary, choice, working, case)}"
        for words, case in ((_cold_words(cold), cold), ("warm", warm))
        if case is not None
    ]
    ranks = _ranks(summary)
    text = f"Start-up of {summary.main}" + (f" with {ranks} ranks" if ranks > 1 else "")
    return f"{text}: {'; '.join(parts)}."


def _cold_words(case: Case | None) -> str:
    return "with nothing known to the client" if case is not None and case[1] == "cold-client" else "with no data in memory"


def _against(summary: Summary, choice: str, working: Sequence[str], case: Case) -> str:
    own = summary.seconds(choice, case)
    if own is None:
        return f"{choice} was not measured"
    parts = []
    for other in working:
        found = _ratio(summary, choice, other, case) if other != choice else None
        theirs = summary.seconds(other, case)
        if found is not None and theirs is not None:
            parts.append(_words(found, time_words(theirs)))
    return f"{choice} takes {time_words(own)}" + (f", {' and '.join(parts)}" if parts else "")


def _words(found: Compared, theirs: str) -> str:
    words = verdict_words(found.ratio)
    link = "than" if words.startswith(("faster", "slower")) else "against"
    return f"{words} {link} {found.reference} ({theirs})"


def _load_words(summary: Summary, loads: dict[str, int | None], jobs: int) -> str:
    """Return the sentence on the metadata server."""
    counted = {name: number for name, number in loads.items() if number is not None}
    ranks = _ranks(summary)
    work = f"{jobs or JOBS:,} job{'s' if (jobs or JOBS) > 1 else ''} of {ranks} rank{'s' if ranks > 1 else ''}"
    stated = work if jobs else f"{work} (assumed; state yours with --jobs)"
    if not counted:
        why = "no system calls were counted" if loads else "nothing was started without a failure"
        return f"Load on a metadata server of {stated}: not known, as {why}."
    each = ", ".join(f"{name} {number:,}" for name, number in counted.items())
    text = f"Load on a metadata server of {stated}, by the cost model: {each} requests"
    most = max(counted.values())
    if not _is_shared(summary):
        return f"{text}; here it does not matter, since {summary.result.fs.get('type')} is this machine's own file system."
    busy = f"one that does {SERVER:,} a second for everybody would be busy for {time_words(most / SERVER)} with the most of them"
    return f"{text}; {busy}" + ("." if most >= SERVER else ", which does not matter.")


def _cost_words(summary: Summary, choice: str, working: Sequence[str], case: Case | None) -> str:
    """Return the sentence on quota and build."""
    about = {item.name: item for item in summary.result.candidates}
    if not choice:
        return "Quota and build: there is no method to speak of."
    own = about[choice]
    others = [about[name] for name in working if name != choice]
    beside = ", ".join(f"{item.name} {_size(item)}" for item in others)
    text = f"Quota and build: {choice} takes {_size(own)}" + (f" ({beside})" if beside else "")
    built = _build_words(summary, own, others, case)
    return f"{text}; {built}."


def _size(item: About) -> str:
    if not item.files:
        return "an unknown size"
    return f"{item.files:,} file{'s' if item.files > 1 else ''} and {size_words(item.bytes)}"


def _build_words(summary: Summary, own: About, others: Sequence[About], case: Case | None) -> str:
    if own.build_seconds is None:
        return "how long its build took is not known"
    text = f"its build took {time_words(own.build_seconds)}"
    quicker = [item for item in others if item.build_seconds is not None and item.build_seconds < own.build_seconds]
    if not quicker:
        return text + (", no longer than another's" if any(item.build_seconds is not None for item in others) else "")
    parts = [_pays(summary, own, item, case) for item in quicker]
    return f"{text}, {' and '.join(parts)}"


def _pays(summary: Summary, own: About, other: About, case: Case | None) -> str:
    """Return after how many starts a longer build is made up for by what each start saves."""
    longer = (own.build_seconds or 0.0) - (other.build_seconds or 0.0)
    words = f"{time_words(longer)} longer than that of {other.name}"
    found = _ratio(summary, own.name, other.name, case)
    mine, theirs = (summary.seconds(name, case) if case else None for name in (own.name, other.name))
    if found is not None and found.ratio.count < FEWEST:
        return f"{words}, with too few rounds to say whether its starts make up for it"
    clear = found is not None and found.ratio.high < 1 - DEAD_ZONE
    if not clear or mine is None or theirs is None or theirs <= mine:
        return f"{words}, which its starts do not make up for"
    starts = -(-longer // (theirs - mine))
    return f"{words}, which pays after {starts:,.0f} {case[1] if case else ''} start{'s' if starts > 1 else ''}"


def _unmeasured(summary: Summary, loads: dict[str, int | None], cold: Case | None, warm: Case | None) -> tuple[str, ...]:
    result = summary.result
    lines = [f"Not measured: {line}" for line in result.refused]
    if cold is None:
        lines.append("No cold start was measured: a job's first start on a node is one.")
    elif cold[1] == "cold-data":
        lines.append("The client knew all names in the cold starts: only data were out of memory, no lookup was.")
    if warm is None:
        lines.append("No warm start was measured.")
    unknown = [name for name, number in loads.items() if number is None]
    if 0 < len(unknown) < len(loads):
        lines.append(f"The requests of {' and '.join(unknown)} are not known.")
    lines += [_failed(group) for group in summary.groups.values() if group.failed]
    if not result.complete:
        lines.append(f"The run is not complete: {result.why or 'it was cut short'}.")
    # A start that failed is told above, by group.
    lines += [line for line in result.notes if ": ended with " not in line]
    return tuple(dict.fromkeys(lines))


def _failed(group: Group) -> str:
    workload, state, ranks = group.case
    starts = f"{group.failed} start{'s' if group.failed > 1 else ''}"
    tail = f": {group.error}" if group.error else ""
    return f"{group.candidate} failed in {starts} ({workload}, {state}, {ranks} rank{'s' if ranks > 1 else ''}){tail}"
