"""The lines of the page on installing, run as printed with what a release would hold: a wheel made from the source archive."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import ozrepro
from tests.docs.pages import DOCS, ROOT
from tests.docs.running import BIN
from tests.fake_cluster import python

if TYPE_CHECKING:
    from tests.fake_cluster import Site
    from tests.fake_cluster.slurm import Slurm

pytestmark = [pytest.mark.network, pytest.mark.slow]
PAGE = (DOCS / "how-to" / "install.md").read_text(encoding="utf-8")
CLONE, MODULE = "/path/to/the/clone/of/ozrepro", "python/3.10.4-gcccore-11.3.0"
LIBRARY = "libpython-of-a-module.so"
"""A name that only the module's folder has: the system's linker may know the true one."""


def lines_below(heading: str) -> str:
    """Return the first block of commands below a heading of the page."""
    found = re.search(rf"^## {heading}\n.*?^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None, heading
    return found[1]


def run(script: str, environ: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-e"],
        input=script,
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory, index: dict[str, str]) -> Path:
    """Give a folder with the source archive, and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("release")
    made = run(f"'{BIN}/uv' build --quiet --out-dir dist '{ROOT}'", index, folder)
    assert made.returncode == 0, made.stderr
    return folder / "dist"


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    """Give the wheel."""
    (path,) = dist.glob("*.whl")
    return path


def test_a_release_has_what_it_should_and_its_page_can_be_shown(dist: Path, wheel: Path, index: dict[str, str]) -> None:
    checked = run(f"'{BIN}/uvx' --quiet twine check --strict dist/*.whl dist/*.tar.gz", index, dist.parent)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    (archive,) = dist.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        names = {name.partition("/")[2] for name in packed.getnames()}
    assert {
        "README.md",
        "LICENSE",
        "noxfile.py",
        "tests/conftest.py",
        "docs/how-to/install.md",
        "action.yml",
        ".ci/run",
        ".pre-commit-hooks.yaml",
    } <= names
    with zipfile.ZipFile(wheel) as packed_wheel:
        members = packed_wheel.namelist()
    shared = f"ozrepro-{ozrepro.__version__}.data/data/share/ozrepro/modulefiles/ozrepro/{ozrepro.__version__}"
    schemas = {f"ozrepro/frontends/init/{name}.schema.json" for name in ("spec", "settings")}
    assert {"ozrepro/py.typed", shared, f"{shared}.lua", *schemas} <= set(members)
    assert not [name for name in members if name.startswith(("tests/", "docs/", "ozrepro/frontends/snakemake/"))]


@pytest.mark.parametrize("tool", ["uv", "pipx"])
def test_one_line_gives_both_commands(tool: str, wheel: Path, index: dict[str, str], tmp_path: Path) -> None:
    (line,) = re.findall(rf"^{tool} .*install .*$", PAGE, re.MULTILINE)
    line = line.replace(CLONE, str(wheel)).replace("pipx install", f"uvx pipx install --python '{sys.executable}'")
    places = {"UV_TOOL_DIR": str(tmp_path / "tools"), "UV_TOOL_BIN_DIR": str(tmp_path / "bin"), "HOME": str(tmp_path)}
    pipx = {"PIPX_HOME": str(tmp_path / "tools"), "PIPX_BIN_DIR": str(tmp_path / "bin")}
    done = run(line, {**index, **places, **pipx}, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("ozrepro", "nox"):
        assert subprocess.run([tmp_path / "bin" / name, "--version"], env={}, check=False, capture_output=True).returncode == 0


@dataclass(frozen=True)
class Cluster:
    """What the lines for a cluster have made, and a login shell on it."""

    place: Path
    environ: dict[str, str]
    modules: str
    """What a login shell reads to have `module`."""
    said: subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def cluster(wheel: Path, site: Site, index: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """Give a cluster whose only Python of use is a module's, found by LD_LIBRARY_PATH alone, on which the lines were run."""
    patchelf = shutil.which("patchelf")
    folder = tmp_path_factory.mktemp("cluster")
    source = python.find()
    if patchelf is None or not source.library:
        pytest.skip("needs patchelf, and a Python with a library of its own")
    program = Path(python.copy(source, folder / "python", patchelf))
    (library,) = (path for path in (folder / "python" / "lib").glob("libpython*.so.*") if not path.is_symlink())
    library.rename(library.with_name(LIBRARY))
    subprocess.run([patchelf, "--remove-rpath", "--replace-needed", library.name, LIBRARY, program], check=True)
    assert subprocess.run([program, "-c", ""], env={}, capture_output=True, check=False).returncode == 127
    modulefile = folder / "modules" / f"{MODULE}.lua"
    modulefile.parent.mkdir(parents=True)
    modulefile.write_text(
        f'prepend_path("PATH", "{folder}/python/bin")\nprepend_path("LD_LIBRARY_PATH", "{folder}/python/lib")\n', encoding="utf-8"
    )
    (folder / "home").mkdir()
    more = {"HOME": str(folder / "home"), "LMOD_CMD": site.lmod_cmd, "MODULEPATH": str(folder / "modules"), "USER": "me"}
    environ = {**index, **more, "PATH": "/usr/bin:/bin"}
    modules = f". '{Path(site.lmod_cmd).parents[1]}/init/bash'\n"
    lines = lines_below("On a cluster").replace("/fred/oz999", str(folder / "fred")).replace(CLONE, f"'{wheel}'")
    (folder / "fred" / "me").mkdir(parents=True)
    said = run(modules + lines, environ, folder)
    assert said.returncode == 0, said.stdout + said.stderr
    return Cluster(folder / "fred" / "me" / "ozrepro", environ, modules, said)


def test_the_lines_for_a_cluster_end_with_a_tool_that_needs_no_module(cluster: Cluster, tmp_path: Path) -> None:
    assert cluster.said.stdout.splitlines()[-1] == f"ozrepro {ozrepro.__version__}"
    commands = cluster.place / "commands"
    assert sorted(os.listdir(commands)) == ["nox", "ozrepro"]
    for name in ("ozrepro", "nox"):
        assert subprocess.run([commands / name, "--version"], env={}, capture_output=True, check=False).returncode == 0
    (tmp_path / "sessions").mkdir()
    (tmp_path / "sessions" / "work.toml").write_text('[venv]\nrequirements = ["six"]\n', encoding="utf-8")
    told = run(
        "ozrepro doctor --plain || true; ozrepro lock; ozrepro run work -- python -c 'import six, sys; print(sys.prefix)'",
        {**cluster.environ, "PATH": f"{commands}:/usr/bin:/bin"},
        tmp_path,
    )
    assert told.returncode == 0, told.stderr
    assert "LD_LIBRARY_PATH" not in told.stdout
    assert told.stdout.splitlines()[-1].startswith(f"{tmp_path}/.ozrepro/gens/")
    base = (tmp_path / ".ozrepro").glob("gens/*/env/bin/python")
    assert [os.path.realpath(path) for path in base] == [f"{cluster.place}/python/bin/python3"]


@pytest.mark.parametrize("form", ["lua", "tcl"])
def test_the_modulefiles_of_the_package_put_both_commands_and_no_python_on_path(
    cluster: Cluster, form: str, tmp_path: Path
) -> None:
    shipped = cluster.place / "share" / "ozrepro" / "modulefiles"
    other = tmp_path / "PLACE" / "share" / "ozrepro" / "modulefiles"
    shutil.copytree(shipped, other)
    (tmp_path / "PLACE" / "commands").symlink_to(cluster.place / "commands")
    (other / "ozrepro" / (ozrepro.__version__ if form == "lua" else f"{ozrepro.__version__}.lua")).unlink()
    lines = lines_below("As a module for everybody").replace("/apps/ozrepro/0.1.0", str(tmp_path / "PLACE"))
    shown = run(f"{cluster.modules}{lines}type -P ozrepro nox; type -P python || echo none", cluster.environ, tmp_path)
    place = f"{tmp_path}/PLACE/commands"
    python_before = run("type -P python || echo none", cluster.environ, tmp_path).stdout.strip()
    assert shown.stdout.split() == [f"{place}/ozrepro", f"{place}/nox", python_before], shown.stderr


def test_the_tool_starts_in_a_job_that_loads_nothing(cluster: Cluster, slurm: Slurm, tmp_path: Path) -> None:
    done = slurm.run(str(cluster.place / "commands" / "ozrepro"), "--version", cwd=tmp_path, environ=cluster.environ, nodes=1)
    assert (done.returncode, done.stdout) == (0, f"ozrepro {ozrepro.__version__}\n"), done.stderr


def test_the_workflow_of_a_release_gives_its_identity_to_the_step_that_publishes_alone() -> None:
    text = (ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8")
    assert re.findall(r"id-token: \w+", text.partition("  publish:")[2]) == ["id-token: write"]
    assert "id-token" not in text.partition("  publish:")[0]
    assert all(re.search(r"@[0-9a-f]{40} # v\d", line) for line in text.splitlines() if "uses:" in line)
    assert f"{ozrepro.__version__}.lua" in os.listdir(DOCS / "examples" / "modulefiles" / "ozrepro")
