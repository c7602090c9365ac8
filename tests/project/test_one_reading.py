"""An edit at each step of the way: what is certified is what was read.

Whatever step the edit hits, the command ends in exit 3 or has the new state, and no later start takes the old one.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from ozrepro.environment import Environment
from ozrepro.errors import LockError
from ozrepro.faststart import ready
from ozrepro.frontends.cli.program import run_program
from ozrepro.pipeline.preparing import prepare
from ozrepro.pipeline.session import open_session
from ozrepro.store.manifest import digest_file
from tests.conftest import Project
from tests.edits import put, steps
from tests.fake_cluster import Site
from tests.fake_cluster.channel import Channel
from tests.fake_cluster.fixtures import channel, site
from tests.methods.container.standin import with_apptainer
from tests.methods.modules.modular import SPEC, modular, quoted
from tests.wheels import make_wheel

pytestmark = pytest.mark.slow

__all__ = ["channel", "site"]

PROGRAM = "start a program"


def _silent(*_words: object) -> None:
    """Say nothing."""


@dataclass(frozen=True)
class Case:
    """A project in its first state, what is edited in it, and how a new environment is known from an old one."""

    project: Project
    edits: dict[str, str]
    is_new: Callable[[Path, Environment], bool]
    locked: bool = False

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that are edited together."""
        return tuple(self.project.root / name for name in self.edits)

    def edit(self) -> None:
        """Bring about the new state."""
        for file, text in zip(self.files, self.edits.values(), strict=True):
            put(file, text)

    def start(self, *, may_lock: bool) -> bool:
        """Go the way of `nox -s`, the warm path first; say whether the environment is the new one. Raises LockError."""
        root, environ = self.project.root, self.project.environ
        found = ready.find_ready(str(root), "work", None, environ)
        if found is not None:
            return self.is_new(Path(found.generation) / "env", found.environment)
        made = prepare(open_session(root, "work", environ), _silent, _silent, may_lock=may_lock)
        return self.is_new(made.generation.prefix, made.environment)

    def forget(self) -> None:
        """Remove the store, and the lock where the way begins without one."""
        store = self.project.store()
        for path in store.rglob("*"):
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o755)
        shutil.rmtree(store, ignore_errors=not store.exists())
        if not self.locked:
            self.project.lock().unlink(missing_ok=True)


def check_each_step(case: Case, *, whole: bool = False, every: int = 1) -> Iterator[tuple[str, str]]:
    """Edit before each step of a start in turn; yield what the edit hit and how that start ended.

    The steps are those that start a program, those that open or replace an edited file, and those right after: between them the
    way reads nothing that the edit changes. `whole` takes every step, `every` one of so many programs alone.
    """
    before = {file: file.read_text() for file in case.files}
    with steps(case.project.root) as seen:
        assert not case.start(may_lock=True)
    names, own = seen.seen, [file.relative_to(case.project.root).as_posix() for file in case.files]
    hit = {at for at, name in enumerate(names) if whole or name == PROGRAM or name.split()[-1] in own}
    assert hit, names
    chosen = sorted({*hit, *(at + 1 for at in hit if at + 1 < len(names))})
    for at in chosen if every == 1 else [at for at, name in enumerate(names) if name == PROGRAM][::every]:
        case.forget()
        for file, text in before.items():
            put(file, text)
        with steps(case.project.root, at, case.edit) as watched:
            try:
                ended = "new" if case.start(may_lock=True) else "old"
            except LockError as error:
                ended = f"exit {error.exit_code}"
        assert watched.edited, f"step {at} of {names} did not come"
        yield watched.edited, ended
        with suppress(LockError):  # refused until it is locked again
            assert case.start(may_lock=False), f"a stale start after an edit at step {at}, {watched.edited}"


def check(case: Case, *, whole: bool = False, every: int = 1) -> None:
    """Check each step: an edit before or during the work ends in exit 3 or the new state, one after it may find the old."""
    told = list(check_each_step(case, whole=whole, every=every))
    last = max(at for at, (step, _) in enumerate(told) if step == PROGRAM)
    assert {ended for _, ended in told[: last + 1]} <= {"exit 3", "new"}, told
    assert "exit 3" in {ended for _, ended in told}, told


def has_gamma(prefix: Path, _environment: Environment) -> bool:
    """Say whether the package that the new state asks for is installed."""
    return any(prefix.rglob("gamma.py"))


VENV = 'imports = ["alpha"]\n\n[venv]\nrequirements = ["alpha", "-r requirements.txt"]\n'


@pytest.fixture
def venv(project: Project) -> Project:
    """Give a project with a session of a requirement file."""
    for name in ("alpha", "beta", "gamma"):
        make_wheel(project.wheelhouse, name)
    project.spec(VENV)
    (project.root / "requirements.txt").write_text("beta\n")
    (project.root / "pyproject.toml").write_text("")
    return project


class TestVenv:
    def test_the_spec_edited_during_the_first_start(self, venv: Project) -> None:
        check(Case(venv, {"sessions/work.toml": VENV.replace('"alpha",', '"alpha", "gamma",')}, has_gamma), whole=True)

    def test_a_requirement_file_edited_during_the_first_start(self, venv: Project) -> None:
        check(Case(venv, {"requirements.txt": "beta\ngamma\n"}, has_gamma))

    def test_settings_edited_during_the_first_start(self, venv: Project) -> None:
        text = '[tool.ozrepro]\npath = ["/opt/tools"]\n'
        check(Case(venv, {"pyproject.toml": text}, lambda _prefix, environment: "/opt/tools" in environment.path))

    def test_the_lock_replaced_during_a_build(self, venv: Project) -> None:
        make_wheel(venv.wheelhouse, "beta", "2.0")
        venv.done("lock")
        new = venv.lock().read_text()
        (venv.wheelhouse / "beta-2.0-py3-none-any.whl").unlink()
        venv.lock().unlink()
        venv.done("lock")
        make_wheel(venv.wheelhouse, "beta", "2.0")
        installed = "lib/python3*/site-packages/beta-2.0.dist-info"
        venv.done("build")  # for the store that is removed before the first start
        case = Case(venv, {"sessions/work.lock": new}, lambda prefix, _: any(prefix.glob(installed)), locked=True)
        case.forget()
        check(case)


CONDA = '[conda]\nfile = "environment.yml"\n'
YAML = "dependencies:\n  - activates\n"


class TestConda:
    @pytest.fixture
    def conda(self, project: Project, channel: Channel) -> Project:
        """Give a project whose packages an environment file names."""
        project.spec(CONDA)
        (project.root / "environment.yml").write_text(YAML)
        return replace(project, environ={**project.environ, "CONDA_CHANNEL_ALIAS": channel.alias})

    def test_the_environment_file_edited_during_the_first_start(self, conda: Project) -> None:
        def has_more(prefix: Path, _environment: Environment) -> bool:
            return any((prefix / "conda-meta").glob("mpi-*.json"))

        check(Case(conda, {"environment.yml": f"{YAML}  - mpi=1.0=openmpi\n"}, has_more))

    def test_the_spec_edited_during_the_first_start(self, conda: Project) -> None:
        def is_passed(_prefix: Path, environment: Environment) -> bool:
            return "MY_DATA" in environment.passed

        check(Case(conda, {"sessions/work.toml": f'{CONDA}pass = ["MY_DATA"]\n'}, is_passed), every=2)


class TestModules:
    def test_the_spec_edited_during_the_first_start(self, project: Project, site: Site) -> None:
        make_wheel(project.wheelhouse, "alpha", requires=("numpy",))
        found = modular(project, site)
        text = SPEC.format(load=quoted(found.scientific))
        found.project.spec(text)

        def is_passed(_prefix: Path, environment: Environment) -> bool:
            return "MY_DATA" in environment.passed

        edited = text.replace("[modules]\n", '[modules]\npass = ["MY_DATA"]\n')
        check(Case(found.project, {"sessions/work.toml": edited}, is_passed), every=3)


DEFINITION = "Bootstrap: localimage\nFrom: base.sif\n%files\n    BUILD /opt/BUILD\n"


class TestContainer:
    @pytest.fixture
    def image(self, project: Project) -> Project:
        """Give a project whose image is made by a stand-in, which reads the files that are copied as Apptainer does."""
        found = with_apptainer(project)
        (found.root / "base.sif").write_bytes(b"base")
        (found.root / "BUILD").write_text("old")
        (found.root / "sessions" / "work.def").write_text(DEFINITION)
        found.spec('[container]\ndefinition = "sessions/work.def"\n')
        return found

    def test_the_definition_edited_during_the_first_start(self, image: Project) -> None:
        images: list[str] = []

        def is_new(prefix: Path, _environment: Environment) -> bool:
            images.append((prefix / "image.sif").read_text())  # the stand-in's has the digest of the definition
            return images[-1] != images[0]

        check(Case(image, {"sessions/work.def": f"{DEFINITION}%post\n    touch /opt/new\n"}, is_new))

    def test_a_copied_file_edited_during_the_first_start(self, image: Project) -> None:
        check(Case(image, {"BUILD": "new"}, lambda prefix, _: (prefix / "image.sif").read_text().endswith("new")))


def test_the_spec_edited_while_a_script_for_jobs_is_made(venv: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    venv.done("lock")
    venv.done("build")
    for name, value in venv.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(venv.root)

    def edited_then_digested(path: Path) -> str:
        put(venv.root / "sessions" / "work.toml", VENV.replace('"alpha",', '"alpha", "gamma",'))
        return digest_file(path)

    monkeypatch.setattr("ozrepro.frontends.startscript.digest_file", edited_then_digested)
    assert run_program(["activate", "work", "--output", "job.sh"]) == 3
    assert not (venv.root / "job.sh").exists()
