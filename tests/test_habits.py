"""The files that contributors and CI services read agree with the project."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from ozrepro.project.toml import loads

ROOT = Path(__file__).parents[1]
PROJECT = loads((ROOT / "pyproject.toml").read_text())["project"]


def read_yaml(name: str) -> Any:
    return import_module("yaml").safe_load((ROOT / name).read_text(encoding="utf-8"))


def parts() -> set[str]:
    """Return the parts that .ci/run knows: the labels of its choice."""
    return set(re.findall(r"^([a-z]+)\)$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE))


def sessions() -> set[str]:
    return set(re.findall(r"^@nox\.session.*\ndef (\w+)", (ROOT / "noxfile.py").read_text(), re.MULTILINE))


def test_the_github_workflow_runs_every_part_of_ci_run_and_sessions_that_exist() -> None:
    jobs = read_yaml(".github/workflows/ci.yml")["jobs"]
    scripts = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert ".ci/run ${{ matrix.part }}" in scripts
    assert {*jobs["part"]["strategy"]["matrix"]["part"], "site"} == parts()
    assert ".ci/run site" in scripts
    assert set(jobs["session"]["strategy"]["matrix"]["session"]) <= sessions()


def test_the_gitlab_pipeline_runs_every_part_of_ci_run_and_sessions_that_exist() -> None:
    jobs = read_yaml(".gitlab-ci.yml")
    assert {*jobs["part"]["parallel"]["matrix"][0]["PART"], "site"} == parts()
    assert jobs["part"]["script"] == '.ci/run "$PART"'
    assert jobs["site"]["script"] == ".ci/run site"
    assert set(jobs["session"]["parallel"]["matrix"][0]["SESSION"]) <= sessions()


@pytest.mark.parametrize("name", [".github/dependabot.yml", ".pre-commit-config.yaml", "CITATION.cff"])
def test_a_file_for_a_service_is_a_mapping(name: str) -> None:
    assert isinstance(read_yaml(name), dict)


@pytest.mark.parametrize("path", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("[!c]*.yml")), ids=lambda path: path.name)
def test_an_issue_form_has_what_github_asks_for(path: Path) -> None:
    form: dict[str, Any] = import_module("yaml").safe_load(path.read_text(encoding="utf-8"))
    assert {"name", "description", "body"} <= set(form)
    identifiers = [item["id"] for item in form["body"] if item["type"] != "markdown"]
    assert len(identifiers) == len(set(identifiers)) > 0


def test_the_citation_has_the_version_and_licence_of_the_package() -> None:
    citation = read_yaml("CITATION.cff")
    assert (citation["title"], citation["version"], citation["license"]) == (
        PROJECT["name"],
        PROJECT["version"],
        PROJECT["license"],
    )


def test_the_contributors_page_names_folders_and_files_that_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = [name for name in re.findall(r"`((?:ozrepro|tests|docs|\.github)/[\w./-]+)`", text) if "NAME" not in name]
    assert len(named) > 10
    assert [name for name in named if not (ROOT / name).exists()] == []
    rooms = {path.parent.name for path in (ROOT / "ozrepro").glob("*/__init__.py")}
    assert [room for room in sorted(rooms) if f"`ozrepro/{room}/`" not in text] == []
    assert all(f"`{part}`" in text for part in parts())


def test_the_next_release_s_notes_are_short_enough_to_be_read() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    unreleased = text.partition("## [Unreleased]")[2].partition("\n## ")[0]
    lines = [line for line in unreleased.splitlines() if line.strip()]
    assert 0 < len(lines) <= 40
