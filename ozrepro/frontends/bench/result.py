"""What was measured, as a value and as a file of JSON (schema 1).

The file is written after every round, whole or not at all, so that a run that is cut short leaves what it had.
"""

from __future__ import annotations

import json
from collections.abc import Mapping  # noqa: TC003 - the annotations are read
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from ozrepro.errors import StoreError, UsageError
from ozrepro.project.checking import Checker, shown
from ozrepro.project.reader import Range, read_table
from ozrepro.store import failed
from ozrepro.store.writing import write_whole

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SCHEMA = 1
Signed = Annotated[int, Range(-(2**63))]
Count = Annotated[int, Range(1)]

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
        form: `file` for an environment that is one file, `staged` where the node has its own copy of that, else `tree`.
        stage_seconds: how long making that copy took; None without one.

    """

    name: str
    files: int = 0
    bytes: int = 0
    versions: Mapping[str, str] = field(default_factory=dict)
    base: str = ""
    mount: str = ""
    build_seconds: float | None = None
    form: str = "tree"
    stage_seconds: float | None = None


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
    ranks: Count
    round: Count
    phases: Mapping[str, Annotated[float, Range(-(2**63))]]
    wall: float
    user: float
    system: float
    rss: int
    status: Signed
    ready: tuple[Annotated[float, Range(1e-9)], ...] = ()
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
class Replay:
    """What the model says of `nodes` nodes with `ranks` ranks each: seconds until the last rank is ready.

    `workload` is "" in files of before it was kept: there it is the last one of the plan.
    """

    candidate: str
    nodes: Count
    ranks: Count
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
    seed: Signed
    candidates: tuple[About, ...]
    order: tuple[tuple[str, ...], ...] = ()
    rows: tuple[Row, ...] = ()
    counts: tuple[Counted, ...] = ()
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
    """Return the result in a file. Raises UsageError where it cannot be read or is invalid, with every wrong key."""
    again = "ozrepro bench NAME --json FILE"
    try:
        table = json.loads(path.read_text(encoding="utf-8", errors="surrogateescape"))
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=str(path), hint=again) from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"not valid JSON: {error}", where=str(path), hint=again) from error
    schema = table.get("schema") if isinstance(table, dict) else None
    if not isinstance(schema, int) or isinstance(schema, bool) or schema < 1:
        raise UsageError("not an ozrepro bench result: no schema", where=str(path), hint=again)
    if schema > SCHEMA:
        newer = f"has schema {schema}; this ozrepro reads up to {SCHEMA}"
        raise UsageError(newer, where=str(path), hint="pip install --upgrade ozrepro")
    checker = Checker(str(path))
    result = read_table(checker, Result, table, syntax="json")
    names = {item.name for item in result.candidates}
    for number, row in enumerate(result.rows):
        if row.candidate not in names and not checker.mistakes:
            checker.wrong((f"rows[{number}]", "candidate"), f"{shown(row.candidate)} is not one of the candidates")
    if checker.mistakes:
        hint = f"correct these values, or measure again: {again}"
        raise UsageError("\n  ".join(("invalid result:", *checker.mistakes)), where=str(path), hint=hint)
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
