"""The example on real data through conda packages, and what happens where another method comes first."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import BIN, Project
from tests.fake_cluster import Site
from tests.fake_cluster.channel import Channel
from tests.methods.modules.modular import Modular, modular
from tests.python.test_unreachable_index import user_settings

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def example(project: Project, site: Site, channel: Channel) -> Modular:
    """Give the repository's example without its lock, on the test site, for a user whose channels are the test's."""
    shutil.rmtree(project.root / "sessions")
    shutil.copytree(ROOT / "sessions", project.root / "sessions")
    shutil.copy(ROOT / "noxfile.py", project.root)
    (project.root / "sessions" / "analysis.lock").unlink()
    found = modular(project, site)
    spec = project.root / "sessions" / "analysis.toml"
    text, changed = re.subn(r'"python-scientific/[^"]+"', f'"{found.scientific}"', spec.read_text())
    assert changed == 1, "the example's spec names the bundle"
    spec.write_text(text)
    environ = {name: value for name, value in found.project.environ.items() if not name.startswith("PIP_")}
    more = {**user_settings(), "CONDA_CHANNEL_ALIAS": channel.alias}
    return Modular(dataclasses.replace(found.project, environ={**environ, **more}), site)


def _period(project: Project) -> float:
    found = json.loads((project.root / "results" / "analysis.json").read_text())
    return float(found["period_years"])


@pytest.mark.network
@pytest.mark.slow
def test_the_example_of_conda_is_locked_built_and_run_again_without_network(example: Modular) -> None:
    project = example.project
    first = project.run("nox", "-s", "analysis", OZREPRO_METHOD="conda")
    assert first.returncode == 0, first.stderr
    assert "writing sessions/analysis.lock" in first.stderr
    period = _period(project)
    shutil.rmtree(project.root / "results")

    probe = subprocess.run(["unshare", "-rn", "true"], capture_output=True, check=False)
    cut = ["unshare", "-rn"] if probe.returncode == 0 else []
    away = "https://unreachable.invalid"
    again = project.run(*cut, str(BIN / "nox"), "-s", "analysis", OZREPRO_METHOD="conda", CONDA_CHANNEL_ALIAS=away)
    assert again.returncode == 0, again.stderr
    assert _period(project) == period

    modules = project.ozrepro("lock", "analysis", "--method", "modules")
    if modules.returncode != 0 and ("dns error" in modules.stderr or "Request failed" in modules.stderr):
        pytest.skip("no package index can be reached")
    assert modules.returncode == 0, modules.stderr
    other = project.run("nox", "-s", "analysis", OZREPRO_METHOD="modules")
    assert other.returncode == 0, other.stderr
    assert _period(project) == pytest.approx(period, rel=1e-6)


def test_modules_that_are_absent_give_way_to_conda_in_one_line(example: Modular) -> None:
    project = example.project
    project.spec(
        'methods = ["modules", "conda"]\n\n[modules]\nload = ["not-there/1.0"]\n\n[conda]\ndependencies = ["noarch-tool"]\n'
    )
    (project.root / "noxfile.py").write_text(
        "import ozrepro\n\n@ozrepro.session\ndef work(session):\n    session.run('python', '-c', 'import noarch_tool')\n"
    )
    done = project.run("nox", "-s", "work")
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "skipping " in line]
    assert "skipping modules: " in line
    assert "not-there/1.0" in line


def test_with_no_method_possible_each_reason_is_told_and_nox_tells_the_same(example: Modular) -> None:
    project = example.project
    project.spec('methods = ["modules", "container"]\n\n[modules]\nload = ["not-there/1.0"]\n\n[container]\nimage = "base.sif"\n')
    (project.root / "noxfile.py").write_text(
        "import ozrepro\n\n@ozrepro.session\ndef work(session):\n    session.run('python', '-c', 'pass')\n"
    )
    locked = project.ozrepro("lock", "work")
    assert locked.returncode == 4, locked.stderr
    reasons = [line for line in locked.stderr.splitlines() if line.startswith(("  modules: ", "  container: "))]
    assert len(reasons) == 2
    done = project.run("nox", "-s", "work")
    assert done.returncode == 1
    for reason in reasons:
        assert reason in done.stderr
