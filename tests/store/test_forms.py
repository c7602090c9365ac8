"""Where an environment that becomes one file is built, and what is passed over."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ozrepro import process
from ozrepro.site import LOCAL, mount_of
from ozrepro.store import forms
from ozrepro.store.forms import Place, find_tools, place, room


def taken(folder: Path | str) -> bool:
    """Say whether TMPDIR is where an environment would be built."""
    found = place({"TMPDIR": str(folder)})
    return isinstance(found, Place) and found.folder == Path(folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a folder of this node that has room; skips where the tests' own has none."""
    if not taken(tmp_path):
        pytest.skip(f"{tmp_path} is not of this node, or has no room")
    return tmp_path


def test_the_jobs_own_disk_comes_before_tmpdir(folder: Path) -> None:
    (folder / "job").mkdir()
    found = place({"JOBFS": str(folder / "job"), "TMPDIR": str(folder)})
    assert found == Place(folder / "job", str(folder / "job"))


def test_a_tmpdir_that_is_absent_or_relative_or_a_file_is_passed_over(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    (folder / "inner").mkdir()
    (folder / "file").touch()
    assert taken(folder / "inner")
    assert not any(taken(each) for each in (folder / "nowhere", "inner", folder / "file"))


def test_a_folder_whose_entries_anybody_may_swap_is_passed_over(folder: Path) -> None:
    folder.chmod(0o777)
    assert not taken(folder)
    folder.chmod(0o1777)
    assert taken(folder)


def test_a_folder_of_the_network_is_passed_over(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No NFS can be mounted here: the kernel's table is one in which the folder's kind is another."""
    mount = mount_of(folder)
    assert mount is not None
    assert mount.kind in LOCAL
    monkeypatch.setattr(forms, "LOCAL", LOCAL - {mount.kind})
    assert not taken(folder)


def test_a_folder_without_room_or_where_no_program_runs_is_passed_over(small_disk: Path) -> None:
    small_disk.chmod(0o755)
    for options, is_taken in (
        ("size=3g", True),
        ("size=1g", False),
        ("size=3g,nr_inodes=1000", False),
        ("size=3g,noexec", False),
    ):
        whole = f"remount,nr_inodes=200000,exec,{options}"
        subprocess.run(["mount", "-o", whole, str(small_disk)], check=True, capture_output=True)
        assert taken(small_disk) == is_taken, options


def test_without_any_folder_memory_is_taken_and_without_memory_a_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forms, "_can_be_built_in", lambda folder: False)
    monkeypatch.setattr(forms, "_free_memory", lambda: 5 << 30)
    assert place({}) == Place(None, "memory")
    monkeypatch.setattr(forms, "_free_memory", lambda: 1 << 30)
    assert place({}) == "no folder of this node has 2 GiB left to build in"


def test_what_a_killed_builder_left_goes_and_what_another_builds_in_stays(tmp_path: Path) -> None:
    left = tmp_path / "ozrepro-build-left"
    (left / "generation" / "env").mkdir(parents=True)
    (left / "generation" / "env").chmod(0o500)
    (tmp_path / "ozrepro-build-link").symlink_to(tmp_path / "other")
    (tmp_path / "other").mkdir()
    here = Place(tmp_path, str(tmp_path))
    with room(here) as first, room(here) as second:
        assert first is not None
        assert second is not None
        assert first.is_dir()
        assert second.is_dir()
        assert not left.exists()
    assert sorted(os.listdir(tmp_path)) == ["other", "ozrepro-build-link"]


def test_tools_that_are_absent_are_named_with_what_to_ask_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(process, "CLEAN_PATH", str(tmp_path))
    for name in ("unshare", "nsenter", "mount", "mksquashfs"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setattr(process, "find_program", _only_in(tmp_path))
    assert find_tools("", None) == "no squashfuse_ll here; ask the centre for squashfuse and squashfs-tools"


def _only_in(folder: Path) -> Callable[[str, str], str | None]:
    return lambda name, path: str(folder / name) if (folder / name).exists() else None
