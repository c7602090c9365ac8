"""The real Lmod of the test site."""

from __future__ import annotations

import pytest

from ozrepro.modulesystem.lmod import Lmod
from tests.site import Site
from tests.site.fixtures import private_site, site

__all__ = ["lmod", "private_site", "site"]


@pytest.fixture
def lmod(site: Site) -> Lmod:
    """Give the site's Lmod."""
    return Lmod(site.lmod_cmd)
