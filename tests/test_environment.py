"""How a program's environment is made."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ozrepro import Environment
from ozrepro.environment import BASE_PATH, installer_in, joined_by, refuse_install

if TYPE_CHECKING:
    from ozrepro.environment import Cases

_WORDS = st.lists(st.text(), max_size=3)


_CASES = st.lists(st.tuples(_WORDS.map(tuple), st.none() | _WORDS.map(tuple)), max_size=2).map(tuple)
_FOLLOWING = st.dictionaries(st.text(), _CASES, max_size=2)
_EXPECTED = st.dictionaries(st.text(), st.none() | st.just(value=True) | st.text(), max_size=2)
_ENTRIES = st.lists(st.text() | _CASES, max_size=3)


@given(_ENTRIES, _WORDS, st.dictionaries(st.text(), st.text(), max_size=3), _FOLLOWING, _EXPECTED, _WORDS, _WORDS, _WORDS,
       st.text())  # fmt: skip
def test_an_environment_goes_through_json_unchanged(
    path: list[str | Cases],
    base: list[str],
    variables: dict[str, str],
    following: dict[str, Cases],
    expected: dict[str, str | bool | None],
    removed: list[str],
    prefix: list[str],
    passed: list[str],
    inner: str,
) -> None:
    lists: dict[str, list[str]] = {"base": base, "removed": removed, "prefix": prefix, "passed": passed}
    value = Environment(path=path, variables=variables, following=following, expected=expected, inner=inner, **lists)
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
    value = Environment(following={"CACHE": joined_by("HOME", ("", "/.cache"))}, base=("/bin", "/behind"))
    assert value.variables_for({"HOME": "/home/me"}) == {"HOME": "/home/me", "CACHE": "/home/me/.cache", "PATH": "/bin:/behind"}


_BY_CASES: Cases = ((("A", "B:"), ("", "A", "/", "B", "")), (("A",), ("only ", "A")), (("B",), None), ((), ("none",)))


@pytest.mark.parametrize(
    ("caller", "value"),
    [
        ({"A": "1", "B": "2"}, "1/2"),
        ({"A": "1", "B": ""}, "only 1"),
        ({"A": ""}, "only "),
        ({"B": "2"}, None),
        ({}, "none"),
    ],
)
def test_a_value_follows_the_first_case_whose_variables_the_caller_has(caller: dict[str, str], value: str | None) -> None:
    found = Environment(following={"X": _BY_CASES}, passed=("X",)).variables_for({**caller, "X": "mine"})
    assert found.get("X") == value


def test_a_case_may_leave_the_caller_s_value_as_it_is() -> None:
    value = Environment(following={"X": ((("X",), ()), ((), ("1",)))}, passed=("X",))
    assert (value.variables_for({"X": "8"})["X"], value.variables_for({})["X"]) == ("8", "1")


def test_an_entry_of_the_path_follows_the_caller_and_an_empty_one_is_none() -> None:
    value = Environment(path=("/env", ((("A",), ("", "A", "/bin")),), "/more"), base=("/bin",))
    assert value.variables_for({"A": "/a"})["PATH"] == "/env:/a/bin:/more:/bin"
    assert value.variables_for({})["PATH"] == "/env:/more:/bin"


def test_what_the_caller_has_otherwise_than_expected_is_named() -> None:
    value = Environment(expected={"ARCH": "avx2", "JOB": True, "NONE": None})
    assert value.unexpected({"ARCH": "avx2", "JOB": ""}) == []
    assert value.unexpected({"ARCH": "avx512", "NONE": ""}) == ["ARCH", "JOB", "NONE"]


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


def test_variables_of_a_command_get_into_an_image_by_the_name_that_its_program_knows() -> None:
    given = {"A": "1", "HOME": "/h", "GONE": None}
    assert Environment().inside(given) == given
    assert Environment(inner="APPTAINERENV_").inside(given) == {"APPTAINERENV_A": "1", "HOME": "/h", "GONE": None}


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("pip install six", "pip install"),
        ("pip install --user six", "pip install"),
        ("pip -q --no-input install six", "pip install"),
        ("/usr/bin/pip3 install six", "pip3 install"),
        ("pip3.11 install -r more.txt", "pip3.11 install"),
        ("python -m pip install six", "pip install"),
        ("/usr/bin/python3.11 -m pip install six", "pip install"),
        ("python -I -W error -m pip install six", "pip install"),
        ("python -I -m pip install six", "pip install"),
        ("python3 -m uv pip install six", "uv install"),
        ("uv pip install six", "uv install"),
        ("uv pip sync r.txt", "uv sync"),
        ("uv add six", "uv add"),
        ("uv tool install ruff", "uv install"),
        ("conda install numpy", "conda install"),
        ("conda env update -f e.yml", "conda update"),
        ("mamba update --all", "mamba update"),
        ("micromamba install -y numpy", "micromamba install"),
    ],
)
def test_a_command_that_installs_is_known(command: str, words: str) -> None:
    assert installer_in(command.split()) == words


@pytest.mark.parametrize(
    "command",
    ["", "pip", "pip list", "pip show install", "pip download six", "pip --version", "python", "python -m", "python install",
     "python -c install", "python -m venv install", "python -m pip list", "python pip install", "uv pip list", "uv run install", "conda list",
     "conda env list", "conda create -n install", "pipx install six", "pip-audit install", "install six", "make install", "bash -c pip"],
)  # fmt: skip
def test_any_other_command_is_none(command: str) -> None:
    assert installer_in(command.split()) == ""


@given(st.lists(st.text(), max_size=4))
def test_any_words_can_be_asked_about(words: list[str]) -> None:
    assert isinstance(installer_in(words), str)


def test_the_refusal_names_the_session_and_what_to_do() -> None:
    reason, hint = refuse_install("pip install", "work")
    assert (
        reason == "pip install cannot add to an image: it is read-only, and the packages would land in ~/.local of this machine"
    )
    assert hint == "add the package to %post of the definition, then: ozrepro lock work"


@pytest.mark.parametrize("folder", ["/tmp", "/tmp/mine", "/var/tmp/mine"])
def test_a_temporary_folder_that_every_image_sees_is_not_bound(folder: str) -> None:
    found = Environment(inner="APPTAINERENV_").variables_for({"TMPDIR": folder})
    assert found["TMPDIR"] == folder
    assert "APPTAINER_BIND" not in found


def test_a_job_s_own_temporary_folder_is_seen_in_an_image_beside_what_the_site_binds() -> None:
    folder = "/usr"  # any that is there, and is not below /tmp
    environment = Environment(inner="SINGULARITYENV_", variables={"SINGULARITY_BIND": "/fred"})
    found = environment.variables_for({"TMPDIR": folder})
    assert found["TMPDIR"] == folder
    assert found["SINGULARITY_BIND"] == f"/fred,{folder}"
    assert Environment().variables_for({"TMPDIR": "/no/such"})["TMPDIR"] == "/no/such"


@pytest.mark.parametrize("folder", ["/no/such", "here", "/usr/a:b"])
def test_a_temporary_folder_that_an_image_cannot_see_is_not_named_in_it(folder: str) -> None:
    found = Environment(inner="APPTAINERENV_").variables_for({"TMPDIR": folder})
    assert "TMPDIR" not in found
    assert "APPTAINER_BIND" not in found
