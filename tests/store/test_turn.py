"""Tickets, where locks do not serve: who holds one, when it is over, and that a wrong judgement harms nobody."""

from __future__ import annotations

import os
import select
import subprocess
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ozrepro.errors import BuildError, NodeError, StoreError
from ozrepro.site import Mount
from ozrepro.store import Store, turn
from ozrepro.store.owner import Owner, myself
from ozrepro.store.turn import flock_is_shared, wait_turn
from tests.store.driver import key_of

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = key_of("one")
POLL = (0.005, 0.02)


@pytest.fixture
def tickets(folder: Path) -> Store:
    """Give an open store that works with tickets only."""
    return Store(folder, locks="ticket", patience=60.0, lease=120.0, poll=POLL).open()


def take(store: Store, say: Callable[[str], None] = print) -> bool:
    """Take a turn and give it back; return whether it was given to build."""
    with wait_turn(store, KEY, lambda: False, say) as mine:
        return mine


def ticket(store: Store) -> Path:
    return store.folder / "locks" / f"{KEY}.ticket"


def leave(store: Store, owner: Owner) -> Path:
    """Leave a ticket and its beat as a killed holder does."""
    ticket(store).symlink_to(owner.record())
    beat = store.folder / "locks" / f"{owner.token}.beat"
    beat.touch()
    return beat


def a_dead_process() -> Owner:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    return replace(myself(), pid=str(process.pid), start="1", job="")


ELSEWHERE = replace(myself(), host="another-node", pid="4711", job="")


@pytest.mark.parametrize("locks", ["auto", "flock", "ticket"])
def test_a_turn_is_given_to_one_and_leaves_nothing_but_the_lock_file(folder: Path, locks: str) -> None:
    store = Store(folder, locks=locks, patience=0.05, poll=POLL).open()
    with wait_turn(store, KEY, lambda: False, print) as mine:
        assert mine
        with pytest.raises(StoreError, match=rf"waited 0 s for process {os.getpid()} on "):
            take(store)
    assert take(store)
    assert os.listdir(folder / "locks") == ([] if locks == "ticket" else [f"{KEY}.flock"])


@pytest.mark.parametrize("locks", ["flock", "ticket"])
def test_a_process_that_finds_the_name_published_gets_no_turn(folder: Path, locks: str) -> None:
    store = Store(folder, locks=locks).open()
    with wait_turn(store, KEY, lambda: True, print) as mine:
        assert not mine
    answers = iter([False, True])
    with wait_turn(store, KEY, lambda: next(answers), print) as mine:
        assert not mine
    assert not [name for name in os.listdir(folder / "locks") if not name.endswith(".flock")]


def test_the_ticket_of_a_dead_process_of_this_host_is_broken_without_waiting_for_its_lease(tickets: Store) -> None:
    leave(tickets, a_dead_process())
    assert take(tickets)
    assert os.listdir(tickets.folder / "locks") == []


def test_an_empty_ticket_is_broken(tickets: Store) -> None:
    ticket(tickets).symlink_to("nonsense")
    assert take(tickets)
    assert os.listdir(tickets.folder / "locks") == []


def test_the_ticket_of_another_host_is_broken_after_a_silent_lease_and_not_before(tickets: Store) -> None:
    leave(tickets, ELSEWHERE)
    with pytest.raises(StoreError, match="for process 4711 on another-node"):
        take(replace(tickets, patience=0.1))
    assert ticket(tickets).is_symlink()
    assert take(replace(tickets, lease=0.1))
    assert os.listdir(tickets.folder / "locks") == []


def test_the_ticket_of_another_host_that_gives_signs_of_life_is_left_alone(tickets: Store) -> None:
    """The sign of life is given at each look of the waiter, by what he asks then: no clock decides this test."""
    beat = leave(tickets, ELSEWHERE)
    stamp = 1

    def published() -> bool:
        nonlocal stamp
        stamp += 1
        os.utime(beat, ns=(stamp, stamp))
        return False

    store = replace(tickets, lease=0.05, patience=0.3)
    with pytest.raises(StoreError, match="for process 4711 on another-node"), wait_turn(store, KEY, published, print):
        raise AssertionError("the turn of a living builder was taken")
    assert stamp > 3
    assert ticket(tickets).is_symlink()


def test_a_clock_that_is_wrong_on_the_server_breaks_no_ticket(tickets: Store) -> None:
    beat = leave(tickets, ELSEWHERE)
    for moment in (1, 2**33 * 10**9):
        os.utime(beat, ns=(moment, moment))
        with pytest.raises(StoreError, match="for process 4711"):
            take(replace(tickets, patience=0.05))


def test_a_holder_gives_signs_of_life_until_he_gives_the_ticket_back(tickets: Store) -> None:
    store = replace(tickets, lease=0.08)
    with wait_turn(store, KEY, lambda: False, print):
        (beat,) = (store.folder / "locks").glob("*.beat")
        for _ in range(3):
            os.utime(beat, ns=(1, 1))
            looks = 0
            while beat.stat().st_mtime_ns == 1:
                looks += 1
                assert looks < 30_000, "no sign of life"
                select.select([], [], [], 0.001)
    assert os.listdir(store.folder / "locks") == []


def test_signs_of_life_of_a_ticket_end_when_it_was_broken(tickets: Store) -> None:
    store = replace(tickets, lease=0.08)
    before = set(threading.enumerate())
    with wait_turn(store, KEY, lambda: False, print):
        (thread,) = set(threading.enumerate()) - before
        (beat,) = (store.folder / "locks").glob("*.beat")
        beat.unlink()
        thread.join(60)
        assert not thread.is_alive()
        assert not beat.exists()


def test_a_ticket_whose_reply_was_lost_on_the_network_is_held(tickets: Store) -> None:
    """On NFS a symlink call may succeed and yet answer "file exists": the ticket is then our own."""
    mine = myself()
    ticket(tickets).symlink_to(mine.record())
    held = turn._Tickets(tickets, KEY, mine)
    assert held.take()
    held.release()
    assert os.listdir(tickets.folder / "locks") == []


def test_a_living_ticket_that_took_the_judged_ones_place_is_put_back(tickets: Store) -> None:
    leave(tickets, ELSEWHERE)
    waiter = turn._Tickets(tickets, KEY, myself())
    waiter._break(a_dead_process().record())
    assert os.readlink(ticket(tickets)) == ELSEWHERE.record()
    assert not list((tickets.folder / "locks").glob("*.broken"))


def test_a_process_that_lost_its_ticket_leaves_the_next_holder_s_alone(tickets: Store) -> None:
    with wait_turn(tickets, KEY, lambda: False, print):
        ticket(tickets).unlink()
        leave(tickets, ELSEWHERE)
    assert os.readlink(ticket(tickets)) == ELSEWHERE.record()


def test_slurms_controller_is_not_asked_at_every_look(tickets: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    squeue = tmp_path / "bin" / "squeue"
    squeue.parent.mkdir()
    squeue.write_text('#!/bin/sh\necho "$@" >> "$0.asked"\necho 77 COMPLETED 0\n')
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", str(squeue.parent), prepend=os.pathsep)
    leave(tickets, replace(ELSEWHERE, job="77"))
    with pytest.raises(StoreError, match="for process 4711 on another-node, Slurm job 77"):
        take(replace(tickets, patience=0.1))
    assert not (tmp_path / "bin" / "squeue.asked").exists()
    assert take(replace(tickets, lease=40.0 * POLL[1]))
    assert len((tmp_path / "bin" / "squeue.asked").read_text().splitlines()) == 1


@pytest.mark.parametrize("locks", ["flock", "ticket"])
def test_a_failure_is_told_to_waiting_processes_and_not_to_later_ones(
    folder: Path, monkeypatch: pytest.MonkeyPatch, locks: str
) -> None:
    store = Store(folder, locks=locks, poll=POLL, patience=60.0).open()
    waits, told = threading.Event(), list[BaseException]()

    def wait() -> None:
        try:
            take(store, lambda _: waits.set())
        except BuildError as error:
            told.append(error)

    thread = threading.Thread(target=wait)

    def build_and_fail() -> None:
        with wait_turn(store, KEY, lambda: False, print):
            thread.start()
            assert waits.wait(60)
            raise ValueError("odd \udcff bytes")

    monkeypatch.setattr(turn, "FIRST_WORD", 0.0)
    with pytest.raises(ValueError, match="odd"):
        build_and_fail()
    thread.join(60)
    assert [str(error) for error in told] == ["the build that this process waited for failed: odd \\udcff bytes"]
    assert take(store)
    assert take(store)
    assert not [name for name in os.listdir(folder / "locks") if not name.endswith(".flock")]


@pytest.mark.parametrize("locks", ["flock", "ticket"])
def test_a_failure_of_one_machine_alone_leaves_the_build_to_a_waiting_process(
    folder: Path, monkeypatch: pytest.MonkeyPatch, locks: str
) -> None:
    store = Store(folder, locks=locks, poll=POLL, patience=60.0).open()
    waits, turns = threading.Event(), list[bool]()
    thread = threading.Thread(target=lambda: turns.append(take(store, lambda _: waits.set())))

    def fail() -> None:
        with wait_turn(store, KEY, lambda: False, print):
            thread.start()
            assert waits.wait(60)
            raise NodeError("no file can be locked here")

    monkeypatch.setattr(turn, "FIRST_WORD", 0.0)
    with pytest.raises(NodeError, match="locked here"):
        fail()
    thread.join(60)
    assert turns == [True]


def test_a_waiting_process_says_for_whom_it_waits_first_soon_and_then_seldom(
    tickets: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(tickets, ELSEWHERE)
    monkeypatch.setattr(turn, "FIRST_WORD", 0.05)
    said: list[str] = []
    with pytest.raises(StoreError, match="waited"):
        take(replace(tickets, patience=0.3), said.append)
    assert len(said) == 1
    assert said[0].startswith("waiting for process 4711 on another-node, who builds this environment (0 s)")


@pytest.mark.parametrize(
    ("kind", "options", "shared"),
    [
        ("ext4", "rw", True),
        ("nfs4", "rw,local_lock=none", True),
        ("lustre", "rw,flock", True),
        ("lustre", "rw,localflock", False),
        ("lustre", "rw,flock,localflock", False),
        ("lustre", "rw,noflock", False),
        ("lustre", "rw", False),
    ],
)
def test_only_a_lustre_mount_with_flock_is_trusted_to_lock_for_all_nodes(
    folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str, options: str, shared: bool
) -> None:
    """There is no Lustre here: what its mount would look like is given."""
    monkeypatch.setattr(turn, "mount_of", lambda _: Mount("/", kind, frozenset(options.split(","))))
    assert flock_is_shared(Store(folder)) is shared
    assert flock_is_shared(Store(folder, locks="flock"))
    assert not flock_is_shared(Store(folder, locks="ticket"))
