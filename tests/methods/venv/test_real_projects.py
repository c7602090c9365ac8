"""Six projects in the forms that real ones have, with their real build backends: taken over, locked, run, checked, extended."""

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path

import pytest

from tests.conftest import Project
from tests.python.test_unreachable_index import user_settings

pytestmark = [pytest.mark.network, pytest.mark.slow]

FAST = """
#include <Python.h>
static PyObject *answer(PyObject *self, PyObject *none) { return PyLong_FromLong(11); }
static PyMethodDef methods[] = {{"answer", answer, METH_NOARGS, ""}, {0}};
static struct PyModuleDef fast = {PyModuleDef_HEAD_INIT, "_fast", "", -1, methods};
PyMODINIT_FUNC PyInit__fast(void) { return PyModule_Create(&fast); }
"""
HEAD = '[project]\nname = "spots"\nrequires-python = ">=3.10"\n'
DYNAMIC = f'{HEAD}dynamic = ["version"]\ndependencies = ["six"]\n'
VERSIONED = "import six\nfrom spots._version import version\nanswer = lambda: 11\n"
COMPILED = "import six\nfrom spots._fast import answer\n"


def build_system(backend: str, *requires: str) -> str:
    return f'[build-system]\nrequires = [{", ".join(map(repr, requires))}]\nbuild-backend = "{backend}"\n'


FORMS = {
    "hatch-vcs": {
        "pyproject.toml": build_system("hatchling.build", "hatchling", "hatch-vcs")
        + DYNAMIC
        + '[tool.hatch.version]\nsource = "vcs"\n[tool.hatch.build.hooks.vcs]\nversion-file = "spots/_version.py"\n',
        "spots/__init__.py": VERSIONED,
    },
    "setuptools-scm with a C file": {
        "pyproject.toml": build_system("setuptools.build_meta", "setuptools>=64", "setuptools-scm>=8")
        + DYNAMIC
        + '[tool.setuptools.packages.find]\nwhere = ["src"]\n[tool.setuptools_scm]\nversion_file = "src/spots/_version.py"\n',
        "setup.py": 'from setuptools import Extension, setup\nsetup(ext_modules=[Extension("spots._fast", ["src/fast.c"])])\n',
        "src/fast.c": FAST,
        "src/spots/__init__.py": f"{COMPILED}from spots._version import version\n",
    },
    "scikit-build-core": {
        "pyproject.toml": build_system("scikit_build_core.build", "scikit-build-core", "setuptools-scm")
        + DYNAMIC
        + '[tool.scikit-build]\nmetadata.version.provider = "scikit_build_core.metadata.setuptools_scm"\n'
        + 'wheel.packages = ["src/spots"]\n[tool.setuptools_scm]\n',
        "CMakeLists.txt": "cmake_minimum_required(VERSION 3.15)\nproject(spots LANGUAGES C)\n"
        "find_package(Python COMPONENTS Interpreter Development.Module REQUIRED)\n"
        "Python_add_library(_fast MODULE src/fast.c WITH_SOABI)\ninstall(TARGETS _fast DESTINATION spots)\n",
        "src/fast.c": FAST,
        "src/spots/__init__.py": COMPILED,
    },
    "poetry": {
        "pyproject.toml": build_system("poetry.core.masonry.api", "poetry-core>=2")
        + f'{HEAD}version = "0.3"\ndynamic = ["dependencies"]\n[tool.poetry.dependencies]\nsix = "*"\n',
        "spots/__init__.py": "import six\nanswer = lambda: 11\n",
    },
    "flit": {
        "pyproject.toml": build_system("flit_core.buildapi", "flit_core>=3.2")
        + f'{HEAD}dynamic = ["version", "description"]\ndependencies = ["six"]\n',
        "spots/__init__.py": '"""Spots."""\nimport six\n__version__ = "0.3"\nanswer = lambda: 11\n',
    },
    "uv workspace": {
        "pyproject.toml": build_system("hatchling.build", "hatchling")
        + f'{HEAD}version = "0.3"\ndependencies = ["lines", "six"]\n'
        + '[tool.uv.sources]\nlines = { workspace = true }\n[tool.uv.workspace]\nmembers = ["packages/*"]\n',
        "spots/__init__.py": "import six\nfrom lines import answer\n",
        "packages/lines/pyproject.toml": build_system("hatchling.build", "hatchling")
        + '[project]\nname = "lines"\nversion = "1"\nrequires-python = ">=3.10"\ndependencies = ["six"]\n',
        "packages/lines/lines/__init__.py": "import six\nanswer = lambda: 11\n",
    },
}


def git(folder: Path, *words: str) -> str:
    command = ["git", "-c", "user.name=Somebody", "-c", "user.email=somebody@example.org", *words]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


MESON = {
    "pyproject.toml": build_system("mesonpy", "meson-python>=0.17", "ninja") + DYNAMIC,
    "meson.build": "project('spots', 'c', version: '0.3')\npy = import('python').find_installation(pure: false)\n"
    "py.extension_module('_fast', 'src/fast.c', subdir: 'spots', install: true)\n"
    "py.install_sources('src/spots/__init__.py', subdir: 'spots')\n",
    "src/fast.c": FAST,
    "src/spots/__init__.py": COMPILED,
}


def of_form(project: Project, form: dict[str, str]) -> Project:
    """Return the project with a form's files, and with the index settings of whoever runs the tests."""
    environ = {name: value for name, value in project.environ.items() if not name.startswith("PIP_")}
    for name, text in form.items():
        (project.root / name).parent.mkdir(parents=True, exist_ok=True)
        (project.root / name).write_text(text)
    return dataclasses.replace(project, environ={**environ, **user_settings()})


@pytest.fixture(params=FORMS)
def real(request: pytest.FixtureRequest, project: Project) -> Project:
    """Give a project of each form in a git repository of its own, with one commit and a tag."""
    found = of_form(project, {**FORMS[request.param], ".gitignore": "__pycache__\n"})
    (found.root / "sessions").rmdir()
    git(found.root, "init", "--quiet")
    git(found.root, "add", "--all")
    git(found.root, "commit", "--quiet", "--message", "Begin")
    git(found.root, "tag", "v0.3")
    return found


def test_a_project_goes_from_init_to_a_run_and_nothing_is_written_beside_its_code(real: Project) -> None:
    real.done("init", "--yes")
    locked = real.ozrepro("lock")
    if "Request failed" in locked.stderr or "dns error" in locked.stderr:
        pytest.skip("no package index can be reached")
    assert locked.returncode == 0, locked.stderr
    assert "name = \"six\"" in real.lock("analysis").read_text()
    show = "import spots, importlib.metadata as m; print(spots.answer(), m.version('spots'))"
    ran = real.run("nox", "-s", "analysis", "--", "-c", show)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "11 0.3" in f"{ran.stdout}\n{ran.stderr}".splitlines()
    real.done("lock", "--check")
    assert git(real.root, "status", "--short", "--untracked-files=all").split() == [
        word for path in ("noxfile.py", "sessions/analysis.lock", "sessions/analysis.toml") for word in ("??", path)
    ]
    real.done("add", "analysis", "idna")
    assert 'name = "idna"' in real.lock("analysis").read_text()
    show = "import idna, spots; print(spots.answer())"
    assert real.done("run", "analysis", "--", "python", "-c", show) == "11\n"
    if (real.root / "src" / "fast.c").exists():
        (real.root / "src" / "fast.c").write_text(FAST.replace("11", "33"))
        show = "import spots; print(spots.answer(), spots.__file__)"
        assert real.done("run", "analysis", "--", "python", "-c", show).strip() == f"33 {real.root / 'src/spots/__init__.py'}"
    code = next(path for path in real.root.glob("**/spots/__init__.py") if ".ozrepro" not in path.parts)
    code.write_text(f"{code.read_text()}answer = lambda: 22\n")
    assert real.done("run", "analysis", "--", "python", "-c", "import spots; print(spots.answer())") == "22\n"
    folders = [path for path in (real.root / ".ozrepro").rglob("*") if path.is_dir() and not path.is_symlink()]
    assert all(path.stat().st_mode & 0o200 for path in folders), "an ordinary user cannot remove what is in a closed folder"
    subprocess.run(["rm", "-rf", str(real.root)], check=True)
    assert not real.root.exists()


def test_a_project_of_meson_python_is_built_once_and_follows_its_sources(project: Project) -> None:
    real = of_form(project, MESON)
    real.spec('imports = ["spots"]\n[venv]\npython = ">=3.10"\nrequirements = ["-e ."]\n')
    locked = real.ozrepro("lock")
    if "Request failed" in locked.stderr or "dns error" in locked.stderr:
        pytest.skip("no package index can be reached")
    assert locked.returncode == 0, locked.stderr
    before = sorted(path for path in real.root.rglob("*") if ".ozrepro" not in path.parts)
    show = ("python", "-c", "import importlib.metadata as m, os, spots; print(spots.answer(), m.version('spots'), os.path.realpath(spots.__file__))")
    code = real.root / "src" / "spots" / "__init__.py"
    assert real.done("run", "work", "--", *show) == f"11 0.3 {code}\n"
    code.write_text(f"{code.read_text()}answer = lambda: 22\n")
    assert real.done("run", "work", "--", *show) == f"22 0.3 {code}\n"
    assert sorted(path for path in real.root.rglob("*") if ".ozrepro" not in path.parts) == before
    compiles = real.lock().read_text().partition("compiles = ")[2].splitlines()[0]
    assert "meson.build" in compiles and "src/fast.c" in compiles
