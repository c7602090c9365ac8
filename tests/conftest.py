"""A project in a folder with a space, a wheelhouse, an empty home: what most tests start from; and which tests are of which kind.

Each test has the marker of its folder's kind, or `site` where it asks for a part of the fake cluster. `quick` are those that pass in
minutes on any machine: neither of the site nor of the network, nor slow, nor skipped where something is missing.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.sealed import hear_signals, seal, system_path
from tests.wheels import make_wheel

BIN = Path(sys.executable).parent
TESTS = Path(__file__).parent

KINDS = {
    "docs": "docs",
    "fake_cluster": "site",
    "modulesystem": "unit",
    "project": "unit",
    "site": "unit",
    "threats": "threats",
}
"""The kinds of the folders whose tests are not `integration`; tests beside this file are unit tests."""

MACHINE_FIXTURES = frozenset({"small_disk", "sweep"})
"""Fixtures that need rights or programs which not every machine gives, and skip without them."""

seal(os.environ)
hear_signals()
# How long a machine takes is not a property of the code: measuring coverage on a busy one is slow.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test the marker of its kind, and `quick` where it needs only what any machine has."""
    for item in items:
        folder, _, rest = item.path.relative_to(TESTS).as_posix().partition("/")
        if _asks_for_the_cluster(item):
            item.add_marker("site")
        elif item.get_closest_marker("site") is None:
            item.add_marker(KINDS.get(folder, "integration") if rest else "unit")
        on_any_machine = MACHINE_FIXTURES.isdisjoint(getattr(item, "fixturenames", ()))
        if on_any_machine and not any(item.get_closest_marker(name) for name in ("site", "slow", "network", "skipif")):
            item.add_marker("quick")


def _asks_for_the_cluster(item: pytest.Item) -> bool:
    """Say whether one of a test's fixtures is of the fake cluster."""
    asked = getattr(item, "_fixtureinfo", None)
    definitions = itertools.chain.from_iterable(asked.name2fixturedefs.values()) if asked else ()
    return any(definition.func.__module__.startswith("tests.fake_cluster.") for definition in definitions)


@dataclass(frozen=True)
class Project:
    """A project folder and the environment in which its commands are run, as a user's shell would have it."""

    root: Path
    environ: dict[str, str]

    @property
    def wheelhouse(self) -> Path:
        """The directory that serves as the package index."""
        return self.root.parent / "wheel house"

    def spec(self, text: str, name: str = "work") -> Path:
        """Write a session's spec."""
        path = self.root / "sessions" / f"{name}.toml"
        path.write_text(text, encoding="utf-8")
        return path

    def lock(self, name: str = "work") -> Path:
        """Return the path of a session's lock."""
        return self.root / "sessions" / f"{name}.lock"

    def run(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment that the tests run in, as a process of its own."""
        program = BIN / words[0]
        command = [str(program) if program.exists() else words[0], *words[1:]]
        return subprocess.run(command, cwd=self.root, env={**self.environ, **more}, capture_output=True, text=True, check=False)

    def ozrepro(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run `ozrepro` with these words."""
        return self.run("ozrepro", *words, **more)

    def done(self, *words: str, **more: str) -> str:
        """Run `ozrepro`, insist that it succeeds, and return what it printed."""
        finished = self.ozrepro(*words, **more)
        assert finished.returncode == 0, finished.stdout + finished.stderr
        return finished.stdout

    def store(self) -> Path:
        """Return the store's folder."""
        return self.root / ".ozrepro"

    def prefix(self) -> Path:
        """Return the prefix of the only published environment."""
        names = [path for path in (self.store() / "names").iterdir() if not path.name.startswith(".")]
        assert len(names) == 1
        return names[0].resolve() / "env"

    def prefix_of(self, name: str) -> Path:
        """Return the prefix of a session's built environment."""
        found = json.loads(self.done("status", name, "--json"))["sessions"][0]["methods"]
        return next(Path(method["generation"]) / "env" for method in found if "generation" in method)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Give an empty project that takes its packages from a wheelhouse and nothing from the machine's own settings."""
    home = tmp_path / "home"
    root = tmp_path / "a project"
    for folder in (home, root / "sessions", tmp_path / "wheel house"):
        folder.mkdir(parents=True)
    environ = {
        "HOME": str(home),
        "PATH": f"{BIN}:{system_path()}",
        "LANG": "C.UTF-8",
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_FIND_LINKS": str(tmp_path / "wheel house"),
        "PIP_NO_INDEX": "1",
    }
    return Project(root, environ)


@pytest.fixture
def small(project: Project) -> Project:
    """Give a project with one described session of two tiny packages."""
    make_wheel(project.wheelhouse, "alpha", "1.0", requires=("beta>=1",))
    make_wheel(project.wheelhouse, "beta", "1.5")
    project.spec('imports = ["alpha", "beta"]\n\n[venv]\nrequirements = ["alpha"]\n')
    return project


@pytest.fixture
def built(small: Project) -> Project:
    """Give the small project with its session locked and built."""
    small.done("lock", "work")
    small.done("build", "work")
    return small


def unmount(mount: Path) -> None:
    """Unmount, lazily where something still uses it."""
    for words in (["fusermount3", "-u"], ["fusermount", "-u"], ["umount"], ["fusermount", "-uz"], ["umount", "-l"]):
        if shutil.which(words[0]) and subprocess.run([*words, str(mount)], capture_output=True, check=False).returncode == 0:
            return


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Give a file system of its own, to be made small or large by `mount -o remount`."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a tmpfs")
    mount = tmp_path / "disk"
    mount.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(mount)], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        pytest.skip(f"no tmpfs can be mounted here: {made.stderr.strip()}")
    try:
        yield mount
    finally:
        unmount(mount)
