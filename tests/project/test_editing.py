"""Entries put into a TOML file: what a person wrote stays, and a reader finds the entries."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ozrepro.project.editing import Edit, with_entries
from ozrepro.project.requirement import package_in
from ozrepro.project.toml import loads

KEYS = ("modules", "venv", "requirements")


def put(text: str, *entries: str) -> tuple[str, list[Edit]]:
    """Return a text with entries in the array of KEYS."""
    return with_entries(text, KEYS, entries, package_in)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[modules]\nload = ['a/1']\n",
        "modules = { load = ['a/1'] }\n",
        "[modules]\nload = ['a/1']\nvenv.requirements = ['six'] # why\n",
        "modules.venv.requirements = [\n  'six', # why\n]\n[other]\nx = 1\n",
        "[modules.venv]\n[modules]\nload = ['a/1']\n",
    ],
)
def test_an_entry_is_found_where_the_text_is_read_again(text: str) -> None:
    """Whatever form the tables have; all else that was there is there."""
    before, after = loads(text), loads(put(text, "numpy")[0])
    assert after["modules"]["venv"]["requirements"] == [
        *before.get("modules", {}).get("venv", {}).get("requirements", []),
        "numpy",
    ]
    assert after["modules"].get("load") == before.get("modules", {}).get("load")
    assert after.get("other") == before.get("other")
    assert put(text, "numpy")[0].count("# why") == text.count("# why")


def test_the_same_package_is_replaced_and_the_same_entry_is_no_change() -> None:
    """By its normal form; an entry that names no package never replaces one."""
    text = 'modules.venv.requirements = ["-e .", "Zope.Interface<5", "six"]\n'
    after, edits = put(text, "zope-interface", "six", "-r more.txt")
    assert loads(after)["modules"]["venv"]["requirements"] == ["-e .", "zope-interface", "six", "-r more.txt"]
    assert edits == [Edit("zope-interface", "Zope.Interface<5"), Edit("six", "six"), Edit("-r more.txt")]
    assert [edit.is_change for edit in edits] == [True, False, True]


@pytest.mark.parametrize("text", ["modules = 3", "modules.venv.requirements = 'six'", "modules.venv.requirements = [1]", "= ["])
def test_what_is_no_array_of_texts_is_refused(text: str) -> None:
    """With the key, or what is wrong with the TOML."""
    with pytest.raises(ValueError, match=r"modules|TOML"):
        put(text, "six")


@given(entries=st.lists(st.text(min_size=1, max_size=20), max_size=4, unique=True))
def test_every_text_survives(entries: list[str]) -> None:
    """Quotes, backslashes and control characters too."""
    after, _ = with_entries("", KEYS, entries, lambda _: "")
    assert loads(after)["modules"]["venv"]["requirements"] == entries
