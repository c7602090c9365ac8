"""A store that came with a clone, an archive or a copy of a project: never believed, and refused where git brought it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from ozrepro.environment import Environment
from ozrepro.faststart import ready
from ozrepro.methods.reading import load_settings
from ozrepro.store import cache_of
from tests.needs import UNPACKS
from tests.threats.helpers import MARK, Said, inside, make_project, outside
from tests.threats.test_planted_store import original
from tests.wheels import make_wheel

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Project

__all__ = ["original"]
GIT = ["git", "-c", "user.email=a@b", "-c", "user.name=a", "-c", "init.defaultBranch=main"]
TABLES = {
    "venv": '[venv]\nrequirements = ["alpha"]\n',
    "conda": '[conda]\nchannels = ["conda-forge"]\ndependencies = ["python"]\n',
    "container": '[container]\nimage = "docker://debian:12"\n',
    "modules": '[modules]\nload = ["python/3.10.4"]\n',
}
WAYS = ["git clone", "git pull", "tar", "cp -a"]


def bring(project: Project, source: Path, way: str) -> None:
    """Bring `source`, a project of a stranger, to the place of `project`."""
    root = project.root
    shutil.rmtree(root)
    if way.startswith("git"):
        first = ["README.md"] if way == "git pull" else []
        (source / "README.md").touch()
        for words in (["init", "-q"], ["add", "-Af", *(first or ["."])], ["commit", "-qm", "one"]):
            subprocess.run([*GIT, *words], cwd=source, check=True)
        subprocess.run([*GIT, "clone", "-q", str(source), str(root)], check=True)
        if way == "git pull":
            (root / "sessions").mkdir()
            for words in (["add", "-Af", "."], ["commit", "-qm", "two"]):
                subprocess.run([*GIT, *words], cwd=source, check=True)
            subprocess.run([*GIT, "pull", "-q"], cwd=root, check=True)
    elif way == "tar":
        root.mkdir()
        made = subprocess.run(["tar", "-c", "."], cwd=source, stdout=subprocess.PIPE, check=True)
        subprocess.run(["tar", "-xp"], cwd=root, input=made.stdout, check=True)
    else:
        subprocess.run(["cp", "-a", str(source), str(root)], check=True)


def hostile(folder: Path, method: str) -> Environment:
    """Return an environment as a record tells it, in which each method's way to start a program starts another."""
    bin_ = folder / "env" / "bin"
    bin_.mkdir(parents=True)
    for name in ("python", "apptainer"):
        (bin_ / name).write_text(f"#!/bin/sh\necho {MARK}\n", encoding="utf-8")
        (bin_ / name).chmod(0o755)
    path = [".ozrepro/gens/000000000000-00000000/env/bin"]
    if method == "container":
        return Environment(prefix=[f"{path[0]}/apptainer", "exec", "x.sif"], container_env_prefix="APPTAINERENV_")
    variables = {"modules": {"LD_PRELOAD": "./evil.so"}, "conda": {"CONDA_PREFIX": "."}}.get(method, {})
    return Environment(path=path, variables=variables)


def forged(project: Project, method: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a stranger's project whose store answers what a start in `project` will ask, and return its folder."""
    project.spec(f'methods = ["{method}"]\n\n{TABLES[method]}')
    project.lock().write_text("schema = 1\n", encoding="utf-8")
    monkeypatch.setattr(sys, "_base_executable", getattr(sys, "_base_executable", sys.executable), raising=False)
    asked = ready.question(str(project.root), "work", None, project.environ)
    assert asked is not None
    source = project.root.with_name("stranger")
    shutil.copytree(project.root, source)
    store = source / ".ozrepro"
    generation = store / "gens" / "000000000000-00000000"
    environment = hostile(generation, method)
    for name in ("names", "ready", "locks", "owners", "trash", "projects"):
        (store / name).mkdir()
        (store / name / ".keep").touch()
    (store / ".ozrepro-store").touch()
    (store / "names" / ("0" * 32)).symlink_to(f"../gens/{generation.name}")
    record = {"schema": ready.SCHEMA, "session": "work", "section": "x", "method": method, "key": "0" * 32}
    record |= {"link": f"../gens/{generation.name}", "generation": str(project.store() / "gens" / generation.name)}
    record |= {"made": ready.stamp(os.lstat(generation)), "said": [], "stats": [], "digests": [], "facts": {}, "shell": {}}
    record |= {"bytes": 1, "files": 1, "inside": 0, "recorded": False}
    (store / "ready" / asked[0]).write_text(json.dumps({**record, "environment": environment.as_dict()}), encoding="utf-8")
    return source


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", TABLES)
def test_a_record_that_came_with_a_project_starts_nothing(
    project: Project, method: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = forged(project, method, monkeypatch)
    bring(project, source, way)
    said = outside(project, "run", "work", "--", "python", "-c", "1")
    assert MARK not in said.output + said.errors
    assert "Traceback" not in said.errors
    assert ready.find_ready(str(project.root), "work", None, project.environ) is None


def test_a_forged_record_with_the_right_binding_would_be_believed(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other tests do not pass by a mistake in the record: with the binding right, and paths absolute, it holds."""
    source = forged(project, "venv", monkeypatch)
    shutil.copytree(source, project.root, symlinks=True, dirs_exist_ok=True)
    (path,) = [path for path in (project.store() / "ready").iterdir() if path.name != ".keep"]
    record: dict[str, Any] = json.loads(path.read_bytes())
    record["made"] = ready.stamp(os.lstat(project.store() / "gens" / "000000000000-00000000"))
    path.write_text(json.dumps(record), encoding="utf-8")
    assert ready.find_ready(str(project.root), "work", None, project.environ) is None
    record["environment"]["path"] = [str(project.root / item) for item in record["environment"]["path"]]
    path.write_text(json.dumps(record), encoding="utf-8")
    assert ready.find_ready(str(project.root), "work", None, project.environ) is not None


@pytest.fixture
def whole(original: Path, tmp_path: Path) -> tuple[Project, Path]:
    """Give the place of a project, and a locked and built one whose store is right for that place, but for a changed module."""
    project = make_project(tmp_path)
    shutil.copytree(original / "wheel house", project.wheelhouse, dirs_exist_ok=True)
    shutil.copytree(original / "a project", project.root, symlinks=True, dirs_exist_ok=True)
    shutil.rmtree(project.store())
    project.done("build", "work")
    module = next(project.prefix().glob("lib/*/site-packages/alpha.py"))
    module.parent.chmod(0o755)
    module.unlink()
    module.write_text(f"print({MARK!r})\n", encoding="utf-8")
    for path in project.store().glob("cache/*/uv/**/alpha.py"):
        path.chmod(0o644)
        path.write_text(f"print({MARK!r})\n", encoding="utf-8")
    source = project.root.with_name("stranger")
    project.root.rename(source)
    project.root.mkdir()
    return project, source


def run(project: Project) -> Said:
    """Start a program of the session."""
    return outside(project, "run", "work", "--", "python", "-c", "import alpha; print('sound')")


@UNPACKS
@pytest.mark.parametrize("way", ["tar", "cp -a"])
def test_an_environment_and_a_cache_that_came_with_a_project_are_made_again(whole: tuple[Project, Path], way: str) -> None:
    """Everything fits, as the stranger knew the path: key, card, manifest and the cache of unpacked wheels."""
    project, source = whole
    bring(project, source, way)
    said = run(project)
    assert (said.status, said.output) == (0, "sound\n"), said.errors
    assert "in the store, but cannot be used: " in said.errors
    assert "building venv.any" in said.errors


@UNPACKS
def test_a_store_that_git_tracks_is_refused_with_what_to_do(whole: tuple[Project, Path]) -> None:
    project, source = whole
    shutil.rmtree(source / ".ozrepro" / "cache")
    bring(project, source, "git clone")
    for words in (("run", "work", "--", "true"), ("build", "work"), ("lock", "work", "--upgrade"), ("store", "gc", "--yes")):
        outside(project, *words).refused(str(project.store()), "is tracked by git", "git rm -r --cached", statuses=(1,))
    subprocess.run([*GIT, "rm", "-rq", "--cached", str(project.store())], cwd=project.root, check=True)
    said = run(project)
    assert (said.status, said.output) == (0, "sound\n"), said.errors


def test_asking_git_starts_no_program_of_the_project(project: Project) -> None:
    """An archive may hold `.git` with a configuration of its own, and git would start its monitor of files."""
    subprocess.run([*GIT, "init", "-q"], cwd=project.root, check=True)
    program = project.root / "monitor"
    program.write_text(f"#!/bin/sh\ntouch '{project.root}/ran'\n", encoding="utf-8")
    program.chmod(0o755)
    subprocess.run(["git", "config", "core.fsmonitor", str(program)], cwd=project.root, check=True)
    make_wheel(project.wheelhouse, "alpha")
    project.spec('[venv]\nrequirements = ["alpha"]\n')
    (project.root / "ran").unlink(missing_ok=True)
    project.done("lock", "work")
    project.done("build", "work")
    assert not (project.root / "ran").exists()


@pytest.mark.parametrize("target", ["..", "../elsewhere", "/tmp", "sessions/../.."])
def test_a_store_that_is_a_link_out_of_the_project_is_refused(project: Project, target: str) -> None:
    project.spec('[venv]\nrequirements = ["alpha"]\n')
    (project.root.parent / "elsewhere").mkdir()
    before = sorted(project.root.parent.rglob("*"))
    project.store().symlink_to(target)
    for words in (("lock", "work"), ("store", "gc", "--yes"), ("store", "list")):
        said = inside(project, *words)
        said.refused(str(project.store()), "is a link out of the project", "OZREPRO_STORE", statuses=(1,))
    project.store().unlink()
    assert sorted(project.root.parent.rglob("*")) == before


def test_the_cache_of_a_project_has_a_name_that_changes_with_each_copy(project: Project) -> None:
    first = cache_of(load_settings(project.root, {}), "uv")
    assert cache_of(load_settings(project.root, {}), "uv") == first
    copy = project.root.with_name("copy")
    subprocess.run(["cp", "-a", str(project.root), str(copy)], check=True)
    assert cache_of(load_settings(copy, {}), "uv").parent.name != first.parent.name
    assert list(first.parent.parent.iterdir()) == [first.parent]
