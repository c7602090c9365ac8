"""The line of a record and its value are the same thing; what is no record, or one of a newer version, is said."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ozrepro.errors import UsageError
from ozrepro.pipeline.records.record import ID, Git, Job, Machine, Record, as_table, line_of, new_id, record_of, time_text
from tests.pipeline.records.samples import START, sample

WORDS = st.lists(st.text(st.characters()) | st.just("\udcff"), max_size=4).map(tuple)


@given(
    command=WORDS,
    dirty=WORDS,
    status=st.none() | st.integers(0, 255),
    restarts=st.none() | st.integers(0, 9),
    cpus=st.integers(0, 512),
)
def test_a_record_is_one_line_that_gives_it_back(
    command: tuple[str, ...], dirty: tuple[str, ...], status: int | None, restarts: int | None, cpus: int
) -> None:
    record = replace(
        sample(command=command),
        status=status,
        end=time_text(START),
        git=Git("a" * 40, dirty),
        job=Job("Slurm", "7", restarts=restarts),
        machine=Machine(cpu="v3", cpus=cpus),
    )
    line = line_of(record)
    assert line.isascii()
    assert (line.count(b"\n"), line[-1:]) == (1, b"\n")
    assert record_of(json.loads(line), "here") == record


def test_what_is_not_known_is_left_out_and_what_is_zero_is_not() -> None:
    table = as_table(replace(sample(), status=0, git=Git("a" * 40, ())))
    assert (table["status"], table["git"]) == (0, {"revision": "a" * 40, "dirty": []})
    assert {"end", "signal", "job", "host", "user", "machine", "form"}.isdisjoint(table)


def test_keys_of_a_newer_version_are_passed_over_and_a_newer_schema_is_refused() -> None:
    table = as_table(sample())
    assert record_of({**table, "new": {"x": 1}}, "here") == record_of(table, "here")
    with pytest.raises(UsageError, match="is a record of schema 2; this ozrepro reads up to 1") as refused:
        record_of({**table, "schema": 2}, "here")
    assert refused.value.hint == "pip install --upgrade ozrepro"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"id": "../x"}, "id: '../x' is not the id of a record"),
        ({"session": "../../etc/passwd"}, "session: '../../etc/passwd' is not a session's name"),
        ({"section": "md5:1"}, "section: 'md5:1' is not a section's digest"),
        ({"lock": {"path": "x", "sha256": "1"}}, "lock.sha256: '1' is not a sha256"),
        ({"lock": None}, "lock: is null"),
        ({"start": "2026-13-01T00:00:00Z"}, "start: '2026-13-01T00:00:00Z' is not a time in UTC"),
        ({"git": {"revision": "--output=x", "dirty": []}}, "git.revision: '--output=x' is not a commit"),
        ({"status": 256}, "status: is 256"),
        ({"status": True}, "status: is true or false"),
        ({"command": "rm"}, "command: is a string"),
    ],
)
def test_a_wrong_value_is_named(change: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as refused:
        record_of({**as_table(sample()), **change}, "here")
    assert said in str(refused.value)


@pytest.mark.parametrize("table", [None, [], "x", {}, {"schema": "1"}, {"schema": True}, {"schema": 0}])
def test_what_is_no_record_is_said(table: object) -> None:
    with pytest.raises(UsageError, match="not a record of ozrepro: no schema"):
        record_of(table, "here")


def test_ids_are_unlike_and_sort_by_the_start() -> None:
    ids = [new_id(START + dt.timedelta(seconds=number)) for number in (0, 0, 1)]
    assert len(set(ids)) == 3
    assert all(map(ID.match, ids))
    assert max(ids[:2]) < ids[2]
    assert time_text(START) == "2026-11-29T15:55:00.123Z"


@pytest.mark.parametrize(("end", "seconds"), [("2026-11-29T15:55:01.623Z", 1.5), ("2026-11-29T15:54:00Z", 0.0), ("", None)])
def test_a_run_takes_the_time_between_its_start_and_its_end(end: str, seconds: float | None) -> None:
    record: Record = replace(sample(), end=end)
    assert record.seconds == (pytest.approx(seconds) if seconds is not None else None)
