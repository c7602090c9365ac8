"""A result in numbers that a person can read: medians with intervals, ratios to one of the methods, and what is not alike."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median, quantiles
from typing import TYPE_CHECKING

from ozrepro.frontends.bench.estimates import Estimate, estimate, outliers, ratio
from ozrepro.frontends.bench.lustre.model import METADATA, OBJECTS
from ozrepro.frontends.bench.result import PHASES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ozrepro.frontends.bench.result import Counted, Replay, Result, Row

NOISY = 0.10
"""Standard deviation to mean from which a group is called noisy; pyperf warns at the same share."""

Case = tuple[str, str, int]
"""Workload, state and ranks: what candidates are compared under."""


@dataclass(frozen=True, slots=True)
class Group:
    """All starts of one candidate under one case.

    Attributes:
        seconds: until the last rank was ready: the median with its interval. None where no start went well.
        p90, least, most: of the same times; 0.0 where there are none.
        phases: the median of each phase that was reached. They need not add up to the median of the whole.
        runs: round and seconds of each start that went well, in order.
        far: the rounds whose time is far from the others; they are shown, and part of every number.
        failed: how many starts failed, and `error` the last one's last line.
        rss: the peak of the largest process in bytes.

    """

    candidate: str
    case: Case
    seconds: Estimate | None
    p90: float
    least: float
    most: float
    phases: Mapping[str, float]
    runs: tuple[tuple[int, float], ...]
    far: tuple[int, ...]
    noisy: bool
    failed: int
    error: str
    rss: int


@dataclass(frozen=True, slots=True)
class Compared:
    """The ratio of a candidate's times to those of another in the same rounds: below 1 the candidate is faster."""

    candidate: str
    reference: str
    case: Case
    ratio: Estimate


@dataclass(frozen=True, slots=True)
class Summary:
    """What a report is made from.

    Attributes:
        reference: the candidate that the others are compared with.
        cases: in the order of the result.
        groups: by candidate and case.
        ratios: of each other candidate to the reference, where both have rounds in common.
        unlike: packages of which the candidates have other versions: name, then version by candidate, "" where it has none.
        main: the workload that the verdict is about: the spec's imports if they were started, else what comes closest.

    """

    result: Result
    reference: str
    cases: tuple[Case, ...]
    groups: Mapping[tuple[str, Case], Group]
    ratios: tuple[Compared, ...]
    unlike: Mapping[str, Mapping[str, str]]
    main: str

    @property
    def names(self) -> tuple[str, ...]:
        """The candidates' names, in order."""
        return tuple(item.name for item in self.result.candidates)

    @property
    def replay(self) -> tuple[Replay, ...]:
        """What the model says of the main workload, or where a file names none, of the last one of its plan."""
        found = tuple(item for item in self.result.replay if item.workload == self.main)
        return found or tuple(item for item in self.result.replay if not item.workload)

    def group(self, candidate: str, case: Case) -> Group | None:
        """Return the group of a candidate and case, None where nothing was started."""
        return self.groups.get((candidate, case))

    def seconds(self, candidate: str, case: Case) -> float | None:
        """Return the median in seconds, None where there is none."""
        group = self.group(candidate, case)
        return group.seconds.median if group is not None and group.seconds is not None else None


def summarise(result: Result, reference: str = "") -> Summary:
    """Return the summary of a result. `reference` is a candidate's name; without it, the first candidate that has a time.

    The first is what the spec prefers, so what would be taken without a benchmark.
    """
    cases = tuple(dict.fromkeys((row.workload, row.state, row.ranks) for row in result.rows))
    names = [item.name for item in result.candidates]
    rows: dict[tuple[str, Case], list[Row]] = {}
    for row in result.rows:
        rows.setdefault((row.candidate, (row.workload, row.state, row.ranks)), []).append(row)
    groups = {key: _group(*key, found, result.seed) for key, found in rows.items()}
    timed = [name for name in names if any(group.seconds for (owner, _), group in groups.items() if owner == name)]
    chosen = reference or next(iter(timed or names), "")
    found = (compare_in(groups, name, chosen, case, result.seed) for case in cases for name in names if name != chosen)
    ratios = tuple(item for item in found if item is not None)
    return Summary(result, chosen, cases, groups, ratios, _unlike(result), _main(cases))


def compare_in(
    groups: Mapping[tuple[str, Case], Group], candidate: str, reference: str, case: Case, seed: int
) -> Compared | None:
    """Return the ratio of two candidates under a case from the rounds in which both went well, None where there are none."""
    first, second = groups.get((candidate, case)), groups.get((reference, case))
    if first is None or second is None:
        return None
    others = dict(second.runs)
    pairs = [(seconds, others[number]) for number, seconds in first.runs if others.get(number, 0) > 0]
    return Compared(candidate, reference, case, ratio(pairs, seed)) if pairs else None


def requests_of(counted: Counted) -> dict[str, int]:
    """Return a count's predicted requests by kind, in the order of METADATA and OBJECTS, without those that are none."""
    return {kind: counted.requests[kind] for kind in (*METADATA, *OBJECTS) if counted.requests.get(kind)}


def metadata_requests(counted: Counted) -> int:
    """Return how many of a count's predicted requests go to the metadata server."""
    return sum(number for kind, number in requests_of(counted).items() if kind in METADATA)


def client_requests(counted: Counted) -> int | None:
    """Return how many requests the node's Lustre client counted, None where it told nothing.

    A `revalidate_lock` is left out: it is a look at the locks that the client has (obd_class.h, mdc_locks.c of lustre-release).
    """
    if counted.client is None:
        return None
    return sum(number for kind, number in counted.client.items() if kind != "revalidate_lock")


def place_words(result: Result) -> str:
    """Return where a result was measured: the machine, and the file system's type, of an emulated one with its profile."""
    kind, profile = str(result.fs.get("type") or ""), result.fs.get("profile")
    words = (str(result.host.get("name") or ""), f"{kind} ({profile})" if kind and profile else kind)
    return ", ".join(word for word in words if word)


def case_words(case: Case) -> str:
    """Return a case as a line has it, such as `numpy, warm, 4 ranks`."""
    workload, state, ranks = case
    return f"{workload}, {state}" + (f", {ranks} ranks" if ranks > 1 else "")


def time_words(seconds: float) -> str:
    """Return a time with three digits at most, such as `1.74 s` or `84 ms`."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.{0 if seconds >= 0.0095 else 1}f} ms"
    return f"{seconds:.2f} s" if seconds < 9.995 else f"{seconds:.1f} s" if seconds < 99.95 else f"{seconds:,.0f} s"


def _group(candidate: str, case: Case, rows: Sequence[Row], seed: int) -> Group:
    runs = tuple((row.round, row.last) for row in rows if row.last is not None)
    times = [seconds for _, seconds in runs]
    bad = [row for row in rows if row.last is None]
    phases = {phase: [row.phases[phase] for row in rows if row.last is not None and phase in row.phases] for phase in PHASES}
    return Group(
        candidate,
        case,
        estimate(times, seed) if times else None,
        quantiles(times, n=10, method="inclusive")[-1] if len(times) > 1 else sum(times),
        min(times, default=0.0),
        max(times, default=0.0),
        {phase: median(values) for phase, values in phases.items() if values},
        runs,
        tuple(runs[place][0] for place in outliers(times)) if times else (),
        _is_noisy(times),
        len(bad),
        bad[-1].error if bad else "",
        max((row.rss for row in rows), default=0),
    )


def _is_noisy(times: Sequence[float]) -> bool:
    if len(times) < 2:
        return False
    mean = sum(times) / len(times)
    spread: float = (sum((value - mean) ** 2 for value in times) / (len(times) - 1)) ** 0.5
    return spread >= NOISY * mean


def _unlike(result: Result) -> dict[str, dict[str, str]]:
    """Return what candidates have in other versions; a package that only one has is not a difference of versions."""
    names = dict.fromkeys(package for item in result.candidates for package in sorted(item.versions))
    table = {package: {item.name: item.versions.get(package, "") for item in result.candidates} for package in sorted(names)}
    return {package: row for package, row in table.items() if len({version for version in row.values() if version}) > 1}


def _main(cases: Sequence[Case]) -> str:
    workloads = list(dict.fromkeys(case[0] for case in cases))
    scripts = [name for name in workloads if name.endswith(".py")]
    order = ("imports", *scripts, "numpy", *(name for name in workloads if name != "empty"), "empty")
    return next((name for name in order if name in workloads), "")
