"""What was measured, as a value and as files: JSON (schema 1), one flat CSV, and hyperfine's JSON for its plot scripts.

The file is written after every round, whole or not at all, so that a run that is cut short leaves what it had.
"""

from __future__ import annotations

import json
from collections.abc import Mapping  # noqa: TC003 - read_table looks at the annotations
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from ozrepro.errors import StoreError, UsageError
from ozrepro.frontends.bench.estimates import median
from ozrepro.frontends.bench.reading import read_table
from ozrepro.project.checking import Checker, shown
from ozrepro.store import failed, write_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SCHEMA = 1
_ADDED = frozenset(("began", "failed", "scripts"))
"""Fields that the first results of this schema do not have."""

PHASES = ("environment", "interpreter", "imports", "first_call")


@dataclass(frozen=True, slots=True)
class About:
    """A candidate as the result names it.

    Attributes:
        name: the method's name, or a label.
        files: files of the environment.
        bytes: their size.
        versions: versions of the packages inside, and `blas` where numpy tells its own.
        base: where the base interpreter lives.
        mount: the file system that the environment is on, and for an image how it is read.
        build_seconds: how long a build took; None where nobody measured it.

    """

    name: str
    files: int = 0
    bytes: int = 0
    versions: Mapping[str, str] = field(default_factory=dict)
    base: str = ""
    mount: str = ""
    build_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One start of a workload, or of `ranks` of them at once.

    Attributes:
        round: from 1.
        phases: seconds of each phase of the rank that was ready last; they follow one another from one zero, and those that
            were not reached are absent.
        wall: seconds until the last process had ended.
        user, system: CPU seconds of all processes; where srun started them, of srun, and so are rss, faults and blocks.
        rss: the peak of the largest process in bytes; at least the launcher's own, about 9 MB.
        status: how the first that failed ended (negative: the signal), else 0.
        ready: seconds from the zero to the end of the first call, by rank.
        faults: page faults that needed the disk.
        blocks: block input operations, of 512 bytes (getrusage(2)).
        error: the last line that a failed program said.
        requests: what an emulated Lustre was asked for meanwhile, by kind, and the bytes read; empty elsewhere.
        node: the node of the job that it was sent to, "" where the state sends it to none.

    """

    candidate: str
    workload: str
    state: str
    ranks: int
    round: int
    phases: Mapping[str, float]
    wall: float
    user: float
    system: float
    rss: int
    status: int
    ready: tuple[float, ...] = ()
    faults: int = 0
    blocks: int = 0
    error: str = ""
    requests: Mapping[str, int] = field(default_factory=dict)
    node: str = ""

    @property
    def last(self) -> float | None:
        """Seconds until the last rank was ready, None where one failed."""
        return max(self.ready) if self.status == 0 and self.ready else None


@dataclass(frozen=True, slots=True)
class Counted:
    """What one start asks of the file system under test, from a run of its own, and the requests predicted from it.

    `client` is what the node's own Lustre client counted during that run, by kind, for all users of the node; None where it told
    nothing. A warm-up came before, so that the warm prediction has it beside it, never the cold one.
    """

    candidate: str
    workload: str
    state: str
    calls: Mapping[str, int]
    found: int
    missing: int
    opened: int
    read: int
    bytes: int
    requests: Mapping[str, int] = field(default_factory=dict)
    client: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Module:
    """One line of the tree of imports: what it took itself and with what it imports, in microseconds.

    `begin_us` is how much of the imports came before it; None in files of before it was kept.
    """

    name: str
    self_us: int
    cumulative_us: int
    depth: int
    begin_us: int | None = None


@dataclass(frozen=True, slots=True)
class Imports:
    """The slowest imports of one start, a module before what it imports.

    `total_us` is what all imports took, those left out too; 0 in files of before it was kept.
    """

    candidate: str
    workload: str
    modules: tuple[Module, ...]
    total_us: int = 0


@dataclass(frozen=True, slots=True)
class Replay:
    """What the model says of `nodes` nodes with `ranks` ranks each: seconds until the last rank is ready.

    `workload` is "" in files of before it was kept: there it is the last one of the plan.
    """

    candidate: str
    nodes: int
    ranks: int
    preset: str
    last: float
    workload: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """All that one run of the benchmark has found; the reference describes each field."""

    session: str
    lock: str
    host: Mapping[str, Any]
    fs: Mapping[str, Any]
    plan: Mapping[str, Any]
    seed: int
    candidates: tuple[About, ...]
    order: tuple[tuple[str, ...], ...] = ()
    rows: tuple[Row, ...] = ()
    counts: tuple[Counted, ...] = ()
    importtime: tuple[Imports, ...] = ()
    profile: Mapping[str, Any] | None = None
    replay: tuple[Replay, ...] = ()
    states: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    refused: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    complete: bool = False
    why: str = ""
    failed: bool = False
    """Whether a state could not be brought about, which ended its rounds."""
    scripts: Mapping[str, str] = field(default_factory=dict)
    """The sha256 of each script that was started, by workload: its text as it was when the run began."""
    began: str = ""
    """When the run began, in UTC to the minute."""

    def as_dict(self) -> dict[str, Any]:
        """Return the value as JSON can hold it."""
        return {"schema": SCHEMA, **asdict(self)}


def read_result(path: Path) -> Result:
    """Return the result in a file. Raises UsageError where it cannot be read or is none, with the keys that are wrong."""
    again = "ozrepro bench NAME --json FILE"
    try:
        table = json.loads(path.read_text(encoding="utf-8", errors="surrogateescape"))
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=str(path), hint=again) from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"is no JSON: {error}", where=str(path), hint=again) from error
    schema = table.get("schema") if isinstance(table, dict) else None
    if not isinstance(schema, int) or isinstance(schema, bool) or schema < 1:
        raise UsageError("is no result of ozrepro bench: it has no schema", where=str(path), hint=again)
    if schema > SCHEMA:
        newer = f"has schema {schema}; this ozrepro reads up to {SCHEMA}"
        raise UsageError(newer, where=str(path), hint="pip install --upgrade ozrepro")
    checker = Checker(str(path))
    result = read_table(checker, Result, table, optional=_ADDED)
    if result is not None and not checker.mistakes:
        names = {item.name for item in result.candidates}
        for number, row in enumerate(result.rows):
            if row.candidate not in names:
                checker.wrong((f"rows[{number}]", "candidate"), f"{shown(row.candidate)} is none of the candidates")
    if result is None or checker.mistakes:
        hint = f"mend these, or measure anew: {again}"
        raise UsageError("\n  ".join(("is no whole result:", *checker.mistakes)), where=str(path), hint=hint)
    return result


def write_result(path: Path, result: Result) -> None:
    """Write the result as JSON, whole or not at all. Raises StoreError with the room that is left."""
    write_text(path, json.dumps(result.as_dict(), indent=1, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a file of the user's, whole or not at all. Raises StoreError with the room that is left."""
    try:
        write_whole(path, text.encode("utf-8", "surrogateescape"))
    except OSError as error:
        raise failed("write the result", path, error) from error


class Keeper:
    """Writes the result after every round. A failure, such as a full disk, is told once and does not end the measuring.

    `failure` is the last error, None after a write that succeeded.
    """

    def __init__(self, path: Path, say: Callable[[str], None]) -> None:
        self.path = path
        self.failure: StoreError | None = None
        self._say, self._told = say, False

    def __call__(self, result: Result) -> None:
        """Write `result`, or keep the reason why it could not be."""
        try:
            write_result(self.path, result)
        except StoreError as error:
            self.failure = error
            if not self._told:
                self._told = True
                self._say(f"{error.where}: {error.what}; measuring goes on, and the file is tried again after the next round")
        else:
            self.failure = None


CSV_HEAD = ("candidate", "workload", "state", "ranks", "round", "metric", "value")


def csv_text(result: Result) -> str:
    """Return every raw number on a line of its own, in the order of the runs: a flat table for any program."""
    import csv
    import io

    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(CSV_HEAD)
    for row in result.rows:
        key = (row.candidate, row.workload, row.state, row.ranks, row.round)
        writer.writerows((*key, metric, value) for metric, value in _metrics(row))
    for counted in result.counts:
        about = (counted.candidate, counted.workload, counted.state, 1, "")
        numbers = [*((f"calls.{kind}", number) for kind, number in counted.calls.items())]
        numbers += [(name, getattr(counted, name)) for name in ("found", "missing", "opened", "read", "bytes")]
        numbers += [(f"requests.{kind}", number) for kind, number in counted.requests.items()]
        numbers += [(f"client.{kind}", number) for kind, number in (counted.client or {}).items()]
        writer.writerows((*about, metric, value) for metric, value in numbers)
    return stream.getvalue()


def _metrics(row: Row) -> Iterator[tuple[str, float]]:
    yield from ((f"phase.{phase}", row.phases[phase]) for phase in PHASES if phase in row.phases)
    yield from ((f"ready.{rank}", seconds) for rank, seconds in enumerate(row.ready))
    for name in ("wall", "user", "system", "rss", "faults", "blocks", "status"):
        yield name, getattr(row, name)
    yield from ((f"requests.{kind}", number) for kind, number in row.requests.items())


def hyperfine_text(result: Result) -> str:
    """Return the wall times in the JSON of hyperfine's --export-json, which its plot scripts read; a lost start has none."""
    groups: dict[tuple[str, str, str, int], list[Row]] = {}
    for row in (row for row in result.rows if row.wall):
        groups.setdefault((row.candidate, row.workload, row.state, row.ranks), []).append(row)
    return json.dumps({"results": [_hyperfine(key, rows) for key, rows in groups.items()]}, indent=1) + "\n"


def _hyperfine(key: tuple[str, str, str, int], rows: list[Row]) -> dict[str, Any]:
    candidate, workload, state, ranks = key
    times = [row.wall for row in rows]
    mean = sum(times) / len(times)
    spread = (sum((time - mean) ** 2 for time in times) / (len(times) - 1)) ** 0.5 if len(times) > 1 else None
    return {
        "command": f"{candidate}: {workload}, {state}, {ranks} rank{'s' if ranks > 1 else ''}",
        "mean": mean,
        "stddev": spread,
        "median": median(times),
        "user": sum(row.user for row in rows) / len(rows),
        "system": sum(row.system for row in rows) / len(rows),
        "min": min(times),
        "max": max(times),
        "times": times,
        "memory_usage_byte": [row.rss for row in rows],
        "exit_codes": [row.status for row in rows],
        "parameters": {"candidate": candidate, "workload": workload, "state": state, "ranks": str(ranks)},
    }
