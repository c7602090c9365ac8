"""The caller's environment: no variable, configuration file or planted program changes what is built or what a session sees."""

from __future__ import annotations

import json
import os
import stat
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from ozrepro.environment import is_inherited, says_where
from tests.conftest import BIN
from tests.threats.helpers import MARK, PYTHON, inside, make_project, outside, own_modules, plant, serving, session_environment
from tests.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import Project

SET = {"PATH", "VIRTUAL_ENV", "PYTHONNOUSERSITE", *says_where("", "", "")}
"""What a locked run itself sets."""


@dataclass(frozen=True)
class Trap:
    """A project that is locked and built, and a folder of things that hostile variables point to."""

    project: Project
    folder: Path
    good: dict[str, bytes]

    def text(self, name: str, content: str) -> str:
        """Write a file into the folder and return its path."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
        return str(path)

    @property
    def proof(self) -> Path:
        """What hostile code creates when it runs, or an installer that went astray fills."""
        return self.folder / "proof"


def modules_of(folder: Path) -> dict[str, bytes]:
    """Return the modules installed in a site-packages."""
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.py"))}


@pytest.fixture(scope="module")
def trap(tmp_path_factory: pytest.TempPathFactory) -> Trap:
    folder = tmp_path_factory.mktemp("leakage")
    project = make_project(folder)
    make_wheel(project.wheelhouse, "alpha", requires=("beta>=1",))
    make_wheel(project.wheelhouse, "beta", "1.4")
    make_wheel(project.wheelhouse, "beta", "1.5")
    project.spec('imports = ["alpha", "beta"]\n\n[venv]\nrequirements = ["alpha"]\n')
    (project.root / "noxfile.py").write_text(
        "import ozrepro\n\n\n@ozrepro.session\ndef work(session):\n"
        "    session.run('python', '-c', 'import json, os, alpha, beta; print(json.dumps(dict(os.environ)));'\n"
        "        'print(json.dumps([alpha.__file__, alpha.VERSION, beta.VERSION]))')\n",
        encoding="utf-8",
    )
    project.done("lock", "work")
    project.done("build", "work")
    found = Trap(project, folder / "hostile", modules_of(own_modules(project)))
    evil = f"print({MARK!r})\nopen({str(found.proof)!r}, 'w').close()\nVERSION = 'evil'\n"
    for where in ("path", f"user/lib/{PYTHON}/site-packages", f"home/lib/{PYTHON}/site-packages"):
        for module in ("alpha", "beta", "usercustomize"):
            found.text(f"{where}/{module}.py", evil)
    found.text("startup.py", evil)
    found.text("startup.sh", f": > '{found.proof}'\n")
    found.text("uv.toml", f'override-dependencies = ["beta==1.4"]\nno-index = false\n\n[pip]\ntarget = "{found.proof}"\n')
    found.text("pip.conf", f"[global]\ntarget = {found.proof}\nno-deps = true\n[install]\nuser = true\nprefix = {found.proof}\n")
    found.text("constraint.txt", "beta<1.5\n")
    found.text("venv/bin/python", "#!/bin/sh\nexit 3\n")
    found.text("venv/pyvenv.cfg", "home = /nonexistent\n")
    (found.folder / "venv" / "bin" / "python").chmod(0o755)
    found.text(f"venv/lib/{PYTHON}/site-packages/alpha.py", evil)
    return found


VARIABLES = {
    "PYTHONPATH": "{f}/path",
    "PYTHONSTARTUP": "{f}/startup.py",
    "PYTHONUSERBASE": "{f}/user",
    "PYTHONINSPECT": "",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONPYCACHEPREFIX": "{f}/bytecode",
    "PYTHONOPTIMIZE": "2",
    "PYTHONBREAKPOINT": "alpha.evil",
    "PIP_TARGET": "{f}/proof",
    "PIP_PREFIX": "{f}/proof",
    "PIP_ROOT": "{f}/proof",
    "PIP_USER": "1",
    "PIP_REQUIRE_VIRTUALENV": "1",
    "PIP_NO_DEPS": "1",
    "PIP_CONSTRAINT": "{f}/constraint.txt",
    "PIP_REQUIREMENT": "{f}/constraint.txt",
    "PIP_CONFIG_FILE": "{f}/pip.conf",
    "UV_PROJECT_ENVIRONMENT": "{f}/proof",
    "UV_PYTHON": "{f}/venv/bin/python",
    "UV_SYSTEM_PYTHON": "1",
    "UV_BREAK_SYSTEM_PACKAGES": "1",
    "UV_TARGET": "{f}/proof",
    "UV_PREFIX": "{f}/proof",
    "UV_OVERRIDE": "{f}/constraint.txt",
    "UV_CONSTRAINT": "{f}/constraint.txt",
    "UV_BUILD_CONSTRAINT": "{f}/constraint.txt",
    "UV_CONFIG_FILE": "{f}/uv.toml",
    "UV_NO_CONFIG": "0",
    "UV_NO_VERIFY_HASHES": "1",
    "UV_REQUIRE_HASHES": "0",
    "UV_EXCLUDE_NEWER": "2001-01-01",
    "UV_RESOLUTION": "lowest",
    "UV_WORKING_DIRECTORY": "{f}",
    "UV_PROJECT": "{f}",
    "UV_ENV_FILE": "{f}/constraint.txt",
    "UV_LINK_MODE": "symlink",
    "UV_NO_CACHE": "1",
    "UV_PYTHON_PREFERENCE": "only-managed",
    "UV_MANAGED_PYTHON": "1",
    "VIRTUAL_ENV": "{f}/venv",
    "CONDA_PREFIX": "{f}/venv",
    "CONDA_DEFAULT_ENV": "base",
    "LD_PRELOAD": "{f}/nothing.so",
    "LD_LIBRARY_PATH": "{f}",
    "LD_AUDIT": "{f}/nothing.so",
    "BASH_ENV": "{f}/startup.sh",
    "ENV": "{f}/startup.sh",
    "BASH_FUNC_python%%": "() {{ : > '{f}/proof'; }}",
    "BASH_FUNC_uv%%": "() {{ : > '{f}/proof'; }}",
    "PROMPT_COMMAND": ": > '{f}/proof'",
    "IFS": "/",
    "XDG_CONFIG_HOME": "{f}",
    "XDG_DATA_HOME": "{f}",
    "TAR_OPTIONS": "--checkpoint-action=exec=x",
    "APPTAINERENV_LD_PRELOAD": "{f}/nothing.so",
    "SINGULARITY_BIND": "/",
    "GIT_EXTERNAL_DIFF": "{f}/startup.sh",
    "GITHUB_TOKEN": "secret",
}


def value_of(trap: Trap, name: str) -> str:
    """Return a hostile variable's value."""
    return VARIABLES[name].format(f=trap.folder)


def check_build(trap: Trap, store: Path, **more: str) -> None:
    """Build into a store of its own and insist that it is what was built without any of this."""
    said = outside(trap.project, "build", "work", OZREPRO_STORE=str(store), **more)
    assert said.status == 0, said.errors
    assert modules_of(own_modules(trap.project, store)) == trap.good
    assert not any(path.is_symlink() for path in own_modules(trap.project, store).rglob("*"))
    assert not trap.proof.exists()


INSTALLERS = (
    *("PYTHONPATH", "PYTHONUSERBASE", "PIP_TARGET", "PIP_PREFIX", "PIP_USER", "PIP_REQUIRE_VIRTUALENV", "PIP_CONFIG_FILE"),
    *("UV_PROJECT_ENVIRONMENT", "UV_PYTHON", "UV_SYSTEM_PYTHON", "UV_TARGET", "UV_OVERRIDE", "UV_CONSTRAINT", "UV_CONFIG_FILE"),
    *("UV_NO_CONFIG", "UV_LINK_MODE", "UV_NO_VERIFY_HASHES", "VIRTUAL_ENV", "CONDA_PREFIX", "LD_PRELOAD"),
)
"""Variables that are known to turn an installer aside; the others are all set in one more build."""


@pytest.mark.parametrize("name", [*INSTALLERS, "all others"])
def test_no_variable_changes_what_is_built(trap: Trap, tmp_path: Path, name: str) -> None:
    others = [other for other in VARIABLES if other not in INSTALLERS]
    check_build(trap, tmp_path / "store", **{item: value_of(trap, item) for item in (others if name == "all others" else [name])})


@pytest.mark.parametrize("name", VARIABLES)
def test_no_variable_is_seen_by_a_session(trap: Trap, name: str) -> None:
    more = {name: value_of(trap, name)}
    seen = session_environment(trap.project, more)
    assert set(seen) <= SET | {variable for variable in trap.project.environ if is_inherited(variable)}
    assert str(trap.folder) not in "".join(seen.values())


def test_a_python_home_that_fits_does_not_reach_the_session(trap: Trap) -> None:
    """One that does not fit keeps every Python, ozrepro's own too, from starting: nothing that could be refused."""
    done = trap.project.ozrepro("run", "work", "--", "/usr/bin/env", PYTHONHOME=sys.base_prefix)
    assert done.returncode != 0 or "PYTHONHOME" not in done.stdout
    done = trap.project.ozrepro("run", "work", "--", "/usr/bin/env", PYTHONHOME="/nonexistent")
    assert done.returncode != 0


def test_programs_of_a_session_import_the_locked_packages(trap: Trap) -> None:
    """All at once, in the programs that would obey them: python, bash and sh."""
    more = {name: value_of(trap, name) for name in VARIABLES if not name.startswith(("LD_", "IFS", "PYTHONINSPECT"))}
    code = "import alpha, beta; print(alpha.__file__, alpha.VERSION, beta.VERSION)"
    for words in (
        ("python", "-c", code),
        ("bash", "-c", f"python -c '{code}'"),
        ("sh", "-c", f"python -c '{code}'"),
        ("python", "-i", "-c", code),
    ):
        said = outside(trap.project, "run", "work", "--", *words, **more)
        assert said.status == 0, said.errors
        assert said.output.startswith(str(trap.project.store().resolve())), said.output
        assert said.output.endswith(" 1.0 1.5\n")
        assert MARK not in said.output + said.errors
    assert not trap.proof.exists()


def test_no_variable_of_the_caller_is_seen_by_a_nox_session(trap: Trap) -> None:
    more = {name: value_of(trap, name) for name in VARIABLES if not name.startswith(("LD_", "IFS", "PYTHON", "UV_NO_CONFIG"))}
    more |= {"PYTHONUSERBASE": value_of(trap, "PYTHONUSERBASE"), "PYTHONSTARTUP": value_of(trap, "PYTHONSTARTUP")}
    for words in (("nox", "-s", "work"), ("nox", "-R", "-s", "work")):
        done = trap.project.run(*words, **more)
        assert done.returncode == 0, done.stderr
        seen, imported = (json.loads(line) for line in done.stdout.splitlines() if line[:1] in "{[" and line[:1])
        assert imported[1:] == ["1.0", "1.5"]
        assert imported[0].startswith(str(trap.project.store().resolve()))
        assert not set(more) & set(seen) - SET
        assert str(trap.folder) not in "".join(seen.values())
        assert not {name for name in seen if name.startswith(("BASH_FUNC", "LD_", "CONDA", "UV_", "APPTAINER", "SINGULARITY"))}
    assert not trap.proof.exists()


def test_a_shadow_on_python_path_does_not_enter_nox_sessions(trap: Trap) -> None:
    done = trap.project.run("nox", "-s", "work", PYTHONPATH=value_of(trap, "PYTHONPATH"), PYTHONNOUSERSITE="")
    assert done.returncode == 0, done.stderr
    assert '"1.0", "1.5"]' in done.stdout
    assert not trap.proof.exists()


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


CONFIGURATIONS: dict[str, Callable[[Project], Path]] = {
    "uv.toml in HOME": lambda project: project.root.parent / "home" / ".config" / "uv" / "uv.toml",
    "uv.toml above the project": lambda project: project.root.parent / "uv.toml",
    "uv.toml in the project": lambda project: project.root / "uv.toml",
    "pyproject.toml above the project": lambda project: project.root.parent / "pyproject.toml",
    "pip.conf in HOME": lambda project: project.root.parent / "home" / ".config" / "pip" / "pip.conf",
    "old pip.conf in HOME": lambda project: project.root.parent / "home" / ".pip" / "pip.conf",
    ".python-version in the project": lambda project: project.root / ".python-version",
    ".env in the project": lambda project: project.root / ".env",
    ".pydistutils.cfg in HOME": lambda project: project.root.parent / "home" / ".pydistutils.cfg",
}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_no_configuration_file_changes_what_is_locked_or_built(tmp_path: Path, trap: Trap, name: str) -> None:
    project = make_project(tmp_path)
    project = replace(project, environ={**project.environ, "PIP_FIND_LINKS": str(trap.project.wheelhouse)})
    del project.environ["PIP_CONFIG_FILE"]
    project.spec((trap.project.root / "sessions" / "work.toml").read_text(encoding="utf-8"))
    path = CONFIGURATIONS[name](project)
    proof = tmp_path / "proof"
    if path.name == "pip.conf":
        text = f"[global]\ntarget = {proof}\n[install]\nuser = true\nprefix = {proof}\nno-deps = true\n"
    elif path.suffix == ".toml":
        head = "tool.uv." if path.name == "pyproject.toml" else ""
        top = "[tool.uv]\n" if head else ""
        text = (
            f'{top}override-dependencies = ["beta==1.4"]\nconstraint-dependencies = ["beta<1.5"]\n'
            f'[{head}pip]\ntarget = "{proof}"\nverify-hashes = false\nno-deps = true\nlink-mode = "symlink"\n'
        )
    else:
        text = {".python-version": "3.4\n", ".env": f"PYTHONPATH={proof}\n"}.get(path.name, f"[install]\nprefix={proof}\n")
    _write(path, text)
    assert inside(project, "lock", "work").status == 0
    assert project.lock().read_bytes() == trap.project.lock().read_bytes()
    assert inside(project, "build", "work").status == 0
    assert modules_of(own_modules(project)) == trap.good
    assert not any(entry.is_symlink() for entry in own_modules(project).rglob("*"))
    assert not proof.exists()


def test_a_package_in_the_users_site_is_not_seen(tmp_path: Path, trap: Trap) -> None:
    home = tmp_path / "home"
    _write(home / ".local" / "lib" / PYTHON / "site-packages" / "alpha.py", f"print({MARK!r})\n")
    _write(home / ".local" / "lib" / PYTHON / "site-packages" / "usercustomize.py", f"print({MARK!r})\n")
    said = outside(trap.project, "run", "work", "--", "python", "-c", "import alpha, sys; print(sys.path)", HOME=str(home))
    assert said.status == 0
    assert ".local" not in said.output
    assert MARK not in said.output


@pytest.mark.parametrize("variable", ["PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_INDEX"])
def test_a_hostile_index_is_refused_by_hash(tmp_path: Path, trap: Trap, variable: str) -> None:
    evil = tmp_path / "evil"
    for name, version in (("alpha", "1.0"), ("beta", "1.5")):
        make_wheel(evil, name, version, modules={f"{name}.py": f"print({MARK!r})\n"})
    plain = {key: value for key, value in trap.project.environ.items() if not key.startswith("PIP_")}
    project = replace(trap.project, environ={**plain, "PIP_CONFIG_FILE": os.devnull})
    with serving(evil) as index:
        more = {variable: index.url(), "UV_DEFAULT_INDEX": index.url()} if variable.startswith("UV") else {variable: index.url()}
        if variable == "PIP_EXTRA_INDEX_URL":
            more["PIP_INDEX_URL"] = index.url()
        said = outside(project, "build", "work", OZREPRO_STORE=str(tmp_path / "store"), **more)
    said.refused("Hash mismatch", "==1.", statuses=(1,))
    assert list((tmp_path / "store" / "names").iterdir()) == []
    assert not list((tmp_path / "store" / "gens").iterdir())


NAMES = ("uv", "python3", "python", PYTHON, "sync", "squeue", "git", "apptainer", "env", "sh", "true")


def test_programs_planted_earlier_in_path_are_not_run(tmp_path: Path, trap: Trap) -> None:
    proof = tmp_path / "proof"
    for name in NAMES:
        plant(tmp_path / "bin", name, proof)
    path = f"{tmp_path / 'bin'}:{trap.project.environ['PATH']}"
    check_build(trap, tmp_path / "store", PATH=path)
    for words in (
        ("status",),
        ("verify", "work"),
        ("run", "work", "--", "python", "-c", "import alpha"),
        ("run", "work", "--", "true"),
    ):
        said = outside(trap.project, *words, PATH=path)
        assert said.status == 0, said.errors
    done = trap.project.run(str(BIN / "nox"), "-s", "work", PATH=path)
    assert done.returncode == 0, done.stderr
    assert [entry.name for entry in proof.iterdir()] == []


@pytest.mark.parametrize("kind", ["world-writable", "empty", "dot", "relative"])
def test_unsafe_folders_of_path_are_passed_over(tmp_path: Path, trap: Trap, kind: str) -> None:
    """`git` and `squeue` may stand anywhere in the caller's PATH, but not where anybody, or a project, can put them."""
    proof = tmp_path / "proof"
    unsafe = kind == "world-writable"
    folder = tmp_path / "bin" if unsafe else trap.project.root / ("tools" if kind == "relative" else "")
    planted = [plant(folder, name, proof) for name in NAMES]
    if unsafe:
        folder.chmod(folder.stat().st_mode | stat.S_IWOTH)
    head = {"world-writable": str(folder), "empty": "", "dot": ".", "relative": "tools"}[kind]
    path = f"{head}:{trap.project.environ['PATH']}"
    try:
        run = [str(BIN / "ozrepro")]
        for words in (("diff", "work", "HEAD"), ("store", "gc"), ("status",)):
            trap.project.run(*run, *words, PATH=path)
        check_build(trap, tmp_path / "store", PATH=path)
        assert [entry.name for entry in proof.iterdir()] == []
    finally:
        for item in planted:
            item.unlink()


ANSWERS = {
    "nothing": "",
    "garbage": "hello",
    "array": "[]",
    "empty": "{}",
    "deep": "[" * 100_000,
    "no markers": '{"path": "/x", "free": false}',
    "odd markers": '{"path": "/x", "free": false, "markers": {"implementation_name": "cpython", "python_version": "x"}}',
    "a liar": json.dumps(
        {
            "path": "/bin/true",
            "free": False,
            "markers": {"implementation_name": "cpython", "python_version": "9.99", "python_full_version": "3.99.0"},
        }
    ),
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_python_in_path_that_answers_nonsense_is_no_python(tmp_path: Path, answer: str) -> None:
    """Only when the Python that ozrepro runs on does not fit is another one of PATH asked at all, in a clean environment."""
    project = make_project(tmp_path)
    make_wheel(project.wheelhouse, "alpha")
    project.spec('[venv]\npython = ">=3.99"\nrequirements = ["alpha"]\n')
    proof = tmp_path / "proof"
    plant(tmp_path / "bin", "python3", proof, says=ANSWERS[answer])
    said = inside(project, "lock", "work", PATH=f"{tmp_path / 'bin'}:{BIN}:/usr/bin:/bin")
    said.refused(">=3.99", "venv", statuses=(4,))
    assert [entry.name for entry in proof.iterdir()] == ["python3"]
    (tmp_path / "bin").chmod(0o777)
    (proof / "python3").unlink()
    inside(project, "lock", "work", PATH=f"{tmp_path / 'bin'}:{BIN}:/usr/bin:/bin").refused(">=3.99", statuses=(4,))
    assert list(proof.iterdir()) == []


def test_a_cache_that_everybody_may_write_to_is_refused(tmp_path: Path, trap: Trap) -> None:
    """What a cache says about a file's hash is believed by uv."""
    cache = tmp_path / "cache"
    folder = cache / "uv"
    places = {"OZREPRO_STORE": str(tmp_path / "store"), "OZREPRO_CACHE": str(cache)}
    assert outside(trap.project, "build", "work", **places).status == 0
    folder.chmod(0o777)
    said = outside(trap.project, "build", "work", "--rebuild", **places)
    said.refused(str(folder), "everybody", statuses=(1,))


def test_a_directory_for_path_that_everybody_may_write_to_is_refused(tmp_path: Path, trap: Trap) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    said = outside(trap.project, "build", "work", OZREPRO_PATH=f"/usr/bin:{folder}")
    said.refused("OZREPRO_PATH", str(folder), "world-writable", statuses=(2,))
