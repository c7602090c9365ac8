"""The project's state in git, by a real git."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from ozrepro.errors import CommandFailed
from ozrepro.pipeline.records.record import Git
from ozrepro.pipeline.records.revision import state_of
from tests.sealed import system_path

NAMES = {f"GIT_{who}_{what}": "t" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """Give a caller with an empty home."""
    (tmp_path / "home").mkdir()
    return {"PATH": system_path(), "HOME": str(tmp_path / "home"), **NAMES}


@pytest.fixture
def root(tmp_path: Path, environ: dict[str, str]) -> Path:
    """Give a project in git, with a commit."""
    root = tmp_path / "a project"
    (root / "sub" / "sessions").mkdir(parents=True)
    for name in ("fit.py", "sub/fit.py", "sub/sessions/fit.toml"):
        (root / name).write_text("1\n")
    (root / ".gitignore").write_text("*.png\n")
    git(root, environ, "init", "-q")
    git(root, environ, "add", ".")
    git(root, environ, "commit", "-qm", "one")
    return root


def git(root: Path, environ: dict[str, str], *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=root, env=environ, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_clean_project_has_its_commit_and_no_changes(root: Path, environ: dict[str, str]) -> None:
    commit = git(root, environ, "rev-parse", "HEAD")
    (root / "notes.txt").write_text("not in git, and not run\n")
    assert state_of(root, ["fit.py", "none.py"], environ) == Git(commit, ())


def test_changed_added_renamed_and_removed_files_are_named_and_so_is_what_was_run_and_is_not_in_git(
    root: Path, environ: dict[str, str]
) -> None:
    (root / "fit.py").write_text("2\n")
    git(root, environ, "mv", "sub/fit.py", "sub/a b\né.py")
    (root / "sub" / "sessions" / "fit.toml").unlink()
    (root / "new.py").write_text("new\n")
    (root / "added.py").write_text("new\n")
    git(root, environ, "add", "added.py")
    (root / "plot.png").write_text("ignored\n")
    state = state_of(root, ["new.py", "fit.py", "plot.png", "sub"], environ)
    assert state is not None
    assert state.dirty == ("added.py", "fit.py", "new.py", "sub/a b\né.py", "sub/fit.py", "sub/sessions/fit.toml")


def test_a_project_below_the_repository_names_paths_from_where_it_is(root: Path, environ: dict[str, str]) -> None:
    (root / "fit.py").write_text("2\n")
    (root / "sub" / "sessions" / "fit.toml").write_text("2\n")
    state = state_of(root / "sub", ["fit.py"], environ)
    assert state is not None
    assert state.dirty == ("../fit.py", "sessions/fit.toml")


def test_of_many_changed_files_a_hundred_are_named_and_the_others_counted(root: Path, environ: dict[str, str]) -> None:
    for number in range(130):
        (root / f"{number}.txt").write_text("1\n")
    git(root, environ, "add", ".")
    state = state_of(root, [], environ)
    assert state is not None
    assert (len(state.dirty), state.more) == (100, 30)


def test_without_git_a_repository_or_a_commit_there_is_no_state(root: Path, environ: dict[str, str], tmp_path: Path) -> None:
    assert state_of(tmp_path / "home", [], environ) is None
    assert state_of(root, [], {**environ, "PATH": "/nowhere"}) is None
    git(tmp_path / "home", environ, "init", "-q")
    assert state_of(tmp_path / "home", [], environ) is None


def test_variables_that_name_another_repository_are_not_followed(root: Path, environ: dict[str, str], tmp_path: Path) -> None:
    commit = git(root, environ, "rev-parse", "HEAD")
    elsewhere = {**environ, "GIT_DIR": str(tmp_path / "other"), "GIT_WORK_TREE": str(tmp_path), "GIT_INDEX_FILE": "/none"}
    assert state_of(root, [], elsewhere) == Git(commit, ())


def test_asking_changes_no_file_and_starts_nothing_that_the_repository_names(root: Path, environ: dict[str, str]) -> None:
    planted = root / "planted"
    git(root, environ, "config", "core.fsmonitor", f"touch '{planted}'; false")
    os.utime(root / "fit.py", (1, 1))  # git would note in its index that the content is the same
    before = {path: path.stat().st_mtime_ns for path in (root / ".git").rglob("*")}
    assert state_of(root, ["fit.py"], environ) is not None
    assert not planted.exists()
    assert {path: path.stat().st_mtime_ns for path in (root / ".git").rglob("*")} == before


def test_a_repository_that_git_refuses_is_an_error(root: Path, environ: dict[str, str]) -> None:
    (root / ".git" / "HEAD").write_text("nonsense\n")
    with pytest.raises(CommandFailed, match="asking git for the revision"):
        state_of(root, [], environ)
