"""Records of many writers are whole; what cannot be written is said and raises nothing."""

from __future__ import annotations

import fcntl
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ozrepro.pipeline.records import writing
from ozrepro.pipeline.records.reading import read_records
from ozrepro.pipeline.records.writing import Folder, Lines, begin, place_of
from tests.pipeline.records.samples import sample
from tests.pipeline.records.writers import write

ROOT = Path(__file__).parents[3]
WRITERS, EACH = 64, 16


@pytest.mark.parametrize("name", ["runs.jsonl", "runs/"])
def test_a_thousand_records_of_64_writers_are_a_thousand_whole_lines(tmp_path: Path, name: str) -> None:
    words = (sys.executable, "-m", "tests.pipeline.records.writers", f"{tmp_path}/{name}", str(WRITERS), str(EACH))
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = read_records(tmp_path / name)
    assert found.damaged == ()
    assert sorted(int(record.command[1]) for record in found.records) == list(range(WRITERS * EACH))
    assert {record.status for record in found.records} == set(range(256))
    lines = [line for file in tmp_path.rglob("*.json*") for line in file.read_bytes().splitlines()]
    assert len(lines) == WRITERS * EACH
    assert all(json.loads(line)["schema"] == 1 for line in lines)


def test_a_run_is_in_a_folder_from_its_start_and_gets_its_end_there(tmp_path: Path) -> None:
    record = sample()
    recording = begin(record, Folder(tmp_path / "a" / "b"), pytest.fail)
    assert recording is not None
    assert (recording.id, recording.variables) == (record.id, {"OZREPRO_RECORD_ID": record.id})
    assert read_records(tmp_path / "a" / "b").records == (record,)
    recording.end(137, "SIGKILL")
    (ended,) = read_records(tmp_path / "a" / "b").records
    assert (ended.id, ended.status, ended.signal) == (record.id, 137, "SIGKILL")
    assert ended.end
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == [f"{record.id}.json"]


def test_nothing_is_made_that_everybody_may_write_to(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write(Folder(tmp_path / "a" / "b"), 0)
        write(Lines(tmp_path / "runs.jsonl"), 0)
    finally:
        os.umask(before)
    assert not [path for path in tmp_path.rglob("*") if stat.S_IMODE(path.stat().st_mode) & 0o002]


def test_a_line_that_another_program_left_without_its_newline_swallows_none(tmp_path: Path) -> None:
    file = tmp_path / "runs.jsonl"
    file.write_bytes(b'{"half')
    write(Lines(file), 0)
    found = read_records(file)
    assert (len(found.records), len(found.damaged)) == (1, 1)
    assert file.read_bytes().startswith(b'{"half\n{"schema":1,')


def test_a_lock_that_nobody_gives_back_does_not_stop_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "_PATIENCE", 0.05)
    file = tmp_path / "runs.jsonl"
    with open(file, "a") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        write(Lines(file), 0)
    assert len(read_records(file).records) == 1


def test_what_cannot_be_written_is_said_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    os.mkfifo(tmp_path / "pipe")
    for place, reason in (
        (Folder(tmp_path / "file"), f"{tmp_path / 'file'}: File exists"),
        (Folder(tmp_path / "file" / "sub"), f"{tmp_path / 'file' / 'sub'}: Not a directory"),
        (Lines(tmp_path / "none" / "runs.jsonl"), f"{tmp_path / 'none' / 'runs.jsonl'}: No such file or directory"),
        (Lines(tmp_path / "pipe"), f"{tmp_path / 'pipe'}: is not a file"),
    ):
        said: list[str] = []
        assert begin(sample(), place, said.append) is None
        assert said == [f"this run is not recorded: {reason}"]


@pytest.mark.parametrize("name", ["runs.jsonl", "runs/"])
def test_a_full_disk_leaves_no_half_line_and_is_said(small_disk: Path, name: str) -> None:
    said: list[str] = []
    (small_disk / "runs").mkdir()
    path = f"{small_disk}/{name}"
    subprocess.run(["mount", "-o", "remount,size=64k", str(small_disk)], check=True)
    recordings = []
    for number in range(100):
        recording = begin(sample(number, command=("x" * 3000,)), place_of(path), said.append)
        if recording is not None:
            recordings.append(recording)
            recording.end(0)
    assert 0 < len(recordings) <= 100
    assert {line.partition(":")[0] for line in said} <= {"this run is not recorded", "the end of this run is not recorded"}
    assert any("No space left on device" in line for line in said)
    found = read_records(Path(path))
    assert found.records
    assert found.damaged == ()
    assert not [file for file in small_disk.rglob(".*") if file.is_file()]
