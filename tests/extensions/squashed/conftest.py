"""An ozrepro that has the plug-in's distribution beside it, and a project of a user of it."""

from __future__ import annotations

import os
import shutil
import site as sites
import subprocess
import venv
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import Project

HERE = Path(__file__).parent
POINTS = "[ozrepro.methods]\nsquashed = ozrepro_squashed:METHOD\n[ozrepro.formats]\nnames = ozrepro_squashed:NAMES\n"


@dataclass(frozen=True)
class Extended:
    """A project, and the Python of an installation that has ozrepro and the plug-in."""

    project: Project
    python: Path

    def ozrepro(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run `ozrepro` with these words."""
        return self.project.run(str(self.python), "-m", "ozrepro", *words, **more)

    def done(self, *words: str, **more: str) -> str:
        """Run `ozrepro`, insist that it succeeds, and return what it printed."""
        return succeeded(self.ozrepro(*words, **more))


def succeeded(finished: subprocess.CompletedProcess[str]) -> str:
    """Insist that a program succeeded, and return what it printed."""
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def install_plugin(folder: Path) -> Path:
    """Return the Python of a new virtual environment that has what the tests' own has, and the plug-in's distribution."""
    venv.EnvBuilder(symlinks=True).create(folder)
    packages = next(folder.glob("lib/python3*/site-packages"))
    shutil.copy(HERE / "ozrepro_squashed.py", packages)
    info = packages / "ozrepro_squashed-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ozrepro-squashed\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(POINTS)
    own = [path for path in sites.getsitepackages() if os.path.isdir(path)]
    (packages / "own.pth").write_text("".join(f"import site; site.addsitedir({path!r})\n" for path in own))
    return folder / "bin" / "python"


@pytest.fixture
def extended(small: Project, tmp_path: Path) -> Extended:
    """Give the small project with a session of the plug-in's method."""
    small.spec('imports = ["alpha"]\n[squashed]\nrequirements = ["alpha"]\n')
    return Extended(small, install_plugin(tmp_path / "installed"))
