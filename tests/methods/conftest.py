"""Projects on the real test site."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conftest import Project
from tests.methods.modular import SPEC, Modular, modular, quoted
from tests.site import Site
from tests.site.fixtures import channel, private_channel, private_site, serve, site
from tests.store.conftest import small_disk
from tests.wheels import make_wheel

__all__ = ["channel", "private_channel", "private_site", "serve", "site", "small_disk"]


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
