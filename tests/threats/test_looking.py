"""Looking runs nothing: no command that only looks starts what a lock, a spec or the project names, as strace saw it."""

from __future__ import annotations

import dataclasses
import functools
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.fake_cluster.fixtures import channel, site
from tests.faststart.strace import why_not
from tests.methods.container.standin import with_apptainer
from tests.methods.modules.modular import modular, quoted
from tests.threats.helpers import make_project
from tests.threats.tripwires import (
    LOOKING,
    WIRE,
    Wires,
    check_untouched,
    digest,
    look,
    rewrite,
    with_every_path,
    with_loaded_variables,
)
from tests.wheels import make_sdist, make_wheel

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Project
    from tests.fake_cluster import Site
    from tests.fake_cluster.channel import Channel

    Table = dict[str, Any]

__all__ = ["channel", "site"]

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())

SPEC = """methods = ["modules", "conda", "container", "venv"]

[modules]
load = [{load}]
[modules.venv]
system-site-packages = true
requirements = ["alpha"]

[conda]
dependencies = ["python=3.10"]
mpi = ["gcc/11.3.0", "openmpi/4.1.4"]

[container]
image = "own.sif"
module = "apptainer/9.9"

[venv]
requirements = ["alpha"]
"""


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory, site: Site, channel: Channel) -> Project:
    """Give a project whose session has all four methods locked, on a site that has Apptainer as a module."""
    folder = tmp_path_factory.mktemp("locked")
    tree = folder / "tree"
    found = modular(make_project(folder), site).project
    program = with_apptainer(found).environ["PATH"].partition(":")[0]
    (tree / "apptainer").mkdir(parents=True)
    (tree / "apptainer" / "9.9.lua").write_text(f'prepend_path("PATH", "{program}")\n')
    environ = {**found.environ, "MODULEPATH": f"{tree}:{site.modulepath()}", "CONDA_CHANNEL_ALIAS": channel.alias}
    found = dataclasses.replace(found, environ=environ)
    make_wheel(found.wheelhouse, "alpha", "1.0")
    (found.root / "own.sif").write_bytes(b"an image")
    found.spec(SPEC.format(load=quoted(site.names["python-scientific"])))
    found.done("lock", "work")
    for words in (("init", "-q"), ("add", "sessions"), ("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "Lock")):
        subprocess.run(["git", *words], cwd=found.root, check=True, env=found.environ)
    return found


@pytest.fixture
def project(locked: Project, tmp_path: Path) -> Project:
    """Give a clone of it, which nobody has built."""
    root = tmp_path / "a clone"
    shutil.copytree(locked.root, root, ignore=shutil.ignore_patterns(".ozrepro"))
    return dataclasses.replace(locked, root=root)


def sections(table: Table) -> Table:
    """Return the sections of a lock by their method."""
    return {method: next(iter(table[method].values())) for method in ("modules", "conda", "container", "venv")}


def loads_of(table: Table) -> list[Table]:
    """Return the three loads of modules in a lock: of the toolchain, of the MPI, of Apptainer."""
    found = sections(table)
    return [found["modules"], found["conda"]["mpi"], found["container"]["module"]]


@pytest.mark.parametrize("inside", [True, False], ids=["in the project", "elsewhere"])
def test_a_lock_whose_every_path_names_a_program_runs_none_of_them(project: Project, tmp_path: Path, inside: bool) -> None:
    wires = Wires((project.root if inside else tmp_path) / WIRE).make()

    def hostile(table: Table) -> None:
        for section in sections(table).values():
            section.update(with_every_path(dict(section), wires))
        for load in loads_of(table):
            with_loaded_variables(load["change"], wires)
        modules = table["modules"]
        next(iter(modules.values()))["file"].append({"path": (at := str(wires.program("python"))), "sha256": digest(at)})
        next(iter(modules.values()))["python"] = at
        loads_of(table)[2]["file"].append({"path": (at := str(wires.bin / "apptainer")), "sha256": digest(at)})

    rewrite(project, hostile)
    found = look(project)
    check_untouched(found, wires)
    assert ("is inside the project" in found.output) == inside
    if inside:
        # The machine need not have the modules for the interpreter to be asked.
        away = dataclasses.replace(project, environ={**project.environ, "LMOD_CMD": ":"})
        for words in (("diff", "work"), ("status", "work"), ("build", "work"), ("run", "work", "--", "true")):
            said = away.ozrepro(*words)
            assert said.returncode == 3
            assert ".python: " in said.stderr
            assert "try: ozrepro lock work" in said.stderr
        assert wires.ran() == []


def test_an_environment_built_from_a_hostile_lock_is_looked_at_and_not_started(project: Project, tmp_path: Path) -> None:
    wires = Wires(tmp_path / WIRE).make()

    def hostile(table: Table) -> None:
        modules, mpi, apptainer = loads_of(table)
        for load in (modules, mpi, apptainer):
            with_loaded_variables(load["change"], wires)
            del load["change"]["set"]["PYTHONHOME"]  # with it no Python starts, and nothing could be built
        at = str(wires.program("own-python", modules["python"]))
        modules["file"].append({"path": at, "sha256": digest(at)})
        modules["python"] = at
        # The stand-in starts this machine's programs, which must not be tripwires: a folder with one of its own.
        first = next(folder for folder in apptainer["change"]["path"]["PATH"]["prepend"] if WIRE not in folder)
        at = str(wires.program("only/apptainer", f"{first}/apptainer"))
        apptainer["change"]["path"]["PATH"]["prepend"] = [f"{wires.folder}/only"]
        apptainer["file"].append({"path": at, "sha256": digest(at)})

    rewrite(project, hostile)
    for method in ("modules", "conda", "container", "venv"):
        project.done("build", "work", "--method", method)
    assert {"own-python", "only/apptainer", "sitecustomize"} <= set(wires.ran()), "a build runs what the lock names"
    wires.forget()
    found = look(project)
    check_untouched(found, wires)
    told = dict(line.rsplit(" ", 1) for line in found.output.splitlines() if line.rsplit(" ", 1)[0].split()[:1] == ["verify"])
    assert told["verify work --level 0"] == "0"
    assert {status for words, status in told.items() if "--level 0" not in words and "venv" not in words} == {"3"}
    assert "the modules give the Python " in found.output
    assert "the module gives " in found.output
    # Locking again loads the modules and takes the site's own.
    project.done("lock", "work")
    assert WIRE not in project.lock().read_text()


def test_an_environment_built_from_a_good_lock_is_looked_at_and_not_started(project: Project, site: Site) -> None:
    for method in ("modules", "conda", "container", "venv"):
        project.done("build", "work", "--method", method)
    found = look(project)
    told = [line for line in found.output.splitlines() if line.startswith("verify work")]
    assert [line for line in told if not line.endswith(" 0")] == []
    assert len(told) == 7
    started = [call.paths[0] for call in found.calls]
    locked = (str(project.root), site.python, str(project.wheelhouse.parent / "stand in"))
    assert [path for path in started if path.startswith(locked)] == []


def test_an_interpreter_without_a_digest_is_refused_with_the_command_that_mends_it(project: Project) -> None:
    def hostile(table: Table) -> None:
        modules = sections(table)["modules"]
        modules["file"] = [item for item in modules["file"] if item["path"] != modules["python"]]

    rewrite(project, hostile)
    for words in (("status", "work"), ("diff", "work"), ("build", "work"), ("diff", "work", "HEAD")):
        said = project.ozrepro(*words)
        assert said.returncode == 3
        assert "has no sha256 in `file`" in said.stderr
        assert "try: ozrepro lock work" in said.stderr
    assert "written" in project.done("lock", "work", "--method", "modules")
    project.done("status", "work")


def test_an_interpreter_in_the_store_is_refused(project: Project) -> None:
    store = project.root.parent / "store"
    project.done("build", "work", "--method", "venv", OZREPRO_STORE=str(store))
    wires = Wires(store / WIRE)

    def hostile(table: Table) -> None:
        modules = sections(table)["modules"]
        at = str(wires.program("python", modules["python"]))
        modules["python"] = at
        modules["file"].append({"path": at, "sha256": digest(at)})

    rewrite(project, hostile)
    for words in (("status", "work"), ("build", "work"), ("run", "work", "--", "true")):
        said = project.ozrepro(*words, OZREPRO_STORE=str(store))
        assert (said.returncode, "is inside the store" in said.stderr) == (3, True), said.stderr
    assert wires.ran() == []


@pytest.mark.parametrize("where", ["project", "elsewhere"])
def test_an_apptainer_that_a_locked_module_does_not_give_is_refused(project: Project, tmp_path: Path, where: str) -> None:
    wires = Wires((project.root if where == "project" else tmp_path) / WIRE).make()
    rewrite(project, lambda table: loads_of(table)[2]["change"]["path"]["PATH"].update(prepend=[str(wires.bin)]))
    for words in (("build", "work"), ("run", "work", "--", "true")):
        said = project.ozrepro(*words, OZREPRO_METHOD="container")
        assert said.returncode == 3
        assert "container.module." in said.stderr
        assert "try: ozrepro lock work" in said.stderr
    assert wires.ran() == []


def test_what_a_clone_s_own_texts_name_runs_only_when_it_is_locked_or_built(project: Project) -> None:
    """PATH and MODULEPATH of the project's settings, directories of `use`, and a Python that is inside the project."""
    wires = Wires(project.root / WIRE).make()
    wires.program("bin/python3.99")
    mods = wires.folder / "mods"
    (mods / "toolbox").mkdir(parents=True)
    (mods / "toolbox" / "1.0.lua").write_text(f"os.execute(\"echo modulefile >> '{wires.folder}/ran'\")\n")
    (project.root / "pyproject.toml").write_text(
        f'[tool.ozrepro]\npath = ["{wires.bin}"]\nmodulepath = ["{mods}"]\n', encoding="utf-8"
    )
    spec = f'[modules]\nload = ["toolbox/1.0"]\nuse = ["{WIRE}/mods"]\n[venv]\npython = ">=3.98"\nrequirements = ["alpha"]\n'
    for name in ("work", "other"):
        project.spec(f'methods = ["modules", "venv"]\n{spec}', name)
    environ = {**project.environ, "PATH": f"{project.environ['PATH']}:{wires.bin}"}
    commands = [*LOOKING, ("status", "other", "--json"), ("lock", "other", "--check"), ("init", "third")]
    found = look(dataclasses.replace(project, environ=environ), commands)
    # The PATH is the caller's own; what stands there in the project is passed over.
    started = [call.paths[0] for call in found.calls]
    assert [path for path in started if WIRE in path] == []
    assert wires.ran() == []
    project.ozrepro("lock", "other")
    assert "modulefile" in wires.ran(), "the wires are live"


def test_an_export_asks_no_source_archive_what_it_requires(tmp_path: Path) -> None:
    project, ran = make_project(tmp_path), tmp_path / "ran"
    make_wheel(project.wheelhouse, "helper-tool", "1.0")
    make_sdist(project.wheelhouse, "alpha", "1.0", metadata="2.1", first=f"open({str(ran)!r}, 'a').close()")
    project.spec('[venv]\nrequirements = ["alpha"]\nbuild = ["alpha"]\n')
    project.done("lock", "work")
    assert ran.exists(), "its backend tells"
    ran.unlink()
    shutil.rmtree(project.store())
    assert "alpha-1.0.tar.gz" in project.done("export", "work", "--format", "pylock")
    assert not ran.exists()


def test_a_revision_is_read_without_the_programs_that_a_repository_s_configuration_names(tmp_path: Path) -> None:
    """A folder that was unpacked brings its .git with it: a missing object would be fetched by a command of its choice."""
    project, ran = make_project(tmp_path), tmp_path / "ran"
    make_wheel(project.wheelhouse, "alpha", "1.0")
    project.spec('[venv]\nrequirements = ["alpha"]\n')
    project.done("lock", "work")
    run = functools.partial(subprocess.run, cwd=project.root, env=project.environ, capture_output=True, text=True)
    assert run(["git", "init", "-q"]).returncode == 0
    assert run(["git", "add", "sessions"]).returncode == 0
    assert run(["git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "Lock"]).returncode == 0
    assert project.done("diff", "work", "HEAD") == "no difference\n"
    blob = str(run(["git", "rev-parse", "HEAD:sessions/work.lock"]).stdout).strip()
    (project.root / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    settings = {
        "core.repositoryFormatVersion": "1",
        "extensions.partialClone": "origin",
        "remote.origin.promisor": "true",
        "remote.origin.url": f"ext::sh -c touch% {ran}",
        "protocol.ext.allow": "always",
    }
    for key, value in settings.items():
        assert run(["git", "config", key, value]).returncode == 0
    said = project.ozrepro("diff", "work", "HEAD")
    assert (said.returncode, ran.exists()) == (2, False), said.stderr
    assert "neither a lock file nor a git revision" in said.stderr
    run(["git", "show", "HEAD:sessions/work.lock"])
    assert ran.exists(), "git itself would run it"
