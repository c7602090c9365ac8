"""A small channel and a helper with an empty cache."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ozrepro.methods.conda.channels import Channel
from ozrepro.methods.conda.helper import Answer, Helper, Question, variables
from ozrepro.methods.conda.virtual import Virtual
from tests.methods.conda.packages import index, make_package

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ozrepro.methods.conda.records import LockedRecord

MACHINE = (Virtual("__glibc", "2.36"), Virtual("__linux", "6.1"), Virtual("__unix", "0"))


def ignore(step: str, done: int, total: int) -> None:
    """Take no notice of progress."""


def ask(helper: Helper, channel: str, *specs: str, virtual: tuple[Virtual, ...] = MACHINE) -> Answer:
    """Solve specs against one channel, called `site`."""
    return helper.solve(Question((Channel("site", channel),), specs, "linux-64", virtual), ignore)


def fetch(helper: Helper, records: Sequence[LockedRecord], addresses: Mapping[str, str]) -> tuple[str, ...]:
    """Put packages into the cache, and return the titles of those that were not there; the prefix is thrown away."""
    with tempfile.TemporaryDirectory() as folder:
        return helper.install(records, addresses, Path(folder) / "env", ignore).fetched


@pytest.fixture(scope="session")
def small_channel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a channel of tiny packages; whoever changes it must copy it first."""
    channel = tmp_path_factory.mktemp("channel") / "a site"
    make_package(channel, "alpha", depends=("beta >=1", "__glibc >=2.17"), constrains=("gamma <2",))
    make_package(channel, "beta", "1.5")
    make_package(channel, "beta", "2.0", build="h1_1", build_number=1, timestamp=1800000000000)
    make_package(channel, "pure", subdir="noarch", noarch="generic")
    make_package(channel, "big", files={f"share/big/{number}": os.urandom(20_000) for number in range(200)})
    make_package(channel, "on-gpu", depends=("__cuda >=12,<13",))
    make_package(channel, "both", build="cpu_0")
    make_package(channel, "both", build="cuda_1", build_number=1, depends=("__cuda >=11",))
    index(channel)
    return channel


@pytest.fixture
def helper(tmp_path: Path) -> Helper:
    """Give a helper with an empty cache and an empty home."""
    home = tmp_path / "home"
    home.mkdir()
    return Helper(tmp_path / "cache", variables({**os.environ, "HOME": str(home)}))
