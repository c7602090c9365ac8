"""What source trees need to be built."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from ozrepro.errors import BuildError
from ozrepro.python.backend import build_requirements, opened, read_build_system, unpacked
from ozrepro.python.interpreter import running
from ozrepro.python.uv import Uv
from tests.conftest import Project
from tests.needs import UNPACKS
from tests.wheels import make_sdist


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@UNPACKS
def test_what_the_backend_asks_for_at_run_time_is_found(project: Project, uv: Uv) -> None:
    sdist = make_sdist(project.wheelhouse, "gamma")
    with unpacked(sdist.as_uri(), digest(sdist)) as tree, opened(uv, tree, running(), {}) as backend:
        assert build_requirements(backend, editable=False) == ("helper-tool>=1",)


def test_an_sdist_with_another_hash_is_refused(project: Project) -> None:
    sdist = make_sdist(project.wheelhouse, "gamma")
    with pytest.raises(BuildError, match="another sha256"), unpacked(sdist.as_uri(), "0" * 64):
        pass


@UNPACKS
def test_an_archive_that_writes_outside_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "evil-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        entry = tarfile.TarInfo("../outside.py")
        entry.size = 1
        tar.addfile(entry, io.BytesIO(b"1"))
    with pytest.raises(BuildError, match="not a safe archive"), unpacked(path.as_uri(), digest(path)):
        pass
    assert not (tmp_path / "outside.py").exists()


def test_a_tree_without_a_build_system_is_built_with_setuptools(tmp_path: Path) -> None:
    requires, backend, _ = read_build_system(tmp_path)
    assert requires[0].startswith("setuptools")
    assert backend == "setuptools.build_meta:__legacy__"


def test_a_damaged_pyproject_is_named(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[")
    with pytest.raises(BuildError, match=r"pyproject\.toml: cannot be read"):
        read_build_system(tmp_path)
