"""`build = […]`: a package compiled against the libraries of loaded modules, one wheel for each."""

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path

import pytest

from ozrepro.methods.reading import load_lock
from tests.conftest import Project
from tests.fake_cluster import Site
from tests.fake_cluster.flavour import make_sdist
from tests.methods.modules.modular import Modular, modular
from tests.python.test_unreachable_index import user_settings

SHOW = "import flavoured; print(flavoured.built(), flavoured.linked(), flavoured.__file__)"
MORE = '[modules.venv]\nrequirements = ["flavoured"]\nbuild = ["flavoured"]\n'

pytestmark = pytest.mark.network


@pytest.fixture
def flavours(project: Project, site: Site) -> Modular:
    """Give two sessions on two versions of one library; what builds the package, setuptools, lies in the wheelhouse."""
    found = modular(project, site)
    make_sdist(project.wheelhouse)
    words = [site.python, "-m", "pip", "download", "-q", "--no-deps", "-d", str(project.wheelhouse), "setuptools<81", "wheel"]
    fetched = subprocess.run(
        words, env={**user_settings(), "PATH": "/usr/bin:/bin", "HOME": project.environ["HOME"]}, capture_output=True, check=False
    )
    if fetched.returncode != 0:
        pytest.skip("no package index can be reached")
    for number in (1, 2):
        found.spec(site.names["python"], f"libflavour/{number}.0", imports=("flavoured",), more=MORE, name=f"with{number}")
    return found


def test_two_modules_give_two_wheels_each_linked_to_its_own_library(flavours: Modular) -> None:
    project, built = flavours.project, []
    for number in (1, 2):
        name = f"with{number}"
        said = project.ozrepro("lock", name)
        assert said.returncode == 0, said.stderr
        assert "compiling flavoured 1.0 against the loaded modules" in said.stderr
        lock = load_lock(project.root, name)
        assert lock is not None
        content = lock.sections[0].content
        (package,) = content["package"]
        built.append(package["built"]["sha256"])
        assert package["files"][0]["name"] == "flavoured-1.0.tar.gz"
        assert "setuptools" in {item["name"] for item in content["build"]}
        version, linked, file = project.done("run", name, "--", "python", "-c", SHOW).split(" ", 2)
        assert (version, linked) == (f"{number}.0", f"{number}.0")
        libraries = project.done("run", name, "--", "ldd", file.strip())
        assert f"libflavour/{number}.0/lib/libflavour.so.{number}" in libraries
    assert built[0] != built[1]


def test_a_build_on_another_machine_compiles_from_the_locked_source(flavours: Modular, tmp_path: Path) -> None:
    project = flavours.project
    project.done("lock", "with1")
    other = dataclasses.replace(project, environ={**project.environ, "OZREPRO_STORE": str(tmp_path / "other store")})
    said = other.ozrepro("build", "with1")
    assert said.returncode == 0, said.stderr
    assert other.done("run", "with1", "--", "python", "-c", SHOW).startswith("1.0 1.0 ")


def test_a_changed_source_is_refused(flavours: Modular, tmp_path: Path) -> None:
    project = flavours.project
    project.done("lock", "with1")
    make_sdist(project.wheelhouse, requires=("setuptools", "wheel"))
    said = project.ozrepro("build", "with1", OZREPRO_STORE=str(tmp_path / "other store"))
    assert said.returncode == 1
    assert "flavoured-1.0.tar.gz with the locked sha256 no longer" in said.stderr


def test_a_library_whose_module_is_not_loaded_is_a_compiler_s_error_with_the_remedy(flavours: Modular) -> None:
    flavours.spec(flavours.site.names["python"], more=MORE)
    said = flavours.project.ozrepro("lock", "work")
    assert said.returncode == 1
    assert "flavour.h" in said.stderr
    assert "must be among the modules" in said.stderr
    assert not flavours.project.lock().exists()
