"""A lock from someone else's repository: refused by every command, by the key's name, before anything is fetched or run."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from ozrepro.project.toml import loads
from ozrepro.store.writing import remove_tree
from tests.calls import counted_calls
from tests.conftest import BIN
from tests.needs import UNPACKS
from tests.threats.helpers import Said, inside, make_project, outside
from tests.threats.locks import ALL, Hostile, edited
from tests.wheels import make_sdist, make_wheel

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Project

COMMANDS = (("build", "work"), ("run", "work", "--", "true"), ("export", "work", "--format", "requirements"))


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, str]:
    """Give a locked project that was never built, and the text of its good lock."""
    project = make_project(tmp_path_factory.mktemp("locked"))
    make_wheel(project.wheelhouse, "alpha", "0.9", requires=("beta>=1",))
    make_wheel(project.wheelhouse, "alpha", "1.0", requires=("beta>=1",))
    make_wheel(project.wheelhouse, "beta", "1.5")
    project.spec('imports = ["alpha"]\n\n[venv]\npython = ">=3.10"\nrequirements = ["alpha>=1"]\n')
    project.done("lock", "work")
    # Sections of methods that are not used here are read with the rest of the file.
    text = project.lock().read_text(encoding="utf-8") + f'\n[container.linux-64]\nspec = "sha256:{"0" * 64}"\n'
    return project, text


def test_the_corpus_of_hostile_locks_is_large_enough() -> None:
    names = [hostile.name for hostile in ALL]
    assert len(names) == len(set(names))
    assert len(names) >= 150


@pytest.mark.parametrize("hostile", ALL, ids=str)
def test_a_hostile_lock_is_refused_by_name(locked: tuple[Project, str], hostile: Hostile) -> None:
    project, good = locked
    project.lock().write_bytes(hostile.make(good))
    remove_tree(project.store() / "gens")  # left by a version that took an earlier one
    for words in COMMANDS:
        with counted_calls() as calls:
            said = inside(project, *words)
        said.refused("sessions/work.lock", *hostile.words)
        assert said.output == ""
        assert calls.count < 5_000_000  # 1.5 million at most, for 20,000 packages that are all wrong
    assert not (project.store() / "gens").exists()


@pytest.mark.parametrize(
    "name", ["no-toml", "sha256-missing", "session-escapes", "pass-preload", "source-archive", "nested-arrays", "url-variable"]
)
def test_the_command_line_refuses_a_hostile_lock(locked: tuple[Project, str], name: str) -> None:
    project, good = locked
    hostile = next(item for item in ALL if item.name == name)
    project.lock().write_bytes(hostile.make(good))
    remove_tree(project.store() / "gens")
    for words in (*COMMANDS, ("diff", "work"), ("verify", "work"), ("lock", "work", "--check")):
        outside(project, *words).refused(*hostile.words)
    assert not (project.store() / "gens").exists()


def test_status_tells_of_a_hostile_lock_and_ends_with_3(locked: tuple[Project, str]) -> None:
    project, good = locked
    for hostile in ALL[::7]:
        project.lock().write_bytes(hostile.make(good))
        for words in (("status",), ("status", "--json")):
            said = inside(project, *words)
            said.refused(*hostile.words)
            assert "\x1b" not in said.output


@pytest.mark.parametrize("name", ["no-toml", "name-newline", "sha256-missing", "invalid-utf-8", "marker-parentheses"])
def test_comparing_with_a_hostile_lock_is_refused(locked: tuple[Project, str], tmp_path: Path, name: str) -> None:
    project, good = locked
    project.lock().write_text(good, encoding="utf-8")
    other = tmp_path / "other.lock"
    other.write_bytes(next(item for item in ALL if item.name == name).make(good))
    inside(project, "diff", "work", str(other)).refused("other.lock")


def test_the_unchanged_lock_is_taken_in_any_order(locked: tuple[Project, str]) -> None:
    project, good = locked
    turned = edited(good, lambda lock: lock["venv"]["any"]["package"].reverse())
    for text in (good, turned):
        assert [entry["name"] for entry in loads(text)["venv"]["any"]["package"]] in (["alpha", "beta"], ["beta", "alpha"])
        project.lock().write_text(text, encoding="utf-8")
        said = inside(project, "export", "work", "--format", "requirements")
        assert said.status == 0, said.errors
        assert said.output.count("--hash=sha256:") == 2


def test_locking_again_replaces_a_refused_lock(locked: tuple[Project, str]) -> None:
    """The refusal says `try: ozrepro lock`: that must not call a lock unchanged which no build would take."""
    project, good = locked
    for name in ("sha256-missing", "pass-preload", "source-archive", "unknown-section-key"):
        project.lock().write_bytes(next(item for item in ALL if item.name == name).make(good))
        said = inside(project, "lock", "work")
        assert said.status == 0, said.errors
        assert loads(project.lock().read_text(encoding="utf-8"))["venv"]["any"] == loads(good)["venv"]["any"]
        project.lock().write_text(good, encoding="utf-8")


@UNPACKS
def test_an_sdist_smuggled_into_the_lock_runs_no_code(tmp_path: Path) -> None:
    """The archive is there, its hash is right, and the spec's digest too: only the spec's `build` may have it compiled."""
    project = make_project(tmp_path)
    make_wheel(project.wheelhouse, "gamma")
    make_wheel(project.wheelhouse, "helper-tool")
    make_sdist(project.wheelhouse, "gamma")
    project.spec('[venv]\nrequirements = ["gamma"]\nbuild = ["gamma"]\n')
    project.done("lock", "work")
    compiled = loads(project.lock().read_text(encoding="utf-8"))
    project.spec('[venv]\nrequirements = ["gamma"]\n')
    project.lock().unlink()
    project.done("lock", "work")

    def smuggle(lock: dict[str, dict[str, dict[str, object]]]) -> None:
        lock["venv"]["any"] |= {key: compiled["venv"]["any"][key] for key in ("package", "build")}

    project.lock().write_text(edited(project.lock().read_text(encoding="utf-8"), smuggle), encoding="utf-8")
    for words in COMMANDS:
        outside(project, *words).refused("venv.any.package[0].files[0].name", "gamma", "build")
    assert not (project.store() / "gens").exists()


def test_no_secret_is_sent_to_an_address_of_the_lock(locked: tuple[Project, str]) -> None:
    """For ${NAME} in an address uv puts the caller's variable: `url-variable` would have sent a password to a stranger."""
    project, good = locked
    hostile = next(item for item in ALL if item.name == "url-variable")
    project.lock().write_bytes(hostile.make(good))
    said = outside(project, "build", "work", HTTPS_PROXY="http://user:canary@127.0.0.1:9")
    said.refused(*hostile.words)
    assert "canary" not in said.errors


@pytest.mark.parametrize("kind", ["directory", "endless", "dangling"])
def test_a_lock_that_is_no_file_is_refused(locked: tuple[Project, str], kind: str) -> None:
    project, good = locked
    project.lock().unlink(missing_ok=True)
    if kind == "directory":
        project.lock().mkdir()
    else:
        os.symlink("/dev/zero" if kind == "endless" else "/nonexistent/lock", project.lock())
    try:
        for words in COMMANDS:
            # The limit is for a version that would read an endless file to its end.
            done = project.run("sh", "-c", f"ulimit -v 3000000; exec '{BIN}/ozrepro' \"$@\"", "sh", *words)
            Said(done.returncode, done.stdout, done.stderr).refused("work.lock")
    finally:
        if kind == "directory":
            project.lock().rmdir()
        else:
            project.lock().unlink()
        project.lock().write_text(good, encoding="utf-8")
