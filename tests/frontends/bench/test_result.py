"""The result as a value and as files."""

from __future__ import annotations

import json
import resource
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from ozrepro.errors import UsageError
from ozrepro.frontends.bench.result import Keeper, read_result, write_result
from tests.frontends.bench.values import a_result, a_row


def test_a_result_comes_back_from_its_file(tmp_path: Path) -> None:
    write_result(tmp_path / "r.json", a_result())
    assert read_result(tmp_path / "r.json") == a_result()


def test_a_result_s_file_begins_with_its_schema(tmp_path: Path) -> None:
    write_result(tmp_path / "r.json", a_result())
    assert next(iter(json.loads((tmp_path / "r.json").read_text()))) == "schema"


def test_an_early_file_of_schema_1_is_read(tmp_path: Path) -> None:
    """A replay of a file written before has no workload, a count nothing of a client."""
    table = a_result().as_dict()
    for item in table["counts"]:
        del item["client"]
    for item in table["replay"]:
        del item["workload"]
    del table["failed"], table["scripts"], table["began"]
    (tmp_path / "r.json").write_text(json.dumps(table))
    found = read_result(tmp_path / "r.json")
    assert found == replace(a_result(), replay=(replace(a_result().replay[0], workload=""),))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not valid JSON"),
        ("[]", "no schema"),
        ('{"schema": 99}', "has schema 99; this ozrepro reads up to 1"),
        ('{"schema": 1, "session": "x"}', "lacks lock"),
        ("[" * 100_000, "not valid JSON"),
    ],
)
def test_a_file_that_is_no_result_is_named_with_the_reason(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(UsageError, match=said) as caught:
        read_result(tmp_path / "r.json")
    assert str(tmp_path / "r.json") in str(caught.value)


def test_a_key_of_a_newer_version_is_read_over(tmp_path: Path) -> None:
    """Fields are added within a schema; those of a row as those of the file. One that is gone again is of the same kind."""
    table = {**a_result().as_dict(), "importtime": [{"candidate": "venv", "modules": []}]}
    table["later"] = table["rows"][0]["later"] = table["candidates"][0]["later"] = 1
    (tmp_path / "r.json").write_text(json.dumps(table))
    assert read_result(tmp_path / "r.json") == a_result()


def test_a_path_that_is_no_text_comes_back_from_a_file(tmp_path: Path) -> None:
    """Linux has names of any bytes, and a note or a program's name may hold one."""
    result = a_result(notes=("cannot read caf\udce9",))
    write_result(tmp_path / "r.json", result)
    assert read_result(tmp_path / "r.json") == result


def test_a_missing_result_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        read_result(tmp_path / "nowhere.json")


def test_the_last_rank_decides_and_a_failed_start_has_none() -> None:
    assert a_row(ready=(0.4, 0.9, 0.5)).last == 0.9
    assert a_row(status=1).last is None


def test_a_full_disk_keeps_the_last_whole_file_and_is_told_once(tmp_path: Path) -> None:
    said: list[str] = []
    keep = Keeper(tmp_path / "r.json", said.append)
    keep(a_result(session="first"))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))  # a write past 100 bytes fails, as on a full disk
        keep(a_result(session="second"))
        keep(a_result(session="third"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert read_result(tmp_path / "r.json").session == "first"
    assert "cannot write the result" in str(keep.failure)
    assert len(said) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["r.json"]
    keep(a_result(session="fourth"))
    assert str(keep.failure) == "None"
    assert read_result(tmp_path / "r.json").session == "fourth"
