"""The kernels of `ozrepro kernel`, started by Jupyter's own programs: of each method, and of an environment in one file."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import BIN, Project
from tests.fake_cluster import SiteUnavailable, condapackage, python, realpackages
from tests.fake_cluster.channel import MAIN, Channel, behind_the_site
from tests.fake_cluster.containers import TAG, Containers
from tests.fake_cluster.fixtures import (
    OrdinaryProject,
    account,
    channel,
    containers,
    ordinary,
    registry,
    site,
    user_programs,
)
from tests.fake_cluster.registry import Registry
from tests.fake_cluster.tools import make_tools
from tests.methods.container.contained import HUB, contained
from tests.methods.modules.modular import modular
from tests.needs import FUSE
from tests.python.test_unreachable_index import user_settings
from tests.sealed import system_path
from tests.store.mounted import wait

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["account", "channel", "containers", "ordinary", "registry", "site", "user_programs"]

pytestmark = [pytest.mark.site, pytest.mark.network]

JUPYTER = ("jupyter_client==8.10.0", "nbclient==0.11.0")
DRIVER = Path(__file__).with_name("jupyterdriver.py").read_text(encoding="utf-8")
NOTEBOOK = {
    "cells": [
        {
            "cell_type": "code",
            "execution_count": None,
            "id": "one",
            "metadata": {},
            "outputs": [],
            "source": "import os\nprint(os.environ['OZREPRO_SESSION'], 6 * 7)",
        }
    ],
    "metadata": {},
    "nbformat": 4,
    "nbformat_minor": 5,
}


def pinned(version: str) -> str:
    """Return the ipykernel for a Python: 7.4.0 needs 3.11."""
    minor = int(version.split(".")[1])
    return f"ipykernel=={'7.4.0' if minor >= 11 else '7.3.0'}"


@dataclass(frozen=True)
class Desk:
    """Where a user starts notebooks: a kernel and its method, and Jupyter's programs in an environment of their own."""

    project: Project
    method: str
    kernel: str
    programs: Path
    folder: Path

    def started(self, *words: str | Path, **more: str) -> subprocess.Popen[str]:
        """Start a program of Jupyter's in the folder of the notebooks."""
        command = [str(self.programs / words[0]), *map(str, words[1:])]
        if isinstance(self.project, OrdinaryProject):
            command = self.project.account.command(*command)
        environ = {**self.project.environ, "JPY_SESSION_NAME": "of a notebook", **more}
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def driver(self, action: str, **more: str) -> subprocess.Popen[str]:
        """Start the driver."""
        return self.started("python", "-c", DRIVER, self.kernel, action, **more)

    def led(self, action: str, **more: str) -> tuple[dict[str, Any], str]:
        """Return what the driver came to, and what Jupyter's log says."""
        output, said = self.driver(action, **more).communicate(timeout=300)
        assert output.strip(), said
        found: dict[str, Any] = json.loads(output.splitlines()[-1])
        return found, said


def kernel_of(project: Project, **more: str) -> str:
    """Write a kernelspec of the project's session and return the kernel's name."""
    return str(json.loads(project.done("kernel", "work", "--json", **more))["kernels"][0]["kernel"])


def processes_with(text: str) -> list[str]:
    """Return the processes that have a text in their command line."""
    found = []
    for process in filter(str.isdecimal, os.listdir("/proc")):
        try:
            words = Path("/proc", process, "cmdline").read_bytes().decode(errors="replace")
        except OSError:  # it has ended
            continue
        if text in words and int(process) != os.getpid():
            found.append(f"{process} {words}")
    return found


@pytest.fixture(scope="session")
def jupyter() -> Path:
    """Give the folder of Jupyter's programs."""
    try:
        return make_tools("jupyter", JUPYTER)
    except SiteUnavailable as reason:
        pytest.skip(f"no Jupyter: {reason}")


class Making:
    """Makes a project of each method, which share what is downloaded."""

    def __init__(self, request: pytest.FixtureRequest, folder: Path, cache: Path) -> None:
        self._request, self._folder, self._cache = request, folder, cache

    def project(self, spec: str, **more: str) -> Project:
        """Return a project of the user with a session."""
        root, home = self._folder / "a project", self._folder / "home"
        for folder in (root / "sessions", home):
            folder.mkdir(parents=True)
        environ = {"PATH": f"{BIN}:{system_path()}", "LANG": "C.UTF-8", "HOME": str(home)}
        made = Project(root, {**environ, **user_settings(), "OZREPRO_CACHE": str(self._cache), **more})
        made.spec(spec)
        return made

    def venv(self) -> Project:
        here = "{}.{}".format(*sys.version_info[:2])
        return self.project(f'[venv]\npython = ">={here}"\nrequirements = ["{pinned(here)}"]\n')

    def modules(self) -> Project:
        cluster = self._request.getfixturevalue("site")
        load = cluster.names["python-scientific"]
        spec = f'[modules]\nload = ["{load}"]\n[modules.venv]\nsystem-site-packages = true\nrequirements = ["{{}}"]\n'
        return modular(self.project(spec.format(pinned(cluster.python_version))), cluster).project

    def conda(self) -> Project:
        shared = self._request.getfixturevalue("channel")
        alias = notebook_channel(shared, self._folder / "channels")
        spec = f'[conda]\ndependencies = ["python={shared.python_version}", "ipykernel"]\n'
        return self.project(spec, CONDA_CHANNEL_ALIAS=alias.as_uri())


def notebook_channel(shared: Channel, folder: Path) -> Path:
    """Make a channel of the shared one's Python, and of ipykernel with all that it needs, from wheels; return its alias' folder."""
    source = python._ask(behind_the_site())
    assert source is not None
    main = folder / MAIN
    for archive in (*shared.find("python"), *shared.find("python_abi")):
        (main / archive.subdir).mkdir(parents=True, exist_ok=True)
        shutil.copy(shared.path(archive), main / archive.subdir)
    wheels = folder / "wheels"
    words = [source.executable, "-m", "pip", "download", "-q", "--only-binary=:all:", "-d", str(wheels)]
    try:
        python.run([*words, pinned(source.version)], "pip download")
    except RuntimeError as error:
        pytest.skip(f"no wheels (no network?): {error}")

    def convert(wheel: Path) -> None:
        package = realpackages.convert(wheel, source, folder / "work")
        condapackage.write(dataclasses.replace(package, suffix=".tar.bz2"), main)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(convert, sorted(wheels.iterdir(), key=lambda path: -path.stat().st_size)))
    condapackage.index(main)
    return folder


@pytest.fixture(scope="module", params=["venv", "modules", pytest.param("conda", marks=pytest.mark.slow)])
def desk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, jupyter: Path) -> Desk:
    """Give a kernel of a method; it is built by the command itself."""
    cache = tmp_path_factory.getbasetemp() / "cache of notebooks"
    project: Project = getattr(Making(request, tmp_path_factory.mktemp(request.param), cache), request.param)()
    project.done("lock", "work")
    return Desk(project, request.param, kernel_of(project), jupyter, project.root.parent)


@pytest.fixture
def short(tmp_path: Path) -> Iterator[str]:
    """Give a folder with a short path: a socket's has at most 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="jupyter-", dir="/tmp") as folder:
        yield folder


def check_life(desk: Desk) -> dict[str, Any]:
    """Insist on all that Jupyter does with a kernel, and return what a cell of it saw."""
    life, said = desk.led("live")
    first: dict[str, Any] = life.pop("first")
    file = life.pop("file")
    assert life.pop("interrupted").split() == ["interrupt", "me", "KeyboardInterrupt"]
    assert life == {
        "without file": "42",
        "another": True,
        "forgotten": "NameError",
        "ended": True,
    }, said
    assert first["environ"]["OZREPRO_METHOD"] == desk.method
    assert first["environ"]["JPY_SESSION_NAME"] == "of a notebook"
    assert first["environ"]["PYTHONNOUSERSITE"] == "1"
    assert (first["folder"], first["parent"]) == (str(desk.folder), desk.method != "container")
    assert wait(lambda: not processes_with(file)), processes_with(file)
    return first


def check_orphan(desk: Desk) -> None:
    """Insist that no kernel outlives a Jupyter that was killed."""
    driver = desk.driver("wait")
    assert driver.stdout is not None
    file = driver.stdout.readline().strip()
    assert file, driver.communicate()[1]
    assert processes_with(file)
    driver.send_signal(signal.SIGKILL)
    driver.communicate(timeout=120)  # ends when nobody holds the pipes any more
    assert wait(lambda: not processes_with(file)), processes_with(file)


def test_jupyter_starts_interrupts_restarts_and_ends_a_kernel(desk: Desk) -> None:
    first = check_life(desk)
    assert first["prefix"].startswith(f"{desk.project.store()}/gens/")
    if desk.method == "modules":
        assert "python-scientific" in first["environ"]["LOADEDMODULES"]


def test_a_killed_jupyter_leaves_no_kernel(desk: Desk) -> None:
    check_orphan(desk)


def executed(desk: Desk) -> str:
    """Run a notebook by the kernel's name, and return what its cell has printed."""
    note = desk.folder / "note.ipynb"
    note.write_text(json.dumps(NOTEBOOK), encoding="utf-8")
    if isinstance(desk.project, OrdinaryProject):
        desk.project.account.give(note)
    process = desk.started("jupyter-execute", f"--kernel_name={desk.kernel}", "--inplace", note.name)
    said = process.communicate(timeout=300)[1]
    assert process.returncode == 0, said
    (output,) = json.loads(note.read_text(encoding="utf-8"))["cells"][0]["outputs"]
    return "".join(output["text"])


@pytest.mark.parametrize("desk", ["venv"], indirect=True)
class TestOfAVenv:
    def test_a_notebook_runs_by_the_kernel_s_name(self, desk: Desk) -> None:
        assert executed(desk) == "work 42\n"

    @pytest.mark.parametrize(
        ("line", "transport", "encrypted"),
        [
            ('c.KernelManager.transport = "ipc"', "ipc", False),
            pytest.param(
                'c.KernelManager.transport_encryption = "required"',
                "tcp",
                True,
                marks=pytest.mark.skipif(sys.version_info < (3, 11), reason="ipykernel 7.4 encrypts"),
            ),
        ],
    )
    def test_a_line_of_jupyter_s_settings_keeps_a_kernel_from_being_overheard(
        self, desk: Desk, short: str, line: str, transport: str, encrypted: bool
    ) -> None:
        (Path(short) / "jupyter_config.py").write_text(f"{line}\n")
        found, said = desk.led("show", JUPYTER_CONFIG_DIR=short, JUPYTER_RUNTIME_DIR=short)
        assert (found["transport"], found["encrypted"]) == (transport, encrypted), said
        assert "susceptible to eavesdropping" not in said

    def test_a_kernel_whose_lock_has_changed_says_so_in_jupyter_s_log(self, desk: Desk) -> None:
        lock = desk.project.lock()
        before = lock.read_bytes()
        lock.write_bytes(before + b"# edited\n")
        try:
            ended, said = desk.led("end")
        finally:
            lock.write_bytes(before)
        assert ended == {"status": 3}
        assert f"ozrepro: {lock} has changed since work was built\n  try: ozrepro build work\n" in said

    def test_a_kernel_whose_environment_is_gone_says_so_in_jupyter_s_log(self, desk: Desk) -> None:
        names = desk.project.store() / "names"
        names.rename(names.with_name("away"))
        try:
            ended, said = desk.led("end")
        finally:
            names.with_name("away").rename(names)
        assert ended == {"status": 3}
        assert "was removed since work was built\n  try: ozrepro build work\n" in said

    @FUSE
    def test_the_same_kernel_starts_the_environment_as_one_file(self, desk: Desk) -> None:
        project = dataclasses.replace(desk.project, environ={**desk.project.environ, "OZREPRO_FORM": "file"})
        assert kernel_of(project) == desk.kernel
        prefix = check_life(desk)["prefix"]
        assert Path(prefix, "../env.sqfs").exists()
        check_orphan(desk)


@pytest.mark.slow
def test_jupyter_outside_an_image_has_its_kernel_inside(
    ordinary: OrdinaryProject, containers: Containers, registry: Registry, jupyter: Path
) -> None:
    """Jupyter's data folder is one that images do not show by themselves."""
    registry.push(containers.layout, containers.index, HUB, TAG)
    project = contained(ordinary, registry)
    project.write("sessions/work.def", f"Bootstrap: docker\nFrom: python:{TAG}\n\n%post\n    pip install -q {pinned('3.11')}\n")
    project.spec('[container]\ndefinition = "sessions/work.def"\n')
    data = project.account.make_folder("data").rename(project.account.folder / "jupyter")
    own = {name: value for name, value in project.environ.items() if not name.startswith("PIP_")}
    environ = {**own, **user_settings(), "APPTAINER_MKSQUASHFS_ARGS": "-Xcompression-level 1", "JUPYTER_DATA_DIR": str(data)}
    project = dataclasses.replace(project, environ=environ)
    project.done("lock", "work")
    desk = Desk(project, "container", kernel_of(project), jupyter, project.root.parent)
    first = check_life(desk)
    assert first["environ"]["APPTAINER_NAME"] == "image.sif"
    assert executed(desk) == "work 42\n"
    (data / "jupyter_config.py").write_text('c.KernelManager.transport = "ipc"\n')
    found, said = desk.led("show", JUPYTER_CONFIG_DIR=str(data))
    assert found["transport"] == "ipc", said
    check_orphan(desk)
