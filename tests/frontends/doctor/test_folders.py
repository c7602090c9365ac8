"""Caches and environments in the home, measured as a quota counts them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ozrepro.frontends.doctor.finding import Finding
from ozrepro.frontends.doctor.folders import FOLDERS, check_folders, is_moved, measure
from tests.frontends.doctor.conftest import Patient


def many(folder: Path, count: int) -> None:
    """Fill a folder with empty files."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (folder / str(number)).touch()


def only(found: list[Finding]) -> Finding:
    """Return the only finding."""
    assert len(found) == 1, found
    return found[0]


def test_a_clean_home_has_no_large_folders(patient: Patient) -> None:
    assert only(check_folders(patient.place())).level == "fine"


def test_many_files_of_conda_are_wrong_with_both_ways_to_move_them(patient: Patient) -> None:
    many(patient.home / ".conda" / "pkgs", 20_001)
    found = only(check_folders(patient.place()))
    assert found.level == "wrong"
    assert found.seen.startswith("~/.conda holds ")
    assert found.seen.endswith(" in 20,002 files")
    assert "pkgs_dirs" in found.remedy[0]
    assert "envs_dirs" in found.remedy[0]
    assert found.remedy[1] == "mv ~/.conda DIR/conda && ln -s DIR/conda ~/.conda"


def test_a_folder_of_few_large_files_is_wrong(patient: Patient) -> None:
    image = patient.plant(".apptainer/cache/blob/one.sif")
    with image.open("wb") as stream:
        try:
            os.posix_fallocate(stream.fileno(), 0, (1 << 30) + (1 << 20))
        except OSError as error:
            pytest.skip(f"no room for a file of 1 GiB here: {error}")
    found = only(check_folders(patient.place()))
    assert found.level == "wrong"
    assert "1.0 GiB" in found.seen
    assert any("APPTAINER_CACHEDIR" in words for words in found.remedy)
    image.unlink()


@pytest.mark.parametrize("name", [name for name, _ in FOLDERS])
def test_a_small_folder_is_fine(patient: Patient, name: str) -> None:
    many(patient.home / name, 3)
    found = only(check_folders(patient.place()))
    assert found.level == "fine"
    assert found.seen.startswith(f"~/{name} holds ")


@pytest.mark.parametrize("name", [".conda", ".cache"])
def test_a_link_to_other_storage_is_fine_and_not_measured(patient: Patient, tmp_path: Path, name: str) -> None:
    elsewhere = tmp_path / "fred"
    many(elsewhere / "pip", 20_001)
    (patient.home / name).symlink_to(elsewhere)
    found = only(check_folders(patient.place()))
    assert found.level == "fine"
    assert "outside the home" in found.seen


def test_links_inside_are_not_followed_and_a_file_with_two_names_counts_once(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "cache", tmp_path / "elsewhere"
    many(folder, 1)
    many(elsewhere, 50)
    os.link(folder / "0", folder / "again")
    (folder / "out").symlink_to(elsewhere)
    (folder / "round").symlink_to(folder)
    assert measure(folder).files == 3


def test_counting_a_large_folder_stops_at_a_limit(tmp_path: Path) -> None:
    many(tmp_path / "one", 30)
    stopped = measure(tmp_path / "one", entries=10)
    assert (stopped.files, stopped.whole) == (10, False)
    assert str(stopped).endswith("in more than 10 files")
    assert not measure(tmp_path / "one", seconds=0).whole
    assert measure(tmp_path / "one").whole


def test_folders_that_may_not_be_read_are_skipped(tmp_path: Path) -> None:
    assert measure(tmp_path / "nowhere").files == 0


@pytest.mark.parametrize(
    ("text", "moved"),
    [
        ("pkgs_dirs:\n  - /fred/oz1/me/pkgs\n", True),
        ("pkgs_dirs:\n- /fred/oz1/$USER/pkgs\n", True),
        ("pkgs_dirs: [/fred/oz1/me/pkgs]\n", True),
        ("pkgs_dirs:\n  - ~/pkgs\n", False),
        ("channels:\n  - conda-forge\n", False),
    ],
)
def test_conda_s_own_setting_is_read(patient: Patient, text: str, moved: bool) -> None:
    patient.plant(".condarc", text)
    assert is_moved(patient.place()) is moved
    assert is_moved(patient.place(CONDA_PKGS_DIRS="/fred/pkgs"))


def test_where_conda_is_moved_the_rest_is_only_to_be_cleaned(patient: Patient) -> None:
    patient.plant(".condarc", "pkgs_dirs:\n  - /fred/oz1/me/pkgs\n")
    many(patient.home / ".conda" / "pkgs", 20_001)
    assert only(check_folders(patient.place())).remedy[0] == "conda clean --all"
