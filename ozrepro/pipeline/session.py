"""A described session on this machine: its spec, its lock, and each section read once."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ozrepro.errors import LockError, OzreproError, Remedy
from ozrepro.methods import registry
from ozrepro.methods.reading import load_lock, load_settings, load_spec
from ozrepro.project.files import Files
from ozrepro.project.lock import Lock, Section, lock_file
from ozrepro.site import look_around
from ozrepro.store import store_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from ozrepro.methods.contract import AnyMethod, Inputs, Subject
    from ozrepro.project.spec import Spec
    from ozrepro.site import Site
    from ozrepro.store import Store


@dataclass(frozen=True, slots=True)
class Session:
    """A described session on this machine. What was read of it is kept."""

    spec: Spec
    site: Site
    _inputs: dict[str, Inputs] = field(default_factory=dict, compare=False, repr=False)

    @property
    def name(self) -> str:
        """The session's name."""
        return self.spec.name

    @property
    def root(self) -> Path:
        """The project's folder."""
        return self.site.settings.root

    @property
    def files(self) -> Files:
        """What was read of the project's files, each once."""
        return self.spec.files

    @property
    def store(self) -> Store:
        """The store in use, not opened."""
        return store_of(self.site.settings)

    @property
    def lock_path(self) -> Path:
        """The lock's path, whether there is one or not."""
        return lock_file(self.root, self.name)

    def lock(self) -> Lock | None:
        """Return the lock as it was when this session first asked for it, or as this session wrote it. Raises LockError."""
        return load_lock(self.root, self.name, self.files)

    def subject(self, method: str) -> Subject[Any]:
        """Return the session as a method sees it. Raises SpecError where the spec does not describe it."""
        return registry.subject_of(method, self.spec, self.site)

    def inputs(self, method: str) -> Inputs:
        """Return what a resolution by the method starts from, read once. Raises SpecError for a file that cannot be taken."""
        if method not in self._inputs:
            self._inputs[method] = registry.load(method).inputs(self.subject(method))
        return self._inputs[method]

    def key(self, method: str) -> str:
        """Return this machine's key of the method's sections."""
        return self.site.key(registry.load(method).traits.scope)

    def section(self, method: str, lock: Lock | None) -> Section | None:
        """Return the method's section for this machine, or None."""
        return lock.section(method, self.key(method)) if lock is not None else None

    def read(self, section: Section) -> Any:
        """Return a section's content, of its method's own type, read once. Raises LockError with all mistakes."""
        return registry.read_section(section, self.site, str(self.lock_path), self.name)

    def for_looking(self) -> Session:
        """Return the session for a command that only looks and starts nothing that a project, a spec or a lock names."""
        return Session(self.spec, self.site.for_looking(), self._inputs)

    def with_method(self, method: str) -> Session:
        """Return the session as if `method` had been asked for."""
        site = replace(self.site, settings=replace(self.site.settings, method=method))
        return Session(self.spec, site, self._inputs)

    def afresh(self) -> Session:
        """Return the session with nothing read yet of the files that its spec names."""
        return Session(replace(self.spec, files=Files()), self.site)


def open_session(root: Path, name: str, environ: Mapping[str, str], *, method: str | None = None) -> Session:
    """Read settings and spec and look at the machine. Raises SpecError, UsageError."""
    files = Files()
    settings = load_settings(root, environ, method=method, files=files)
    return Session(load_spec(root, name, files), look_around(settings, environ))


@contextmanager
def naming(session: Session) -> Iterator[None]:
    """Give the errors of a method, which knows no session, this one's name in what to do about them."""
    try:
        yield
    except OzreproError as error:
        if isinstance(error.hint, Remedy):
            error.hint = error.hint.for_session(session.name)
        raise


def method_of(section: Section) -> AnyMethod:
    """Return the method of a section."""
    return registry.load(section.method)


def needs_lock(session: Session) -> LockError:
    """Return the error for a session that has no lock where one is required."""
    hint = f"ozrepro lock {session.name}, then commit {session.name}.lock"
    return LockError("no lock file", where=str(session.lock_path), hint=hint)
