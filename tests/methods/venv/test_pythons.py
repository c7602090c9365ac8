"""One lock, several Pythons: each that is asked for has an environment of its own, in `run` and in nox."""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest

from ozrepro.python import interpreter
from tests.conftest import Project

HERE = f"3.{sys.version_info[1]}"
SHOW = ("python", "-c", "import sys; print('on %d.%d' % sys.version_info[:2])")
NOXFILE = """
import ozrepro


@ozrepro.session(python=["{here}", "{other}"])
def work(session):
    session.run("python", "-c", "import sys; print('on %d.%d' % sys.version_info[:2])")
    session.log(f"python is {{session.python}}")


@ozrepro.session(spec="work", default=False)
def single(session):
    session.run("python", "-c", "import sys; print('on %d.%d' % sys.version_info[:2])")
"""


def _other() -> str | None:
    """Return the program of another Python of this machine that ozrepro's own range takes, None where there is none."""
    names = [f"3.{minor}" for minor in interpreter.MINORS if minor >= 10 and f"3.{minor}" != HERE]
    installed = (path for name in names for path in Path.home().glob(f".pyenv/versions/{name}.*/bin/python{name}"))
    for path in chain((shutil.which(f"python{name}") for name in names), installed):
        asked = interpreter.ask(str(path)) if path else None
        if asked is not None and asked.minor in names:
            return asked.path
    return None


OTHER = _other()
pytestmark = pytest.mark.skipif(OTHER is None, reason="this machine has one Python only")


@pytest.fixture
def two(small: Project, tmp_path: Path) -> tuple[Project, str]:
    """Give a locked project, whose PATH has a second Python, and that one's minor."""
    assert OTHER is not None
    asked = interpreter.ask(OTHER)
    assert asked is not None
    folder = tmp_path / "pythons"
    folder.mkdir()
    os.symlink(OTHER, folder / f"python{asked.minor}")
    small.done("lock", "work")
    return replace(small, environ={**small.environ, "PATH": f"{small.environ['PATH']}:{folder}"}), asked.minor


def test_each_python_that_is_asked_for_has_an_environment_from_the_one_lock(two: tuple[Project, str]) -> None:
    project, other = two
    lock = project.lock().read_bytes()
    assert project.done("run", "--python", other, "work", "--", *SHOW) == f"on {other}\n"
    assert project.done("run", "work", "--", *SHOW) == f"on {HERE}\n"
    assert project.done("run", "work", "--", *SHOW, OZREPRO_PYTHON=other) == f"on {other}\n"
    again = project.ozrepro("run", f"--python={other}", "work", "--", *SHOW)
    assert (again.stdout, again.stderr) == (f"on {other}\n", "")  # not built once more
    assert "was built before" in project.done("build", "work", "--python", other)
    assert f"on {other}\n" in project.done("shell", "work", "--python", other, "--", *SHOW)
    assert project.lock().read_bytes() == lock
    assert len(list((project.store() / "gens").iterdir())) == 2


def test_nox_runs_a_session_on_each_python_by_nox_s_own_names_and_options(two: tuple[Project, str]) -> None:
    project, other = two
    (project.root / "noxfile.py").write_text(NOXFILE.format(here=HERE, other=other), encoding="utf-8")
    both = project.run("nox", "-s", "work")
    assert both.returncode == 0, both.stderr
    assert both.stdout == f"on {HERE}\non {other}\n"
    for words in (("-s", f"work-{other}"), ("-p", other), ("-s", "single", "-P", other)):
        one = project.run("nox", *words)
        assert (one.returncode, one.stdout) == (0, f"on {other}\n"), one.stderr
    assert f"python is {other}" in project.run("nox", "-p", other).stderr


def test_a_python_outside_the_lock_s_range_is_refused_with_the_line_to_write(two: tuple[Project, str]) -> None:
    project, _ = two
    refused = project.ozrepro("run", "work", "--python", "3.8", "--", "true")
    assert refused.returncode == 4
    assert "venv: Python 3.8 is outside of >=3.10 (its lock covers 3.10, " in refused.stderr
    assert 'write python = ">=3.8" in its table, then: ozrepro lock' in refused.stderr


def test_a_python_that_is_not_on_the_machine_is_said(two: tuple[Project, str]) -> None:
    project, other = two
    (project.root / "empty").mkdir()
    missing = project.ozrepro("run", "work", "--python", other, "--", "true", PATH=str(project.root / "empty"))
    assert missing.returncode == 4
    assert f"venv: no Python {other} on PATH" in missing.stderr


@pytest.mark.parametrize("wrong", ["3", "3.12.1", "python3.12", ">=3.10"])
def test_what_is_not_a_minor_version_is_refused_everywhere(two: tuple[Project, str], wrong: str) -> None:
    project, _ = two
    said = f"{wrong!r} is not a minor version of Python, such as 3.12"
    option = project.ozrepro("run", "work", "--python", wrong, "--", "true")
    assert (option.returncode, said in option.stderr) == (2, True), option.stderr
    (project.root / "noxfile.py").write_text(f"import ozrepro\n\n\n@ozrepro.session(python={wrong!r})\ndef work(session): ...\n")
    in_nox = project.run("nox", "-s", "work")
    assert in_nox.returncode != 0
    assert wrong in in_nox.stderr


def test_a_method_with_one_locked_python_is_skipped_with_the_reason(two: tuple[Project, str]) -> None:
    project, other = two
    spec = project.root / "sessions" / "work.toml"
    spec.write_text('methods = ["container", "venv"]\n' + spec.read_text() + '\n[container]\nimage = "absent.sif"\n')
    found = json.loads(project.done("status", "work", "--json", OZREPRO_PYTHON=other))["sessions"][0]["methods"]
    reasons = {method["method"]: method.get("reason") or "" for method in found}
    assert f"Python {other} is asked for" in reasons["container"]
    refused = project.ozrepro("run", "--method", "container", "--python", other, "work", "--", "true")
    assert refused.returncode == 4
    assert f"container: its Python is the one that is locked, and Python {other} is asked for" in refused.stderr
