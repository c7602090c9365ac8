"""A package index for the documentation's examples, looked for once, and the test site for those that load modules."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.docs.running import BIN, reader
from tests.site.fixtures import site

__all__ = ["index", "site"]


@pytest.fixture(scope="session")
def index(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Give a reader's variables with which a package index can be reached; skip where none can.

    Tried first with the index settings in this process's variables alone, then with the configuration files of its home too.
    """
    folder = tmp_path_factory.mktemp("docs")
    plain = reader(folder / "home", folder / "uv")
    (folder / "home").mkdir()
    (folder / "sessions").mkdir()
    (folder / "sessions" / "probe.toml").write_text('[venv]\nrequirements = ["six"]\n', encoding="utf-8")
    config = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    said = ""
    for environ in (plain, {**plain, "XDG_CONFIG_HOME": config}):
        quick = {**environ, "UV_HTTP_TIMEOUT": "10", "UV_HTTP_RETRIES": "0"}
        done = subprocess.run([BIN / "ozrepro", "lock"], cwd=folder, env=quick, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return environ
        said = done.stderr
    pytest.skip(f"no package index can be reached: {said}")
