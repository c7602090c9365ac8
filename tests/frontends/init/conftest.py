"""A real virtual environment with tiny packages."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import BIN, Project
from tests.fake_cluster.fixtures import private_site, site

__all__ = ["private_site", "site", "venv"]


@pytest.fixture
def venv(project: Project, tmp_path: Path) -> Callable[..., dict[str, str]]:
    """Give a function that makes an environment with packages of the wheelhouse and returns the variables of one in whom it is active."""

    def made(
        *words: str, system: bool = False, python: str = sys.executable, environ: dict[str, str] | None = None
    ) -> dict[str, str]:
        where = tmp_path / "an environment"
        variables = {**project.environ, **(environ or {})}
        more = ["--system-site-packages"] if system else []
        _run([str(BIN / "uv"), "venv", "-q", "--python", python, *more, str(where)], variables)
        if words:
            find = ["--no-index", "--find-links", str(project.wheelhouse)]
            _run([str(BIN / "uv"), "pip", "install", "-q", "--python", str(where / "bin" / "python"), *find, *words], variables)
        return {**variables, "VIRTUAL_ENV": str(where), "PATH": f"{where / 'bin'}:{variables['PATH']}"}

    return made


def _run(command: list[str], environ: dict[str, str]) -> None:
    kept = {name: value for name, value in environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(command, env={**kept, "UV_PYTHON_DOWNLOADS": "never"}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
