"""Lmod as it is and as it is switched off, on the real test site."""

from __future__ import annotations

import pytest

from ozrepro.frontends.doctor.finding import Finding
from ozrepro.frontends.doctor.modules import check_modules
from ozrepro.modulesystem.lmod import find_lmod
from tests.fake_cluster import Site
from tests.frontends.doctor.conftest import Patient


@pytest.fixture
def visitor(patient: Patient, site: Site) -> Patient:
    """Give a patient whose shell has the site's Lmod."""
    return patient.given(LMOD_CMD=site.lmod_cmd, MODULEPATH=site.modulepath())


def by_level(found: list[Finding], level: str) -> list[str]:
    """Return what was seen at a level."""
    return [item.seen for item in found if item.level == level]


def test_lmod_is_found_with_its_version_and_directories(visitor: Patient, site: Site) -> None:
    found = check_modules(visitor.place())
    assert by_level(found, "fine") == [f"Lmod {site.lmod_version} at {site.lmod_cmd}", f"module directories: {site.modulepath()}"]
    assert not by_level(found, "wrong")


def test_a_switched_off_lmod_is_wrong_and_in_a_job_a_note(visitor: Patient) -> None:
    assert by_level(check_modules(visitor.place(LMOD_CMD=":")), "wrong") == ["LMOD_CMD=: is not a program"]
    found = check_modules(visitor.place(LMOD_CMD=":", SLURM_JOB_ID="7"))
    assert not by_level(found, "wrong")
    assert "LMOD_CMD=: is not a program" in by_level(found, "note")


def test_the_other_tool_is_told_with_the_reason_for_the_choice(visitor: Patient, site: Site) -> None:
    script = visitor.plant("../tcl/modulecmd.tcl", "puts hello\n")
    both = {"MODULES_CMD": str(script), "MODULESHOME": "/usr/share/lmod/lmod"}
    said = "Environment Modules is here too; Lmod is taken, which `module` calls in this shell"
    assert said in by_level(check_modules(visitor.place(**both)), "fine")
    chosen = visitor.place(**both, OZREPRO_MODULE_TOOL="lmod")
    assert "Environment Modules is here too; Lmod is taken, as module-tool says" in by_level(check_modules(chosen), "fine")


def test_loads_from_a_cache_are_noted(visitor: Patient) -> None:
    assert "LMOD_CACHED_LOADS is on" in by_level(check_modules(visitor.place(LMOD_CACHED_LOADS="yes")), "note")


def test_module_directories_that_are_not_there_are_wrong(visitor: Patient) -> None:
    found = check_modules(visitor.place(MODULEPATH="/nowhere:/neither"))
    assert by_level(found, "wrong") == ["MODULEPATH names no directory that is there"]


def test_the_setting_stands_in_for_an_empty_modulepath(visitor: Patient, site: Site) -> None:
    place = visitor.place(MODULEPATH="", OZREPRO_MODULEPATH=site.modulepath())
    assert not by_level(check_modules(place), "wrong")


def test_an_lmod_in_the_home_is_not_run(patient: Patient, site: Site) -> None:
    lmod = patient.plant("lmod/libexec/lmod", "#!/bin/sh\ntouch ~/ran\n")
    lmod.chmod(0o755)
    found = check_modules(patient.place(LMOD_CMD=str(lmod), MODULEPATH=site.modulepath()))
    assert any("is inside the home" in seen for seen in by_level(found, "note"))
    assert not (patient.home / "ran").exists()


@pytest.mark.skipif(find_lmod({}) is not None, reason="this machine has Lmod in a usual place")
def test_no_module_system_is_fine(patient: Patient) -> None:
    assert by_level(check_modules(patient.place()), "fine") == ["no module system here: sessions use other methods"]
    assert by_level(check_modules(patient.place(MODULESHOME="/usr/share/modules")), "note")
