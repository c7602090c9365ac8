"""A third module tool, added as another distribution would add it: without a change to the package."""

from __future__ import annotations

import os
import shutil
import site as sites
import subprocess
import sys
import venv
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.conftest import Project
from tests.wheels import make_wheel

HERE = Path(__file__).parent
SPEC = """imports = ["alpha"]

[modules]
load = ["python/3", "survey/2.0"]
[modules.venv]
requirements = ["alpha"]
"""
SURVEY = """depends_on tools/1.0
setenv SURVEY_DATA "${SCRATCH:-/data}/survey"
prepend_path SURVEY_PATH /sw/survey/2.0
unsetenv OLD_SURVEY
"""


@dataclass(frozen=True)
class Third:
    """A project of a user whose shell has shmod, and an ozrepro that has its plug-in beside it."""

    project: Project
    modules: Path
    python: Path

    def ozrepro(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run `ozrepro` with these words."""
        return self.project.run(str(self.python), "-m", "ozrepro", *words, **more)

    def done(self, *words: str, **more: str) -> str:
        """Run `ozrepro`, insist that it succeeds, and return what it printed."""
        finished = self.ozrepro(*words, **more)
        assert finished.returncode == 0, finished.stdout + finished.stderr
        return finished.stdout


@pytest.fixture
def third(project: Project, tmp_path: Path) -> Third:
    """Give a project with a session of shmod's modules, one of which brings the Python that the tests run on."""
    folder, software = tmp_path / "modulefiles", tmp_path / "software" / "bin"
    software.mkdir(parents=True)
    (software / "python3").symlink_to(os.path.realpath(sys.executable))
    for name, text in {
        "python/3": f"prepend_path PATH '{software}'\n",
        "tools/1.0": "setenv TOOLS 1\n",
        "survey/2.0": SURVEY,
    }.items():
        path = folder / f"{name}.sh"
        path.parent.mkdir(parents=True)
        path.write_text(text)
    make_wheel(project.wheelhouse, "alpha", "1.0")
    (project.root / "pyproject.toml").write_text('[tool.ozrepro]\nmodule-tool = "shmod"\n')
    project.spec(SPEC)
    more = {"SHMOD_CMD": str(shutil.copy(HERE / "shmod", tmp_path)), "MODULEPATH": str(folder), "OZREPRO_PLATFORM": "site"}
    return Third(replace(project, environ={**project.environ, **more}), folder, _with_plugin(tmp_path / "installed"))


def _with_plugin(folder: Path) -> Path:
    """Return the Python of a new virtual environment that has what the tests' own has, and the plug-in's distribution."""
    venv.EnvBuilder(symlinks=True).create(folder)
    packages = next(folder.glob("lib/python3*/site-packages"))
    shutil.copy(HERE / "ozrepro_shmod.py", packages)
    info = packages / "ozrepro_shmod-1.4.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ozrepro-shmod\nVersion: 1.4\n")
    (info / "entry_points.txt").write_text("[ozrepro.modulesystems]\nshmod = ozrepro_shmod:TOOL\n")
    own = [path for path in sites.getsitepackages() if os.path.isdir(path)]
    (packages / "own.pth").write_text("".join(f"import site; site.addsitedir({path!r})\n" for path in own))
    return folder / "bin" / "python"


def test_a_session_of_a_plug_in_s_module_tool_is_locked_built_run_and_compared(third: Third) -> None:
    third.done("lock", "work")
    text = third.project.lock().read_text()
    assert 'tool = "shmod 1.4"' in text
    assert 'name = "tools/1.0"' in text, "a module that another one loads is locked too"
    first = third.project.lock().read_bytes()
    third.done("lock", "work")
    assert third.project.lock().read_bytes() == first
    shown = third.done("run", "work", "--", "env", SURVEY_PATH="/mine", OLD_SURVEY="1", SCRATCH="/scratch")
    variables = dict(line.partition("=")[::2] for line in shown.splitlines())
    assert variables["SURVEY_DATA"] == "/scratch/survey", "what a modulefile reads of the caller follows the caller"
    assert variables["SURVEY_PATH"] == "/sw/survey/2.0", "a variable that is not passed has only what the modules put there"
    assert "OLD_SURVEY" not in variables
    assert variables["LOADEDMODULES"] == "python/3:survey/2.0:tools/1.0"
    assert "SURVEY_DATA=/data/survey\n" in third.done("run", "work", "--", "env")
    third.done("run", "work", "--", "python", "-c", "import alpha")
    third.done("verify", "work", "--level", "1")
    with (third.modules / "tools" / "1.0.sh").open("a") as stream:
        stream.write("setenv TOOLS 2\n")
    changed = third.ozrepro("run", "work", "--", "true")
    assert (changed.returncode, "module tools/1.0: " in changed.stderr) == (3, True)
    differ = third.ozrepro("verify", "work", "--level", "1")
    assert differ.returncode == 3
    third.done("lock", "work")
    assert "TOOLS=2\n" in third.done("run", "work", "--", "env")


def test_a_plug_in_s_modules_are_found_and_its_errors_come_through(third: Third) -> None:
    assert "survey" in third.done("spider", "survey")
    assert "shmod 1.4" in third.ozrepro("doctor", "--verbose").stdout
    third.project.spec(SPEC.replace("survey/2.0", "survey/3.0"))
    said = third.ozrepro("lock", "work")
    assert said.returncode == 4
    assert "there is no module 'survey/3.0' here; there are survey/2.0" in said.stderr
    (third.modules / "tools" / "1.0.sh").unlink()
    third.project.spec(SPEC)
    said = third.ozrepro("lock", "work")
    assert said.returncode == 1
    assert "there is no module tools/1.0" in said.stderr


def test_without_the_plug_in_the_setting_and_the_lock_are_refused_by_name(third: Third) -> None:
    third.done("lock", "work")
    said = third.project.ozrepro("run", "work", "--", "true")
    assert said.returncode == 2
    assert "module-tool: 'shmod' is not known; write one of: lmod, tcl" in said.stderr
    (third.project.root / "pyproject.toml").unlink()
    said = third.project.ozrepro("run", "work", "--", "true")
    assert said.returncode == 3
    assert "tool: 'shmod' is not a module tool that is known here" in said.stderr
