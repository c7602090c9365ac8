"""`ozrepro doctor` as a user types it: what it prints, its JSON, its status, anywhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import Project
from tests.fake_cluster import Site
from tests.fake_cluster.fixtures import site

__all__ = ["site"]


@pytest.fixture
def login(project: Project, site: Site) -> Project:
    """Give an empty project in a login shell of the test site."""
    return Project(project.root, {**project.environ, "LMOD_CMD": site.lmod_cmd, "MODULEPATH": site.modulepath()})


def home(project: Project) -> Path:
    """Return the home."""
    return Path(project.environ["HOME"])


def test_doctor_of_a_clean_home_finds_nothing_wrong(login: Project) -> None:
    """Nothing wrong, fine things only counted; all of them with --verbose."""
    said = login.done("doctor").splitlines()
    assert said[-1].startswith("0 wrong, ")
    assert said[-1].endswith(" fine (shown with --verbose)")
    assert not [line for line in said if line.startswith(("wrong", "fine"))]
    said = login.done("doctor", "--verbose").splitlines()
    assert any(line.startswith("fine: Lmod ") for line in said)
    assert said[-1].endswith(" fine")


def test_doctor_lists_faults_first_with_the_reason_and_the_remedy(login: Project) -> None:
    """The status is 1; notes come after it."""
    (home(login) / ".bashrc").write_text("module load gcc/11.3.0\n")
    (home(login) / ".modulerc").write_text("")
    done = login.ozrepro("doctor")
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[0] == "wrong: ~/.bashrc line 1: module load gcc/11.3.0"
    assert lines[1].startswith("  why: ")
    assert lines[2] == "  try: sed -i --follow-symlinks '1s/^/: # /' ~/.bashrc"
    assert lines[3] == ""
    assert lines[4].startswith("note: ")
    assert lines[-1].startswith("1 wrong, ")
    assert done.stderr == ""


def test_doctor_s_json_has_every_finding_and_no_home(login: Project) -> None:
    """One value with its schema; the home is `~`, and values of variables are not told."""
    (home(login) / ".bashrc").write_text("module load gcc/11.3.0\n")
    done = login.ozrepro("doctor", "--json", PYTHONPATH=f"{home(login)}/lib", PYTHONHOME="", OZREPRO_STORE=str(home(login) / "s"))
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert found["schema"] == 1
    assert found["wrong"] == sum(item["level"] == "wrong" for item in found["findings"]) == 2
    assert {"check", "level", "seen", "why", "remedy"} == set(found["findings"][0])
    assert str(home(login)) not in done.stdout
    assert "fine" in {item["level"] for item in found["findings"]}


def test_doctor_works_outside_a_project(login: Project, tmp_path: Path) -> None:
    """And leaves nothing there."""
    empty = tmp_path / "empty"
    empty.mkdir()
    outside = Project(empty, login.environ)
    assert "no project here" in outside.done("doctor", "--verbose")
    assert list(empty.iterdir()) == []
    assert Project(Path("/"), login.environ).ozrepro("doctor").returncode == 0


def test_doctor_tells_a_mistake_in_the_settings(login: Project) -> None:
    """Status 2, with the file."""
    (login.root / "pyproject.toml").write_text('[tool.ozrepro]\nlocks = "none"\n')
    assert login.ozrepro("doctor").returncode == 2
