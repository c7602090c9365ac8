"""The Snakemake plug-in: a distribution of its own, which passes its tests with the oldest and the newest interface it allows."""

from __future__ import annotations

import os
import re
import subprocess
import zipfile
from importlib.metadata import requires, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.conftest import BIN
from tests.fake_cluster import BASE_PATH
from tests.fake_cluster.tools import make_tools
from tests.python.test_unreachable_index import user_settings

ROOT = Path(__file__).parents[3]
PLUGIN = ROOT / "ozrepro" / "frontends" / "snakemake"
MODULE = "snakemake_software_deployment_plugin_ozrepro"
INTERFACE = "snakemake-interface-software-deployment-plugins"

pytestmark = [pytest.mark.site, pytest.mark.network]


def needed() -> list[str]:
    """Return what ozrepro needs, and pytest, in the versions that these tests run with."""
    listed = [Requirement(line) for line in requires("ozrepro") or ()]
    names = [item.name for item in listed if item.marker is None or item.marker.evaluate({"extra": ""})]
    return [f"{name}=={version(name)}" for name in (*names, "pytest")]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder that has what the plug-in's wheel installs."""
    folder = tmp_path_factory.mktemp("plugin")
    environ = {"PATH": BASE_PATH, "HOME": os.environ.get("HOME", "/"), "LANG": "C.UTF-8", **user_settings()}
    words = [str(BIN / "uv"), "build", "--quiet", "--wheel", "--out-dir", str(folder), str(PLUGIN)]
    done = subprocess.run(words, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(folder / "installed")
    return folder / "installed"


def test_the_wheel_has_the_module_that_snakemake_finds_and_nothing_else(installed: Path) -> None:
    (information,) = installed.glob("*.dist-info")
    assert {path.name for path in installed.iterdir()} == {MODULE, information.name}
    assert [path.name for path in (installed / MODULE).iterdir()] == ["__init__.py"]
    metadata = (information / "METADATA").read_text(encoding="utf-8")
    assert f"Requires-Dist: {INTERFACE}<0.22,>=0.18.2\n" in metadata
    assert "No released Snakemake loads it yet" in metadata


@pytest.mark.parametrize(("interface", "count"), [("0.18.2", 12), ("0.21.2", 13)])
def test_the_plugin_s_tests_pass_with_an_interface(interface: str, count: int, installed: Path, tmp_path: Path) -> None:
    programs = make_tools(f"interface-{interface}", [f"{INTERFACE}=={interface}", *needed()])
    environ = {
        **user_settings(),
        "HOME": str(tmp_path),
        "LANG": "C.UTF-8",
        "PATH": BASE_PATH,
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": f"{installed}{os.pathsep}{ROOT}",
        "TMPDIR": str(tmp_path),
    }
    words = [str(programs / "python"), "-m", "pytest", "-p", "no:cacheprovider", str(PLUGIN / "tests")]
    done = subprocess.run(words, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None, done.stdout
    assert int(passed[1]) == count, done.stdout
