"""The public API of front ends: a session of a project, whether it can start, its build, and how programs run in it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ozrepro.errors import BuildError, DriftError, LockError, NoMethodError
from ozrepro.faststart.ready import find_ready
from ozrepro.pipeline import describing
from ozrepro.pipeline import session as sessions
from ozrepro.pipeline.checks import check_section
from ozrepro.pipeline.choice import choose
from ozrepro.pipeline.preparing import Prepared, built_generation, prepare
from ozrepro.pipeline.session import needs_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ozrepro.environment import Environment
    from ozrepro.project.lock import Section


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


class Session:
    """A session of a project. Nothing is read before it is asked for, and each file once."""

    def __init__(self, name: str, project: Path, environ: Mapping[str, str], method: str | None) -> None:
        self.name = name
        self.project = project
        self._environ = dict(environ)
        self._method = method
        self._prepared: Prepared | None = None

    def _open(self) -> sessions.Session:
        return sessions.open_session(self.project, self.name, self._environ, method=self._method)

    @property
    def state(self) -> State:
        """Whether the session can start. Starts nothing. Raises SpecError, UsageError for a wrong spec or setting."""
        session = self._open().for_looking()
        try:
            section = self._section(session)
            check_section(session, section)
        except DriftError as error:
            return State(locked=True, drifted=error.problems, reason=error.what)
        except (LockError, NoMethodError) as error:
            return State(reason=error.what)
        built = built_generation(session, section) is not None
        return State(section.method, locked=True, built=built, reason="" if built else f"{section.title} is not built here")

    @staticmethod
    def _section(session: sessions.Session) -> Section:
        lock = session.lock()
        if lock is None:
            raise needs_lock(session)
        section = choose(session, lock).section
        assert section is not None, "with a lock, only a method with a section can be chosen"
        return section

    def build(
        self,
        say: Callable[[str], None] | None = None,
        progress: Callable[[str, int, int], None] | None = None,
        *,
        may_lock: bool = False,
        rebuild: bool = False,
    ) -> Prepared:
        """Return the session prepared: built from its lock where the store has no environment of it yet.

        Args:
            say: takes a line of what is going on.
            progress: takes a step, how much of it is done, and how much there is.
            may_lock: resolves and writes a missing lock, except in CI and inside a job.
            rebuild: builds again what is there.

        Raises LockError, DriftError, NoMethodError, BuildError, StoreError.

        """
        session = self._open()
        self._prepared = prepare(session, say or _ignore, progress or _ignore, may_lock=may_lock, rebuild=rebuild)
        return self._prepared

    @property
    def environment(self) -> Environment:
        """How programs run in the built session. Raises BuildError where it is not built: `build` first."""
        if self._prepared is not None:
            return self._prepared.environment
        ready = find_ready(str(self.project), self.name, self._method, self._environ)
        if ready is None:
            hint = f"ozrepro build {self.name}"
            raise BuildError("is not built as it is locked", where=f"session {self.name!r}", hint=hint)
        return ready.environment

    def argv(self, command: Sequence[str | os.PathLike[str]]) -> list[str]:
        """Return the words that run a command in the built session, with `environment.variables_for(os.environ)`."""
        return list(self.environment.command([os.fspath(word) for word in command]))

    @property
    def digest(self) -> str:
        """The digest of what is locked for this machine, `sha256:…`. Raises LockError, NoMethodError."""
        return self._section(self._open().for_looking()).digest

    def packages(self) -> dict[str, str]:
        """Return the version of each package that is locked for this machine. Raises LockError, NoMethodError."""
        session = self._open().for_looking()
        return dict(describing.versions(session, self._section(session)))


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
