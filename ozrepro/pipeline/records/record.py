"""The record of one run, as a value and as a line of JSON (schema 1); docs/reference/record.md describes each key."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Annotated, Any

from ozrepro.errors import UsageError
from ozrepro.project.checking import NAME, Checker, shown
from ozrepro.project.reader import Check, Range, read_table

SCHEMA = 1
MARK = "ozrepro_record"
"""What a result calls the id of its record: a key of JSON, a keyword of PNG."""

RECORD_ID = "OZREPRO_RECORD_ID"
"""The variable by which a program sees it."""

ID = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{12}\Z", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{64}\Z", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?\Z", re.ASCII)
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?Z\Z", re.ASCII)


def _id(text: str) -> str | None:
    return None if ID.match(text) else f"{shown(text)} is not the id of a record"


def _session(text: str) -> str | None:
    return None if NAME.match(text) else f"{shown(text)} is not a session's name"


def _sha256(text: str) -> str | None:
    return None if _DIGEST.match(text) else f"{shown(text)} is not a sha256"


def _section(text: str) -> str | None:
    return _sha256(text.removeprefix("sha256:")) if text.startswith("sha256:") else f"{shown(text)} is not a section's digest"


def _commit(text: str) -> str | None:
    return None if _COMMIT.match(text) else f"{shown(text)} is not a commit"


def _time(text: str) -> str | None:
    return None if _TIME.match(text) and _seconds(text) is not None else f"{shown(text)} is not a time in UTC"


def _seconds(text: str) -> float | None:
    """Return a time as seconds since the epoch, None where no calendar has it."""
    whole, _, part = text.removesuffix("Z").partition(".")
    try:
        return dt.datetime.strptime(f"{whole}+0000", "%Y-%m-%dT%H:%M:%S%z").timestamp() + float(f"0.{part or 0}")
    except (ValueError, OverflowError):
        return None


@dataclass(frozen=True, slots=True)
class LockFile:
    """The lock of a run: its path, relative to the project, and the sha256 of its bytes."""

    path: str
    sha256: Annotated[str, Check(_sha256)]


@dataclass(frozen=True, slots=True)
class Git:
    """The project's state in git.

    Attributes:
        revision: the commit that was checked out.
        dirty: files, relative to the project, that were not as in it; also those among what was run that it does not have.
        more: how many further ones there were.

    """

    revision: Annotated[str, Check(_commit)]
    dirty: tuple[str, ...]
    more: int = 0


@dataclass(frozen=True, slots=True)
class Job:
    """The job that a run was part of: its scheduler and number there; of one of an array, the array's and its place in it."""

    scheduler: str
    id: str
    array: str = ""
    index: str = ""
    restarts: int | None = None


@dataclass(frozen=True, slots=True)
class Machine:
    """The kind of machine.

    Attributes:
        cpu: the x86-64 level (`v3`), else the machine's name.
        cpus: how many processors the run could use.
        omp: the value of OMP_NUM_THREADS.
        kernel: the kernel's release.
        libc: the C library's name and version.
        driver: the version of the GPU's driver.

    """

    cpu: str = ""
    cpus: int = 0
    omp: str = ""
    kernel: str = ""
    libc: str = ""
    driver: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """One run. What is not known has the default, and is not in the line.

    Attributes:
        schema: the format's version.
        id: the start and 12 random digits.
        by: the front end that ran it.
        session, method: the session, and the method that provided its environment.
        section: the digest of the section of the lock.
        lock: the lock.
        command: the words, with `~` for the home and without secrets.
        start, end: times in UTC. Without an end it still runs, was killed, or was left to run by itself.
        form: `tree` or `file`; "" for an image.
        key: the environment's name in the store.
        git: the project's state, None where it is in no repository.
        folder: the working folder, relative to the project where it lies in it.
        status: the exit status as a shell has it.
        signal: the name of the signal that ended it.
        job: the scheduler's job, None outside of one.
        machine: the kind of machine.
        ozrepro: the version of ozrepro.
        host, user: on request alone.

    """

    schema: Annotated[int, Range(1)]
    id: Annotated[str, Check(_id)]
    by: str
    session: Annotated[str, Check(_session)]
    method: str
    section: Annotated[str, Check(_section)]
    lock: LockFile
    command: tuple[str, ...]
    start: Annotated[str, Check(_time)]
    end: Annotated[str, Check(_time)] = ""
    status: Annotated[int, Range(0, 256)] | None = None
    signal: str = ""
    form: str = ""
    key: str = ""
    git: Git | None = None
    folder: str = ""
    job: Job | None = None
    machine: Machine = Machine()
    ozrepro: str = ""
    host: str = ""
    user: str = ""

    @property
    def seconds(self) -> float | None:
        """How long it took, None where the end is not known."""
        start, end = _seconds(self.start), _seconds(self.end)
        return None if start is None or end is None else max(end - start, 0.0)


def new_id(now: dt.datetime) -> str:
    """Return the id of a run that starts at this time, in UTC."""
    return f"{now:%Y%m%dT%H%M%SZ}-{os.urandom(6).hex()}"


def time_text(now: dt.datetime) -> str:
    """Return a time in UTC as a record has it, to the millisecond."""
    return f"{now:%Y-%m-%dT%H:%M:%S}.{now.microsecond // 1000:03d}Z"


def as_table(value: Any) -> Any:
    """Return a record, or a part of one, as JSON can hold it, without what is as it is by default."""
    if isinstance(value, tuple):
        return [as_table(item) for item in value]
    if not is_dataclass(value):
        return value
    given = {item.name: (getattr(value, item.name), item.default) for item in fields(value)}
    return {name: as_table(item) for name, (item, default) in given.items() if default is MISSING or item != default}


def line_of(record: Record) -> bytes:
    """Return the line that holds a record: ASCII, with its newline."""
    return json.dumps(as_table(record), separators=(",", ":")).encode("ascii") + b"\n"


def record_of(table: object, where: str) -> Record:
    """Return the record that a value of JSON holds. Raises UsageError: no record, one of a newer version, or wrong values."""
    schema = table.get("schema") if isinstance(table, dict) else None
    if not isinstance(schema, int) or isinstance(schema, bool) or schema < 1:
        raise UsageError("not a record of ozrepro: no schema", where=where, hint="ozrepro record list")
    if schema > SCHEMA:
        newer = f"is a record of schema {shown(schema)}; this ozrepro reads up to {SCHEMA}"
        raise UsageError(newer, where=where, hint="pip install --upgrade ozrepro")
    checker = Checker(where)
    record = read_table(checker, Record, table, syntax="json")
    if checker.mistakes:
        raise UsageError("invalid record:", problems=checker.mistakes, where=where, hint="ozrepro record list")
    return record
