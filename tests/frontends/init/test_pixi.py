"""Workspaces of pixi and files of conda: what a spec can take, and a reason for what it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from ozrepro.frontends.init import Conda, Found
from ozrepro.frontends.init.condafile import look_at_file
from ozrepro.frontends.init.pixi import look_at_pixi
from ozrepro.frontends.init.text import spec_text
from ozrepro.methods.reading import parse_spec
from ozrepro.project.toml import loads

PIXI = """
[workspace]
name = "fit"
channels = ["conda-forge", "https://me:secret@h/mine"]
platforms = ["linux-64", "osx-arm64"]
[dependencies]
python = "3.11.*"
numpy = ">=1.26,<2"
scipy = "*"
python-graphviz = ">=3.2"
x = { version = "1.2", build = "py*", channel = "bioconda" }
y = { path = "y" }
[pypi-dependencies]
six = ">=1.16"
mine = { path = ".", editable = true, extras = ["plot"] }
z = { git = "https://h/z" }
[feature.test.dependencies]
pytest = "*"
"""


def test_a_workspace_gives_the_packages_and_says_what_it_leaves(tmp_path: Path) -> None:
    (tmp_path / "pixi.toml").write_text(PIXI)
    found = look_at_pixi(tmp_path, {})
    assert found is not None
    assert found.channels == ("conda-forge",)
    assert found.dependencies == ("python 3.11.*", "numpy>=1.26,<2", "scipy", "python-graphviz>=3.2", "bioconda::x 1.2 py*")
    assert found.requirements == ("six>=1.16", "-e .[plot]")
    assert found.python == "3.11"
    left = "\n".join(found.left)
    assert [word in left for word in ("[feature]", "osx-arm64", "login or token", "y has path", "z comes from git")] == [True] * 5
    assert "secret" not in left
    assert "conda" in parse_spec(tmp_path / "work.toml", spec_text(Found(conda=found), "work")).tables


def test_the_table_of_pyproject_toml_is_read_as_well(tmp_path: Path) -> None:
    found = look_at_pixi(tmp_path, {"pixi": loads(PIXI)})
    assert found is not None
    assert "scipy" in found.dependencies
    assert look_at_pixi(tmp_path, {}) is None


@pytest.mark.parametrize("text", ["[", "dependencies = 3\nworkspace = 1", "[workspace]\nchannels = 3\nplatforms = 1\n"])
def test_a_damaged_workspace_is_no_traceback_and_gives_a_spec(tmp_path: Path, text: str) -> None:
    (tmp_path / "pixi.toml").write_text(text)
    found = look_at_pixi(tmp_path, {})
    assert found is not None
    parse_spec(tmp_path / "work.toml", spec_text(Found(conda=found), "work"))


def test_an_environment_file_is_named_whole_with_the_project_in_it(tmp_path: Path) -> None:
    (tmp_path / "environment.yml").write_text("dependencies: [python=3.10, pip, {pip: [-e .]}]\n")
    assert look_at_file(tmp_path, "environment.yml") == Conda(file="environment.yml", is_project=True)


def test_an_entry_of_an_environment_file_that_cannot_be_taken_costs_that_entry(tmp_path: Path) -> None:
    (tmp_path / "environment.yml").write_text(
        "channels: [conda-forge]\nvariables: {A: b}\n"
        "dependencies:\n - python-graphviz>=3.2\n - python=3.10\n - 'numpy >=<'\n - six\n - pip:\n   - tabulate\n   - --index-url https://h\n"
    )
    found = look_at_file(tmp_path, "environment.yml")
    assert (found.dependencies, found.requirements, found.python) == (
        ("python-graphviz>=3.2", "python=3.10", "six"),
        ("tabulate",),
        "3.10",
    )
    assert len(found.left) == 3
    text = spec_text(Found(conda=found), "work")
    assert text.count("# left out: environment.yml") == 3
    assert "conda" in parse_spec(tmp_path / "work.toml", text).tables


@pytest.mark.parametrize("text", ["[", "- a\n", "dependencies: &x [*x]\n", "\x00"])
def test_a_damaged_environment_file_is_said_and_gives_a_spec(tmp_path: Path, text: str) -> None:
    (tmp_path / "environment.yml").write_text(text)
    found = look_at_file(tmp_path, "environment.yml")
    assert found.left
    parse_spec(tmp_path / "work.toml", spec_text(Found(conda=found), "work"))
