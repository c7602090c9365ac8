"""Reading what Lmod prints for a bash: every value exactly, nothing run, nothing lost."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ozrepro.modulesystem.lmod_output import read


def escaped(text: str, newline: str = '"\n"') -> str:
    """Write a value as Lmod does (`multiEscaped` and `expandVar`); a newline stands bare before 8.7.29."""
    return re.sub(r"([? \\\t{}|<>!;#^$&*\"'`()~\[\]])", r"\\\1", text).replace("\n", newline)


def statement(name: str, value: str, newline: str = '"\n"') -> str:
    """Write a variable as Lmod does."""
    return f"{name}={escaped(value, newline)};\nexport {name};\n"


_TEXT = st.text(st.characters(codec="utf-8"))
_NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
_NEWLINES = st.sampled_from(["\n", '"\n"'])


@given(st.dictionaries(_NAMES, _TEXT, max_size=5), _NEWLINES)
def test_every_value_comes_back_exactly(values: dict[str, str], newline: str) -> None:
    found = read("".join(statement(name, value, newline) for name, value in values.items()))
    assert (found.values, found.effects) == (values, ())


@given(_TEXT)
def test_any_text_as_lmod_s_output_is_read_without_an_error(text: str) -> None:
    read(text)
    read(statement("A", "1") + text)


@given(_TEXT.filter(lambda text: "A=" not in text), _TEXT)
def test_what_a_modulefile_prints_before_hides_no_variable(noise: str, value: str) -> None:
    assert read(f"{noise}\n{statement('A', value)}").values.get("A") == value


def test_what_is_printed_without_a_newline_hides_no_variable_and_is_kept() -> None:
    found = read(f"no newline{statement('A', '1')}{statement('B', '2')}")
    assert (found.values, found.effects) == ({"A": "1", "B": "2"}, ("no newline",))


def test_a_variable_that_is_unset_is_told_apart_from_one_that_is_set_later() -> None:
    found = read(f"unset GONE;\nunset BACK;\n{statement('BACK', '1')}")
    assert (dict(found.values), found.deleted) == ({"BACK": "1"}, frozenset({"GONE"}))


def test_a_value_that_looks_like_statements_stays_a_value() -> None:
    value = "x;\nexport A;\nB=1;\nexport B;\nunset PATH;\nf () { id; \n};\n$(id) `id`"
    for newline in ("\n", '"\n"'):
        found = read(statement("A", value, newline))
        assert (dict(found.values), found.deleted, found.effects) == ({"A": value}, frozenset(), ())
        assert not found.shell.functions


def test_a_name_that_no_shell_takes_is_told() -> None:
    found = read(statement("BAD-NAME", "x") + statement("OK", "1"), "hello\n")
    assert dict(found.values) == {"OK": "1"}
    assert found.messages == "hello\nBAD-NAME cannot name a variable in a shell, which is not given it\n"


@pytest.mark.parametrize("end", ["", "\n", ";\n"])
def test_a_statement_that_is_cut_short_is_an_effect(end: str) -> None:
    found = read(f"{statement('A', '1')}B=2;\nexport C{end}")
    assert dict(found.values) == {"A": "1"}
    assert set(found.effects) == {"export C", "B=2"}


def test_completions_are_effects_and_exported_functions_are_functions() -> None:
    bash = '[[ -n "${BASH_VERSION:-}" ]] && '
    found = read(
        "tool () { echo 1; \n};\n"
        f"{bash}export -f tool 2> /dev/null || true;\n{bash}complete -W 'a b' tool;\nunset -f gone 2> /dev/null || true;\n"
    )
    assert dict(found.shell.functions) == {"tool": "echo 1"}
    assert found.effects == ("complete -W 'a b' tool",)
