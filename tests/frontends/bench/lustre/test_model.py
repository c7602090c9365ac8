"""Which requests a client sends: each rule, and what holds for any program."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ozrepro.frontends.bench.lustre.model import KINDS, QUIET, Client, Totals, requests
from ozrepro.frontends.bench.lustre.trace import Event
from tests.frontends.bench.lustre.events import FILES, events

A, B = "/fs/a", "/fs/a/b.py"


def client() -> Client:
    return Client(("/fs",))


def sent(*done: Event, on: Client | None = None) -> list[str]:
    return [request.kind for request in requests(done, on or client())]


def test_each_part_of_a_path_is_looked_up_once_and_its_size_glimpsed() -> None:
    assert sent(Event("stat", B, size=9), Event("stat", B, size=9)) == ["lookup", "lookup", "glimpse"]


def test_what_stands_above_the_root_costs_nothing() -> None:
    assert sent(Event("dir", "/fs"), Event("dir", "/"), Event("dir", "/other/x")) == []


def test_an_open_and_its_close_are_asked_for_each_time() -> None:
    assert sent(*[Event("open", B), Event("close", B)] * 2) == ["lookup", "lookup", "open", "close", "open", "close"]


def test_the_mounted_folder_is_opened_without_asking_and_another_is_not() -> None:
    assert sent(Event("opendir", "/fs"), Event("readdir", "/fs"), Event("close", "/fs")) == ["readdir"]
    assert sent(Event("opendir", A), Event("readdir", A), Event("readdir", A), Event("close", A)) == [
        "lookup",
        "open",
        "readdir",
        "close",
    ]


def test_a_file_that_is_open_at_the_end_of_a_trace_is_closed() -> None:
    assert sent(Event("open", A)) == ["lookup", "open", "close"]


def test_an_executed_program_counts_as_read() -> None:
    assert sent(Event("exec", A), Event("close", A)) == ["lookup", "open", "glimpse", "enqueue", "read", "close"]


def test_a_close_of_another_copy_of_a_descriptor_sends_nothing() -> None:
    assert sent(Event("open", A), Event("close", A), Event("close", A)) == ["lookup", "open", "close"]


def test_from_the_fifth_open_on_the_client_has_a_lock() -> None:
    cache = client()
    runs = [sent(Event("open", A), Event("close", A), on=cache) for _ in range(7)]
    assert runs == [["lookup", "open", "close"], *[["open", "close"]] * 3, ["open"], [], []]


def test_open_locks_can_be_switched_off() -> None:
    cache = Client(("/fs",), replace(QUIET, open_lock_after=0))
    runs = [sent(Event("open", A), Event("close", A), on=cache) for _ in range(7)]
    assert runs[-1] == ["open", "close"]


def test_a_missing_name_is_asked_for_again_unless_its_folder_was_looked_at() -> None:
    gone = Event("missing", "/fs/a/none", found=False)
    assert sent(Event("access", B), gone, gone) == ["lookup", "lookup", "miss", "miss"]
    assert sent(Event("dir", A), gone, gone) == ["lookup", "miss"]
    assert sent(Event("opendir", A), Event("readdir", A), gone, gone, Event("close", A)) == [
        "lookup",
        "open",
        "readdir",
        "miss",
        "close",
    ]


def test_nothing_is_asked_below_a_missing_folder() -> None:
    below = [Event("missing", f"/fs/none/{name}", found=False) for name in "abc"]
    assert sent(Event("dir", "/fs"), *below) == ["miss"]


def test_a_link_is_asked_where_it_leads_once() -> None:
    assert sent(Event("link", A), Event("link", A)) == ["lookup", "lookup"]


def test_a_small_file_is_read_whole_at_its_first_read() -> None:
    found = requests(
        [Event("stat", A, size=9000), Event("open", A), Event("read", A, size=10), Event("read", A, size=10)], client()
    )
    assert [(item.kind, item.bytes) for item in found if item.server == "ost"] == [("glimpse", 0), ("enqueue", 0), ("read", 9000)]


def test_a_large_file_is_read_in_parts_as_far_as_it_is_wanted() -> None:
    size = 10 << 20
    start = [Event("stat", A, size=size), Event("open", A)]
    part = 4 << 20
    assert [item.bytes for item in requests([*start, Event("read", A, size=5 << 20)], client()) if item.kind == "read"] == [
        part,
        part,
    ]
    assert [item.bytes for item in requests([*start, Event("map", A, size=size + 4000)], client()) if item.kind == "read"] == [
        part,
        part,
        2 << 20,
    ]


@pytest.mark.parametrize("known", [(), (Event("stat", A, size=10 << 20),)])
def test_what_one_program_has_read_the_next_one_finds_in_memory(known: tuple[Event, ...]) -> None:
    cache = client()
    done = [*known, Event("open", A), Event("read", A, size=3 << 20), Event("read", A, size=2 << 20), Event("close", A)]
    assert sent(*done, on=cache).count("read") == 2
    assert sent(*done, on=cache).count("read") == 0
    assert sent(Event("open", A), Event("read", A, size=9 << 20), on=cache).count("read") == 1


def test_totals_count_by_kind_and_come_back_from_their_table() -> None:
    totals = Totals.of(requests([Event("stat", A, size=5), Event("open", A), Event("read", A, size=5)], client()))
    assert totals == Totals(lookups=1, opens=1, closes=1, glimpses=1, enqueues=1, reads=1, bytes=5)
    assert (totals.mds, totals.ost) == (3, 3)
    assert Totals.from_dict(totals.as_dict()) == totals
    assert set(totals.as_dict()) == {*KINDS, "bytes"}


@given(events)
def test_a_second_run_on_the_same_client_never_sends_more_of_anything(done: list[Event]) -> None:
    cache = client()
    first, second = (Totals.of(requests(done, cache)).as_dict() for _ in range(2))
    assert all(second[kind] <= first[kind] for kind in first)
    assert second["lookup"] == second["glimpse"] == second["enqueue"] == second["readdir"] == second["read"] == 0


@given(events)
def test_each_open_is_closed_unless_a_lock_spares_it(done: list[Event]) -> None:
    totals = Totals.of(requests(done, Client(("/fs",), replace(QUIET, open_lock_after=0))))
    assert totals.opens == totals.closes


@given(st.data(), st.lists(events, min_size=2, max_size=3))
def test_the_order_of_events_of_independent_files_does_not_matter(data: st.DataObject, parts: list[list[Event]]) -> None:
    # Each part has a tree of its own; they are interleaved in two ways.
    moved = [
        [replace(event, path=event.path.replace("/fs", f"/fs/{number}")) for event in part] for number, part in enumerate(parts)
    ]
    one_by_one = [event for part in moved for event in part]
    turns = data.draw(st.permutations([number for number, part in enumerate(moved) for _ in part]))
    left = [iter(part) for part in moved]
    mixed = [next(left[number]) for number in turns]
    assert Totals.of(requests(mixed, client())) == Totals.of(requests(one_by_one, client()))


@pytest.mark.parametrize("kind", ["stat", "open", "read", "map", "close", "exec"])
def test_any_file_event_alone_is_served(kind: str) -> None:
    found = requests([Event(kind, FILES[0], size=1)], client())
    assert all(KINDS[item.kind] == item.server for item in found)
