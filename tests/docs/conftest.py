"""A package index for the documentation's examples, looked for once, and the parts of the fake cluster that pages ask for."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.example_projects import Cluster, cluster_of
from tests.docs.running import BIN, reader
from tests.fake_cluster import Site
from tests.fake_cluster.fixtures import account, channel, copy_site, site, slurm, user_programs, user_slurm
from tests.fake_cluster.ordinary import Account
from tests.fake_cluster.slurm import Slurm
from tests.fake_cluster.smallpackages import compile_mpi

__all__ = ["account", "channel", "index", "site", "site_with_mpi", "slurm", "user_programs", "user_slurm"]


@pytest.fixture
def site_with_mpi(site: Site, tmp_path: Path) -> Site:
    """Give a copy of the test site with one openmpi module, whose library says whose it is."""
    own = copy_site(site, tmp_path / "site")
    shutil.rmtree(own.prefix / "apps" / "modulefiles" / "compiler" / "gcc" / "12.2.0" / "openmpi")
    (root,) = (own.prefix / "apps" / "software" / "openmpi").glob("4.1.4-*11.3.0")
    (root / "lib").mkdir(exist_ok=True)
    compile_mpi(root / "lib", "openmpi", "openmpi of the module")
    return own


@pytest.fixture
def cluster(account: Account, user_slurm: Slurm, user_programs: Path, index: dict[str, str]) -> Iterator[Cluster]:
    """Give a cluster to an ordinary user: a real Slurm, ozrepro on PATH, an index that both can reach."""
    if "XDG_CONFIG_HOME" in index:
        pytest.skip("the package index is set in a home that the ordinary user cannot read")
    yield from cluster_of(account, user_slurm, user_programs, index)


@pytest.fixture(scope="session")
def index(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Give a reader's variables with which a package index can be reached; skip where none can.

    Tried first with the index settings in this process's variables alone, then with the configuration files of its home too.
    """
    folder = tmp_path_factory.mktemp("docs")
    plain = reader(folder / "home", folder / "uv")
    (folder / "home").mkdir()
    (folder / "sessions").mkdir()
    (folder / "sessions" / "probe.toml").write_text('[venv]\nrequirements = ["six"]\n', encoding="utf-8")
    config = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    said = ""
    for environ in (plain, {**plain, "XDG_CONFIG_HOME": config}):
        quick = {**environ, "UV_HTTP_TIMEOUT": "10", "UV_HTTP_RETRIES": "0"}
        done = subprocess.run([BIN / "ozrepro", "lock"], cwd=folder, env=quick, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return environ
        said = done.stderr
    pytest.skip(f"no package index can be reached: {said}")
