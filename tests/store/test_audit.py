"""What `store verify` tells of a store: each damage that a start or a clean-up meets has its line, and a sound store none."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ozrepro.environment import Environment
from ozrepro.faststart.ready import SCHEMA, stamp
from ozrepro.store import audit
from ozrepro.store.publish import Generation, Recipe, provide, read_generation
from tests.store.driver import fill, key_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from ozrepro.store import Store

KEY, DIGEST = key_of("one"), key_of("a start")


@pytest.fixture
def generation(store: Store) -> Generation:
    """Give a published environment."""
    return provide(store, Recipe(KEY, {"section": "x"}, lambda prefix: fill(prefix, 3)), print)[0]


def record(store: Store, generation: Generation, **changed: object) -> Path:
    """Write the record of a start, with some of its fields changed."""
    environment = Environment(path=[str(generation.prefix / "bin")]).as_dict()
    link = f"../gens/{generation.folder.name}"
    said = {"schema": SCHEMA, "key": KEY, "link": link, "made": stamp(os.lstat(generation.folder)), "environment": environment}
    path = store.folder / "ready" / DIGEST
    path.write_text(json.dumps({**said, **changed}), encoding="utf-8")
    return path


def relink(name: Path, target: str) -> None:
    name.unlink()
    name.symlink_to(target)


def replace_by(make: Callable[[Path], object], path: Path) -> None:
    path.unlink()
    make(path)


DAMAGES: dict[str, tuple[Callable[[Path, Path], object], str]] = {
    "an empty card": (lambda _, folder: (folder / "generation.json").write_text(""), "generation.json or env cannot be read"),
    "no card": (lambda _, folder: (folder / "generation.json").unlink(), "generation.json or env cannot be read"),
    "a deep card": (lambda _, folder: (folder / "generation.json").write_text("[" * 100_000), "nested too deep"),
    "a large card": (lambda _, folder: os.truncate(folder / "generation.json", 1 << 40), "is too large"),
    "a card that is a FIFO": (lambda _, folder: replace_by(os.mkfifo, folder / "generation.json"), "is not a regular file"),
    "another's card": (lambda _, folder: (folder / "generation.json").write_text("{}"), "another environment's"),
    "a name of nothing": (lambda name, _: relink(name, "../gens/none"), "the name points to nothing"),
    "a name of elsewhere": (lambda name, _: relink(name, "/etc"), "the name points elsewhere: /etc"),
    "a name above": (lambda name, _: relink(name, "../gens/.."), "the name points elsewhere"),
    "a name that is a file": (lambda name, _: replace_by(Path.touch, name), "the name is not a symlink"),
    "other modes": (lambda _, folder: (folder / "env").chmod(0o755), "is not as it was published"),
    "open to everybody": (lambda _, folder: folder.chmod(0o777), "can be written by everybody"),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_what_no_start_believes_is_told_with_its_reason(store: Store, generation: Generation, what: str) -> None:
    assert audit.environments(store) == {KEY: (generation, [])}
    damage, reason = DAMAGES[what]
    damage(store.name(KEY), generation.folder)
    (found,) = audit.environments(store).items()
    assert found[0] == KEY
    assert found[1][0] is None
    assert reason in found[1][1][0]
    assert read_generation(store, KEY) is None


def test_a_restored_environment_is_told_although_each_file_is_the_same(store: Store, generation: Generation) -> None:
    aside = generation.folder.with_name("aside")
    for folder in (generation.folder, generation.prefix):
        folder.chmod(0o755)
    generation.prefix.rename(aside)
    shutil.copytree(aside, generation.prefix, symlinks=True)
    assert "copied, restored" in audit.environments(store)[KEY][1][0]


RECORDS: dict[str, tuple[dict[str, object], str]] = {
    "of a copy": ({"made": [1, 2]}, "was not made for gens/"),
    "of no binding": ({"made": None}, "was not made for gens/"),
    "of relative paths": ({"environment": Environment(path=["bin"]).as_dict()}, "holds relative paths"),
    "of a relative program": ({"environment": Environment(prefix=["./x"]).as_dict()}, "holds relative paths"),
    "of a preloaded library": ({"environment": Environment(variables={"LD_PRELOAD": "./x.so"}).as_dict()}, "holds relative"),
    "of no environment": ({"environment": {}}, "is damaged"),
    "of no schema": ({"schema": "x"}, "is damaged"),
}


@pytest.mark.parametrize("what", RECORDS)
def test_a_record_in_another_form_than_ozrepro_s_is_told(store: Store, generation: Generation, what: str) -> None:
    changed, reason = RECORDS[what]
    assert audit.records(store) == {}
    path = record(store, generation)
    assert audit.records(store) == {}
    record(store, generation, **changed)
    assert reason in audit.records(store)[path]


def test_a_record_that_is_no_file_of_this_user_is_told(store: Store, generation: Generation) -> None:
    path = record(store, generation)
    path.chmod(0o666)
    assert audit.records(store) == {path: "can be written by everybody"}
    path.unlink()
    path.symlink_to("/etc/passwd")
    assert audit.records(store) == {path: "is not a regular file"}
    path.unlink()
    path.write_text("[" * 100_000, encoding="utf-8")
    assert audit.records(store) == {path: "is damaged"}


def test_a_record_of_an_environment_that_was_replaced_is_sound(store: Store, generation: Generation) -> None:
    record(store, generation)
    provide(store, Recipe(KEY, {"section": "x"}, lambda prefix: fill(prefix, 3)), print, rebuild=True)
    assert audit.records(store) == {}
    record(store, generation, schema=1)
    assert audit.records(store) == {}
