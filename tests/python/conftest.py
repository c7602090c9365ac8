"""A uv that takes packages from the project's wheelhouse."""

from __future__ import annotations

import pytest

from ozrepro.methods.reading import load_settings
from ozrepro.python.uv import Uv, find_uv
from tests.conftest import Project


@pytest.fixture
def uv(project: Project) -> Uv:
    """Give a uv with the project's wheelhouse as its only index and a cache of its own."""
    settings = load_settings(project.root, {})
    return find_uv(settings, project.environ, project.root.parent / "cache")
