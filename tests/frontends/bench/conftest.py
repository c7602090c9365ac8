"""A candidate that is this Python, a starter for it, and a Slurm."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ozrepro.environment import Environment
from ozrepro.frontends.bench.candidate import Candidate
from ozrepro.frontends.bench.launch import Starter
from tests.fake_cluster.fixtures import slurm

__all__ = ["slurm"]

BIN = str(Path(sys.executable).parent)


@pytest.fixture
def here(tmp_path: Path) -> Candidate:
    """Give a candidate whose Python is that of the tests, with a folder of two files as its prefix."""
    prefix = tmp_path / "the prefix"
    (prefix / "lib").mkdir(parents=True)
    (prefix / "lib" / "own.py").write_text("NUMBER = 1\n")
    (prefix / "data").write_text("x" * 10)
    environment = Environment(path=(BIN,), variables={"PYTHONPATH": str(prefix / "lib"), "PYTHONDONTWRITEBYTECODE": "1"})
    return Candidate("here", environment, str(prefix), (str(prefix),), files=2, bytes=21)


@pytest.fixture
def wrapped(here: Candidate) -> Candidate:
    """Give the same with a program in front of every command, as images and `conda run` have."""
    environment = Environment(**{**here.environment.as_dict(), "prefix": ("/usr/bin/env", "WRAPPED=1")})
    return Candidate("wrapped", environment, here.prefix, here.roots, here.files, here.bytes)


@pytest.fixture
def starter(tmp_path: Path) -> Iterator[Starter]:
    """Give a starter that works in the test's folder."""
    with Starter({"HOME": str(tmp_path)}, tmp_path, tmp_path / "work") as found:
        yield found
