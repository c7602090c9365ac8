"""The modules of the caller's shell, with the real Lmod."""

from __future__ import annotations

from pathlib import Path

import pytest

from ozrepro.frontends.init import Loaded
from ozrepro.frontends.init.shell import look_at_modules, needed
from ozrepro.methods.reading import load_settings
from ozrepro.modulesystem.bookkeeping import asked_for
from ozrepro.modulesystem.index import Index
from ozrepro.modulesystem.lmod import Lmod
from ozrepro.modulesystem.lmod_output import read
from ozrepro.site import look_around
from tests.fake_cluster import Site
from tests.fake_cluster.modulefiles import write

CHAIN = ("gcc", "openmpi", "python-scientific")


def shell(site: Site, *names: str, **more: str) -> dict[str, str]:
    """Return the variables of a shell in which these were loaded one after the other."""
    environ = {**site.environ(), **more}
    for name in names:
        done = site.lmod("load", site.names.get(name, name), environ=environ, shell="bash")
        assert done.returncode == 0, done.stderr
        found = read(done.stdout)
        environ = {key: value for key, value in {**environ, **found.values}.items() if key not in found.deleted}
    return environ


def look(environ: dict[str, str], root: Path) -> tuple[Loaded | None, list[str]]:
    """Look at a shell with these variables from a project's folder."""
    return look_at_modules(look_around(load_settings(root, environ), environ), root)


@pytest.fixture
def home(tmp_path: Path) -> str:
    """Give a home of one's own, for the cache."""
    (tmp_path / "home").mkdir()
    return str(tmp_path / "home")


def test_a_shell_without_modules_proposes_none(site: Site, tmp_path: Path) -> None:
    assert look(site.environ(), tmp_path) == (None, [])


def test_what_was_asked_for_is_told_from_what_it_brought(site: Site) -> None:
    environ = shell(site, *CHAIN)
    assert len(environ["LOADEDMODULES"].split(":")) == 4
    assert asked_for(environ) == [site.names[name] for name in CHAIN]
    assert asked_for({"LOADEDMODULES": "a/1:b/2"}) == ["a/1", "b/2"]


def test_parents_are_left_out_and_python_packages_found(site: Site, tmp_path: Path, home: str) -> None:
    found, notes = look(shell(site, *CHAIN, HOME=home), tmp_path)
    assert found is not None
    assert found.load == (site.names["python-scientific"],)
    assert found.parents == (site.names["gcc"], site.names["openmpi"])
    assert {item.name: item.version for item in found.packages} == site.packages["python-scientific"]
    assert ("numpy",) in [item.imports for item in found.packages]
    assert (found.use, notes) == ((), [])


def test_packages_are_found_through_easybuild_s_own_variable(site: Site, tmp_path: Path, home: str) -> None:
    found, _ = look(shell(site, "gcc", "pyyaml", HOME=home), tmp_path)
    assert found is not None
    assert [item.imports for item in found.packages] == [("yaml",)]


def test_of_two_ways_the_one_loaded_is_kept(site: Site, lmod: Lmod) -> None:
    index: Index = lmod.index([site.roots["ozstar"]])
    assert needed(("gcc/12.2.0", "openmpi/4.1.4", "hdf5/1.12.2"), index) == ("gcc/12.2.0", "hdf5/1.12.2")


def test_a_directory_of_one_s_own_is_used(site: Site, tmp_path: Path, home: str) -> None:
    write(tmp_path / "project" / "modules", "survey/1.0", ['setenv("SURVEY", "1")'])
    write(Path(home) / "modules", "mine/1.0", ['setenv("MINE", "1")'])
    environ = shell(site, *CHAIN, HOME=home)
    for folder, name in ((tmp_path / "project" / "modules", "survey/1.0"), (Path(home) / "modules", "mine/1.0")):
        environ["MODULEPATH"] = f"{folder}:{environ['MODULEPATH']}"
        environ = shell(site, name, **environ)
    found, notes = look(environ, tmp_path / "project")
    assert found is not None
    assert found.load == (site.names["python-scientific"], "survey/1.0", "mine/1.0")
    assert found.use == ("modules", "~/modules")
    assert notes == []


def test_what_the_site_loads_for_everybody_and_what_has_no_version_is_left_out(site: Site, tmp_path: Path, home: str) -> None:
    environ = shell(site, "conda", "apptainer", HOME=home, LMOD_SYSTEM_DEFAULT_MODULES="conda")
    environ["LOADEDMODULES"] += ":plain"
    found, notes = look(environ, tmp_path)
    assert found is not None
    assert found.load == ("apptainer/latest",)
    assert [note.split(":")[0] for note in notes] == [
        "conda/latest is left out",
        "plain is left out",
        "none of the modules loaded seems to bring a Python, which a session needs",
    ]


def test_without_a_module_tool_all_is_taken_as_it_is(site: Site, tmp_path: Path, home: str) -> None:
    environ = {**shell(site, *CHAIN, HOME=home), "LMOD_CMD": ":"}
    found, notes = look(environ, tmp_path)
    assert found == Loaded(tuple(site.names[name] for name in CHAIN))
    assert "no module system here" in notes[0]


@pytest.fixture
def lmod(site: Site) -> Lmod:
    """Give the site's Lmod."""
    return Lmod(site.lmod_cmd)
