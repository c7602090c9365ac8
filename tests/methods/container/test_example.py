"""The example on real data in an image that real Apptainer builds, as an ordinary user."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path

import pytest

from tests.fake_cluster.containers import Containers
from tests.fake_cluster.fixtures import OrdinaryProject, account, containers, ordinary, registry, user_programs
from tests.fake_cluster.registry import Registry
from tests.python.test_unreachable_index import user_settings

__all__ = ["account", "containers", "ordinary", "registry", "user_programs"]

ROOT = Path(__file__).resolve().parents[3]
IMAGE = ("library/python", "3.11-slim-bookworm")
"""What the example's definition is built on."""

pytestmark = [pytest.mark.network, pytest.mark.slow]


@pytest.fixture
def example(ordinary: OrdinaryProject, containers: Containers, registry: Registry) -> OrdinaryProject:
    """Give the repository's example without its lock, for a user whose Docker Hub is the tests' registry."""
    registry.push(containers.layout, containers.index, *IMAGE)
    shutil.rmtree(ordinary.root / "sessions")
    shutil.copytree(ROOT / "sessions", ordinary.root / "sessions")
    shutil.copy(ROOT / "noxfile.py", ordinary.root)
    (ordinary.root / "sessions" / "analysis.lock").unlink()
    ordinary.write("pyproject.toml", f'[tool.ozrepro.registries]\n"docker.io" = "http://{registry.address}"\n')
    ordinary.account.give(ordinary.root)
    environ = {name: value for name, value in ordinary.environ.items() if not name.startswith("PIP_")}
    return dataclasses.replace(ordinary, environ={**environ, **_readable(user_settings())})


def _readable(settings: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in settings.items() if not value.startswith("/") or os.path.exists(value)}


def _period(project: OrdinaryProject) -> float:
    found = json.loads((project.root / "results" / "analysis.json").read_text())
    return float(found["period_years"])


def test_the_example_of_a_container_is_locked_built_and_run_again_without_network(example: OrdinaryProject) -> None:
    first = example.run("nox", "-s", "analysis", OZREPRO_METHOD="container")
    if first.returncode != 0 and ("dns error" in first.stderr or "Name or service not known" in first.stderr):
        pytest.skip("no package index can be reached")
    assert first.returncode == 0, first.stderr
    assert "resolving container and writing sessions/analysis.lock" in first.stderr
    lock = (example.root / "sessions" / "analysis.lock").read_text()
    assert 'from = "docker.io/library/python:3.11-slim-bookworm", digest = "sha256:' in lock
    assert '{ name = "numpy", version = "1.26.4"' in lock
    assert "127.0.0.1" not in lock
    period = _period(example)
    shutil.rmtree(example.root / "results")

    again = example.offline.run("nox", "-s", "analysis", OZREPRO_METHOD="container")
    assert again.returncode == 0, again.stderr
    assert _period(example) == period
    shutil.rmtree(example.root / "results")

    example.done("lock", "analysis", "--method", "venv")
    other = example.run("nox", "-s", "analysis", OZREPRO_METHOD="venv")
    assert other.returncode == 0, other.stderr
    assert _period(example) == pytest.approx(period, rel=1e-6)
    assert not (example.home / ".local").exists()
