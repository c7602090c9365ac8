"""This repository's own locks, as a clone has them."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.conftest import Project
from tests.python.test_unreachable_index import user_settings

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def clone(project: Project) -> Project:
    """Give the repository's sessions with their committed locks, and with the index settings of whoever runs the tests."""
    shutil.rmtree(project.root / "sessions")
    shutil.copytree(ROOT / "sessions", project.root / "sessions")
    for name in ("noxfile.py", "pyproject.toml"):
        shutil.copy(ROOT / name, project.root)
    environ = {name: value for name, value in project.environ.items() if not name.startswith("PIP_")}
    return Project(project.root, {**environ, **user_settings()})


def test_each_session_of_this_repository_has_a_lock_that_answers_its_description(clone: Project) -> None:
    checked = clone.ozrepro("lock", "--check", CI="true")
    assert checked.returncode == 0, checked.stderr
    names = [line.partition(": lock is up to date")[0] for line in checked.stdout.splitlines()]
    assert names == sorted(path.stem for path in (clone.root / "sessions").glob("*.toml"))


@pytest.mark.network
@pytest.mark.slow
def test_the_ci_script_of_the_docs_passes_on_this_repository(clone: Project) -> None:
    page = (ROOT / "docs" / "how-to" / "ci-and-slurm.md").read_text()
    (script,) = re.findall(r"```sh\n# ci\.sh\n(.*?)```", page, re.DOTALL)
    (clone.root / "ci.sh").write_text(script.replace("--check hello", "--check").replace("-s hello", "-s analysis"))
    done = clone.run("bash", "ci.sh", CI="true")
    if done.returncode != 0 and ("dns error" in done.stderr or "Request failed" in done.stderr):
        pytest.skip("no package index can be reached")
    assert done.returncode == 0, done.stderr
    assert "Session analysis was successful" in done.stderr
    assert (clone.root / "results" / "analysis.json").is_file()
