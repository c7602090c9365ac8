"""Definitions that are made of conda packages: read back, run by a real shell, and never more than the lock's own lines."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ozrepro.methods.conda.image import at_site, channels_in, of_conda, with_addresses
from ozrepro.methods.image_definition import PREFIX
from tests.conftest import Project
from tests.methods.test_image_definition import REQUIREMENTS, made, part, run, site_of

FORGE = "https://conda.anaconda.org/conda-forge"
EXPLICIT = (
    f"# platform: linux-64\n@EXPLICIT\n{FORGE}/linux-64/python-3.10.8-h4a9ceb5_0_cpython.conda#sha256:{'d' * 64}\n"
    f"{FORGE}/noarch/tzdata-2024a-h0c530f3_0.conda#sha256:{'e' * 64}\n"
)


def test_conda_packages_are_installed_by_whichever_tool_the_base_has(tmp_path: Path) -> None:
    found = made(of_conda("docker.io/mambaorg/micromamba:2", EXPLICIT, REQUIREMENTS, {}, "conda.linux-64 of work.lock"))
    script = part(found, "post").replace(PREFIX, str(tmp_path / "session"))
    pip = tmp_path / "session" / "bin" / "python"
    pip.parent.mkdir(parents=True)
    pip.write_text('#!/bin/sh\necho "python $*"\n')
    pip.chmod(0o755)
    tools = tmp_path / "tools"
    tools.mkdir()
    path = f"{tools}:/usr/bin:/bin"
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


def test_the_environment_sets_the_variables_that_packages_bring(tmp_path: Path) -> None:
    """As conda does: from JSON in the order of the files, the spec's variables over them, the scripts last."""
    folder = tmp_path / "session" / "etc" / "conda"
    for name in ("env_vars.d", "activate.d"):
        (folder / name).mkdir(parents=True)
    (folder / "env_vars.d" / "b.json").write_text(
        json.dumps({"QUOTED": "it's\n$HOME", "MINE": "b", "PATH": "/evil", "not a name": "x"})
    )
    (folder / "env_vars.d" / "a.json").write_text('{"MINE": "a", "QUOTED": "a", "NUMBER": 3, "SCRIPT": "json"}')
    (folder / "activate.d" / "x.sh").write_text('export SCRIPT="$SCRIPT $NUMBER"\n')
    found = made(of_conda("b.sif", EXPLICIT, "", {"MINE": "spec"}, "t"))
    post, environment = (part(found, name).replace(PREFIX, str(tmp_path / "session")) for name in ("post", "environment"))
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, program in {"conda": "true", "cat": "cat", "ls": "ls", "sh": "sh"}.items():
        (tools / name).symlink_to(f"/bin/{program}")
    with pytest.raises(subprocess.CalledProcessError) as error:
        run(post, PATH=str(tools))
    assert b"no Python to read it" in error.value.stderr
    (tools / "python3").symlink_to(sys.executable)
    run(post, PATH=str(tools))
    show = environment + 'printf "%s|" "$QUOTED" "$MINE" "$NUMBER" "$SCRIPT" "$PATH"'
    assert run(show) == f"it's\n$HOME|spec|3|json 3|{tmp_path}/session/bin:/usr/bin:/bin|"


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


def test_channels_get_their_addresses_of_this_site_and_nothing_else_changes() -> None:
    lines = of_conda("b.sif", EXPLICIT + f"{FORGE}-other/linux-64/a-1-0.conda#sha256:0\n", "", {"U": FORGE}, "t")
    assert channels_in(lines) == [FORGE, f"{FORGE}-other"]
    here = with_addresses(lines, {FORGE: "http://mirror/conda-forge"})
    assert here == [line.replace(f"{FORGE}/", "http://mirror/conda-forge/") for line in lines]
    assert with_addresses(lines, {}) == lines


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.from_regex(r"[A-Z_]{1,4}", fullmatch=True), _VALUES, max_size=3))
@example({"A": "a\tb\n\n%c", "B": "export C='d'", "_": "'"})
def test_a_made_definition_is_locked_line_by_line(variables: dict[str, str]) -> None:
    lines = of_conda("b.sif", EXPLICIT, "", variables, "conda.linux-64 of work.lock")
    assert not any("\n" in line or "\t" in line or not line.strip() for line in lines)


def test_channels_and_folders_of_this_site_are_seen_while_it_is_built(project: Project) -> None:
    channel = project.root.parent / "the channel" / "conda-forge"
    (project.root / "pyproject.toml").write_text(f'[tool.ozrepro.channels]\nconda-forge = "{channel.as_uri()}"\n')
    lines = of_conda("b.sif", EXPLICIT, "", {}, "conda.linux-64 of work.lock")
    found = at_site(lines, site_of(project))
    assert found.lines == tuple(line.replace(FORGE, channel.as_uri()) for line in lines)
    assert found.folders == (str(channel), str(project.wheelhouse))
