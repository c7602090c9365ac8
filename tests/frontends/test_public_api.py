"""What front ends use of ozrepro: the public API."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

import ozrepro

PACKAGE = Path(ozrepro.__file__).parent


def imports(file: Path) -> set[str]:
    """Return all that a module imports, wherever it does, each name with its module's."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_the_nox_backend_imports_nox_the_standard_library_and_the_public_api_alone() -> None:
    found = imports(PACKAGE / "frontends" / "nox.py")
    ours = {name for name in found if name.partition(".")[0] == "ozrepro"}
    assert ours <= {f"ozrepro.{name}" for name in ozrepro.__all__}
    assert "ozrepro.open_session" in ours
    assert {name.partition(".")[0] for name in found - ours} <= {"nox", *sys.stdlib_module_names}


@pytest.mark.parametrize("module", ["building", "shells"])
def test_a_command_that_builds_or_starts_does_so_by_the_public_api(module: str) -> None:
    found = imports(PACKAGE / "frontends" / "cli" / f"{module}.py")
    assert "ozrepro.open_session" in found
    assert not {"ozrepro.pipeline.preparing.prepare", "ozrepro.pipeline.session.open_session"} & found
