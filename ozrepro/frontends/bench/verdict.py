"""Which method to take, in three sentences with their numbers, and what nobody measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ozrepro.frontends.bench.choice import JOBS, SERVER, choose, is_shared, most_ranks, ratio_of
from ozrepro.frontends.bench.estimates import DEAD_ZONE, FEWEST, verdict_words
from ozrepro.frontends.bench.summary import Compared, time_words
from ozrepro.project.formatting import size_words

SETTING = 'set form = "file" in [tool.ozrepro]'

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ozrepro.frontends.bench.choice import Choice
    from ozrepro.frontends.bench.result import About
    from ozrepro.frontends.bench.summary import Case, Group, Summary


_STATES = {"cold-client": "with nothing known to the client", "warm": "warm"}


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
    found = choose(summary, jobs or JOBS)
    name = found.left[0] if found.left else ""
    sentences = (
        _startup(summary, name, found),
        _load_words(summary, found, jobs),
        _cost_words(summary, name, found),
    )
    return Verdict(name, _headline(summary, found), sentences, _unmeasured(summary, found))


def _headline(summary: Summary, found: Choice) -> str:
    if not summary.groups:
        return "Nothing can be recommended: no start was measured."
    if found.missing:
        were = "were" if len(found.missing) > 1 else "was"
        return f"Nothing can be recommended yet: {' and '.join(found.missing)} {were} not started."
    if not found.working:
        return "Nothing can be recommended: no method started its workload without a failure."
    name = found.left[0]
    if len(summary.names) == 1:
        return f"There is nothing to choose: {name} is the only method that was measured."
    file = _named_setting(summary, found)
    if len(found.working) == 1:
        return f"Take {name}: the others failed{file}."
    if found.few:
        has = ", ".join(f"{state} has {number}" for state, number in found.few.items())
        needed = f"at least {FEWEST} are needed and {has}"
        if len(found.left) == 1:
            return f"Take {name}, for its load alone: too few rounds to say which starts faster, {needed}{file}."
        return f"Too few rounds to choose, {needed}: until then keep {name}, named first by the session."
    if len(found.left) == len(found.working):
        return f"It does not matter here: keep {name}, which the session names first."
    if len(found.left) == 1:
        return f"Take {name}{file}."
    return f"Take {' or '.join(found.left)}: between them it does not matter here{file}."


def _named_setting(summary: Summary, found: Choice) -> str:
    """Return what follows a recommendation: how to have an environment as one file, and that file on each node."""
    advice = {"file": SETTING, "staged": f"begin the job's script with ozrepro stage {summary.result.session}"}
    forms = {item.name: item.form for item in summary.result.candidates if item.name in found.left}
    words = []
    for form, does in advice.items():
        names = [name for name, other in forms.items() if other == form]
        if names:
            words.append(f"; {does}" if len(forms) == 1 else f"; for {' or '.join(names)}, {does}")
    return "".join(words)


def _startup(summary: Summary, name: str, choice: Choice) -> str:
    """Return the sentence on start-up, cold and warm."""
    if not name:
        return "Start-up: no time was measured."
    alike = len({ranks for _, _, ranks in choice.cases}) == 1
    parts = [
        f"{_STATES[case[1]]}{'' if alike else _rank_words(case[2])}, {_against(summary, name, choice.working, case)}"
        for case in choice.cases
    ]
    ranks = choice.cases[0][2]
    many = _rank_words(ranks) if alike and ranks > 1 else ""
    return f"Start-up of {summary.main}{many}: {'; '.join(parts)}."


def _rank_words(ranks: int) -> str:
    return f" with {ranks} rank{'s' if ranks > 1 else ''}"


def _against(summary: Summary, choice: str, working: Sequence[str], case: Case) -> str:
    own = summary.seconds(choice, case)
    if own is None:
        return f"{choice} was not measured"
    parts = []
    for other in working:
        found = ratio_of(summary, choice, other, case) if other != choice else None
        theirs = summary.seconds(other, case)
        if found is not None and theirs is not None:
            parts.append(_words(found, time_words(theirs)))
    return f"{choice} takes {time_words(own)}" + (f", {' and '.join(parts)}" if parts else "")


def _words(found: Compared, theirs: str) -> str:
    words = verdict_words(found.ratio)
    link = "than" if words.startswith(("faster", "slower")) else "against"
    return f"{words} {link} {found.reference} ({theirs})"


def _load_words(summary: Summary, choice: Choice, jobs: int) -> str:
    """Return the sentence on the metadata server."""
    counted = {name: number for name, number in choice.loads.items() if number is not None}
    ranks = most_ranks(summary)
    work = f"{jobs or JOBS:,} job{'s' if (jobs or JOBS) > 1 else ''} of {ranks} rank{'s' if ranks > 1 else ''}"
    stated = work if jobs else f"{work} (assumed; state yours with --jobs)"
    if not counted:
        why = "no system calls were counted"
        if not choice.loads:
            why = "nothing was started without a failure" if summary.groups else "no start was measured"
        return f"Load on a metadata server of {stated}: not known, as {why}."
    each = ", ".join(f"{name} {number:,}" for name, number in counted.items())
    text = f"Load on a metadata server of {stated}, by the cost model: {each} requests"
    most = max(counted.values())
    if not is_shared(summary):
        return f"{text}; here it does not matter, since {summary.result.fs.get('type')} is this machine's own file system."
    busy = f"one that does {SERVER:,} a second for everybody would be busy for {time_words(most / SERVER)} with the most of them"
    return f"{text}; {busy}" + ("." if most >= SERVER else ", which does not matter.")


def _cost_words(summary: Summary, name: str, choice: Choice) -> str:
    """Return the sentence on quota and build."""
    about = {item.name: item for item in summary.result.candidates}
    if not name:
        return "Quota and build: no method was measured."
    own = about[name]
    others = [about[other] for other in choice.working if other != name]
    beside = ", ".join(f"{item.name} {_size(item)}" for item in others)
    text = f"Quota and build: {name} takes {_size(own)}" + (f" ({beside})" if beside else "")
    built = _build_words(summary, own, others, choice.cases)
    return f"{text}; {built}."


def _size(item: About) -> str:
    if not item.files:
        return "an unknown size"
    return f"{item.files:,} file{'s' if item.files > 1 else ''} and {size_words(item.bytes)}"


def _build_words(summary: Summary, own: About, others: Sequence[About], cases: Sequence[Case]) -> str:
    if own.build_seconds is None:
        return "how long its build took is not known"
    text = f"its build took {time_words(own.build_seconds)}"
    if own.stage_seconds is not None:
        text += f" and its copy on a node {time_words(own.stage_seconds)}"
    quicker = [item for item in others if item.build_seconds is not None and _made_in(item) < _made_in(own)]
    if not quicker:
        return text + (", no longer than another's" if any(item.build_seconds is not None for item in others) else "")
    parts = [_pays(summary, own, item, cases) for item in quicker]
    return f"{text}, {' and '.join(parts)}"


def _made_in(item: About) -> float:
    """Return the seconds before a first start: of the build, and of the copy on a node where that is staged."""
    return (item.build_seconds or 0.0) + (item.stage_seconds or 0.0)


def _pays(summary: Summary, own: About, other: About, cases: Sequence[Case]) -> str:
    """Return after how many starts a longer build is made up for by what each start saves, cold, or else warm."""
    longer = _made_in(own) - _made_in(other)
    words = f"{time_words(longer)} longer than that of {other.name}"
    few = False
    for case in cases:
        found = ratio_of(summary, own.name, other.name, case)
        if found is None:
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


def _unmeasured(summary: Summary, choice: Choice) -> tuple[str, ...]:
    result = summary.result
    lines = [f"Not measured: {line}" for line in result.refused]
    if choice.cold is None:
        lines.append("No cold start was measured: a job's first start on a node is one.")
    if choice.warm is None:
        lines.append("No warm start was measured.")
    unknown = [name for name, number in choice.loads.items() if number is None]
    if 0 < len(unknown) < len(choice.loads):
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
