"""What `status` shows is what `run` does, also where the method could not be chosen again."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import sys
from pathlib import Path

import pytest

from ozrepro.frontends.cli.building import _same_words
from tests.conftest import Project
from tests.methods.container.standin import boxed
from tests.wheels import make_wheel


def another_python() -> Path | None:
    """Return a Python of another minor version than the running one, of PATH or of pyenv, or None."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path(pwd.getpwuid(os.geteuid()).pw_dir, ".pyenv"))
    for minor in range(10, 15):
        name = f"python3.{minor}"
        found = [*pyenv.glob(f"versions/3.{minor}.*/bin/{name}"), *map(Path, filter(None, [shutil.which(name)]))]
        if found and sys.version_info.minor != minor:
            return found[0]
    return None


PYTHON = another_python()


@pytest.mark.skipif(PYTHON is None, reason="there is no Python of another minor version here")
def test_what_is_built_is_shown_as_built_when_its_python_is_no_longer_on_path(project: Project) -> None:
    assert PYTHON is not None
    minor = PYTHON.name.removeprefix("python")
    make_wheel(project.wheelhouse, "alpha", "1.0")
    project.spec(f'[venv]\npython = "=={minor}.*"\nrequirements = ["alpha"]\n')
    there = project.root.parent / "pythons"
    there.mkdir()
    (there / PYTHON.name).symlink_to(PYTHON)
    bare = project.environ["HOME"]  # holds no program at all
    path = f"{there}:{project.environ['PATH']}"
    project.done("lock", PATH=path)
    reason = f"no Python =={minor}.* on PATH (the lock covers {minor})"
    unbuilt = project.done("status", PATH=bare)
    assert unbuilt.splitlines()[1].split(maxsplit=4) == ["work", "venv", "locked", "-", reason]
    refused = project.ozrepro("build", PATH=bare)
    assert refused.returncode == 4
    assert reason in refused.stderr
    project.done("build", PATH=path)
    words = ("run", "work", "--", "python", "-c", "import alpha; print(alpha.VERSION)")
    assert project.done(*words, PATH=bare) == "1.0\n"
    shown = project.done("status", PATH=bare).splitlines()[1]
    assert shown.startswith("work     venv    locked  built, ")
    assert shown.endswith(f" files  {reason}; run takes what is built")
    method = json.loads(project.done("status", "--json", PATH=bare))["sessions"][0]["methods"][0]
    assert method["reason"] == reason
    assert (Path(method["generation"]) / "env" / "bin" / "python").exists()
    (project.lock()).write_text(project.lock().read_text() + "\n")
    assert project.done("status", PATH=bare).splitlines()[1].split(maxsplit=4)[3:] == ["-", reason]
    assert project.ozrepro(*words, PATH=bare).returncode == 4


@pytest.mark.parametrize("option", [(), ("--method", "container")])
def test_an_image_that_run_starts_is_shown_as_built_without_apptainer_on_path(project: Project, option: tuple[str, ...]) -> None:
    found = boxed(project)
    words = ("run", "work", *option, "--", "echo", "inside")
    assert found.done(*words) == "inside\n"
    assert found.done(*words, PATH=project.environ["PATH"]) == "inside\n"
    shown = found.done("status", PATH=project.environ["PATH"]).splitlines()[1]
    assert shown.endswith("no Apptainer here (apptainer or singularity on PATH); run takes what is built")
    assert "  built, " in shown


@pytest.mark.parametrize(
    ("unlike", "alone", "words"),
    [
        ([], [], "2 methods, same versions"),
        ([], ["six"], "2 methods, same versions of what they share"),
        (["idna"], ["six"], "2 methods, 1 package in different versions (idna): ozrepro diff a venv conda"),
    ],
)
def test_versions_are_called_the_same_of_what_all_methods_have_alone(unlike: list[str], alone: list[str], words: str) -> None:
    assert _same_words("a", {"methods": ["venv", "conda"], "unlike": unlike, "alone": alone}) == f"a: {words}"
