"""The real Lmod of the test site."""

from __future__ import annotations

from typing import Any

import pytest

from ozrepro import process
from ozrepro.modulesystem.lmod import Lmod
from tests.fake_cluster import Site
from tests.fake_cluster.fixtures import on_every_lmod, private_site, site

__all__ = ["lmod", "private_site", "site", "started"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run all of them on every Lmod."""
    on_every_lmod(metafunc)


@pytest.fixture
def lmod(site: Site) -> Lmod:
    """Give the site's Lmod."""
    return Lmod(site.lmod_cmd)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Give the list of processes started, which really run."""
    found: list[tuple[str, ...]] = []
    run = process.run

    def counted(argv: Any, **options: Any) -> process.Finished:
        found.append(tuple(argv))
        return run(argv, **options)

    monkeypatch.setattr(process, "run", counted)
    return found
