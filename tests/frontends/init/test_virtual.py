"""The active virtual environment, with real ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ozrepro.frontends.init import Package
from ozrepro.frontends.init.virtual import look_at_venv
from ozrepro.modulesystem.lmod_output import read
from tests.conftest import Project
from tests.fake_cluster import Site
from tests.wheels import make_wheel

Made = Callable[..., dict[str, str]]


def test_without_an_active_venv_nothing_is_proposed(project: Project) -> None:
    assert look_at_venv(project.environ, project.root) == (None, [])


def test_a_virtual_env_variable_that_names_no_venv_is_skipped(project: Project, tmp_path: Path) -> None:
    found, notes = look_at_venv({**project.environ, "VIRTUAL_ENV": str(tmp_path)}, project.root)
    assert found is None
    assert notes == ["VIRTUAL_ENV names no virtual environment: passed over"]


def test_the_top_level_packages_of_a_venv_are_proposed_without_tools(project: Project, venv: Made) -> None:
    make_wheel(project.wheelhouse, "alpha", "1.0", requires=("beta>=1",))
    make_wheel(project.wheelhouse, "beta", "1.5")
    make_wheel(project.wheelhouse, "gamma-ray", "2.0", modules={"gammaray/__init__.py": ""})
    make_wheel(project.wheelhouse, "pip", "99")
    found, notes = look_at_venv(venv("alpha", "gamma-ray", "pip"), project.root)
    assert found is not None
    assert found.packages == (Package("alpha", "1.0", ("alpha",)), Package("gamma-ray", "2.0", ("gammaray",)))
    assert found.python.startswith("3.")
    assert not found.system_site_packages
    assert notes == []


def test_a_venv_that_sees_its_python_s_packages_says_so(project: Project, venv: Made) -> None:
    found, _ = look_at_venv(venv(system=True), project.root)
    assert found is not None
    assert found.system_site_packages
    assert found.packages == ()


def test_packages_of_the_modules_are_told_from_the_venv_s(project: Project, venv: Made, site: Site) -> None:
    said = read(site.lmod("load", *(site.names[name] for name in ("gcc", "openmpi", "python-scientific")), shell="bash").stdout)
    make_wheel(project.wheelhouse, "alpha", "1.0", requires=("numpy",))
    make_wheel(project.wheelhouse, "numpy", "99.0")
    make_wheel(project.wheelhouse, "scipy", site.packages["python-scientific"]["scipy"])
    environ = venv("alpha", "numpy", "scipy", python=site.python, environ=dict(said.values))
    found, _ = look_at_venv(environ, project.root)
    assert found is not None
    below = site.packages["python-scientific"]
    assert [(item.name, item.version, item.below) for item in found.packages] == [
        ("alpha", "1.0", ""),
        ("scipy", below["scipy"], below["scipy"]),
    ]
    assert found.python == "3.10" or site.python_version.startswith(found.python)


def test_the_project_itself_is_told_apart_from_other_folders(project: Project, venv: Made, tmp_path: Path) -> None:
    backend = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    for folder, name in ((project.root, "mine"), (tmp_path / "another", "theirs")):
        folder.mkdir(exist_ok=True)
        (folder / "pyproject.toml").write_text(f'[project]\nname = "{name}"\nversion = "1.0"\n{backend}')
        (folder / "backend.py").write_text(_EDITABLE.format(name=name))
    found, notes = look_at_venv(venv("-e", str(project.root), "-e", str(tmp_path / "another")), project.root)
    assert found is not None
    assert found.has_project
    assert found.packages == ()
    assert notes == ["theirs 1.0 is left out: it was installed from a folder or a repository, which no spec can name"]


def test_a_venv_whose_python_is_gone_is_read_all_the_same(project: Project, venv: Made) -> None:
    make_wheel(project.wheelhouse, "alpha")
    environ = venv("alpha")
    (Path(environ["VIRTUAL_ENV"]) / "bin" / "python").unlink()
    found, notes = look_at_venv(environ, project.root)
    assert found is not None
    assert [item.name for item in found.packages] == ["alpha"]
    assert "does not run" in notes[0]


_EDITABLE = """
import os, zipfile

def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    name = "{name}-1.0-py3-none-any.whl"
    info = "{name}-1.0.dist-info"
    with zipfile.ZipFile(os.path.join(wheel_directory, name), "w") as archive:
        archive.writestr(info + "/METADATA", "Metadata-Version: 2.1\\nName: {name}\\nVersion: 1.0\\n")
        archive.writestr(info + "/WHEEL", "Wheel-Version: 1.0\\nGenerator: tests\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        archive.writestr(info + "/RECORD", "")
    return name
"""
