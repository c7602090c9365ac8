"""Projects on the real test site."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Project
from tests.fake_cluster import Site
from tests.fake_cluster.containers import TAG, Containers
from tests.fake_cluster.fixtures import (
    OrdinaryProject,
    account,
    apptainer_site,
    channel,
    containers,
    on_every_lmod,
    ordinary,
    private_channel,
    private_site,
    registry,
    serve,
    site,
    user_programs,
)
from tests.fake_cluster.ordinary import Account
from tests.fake_cluster.registry import Registry
from tests.methods.container.contained import HUB, contained
from tests.methods.modules.modular import SPEC, Modular, modular, quoted
from tests.wheels import make_wheel

__all__ = [
    "account",
    "apptainer_site",
    "channel",
    "containers",
    "ordinary",
    "private_channel",
    "private_site",
    "registry",
    "serve",
    "site",
    "user_programs",
]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the tests of the modules method on every Lmod."""
    if metafunc.module.__name__.rpartition(".")[2].startswith("test_modules"):
        on_every_lmod(metafunc)


@pytest.fixture
def empty(project: Project, site: Site) -> Modular:
    """Give a project on the site without a session."""
    return modular(project, site)


@pytest.fixture
def work(empty: Modular) -> Modular:
    """Give a project whose session has the site's numpy and one package of its own, and a venv to fall back to."""
    make_wheel(empty.project.wheelhouse, "alpha", "1.0", requires=("numpy",))
    empty.project.spec(SPEC.format(load=quoted(empty.scientific)))
    return empty


@pytest.fixture
def toolchain(work: Modular) -> Modular:
    """Give it with its session locked and built by the modules method."""
    work.project.done("lock", "work", "--method", "modules")
    work.project.done("build", "work")
    return work


@pytest.fixture
def mine(project: Project, private_site: Callable[[], Site]) -> Modular:
    """Give a project on a copy of the site's trees, whose modulefiles a test may edit."""
    found = modular(project, private_site())
    make_wheel(project.wheelhouse, "alpha", "1.0", requires=("numpy",))
    project.spec(SPEC.format(load=quoted(found.scientific)))
    return found


@pytest.fixture(scope="module")
def hub(containers: Containers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """Give a registry that stands for Docker Hub to the tests of a module."""
    with Registry(containers, tmp_path_factory.mktemp("hub") / "registry") as running:
        running.push(containers.layout, containers.index, HUB, TAG)
        yield running


@pytest.fixture(scope="module")
def images_cache(account: Account) -> Path:
    """Give a folder of images that the tests of a module share: each is built once."""
    return account.make_folder("cache")


@pytest.fixture
def imaged(ordinary: OrdinaryProject, hub: Registry, images_cache: Path) -> OrdinaryProject:
    """Give a project whose session has a definition; its image is built by the first test that needs it."""
    return contained(ordinary, hub, images_cache)


@pytest.fixture
def contained_built(imaged: OrdinaryProject) -> OrdinaryProject:
    """Give it locked and built."""
    imaged.done("lock")
    imaged.done("build")
    return imaged
