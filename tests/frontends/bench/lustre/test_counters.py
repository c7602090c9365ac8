"""Counters of a real client, from files in the form that clients have."""

from __future__ import annotations

from pathlib import Path

import pytest

from ozrepro.frontends.bench.lustre.counters import Counters, read_counters

MD_STATS = """\
snapshot_time             1784136426.641291855 secs.nsecs
start_time                1783705564.337158373 secs.nsecs
elapsed_time              430862.304133482 secs.nsecs
close                     {close} samples [reqs]
getattr                   4326 samples [reqs]
intent_lock               {intent_lock} samples [reqs]
"""
LLITE = """\
snapshot_time             1784136426.641291855 secs.nsecs
read_bytes                35 samples [bytes] 1 4194304 73400320
open                      12 samples [usec] 3 90 500
"""


def client(
    root: Path, *, close: int, intent_lock: int, place: str = "proc/fs/lustre", target: str = "fs-MDT0000-mdc-ff94"
) -> None:
    folder = root / place / "mdc" / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "md_stats").write_text(MD_STATS.format(close=close, intent_lock=intent_lock))


def test_requests_and_calls_are_read_and_times_are_not(tmp_path: Path) -> None:
    client(tmp_path, close=10, intent_lock=20)
    folder = tmp_path / "sys/kernel/debug/lustre/llite/fs-ff94"
    folder.mkdir(parents=True)
    (folder / "stats").write_text(LLITE)
    found = read_counters(tmp_path)
    assert found.mds == {"close": 10, "getattr": 4326, "intent_lock": 20}
    assert found.llite == {"open": 12, "read_bytes": 35}
    assert found.targets == ("mdc.fs-MDT0000-mdc-ff94", "llite.fs-ff94")
    assert found
    assert found.as_dict() == {"mds": found.mds, "llite": found.llite, "targets": [*found.targets], "notes": []}


def test_targets_are_added_and_a_target_at_two_places_counts_once(tmp_path: Path) -> None:
    client(tmp_path, close=1, intent_lock=1)
    client(tmp_path, close=1, intent_lock=1, place="sys/kernel/debug/lustre")
    client(tmp_path, close=5, intent_lock=1, target="fs-MDT0001-mdc-ff94")
    assert read_counters(tmp_path).mds["close"] == 6


def test_a_difference_has_what_was_counted_between(tmp_path: Path) -> None:
    client(tmp_path, close=10, intent_lock=20)
    before = read_counters(tmp_path)
    client(tmp_path, close=13, intent_lock=20)
    found = read_counters(tmp_path).since(before)
    assert (found.mds, found.llite, found.notes) == ({"close": 3}, {}, ())


def test_counters_that_were_set_to_zero_are_named(tmp_path: Path) -> None:
    client(tmp_path, close=10, intent_lock=20)
    before = read_counters(tmp_path)
    client(tmp_path, close=2, intent_lock=25)
    found = read_counters(tmp_path).since(before)
    assert found.mds == {"intent_lock": 5}
    assert found.notes == ("counters were set to zero in between: close",)


def test_other_targets_than_before_are_told(tmp_path: Path) -> None:
    before = read_counters(tmp_path)
    client(tmp_path, close=2, intent_lock=25)
    assert read_counters(tmp_path).since(before).notes == ("other targets were there before",)


def test_requests_between_two_readings_are_counted_by_kind(tmp_path: Path) -> None:
    nothing = read_counters(tmp_path)
    client(tmp_path, close=10, intent_lock=20)
    before = read_counters(tmp_path)
    assert before.requests_since(before) == {}
    assert nothing.requests_since(nothing) is None
    assert before.requests_since(nothing) is None
    client(tmp_path, close=13, intent_lock=29)
    assert read_counters(tmp_path).requests_since(before) == {"close": 3, "intent_lock": 9}
    client(tmp_path, close=2, intent_lock=29)
    assert read_counters(tmp_path).requests_since(before) is None
    client(tmp_path, close=14, intent_lock=29)
    client(tmp_path, close=900, intent_lock=900, target="fs-MDT0001-mdc-ff94")
    assert read_counters(tmp_path).requests_since(before) is None


def test_system_calls_of_programs_do_not_count_as_requests(tmp_path: Path) -> None:
    folder = tmp_path / "proc/fs/lustre/llite/fs-ff94"
    folder.mkdir(parents=True)
    (folder / "stats").write_text(LLITE)
    found = read_counters(tmp_path)
    assert found
    assert found.requests_since(found) is None


def test_a_machine_without_lustre_has_no_counters_and_no_error(tmp_path: Path) -> None:
    found = read_counters(tmp_path)
    assert not found
    assert found == Counters({}, {}, ())


def test_counters_that_may_not_be_read_are_told(tmp_path: Path) -> None:
    client(tmp_path, close=1, intent_lock=1)
    broken = tmp_path / "proc/fs/lustre/mdc/fs-MDT0001-mdc-ff94"
    (broken / "md_stats").mkdir(parents=True)  # root may read any file, so that a folder stands for one that may not be
    found = read_counters(tmp_path)
    assert found.mds["close"] == 1
    assert found.notes == ("mdc.fs-MDT0001-mdc-ff94.md_stats cannot be read: Is a directory",)


def test_the_counters_of_this_machine_are_asked_without_an_error() -> None:
    if Path("/proc/fs/lustre").exists():
        pytest.skip("a Lustre client is here, with counters of its own")
    assert not read_counters()
