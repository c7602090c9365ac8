"""The example analysis, run as a user runs it."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from ozrepro.pipeline.records.reading import the_record
from tests.pipeline.records.samples import keep, sample

for package in ("numpy", "scipy", "astropy"):
    pytest.importorskip(package, reason=f"the example analysis needs {package}")

SESSIONS = Path(__file__).resolve().parents[2] / "sessions"


def run(output: Path, *arguments: str, record: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SESSIONS / "analysis.py"), "--output", str(output), *arguments]
    environ = {**os.environ, "OZREPRO_RECORD_ID": record}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environ)


def pixels(png: bytes) -> tuple[int, int, list[bytes]]:
    """Return width, height and the pixels of an RGB image whose lines use no filter."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    chunks: dict[bytes, bytes] = {}
    place = 8
    while place < len(png):
        (length,) = struct.unpack_from(">I", png, place)
        kind, content = png[place + 4 : place + 8], png[place + 8 : place + 8 + length]
        assert struct.unpack_from(">I", png, place + 8 + length) == (zlib.crc32(kind + content),)
        chunks[kind] = chunks.get(kind, b"") + content
        place += 12 + length
    assert list(chunks) == [b"IHDR", b"IDAT", b"IEND"]
    width, height, *form = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert form == [8, 2, 0, 0, 0]
    raw = zlib.decompress(chunks[b"IDAT"])
    step = 1 + 3 * width
    assert len(raw) == step * height
    lines = [raw[start : start + step] for start in range(0, len(raw), step)]
    assert {line[0] for line in lines} == {0}
    return width, height, [line[at : at + 3] for line in lines for at in range(1, step, 3)]


def test_the_analysis_finds_the_period_draws_it_and_repeats_exactly(tmp_path: Path) -> None:
    first, second = run(tmp_path / "new" / "first"), run(tmp_path / "second")
    assert (first.returncode, first.stderr) == (0, "")
    assert second.returncode == 0

    text = (tmp_path / "new" / "first" / "analysis.json").read_bytes()
    assert text == (tmp_path / "second" / "analysis.json").read_bytes()
    result = json.loads(text)
    assert list(result) == sorted(result)
    assert 10.5 < result["period_years"] < 11.5
    assert result["period_years"] == pytest.approx(10.999784880216442, rel=1e-9)
    assert 0.05 < result["uncertainty_years"] < 1
    assert abs(result["cross_check"]["period_years"] - result["period_years"]) < result["uncertainty_years"]
    assert 0 < result["false_alarm_probability"] < 1e-10
    assert result["number_of_years"] == 309
    assert set(result["versions"]) == {"astropy", "numpy", "scipy"}
    assert f"{result['period_years']:.2f} +/- {result['uncertainty_years']:.2f} years" in first.stdout
    assert str(tmp_path / "new" / "first" / "analysis.json") in first.stdout

    width, height, image = pixels((tmp_path / "second" / "analysis.png").read_bytes())
    assert (width, height) == (900, 640)
    drawn = [pixel for pixel in image if pixel != b"\xff\xff\xff"]
    assert 0.05 < len(drawn) / len(image) < 0.6
    assert len(set(drawn)) > 50


def test_a_run_that_is_recorded_names_its_record_in_both_results(tmp_path: Path) -> None:
    record = sample()
    keep(tmp_path / "records", record)
    assert run(tmp_path, record=record.id).returncode == 0
    for name in ("analysis.json", "analysis.png"):
        assert the_record(str(tmp_path / name), tmp_path / "records") == record


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("SUNACTIVITY", "NUMBER", "no column SUNACTIVITY; found: YEAR, NUMBER"),
        ("1704,36\n", "1704,NaN\n", "line 6: SUNACTIVITY is 'NaN', not a finite number"),
        ("1704,36\n", "", "line 6: YEAR is 1705 after 1703"),
    ],
)
def test_unusable_data_is_named_and_exits_2(tmp_path: Path, old: str, new: str, message: str) -> None:
    data = tmp_path / "data.csv"
    original = (SESSIONS / "data" / "sunspots.csv").read_text(encoding="utf-8")
    assert original.count(old) == 1
    data.write_text(original.replace(old, new), encoding="utf-8")
    done = run(tmp_path / "results", "--data", str(data))
    assert done.returncode == 2
    assert f"analysis.py: error: {data}: {message}" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "results").exists()
