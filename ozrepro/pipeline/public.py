"""The public API of front ends: a session of a project, whether it can start, its build, and how programs run in it.

Its methods load what they need when they are called, from ozrepro's own folders: a front end lives in another's process,
where the search path is the caller's, and a built session starts without the pipeline.
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from ozrepro.environment import RECORD
from ozrepro.errors import BuildError, DriftError, LockError, NoMethodError, OzreproError
from ozrepro.faststart.ownpath import OwnImports
from ozrepro.faststart.ready import check_command, find_ready

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from ozrepro.environment import Environment
    from ozrepro.pipeline import session as sessions
    from ozrepro.pipeline.records.writing import Recording

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class State:
    """Whether a session can start on this machine as it is locked.

    Attributes:
        method: the method that would serve, "" where none can.
        locked: whether the lock has a section for it that answers the spec.
        built: whether its environment is in the store.
        drifted: what the lock names and this machine no longer has as it was, one line each.
        reason: why it cannot start, "" where it can.

    """

    method: str = ""
    locked: bool = False
    built: bool = False
    drifted: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Built:
    """A session's environment in the store.

    Attributes:
        environment: how programs run in it.
        method: the method that provides it.
        digest: that of the section of the lock that it was built from, `sha256:…`.
        prefix: its folder.
        skipped: one line for each method that was skipped before this one.
        is_new: whether it was built now.
        bytes: how large its files are together.
        files: how many there are.
        inside: of an environment that is one file, how many are inside; else 0.
        shell: what only a shell can take, by kind: functions, aliases, limits.
        watched: the files and folders of the machine whose change makes a start look again.
        inputs: the files of the project, besides the spec and the lock, whose content does.

    """

    environment: Environment
    method: str
    digest: str
    prefix: Path
    skipped: tuple[str, ...]
    is_new: bool
    bytes: int
    files: int
    inside: int
    shell: Mapping[str, Any]
    watched: tuple[str, ...]
    inputs: tuple[str, ...]


def _by_own_imports(function: Callable[P, R]) -> Callable[P, R]:
    """Have a function import from ozrepro's own folders."""

    @functools.wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        with OwnImports():
            return function(*args, **kwargs)

    return called


class Session:
    """A session of a project. Nothing is read before it is asked for, and each file once."""

    def __init__(self, name: str, project: Path, environ: Mapping[str, str], method: str | None) -> None:
        self.name = name
        self.project = project
        self._environ = dict(environ)
        self._method = method
        self._built: Built | None = None
        self._is_recorded = False

    def _open(self) -> sessions.Session:
        from ozrepro.pipeline.session import open_session

        return open_session(self.project, self.name, self._environ, method=self._method)

    @property
    @_by_own_imports
    def state(self) -> State:
        """Whether the session can start. Starts nothing. Raises SpecError, UsageError for a wrong spec or setting."""
        from ozrepro.pipeline.checks import check_section
        from ozrepro.pipeline.choice import chosen_section
        from ozrepro.pipeline.generations import built_generation

        session = self._open().for_looking()
        try:
            section = chosen_section(session)
            check_section(session, section)
        except DriftError as error:
            return State(locked=True, drifted=error.problems, reason=error.what)
        except (LockError, NoMethodError) as error:
            return State(reason=error.what)
        built = built_generation(session, section) is not None
        return State(section.method, locked=True, built=built, reason="" if built else f"{section.title} is not built here")

    def ready(self) -> Built | None:
        """Return the session as an earlier start has left it, None where it must be built or looked at. Reads few small files."""
        found = find_ready(str(self.project), self.name, self._method, self._environ)
        if found is None:
            return None
        self._is_recorded = found.is_recorded
        self._built = Built(
            environment=found.environment,
            method=found.method,
            digest=found.section,
            prefix=Path(found.generation, "env"),
            skipped=(*found.said, *_not_taken(found.environment, self._environ)),
            is_new=False,
            bytes=found.bytes,
            files=found.files,
            inside=found.inside,
            shell=found.shell,
            watched=found.watched,
            inputs=found.inputs,
        )
        return self._built

    @_by_own_imports
    def build(
        self,
        say: Callable[[str], None] | None = None,
        progress: Callable[[str, int, int], None] | None = None,
        *,
        may_lock: bool = False,
        rebuild: bool = False,
    ) -> Built:
        """Return the session built from its lock, now where the store has no environment of it yet.

        Args:
            say: takes a line of what is going on.
            progress: takes a step, how much of it is done, and how much there is.
            may_lock: resolves and writes a missing lock, except in CI and inside a job.
            rebuild: builds again what is there.

        Raises LockError, DriftError, NoMethodError, BuildError, StoreError.

        """
        from ozrepro.pipeline.preparing import prepare

        session = self._open()
        made = prepare(session, say or _ignore, progress or _ignore, may_lock=may_lock, rebuild=rebuild)
        self._is_recorded = session.site.settings.recorded
        card = made.generation.card
        self._built = Built(
            environment=made.environment,
            method=made.method,
            digest=made.digest,
            prefix=made.generation.prefix,
            skipped=(*made.skipped, *_not_taken(made.environment, self._environ)),
            is_new=made.built,
            bytes=card["bytes"],
            files=card["files"],
            inside=made.generation.inside,
            shell=made.shell,
            watched=made.watched,
            inputs=made.inputs,
        )
        return self._built

    @property
    def environment(self) -> Environment:
        """How programs run in the built session. Raises BuildError where it is not built: `build` first."""
        return self._started().environment

    def _started(self) -> Built:
        built = self._built or self.ready()
        if built is None:
            hint = f"ozrepro build {self.name}"
            raise BuildError("is not built as it is locked", where=f"session {self.name!r}", hint=hint)
        return built

    def record(
        self,
        command: Sequence[str | os.PathLike[str]],
        *,
        by: str,
        say: Callable[[str], None] | None = None,
        path: str = "",
    ) -> Recording | None:
        """Return the run that begins now, recorded; None where none are kept, or this one cannot be, which is said.

        Args:
            command: the program and its arguments, as a user has written them.
            by: the name of the front end.
            say: takes the line that says why a run is not recorded, or not all of it.
            path: the file or folder for the record, instead of the folder of the settings.

        Raises BuildError where the session is not built.

        """
        built = self._started()
        if not (path or self._environ.get(RECORD) or self._is_recorded):
            return None
        return self._record(built, tuple(os.fspath(word) for word in command), by, say or _ignore, path)

    @_by_own_imports
    def _record(self, built: Built, command: tuple[str, ...], by: str, say: Callable[[str], None], path: str) -> Recording | None:
        from ozrepro.pipeline.records import collecting, writing

        try:
            session = self._open()
            folder = session.site.settings.record
            place = writing.place_of(path) if path or folder is None else writing.Folder(folder)
            run = collecting.Run(by, command, built.method, built.environment)
            return writing.begin(collecting.describe(session, run, say), place, say)
        except OzreproError as error:
            say(f"this run is not recorded: {error}")
            return None

    def argv(self, command: Sequence[str | os.PathLike[str]], example: str = "") -> list[str]:
        """Return the words that start a command line in the built session, with `environment.variables_for(os.environ)`.

        Args:
            command: the program and its arguments, as a user has written them.
            example: for the message about a launcher, what a user of this front end would write, with `{launcher}` for its name;
                by default it is a command line of `ozrepro run`.

        Raises OzreproError for an installer in an image, and for a launcher whose program would be started outside of it.

        """
        words = [os.fspath(word) for word in command]
        check_command(self.environment, words, self.name, example)
        from ozrepro.faststart import staged

        return staged.started(self.environment, words, self._environ)[0]

    @property
    @_by_own_imports
    def digest(self) -> str:
        """The digest of what is locked for this machine, `sha256:…`. Raises LockError, NoMethodError."""
        from ozrepro.pipeline.choice import chosen_section

        return chosen_section(self._open().for_looking()).digest

    @_by_own_imports
    def packages(self) -> dict[str, str]:
        """Return the version of each package that is locked for this machine. Raises LockError, NoMethodError."""
        from ozrepro.pipeline import describing
        from ozrepro.pipeline.choice import chosen_section

        session = self._open().for_looking()
        return dict(describing.versions(session, chosen_section(session)))

    @_by_own_imports
    def lacking(self, requirements: Sequence[str]) -> list[str]:
        """Return those of pip's requirements that the environment locked for this machine does not have.

        Args:
            requirements: the words that would follow `pip install`.

        Raises LockError, NoMethodError.

        """
        from ozrepro.pipeline import describing
        from ozrepro.pipeline.choice import chosen_section

        session = self._open().for_looking()
        return describing.lacking(session, chosen_section(session), requirements)


def _not_taken(environment: Environment, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return why the copy on this node of a job is not taken, a line where there is one that is not as it was staged."""
    from ozrepro.faststart import staged

    return tuple(filter(None, (staged.started(environment, ("python",), environ)[1],)))


def open_session(
    name: str,
    project: str | os.PathLike[str] = ".",
    *,
    method: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> Session:
    """Return the session `name` of the project in a folder.

    Args:
        name: the session's name.
        project: the folder that has `sessions/`.
        method: use only this method.
        environ: the caller's variables; this process's where None.

    Nothing is read yet: mistakes of the spec are raised by what reads it.

    """
    return Session(name, Path(os.path.realpath(project)), os.environ if environ is None else environ, method)


def _ignore(*_: object) -> None:
    """Report nothing."""
