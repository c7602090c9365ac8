"""ozrepro starts whatever the caller's shell, home and folder put in front of its own Python packages."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import ozrepro
from ozrepro.faststart.ownpath import ordered
from tests.conftest import BIN, Project
from tests.sealed import system_path
from tests.wheels import make_wheel

pytestmark = pytest.mark.slow

HALF = ("argcomplete", "filelock", "pexpect", "rattler", "rich", "yaml")
"""Packages of ozrepro's own that are there without a part of them."""

STANDARD = (
    *("argparse", "asyncio", "dataclasses", "hashlib", "importlib_metadata", "json", "logging", "pathlib", "shutil", "signal"),
    *("subprocess", "tempfile", "tomllib"),
)

COMMANDS = (
    *("lock", "lock work --upgrade", "lock --check", "status", "status --json", "diff work", "verify work --level 2", "doctor"),
    *("build", "run work -- python -c pass", "export work --format pylock", "activate work", "store list", "init new"),
    *("--version", "lock --help"),
)

STATUS = {"doctor": 1}
"""The exit codes that are not 0: PYTHONPATH itself is told."""


def old_packaging(folder: Path) -> None:
    """Put another `packaging` there, as a module of a site leaves it on PYTHONPATH: whole, but older."""
    import packaging

    shutil.copytree(Path(packaging.__file__).parent, folder / "packaging", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "packaging" / "pylock.py").unlink()
    utils = folder / "packaging" / "utils.py"
    utils.write_text(utils.read_text(encoding="utf-8").replace("InvalidName", "InvalidOldName"), encoding="utf-8")


def shadows(folder: Path) -> Path:
    """Put an older package, half ones and files that are named as modules of Python into a folder."""
    folder.mkdir()
    old_packaging(folder)
    for name in HALF:
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("", encoding="utf-8")
    for name in STANDARD:
        (folder / f"{name}.py").write_text(f"raise SystemExit('{name} is the caller\\'s')\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Give a project with one session, locked and built."""
    folder = tmp_path_factory.mktemp("own start")
    for name in ("home", "p/sessions", "wheels"):
        (folder / name).mkdir(parents=True)
    make_wheel(folder / "wheels", "alpha", "1.0")
    environ = {
        "HOME": str(folder / "home"),
        "LANG": "C.UTF-8",
        "PATH": f"{BIN}:{system_path()}",
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_FIND_LINKS": str(folder / "wheels"),
        "PIP_NO_INDEX": "1",
    }
    made = Project(folder / "p", environ)
    made.spec('imports = ["alpha"]\n\n[venv]\nrequirements = ["alpha"]\n')
    noxfile = 'import ozrepro\n\n\n@ozrepro.session\ndef work(session):\n    session.run("python", "-c", "print(1 + 1)")\n'
    (made.root / "noxfile.py").write_text(noxfile, encoding="utf-8")
    made.done("lock")
    made.done("build")
    return made


def outcome(project: Project, *words: str, **variables: str) -> tuple[int, str]:
    """Return status and output of a command, without what is of that one start."""
    done = project.run(*words, **variables)
    assert "Traceback" not in done.stderr, done.stderr
    assert "is the caller's" not in done.stderr, done.stderr
    return done.returncode, done.stdout


@pytest.mark.parametrize("words", COMMANDS)
def test_nothing_on_pythonpath_changes_a_command(project: Project, words: str, tmp_path: Path) -> None:
    folder = shadows(tmp_path / "site")
    status, _ = outcome(project, "ozrepro", *words.split(), PYTHONPATH=f"{folder}:/no/such")
    assert status == STATUS.get(words, 0)


@pytest.mark.parametrize("words", ["build --rebuild", "run work -- python -c pass"])
def test_nothing_on_pythonpath_changes_a_cold_start(project: Project, words: str, tmp_path: Path) -> None:
    folder = shadows(tmp_path / "site")
    status, _ = outcome(project, "ozrepro", *words.split(), PYTHONPATH=str(folder), OZREPRO_STORE=str(tmp_path / "store"))
    assert status == 0


def test_nothing_on_pythonpath_changes_the_helper_that_solves_conda_packages(project: Project, tmp_path: Path) -> None:
    spec = project.root / "sessions" / "packages.toml"
    spec.write_text('[conda]\nchannels = ["none"]\ndependencies = ["python"]\n', encoding="utf-8")
    folder = shadows(tmp_path / "site")
    try:
        clean = project.run("ozrepro", "lock", "packages", CONDA_CHANNEL_ALIAS="file:///no/such")
        leaky = project.run("ozrepro", "lock", "packages", CONDA_CHANNEL_ALIAS="file:///no/such", PYTHONPATH=str(folder))
        assert (leaky.returncode, leaky.stderr) == (clean.returncode, clean.stderr)
        assert "helper process ended" not in clean.stderr
    finally:
        spec.unlink()


@pytest.mark.parametrize("store", ["", "cold"])
def test_nox_runs_a_session_with_another_packaging_on_pythonpath(project: Project, tmp_path: Path, store: str) -> None:
    folder = tmp_path / "site"
    folder.mkdir()
    old_packaging(folder)
    more = {"OZREPRO_STORE": str(tmp_path / store)} if store else {}
    done = project.run("nox", "-s", "work", PYTHONPATH=str(folder), **more)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "2\n"


def test_a_completion_is_answered_with_other_packages_on_pythonpath(project: Project, tmp_path: Path) -> None:
    line = "ozrepro stat"
    variables = {
        "_ARGCOMPLETE": "1",
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
        "_ARGCOMPLETE_STDOUT_FILENAME": str(tmp_path / "o"),
    }
    done = project.run("ozrepro", PYTHONPATH=str(shadows(tmp_path / "site")), **variables)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "o").read_text(encoding="utf-8").strip() == "status"


@pytest.mark.parametrize("words", ["status", "lock --check", "run work -- python -c pass"])
def test_a_file_in_the_current_folder_is_no_module_of_ours(project: Project, words: str, tmp_path: Path) -> None:
    here = shadows(tmp_path / "here")
    command = [sys.executable, "-m", "ozrepro", "--project", str(project.root), *words.split()]
    if words.startswith("run"):
        command = [sys.executable, "-m", "ozrepro", *words.split()]
    environ = {**project.environ, "OZREPRO_PROJECT": str(project.root)}
    done = subprocess.run(command, cwd=here, env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("words", ["status", "lock --check", "run work -- python -c pass"])
def test_packages_in_the_home_of_another_version_are_not_taken(project: Project, words: str, tmp_path: Path) -> None:
    """In an environment that sees the home's packages, they stand in front of its own."""
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", "--system-site-packages", str(venv)], check=True)
    minor = f"python{sys.version_info.major}.{sys.version_info.minor}"
    own = Path(ozrepro.__file__).parent.parent
    path = f"import site; site.addsitedir({sysconfig.get_paths()['purelib']!r})\n{own}\n"
    (venv / "lib" / minor / "site-packages" / "here.pth").write_text(path, encoding="utf-8")
    home = tmp_path / "home"
    (home / ".local" / "lib" / minor).mkdir(parents=True)
    shadows(home / ".local" / "lib" / minor / "site-packages")
    command = [str(venv / "bin" / "python"), str(BIN / "ozrepro"), *words.split()]
    environ = {**project.environ, "HOME": str(home), "OZREPRO_STORE": str(tmp_path / "store")}
    code = "import sys; print([f for f in sys.path if '.local' in f])"
    listed = subprocess.run([command[0], "-c", code], env=environ, capture_output=True, text=True, check=True)
    assert ".local" in listed.stdout
    done = subprocess.run(command, cwd=project.root, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "is the caller's" not in done.stderr


@pytest.mark.parametrize("words", ["status", "lock --upgrade", "build", "run work -- python -c pass", "diff work"])
def test_no_variable_of_python_s_own_changes_a_command(project: Project, words: str, tmp_path: Path) -> None:
    variables = {"PYTHONWARNINGS": "error", "PYTHONOPTIMIZE": "2", "PYTHONDEVMODE": "1", "PYTHONSAFEPATH": "1"}
    variables |= {"PYTHONIOENCODING": "ascii:strict", "PYTHONSTARTUP": "/no/such", "OZREPRO_STORE": str(tmp_path / "é")}
    done = project.run("ozrepro", *words.split(), **variables)
    assert "Traceback" not in done.stderr, done.stderr
    assert "Warning" not in done.stderr, done.stderr
    assert done.returncode == 0, done.stderr


class TestTheOrder:
    """`ordered`, by itself."""

    LIBRARY = os.path.dirname(os.__file__)
    PATH = ("/venv/bin", "/caller/one", "/caller/two", "/usr/lib/python.zip", LIBRARY, f"{LIBRARY}/lib-dynload", "/venv/site")

    def test_the_caller_s_folders_come_last_in_their_order(self) -> None:
        rest = [folder for folder in self.PATH if "caller" not in folder]
        assert ordered(self.PATH, ["/caller/two", "/caller/one"], "/venv/site") == [*rest, "/caller/one", "/caller/two"]

    def test_an_installation_on_pythonpath_stays_in_front_of_other_packages(self) -> None:
        callers = ["/caller/one", "/caller/two"]
        standard = [*self.PATH[3:6]]
        wanted = [*standard, "/caller/two", "/caller/one", "/venv/bin", "/venv/site"]
        assert ordered(self.PATH, callers, "/caller/two") == wanted
