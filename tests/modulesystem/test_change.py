"""The change that modules make: found by two probes, replayed without the tool."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ozrepro.modulesystem.change import Change, PathChange, change_between, from_table, replay, second_base
from ozrepro.modulesystem.reading import Reading
from ozrepro.toml import dumps, loads

_NAMES = st.from_regex(r"[A-Z][A-Z0-9]{0,6}", fullmatch=True)
_TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
_FOLDERS = st.lists(st.from_regex(r"/[a-z ]{1,6}", fullmatch=True), max_size=3, unique=True).map(tuple)
_PATHS = st.builds(PathChange, _FOLDERS, _FOLDERS, st.sampled_from([":", ";"]))
_CHANGES = st.builds(
    Change,
    st.dictionaries(_NAMES, _TEXT, max_size=3),
    st.dictionaries(_NAMES, st.lists(_TEXT, min_size=2, max_size=3).map(tuple), max_size=2),
    st.dictionaries(_NAMES, _PATHS, max_size=3),
    st.lists(_NAMES, max_size=2, unique=True).map(sorted).map(tuple),
    st.lists(_NAMES, max_size=2, unique=True).map(sorted).map(tuple),
    st.dictionaries(_NAMES, _TEXT, max_size=2),
)


@given(_CHANGES)
def test_a_change_goes_through_the_lock_unchanged(change: Change) -> None:
    assert from_table(loads(dumps(change.as_table()))) == change


@given(_FOLDERS, _FOLDERS, st.lists(st.from_regex(r"/[a-z ]{1,6}", fullmatch=True), max_size=4, unique=True))
def test_replaying_a_path_twice_changes_nothing_more(prepend: tuple[str, ...], append: tuple[str, ...], base: list[str]) -> None:
    change = PathChange(prepend, tuple(entry for entry in append if entry not in prepend))
    once = change.apply(":".join(base))
    assert change.apply(once) == once
    assert [entry for entry in once.split(":") if entry in base and entry not in (*prepend, *append)] == [
        entry for entry in base if entry not in (*prepend, *append)
    ]


def probe(base: dict[str, str], values: dict[str, str]) -> Reading:
    return Reading(values, frozenset(), True)


def test_values_that_follow_the_home_are_kept_by_their_parts_and_others_that_differ_are_flagged() -> None:
    first = {"HOME": "/ozrepro/home/one", "PATH": "/usr/bin"}
    one = Reading({"FIXED": "1", "CACHE": "/ozrepro/home/one/.cache", "JOB": "a", "ONLY": "1"}, frozenset({"GONE"}), True)
    second = second_base(first, one)
    two = Reading({"FIXED": "1", "CACHE": "/ozrepro/home/two/.cache", "JOB": "b"}, frozenset({"GONE"}), True)
    change = change_between(first, one, second, two)
    assert change.variables == {"FIXED": "1"}
    assert change.homely == {"CACHE": ("", "/.cache")}
    assert change.dynamic == ("JOB", "ONLY")
    assert change.removed == ("GONE",)
    assert replay(change, {"HOME": "/home/me", "GONE": "x", "JOB": "mine"}) == {
        "HOME": "/home/me",
        "FIXED": "1",
        "CACHE": "/home/me/.cache",
    }
