"""The example on real data through real modules, as a user runs it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import BIN, Project
from tests.fake_cluster import Site
from tests.methods.modules.modular import Modular, calls, modular
from tests.python.test_unreachable_index import user_settings

ROOT = Path(__file__).resolve().parents[3]

pytestmark = [pytest.mark.network, pytest.mark.slow]


@pytest.fixture
def example(project: Project, site: Site) -> Modular:
    """Give the repository's example, its module's name that of the site, with the index settings of whoever runs the tests."""
    shutil.rmtree(project.root / "sessions")
    shutil.copytree(ROOT / "sessions", project.root / "sessions")
    shutil.copy(ROOT / "noxfile.py", project.root)
    found = modular(project, site)
    spec = project.root / "sessions" / "analysis.toml"
    text, changed = re.subn(r'"python-scientific/[^"]+"', f'"{found.scientific}"', spec.read_text())
    assert changed == 1, "the example's spec names the bundle"
    spec.write_text(text)
    (project.root / "sessions" / "analysis.lock").unlink()
    environ = {name: value for name, value in found.project.environ.items() if not name.startswith("PIP_")}
    return Modular(Project(project.root, {**environ, **user_settings()}), site)


def _period(project: Project) -> float:
    found = json.loads((project.root / "results" / "analysis.json").read_text())
    return float(found["period_years"])


def test_the_example_of_modules_is_locked_built_and_run_without_lmod_and_network(example: Modular) -> None:
    logged, log = example.logged()
    project = logged.project
    first = project.run("nox", "-s", "analysis")
    if first.returncode != 0 and ("dns error" in first.stderr or "Request failed" in first.stderr):
        pytest.skip("no package index can be reached")
    assert first.returncode == 0, first.stderr
    assert "resolving modules and writing sessions/analysis.lock" in first.stderr
    assert calls(log)
    period = _period(project)

    log.write_text("")
    shutil.rmtree(project.root / "results")
    assert project.run("nox", "-s", "analysis").returncode == 0
    assert calls(log) == []
    Path(project.environ["LMOD_CMD"]).rename(Path(project.environ["LMOD_CMD"]).with_name("renamed"))
    probe = subprocess.run(["unshare", "-rn", "true"], capture_output=True, check=False)
    cut = ["unshare", "-rn"] if probe.returncode == 0 else []
    again = project.run(*cut, str(BIN / "nox"), "-s", "analysis")
    assert again.returncode == 0, again.stderr
    assert _period(project) == period

    venv = project.ozrepro("lock", "analysis", "--method", "venv")
    assert venv.returncode == 0, venv.stderr
    other = project.run("nox", "-s", "analysis", OZREPRO_METHOD="venv")
    assert other.returncode == 0, other.stderr
    assert _period(project) == pytest.approx(period, rel=1e-6)
    said = project.done("diff", "analysis", "modules", "venv")
    assert "numpy" in said
