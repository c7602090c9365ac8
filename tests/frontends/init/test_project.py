"""The files of a project that a spec can name."""

from __future__ import annotations

from pathlib import Path

import pytest

from ozrepro.frontends.init import Files
from ozrepro.frontends.init.project import look_at_files


def look(root: Path, **files: str) -> tuple[Files, list[str]]:
    """Write files, with `__` for a dot and `_in_` for a folder, and look at them."""
    for name, text in files.items():
        path = root / name.replace("_in_", "/").replace("__", ".")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return look_at_files(root, "work")


def test_an_empty_folder_proposes_nothing(tmp_path: Path) -> None:
    assert look(tmp_path) == (Files(), [])


def test_a_requirement_file_is_named_with_what_is_in_it(tmp_path: Path) -> None:
    found, notes = look(tmp_path, requirements__txt="# mine\nnumpy>=1.26  # arrays\nPy_YAML ; python_version > '3'\n")
    assert found.requirements == ("-r requirements.txt",)
    assert found.named == {"numpy", "py-yaml"}
    assert notes == []


def test_a_requirement_file_that_no_spec_may_name_is_skipped_with_the_reason(tmp_path: Path) -> None:
    found, notes = look(tmp_path, requirements__txt="--index-url https://example.org\nnumpy\n")
    assert found == Files()
    assert notes[0].startswith("requirements.txt is passed over: ")


@pytest.mark.parametrize("dependencies", ['dependencies = ["numpy>=1"]', 'dynamic = ["version", "dependencies"]'])
def test_a_project_with_dependencies_is_installed_itself(tmp_path: Path, dependencies: str) -> None:
    found, _ = look(tmp_path, pyproject__toml=f'[project]\nname = "My.Code"\n{dependencies}\n')
    assert found.requirements == ("-e .",)
    assert "my-code" in found.named


@pytest.mark.parametrize("text", ["[tool.x]\n", '[project]\nname = "a"\n', "project = 1\n", "[project]\ndependencies = [1]\n"])
def test_a_pyproject_of_settings_alone_is_no_project(tmp_path: Path, text: str) -> None:
    assert look(tmp_path, pyproject__toml=text)[0] == Files()


def test_a_pyproject_that_is_no_toml_is_said(tmp_path: Path) -> None:
    assert look(tmp_path, pyproject__toml="[")[1][0].startswith("pyproject.toml is passed over: ")


def test_a_definition_is_preferred_to_an_image_and_the_session_s_own_to_others(tmp_path: Path) -> None:
    found, notes = look(tmp_path, a__def="", sessions_in_work__def="", b__sif="")
    assert (found.definition, found.image) == ("sessions/work.def", "")
    assert [note.split()[0] for note in notes] == ["a.def", "b.sif"]


def test_an_image_without_a_definition_is_proposed(tmp_path: Path) -> None:
    found, notes = look(tmp_path, b__sif="")
    assert (found.definition, found.image, notes) == ("", "b.sif", [])


def test_a_program_of_the_session_s_name_is_found(tmp_path: Path) -> None:
    assert look(tmp_path, work__py="")[0].script == "work.py"
    assert look(tmp_path, sessions_in_work__py="")[0].script == "sessions/work.py"
