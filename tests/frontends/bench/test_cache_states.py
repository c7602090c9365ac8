"""States: what is done before a start, and what it leaves."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from ozrepro.errors import StoreError, UsageError
from ozrepro.frontends.bench.cache_states import FreshCopy, FreshNode, Warm, states_for
from ozrepro.frontends.bench.candidate import Candidate


def test_the_warm_state_changes_nothing(here: Candidate) -> None:
    assert Warm().prepare(here) is here


def test_a_fresh_copy_has_new_files_and_is_removed_with_what_is_write_protected(here: Candidate, tmp_path: Path) -> None:
    (Path(here.prefix) / "own link").symlink_to("data")
    os.chmod(Path(here.prefix) / "lib", 0o555)
    state = FreshCopy(tmp_path / "work")
    first, second = state.prepare(here), state.prepare(here)
    assert len({here.prefix, first.prefix, second.prefix}) == 3
    assert first.environment.variables["PYTHONPATH"] == f"{first.prefix}/lib"
    assert first.roots == (first.prefix,)
    copied = Path(first.prefix) / "data"
    assert copied.read_text() == "x" * 10
    assert copied.stat().st_ino != (Path(here.prefix) / "data").stat().st_ino
    assert os.readlink(Path(first.prefix) / "own link") == "data"
    state.after(first)
    state.after(second)
    assert list((tmp_path / "work").iterdir()) == []
    assert Path(here.prefix).exists()


def test_an_images_link_is_followed_into_the_copy(here: Candidate, tmp_path: Path) -> None:
    from ozrepro.environment import Environment

    image = tmp_path / "user's own.sif"
    image.write_text("image")
    (Path(here.prefix) / "image.sif").symlink_to(image)
    words = ("apptainer", "exec", f"{here.prefix}/image.sif")
    candidate = replace(here, environment=Environment(prefix=words, container_env_prefix="APPTAINERENV_"))
    copied = FreshCopy(tmp_path / "work").prepare(candidate)
    place = Path(copied.environment.prefix[-1])
    assert not place.is_symlink()
    assert place.read_text() == "image"


def test_a_copy_that_cannot_be_made_leaves_nothing(here: Candidate, tmp_path: Path) -> None:
    state = FreshCopy(tmp_path / "work")
    with pytest.raises(OSError, match="No such file"):
        state.prepare(replace(here, prefix=str(tmp_path / "gone")))
    assert not list(tmp_path.glob("work/*"))


def test_a_copy_ends_with_the_first_file_for_which_there_is_no_room(here: Candidate, small_disk: Path) -> None:
    """Not with one line for each file that comes after it."""
    subprocess.run(["mount", "-o", "remount,size=16384", str(small_disk)], check=True)
    for number in range(20):
        (Path(here.prefix) / f"file{number}").write_bytes(b"x" * 4096)
    with pytest.raises(StoreError, match="No space left on device") as told:
        FreshCopy(small_disk / "work").prepare(here)
    assert len(str(told.value)) < 500
    assert not list(small_disk.glob("work/*"))


def test_a_copy_for_which_no_folder_can_be_made_says_so_once(here: Candidate, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,nr_inodes=5", str(small_disk)], check=True)
    for number in range(20):
        (Path(here.prefix) / f"folder{number}").mkdir()
    with pytest.raises((OSError, StoreError), match="No space left on device") as told:
        FreshCopy(small_disk / "work").prepare(here)
    assert len(str(told.value)) < 500


def test_a_candidate_is_sent_to_each_fresh_node_once_and_then_there_is_none(here: Candidate) -> None:
    state = FreshNode(("n3", "n2"))
    assert [state.prepare(here).node for _ in range(2)] == ["n3", "n2"]
    assert state.prepare(replace(here, name="other")).node == "n3"
    with pytest.raises(UsageError, match="here was started on every node of this job"):
        state.prepare(here)


def test_what_methods_share_is_left_from_the_first_node_on_that_two_were_started_on(here: Candidate) -> None:
    state, other = FreshNode(("n2", "n3")), replace(here, name="other")
    state.prepare(here)
    state.prepare(other)
    assert "share" not in state.leaves
    state.prepare(here)
    state.prepare(other)
    assert state.leaves.count("what methods share") == 1
    assert "servers" in state.leaves


def test_each_state_says_how_it_is_brought_about_and_what_it_leaves(tmp_path: Path) -> None:
    found = states_for(("warm", "cold-client"), tmp_path)
    assert list(found) == ["warm", "cold-client"]
    assert "servers" in found["cold-client"].leaves
    fresh = states_for(("warm", "cold-client"), tmp_path, ("n2", "n3"))
    assert isinstance(fresh["cold-client"], FreshNode)
    assert fresh["cold-client"].nodes == ("n2", "n3")
    assert "srun" in fresh["cold-client"].how
