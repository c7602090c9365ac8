"""The test site as fixtures: import `site` and `private_site`, `channel`, `private_channel` and `serve` into a conftest."""

from __future__ import annotations

import dataclasses
import os
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.site import Site, SiteUnavailable
from tests.site.channel import Channel, make_cached
from tests.site.make import make
from tests.site.server import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SHARED_SOFTWARE = ("python", "python-scientific", "pyyaml")


@pytest.fixture(scope="session")
def site() -> Site:
    """Give the test site, made if need be; skip where it cannot be made, fail where somebody promised one."""
    try:
        return make()
    except SiteUnavailable as reason:
        if os.environ.get("OZREPRO_TEST_SITE"):
            pytest.fail(f"OZREPRO_TEST_SITE is set, but: {reason}")
        pytest.skip(f"no test site: {reason}")


@pytest.fixture
def private_site(site: Site, tmp_path: Path) -> Callable[[], Site]:
    """Give a function that copies the OzSTAR-shaped and the odd tree, for a test that edits or removes modulefiles."""

    def copied() -> Site:
        number = sum(path.name.startswith("site") for path in tmp_path.iterdir())
        return copy_site(site, tmp_path / f"site{number}")

    return copied


@pytest.fixture(scope="session")
def channel() -> Channel:
    """Give the conda channels, made if need be; skip where they cannot be made, fail where somebody promised some."""
    try:
        return make_cached()
    except SiteUnavailable as reason:
        if os.environ.get("OZREPRO_TEST_CHANNEL"):
            pytest.fail(f"OZREPRO_TEST_CHANNEL is set, but: {reason}")
        pytest.skip(f"no conda channel: {reason}")


@pytest.fixture
def private_channel(channel: Channel, tmp_path: Path) -> Channel:
    """Give a copy of the channels, for a test that removes, adds or changes archives."""
    return channel.copy(tmp_path / "channels")


@pytest.fixture
def serve() -> Iterator[Callable[[Path], Server]]:
    """Give a function that serves a folder over http on the loopback until the test's end."""
    servers: list[Server] = []

    def serving(folder: Path) -> Server:
        servers.append(Server(folder))
        return servers[-1]

    yield serving
    for server in servers:
        server.stop()


def copy_site(site: Site, prefix: Path) -> Site:
    """Copy the small trees, with the paths that they name; the Pythons are links to the site's own."""
    shutil.copytree(site.prefix / "odd", prefix / "odd")
    shutil.copytree(site.prefix / "apps" / "modulefiles", prefix / "apps" / "modulefiles")
    for software in (site.prefix / "apps" / "software").iterdir():
        target = prefix / "apps" / "software" / software.name
        if software.name in SHARED_SOFTWARE:
            target.symlink_to(software)
        else:
            shutil.copytree(software, target, symlinks=True)
    for folder, _, files in os.walk(prefix):
        for name in files:
            _move(os.path.join(folder, name), f"{site.prefix}/".encode(), f"{prefix}/".encode())
    roots = {
        name: root if name == "easybuild" else root.replace(str(site.prefix), str(prefix), 1) for name, root in site.roots.items()
    }
    return dataclasses.replace(site, prefix=prefix, roots=roots)


def _move(path: str, old: bytes, new: bytes) -> None:
    """Replace the paths in a text file; a file that names none, and a binary, stay as they are."""
    with open(path, "rb+") as file:
        found = file.read()
        if old in found and b"\0" not in found:
            file.seek(0)
            file.write(found.replace(old, new))
            file.truncate()
