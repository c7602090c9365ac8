"""Reading what Lmod prints: every value exactly, nothing executed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ozrepro.modulesystem.reading import read


def lua_quoted(text: str) -> str:
    """Quote as Lua 5.3's `%q` does: quotes, backslashes, newlines; control characters as decimal numbers."""
    out = []
    for place, char in enumerate(text):
        after = text[place + 1 : place + 2]
        if char in '"\\\n':
            out.append("\\" + char)
        elif char in "\r\0" or ord(char) < 32 or ord(char) == 127:
            out.append(f"\\{ord(char):03}" if after.isdigit() and after.isascii() else f"\\{ord(char)}")
        else:
            out.append(char)
    return '"' + "".join(out) + '"'


_TEXT = st.text(st.characters(codec="utf-8"))
_NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)


@given(st.dictionaries(_NAMES, _TEXT, max_size=5))
def test_every_value_comes_back_exactly(values: dict[str, str]) -> None:
    lines = [f'os.environ["{name}"] = {lua_quoted(value)};' for name, value in values.items()]
    assert read("\n".join(("import os", *lines, "_mlstatus = True\n"))).values == values


@given(_TEXT)
def test_any_text_is_read_without_an_error(text: str) -> None:
    read(text)
    read("import os\n" + text)


@given(_TEXT.filter(lambda text: "import os" not in text), _TEXT)
def test_what_a_modulefile_prints_before_is_passed_over(noise: str, value: str) -> None:
    output = f'{noise}\nimport os\nos.environ["A"] = {lua_quoted(value)};\n_mlstatus = True\n'
    found = read(output)
    assert (dict(found.values), found.status) == ({"A": value}, True)


def test_an_assignment_of_nothing_followed_by_a_deletion_is_a_deletion() -> None:
    found = read('import os\nos.environ["GONE"] = \'\'\ndel os.environ["GONE"]\n_mlstatus = True\n')
    assert (dict(found.values), found.deleted) == ({}, frozenset({"GONE"}))


@pytest.mark.parametrize(("statuses", "last"), [(["True", "False"], False), (["False"], False), (["True"], True), ([], None)])
def test_the_last_status_counts(statuses: list[str], last: bool | None) -> None:
    assert read("import os\n" + "".join(f"_mlstatus = {word}\n" for word in statuses)).status is last


def test_a_value_that_looks_like_statements_stays_a_value() -> None:
    value = 'x"; os.system("id"); y = "\n_mlstatus = False\nimport os\ndel os.environ["PATH"]'
    found = read(f'import os\nos.environ["A"] = {lua_quoted(value)};\n_mlstatus = True\n')
    assert (dict(found.values), found.deleted, found.status) == ({"A": value}, frozenset(), True)


def test_a_string_that_is_never_closed_gives_nothing() -> None:
    assert read('import os\nos.environ["A"] = "never').values == {}
