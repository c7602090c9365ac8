"""The documentation builds without a warning."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import DOCS

NEEDED = ("sphinx", "myst_parser", "furo")


@pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in NEEDED),
    reason="sphinx, myst-parser or furo is missing: pip install -e '.[docs]'",
)
def test_sphinx_builds_the_documentation_without_a_warning(tmp_path: Path) -> None:
    """Sphinx finds nothing to complain about: no dangling link, no page outside the table of contents."""
    words = ["-W", "--keep-going", "-n", "-q", "-d", str(tmp_path / "trees"), str(DOCS), str(tmp_path / "html")]
    environ = {**os.environ, "PYTHONWARNINGS": "default"}
    done = subprocess.run([sys.executable, "-m", "sphinx", *words], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "html" / "index.html").is_file()
