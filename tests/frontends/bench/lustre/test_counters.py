"""Counters of a real client, from files in the form that clients have."""

from __future__ import annotations

from pathlib import Path

import pytest

from ozrepro.frontends.bench.lustre.counters import read_requests, requests_between

MD_STATS = """\
snapshot_time             1784136426.641291855 secs.nsecs
start_time                1783705564.337158373 secs.nsecs
elapsed_time              430862.304133482 secs.nsecs
close                     {close} samples [reqs]
getattr                   4326 samples [reqs]
intent_lock               {intent_lock} samples [reqs]
"""


def client(root: Path, *, close: int, intent_lock: int, target: str = "fs-MDT0000-mdc-ff94") -> None:
    folder = root / "proc/fs/lustre/mdc" / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "md_stats").write_text(MD_STATS.format(close=close, intent_lock=intent_lock))


def test_requests_are_read_by_target_and_times_are_not(tmp_path: Path) -> None:
    client(tmp_path, close=10, intent_lock=20)
    assert read_requests(tmp_path) == {"fs-MDT0000-mdc-ff94": {"close": 10, "getattr": 4326, "intent_lock": 20}}


def test_requests_between_two_readings_are_those_of_all_targets_by_kind(tmp_path: Path) -> None:
    client(tmp_path, close=10, intent_lock=20)
    client(tmp_path, close=1, intent_lock=1, target="fs-MDT0001-mdc-ff94")
    before = read_requests(tmp_path)
    assert requests_between(before, before) == {}
    client(tmp_path, close=13, intent_lock=29)
    client(tmp_path, close=5, intent_lock=1, target="fs-MDT0001-mdc-ff94")
    assert requests_between(before, read_requests(tmp_path)) == {"close": 7, "intent_lock": 9}


def test_requests_are_not_known_where_counters_were_set_to_zero_or_targets_changed(tmp_path: Path) -> None:
    nothing = read_requests(tmp_path)
    client(tmp_path, close=10, intent_lock=20)
    before = read_requests(tmp_path)
    assert requests_between(nothing, nothing) is None
    assert requests_between(nothing, before) is None
    client(tmp_path, close=2, intent_lock=29)
    assert requests_between(before, read_requests(tmp_path)) is None
    client(tmp_path, close=14, intent_lock=29)
    client(tmp_path, close=900, intent_lock=900, target="fs-MDT0001-mdc-ff94")
    assert requests_between(before, read_requests(tmp_path)) is None


def test_nothing_is_known_where_one_of_the_counters_may_not_be_read(tmp_path: Path) -> None:
    client(tmp_path, close=1, intent_lock=1)
    broken = tmp_path / "proc/fs/lustre/mdc/fs-MDT0001-mdc-ff94"
    (broken / "md_stats").mkdir(parents=True)  # root may read any file, so that a folder stands for one that may not be
    assert read_requests(tmp_path) == {}


def test_the_counters_of_this_machine_are_asked_without_an_error() -> None:
    if Path("/proc/fs/lustre").exists():
        pytest.skip("a Lustre client is here, with counters of its own")
    assert not read_requests()
