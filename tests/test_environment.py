"""How a program's environment is made."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ozrepro import Environment
from ozrepro.environment import BASE_PATH, installer_in, refuse_install

_WORDS = st.lists(st.text(), max_size=3)


_HOMELY = st.dictionaries(st.text(), st.lists(st.text(), min_size=2, max_size=3), max_size=2)


@given(_WORDS, _WORDS, st.dictionaries(st.text(), st.text(), max_size=3), _HOMELY, _WORDS, _WORDS, _WORDS, st.text())
def test_an_environment_goes_through_json_unchanged(
    path: list[str],
    base: list[str],
    variables: dict[str, str],
    homely: dict[str, list[str]],
    removed: list[str],
    prefix: list[str],
    passed: list[str],
    inner: str,
) -> None:
    lists: dict[str, list[str]] = {"path": path, "base": base, "removed": removed, "prefix": prefix, "passed": passed}
    value = Environment(variables=variables, homely=homely, inner=inner, **lists)
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
