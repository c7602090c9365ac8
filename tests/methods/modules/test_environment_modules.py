"""The modules method where the site's tool is Environment Modules, beside the Lmod of this machine."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tests.conftest import Project
from tests.fake_cluster import Site, SiteUnavailable, tmod
from tests.methods.modules.modular import NO_VENV, edit, quoted

MODULE = 'module() { eval "$(tclsh "$MODULES_CMD" bash "$@")"; }; '


@dataclasses.dataclass(frozen=True)
class Tcl:
    """A project of a user whose shell has Environment Modules and the OzSTAR-shaped tree in Tcl."""

    project: Project
    site: Site
    tree: Path

    @property
    def script(self) -> str:
        """The tool's script."""
        return self.project.environ["MODULES_CMD"]

    def spec(self, *load: str, more: str = "") -> None:
        """Describe a session."""
        self.project.spec(NO_VENV.format(load=quoted(*load), imports="", more=more))

    def bash(self, text: str, *words: str) -> str:
        """Return what a bash with `module` says, in a session with the words of `ozrepro run`, else in the user's shell."""
        command = ("/bin/bash", "--norc", "-c", f"MODULES_CMD={self.script}; {MODULE}{text}")
        done = self.project.run(*((*words, "--") if words else ()), *command)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr


@pytest.fixture
def version() -> str:
    """Give the version of the tool."""
    return "5.5"


@pytest.fixture
def tcl(version: str, project: Project, site: Site, tmp_path: Path) -> Tcl:
    """Give a project on the Tcl tree, without a session."""
    try:
        script = tmod.make(version)
    except SiteUnavailable as reason:
        pytest.skip(f"no Environment Modules {version}: {reason}")
    folder = tmod.make_tree(site, tmp_path / "tree")
    more = {"MODULES_CMD": script, "MODULESHOME": tmod.home_of(script), "MODULEPATH": folder, "OZREPRO_PLATFORM": "site"}
    return Tcl(dataclasses.replace(project, environ={**project.environ, **more}), site, Path(folder))


@pytest.mark.parametrize("version", list(tmod.SUITES))
def test_a_session_is_locked_run_and_gone_on_from(tcl: Tcl) -> None:
    tcl.spec(tcl.site.names["python-scientific"], tcl.site.names["conda"])
    said = tcl.project.ozrepro("lock", "work")
    assert said.returncode == 0, said.stderr
    assert "loads gcc/11.3.0 openmpi/4.1.4 first" in said.stderr
    assert 'tool = "tcl 5.' in tcl.project.lock().read_text()
    first = tcl.project.lock().read_bytes()
    assert "unchanged" in tcl.project.done("lock", "work")
    numpy = tcl.project.done("run", "work", "--", "python", "-c", "import numpy; print(numpy.__version__)")
    assert numpy.strip() == tcl.site.packages["python-scientific"]["numpy"]
    text = "module -t list; module load libflavour/1.0; echo =$LOADEDMODULES; module purge; echo =$LOADEDMODULES; env"
    shown = tcl.bash(text, "ozrepro", "run", "work")
    assert "python-scientific" in shown
    assert "=gcc/11.3.0:openmpi/4.1.4" in shown
    assert "libflavour/1.0\n=\n" in shown
    assert "apps/software" not in shown.partition("=\n")[2], "purge takes away all that modules brought"
    tcl.project.done("verify", "work", "--level", "1")
    gcc = tcl.tree / "gcc" / "11.3.0"
    edit(gcc, "setenv NEWLY 1")
    changed = tcl.project.ozrepro("run", "work", "--", "true")
    assert (changed.returncode, f"module gcc/11.3.0: {gcc} was changed" in changed.stderr) == (3, True)
    tcl.project.done("lock", "work")
    assert tcl.project.lock().read_bytes() != first


def test_another_module_tool_than_the_locked_one_is_drift_that_names_both(tcl: Tcl) -> None:
    tcl.spec(tcl.site.names["python"])
    tcl.project.done("lock", "work")
    lmod = {"LMOD_CMD": tcl.site.lmod_cmd, "MODULEPATH": tcl.site.modulepath()}
    for more in ({**lmod, "OZREPRO_MODULE_TOOL": "lmod"}, {**lmod, "MODULES_CMD": ""}):
        said = tcl.project.ozrepro("lock", "--check", "--here", "work", **more)
        assert said.returncode == 3
        assert "were locked with Environment Modules 5." in said.stderr
        assert f"the module tool here is Lmod ({tcl.site.lmod_cmd})" in said.stderr
    assert "lock is up to date" in tcl.project.done("lock", "--check", "--here", "work", **lmod, OZREPRO_MODULE_TOOL="tcl")


def test_a_collection_is_locked_by_exact_names_and_a_change_of_it_is_told(tcl: Tcl) -> None:
    tcl.bash(f"module load gcc/11.3.0 openmpi {tcl.site.names['python-scientific']}; module save mine; cat ~/.module/mine")
    tcl.project.spec('[modules]\ncollection = "mine"\n')
    tcl.project.done("lock", "work")
    text = tcl.project.lock().read_text()
    assert f'load = ["gcc/11.3.0", "openmpi/4.1.4", "{tcl.site.names["python-scientific"]}"]' in text
    assert "lock is up to date" in tcl.project.done("lock", "--check", "work")
    tcl.bash(f"module load gcc/11.3.0 {tcl.site.names['python']}; module save mine")
    said = tcl.project.ozrepro("lock", "--check", "--here", "work")
    assert said.returncode == 3
    assert f"the collection mine now has {tcl.site.names['python']}" in said.stderr
    assert "the collection mine no longer has openmpi/4.1.4" in said.stderr
    tcl.project.done("run", "work", "--", "true")
    assert "lock is up to date" in tcl.project.done("lock", "--check", "--here", "work", HOME="/nonexistent"), (
        "another user has none"
    )
    tcl.project.done("lock", "work")
    assert "openmpi" not in tcl.project.lock().read_text()
    missing = tcl.project.ozrepro("lock", "work", HOME="/nonexistent")
    assert "there is no collection 'mine' of yours" in missing.stderr


def test_a_name_without_a_version_is_refused_with_those_that_there_are(tcl: Tcl) -> None:
    tcl.spec("gcc", "python/3")
    said = tcl.project.ozrepro("lock", "work")
    assert said.returncode == 2
    assert "modules.load: gcc has no version: write gcc/11.3.0 or gcc/12.2.0" in said.stderr
    assert "'python/3' is only a part of a module's name" in said.stderr


def test_what_is_loaded_in_the_shell_makes_a_first_spec(tcl: Tcl) -> None:
    load = f"module load gcc/11.3.0 openmpi/4.1.4 {tcl.site.names['python-scientific']}"
    said = tcl.bash(f"{load}; ozrepro init 2>&1")
    assert f'load = ["{tcl.site.names["python-scientific"]}"]' in said


def test_an_activated_shell_lists_the_locked_modules(tcl: Tcl) -> None:
    tcl.spec(tcl.site.names["python"])
    tcl.project.done("lock", "work")
    tcl.project.done("build", "work")
    assert tcl.site.names["python"] in tcl.bash('eval "$(ozrepro activate work)"; module -t list')
