"""The way of the data, step by step: spec → choose → resolve → lock → build → environment.

The command line and the nox backend both walk it through these functions; neither adds a step of its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ozrepro.environment import Environment, says_where
from ozrepro.errors import LockError, OzreproError
from ozrepro.faststart import ready
from ozrepro.methods import Choice, choose, load_method
from ozrepro.methods.reading import load_lock, load_settings, load_spec
from ozrepro.pipeline.locking import check_drift, check_section, lock_session, needs_lock, refuse_moved
from ozrepro.process import ended_by_signals
from ozrepro.project.files import Files
from ozrepro.project.lock import Lock, Section, lock_file
from ozrepro.project.spec import Spec, digest_of
from ozrepro.site import Site, home_warning, look_around
from ozrepro.store import Store, store_of, write_whole
from ozrepro.store.claim import closed_to_others
from ozrepro.store.publish import Generation, Recipe, examine, provide, read_generation

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ozrepro.methods import Progress, Say
    from ozrepro.store.manifest import Digests


@dataclass(frozen=True, slots=True)
class Session:
    """A described session on this machine."""

    spec: Spec
    site: Site

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

    def lock(self) -> Lock | None:
        """Return the lock as it was when this session first asked for it, or as this session wrote it. Raises LockError."""
        return load_lock(self.root, self.name, self.files)

    @property
    def store(self) -> Store:
        """The store in use, not opened."""
        return store_of(self.site.settings)

    def for_looking(self) -> Session:
        """Return the session for a command that only looks and starts nothing that a project, a spec or a lock names."""
        return Session(self.spec, self.site.for_looking())


@dataclass(frozen=True, slots=True)
class Prepared:
    """A session's environment, built, and how it came about.

    `said` has one line for each method that was refused, `shell` what only a shell can take, `watched` the files and folders
    whose change makes a start look again.
    """

    environment: Environment
    method: str
    generation: Generation
    said: tuple[str, ...]
    built: bool
    shell: Mapping[str, Any]
    watched: tuple[str, ...]


def open_session(root: Path, name: str, environ: Mapping[str, str], *, method: str | None = None) -> Session:
    """Read settings and spec and look at the machine. Raises SpecError, UsageError."""
    files = Files()
    settings = load_settings(root, environ, method=method, files=files)
    return Session(load_spec(root, name, files), look_around(settings, environ))


@ended_by_signals()
@closed_to_others()
def prepare(session: Session, say: Say, progress: Progress, *, may_lock: bool = False, rebuild: bool = False) -> Prepared:
    """Return the session's environment, built from the lock where it is not in the store yet.

    `may_lock` resolves and writes a missing lock, except in CI and inside a job, where it is an error as everywhere else.
    Raises LockError where a file of the project was edited meanwhile: nothing is certified that was not read.
    """
    refused = _first_lock(session, say, may_lock=may_lock) if session.lock() is None else None
    lock = session.lock()
    choice = choose(session.spec, session.site, lock)
    assert choice.section is not None
    check_section(session, choice.section)
    generation, built = _build(session, choice.section, say, progress, rebuild=rebuild)
    environment = environment_of(session, choice.section, generation)
    said = choice.refused if refused is None else refused
    method = load_method(choice.name)
    watched = tuple(method.watched(choice.section, session.site, generation.prefix))
    shell = method.shell(choice.section, session.site)
    prepared = Prepared(environment, choice.name, generation, said, built, shell, watched)
    record = _record(session, choice, prepared)
    check_drift(session, choice.section)  # after the record has noted size and time of the files that were compared
    refuse_moved(session, session.files.moved(), "prepared")
    _write_ready(session, record)
    return prepared


def _first_lock(session: Session, say: Say, *, may_lock: bool) -> tuple[str, ...]:
    """Write a session's first lock; return why methods were refused, which says more than that they have no section."""
    chosen = choose(session.spec, session.site, None)  # with no method possible, the advice to lock would be a dead end
    if not may_lock:
        raise needs_lock(session)
    job = session.site.job
    if session.site.in_ci or job:
        error = needs_lock(session)
        place = f"this is {job.kind}" if job and not session.site.in_ci else "CI is set"
        raise LockError(f"{error.what}, and none is made here: {place}", where=error.where, hint=error.hint)
    say(f"{session.name} has no lock yet: resolving {chosen.name} and writing sessions/{session.name}.lock; commit it")
    lock_session(session, say, methods=(chosen.name,))
    return chosen.refused


def environment_of(session: Session, section: Section, generation: Generation, *, looking: bool = False) -> Environment:
    """Return how to run programs in a built generation: the method's word, then the settings', and where it is.

    With `looking`, nothing is started to know it: what the build has noted is believed.
    """
    site = session.site.for_looking() if looking else session.site
    with _named(session):
        found = load_method(section.method).environment(section, site, generation.prefix)
    settings = session.site.settings
    where = says_where(session.name, section.method, str(generation.card["key"]))
    more = {
        "path": (*found.path, *settings.path),
        "variables": {**found.variables, **where},
        "passed": (*found.passed, *settings.passed),
    }
    return Environment(**{**found.as_dict(), **more})


def key_of(session: Session, section: Section) -> str:
    """Return the store's key of a section on this machine: a digest of what is resolved, never of a name a user chose.

    The store's place is part of it: an environment holds its own path, and one in a store that was moved, or that came with
    a stranger's project, was not built here.
    """
    identity = {**load_method(section.method).identity(section, session.site), "store": os.path.realpath(session.store.folder)}
    return key_from(section.method, identity)


def key_from(method: str, identity: Mapping[str, object]) -> str:
    """Return the key of a method's identity: 32 hexadecimal digits."""
    return digest_of({"method": method, "identity": identity}).removeprefix("sha256:")[:32]


def built_generation(session: Session, section: Section) -> Generation | None:
    """Return the section's generation if it is in the store."""
    return read_generation(session.store, key_of(session, section))


def _build(session: Session, section: Section, say: Say, progress: Progress, *, rebuild: bool) -> tuple[Generation, bool]:
    key = key_of(session, section)
    store = session.store
    if not rebuild:
        store.check()
        store.check_readable()
        found = examine(store, key)
        if isinstance(found, Generation):
            _register(store, session.root)
            return found, False
        if found:
            say(f"{section.title} of {session.name} is in the store, but cannot be used: {found}")
    warning = home_warning(store.folder, session.site.environ)
    if warning:
        say(f"warning: {warning}")
    store.open()
    _register(store, session.root)
    method = load_method(section.method)

    def build(prefix: Path) -> Digests:
        say(f"building {section.title} for {session.name}")
        digests = method.build(section, session.site, prefix, say, progress)
        # What an installer has read by its path, such as the project's own pyproject.toml, is what the key was made from.
        refuse_moved(session, session.files.moved(method.inputs(session.spec)), "built: the environment is not kept")
        return digests

    card = {"session": session.name, "method": section.method, "platform": section.platform, "section": section.digest}
    with _named(session):
        return provide(store, Recipe(key, card, build), say, rebuild=rebuild)


@contextmanager
def _named(session: Session) -> Iterator[None]:
    """Give the errors of a method, which knows no session, this one's name in the command to try."""
    try:
        yield
    except OzreproError as error:
        error.hint = re.sub(r"(ozrepro [a-z]+ )NAME\b", lambda found: found[1] + session.name, error.hint)
        raise


def _register(store: Store, root: Path) -> None:
    """Note which project uses the store, so that a clean-up started from another one keeps its environments."""
    link = store.folder / "projects" / hashlib.sha256(os.fsencode(root)).hexdigest()[:16]
    with suppress(OSError):  # it exists, or the store is another's to write
        link.parent.mkdir(exist_ok=True)
        os.symlink(root, link)


def _record(session: Session, choice: Choice, prepared: Prepared) -> dict[str, Any]:
    """Return what the next start reads instead of all this, but for the time at which it is written."""
    assert choice.section is not None
    inputs = load_method(prepared.method).inputs(session.spec)
    return {
        "schema": ready.SCHEMA,
        "session": session.name,
        "section": choice.section.digest,
        "method": prepared.method,
        "key": str(prepared.generation.card["key"]),
        "link": f"../gens/{prepared.generation.folder.name}",
        "made": ready.stamp(os.lstat(prepared.generation.folder)),
        "said": list(choice.refused),
        "stats": [_stat(path, prepared.generation.prefix) for path in map(Path, prepared.watched) if path.exists()],
        "digests": [[str(path), hashlib.sha256(session.files.content(path)).hexdigest()] for path in inputs],
        "environment": prepared.environment.as_dict(),
        "shell": prepared.shell,
    }


def _write_ready(session: Session, record: Mapping[str, Any]) -> None:
    """Write the ready-record, under the digest of what was read. A store that cannot be written only costs time."""
    root, name, store = str(session.root), session.name, session.store
    spec, lock = session.files.content(session.spec.path), session.files.content(lock_file(session.root, name))
    files = (spec, lock, _read(session.files, session.root / "pyproject.toml"))
    digest, _ = ready.question_of(files, root, name, session.site.settings.method, session.site.environ)
    with suppress(OSError):
        (store.folder / "ready").mkdir(exist_ok=True)  # somebody may have removed it; every start would be a slow one
        write_whole(store.folder / "ready" / digest, json.dumps(record, separators=(",", ":")).encode())


def _read(files: Files, path: Path) -> bytes:
    try:
        return files.content(path)
    except FileNotFoundError:
        return b""  # a project needs no pyproject.toml


def _stat(path: Path, prefix: Path) -> list[object]:
    """Return a row of a ready-record. A file of the environment also keeps its inode and mode, as nobody should change it."""
    found = path.stat()
    own = [found.st_ino, found.st_mode] if prefix in path.parents else []
    return [str(path), found.st_size, found.st_mtime_ns, *own]


def with_method(session: Session, method: str) -> Session:
    """Return the session as if `method` had been asked for."""
    return Session(session.spec, replace(session.site, settings=replace(session.site.settings, method=method)))
