"""How a program's environment is made."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ozrepro import Environment
from ozrepro.environment import BASE_PATH

_WORDS = st.lists(st.text(), max_size=3)


_HOMELY = st.dictionaries(st.text(), st.lists(st.text(), min_size=2, max_size=3), max_size=2)


@given(_WORDS, _WORDS, st.dictionaries(st.text(), st.text(), max_size=3), _HOMELY, _WORDS, _WORDS, _WORDS)
def test_an_environment_goes_through_json_unchanged(
    path: list[str],
    base: list[str],
    variables: dict[str, str],
    homely: dict[str, list[str]],
    removed: list[str],
    prefix: list[str],
    passed: list[str],
) -> None:
    value = Environment(path=path, base=base, variables=variables, homely=homely, removed=removed, prefix=prefix, passed=passed)
    again = Environment.from_dict(json.loads(json.dumps(value.as_dict())))
    assert again == value
    assert hash(again) == hash(value)


def test_only_the_allow_list_of_the_caller_is_kept() -> None:
    caller = {
        "HOME": "/h",
        "LC_ALL": "C",
        "SLURM_JOB_ID": "7",
        "PMIX_RANK": "0",
        "PYTHONPATH": "/evil",
        "LD_PRELOAD": "x.so",
        "MY": "1",
    }
    found = Environment(path=("/env/bin",), passed=("MY",)).variables_for(caller)
    assert found == {
        "HOME": "/h",
        "LC_ALL": "C",
        "SLURM_JOB_ID": "7",
        "PMIX_RANK": "0",
        "MY": "1",
        "PATH": ":".join(("/env/bin", *BASE_PATH)),
    }


def test_the_caller_s_path_changes_nothing() -> None:
    value = Environment(path=("/env/bin",), variables={"A": "1"}, removed=("TZ",))
    assert value.variables_for({"PATH": "/a", "TZ": "UTC"}) == value.variables_for({"PATH": "/b:/c"})


def test_a_value_that_holds_the_home_follows_the_caller_s() -> None:
    value = Environment(homely={"CACHE": ("", "/.cache")}, base=("/bin", "/behind"))
    assert value.variables_for({"HOME": "/home/me"}) == {"HOME": "/home/me", "CACHE": "/home/me/.cache", "PATH": "/bin:/behind"}


def test_the_prefix_comes_before_the_command() -> None:
    assert Environment(prefix=("apptainer", "exec", "a b.sif")).command(["ls", "-l"]) == [
        "apptainer",
        "exec",
        "a b.sif",
        "ls",
        "-l",
    ]


def test_an_environment_cannot_be_changed() -> None:
    value = Environment()
    with pytest.raises(AttributeError, match="immutable"):
        value.path = ("/x",)
    with pytest.raises(AttributeError, match="immutable"):
        del value.path
