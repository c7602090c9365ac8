"""What a record's text may hold, read without the library that would load what a start need not."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ozrepro.faststart.ready import digest_on, facts_here, parsed

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(value=VALUES, escaped=st.booleans())
def test_any_value_is_read_as_json_reads_it(value: object, *, escaped: bool) -> None:
    text = json.dumps(value, ensure_ascii=escaped)
    content = text.encode("utf-8", "surrogatepass")
    try:
        expected = json.loads(content.decode())
    except UnicodeDecodeError:
        with pytest.raises(ValueError):
            parsed(content)
        return
    assert parsed(content) == expected


@pytest.mark.parametrize("text", ["", "{", '{"a" 1}', '"\\q"', "nul", "[1,]", "1 2", "NaN x"])
def test_what_is_not_json_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):
        parsed(text.encode())


def test_a_machine_with_other_facts_has_a_record_of_its_own_name() -> None:
    names = {digest_on("d", {"cpu": "v3"}), digest_on("d", {"cpu": "v4"}), digest_on("e", {"cpu": "v3"}), "d"}
    assert len(names) == 4


def test_only_the_facts_that_are_named_are_asked_for() -> None:
    assert facts_here(()) == {}
    assert list(facts_here(("libc",))) == ["libc"]
