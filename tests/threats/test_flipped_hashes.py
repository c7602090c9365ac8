"""Every hash of a lock, changed by one digit: each build is refused, from the index and with everything in the cache."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.needs import UNPACKS
from tests.threats.helpers import Said, add_own_package, inside, make_project, outside, own_modules, serving
from tests.wheels import make_sdist, make_wheel

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Project

pytestmark = pytest.mark.slow

_HASH = re.compile(r'name = "([^"]+)"[^\n]*sha256 = "([0-9a-f]{64})"')


def flipped(text: str) -> list[tuple[str, str]]:
    """Return each file's name with the lock in which the first digit of its hash is another one."""
    found = _HASH.findall(text)
    return [(name, text.replace(sha256, f"{'1' if sha256[0] == '0' else '0'}{sha256[1:]}")) for name, sha256 in found]


def is_refused(said: Said) -> bool:
    """Say whether a build ended with the error for a file that is not the locked one, and built nothing."""
    return said.status == 1 and ("Hash mismatch" in said.errors or "hash" in said.errors) and "Traceback" not in said.errors


def check_all(project: Project, expected: set[str]) -> None:
    """Flip each hash of the project's lock: with a warm cache, with a rebuild over a good environment, with a fresh store."""
    good = project.lock().read_text(encoding="utf-8")
    project.done("build", "work")
    names = sorted((project.store() / "names").iterdir())
    assert {name for name, _ in flipped(good)} == expected
    for name, bad in flipped(good):
        assert bad != good
        project.lock().write_text(bad, encoding="utf-8")
        assert is_refused(inside(project, "build", "work")), f"{name}: built from a warm cache"
        assert is_refused(inside(project, "build", "work", "--rebuild")), f"{name}: built anew"
        fresh = project.root.parent / f"store of {name}"
        assert is_refused(inside(project, "build", "work", OZREPRO_STORE=str(fresh))), f"{name}: built in a fresh store"
        assert list((fresh / "names").iterdir()) == []
        refused = outside(project, "run", "work", "--", "true")
        assert is_refused(refused), f"{name}: run"
    assert sorted((project.store() / "names").iterdir()) == names
    project.lock().write_text(good, encoding="utf-8")
    assert "was built before" in project.done("build", "work")


def test_a_flipped_hash_is_refused_of_wheels_and_the_project_in_a_wheelhouse(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    for name in ("alpha", "helper-tool"):
        make_wheel(project.wheelhouse, name)
    add_own_package(project)
    project.spec('imports = ["alpha"]\n\n[venv]\nrequirements = ["alpha", "-e ."]\n')
    project.done("lock", "work")
    check_all(project, {"alpha-1.0-py3-none-any.whl", "helper_tool-1.0-py3-none-any.whl"})
    # What builds the project, taken out of the lock, is not fetched unlocked either.
    assert (own_modules(project) / "own.pth").exists()
    good = project.lock().read_text(encoding="utf-8")
    project.lock().write_text(good[: good.index("\n[[venv.any.build]]")] + "\n", encoding="utf-8")
    for more in ({}, {"OZREPRO_STORE": str(tmp_path / "fresh")}):
        said = outside(project, "build", "work", **more)
        assert said.status in (1, 3), said.errors
        assert "helper-tool" in said.errors


@UNPACKS
def test_a_flipped_hash_is_refused_of_a_source_archive_and_what_builds_it(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    make_sdist(project.wheelhouse, "gamma")
    make_wheel(project.wheelhouse, "helper-tool")
    project.spec('imports = ["gamma"]\n\n[venv]\nrequirements = ["gamma"]\nbuild = ["gamma"]\n')
    project.done("lock", "work")
    check_all(project, {"gamma-1.0.tar.gz", "helper_tool-1.0-py3-none-any.whl"})


@pytest.mark.parametrize("offline", [False, True], ids=["index", "cache alone"])
def test_a_flipped_hash_is_refused_of_wheels_from_an_index(tmp_path: Path, offline: bool) -> None:
    project = make_project(tmp_path)
    make_wheel(project.wheelhouse, "alpha")
    with serving(project.wheelhouse) as index:
        for name in ("PIP_NO_INDEX", "PIP_FIND_LINKS"):
            del project.environ[name]
        project.environ["PIP_INDEX_URL"] = index.url()
        project.spec('imports = ["alpha"]\n\n[venv]\nrequirements = ["alpha"]\n')
        project.done("lock", "work")
        project.done("build", "work")
        good = project.lock().read_text(encoding="utf-8")
        for name, bad in flipped(good):
            project.lock().write_text(bad, encoding="utf-8")
            more = {"UV_OFFLINE": "1"} if offline else {}
            said = inside(project, "build", "work", **more)
            assert said.status == 1, name
            assert "Traceback" not in said.errors


def test_another_file_of_the_same_name_and_version_is_refused(tmp_path: Path) -> None:
    """An index that serves other content under a locked file's name, with everything else as it was."""
    project = make_project(tmp_path)
    make_wheel(project.wheelhouse, "alpha")
    project.spec('imports = ["alpha"]\n\n[venv]\nrequirements = ["alpha"]\n')
    project.done("lock", "work")
    evil = tmp_path / "evil"
    make_wheel(evil, "alpha", modules={"alpha.py": "VERSION = 'evil'\n"})
    for name in ("PIP_NO_INDEX", "PIP_FIND_LINKS"):
        del project.environ[name]
    with serving(evil) as index:
        for variables in ({"PIP_INDEX_URL": index.url()}, {"UV_INDEX_URL": index.url()}, {"UV_DEFAULT_INDEX": index.url()}):
            assert is_refused(inside(project, "build", "work", **variables))
        more = {"PIP_FIND_LINKS": str(project.wheelhouse), "PIP_INDEX_URL": index.url()}
        outside(project, "build", "work", **more)
    modules = list((project.store() / "gens").glob("*/env/lib/*/site-packages/alpha.py"))
    assert all("evil" not in path.read_text(encoding="utf-8") for path in modules)
