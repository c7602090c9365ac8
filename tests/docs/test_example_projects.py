"""The pages about jobs and the examples that a user copies: run by an ordinary user, in the jobs of a real Slurm."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.example_projects import Cluster
from tests.docs.pages import DOCS, EXAMPLES, SLURM, pages_with

PROJECTS = sorted(path.parent for path in EXAMPLES.glob("*/sessions"))


@pytest.mark.network
@pytest.mark.slow
@pytest.mark.parametrize("page", [pytest.param(page, id=str(page.relative_to(DOCS))) for page in pages_with(SLURM)])
def test_commands_of_pages_about_jobs_print_what_the_pages_show(page: Path, cluster: Cluster) -> None:
    """A reader on a cluster who types a page's commands, or those of an example's README, sees what it shows."""
    wrong = cluster.play(page)
    assert not wrong, "\n\n".join(wrong)


@pytest.mark.parametrize("project", [pytest.param(path, id=path.name) for path in PROJECTS])
def test_an_example_says_how_it_is_run_and_brings_its_locks(project: Path) -> None:
    assert project / "README.md" in pages_with(SLURM)
    for spec in (project / "sessions").glob("*.toml"):
        assert spec.with_suffix(".lock").is_file(), "a fresh clone builds from the lock, and resolves nothing"
