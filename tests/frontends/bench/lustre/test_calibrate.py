"""Calibration on real folders: how much it asks, what it leaves behind, and what it finds on an emulated file system."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ozrepro.errors import OzreproError
from ozrepro.frontends.bench.lustre.calibrate import LIMIT, calibrate
from ozrepro.frontends.bench.lustre.emulator import Emulator
from ozrepro.frontends.bench.lustre.model import BUSY, QUIET, Profile
from ozrepro.frontends.bench.lustre.trace import count, read_trace
from tests.frontends.bench.lustre.events import strace
from tests.needs import STRACE

REASON = Emulator.unavailable()


def filled(folder: Path, files: int) -> Path:
    for number in range(files):
        path = folder / f"sub{number % 10}" / f"file{number}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x = 1\n" * 500)
    return folder


@STRACE
@pytest.mark.parametrize("files", [3, 400])
def test_a_calibration_makes_fewer_operations_than_announced_and_leaves_nothing(files: int, tmp_path: Path) -> None:
    folder = filled(tmp_path / "a folder", files)
    before = sorted(folder.rglob("*"))
    script = (
        "import pathlib\nfrom ozrepro.frontends.bench.lustre.calibrate import calibrate\n"
        f"profile = calibrate(pathlib.Path({str(folder)!r}), print)\n"
        "assert profile.name == 'a folder'\nassert profile.mds_us < 10_000_000\n"
    )
    text = strace(tmp_path / "trace", sys.executable, "-c", script, cwd=tmp_path)
    calls = count(read_trace(text, roots=(str(folder),))).calls
    assert 500 < sum(calls.values()) < LIMIT, calls
    assert sorted(folder.rglob("*")) == before


def test_a_calibration_says_what_it_measures(tmp_path: Path) -> None:
    said: list[str] = []
    profile = calibrate(filled(tmp_path / "few", 2), said.append)
    text = "\n".join(said)
    assert isinstance(profile, Profile)
    assert "has 2 files: making 160" in text
    for words in (
        "a missing name: ",
        "a first stat: ",
        "an open: ",
        "a first read: ",
        "a close: ",
        "reading 64 MiB",
        "eight threads: ",
    ):
        assert words in text
    assert (profile.mds_stats, profile.mds_opens) == (QUIET.mds_stats, QUIET.mds_opens)


@pytest.mark.skipif(bool(REASON), reason=REASON)
def test_a_slow_metadata_server_is_seen_as_one(tmp_path: Path) -> None:
    tree = filled(tmp_path / "tree", 110)
    said: list[str] = []
    with Emulator(tree, [tmp_path / "mount"], replace(BUSY, mds_us=5_000, ost_us=0)):
        found = calibrate(tmp_path / "mount", said.append)
    assert "nothing can be written" in said[0]
    assert found.mds_us >= 4_500  # no upper limit: a busy machine only adds to it
    assert found.ost_stream == QUIET.ost_stream


@pytest.mark.skipif(bool(REASON), reason=REASON)
def test_too_few_files_in_a_folder_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    tree = filled(tmp_path / "tree", 5)
    with Emulator(tree, [tmp_path / "mount"], QUIET), pytest.raises(OzreproError, match="5 files, too few to measure with"):
        calibrate(tmp_path / "mount", print)


def test_a_calibration_of_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OzreproError, match="no such directory"):
        calibrate(tmp_path / "none", print)
