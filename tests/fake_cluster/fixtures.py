"""The test site as fixtures: import those that are needed into a conftest, with the fixtures that they ask for.

`site` and `private_site` are the modules; `channel`, `private_channel` and `serve` conda's channels; `account`, `containers`,
`user_programs`, `registry`, `ordinary` and `apptainer_site` the container part, `slurm` and `user_slurm` the scheduler.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import Project
from tests.fake_cluster import Site, SiteUnavailable
from tests.fake_cluster import containers as container_part
from tests.fake_cluster.channel import Channel, make_cached
from tests.fake_cluster.containers import QUICK, Containers
from tests.fake_cluster.lmods import LMODS, with_lmod
from tests.fake_cluster.make import make
from tests.fake_cluster.ordinary import Account, borrow_account, make_python
from tests.fake_cluster.registry import Registry
from tests.fake_cluster.server import Server
from tests.fake_cluster.slurm import Slurm
from tests.sealed import HOST_LMOD

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

SHARED_SOFTWARE = ("python", "python-scientific", "pyyaml")


@pytest.fixture(scope="session")
def site(request: pytest.FixtureRequest) -> Site:
    """Give the test site, made if need be; skip where it cannot be made, fail where somebody promised one.

    A parameter is one of LMODS (see `on_every_lmod`).
    """
    try:
        with pytest.MonkeyPatch.context() as patch:
            if HOST_LMOD in os.environ:
                patch.setenv("LMOD_CMD", os.environ[HOST_LMOD])
            made = make()
        return with_lmod(made, getattr(request, "param", LMODS[0]))
    except SiteUnavailable as reason:
        if os.environ.get("OZREPRO_TEST_SITE"):
            pytest.fail(f"OZREPRO_TEST_SITE is set, but: {reason}")
        pytest.skip(f"no test site: {reason}")


def on_every_lmod(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for the site once on each Lmod: to be called by `pytest_generate_tests`."""
    if "site" in metafunc.fixturenames:
        metafunc.parametrize("site", LMODS, indirect=True, scope="session")


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


@pytest.fixture(scope="session")
def account() -> Iterator[Account]:
    """Give an ordinary user to run as: a user of the tests' own for root, else the one who runs them."""
    with contextlib.ExitStack() as stack:
        try:
            found = stack.enter_context(borrow_account())
        except SiteUnavailable as reason:
            pytest.skip(f"no ordinary user: {reason}")
        yield found


@pytest.fixture(scope="session")
def containers(account: Account) -> Containers:
    """Give Apptainer and a base image, made if need be; skip where they cannot be made, fail where somebody promised them."""
    try:
        return container_part.make_cached(account)
    except SiteUnavailable as reason:
        if os.environ.get("OZREPRO_TEST_CONTAINERS"):
            pytest.fail(f"OZREPRO_TEST_CONTAINERS is set, but: {reason}")
        pytest.skip(f"no containers: {reason}")


@pytest.fixture(scope="session")
def user_programs(account: Account) -> Path:
    """Give the folder of `python`, `ozrepro` and `nox` that the ordinary user can run."""
    try:
        return make_python(account)
    except SiteUnavailable as reason:
        pytest.skip(f"no Python for the ordinary user: {reason}")


@pytest.fixture
def registry(containers: Containers, tmp_path: Path) -> Iterator[Registry]:
    """Give a registry that has the base image, for one test."""
    with Registry(containers, tmp_path / "registry") as running:
        yield running


@pytest.fixture(scope="package")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    """Give a running Slurm of four nodes."""
    try:
        with Slurm(tmp_path_factory.mktemp("slurm"), nodes=4) as running:
            yield running
    except SiteUnavailable as reason:
        pytest.skip(f"no Slurm: {reason}")


@pytest.fixture(scope="session")
def user_slurm(account: Account) -> Iterator[Slurm]:
    """Give a running Slurm of four nodes whose commands the ordinary user can run."""
    if not account.borrowed:
        pytest.skip("only root can start Slurm for another user")
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir=account.folder))
    folder.chmod(0o755)
    try:
        with Slurm(folder / "here", nodes=4) as running:
            yield running
    except SiteUnavailable as reason:
        pytest.skip(f"no Slurm: {reason}")


@dataclass(frozen=True)
class OrdinaryProject(Project):
    """A project of an ordinary user, whose commands run as that user, with Apptainer on PATH."""

    account: Account
    programs: Path
    network: bool = True

    @property
    def offline(self) -> OrdinaryProject:
        """The same project where no address can be reached, not even the loopback."""
        return dataclasses.replace(self, network=False)

    @property
    def home(self) -> Path:
        """The user's home."""
        return self.account.home

    def spec(self, text: str, name: str = "work") -> Path:
        """Write a session's spec as a file of the user's."""
        return self.account.give(super().spec(text, name))

    def write(self, name: str, text: str) -> Path:
        """Write a file of the project, such as a definition, as one of the user's."""
        path = self.root / name
        path.write_text(text, encoding="utf-8")
        return self.account.give(path)

    def run(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a program as the user; those of the tests' own environment come first."""
        program = self.programs / words[0]
        command = [str(program) if program.exists() else words[0], *words[1:]]
        return self.account.run(*command, environ={**self.environ, **more}, cwd=self.root, network=self.network)


@pytest.fixture
def ordinary(account: Account, containers: Containers, user_programs: Path) -> Iterator[OrdinaryProject]:
    """Give an empty project of an ordinary user, in a folder with a space, with an empty home."""
    account.empty_home()
    folder = account.make_folder("work of")
    root = folder / "a project"
    for path in (root / "sessions", folder / "wheel house"):
        path.mkdir(parents=True)
    account.give(folder)
    environ = {
        **account.environ(user_programs, containers.bin),
        **QUICK,
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_FIND_LINKS": str(folder / "wheel house"),
        "PIP_NO_INDEX": "1",
    }
    yield OrdinaryProject(root, environ, account, user_programs)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def apptainer_site(site: Site, containers: Containers, ordinary: OrdinaryProject) -> Site:
    """Give a site whose module `apptainer` has the real one, and binds a folder as a cluster's does."""
    copied = copy_site(site, ordinary.root.parent / "site")
    software = copied.prefix / "apps" / "software" / "apptainer" / "latest"
    (software / "bin" / "apptainer").unlink()
    (software / "bin" / "apptainer").symlink_to(containers.program)
    shared = copied.prefix / "fred"
    shared.mkdir()
    modulefile = copied.prefix / "apps" / "modulefiles" / "core" / "apptainer" / "latest.lua"
    text = modulefile.read_text(encoding="utf-8")
    # Apptainer fails when a folder that it is to bind is not there.
    modulefile.write_text(text.replace('"/fred,/apps"', f'"{shared}"'), encoding="utf-8")
    return copied


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
