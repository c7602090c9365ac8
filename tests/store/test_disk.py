"""A full disk: a real one, of any size, and what is told then."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.store.driver import paths_of
from tests.store.running import done, entries, published, run

FILES = 100
PAGES = len(paths_of(FILES)) * 4096


def resize(disk: Path, size: int, files: int = 10**6) -> None:
    """Give a tmpfs another size, in bytes and in files."""
    subprocess.run(["mount", "-o", f"remount,size={size},nr_inodes={files}", str(disk)], check=True, capture_output=True)


def assert_nothing_is_left(folder: Path) -> None:
    for part in ("gens", "names", "owners", "trash"):
        assert not (folder / part).exists() or entries(folder, part) == []


@pytest.mark.slow
def test_a_run_on_a_disk_of_any_size_is_whole_or_says_that_the_disk_is_full(small_disk: Path) -> None:
    statuses: list[int] = []
    for part in range(13):
        folder = small_disk / f"store {part}"
        resize(small_disk, (1 + part) * PAGES // 8 // 4096 * 4096)
        outcome = run(folder, "--files", str(FILES))
        statuses.append(outcome.status)
        if outcome.status == 0:
            assert published(folder, FILES) is not None
        else:
            assert outcome.status == 1
            assert "No space left on device [errno 28]; left there: 0 MiB" in outcome.said
            assert "try: check your quota" in outcome.said
            assert_nothing_is_left(folder)
            resize(small_disk, 100 * PAGES)
            assert done(folder, "--files", str(FILES)).built
        subprocess.run(["rm", "-r", str(folder)], check=True)
    assert statuses[0] == 1
    assert statuses[-1] == 0


@pytest.mark.slow
def test_a_run_on_a_disk_of_few_inodes_is_whole_or_says_that_the_disk_is_full(
    small_disk: Path,
) -> None:
    statuses: list[int] = []
    for part in range(13):
        folder = small_disk / f"store {part}"
        resize(small_disk, 100 * PAGES, 5 + (1 + part) * FILES // 7)
        outcome = run(folder, "--files", str(FILES))
        statuses.append(outcome.status)
        if outcome.status == 0:
            assert published(folder, FILES) is not None
        else:
            assert outcome.status == 1
            assert "No space left on device [errno 28]; left there: " in outcome.said
            assert_nothing_is_left(folder)
            resize(small_disk, 100 * PAGES)
            assert done(folder, "--files", str(FILES)).built
        subprocess.run(["rm", "-r", str(folder)], check=True)
    assert statuses[0] == 1
    assert statuses[-1] == 0


def test_a_rebuild_on_a_full_disk_leaves_the_published_environment_alone(small_disk: Path) -> None:
    folder = small_disk / "store"
    old = done(folder, "--files", str(FILES)).generation
    resize(small_disk, PAGES * 3 // 2 // 4096 * 4096)
    outcome = run(folder, "--files", str(FILES), "--rebuild")
    assert outcome.status == 1
    assert "[errno 28]" in outcome.said
    generation = published(folder, FILES)
    assert generation is not None
    assert generation.folder.name == old
    assert entries(folder, "gens") == [old]
    resize(small_disk, 100 * PAGES)
    assert done(folder, "--files", str(FILES), "--rebuild").generation != old


def test_a_store_that_cannot_be_written_says_why(small_disk: Path) -> None:
    folder = small_disk / "store"
    done(folder, "--files", str(FILES))
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True, capture_output=True)
    assert not done(folder, "--files", str(FILES)).built
    outcome = run(folder, "--files", str(FILES), "--key", "two")
    assert outcome.status == 1
    assert "Read-only file system [errno 30]" in outcome.said
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True, capture_output=True)
    assert done(folder, "--files", str(FILES), "--key", "two").built
