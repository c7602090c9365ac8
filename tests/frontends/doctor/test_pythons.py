"""Packages, variables and interpreters that leak into every Python."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ozrepro.frontends.doctor.finding import Finding
from ozrepro.frontends.doctor.pythons import check_kept_out, check_python, check_python_variables, check_user_packages
from tests.fake_cluster import Site
from tests.frontends.doctor.conftest import Patient

SITE_PACKAGES = ".local/lib/python3.10/site-packages"


def wrong(found: list[Finding]) -> list[str]:
    """Return what is wrong."""
    return [item.seen for item in found if item.level == "wrong"]


def test_packages_of_the_user_are_counted_and_named(patient: Patient) -> None:
    for name in ("numpy-1.22.3.dist-info", "Zarr-2.egg-info", "old.egg-link", "__pycache__"):
        (patient.home / SITE_PACKAGES / name).mkdir(parents=True)
    found = check_user_packages(patient.place())
    assert wrong(found) == [f"~/{SITE_PACKAGES} has 3 packages: numpy, old, Zarr"]
    assert found[0].remedy[0] == f"mv ~/{SITE_PACKAGES} ~/{SITE_PACKAGES}.off"
    assert [item.level for item in check_user_packages(patient.place(PYTHONNOUSERSITE="1"))] == ["note"]


def test_many_packages_are_named_in_part(patient: Patient) -> None:
    for number in range(9):
        (patient.home / SITE_PACKAGES / f"p{number}-1.dist-info").mkdir(parents=True)
    assert wrong(check_user_packages(patient.place())) == [f"~/{SITE_PACKAGES} has 9 packages: p0, p1, p2, p3, p4, …"]


def test_packages_at_another_user_base_are_found(patient: Patient, tmp_path: Path) -> None:
    (tmp_path / "base/lib/python3.11/site-packages/six-1.dist-info").mkdir(parents=True)
    assert wrong(check_user_packages(patient.place(PYTHONUSERBASE=str(tmp_path / "base"))))


def test_an_empty_folder_of_user_packages_is_fine(patient: Patient) -> None:
    (patient.home / SITE_PACKAGES).mkdir(parents=True)
    assert not wrong(check_user_packages(patient.place()))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PYTHONPATH", "/somewhere"),
        ("PYTHONHOME", "/somewhere"),
        ("PYTHONUSERBASE", "/somewhere"),
        ("PIP_USER", "1"),
        ("PIP_REQUIRE_VIRTUALENV", "false"),
        ("PIP_REQUIRE_VIRTUALENV", "0"),
    ],
)
def test_each_variable_is_found_and_its_value_is_not_told(patient: Patient, name: str, value: str) -> None:
    (seen,) = wrong(check_python_variables(patient.place(**{name: value})))
    assert seen.startswith(name)
    assert "/somewhere" not in seen


def test_values_that_change_nothing_are_fine(patient: Patient) -> None:
    place = patient.place(PIP_USER="no", PYTHONPATH="", PIP_REQUIRE_VIRTUALENV="true")
    assert [item.level for item in check_python_variables(place)] == ["fine"]


def test_a_path_that_modules_have_set_is_a_note(patient: Patient) -> None:
    found = check_python_variables(patient.place(PYTHONPATH="/apps/x", LOADEDMODULES="gcc/11.3.0", VIRTUAL_ENV="/v"))
    assert [item.level for item in found] == ["note"]


def test_a_pip_that_could_install_is_a_note_unless_it_is_told_not_to(patient: Patient) -> None:
    assert [item.level for item in check_python_variables(patient.place())] == ["fine"] or Path("/usr/bin/pip").exists()
    patient.program("pip", "")
    found = check_python_variables(patient.place())
    assert [(item.level, item.seen) for item in found] == [("note", "PIP_REQUIRE_VIRTUALENV is not set")]
    patient.plant(".config/pip/pip.conf", "[global]\nrequire-virtualenv = true\n")
    assert [item.level for item in check_python_variables(patient.place())] == ["fine"]


@pytest.mark.skipif(not Path("/usr/bin/python3").exists(), reason="this system has no Python of its own")
def test_the_system_s_python_beside_modules_is_noted(patient: Patient, site: Site) -> None:
    place = patient.place(LMOD_CMD=site.lmod_cmd, PATH="/usr/bin:/bin")
    assert [(item.level, item.seen.split(",")[0]) for item in check_python(place)] == [("note", "python3 is /usr/bin/python3")]


@pytest.mark.skipif(not Path("/usr/bin/python3").exists(), reason="this system has no Python of its own")
def test_a_virtual_environment_on_the_system_s_python_is_named(patient: Patient, site: Site) -> None:
    (patient.bin / "python3").symlink_to("/usr/bin/python3")
    (patient.bin.parent / "pyvenv.cfg").touch()
    (seen,) = check_python(patient.place(LMOD_CMD=site.lmod_cmd))
    assert seen.why.startswith(f"It is the operating system's, through the virtual environment {patient.bin.parent}: ")


def test_a_python_other_than_the_system_s_is_fine(patient: Patient, site: Site) -> None:
    (patient.bin / "python3").symlink_to(sys.executable)
    assert [item.level for item in check_python(patient.place(LMOD_CMD=site.lmod_cmd))] == ["fine"]


def test_no_python_is_no_fault(patient: Patient) -> None:
    assert [item.level for item in check_python(patient.place(PATH="/nowhere"))] == ["note"]


class TestOfAPythonThatIsNotHere:
    """A minor version that no Python of the machine has: `pip install` inside an image put the packages there."""

    def planted(self, patient: Patient, minor: str) -> None:
        (patient.home / f".local/lib/python{minor}/site-packages/six-1.dist-info").mkdir(parents=True)

    def test_an_image_is_named_as_where_they_probably_come_from(self, patient: Patient) -> None:
        self.planted(patient, "3.99")
        (found,) = check_user_packages(patient.place())
        assert found.level == "wrong"
        assert "No Python 3.99 is on PATH" in found.why
        assert "inside an image" in found.why

    def test_a_module_of_that_version_is_a_reason_of_its_own(self, patient: Patient, site: Site, tmp_path: Path) -> None:
        self.planted(patient, "3.99")
        offered = tmp_path / "modules" / "python"
        offered.mkdir(parents=True)
        (offered / "3.99.4-gcc.lua").touch()
        (found,) = check_user_packages(patient.place(MODULEPATH=str(tmp_path / "modules"), LMOD_CMD=site.lmod_cmd))
        assert "image" not in found.why

    def test_a_program_of_that_version_is_a_reason_of_its_own(self, patient: Patient) -> None:
        self.planted(patient, "3.99")
        patient.program("python3.99", "Python 3.99.1")
        (found,) = check_user_packages(patient.place())
        assert "image" not in found.why


def test_what_a_job_has_and_a_session_does_not_get_is_one_note_without_values(patient: Patient) -> None:
    (found,) = check_kept_out(patient.place(SCRATCH="/scratch/secret", XALT_DIR="/x", SLURM_JOB_ID="1"))
    assert (found.level, found.seen) == ("note", "kept out of sessions: SCRATCH, XALT_DIR")
    assert found.remedy[1].startswith("export OZREPRO_PASS=SCRATCH")
    (found,) = check_kept_out(patient.place(SCRATCH="/scratch/secret", OZREPRO_PASS="SCRATCH"))
    assert found.level == "fine"
