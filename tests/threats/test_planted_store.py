"""A store that others could write to, and what they would put there: never run, and refused where it cannot be made good."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from ozrepro.faststart.ready import stamp
from ozrepro.methods.reading import load_lock
from ozrepro.pipeline.generations import key_of
from ozrepro.pipeline.session import open_session
from tests.store.running import adopt as restamp
from tests.threats.helpers import MARK, Said, inside, make_project, outside
from tests.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import Project

STRANGER = 12345
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a locked and built project, to be copied."""
    project = make_project(tmp_path_factory.mktemp("original"))
    make_wheel(project.wheelhouse, "alpha")
    project.spec('imports = ["alpha"]\n\n[venv]\nrequirements = ["alpha"]\n')
    project.done("lock", "work")
    project.done("build", "work")
    shutil.rmtree(project.store() / "cache")
    for path in (*(project.store() / "ready").iterdir(), *(project.store() / "projects").iterdir()):
        path.unlink()
    return project.root.parent


@pytest.fixture
def planted(original: Path, tmp_path: Path) -> Project:
    """Give a locked and built project of its own."""
    project = make_project(tmp_path)
    shutil.copytree(original / "wheel house", project.wheelhouse, dirs_exist_ok=True)
    shutil.copytree(original / "a project", project.root, symlinks=True, dirs_exist_ok=True)
    adopt(project)
    assert inside(project, "build", "work").status == 0  # finds what was copied, and writes the record for the next start
    return project


def adopt(project: Project) -> None:
    """Make a copied environment look as if it had been built here, which saves the building: its name, and its card."""
    session = open_session(project.root, "work", project.environ)
    lock = load_lock(project.root, "work")
    section = lock.section("venv", "any") if lock is not None else None
    assert section is not None
    name = next((project.store() / "names").iterdir())
    key = key_of(session, section)
    card = next((project.store() / "gens").iterdir()) / "generation.json"
    card.write_text(card.read_text(encoding="utf-8").replace(name.name, key), encoding="utf-8")
    name.rename(name.with_name(key))
    restamp(project.store())


def record_of(project: Project) -> Path:
    """Return the ready-record of the only start that was prepared."""
    found = list((project.store() / "ready").iterdir())
    assert len(found) == 1
    return found[0]


def poison(project: Project) -> dict[str, Any]:
    """Return a ready-record like the true one, but with a hostile environment."""
    record: dict[str, Any] = json.loads(record_of(project).read_bytes())
    evil = project.root.parent / "evil"
    (evil / "bin").mkdir(parents=True, exist_ok=True)
    program = evil / "bin" / "python"
    program.write_text(f"#!/bin/sh\necho {MARK}\n", encoding="utf-8")
    program.chmod(0o755)
    record["environment"] |= {"path": [str(evil / "bin")], "variables": {"LD_PRELOAD": "x.so"}, "prefix": ["/bin/echo", MARK]}
    return record


def run(project: Project) -> Said:
    """Start a program of the session."""
    return outside(project, "run", "work", "--", "python", "-c", "import alpha, os; print('sound', 'LD_PRELOAD' in os.environ)")


@pytest.mark.parametrize("name", ["", "ready", "names", "gens", "owners", "locks", "trash", "projects"])
def test_a_store_that_everybody_may_write_to_is_refused(planted: Project, name: str) -> None:
    folder = planted.store() / name if name else planted.store()
    if name in ("", "ready", "names", "gens"):  # what a start reads
        record_of(planted).write_text(json.dumps(poison(planted)), encoding="utf-8")
    else:
        record_of(planted).unlink()
    folder.chmod(0o777)
    said = run(planted)
    said.refused(str(folder), "everybody", "chmod o-w", statuses=(1,))
    assert MARK not in said.output
    assert inside(planted, "build", "work", "--rebuild").status == 1


@AS_ROOT
@pytest.mark.parametrize("name", ["", "ready", "names", "gens"])
def test_a_store_of_another_user_is_refused(planted: Project, name: str) -> None:
    folder = planted.store() / name if name else planted.store()
    record_of(planted).write_text(json.dumps(poison(planted)), encoding="utf-8")
    os.chown(folder, STRANGER, STRANGER)
    said = run(planted)
    said.refused(str(folder), f"uid {STRANGER}", "OZREPRO_STORE", statuses=(1,))
    assert MARK not in said.output


def _world_writable(record: Path, evil: str) -> None:
    record.write_text(evil, encoding="utf-8")
    record.chmod(0o666)


def _link(record: Path, evil: str) -> None:
    elsewhere = record.parent.parent.parent.parent / "record"
    elsewhere.write_text(evil, encoding="utf-8")
    record.unlink()
    record.symlink_to(elsewhere)


def _fifo(record: Path, evil: str) -> None:
    record.unlink()
    record.mkdir()


def _owned(record: Path, evil: str) -> None:
    record.write_text(evil, encoding="utf-8")
    os.chown(record, STRANGER, STRANGER)


RECORDS: dict[str, Callable[[Path, str], None]] = {"world-writable": _world_writable, "link": _link, "directory": _fifo}


@pytest.mark.parametrize("kind", RECORDS)
def test_a_planted_record_is_not_believed(planted: Project, kind: str) -> None:
    RECORDS[kind](record_of(planted), json.dumps(poison(planted)))
    said = run(planted)
    assert (said.status, said.output) == (0, "sound False\n"), said.errors


@AS_ROOT
def test_a_record_of_another_user_is_not_believed(planted: Project) -> None:
    _owned(record_of(planted), json.dumps(poison(planted)))
    said = run(planted)
    assert (said.status, said.output) == (0, "sound False\n"), said.errors


@pytest.mark.parametrize(
    "content",
    [
        "",
        "null",
        "[]",
        "{}",
        "[" * 100_000,
        '{"schema": 1}',
        '{"schema": 1, "key": "../../x"}',
        '{"schema": 1, "key": "a\\u0000b"}',
    ],
    ids=["empty", "null", "array", "object", "deep", "bare", "path", "nul"],
)
def test_a_damaged_record_costs_only_time(planted: Project, content: str) -> None:
    record_of(planted).write_text(content, encoding="utf-8")
    said = run(planted)
    assert (said.status, said.output) == (0, "sound False\n"), said.errors


def elsewhere(project: Project) -> Path:
    """Make something outside the store that looks like a published generation, with a program that tells on itself."""
    true = next((project.store() / "gens").iterdir())
    fake = project.root.parent / "outside"
    shutil.copytree(true, fake, symlinks=True)
    for path in (fake, fake / "env", fake / "env" / "bin"):
        path.chmod(0o755)
    (fake / "env" / "bin" / "python").unlink()
    (fake / "env" / "bin" / "python").write_text(f"#!/bin/sh\necho {MARK}\n", encoding="utf-8")
    (fake / "env" / "bin" / "python").chmod(0o755)
    return fake


@pytest.mark.parametrize("target", ["{outside}", "../../../outside", "../gens/..", "/", "../gens/missing", ".", "../gens/linked"])
def test_a_name_that_points_elsewhere_is_not_followed(planted: Project, target: str) -> None:
    """What it names is built anew; the planted thing stays as it is and is never run."""
    fake = elsewhere(planted)
    (planted.store() / "gens" / "linked").symlink_to(fake)
    name = next(path for path in (planted.store() / "names").iterdir())
    name.unlink()
    name.symlink_to(target.format(outside=fake))
    record = json.loads(record_of(planted).read_bytes())
    record_of(planted).unlink()
    said = run(planted)
    assert said.output == "sound False\n", said.errors
    assert MARK not in said.errors
    assert (fake / "env" / "bin" / "python").read_text(encoding="utf-8").endswith(f"echo {MARK}\n")
    assert name.resolve().parent == (planted.store() / "gens").resolve()
    assert record["key"] == name.name


def test_a_record_that_names_another_place_is_not_believed(planted: Project) -> None:
    fake = elsewhere(planted)
    record = json.loads(record_of(planted).read_bytes())
    record |= {"link": f"../gens/../../../{fake.name}", "made": stamp(os.lstat(fake))}
    record["environment"]["path"] = [str(fake / "env" / "bin")]
    record_of(planted).write_text(json.dumps(record), encoding="utf-8")
    link = planted.store() / "names" / record["key"]
    link.unlink()
    link.symlink_to(record["link"])
    said = run(planted)
    assert (said.status, said.output) == (0, "sound False\n"), said.errors


def test_a_generation_that_everybody_may_write_to_is_not_used(planted: Project) -> None:
    generation = next((planted.store() / "gens").iterdir())
    generation.chmod(0o777)
    said = run(planted)
    assert (said.status, said.output) == (0, "sound False\n"), said.errors
    name = next(path for path in (planted.store() / "names").iterdir())
    assert name.resolve() != generation.resolve()


@AS_ROOT
def test_a_generation_of_another_user_is_not_used(planted: Project) -> None:
    generation = next((planted.store() / "gens").iterdir())
    os.chown(generation, STRANGER, STRANGER)
    said = run(planted)
    assert (said.status, said.output) == (0, "sound False\n"), said.errors
    name = next(path for path in (planted.store() / "names").iterdir())
    assert name.resolve() != generation.resolve()


@pytest.mark.parametrize("content", ["", "[]", "[" * 100_000, '{"schema": 1, "key": "KEY"}', '{"schema": 2, "key": "KEY"}'])
def test_a_damaged_card_is_no_environment(planted: Project, content: str) -> None:
    key = next(path.name for path in (planted.store() / "names").iterdir())
    card = next((planted.store() / "gens").iterdir()) / "generation.json"
    card.write_text(content.replace("KEY", key), encoding="utf-8")
    for words in (("status",), ("store", "list"), ("store", "gc"), ("build", "work")):
        said = inside(planted, *words)
        assert said.status == 0, said.errors
    assert run(planted).output == "sound False\n"


@pytest.mark.parametrize("name", ["names", "gens", "ready", "locks"])
def test_a_planted_link_for_a_folder_of_the_store_is_refused(planted: Project, tmp_path: Path, name: str) -> None:
    (planted.store() / name).rename(tmp_path / "moved")
    (planted.store() / name).symlink_to(tmp_path / "moved")
    record = tmp_path / "moved" if name == "ready" else planted.store() / "ready"
    for path in record.iterdir():
        path.unlink()
    for words in (("build", "work"), ("store", "gc", "--yes"), ("run", "work", "--", "true")):
        inside(planted, *words).refused(str(planted.store() / name), "planted", statuses=(1,))


@pytest.mark.parametrize("way", ["copied", "moved"])
def test_an_environment_that_was_not_built_here_is_not_used(planted: Project, tmp_path: Path, way: str) -> None:
    """One that came with somebody's repository may hold anything, and one that was moved has scripts that do not start."""
    module = next((planted.store() / "gens").glob("*/env/lib/*/site-packages/alpha.py"))
    module.chmod(0o644)
    module.write_text(f"print({MARK!r})\n", encoding="utf-8")
    project = replace(planted, root=tmp_path / "elsewhere" / "a project")
    project.root.parent.mkdir()
    if way == "copied":
        shutil.copytree(planted.root, project.root, symlinks=True)
    else:
        planted.root.rename(project.root)
    said = run(project)
    assert (said.status, said.output) == (0, "sound False\n"), said.errors


@pytest.mark.parametrize("folder", ["project", "sessions"])
@pytest.mark.parametrize("words", [("run", "work", "--", "true"), ("build", "work"), ("status",)], ids=lambda words: words[0])
def test_a_project_that_everybody_may_write_to_is_refused(planted: Project, folder: str, words: tuple[str, ...]) -> None:
    """Anybody could put a session there; whoever means it names the project with --project."""
    path = planted.root / "sessions" if folder == "sessions" else planted.root
    path.chmod(0o777)
    outside(planted, *words).refused(str(planted.root), "everybody", "chmod o-w", statuses=(2,))
    path.chmod(0o1777)
    inside(planted, *words).refused(str(planted.root), "everybody", statuses=(2,))


def test_sessions_of_a_folder_above_that_everybody_may_write_to_are_not_taken(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    project.spec('[venv]\nrequirements = ["alpha"]\n')
    project.root.chmod(0o1777)
    inner = project.root / "mine"
    inner.mkdir()
    done = project.run("sh", "-c", "cd mine && exec ozrepro run work -- true")
    Said(done.returncode, done.stdout, done.stderr).refused(str(project.root), "everybody", statuses=(2,))
