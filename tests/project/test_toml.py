"""The TOML writer and the finder of lines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ozrepro.project.toml import dumps, line_of, loads

_SCALARS = st.one_of(st.booleans(), st.integers(-(2**63), 2**63 - 1), st.text(st.characters(codec="utf-8")))
_KEYS = st.text(st.characters(codec="utf-8"), max_size=8)
_VALUES = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=3), max_leaves=12
)


@given(st.dictionaries(_KEYS, _VALUES, max_size=4))
def test_a_table_that_is_written_is_read_back(table: dict[str, object]) -> None:
    assert loads(dumps(table)) == table


def test_the_same_value_gives_the_same_bytes() -> None:
    table = {"b": 1, "a": {"y": [{"x": 1}], "x": "é"}}
    assert dumps(table) == dumps(loads(dumps(table)))


def test_one_entry_a_line_in_a_list_of_tables_inside_a_table() -> None:
    text = dumps({"package": [{"name": "a", "files": [{"name": "one"}, {"name": "two"}]}]})
    assert '    { name = "one" },\n    { name = "two" },\n' in text


def test_an_invisible_character_is_escaped_so_that_a_reviewer_sees_it() -> None:
    assert dumps({"a": "x\u202ey\x1b\x7f"}) == 'a = "x\\u202ey\\u001b\\u007f"\n'


def test_a_value_without_a_word_in_toml_is_refused() -> None:
    with pytest.raises(TypeError, match="NoneType"):
        dumps({"a": None})


@pytest.mark.parametrize(
    ("path", "line"),
    [(("top",), 1), (("a", "b"), 4), (("a",), 3), (("c", "d"), 7), (("a", "c[1]"), 3), (("missing",), None)],
)
def test_the_line_of_a_key_is_found(path: tuple[str, ...], line: int | None) -> None:
    text = 'top = 1\n\n[a]\nb = 2\n\n[c]\nd = "x"\n'
    assert line_of(text, path) == line
