"""Records are found by ids, their beginnings, files and results; what is damaged, ambiguous or absent is said."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from ozrepro.errors import UsageError
from ozrepro.pipeline.records.marks import PNG
from ozrepro.pipeline.records.reading import read_records, the_record
from ozrepro.pipeline.records.record import as_table, line_of
from tests.pipeline.records.samples import keep, sample
from tests.pipeline.records.test_marks import chunk, png


def refused(word: str | Path, records: Path | None = None) -> str:
    """Return what is said of a word that means no record."""
    with pytest.raises(UsageError) as error:
        the_record(str(word), records)
    return str(error.value)


def test_a_folder_s_records_come_in_the_order_of_their_starts_from_files_of_one_and_of_many(tmp_path: Path) -> None:
    records = [sample(number) for number in range(5)]
    keep(tmp_path, records[4], records[0])
    (tmp_path / "many.jsonl").write_bytes(b"".join(map(line_of, (records[3], records[1], records[2]))) + b"\n\n")
    (tmp_path / f".{records[0].id}.json.ab").write_bytes(b"half")
    (tmp_path / "notes.txt").write_text("not a record\n")
    found = read_records(tmp_path)
    assert (list(found.records), found.damaged) == (records, ())
    assert read_records(tmp_path / "many.jsonl").records == tuple(records[1:4])


def test_of_two_lines_with_one_id_the_one_with_an_end_counts(tmp_path: Path) -> None:
    start = sample()
    end = replace(start, end="2026-11-29T15:56:00Z", status=0)
    for lines in ((start, end), (end, start)):
        (tmp_path / "runs.jsonl").write_bytes(b"".join(map(line_of, lines)))
        assert read_records(tmp_path).records == (end,)


def test_each_line_that_cannot_be_read_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    good, newer = sample(), {**as_table(sample(1)), "schema": 2}
    lines = [line_of(good), b"\xff\n", b"[]\n", json.dumps(newer).encode() + b"\n", b'{"schema":1}\n', line_of(good)[:50]]
    file = tmp_path / "runs.jsonl"
    file.write_bytes(b"".join(lines))
    found = read_records(tmp_path)
    assert found.records == (good,)
    assert found.damaged == (
        f"{file}: line 2: is not JSON",
        f"{file}: line 3: not a record of ozrepro: no schema",
        f"{file}: line 4: is a record of schema 2; this ozrepro reads up to 1",
        f"{file}: line 5: invalid record; the file: lacks id, by, session, method, section, lock, command, start",
        f"{file}: line 6: is cut short, or not JSON",
    )


def test_an_id_or_its_beginning_finds_a_record(tmp_path: Path) -> None:
    first, second = sample(), sample(3600 * 24)
    keep(tmp_path, first, second)
    for word in (first.id, first.id[:-1], "20261129T15", "20261129"):
        assert the_record(word, tmp_path) == first
    said = refused("2026", tmp_path)
    assert f"2 records begin with 2026: {first.id}, {second.id}" in said
    assert f"try: ozrepro record show {second.id}" in said
    assert f"{tmp_path}: has no record 2027" in refused("2027", tmp_path)
    assert 'record = "DIR" in [tool.ozrepro]' in refused(first.id)
    assert "is neither a file nor the id of a record" in refused("fit", tmp_path)
    assert "no such file or folder" in refused(first.id, tmp_path / "none")


def test_only_files_that_may_have_an_id_are_read(tmp_path: Path) -> None:
    record = sample()
    keep(tmp_path, record)
    (tmp_path / "20250101T000000Z-000000000000.json").write_text("damaged")
    assert read_records(tmp_path, record.id).damaged == ()
    (tmp_path / f"{record.id}.json").write_bytes(line_of(record)[:99])
    assert f"no record {record.id} can be read:\n  " in refused(record.id, tmp_path)


def test_a_file_of_one_record_is_that_record_and_one_of_several_is_ambiguous(tmp_path: Path) -> None:
    first, second = sample(), sample(1)
    file = tmp_path / "runs.jsonl"
    file.write_bytes(line_of(first) * 2)
    assert the_record(str(file), None) == first
    file.write_bytes(line_of(first) + line_of(second))
    assert f"holds 2 records\n  try: ozrepro record show {second.id} --records" in refused(file)
    assert the_record(second.id, file) == second


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            b'{"schema": 2, "id": "x"}',
            "is a record of schema 2; this ozrepro reads up to 1\n  try: pip install --upgrade ozrepro",
        ),
        (b'{"schema": 1}', "invalid record:\n  the file: lacks id"),
        (line_of(sample())[:60], "line 1: is cut short, or not JSON"),
        (b'{"period": 11.0}', "names no record\n  try: have the program write the value of OZREPRO_RECORD_ID"),
        (b'{"ozrepro_record": ""}', "'' in it is not the id of a record"),
        (b'{"ozrepro_record": "../../x"}', "'../../x' in it is not the id of a record"),
        (b"", "names no record"),
        (png(), "names no record"),
        (PNG, "is cut short"),
        (png(*(chunk(b"tEXt", b"ozrepro_record\0" + sample(n).id.encode()) for n in range(2))), "names 2 records"),
    ],
    ids=["newer", "empty", "cut", "other", "no id", "path", "nothing", "png", "cut png", "two"],
)
def test_a_file_that_is_no_record_and_names_none_is_said(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "result").write_bytes(content)
    assert said in refused(tmp_path / "result", tmp_path)


def test_a_result_names_its_record(tmp_path: Path) -> None:
    record = sample()
    keep(tmp_path / "records", record)
    (tmp_path / "fit.json").write_text(json.dumps({"period": 11.0, "schema": 3, "ozrepro_record": record.id}, indent=2))
    (tmp_path / "fit.png").write_bytes(png(chunk(b"tEXt", b"ozrepro_record\0" + record.id.encode())))
    (tmp_path / "fit.csv").write_text(f"# ozrepro_record: {record.id}\n1,2\n")
    for name in ("fit.json", "fit.png", "fit.csv"):
        assert the_record(str(tmp_path / name), tmp_path / "records") == record
        assert f"to look for {record.id}, which {tmp_path / name} names" in refused(tmp_path / name)
    (tmp_path / "records" / f"{record.id}.json").unlink()
    assert f"has no record {record.id}, which {tmp_path / 'fit.png'} names" in refused(tmp_path / "fit.png", tmp_path / "records")


def test_a_pipe_a_folder_and_a_dangling_link_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "link").symlink_to("nowhere")
    assert "is a pipe, not a file" in refused(tmp_path / "pipe.json")
    assert "cannot be read: No such file or directory" in refused(tmp_path / "link")
    assert "is a folder, not a record\n  try: ozrepro record list" in refused(tmp_path)
    assert read_records(tmp_path).damaged == (f"{tmp_path / 'pipe.json'}: cannot be read: is a pipe, not a file",)
