"""The Python of loaded modules: which one it is, and what a venv on it finds outside itself."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ozrepro.environment import BASE_PATH
from ozrepro.errors import BuildError
from ozrepro.python import compiled, install, interpreter
from ozrepro.python import installed as base

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ozrepro.python.installed import Distribution
    from ozrepro.python.interpreter import Interpreter
    from ozrepro.python.uv import Uv


@dataclass(frozen=True, slots=True)
class Toolchain:
    """A toolchain's Python and what a venv on it finds outside itself.

    `folders` are where it looks, `outside` the distributions there, `hidden` those that the interpreter has and the venv is not
    shown.
    """

    python: Interpreter
    folders: tuple[str, ...]
    outside: Mapping[str, Distribution]
    hidden: Mapping[str, Distribution]


def find_python(folders: Iterable[str]) -> str | None:
    """Return the first python3 or python in folders that modules have put into PATH, never the system's own."""
    for folder in folders:
        if folder not in BASE_PATH:
            for name in ("python3", "python"):
                path = os.path.join(folder, name)
                if os.path.isfile(path) and os.access(path, os.X_OK):
                    return path
    return None


def within(uv: Uv, variables: Mapping[str, str]) -> Uv:
    """Return a uv that starts programs with the modules' variables; its own settings win."""
    return replace(uv, variables=compiled.building_variables(uv, variables))


def look(path: str, uv: Uv, variables: Mapping[str, str], *, system_site_packages: bool) -> Toolchain:
    """Return what the Python at `path` is and brings, as an empty venv on it tells. Raises BuildError, CommandFailed.

    A venv without `--system-site-packages` still sees what modules put into PYTHONPATH, so it is asked, not guessed.
    """
    python = interpreter.ask(path, variables)
    if python is None:
        raise BuildError(
            "the modules' Python does not run, or is not CPython", where=path, hint=f"{path} --version, with them loaded"
        )
    with tempfile.TemporaryDirectory(prefix="ozrepro-") as name:
        prefix = Path(os.path.realpath(name)) / "env"
        install.make_venv(within(uv, variables), python, prefix, system_site_packages=system_site_packages)
        found = base.search_path(str(prefix / "bin" / "python"), {**variables, "PYTHONNOUSERSITE": "1"})
        folders = tuple(folder for folder in found if not folder.startswith(f"{prefix}/"))
    own = base.distributions([str(Path(python.path).parent.parent / "lib" / f"python{python.minor}" / "site-packages")])
    there = base.distributions(folders)
    return Toolchain(python, folders, there, {name: item for name, item in own.items() if name not in there})
