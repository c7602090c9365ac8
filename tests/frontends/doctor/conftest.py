"""A home and a project to be examined, and a folder on PATH for programs that print what real ones print."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from ozrepro.frontends.doctor.surroundings import Surroundings, surroundings
from ozrepro.methods.reading import load_settings
from tests.fake_cluster.fixtures import site
from tests.sealed import system_path

__all__ = ["site"]


@dataclass(frozen=True)
class Patient:
    """A home with a project outside it, examined with the caller's variables."""

    home: Path
    root: Path
    bin: Path
    environ: dict[str, str]

    def place(self, **more: str) -> Surroundings:
        """Return the surroundings, with more variables."""
        environ = {**self.environ, **more}
        return surroundings(load_settings(self.root, environ), environ)

    def given(self, **more: str) -> Patient:
        """Return the same patient with more variables."""
        return replace(self, environ={**self.environ, **more})

    def plant(self, name: str, text: str = "") -> Path:
        """Write a file in the home."""
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def program(self, name: str, says: str, *, status: int = 0, errors: str = "", log: Path | None = None) -> Path:
        """Put a program on PATH that prints a text as the real one does, and writes down how it was called."""
        path = self.bin / name
        noted = f'printf "%s\\n" "$*" >>{shlex.quote(str(log))}\n' if log else ""
        path.write_text(
            f"#!/bin/sh\n{noted}cat <<'END'\n{says}\nEND\nprintf %s {shlex.quote(errors)} >&2\nexit {status}\n", encoding="utf-8"
        )
        path.chmod(0o755)
        return path


@pytest.fixture
def patient(tmp_path: Path) -> Patient:
    """Give a clean home and a project outside it."""
    home, root, tools = tmp_path / "home", tmp_path / "a project", tmp_path / "bin"
    for folder in (home, root / "sessions", tools):
        folder.mkdir(parents=True)
    environ = {"HOME": str(home), "PATH": f"{tools}:{system_path()}", "LANG": "C.UTF-8", "USER": "reader"}
    return Patient(home, root, tools, environ)
