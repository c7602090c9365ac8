"""The module system of this machine: what it offers, and where the index of it is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from ozrepro.methods.reading import load_settings
from ozrepro.modulesystem import lmod, site_index
from ozrepro.site import Site as Machine
from ozrepro.site import look_around
from tests.fake_cluster import Site


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Give an empty folder that is not a project."""
    (tmp_path / "here").mkdir()
    return tmp_path / "here"


def machine(root: Path, environ: dict[str, str]) -> Machine:
    """Return a machine as a user with these variables has it."""
    return look_around(load_settings(root, environ), environ)


def test_where_nothing_names_a_directory_the_setting_is_named(site: Site, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lmod, "_PROFILES", ())
    with pytest.raises(site_index.NoModulesError) as caught:
        site_index.look(machine(project, {"LMOD_CMD": site.lmod_cmd}))
    assert caught.value.exit_code == 4
    assert "OZREPRO_MODULEPATH" in caught.value.hint


def test_directories_of_one_s_own_come_first(site: Site, project: Path, tmp_path: Path) -> None:
    environ = {**site.environ(), "HOME": str(tmp_path)}
    offered = site_index.look(machine(project, environ), use=[site.roots["odd"]])
    assert offered.modulepath == (site.roots["odd"], site.roots["ozstar"])
    assert {"gcc/11.3.0", "friend/1.0"} <= set(offered.index.modules)


@pytest.mark.parametrize("made", ["store", "session", "setting"])
def test_a_store_or_a_project_keeps_the_index(site: Site, project: Path, tmp_path: Path, made: str) -> None:
    environ = {**site.environ(), "HOME": str(tmp_path / "home")}
    if made == "store":
        (project / ".ozrepro").mkdir()
    elif made == "session":
        (project / "sessions").mkdir()
        (project / "sessions" / "work.toml").write_text("[venv]\n")
    else:
        environ["OZREPRO_CACHE"] = str(project / ".ozrepro" / "cache")
    site_index.look(machine(project, environ))
    assert list((project / ".ozrepro" / "cache").glob("*/modules/index-*.json"))
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("variables", "folder"), [({}, "home/.cache"), ({"XDG_CACHE_HOME": "xdg"}, "home/.cache"), ({"XDG_CACHE_HOME": "/"}, "xdg")]
)
def test_outside_a_project_the_user_s_own_cache_keeps_the_index(
    site: Site, project: Path, tmp_path: Path, variables: dict[str, str], folder: str
) -> None:
    own = {name: str(tmp_path / "xdg") if value == "/" else value for name, value in variables.items()}
    site_index.look(machine(project, {**site.environ(), "HOME": str(tmp_path / "home"), **own}))
    assert list((tmp_path / folder / "ozrepro" / "modules").glob("index-*.json"))
    assert list(project.iterdir()) == []
