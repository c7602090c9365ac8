"""Two results beside each other: another day, another file system, another machine.

Runs of two results share no rounds, so nothing divides the machine's load out: each side is resampled by itself, and
the ratio within each result, which is paired, says more than a ratio between them.
"""

from __future__ import annotations

import random
import textwrap
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from ozrepro.frontends.bench.estimates import RESAMPLES, Estimate, verdict_words
from ozrepro.frontends.bench.summary import case_words, compare_in, place_words, time_words
from ozrepro.project.formatting import size_words

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from ozrepro.frontends.bench.result import About, Result
    from ozrepro.frontends.bench.summary import Case, Summary

WIDTH = 80
"""Columns of a line, but for a path that is longer."""


@dataclass(frozen=True, slots=True)
class Change:
    """One candidate and case in two results: the medians in seconds, and the ratio of the second to the first."""

    candidate: str
    case: Case
    first: float
    second: float
    ratio: Estimate

    @property
    def words(self) -> str:
        """What may be said of it."""
        return verdict_words(self.ratio)


def unpaired(values: Sequence[float], reference: Sequence[float], seed: int) -> Estimate:
    """Return the ratio of the medians of two independent samples and its interval: percentile bootstrap, 95 %.

    Its count is that of the smaller sample. Raises ValueError for no values, and for a reference with a 0.
    """
    if not values or not reference or min(reference) <= 0:
        raise ValueError("a ratio needs values, and a reference above 0")
    chance = random.Random(seed)  # noqa: S311 - repeatable on purpose
    drawn = sorted(
        median(chance.choices(values, k=len(values))) / median(chance.choices(reference, k=len(reference)))
        for _ in range(RESAMPLES)
    )
    low, high = drawn[int(0.025 * RESAMPLES)], drawn[int(0.975 * RESAMPLES) - 1]
    return Estimate(median(values) / median(reference), low, high, min(len(values), len(reference)))


def changes(first: Summary, second: Summary) -> tuple[Change, ...]:
    """Return what both results have measured, in the order of the first's cases and candidates."""
    found = []
    for candidate, case in ((name, case) for case in first.cases for name in first.names):
        group, other = first.group(candidate, case), second.group(candidate, case)
        if group is None or other is None or group.seconds is None or other.seconds is None:
            continue
        times = [[seconds for _, seconds in item.runs] for item in (other, group)]
        estimate = unpaired(times[0], times[1], first.result.seed)
        found.append(Change(candidate, case, group.seconds.median, other.seconds.median, estimate))
    return tuple(found)


def head(first: Summary, second: Summary, names: Sequence[str]) -> Iterator[str]:
    """Yield lines of at most 80 columns: which is the first and which the second, and what else is not alike in them."""
    for title, name, summary in zip(("first", "second"), names, (first, second), strict=True):
        result = summary.result
        words = (name, result.session, f"on {place_words(result)}" if place_words(result) else "", result.began)
        yield from _wrapped(f"{title}: {', '.join(filter(None, words))}")
    for line in differences(first.result, second.result):
        yield from _wrapped(f"not alike: {line}")


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(" ".join(text.split()), WIDTH, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False)


def differences(first: Result, second: Result) -> tuple[str, ...]:
    """Return what else is not alike in two results, one line each: without it a ratio of times means little."""
    return tuple(_differences(first, second))


def _differences(first: Result, second: Result) -> Iterator[str]:
    if first.session != second.session:
        yield f"session: {first.session}, then {second.session}"
    if first.lock != second.lock:
        same = "" if _has_other_versions(first, second) else ", with the same versions of what both measured"
        yield f"lock: {first.lock[:12] or 'none'}, then {second.lock[:12] or 'none'}{same}"
    yield from _facts("host", first.host, second.host)
    yield from _facts("file system", first.fs, second.fs, whole=first.fs.get("type") == second.fs.get("type"))
    one, two = _emulated(first), _emulated(second)
    if one.get("name") == two.get("name"):  # files of one name may hold other numbers
        yield from _facts("profile", one, two)
    yield from _scripts(first, second)
    yield from _states(first, second)
    yield from _methods(first, second)
    yield from _missing(first, second)


def _emulated(result: Result) -> Mapping[str, Any]:
    """Return the profile of an emulated file system; nothing where the profile is only the model's."""
    profile = result.profile or {}
    return profile if profile.get("name") and profile.get("name") == result.fs.get("profile") else {}


def _facts(title: str, first: Mapping[str, Any], second: Mapping[str, Any], *, whole: bool = True) -> Iterator[str]:
    """Yield the facts that are not alike; what only one has is one where `whole`: another file system has other options."""
    for key in dict.fromkeys((*first, *second)):
        if key == "counters" or not (whole or (key in first and key in second)):
            continue
        one, two = (_told(table.get(key), size=key == "memory") for table in (first, second))
        if one != two:
            yield f"{title} {key}: {one}, then {two}"


def _scripts(first: Result, second: Result) -> Iterator[str]:
    """Yield the scripts of which the text is another, or may be: results of before it was kept do not tell."""
    others = {row.workload for row in second.rows}
    for name in dict.fromkeys(row.workload for row in first.rows if row.workload in others):
        one, two = first.scripts.get(name), second.scripts.get(name)
        if one and two and one != two:
            yield f"{name}: another text, sha256 {one[:12]}, then {two[:12]}"
        elif name.endswith(".py") and not (one and two):
            which = "second" if one else "first" if two else "two"
            yield f"{name}: perhaps another text, as the {which} did not keep its sha256"


def _states(first: Result, second: Result) -> Iterator[str]:
    """Yield what two states of one name are: what each leaves follows from how it was made, and is told where that is alike."""
    for name, one in first.states.items():
        two = second.states.get(name)
        if two is None:
            continue
        for key, title in (("how", name), ("leaves", f"{name} leaves")):
            if one.get(key) != two.get(key):
                missing = "unknown" if key == "how" else "nothing"
                yield f"{title}: {one.get(key) or missing}; then {two.get(key) or missing}"
                break


def _methods(first: Result, second: Result) -> Iterator[str]:
    """Yield what is not alike of the methods that both have, once for all of which it is the same."""
    sides = {item.name: item for item in second.candidates}
    moved = (_told(first.fs.get("type")), _told(second.fs.get("type")))
    found: dict[str, list[str]] = {}
    for one in first.candidates:
        two = sides.get(one.name, one)
        if one.base != two.base:
            found.setdefault(f"base interpreter {_told(one.base)}, then {_told(two.base)}", []).append(one.name)
        if one.mount != two.mount and (_told(one.mount), _told(two.mount)) != moved:  # that was told of the file system
            found.setdefault(f"on {_told(one.mount)}, then {_told(two.mount)}", []).append(one.name)
        for text in _versions(one, two):
            found.setdefault(text, []).append(one.name)
    yield from (f"{', '.join(names)}: {text}" for text, names in found.items())


def _versions(first: About, second: About) -> Iterator[str]:
    unlike = [
        f"{name} {first.versions.get(name) or 'none'}, then {second.versions.get(name) or 'none'}"
        for name in sorted({*first.versions, *second.versions})
        if first.versions.get(name) != second.versions.get(name)
    ]
    if unlike:
        left = len(unlike) - 3
        more = f" and {left} package{'s' if left > 1 else ''} more" if left > 0 else ""
        yield f"{'; '.join(unlike[:3])}{more}"


def _has_other_versions(first: Result, second: Result) -> bool:
    sides = {item.name: item for item in second.candidates}
    return any(item.versions != sides[item.name].versions for item in first.candidates if item.name in sides)


def _missing(first: Result, second: Result) -> Iterator[str]:
    """Yield what only one of two has, or has whole: of all this the tables have no line."""
    for one, two, where in ((first, second, "first"), (second, first, "second")):
        methods = [item.name for item in one.candidates]
        others = {item.name for item in two.candidates}
        cases, theirs = ({(row.workload, row.state, row.ranks): None for row in item.rows} for item in (one, two))
        for names in (
            [name for name in methods if name not in others],
            [case_words(case) for case in cases if case not in theirs],
        ):
            if names:
                yield f"only in the {where}: {'; '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''}"
        good = {(row.candidate, row.workload, row.state, row.ranks) for row in one.rows if row.last is not None}
        lost = {(row.candidate, row.workload, row.state, row.ranks): None for row in one.rows if row.last is None}
        yield from (f"in the {where} each start failed of {key[0]}, {case_words(key[1:])}" for key in lost if key not in good)
        if not one.complete:
            yield f"the {where} is not complete: {one.why or 'it was cut short'}"


def _told(value: object, *, size: bool = False) -> str:
    if size and isinstance(value, int):
        return size_words(value)
    words = " ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return "unknown" if value in (None, "") else words


@dataclass(frozen=True, slots=True)
class Within:
    """What each of two results says of the ratio of a candidate to the reference, in words."""

    candidate: str
    reference: str
    case: Case
    first: str
    second: str


def within(first: Summary, second: Summary) -> tuple[Within, ...]:
    """Return what both results say of their candidates against the first one that both have timed, in the order of the first.

    The same methods may be in another order in the two, and one may lack what the other has for its reference.
    """
    reference = next((name for name in first.names if _is_timed(first, name) and _is_timed(second, name)), "")
    found = []
    for candidate, case in ((name, case) for case in first.cases for name in first.names if name != reference):
        pair = [compare_in(item.groups, candidate, reference, case, item.result.seed) for item in (first, second)]
        words = [verdict_words(item.ratio) for item in pair if item is not None]
        if len(words) == 2:
            found.append(Within(candidate, reference, case, *words))
    return tuple(found)


def _is_timed(summary: Summary, candidate: str) -> bool:
    return any(group.seconds is not None for (name, _), group in summary.groups.items() if name == candidate)


def rows(found: Sequence[Change]) -> list[tuple[str, str, str, str, str]]:
    """Return the changes as rows of a table: candidate, case, first, second, words."""
    return [
        (item.candidate, case_words(item.case), time_words(item.first), time_words(item.second), item.words) for item in found
    ]
