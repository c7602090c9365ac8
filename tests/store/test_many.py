"""Many processes want the same environment at once."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.store import noflock
from tests.store.driver import key_of
from tests.store.running import (
    Outcome,
    children_of,
    done,
    entries,
    finish,
    finish_all,
    hear,
    published,
    run,
    start,
    wait_for_end,
)

if TYPE_CHECKING:
    from tests.store.running import Pipe

pytestmark = pytest.mark.slow

FILES = 200
MISSING = ("ENOSYS", "EOPNOTSUPP", "ENOLCK")
needs_filter = pytest.mark.skipif(bool(noflock.why_not()), reason=noflock.why_not() or "it works")


def without_flock(name: str) -> list[str]:
    return [sys.executable, str(Path(noflock.__file__)), name]


def assert_one_publication(folder: Path, outcomes: list[Outcome]) -> None:
    """All got the same whole environment, one of them built it, and nothing else is left in the store."""
    assert [outcome.said for outcome in outcomes if outcome.status != 0] == []
    assert len({outcome.generation for outcome in outcomes}) == 1
    assert sum(outcome.built for outcome in outcomes) == 1
    generation = published(folder, FILES)
    assert generation is not None
    assert entries(folder, "gens") == [generation.folder.name] == [outcomes[0].generation]
    assert entries(folder, "names") == [key_of("one")]
    assert entries(folder, "owners") == entries(folder, "trash") == []
    assert set(entries(folder, "locks")) <= {f"{key_of('one')}.flock"}


def test_sixty_four_processes_build_once_and_all_succeed(folder: Path, tmp_path: Path) -> None:
    log = tmp_path / "builds"
    outcomes = finish_all([start(folder, "--log", str(log)) for _ in range(64)])
    assert len(log.read_text().splitlines()) == 1
    assert_one_publication(folder, outcomes)


@needs_filter
@pytest.mark.parametrize("error", MISSING)
def test_processes_without_flock_publish_once_and_all_succeed(folder: Path, tmp_path: Path, error: str) -> None:
    log = tmp_path / "builds"
    before = without_flock(error)
    outcomes = finish_all([start(folder, "--log", str(log), before=before) for _ in range(20)])
    assert len(log.read_text().splitlines()) == 1
    assert_one_publication(folder, outcomes)


@needs_filter
@pytest.mark.parametrize("error", MISSING)
def test_a_node_without_flock_builds_in_a_store_that_nodes_with_flock_use(folder: Path, error: str) -> None:
    """Its empty lock file must not be taken for a holder's mark, as filelock's silent fallback does."""
    done(folder)
    assert entries(folder, "locks") == [f"{key_of('one')}.flock"]
    assert done(folder, "--rebuild", "--patience", "20", before=without_flock(error)).built
    assert done(folder, "--rebuild", "--patience", "20").built


@needs_filter
@pytest.mark.parametrize("error", MISSING)
def test_the_stand_in_for_a_node_without_flock_takes_flock_away(tmp_path: Path, error: str) -> None:
    words = "import fcntl, sys\ntry: fcntl.flock(0, fcntl.LOCK_EX)\nexcept OSError as error: sys.exit(error.errno)"
    with open(tmp_path / "file", "wb+") as stream:
        pid = os.posix_spawn(
            sys.executable,
            [*without_flock(error), sys.executable, "-c", words],
            dict(os.environ),
            file_actions=[(os.POSIX_SPAWN_DUP2, stream.fileno(), 0)],
        )
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == getattr(errno, error)


def test_two_nodes_with_local_locks_publish_once_and_the_surplus_build_is_discarded(
    two_mounts: tuple[Path, Path], log: Pipe, gate: Pipe
) -> None:
    """Each node's lock lets one builder in; both are held at the gate, so that two builds run side by side."""
    for mount in two_mounts:
        (mount / "file").touch()
    with open(two_mounts[0] / "file", "rb+") as one, open(two_mounts[1] / "file", "rb+") as other:
        fcntl.flock(one, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pytest.skip("these mounts share their locks")
    words = ("--log", str(log.path), "--gate", str(gate.path), "--locks", "flock")
    drivers = [start(mount / "store", *words) for _ in range(8) for mount in two_mounts]
    assert len({log.line(), log.line()}) == 2
    gate.let(2)
    outcomes = finish_all(drivers)
    assert log.is_empty()
    assert_one_publication(two_mounts[0] / "store", outcomes)


@pytest.mark.parametrize("locks", ["auto", "ticket"])
def test_waiters_say_whom_they_wait_for_and_get_his_error_and_a_later_run_starts_fresh(
    folder: Path, log: Pipe, gate: Pipe, locks: str
) -> None:
    words = ("--log", str(log.path), "--gate", str(gate.path), "--locks", locks, "--first-word", "0")
    builder = start(folder, "--fail", *words)
    pid = log.line()
    waiters = [start(folder, "--fail", *words) for _ in range(6)]
    for waiter in waiters:
        line = hear(waiter, "waiting for")
        assert line.startswith(f"waiting for process {pid} on {socket.gethostname()}, who builds this environment")
    gate.let(1)
    first, *others = finish_all([builder, *waiters])
    assert log.is_empty(), "a waiter repeated the failing build"
    assert first.status == 1
    assert "error: this build was told to fail" in first.said
    for outcome in others:
        assert outcome.status == 1
        assert "error: the build that this process waited for failed: this build was told to fail" in outcome.said
    # Told once, by the builder: those who come from now on are not concerned.
    assert (folder / "locks" / f"{key_of('one')}.failed").read_text() == "this build was told to fail"
    assert entries(folder, "gens") == entries(folder, "names") == entries(folder, "owners") == entries(folder, "trash") == []

    gate.let(1)
    assert done(folder, *words).built
    assert log.line()
    assert not [name for name in entries(folder, "locks") if not name.endswith(".flock")]


def test_a_waiter_takes_over_from_a_builder_who_was_killed(folder: Path, log: Pipe, gate: Pipe) -> None:
    words = ("--log", str(log.path), "--gate", str(gate.path), "--first-word", "0")
    builder = start(folder, *words)
    log.line()
    waiter = start(folder, *words)
    hear(waiter, "waiting for")
    builder.kill()
    assert finish(builder).status == -signal.SIGKILL
    assert log.line()
    gate.let(1)
    outcome = finish(waiter)
    assert (outcome.status, outcome.built) == (0, True)
    assert entries(folder, "gens") == [outcome.generation], "what the dead builder left is still there"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("installer", [(), ("--installer",)], ids=["own process", "child process"])
@pytest.mark.parametrize("locks", ["auto", "ticket"])
def test_an_interrupt_during_a_build_leaves_nothing(
    folder: Path, log: Pipe, gate: Pipe, installer: tuple[str, ...], locks: str, number: signal.Signals
) -> None:
    words = ("--log", str(log.path), "--gate", str(gate.path), "--locks", locks)
    builder = start(folder, *words, *installer)
    pid = int(log.line())
    children = children_of(builder.pid)
    assert (pid in children) == bool(installer)
    builder.send_signal(number)
    assert finish(builder).status == (-number if number == signal.SIGINT else 128 + number)
    wait_for_end(children)
    for part in ("gens", "names", "owners", "trash"):
        assert entries(folder, part) == []
    assert set(entries(folder, "locks")) <= {f"{key_of('one')}.flock"}
    gate.let(1)
    assert done(folder, *words).built


def test_a_waiter_gives_up_after_its_patience_and_says_for_whom_it_waited(folder: Path, log: Pipe, gate: Pipe) -> None:
    words = ("--log", str(log.path), "--gate", str(gate.path))
    builder = start(folder, *words)
    pid = log.line()
    outcome = run(folder, *words, "--patience", "0.01")
    assert outcome.status == 1
    assert f"s for process {pid} on {socket.gethostname()}" in outcome.said
    gate.let(1)
    assert finish(builder).status == 0


def test_a_rebuild_replaces_the_name_and_leaves_the_old_generation_alone(folder: Path) -> None:
    old = done(folder).generation
    outcome = done(folder, "--rebuild")
    assert outcome.built
    assert outcome.generation != old
    assert entries(folder, "gens") == sorted([str(old), str(outcome.generation)])
    assert done(folder).generation == outcome.generation


@pytest.mark.parametrize("how", ["folder gone", "card gone", "card damaged", "card of another key"])
def test_a_name_that_names_nothing_whole_is_replaced(folder: Path, how: str) -> None:
    old = done(folder).generation
    generation = folder / "gens" / str(old)
    card = generation / "generation.json"
    if how == "folder gone":
        generation.rename(folder / "trash" / "gone")
    elif how == "card gone":
        card.unlink()
    elif how == "card damaged":
        card.write_bytes(card.read_bytes()[:20])
    else:
        card.write_text(card.read_text().replace(key_of("one"), key_of("two")))
    outcome = done(folder)
    assert outcome.built
    assert outcome.generation != old
    assert not done(folder).built
