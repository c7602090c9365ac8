"""All checks together: a clean home, one that fails, and what is never told."""

from __future__ import annotations

from pathlib import Path

import pytest

from ozrepro.errors import CommandFailed
from ozrepro.frontends.doctor.examination import CHECKS, examine
from ozrepro.frontends.doctor.finding import Finding, fine
from ozrepro.frontends.doctor.surroundings import Surroundings, surroundings
from ozrepro.methods.reading import load_settings
from tests.fake_cluster import Site
from tests.frontends.doctor.conftest import Patient


def test_a_clean_home_on_a_site_has_nothing_wrong(patient: Patient, site: Site) -> None:
    """Each check says something, and each note and fault says why or what to do."""
    found = list(examine(patient.place(LMOD_CMD=site.lmod_cmd, MODULEPATH=site.modulepath())))
    assert [item for item in found if item.level == "wrong"] == []
    assert {item.check for item in found} == {check.__name__.removeprefix("check_").replace("_", "-") for check in CHECKS}
    assert sorted(path.name for path in patient.home.iterdir()) == []
    assert sorted(path.name for path in patient.root.iterdir()) == ["sessions"]


def test_one_failing_check_does_not_hide_the_others(patient: Patient) -> None:
    def check_disk(place: Surroundings) -> list[Finding]:
        raise OSError(5, "Input/output error", str(place.home / "x"))

    def check_tool(place: Surroundings) -> list[Finding]:
        raise CommandFailed("quota was killed: it took longer than 20 s")

    def check_last(place: Surroundings) -> list[Finding]:
        return [fine("here")]

    found = list(examine(patient.place(), (check_disk, check_tool, check_last)))
    assert [(item.check, item.level) for item in found] == [("disk", "note"), ("tool", "note"), ("last", "fine")]
    assert "Input/output error: '~/x'" in found[0].seen
    assert "longer than 20 s" in found[1].seen


@pytest.mark.parametrize(
    ("text", "short"),
    [("{home}/.conda", "~/.conda"), ("{home}", "~"), ("{home}-old/x", "{home}-old/x"), ("a:{home}/b:{home}/c", "a:~/b:~/c")],
)
def test_the_home_is_written_as_a_tilde(patient: Patient, text: str, short: str) -> None:
    home = str(patient.home)
    assert patient.place().short(text.format(home=home)) == short.format(home=home)


def test_a_home_behind_a_link_is_the_same_home(patient: Patient, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(patient.home)
    place = patient.place(HOME=str(tmp_path / "link"))
    assert place.is_in_home(patient.home / "x")
    assert place.is_in_home(tmp_path / "link" / "x")
    assert not place.is_in_home(tmp_path / "other")
    assert place.short(f"{patient.home}/a {tmp_path}/link/b") == "~/a ~/b"


def test_without_a_home_the_system_knows_one(patient: Patient) -> None:
    environ = {name: value for name, value in patient.environ.items() if name != "HOME"}
    assert surroundings(load_settings(patient.root, environ), environ).home.is_absolute()


def test_a_home_that_is_not_there_is_no_reason_to_fail(patient: Patient) -> None:
    found = list(examine(patient.place(HOME="/nonexistent")))
    assert not [item for item in found if "failed" in item.seen]
