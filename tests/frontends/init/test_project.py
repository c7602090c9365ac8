"""The files of a project that a spec can name."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
import tomlkit
from hypothesis import given
from hypothesis import strategies as st

from ozrepro.frontends.init import Files, Found
from ozrepro.frontends.init.pixi import look_at_pixi
from ozrepro.frontends.init.project import look_at_files
from ozrepro.frontends.init.text import spec_text
from ozrepro.methods.reading import parse_spec


def look(root: Path, **files: str) -> tuple[Files, list[str]]:
    """Write files, with `__` for a dot and `_in_` for a folder, and look at them."""
    for name, text in files.items():
        path = root / name.replace("_in_", "/").replace("__", ".")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return look_at_files(root, "work")[:2]


def test_an_empty_folder_proposes_nothing(tmp_path: Path) -> None:
    assert look(tmp_path) == (Files(), [])


def test_a_requirement_file_is_named_with_what_is_in_it(tmp_path: Path) -> None:
    found, notes = look(tmp_path, requirements__txt="# mine\nnumpy>=1.26  # arrays\nPy_YAML ; python_version > '3'\n")
    assert found.requirements == ("-r requirements.txt",)
    assert found.named == {"numpy", "py-yaml"}
    assert notes == []


def test_a_line_that_no_spec_may_have_costs_that_line_alone(tmp_path: Path) -> None:
    found, notes = look(tmp_path, requirements__txt="--index-url https://me:secret@example.org\nnumpy\n./x.whl\nsix==1 # why\n")
    assert found.requirements == ("numpy", "six==1")
    assert found.named == {"numpy", "six"}
    assert [line.split(":")[0] for line in found.left] == ["requirements.txt line 1", "requirements.txt line 3"]
    assert "secret" not in found.left[0]
    assert notes == []


@pytest.mark.parametrize(
    "dependencies",
    [
        'dependencies = ["numpy>=1"]\n[build-system]\nrequires = []',
        'dynamic = ["version", "dependencies"]',
        "[build-system]\nrequires = []",
        'dependencies = ["numpy>=1"]\n[tool.uv.sources]\nnumpy = { path = "n" }',
    ],
)
def test_a_project_that_can_be_built_is_installed_itself(tmp_path: Path, dependencies: str) -> None:
    found, _ = look(tmp_path, pyproject__toml=f'[project]\nname = "My.Code"\n{dependencies}\n')
    assert found.requirements == ("-e .",)
    assert "my-code" in found.named


def test_a_project_without_a_backend_has_its_dependencies_written_out(tmp_path: Path) -> None:
    text = '[project]\nname = "a"\nrequires-python = ">=3.11"\ndependencies = ["numpy>=1", "x @ git+https://h/x"]\n'
    found, _ = look(tmp_path, pyproject__toml=f'{text}[project.optional-dependencies]\nplot = ["matplotlib"]\n')
    assert (found.requirements, found.python) == (("numpy>=1",), ">=3.11")
    assert found.offers == ("extra plot: 'matplotlib'",)
    assert found.left[0].startswith("pyproject.toml project.dependencies: ")


def test_extras_and_groups_are_offered(tmp_path: Path) -> None:
    text = '[build-system]\nrequires = []\n[project]\nname = "a"\n[project.optional-dependencies]\nplot = ["six"]\n'
    found, _ = look(tmp_path, pyproject__toml=f'{text}[dependency-groups]\ntest = ["pytest"]\n')
    assert found.offers[0] == "extra plot: '-e .[plot]' in place of '-e .'"
    assert found.offers[1].startswith("dependency group test: ")


POETRY = '[tool.poetry]\nname = "fit"\n[tool.poetry.dependencies]\npython = "^3.10"\nsix = "^1.16"\nx = {git = "https://h/x"}\n'


def test_poetry_s_dependencies_are_translated_and_a_project_of_poetry_core_is_installed_itself(tmp_path: Path) -> None:
    groups = '[tool.poetry.group.dev.dependencies]\npytest = "~8.1"\n'
    found, _ = look(tmp_path, pyproject__toml=POETRY + groups)
    assert (found.requirements, found.python) == (("six>=1.16,<2",), ">=3.10,<4")
    assert found.offers == ("group dev of poetry: 'pytest>=8.1,<8.2'",)
    assert "comes from git" in found.left[0]
    backend = '[build-system]\nrequires = ["poetry-core"]\nbuild-backend = "poetry.core.masonry.api"\n'
    found, _ = look(tmp_path, pyproject__toml=POETRY + backend)
    assert found.requirements == ("-e .",)
    assert found.named == {"fit", "six"}


def test_a_project_of_setup_py_is_installed_itself_and_one_of_setup_cfg_alone_is_said(tmp_path: Path) -> None:
    assert look(tmp_path, setup__cfg="[metadata]\nname = a\n")[0].left[0].startswith("setup.cfg: ")
    assert look(tmp_path, setup__py="")[0].requirements == ("-e .",)


@pytest.mark.parametrize(
    "name", ["uv.lock", "poetry.lock", "Pipfile", "pixi.lock", "requirements-dev.txt", "environment-gpu.yml"]
)
def test_a_file_that_is_not_read_is_said_in_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("")
    (note,) = look(tmp_path)[1]
    assert note.startswith(name)


@pytest.mark.parametrize(
    ("base", "gpu"),
    [("nvidia/cuda:12.4.1-runtime", "nvidia"), ("nvcr.io/hpc/x:1", "nvidia"), ("rocm/pytorch", "amd"), ("debian:12", "")],
)
def test_a_definition_s_base_tells_for_which_gpu_it_is(tmp_path: Path, base: str, gpu: str) -> None:
    assert look(tmp_path, a__def=f"Bootstrap: docker\nFrom: {base}\n%post\n echo cuda\n")[0].gpu == gpu


@pytest.mark.parametrize("text", ["[tool.x]\n", '[project]\nname = "a"\n', "project = 1\n", "[project]\ndependencies = [1]\n"])
def test_a_pyproject_of_settings_alone_is_no_project(tmp_path: Path, text: str) -> None:
    assert look(tmp_path, pyproject__toml=text)[0] == Files()


def test_a_pyproject_that_is_no_toml_is_said(tmp_path: Path) -> None:
    assert look(tmp_path, pyproject__toml="[")[0].left[0].startswith("pyproject.toml is not valid TOML: ")


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


KEYS = st.sampled_from(
    ["name", "dependencies", "optional-dependencies", "dynamic", "requires-python", "version", "python", "extras", "git", "group", "six",
     "a\nb", "platforms", "channels", "pypi-dependencies", "optional", "build", "workspace", "channel"]
)  # fmt: skip
TEXTS = st.sampled_from(["^1", "six", "*", ">=3.10", "a\nb", "", "||", "-e .", "x @ https://u:p@h/x.whl", "==3.99", "1.2.*"])
VALUES = st.recursive(
    st.one_of(st.integers(), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=12,
)


@given(project=VALUES, poetry=VALUES, pixi=VALUES, groups=VALUES, kind=st.sampled_from(["project", "other"]))
def test_any_pyproject_toml_gives_a_spec_that_is_accepted(project: Any, poetry: Any, pixi: Any, groups: Any, kind: str) -> None:
    table = {kind: project, "tool": {"poetry": poetry, "pixi": pixi}, "dependency-groups": groups}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "pyproject.toml").write_text(tomlkit.dumps(table))
        files, _, tool = look_at_files(root, "work")
        parse_spec(root / "sessions" / "work.toml", spec_text(Found(conda=look_at_pixi(root, tool), files=files), "work"))
