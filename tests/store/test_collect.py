"""What a clean-up takes and what it never takes: judged with real builders and real programs."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ozrepro.errors import StoreError
from ozrepro.faststart.ready import stamp
from ozrepro.store import collect
from ozrepro.store.collect import Leftover, plan, remove
from ozrepro.store.owner import myself
from ozrepro.store.publish import Generation, Recipe, provide, read_generation, verify
from tests.store.driver import fill, key_of
from tests.store.running import clean_up, done, entries, finish, finish_all, start

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ozrepro.store import Store
    from tests.store.running import Pipe

FILES = 12
KEY = key_of("one")
ELSEWHERE = replace(myself(), host="another-node", pid="4711", job="")


def wanted(_key: str, _section: str) -> str:
    return "work in a project"


def unwanted(_key: str, _section: str) -> None:
    return None


def test_what_a_killed_benchmark_left_goes_after_a_day(store: Store) -> None:
    for name in ("bench-0123456789abcdef", "bench-fedcba9876543210"):
        (store.folder / name / "copy-1-1").mkdir(parents=True)
    day = 25 * 3600
    os.utime(store.folder / "bench-0123456789abcdef", (time.time() - day, time.time() - day))
    assert reasons(store) == {"bench-0123456789abcdef": ("was left by a benchmark more than a day ago", True)}
    (leftover,) = plan(store, wanted)
    assert remove(store, leftover)
    assert not (store.folder / "bench-0123456789abcdef").exists()
    assert (store.folder / "bench-fedcba9876543210").exists()


def made(store: Store, key: str = KEY, *, rebuild: bool = False) -> Generation:
    """Publish a generation that holds a real program."""

    def build(prefix: Path) -> None:
        fill(prefix, FILES)
        shutil.copy(shutil.which("cat") or "cat", prefix / "bin" / "cat")

    return provide(store, Recipe(key, {"section": f"section of {key}"}, build), print, rebuild=rebuild)[0]


def reasons(store: Store, wanted: Callable[[str, str], str | None] = wanted) -> dict[str, tuple[str, bool]]:
    """Return what a clean-up says of each path, and whether it removes it."""
    found = plan(store, wanted)
    assert len({item.path for item in found}) == len(found)
    return {str(item.path.relative_to(store.folder)): (item.reason, item.remove) for item in found}


@pytest.fixture(autouse=True)
def _without_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the machine's own Slurm away, if it has one."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("cat", "sh"):
        (programs / name).symlink_to(shutil.which(name) or name)
    monkeypatch.setenv("PATH", str(programs))


@pytest.fixture
def builder(store: Store, log: Pipe, gate: Pipe) -> Iterator[subprocess.Popen[str]]:
    """Give a process that builds and waits in the middle of it."""
    process = start(store.folder, "--log", str(log.path), "--gate", str(gate.path))
    log.line()
    yield process
    process.kill()
    process.communicate()


def slurm(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a `squeue` on PATH that stands in for a cluster."""
    folder.mkdir()
    (folder / "squeue").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


def test_a_clean_up_takes_nothing_where_all_is_wanted(store: Store) -> None:
    made(store)
    assert plan(store, wanted) == []


def test_what_was_built_for_a_store_that_is_renamed_since_goes_although_a_lock_names_it(store: Store) -> None:
    old = made(store)
    renamed = replace(store, folder=store.folder.with_name("renamed"))
    store.folder.rename(renamed.folder)
    assert reasons(renamed) == {f"gens/{old.folder.name}": (f"was built for {store.folder}", True)}
    (leftover,) = plan(renamed, wanted)
    assert remove(renamed, leftover)
    assert entries(renamed.folder, "gens") == entries(renamed.folder, "names") == []


COPIED = "is not as it was published: copied, restored, or its owner or modes were changed since"


def test_in_a_copy_of_a_store_what_was_built_in_the_first_goes_and_there_it_stays(store: Store) -> None:
    old = made(store)
    copy = replace(store, folder=store.folder.with_name("copy"))
    shutil.copytree(store.folder, copy.folder, symlinks=True)
    assert reasons(copy)[f"gens/{old.folder.name}"] == (COPIED, True)
    assert reasons(store) == {}


def test_a_store_that_is_reached_by_another_name_is_in_its_place(store: Store) -> None:
    made(store)
    renamed = replace(store, folder=store.folder.with_name("renamed"))
    store.folder.rename(renamed.folder)
    store.folder.symlink_to(renamed.folder)
    assert reasons(renamed) == reasons(store) == {}


@pytest.mark.parametrize("place", [None, 7, "\0"])
def test_a_card_that_does_not_tell_its_place_is_kept(store: Store, place: object) -> None:
    card = made(store).folder / "generation.json"
    content = json.loads(card.read_bytes())
    del content["store"]
    if place is not None:
        content["store"] = place
    card.write_text(json.dumps(content))
    renamed = replace(store, folder=store.folder.with_name("renamed"))
    store.folder.rename(renamed.folder)
    assert reasons(renamed) == {}


def test_what_runs_from_a_renamed_store_stays(store: Store) -> None:
    old = made(store)
    renamed = replace(store, folder=store.folder.with_name("renamed"))
    store.folder.rename(renamed.folder)
    program = renamed.folder / "gens" / old.folder.name / "env" / "bin" / "cat"
    with subprocess.Popen([program], stdin=subprocess.PIPE) as running:
        why = f"was built for {store.folder}, but a program here runs from it"
        assert reasons(renamed) == {f"gens/{old.folder.name}": (why, False)}
        assert running.stdin is not None
        running.stdin.close()


def test_what_a_dead_builder_left_is_found_and_removed(store: Store, builder: subprocess.Popen[str]) -> None:
    (name,) = entries(store.folder, "gens")
    builder.kill()
    builder.communicate()
    assert reasons(store) == {
        f"gens/{name}": (f"was left unfinished by process {builder.pid} on {socket.gethostname()}", True),
    }
    clean_up(store.folder)
    for part in ("gens", "owners", "trash", "names"):
        assert entries(store.folder, part) == []


def test_a_living_builders_generation_is_never_taken_however_old(
    store: Store, builder: subprocess.Popen[str], gate: Pipe
) -> None:
    (name,) = entries(store.folder, "gens")
    os.utime(store.folder / "gens" / name, (1, 1))
    expected = {f"gens/{name}": (f"is being built by process {builder.pid} on {socket.gethostname()}", False)}
    assert reasons(store) == reasons(store, unwanted) == expected
    clean_up(store.folder)
    gate.let(1)
    outcome = finish(builder)
    assert (outcome.status, outcome.generation) == (0, name)
    assert reasons(store) == {}


def test_what_an_unknown_builder_began_is_left_for_a_day(store: Store) -> None:
    for name, owner in (("111111111111-0e15e3e7", ELSEWHERE), ("222222222222-00000000", None)):
        folder = store.folder / "gens" / name
        folder.mkdir()
        if owner is not None:
            (store.folder / "owners" / name).symlink_to(owner.record())
    assert reasons(store) == {
        "gens/111111111111-0e15e3e7": ("is being built by process 4711 on another-node", False),
        "gens/222222222222-00000000": ("is being built by an unknown process", False),
    }
    for name in entries(store.folder, "gens"):
        os.utime(store.folder / "gens" / name, (1, 1))
    assert reasons(store) == {
        "gens/111111111111-0e15e3e7": ("is unfinished and more than a day old", True),
        "gens/222222222222-00000000": ("is unfinished and more than a day old", True),
    }
    clean_up(store.folder)
    assert entries(store.folder, "gens") == entries(store.folder, "owners") == []


def test_an_environment_that_no_lock_names_is_removed_name_first(store: Store) -> None:
    generation, other = made(store), made(store, key_of("two"))

    def one_only(key: str, section: str) -> str | None:
        assert section == f"section of {key}"
        return None if key == KEY else "work in a project"

    (leftover,) = plan(store, one_only)
    assert leftover == Leftover(generation.folder, "no lock names it", remove=True, key=KEY)
    assert remove(store, leftover)
    assert entries(store.folder, "gens") == [other.folder.name]
    assert entries(store.folder, "names") == [key_of("two")]
    assert entries(store.folder, "trash") == []
    assert made(store).folder != generation.folder


def in_cwd(env: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["cat"], stdin=subprocess.PIPE, cwd=env / "lib")


def as_program(env: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([env / "bin" / "cat"], stdin=subprocess.PIPE)


def as_program_under_another_name(env: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["cat"], executable=env / "bin" / "cat", stdin=subprocess.PIPE)


def in_environ(env: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["cat"], stdin=subprocess.PIPE, env={"PATH": f"{env}/bin:/usr/bin:/bin"})


def in_a_word_of_its_command(env: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sh", "-c", f"read line; exec '{env}/bin/tool'"], stdin=subprocess.PIPE)


def with_an_open_file(env: Path) -> subprocess.Popen[bytes]:
    descriptor = os.open(env / "bin" / "tool", os.O_RDONLY)
    try:
        return subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=[descriptor])
    finally:
        os.close(descriptor)


USES = [in_cwd, as_program, as_program_under_another_name, in_environ, in_a_word_of_its_command, with_an_open_file]


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("replaced", [False, True], ids=["unneeded", "replaced"])
def test_what_a_running_program_uses_is_never_taken(
    store: Store, use: Callable[[Path], subprocess.Popen[bytes]], replaced: bool
) -> None:
    generation = made(store)
    if replaced:
        made(store, rebuild=True)
    with use(generation.prefix) as program:
        (leftover,) = [item for item in plan(store, wanted if replaced else unwanted) if item.path == generation.folder]
        assert not leftover.remove
        assert leftover.reason.endswith("but a program here runs from it")
        # Nor where the program was started after the plan was made.
        assert not remove(store, replace(leftover, remove=True))
        assert verify(generation) == []
        program.kill()
    (leftover,) = [item for item in plan(store, wanted if replaced else unwanted) if item.path == generation.folder]
    assert leftover.remove or not replaced
    clean_up(store.folder)
    assert not generation.folder.exists()


def test_a_store_reached_through_a_link_is_seen_in_use(store: Store, tmp_path: Path) -> None:
    generation = made(store)
    (tmp_path / "link").symlink_to(store.folder)
    through = replace(store, folder=tmp_path / "link")
    for env in (generation.prefix, tmp_path / "link" / "gens" / generation.folder.name / "env"):
        with in_environ(env) as program:
            assert collect.paths_in_use(through.folder / "gens") == {generation.folder.name}
            program.kill()


def test_a_replaced_generation_is_taken_but_not_while_jobs_run(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = made(store), made(store, rebuild=True)
    assert old.folder != new.folder
    assert reasons(store) == {f"gens/{old.folder.name}": ("was replaced by a newer build", True)}

    slurm(tmp_path / "bin", monkeypatch, "echo 77; echo 78")
    assert reasons(store, unwanted) == {
        f"gens/{old.folder.name}": ("was replaced by a newer build, but 2 running jobs of yours may run from it", False),
        f"gens/{new.folder.name}": ("no lock names it, but 2 running jobs of yours may run from it", False),
    }
    slurm(tmp_path / "broken", monkeypatch, "exit 1")
    assert not any(removed for _, removed in reasons(store, unwanted).values())
    assert all("squeue does not answer" in why and "--even-with-jobs" in why for why, _ in reasons(store, unwanted).values())
    assert all(item.remove for item in plan(store, unwanted, even_with_jobs=True))
    slurm(tmp_path / "idle", monkeypatch, "exit 0")
    clean_up(store.folder)
    assert entries(store.folder, "gens") == [new.folder.name]


def test_a_clean_up_empties_the_trash(store: Store) -> None:
    generation = made(store)
    generation.folder.rename(store.folder / "trash" / f"{generation.folder.name}-01234567")
    (store.folder / "trash" / "0123456789ab-01234567-01234567").touch()
    clean_up(store.folder)
    assert entries(store.folder, "trash") == entries(store.folder, "gens") == entries(store.folder, "names") == []


@pytest.mark.parametrize("what", ["dangling link", "file", "folder", "fifo"])
def test_a_name_that_names_nothing_whole_is_taken(store: Store, what: str) -> None:
    plants: dict[str, Callable[[Path], object]] = {
        "dangling link": lambda name: name.symlink_to("../gens/none"),
        "file": Path.touch,
        "folder": Path.mkdir,
        "fifo": os.mkfifo,
    }
    plants[what](store.name(KEY))
    assert reasons(store) == {f"names/{KEY}": ("names nothing whole", True)}
    clean_up(store.folder)
    assert entries(store.folder, "names") == []


def test_a_name_that_was_repaired_since_the_plan_is_left(store: Store) -> None:
    store.name(KEY).symlink_to("../gens/none")
    (leftover,) = plan(store, wanted)
    generation = made(store)
    assert not remove(store, leftover)
    found = read_generation(store, KEY)
    assert found is not None
    assert found.folder == generation.folder


def test_a_name_that_was_given_to_a_newer_build_since_the_plan_is_left(store: Store) -> None:
    old = made(store)
    (leftover,) = plan(store, unwanted)
    new = made(store, rebuild=True)
    assert remove(store, leftover)
    assert entries(store.folder, "gens") == [new.folder.name]
    assert entries(store.folder, "names") == [KEY]
    assert not old.folder.exists()


def test_what_is_published_while_the_plan_is_made_is_left(store: Store) -> None:
    """A plan takes time: here another process publishes in the middle of it, and is gone before its end."""
    made(store)
    meanwhile: list[Generation] = []

    def wanted_slowly(_key: str, _section: str) -> str:
        if not meanwhile:
            meanwhile.append(made(store, key_of("two")))
        return "work in a project"

    assert [item for item in plan(store, wanted_slowly) if item.remove] == []
    assert len(meanwhile) == 1


def test_a_finished_generation_that_was_never_named_is_taken_with_its_record(store: Store) -> None:
    generation = made(store)
    store.name(KEY).unlink()
    dead = replace(myself(), pid="1", start="0")
    (store.folder / "owners" / generation.folder.name).symlink_to(dead.record())
    assert reasons(store) == {
        f"gens/{generation.folder.name}": (f"was left unnamed by {dead.describe()}", True),
    }
    clean_up(store.folder)
    assert entries(store.folder, "gens") == entries(store.folder, "owners") == []


def test_the_record_of_a_builder_who_died_after_he_had_published_is_taken_alone(store: Store) -> None:
    generation = made(store)
    record = store.folder / "owners" / generation.folder.name
    record.symlink_to(replace(myself(), pid="1", start="0").record())
    assert reasons(store) == {f"owners/{generation.folder.name}": ("was left by a killed process", True)}
    clean_up(store.folder)
    assert verify(generation) == []
    assert entries(store.folder, "owners") == []


def test_records_of_owners_without_a_generation_are_taken_when_they_are_dead(store: Store) -> None:
    living, dead, odd, unknown = (f"{number * 12}-01234567" for number in "0123")
    for name, target in ((living, myself().record()), (dead, replace(myself(), start="0").record()), (odd, "nonsense")):
        (store.folder / "owners" / name).symlink_to(target)
    (store.folder / "owners" / unknown).symlink_to(ELSEWHERE.record())
    clean_up(store.folder)
    assert entries(store.folder, "owners") == [living, unknown]
    for path in (store.folder / "owners").iterdir():
        os.utime(path, (1, 1), follow_symlinks=False)
    clean_up(store.folder)
    assert entries(store.folder, "owners") == [living]


def test_what_killed_writers_left_is_taken_after_a_day(store: Store) -> None:
    generation = made(store)
    record = {"link": f"../gens/{generation.folder.name}", "made": stamp(os.lstat(generation.folder))}
    token = "0123456789abcdef"
    (store.folder / "ready" / KEY).write_text(json.dumps(record))
    (store.folder / "ready" / f".{KEY}.01234567").write_text("{")
    (store.folder / "names" / f".{token}").symlink_to("../gens/none")
    for name in (f"{token}.broken", f"{token}.beat", f"{KEY}.failed", f"{KEY}.holder", f".{token}.holder"):
        (store.folder / "locks" / name).touch()
    assert reasons(store) == {}
    for path in (*(store.folder / "ready").iterdir(), *(store.folder / "names").iterdir(), *(store.folder / "locks").iterdir()):
        os.utime(path, (1, 1), follow_symlinks=False)
    clean_up(store.folder)
    assert entries(store.folder, "locks") == [f"{KEY}.flock"]
    assert entries(store.folder, "names") == [KEY]
    assert entries(store.folder, "ready") == [KEY]


@pytest.mark.parametrize("content", ["{", "[]", "null", "{}", '{"link": 5}', '{"link": "../gens/x", "made": [1, 2]}', "[" * 9999])
def test_a_ready_record_of_nothing_is_taken(store: Store, content: str) -> None:
    (store.folder / "ready" / KEY).write_text(content)
    assert reasons(store) == {f"ready/{KEY}": ("is the record of a removed environment", True)}
    clean_up(store.folder)
    assert entries(store.folder, "ready") == []


def test_what_cannot_be_removed_is_an_error_that_names_it(store: Store) -> None:
    with pytest.raises(StoreError, match="cannot remove it") as caught:
        remove(store, Leftover(store.folder / "names" / ("x" * 300), "for the test", remove=True))
    assert "x" * 300 in caught.value.where


@pytest.mark.slow
def test_clean_ups_without_end_disturb_no_builder(store: Store) -> None:
    """While builders publish, rebuild and die, every plan is carried out at once; each builder gets a whole environment."""
    stop, errors = threading.Event(), list[BaseException]()

    def collect_without_end() -> None:
        try:
            while not stop.is_set():
                for leftover in plan(store, wanted):
                    if leftover.remove:
                        remove(store, leftover)
        except BaseException as error:  # noqa: BLE001
            errors.append(error)

    thread = threading.Thread(target=collect_without_end)
    thread.start()
    try:
        for number in range(4):
            key = f"round {number}"
            killed = start(store.folder, "--key", key)
            drivers = [start(store.folder, "--key", key) for _ in range(4)]
            assert killed.stderr is not None
            killed.stderr.readline()
            killed.kill()
            killed.communicate()
            outcomes = finish_all(drivers)
            assert [outcome.said for outcome in outcomes if outcome.status != 0] == []
            assert done(store.folder, "--key", key, "--rebuild").built
    finally:
        stop.set()
        thread.join()
    assert errors == []
    clean_up(store.folder)
    assert len(entries(store.folder, "gens")) == len(entries(store.folder, "names")) == 4
    assert entries(store.folder, "trash") == entries(store.folder, "owners") == []
