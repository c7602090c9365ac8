"""A store's folder, pipes to the processes that use it, and mounts that stand in for other machines' file systems."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ozrepro.store import Store
from ozrepro.store.writing import remove_tree
from tests.conftest import unmount
from tests.fake_cluster.ordinary import Account, borrow_account
from tests.store.mounted import Packed, make
from tests.store.running import Pipe

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Give the path of a store that does not exist yet, and remove what becomes of it: thousands of write-protected files."""
    yield tmp_path / "a store"
    if (tmp_path / "a store").is_dir():
        remove_tree(tmp_path / "a store")


@pytest.fixture
def store(folder: Path) -> Store:
    """Give an open store that looks often."""
    return Store(folder, patience=60.0, poll=(0.01, 0.05)).open()


@pytest.fixture
def job(request: pytest.FixtureRequest) -> str:
    """Give the number of a job that no other test has."""
    return f"{os.getpid()}{abs(hash(request.node.nodeid)) % 10**6}"


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Pipe]:
    """Give a FIFO in which each build signs."""
    pipe = Pipe(tmp_path / "log")
    yield pipe
    pipe.close()


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Pipe]:
    """Give a FIFO at which builds wait to be let through."""
    pipe = Pipe(tmp_path / "gate")
    yield pipe
    pipe.close()


@pytest.fixture
def two_mounts(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """Give two FUSE mounts of one directory, whose file locks do not see each other: Lustre's `localflock`."""
    if shutil.which("bindfs") is None:
        pytest.skip("bindfs is not installed")
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("/dev/fuse is missing or not ours")
    real = tmp_path / "real"
    mounts = (tmp_path / "node 1", tmp_path / "node 2")
    for path in (real, *mounts):
        path.mkdir()
    mounted: list[Path] = []
    try:
        for mount in mounts:
            made = subprocess.run(["bindfs", str(real), str(mount)], capture_output=True, text=True, check=False)
            if made.returncode != 0:
                pytest.skip(f"bindfs cannot mount here: {made.stderr.strip()}")
            mounted.append(mount)
        yield mounts
    finally:
        for mount in mounted:
            unmount(mount)


@pytest.fixture(scope="module", params=["an ordinary user"])
def who(request: pytest.FixtureRequest) -> Iterator[Account | None]:
    """Give whom programs are started as, None for whom the tests are; a parameter may ask for root."""
    if (os.geteuid() == 0) == (request.param == "root"):
        yield None
    elif request.param == "root":
        pytest.skip("the tests do not run as root")
    else:
        with borrow_account() as borrowed:
            yield borrowed


@pytest.fixture(scope="module")
def top(who: Account | None) -> Iterator[Path]:
    """Give a folder that the user can look into."""
    folder = Path(tempfile.mkdtemp(prefix="a store ", dir=who.folder if who else None))
    folder.chmod(0o755)
    yield folder
    remove_tree(folder)


@pytest.fixture(scope="module")
def packed(top: Path, who: Account | None) -> Packed:
    """Give an environment that no test changes."""
    return make(top, who)
