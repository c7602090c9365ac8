"""Which method to take, in three sentences with their numbers, and what nobody measured.

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

from ozrepro.bench.statistics import DEAD_ZONE, FEWEST, verdict_words
from ozrepro.bench.summary import Compared, compare_in, time_words
from ozrepro.lustre.model import METADATA, of_starts
from ozrepro.lustre.profile import QUIET
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
    lighter = _lighter(summary, working, loads, cold or warm)
    few = _few(summary, working, (cold, warm))
    headline = _refusal(summary, working, (cold, warm))
    if headline:
        left = working
    elif few:
        left = lighter if len(lighter) == 1 else working
        headline = _few_words(left, few)
    else:
        left = _choose(summary, lighter, (cold, warm))
        headline = _headline(summary, working, left)
    choice = left[0] if left else ""
    sentences = (
        _startup(summary, choice, working, cold, warm),
        _load_words(summary, loads, jobs),
        _cost_words(summary, choice, working, (cold, warm)),
    )
    return Verdict(choice, headline, sentences, _unmeasured(summary, loads, cold, warm))


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
    warm = _count(summary, name, cold=False) or cold
    after = int((summary.result.profile or {}).get("open_lock_after", QUIET.open_lock_after))
    sent = of_starts(cold.requests, warm.requests, _ranks(summary), after)
    return jobs * sum(sent.get(kind, 0) for kind in METADATA)


def _is_shared(summary: Summary) -> bool:
    return str(summary.result.fs.get("type", "")) not in LOCAL


def _ratio(summary: Summary, first: str, second: str, case: Case | None) -> Compared | None:
    return None if case is None else compare_in(summary.groups, first, second, case, summary.result.seed)


def _loses(
    summary: Summary, name: str, other: str, case: Case | None, *, factor: float = 1 + DEAD_ZONE, fewest: int = FEWEST
) -> bool:
    """Say whether `name` is clearly slower than `other`, by `factor`, and so much that it is noticed.

    Fewer rounds than `fewest` never say so; where they are too few for an interval, their median does.
    """
    found = _ratio(summary, name, other, case)
    if found is None or case is None or found.ratio.count < fewest:
        return False
    if (found.ratio.low if found.ratio.count >= FEWEST else found.ratio.median) <= factor:
        return False
    mine, theirs = summary.seconds(name, case), summary.seconds(other, case)
    return mine is not None and theirs is not None and mine - theirs >= NOTICED


def _lighter(summary: Summary, working: Sequence[str], loads: dict[str, int | None], case: Case | None) -> list[str]:
    """Return the methods that load does not rule out: step 2."""
    counted = {name: number for name, number in loads.items() if number is not None}
    if not counted or not _is_shared(summary) or max(counted.values()) < SERVER:
        return list(working)
    lightest = min(counted, key=lambda name: counted[name])
    if any(_loses(summary, lightest, other, case, factor=2.0, fewest=1) for other in working):
        return list(working)
    return [name for name in working if counted.get(name, 0) <= 2 * counted[lightest]]


def _choose(summary: Summary, lighter: Sequence[str], cases: tuple[Case | None, Case | None]) -> list[str]:
    """Return the methods that are left of those of step 2: steps 3 and 4."""
    left = list(lighter)
    for case in cases:
        left = [name for name in left if not any(_loses(summary, name, other, case) for other in left)] or left
    files = {item.name: item.files for item in summary.result.candidates if item.files}
    return [
        name
        for name in left
        if not (files.get(name, 0) > MANY_FILES and any(files.get(other, files[name]) * 10 < files[name] for other in left))
    ] or left


def _refusal(summary: Summary, working: Sequence[str], cases: Sequence[Case | None]) -> str:
    """Return the headline of a run of which nothing can be said, "" where something can."""
    if not summary.groups:
        return "Nothing can be recommended: no start was measured."
    deciding = [case for case in cases if case is not None]
    failed = {name for (name, case), group in summary.groups.items() if case in deciding and group.failed}
    missing = [name for name in summary.names if name not in working and name not in failed]
    if missing:
        were = "were" if len(missing) > 1 else "was"
        return f"Nothing can be recommended yet: {' and '.join(missing)} {were} not started."
    return "" if working else "Nothing can be recommended: no method started its workload without a failure."


def _few(summary: Summary, working: Sequence[str], cases: Sequence[Case | None]) -> str:
    """Return which of the states that decide between several methods have too few rounds, and how many, "" for none."""
    if len(working) < 2:
        return ""
    rounds = {case[1]: min(_rounds(summary, name, case) for name in working) for case in cases if case is not None}
    return ", ".join(f"{state} has {number}" for state, number in rounds.items() if number < FEWEST)


def _few_words(left: Sequence[str], few: str) -> str:
    needed = f"at least {FEWEST} are needed and {few}"
    if len(left) == 1:
        return f"Take {left[0]}, for its load alone: too few rounds to say which starts faster, {needed}."
    return f"Too few rounds to choose, {needed}: until then keep {left[0]}, named first by the session."


def _rounds(summary: Summary, name: str, case: Case) -> int:
    group = summary.group(name, case)
    return len(group.runs) if group is not None else 0


def _headline(summary: Summary, working: Sequence[str], left: Sequence[str]) -> str:
    choice = left[0]
    if len(summary.names) == 1:
        return f"There is nothing to choose: {choice} is the only method that was measured."
    if len(working) == 1:
        return f"Take {choice}: the others failed."
    if len(left) == len(working):
        return f"It does not matter here: keep {choice}, which the session names first."
    if len(left) == 1:
        return f"Take {choice}."
    return f"Take {' or '.join(left)}: between them it does not matter here."


def _startup(summary: Summary, choice: str, working: Sequence[str], cold: Case | None, warm: Case | None) -> str:
    """Return the sentence on start-up, cold and warm."""
    if not choice:
        return "Start-up: no time was measured."
    found = [(words, case) for words, case in ((_cold_words(cold), cold), ("warm", warm)) if case is not None]
    alike = len({case[2] for _, case in found}) == 1
    parts = [
        f"{words}{'' if alike else _rank_words(case[2])}, {_against(summary, choice, working, case)}" for words, case in found
    ]
    many = _rank_words(found[0][1][2]) if alike and found[0][1][2] > 1 else ""
    return f"Start-up of {summary.main}{many}: {'; '.join(parts)}."


def _rank_words(ranks: int) -> str:
    return f" with {ranks} rank{'s' if ranks > 1 else ''}"


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
        why = "no system calls were counted"
        if not loads:
            why = "nothing was started without a failure" if summary.groups else "no start was measured"
        return f"Load on a metadata server of {stated}: not known, as {why}."
    each = ", ".join(f"{name} {number:,}" for name, number in counted.items())
    text = f"Load on a metadata server of {stated}, by the cost model: {each} requests"
    most = max(counted.values())
    if not _is_shared(summary):
        return f"{text}; here it does not matter, since {summary.result.fs.get('type')} is this machine's own file system."
    busy = f"one that does {SERVER:,} a second for everybody would be busy for {time_words(most / SERVER)} with the most of them"
    return f"{text}; {busy}" + ("." if most >= SERVER else ", which does not matter.")


def _cost_words(summary: Summary, choice: str, working: Sequence[str], cases: tuple[Case | None, Case | None]) -> str:
    """Return the sentence on quota and build."""
    about = {item.name: item for item in summary.result.candidates}
    if not choice:
        return "Quota and build: there is no method to speak of."
    own = about[choice]
    others = [about[name] for name in working if name != choice]
    beside = ", ".join(f"{item.name} {_size(item)}" for item in others)
    text = f"Quota and build: {choice} takes {_size(own)}" + (f" ({beside})" if beside else "")
    built = _build_words(summary, own, others, cases)
    return f"{text}; {built}."


def _size(item: About) -> str:
    if not item.files:
        return "an unknown size"
    return f"{item.files:,} file{'s' if item.files > 1 else ''} and {size_words(item.bytes)}"


def _build_words(summary: Summary, own: About, others: Sequence[About], cases: tuple[Case | None, Case | None]) -> str:
    if own.build_seconds is None:
        return "how long its build took is not known"
    text = f"its build took {time_words(own.build_seconds)}"
    quicker = [item for item in others if item.build_seconds is not None and item.build_seconds < own.build_seconds]
    if not quicker:
        return text + (", no longer than another's" if any(item.build_seconds is not None for item in others) else "")
    parts = [_pays(summary, own, item, cases) for item in quicker]
    return f"{text}, {' and '.join(parts)}"


def _pays(summary: Summary, own: About, other: About, cases: tuple[Case | None, Case | None]) -> str:
    """Return after how many starts a longer build is made up for by what each start saves, cold, or else warm."""
    longer = (own.build_seconds or 0.0) - (other.build_seconds or 0.0)
    words = f"{time_words(longer)} longer than that of {other.name}"
    few = False
    for case in cases:
        found = _ratio(summary, own.name, other.name, case)
        if found is None or case is None:
            continue
        mine, theirs = (summary.seconds(name, case) or 0.0 for name in (own.name, other.name))
        if found.ratio.count < FEWEST:
            few = True
        elif found.ratio.high < 1 - DEAD_ZONE and theirs > mine:
            starts = -(-longer // (theirs - mine))
            return f"{words}, which pays after {starts:,.0f} {case[1]} start{'s' if starts > 1 else ''}"
    if few:
        return f"{words}, with too few rounds to say whether its starts make up for it"
    return f"{words}, which its starts do not make up for"


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
