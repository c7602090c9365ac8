"""The way of the data, step by step: spec → choose → resolve → lock → build → environment.

The command line and the nox backend both walk it through these functions; neither adds a step of its own.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.utils import canonicalize_name

from ozrepro import ready
from ozrepro.environment import Environment
from ozrepro.errors import DriftError, LockError, NoMethodError, OzreproError, UsageError
from ozrepro.files import Files
from ozrepro.lock import Lock, Section, load_lock, lock_file, save_lock, write_text
from ozrepro.methods import Change, Choice, Method, candidates, choose, load_method, refusal
from ozrepro.settings import load_settings
from ozrepro.site import Site, home_warning, look_around
from ozrepro.spec import Spec, digest_of, load_spec
from ozrepro.store import Store, store_of, write_whole
from ozrepro.store.publish import Generation, Recipe, provide, read_generation

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

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


@dataclass(frozen=True, slots=True)
class Locking:
    """What locking did: the lock, the methods resolved, those left out with their reasons, and whether bytes changed."""

    lock: Lock
    resolved: tuple[str, ...]
    refused: tuple[str, ...]
    changed: bool


def open_session(root: Path, name: str, environ: Mapping[str, str], *, method: str | None = None) -> Session:
    """Read settings and spec and look at the machine. Raises SpecError, UsageError."""
    files = Files()
    settings = load_settings(root, environ, method=method, files=files)
    return Session(load_spec(root, name, files), look_around(settings, environ))


def needs_lock(session: Session) -> LockError:
    """Return the error for a session that has no lock where one is required."""
    where = str(lock_file(session.root, session.name))
    return LockError("there is no lock", where=where, hint=f"ozrepro lock {session.name}, then commit {session.name}.lock")


def lock_session(
    session: Session,
    say: Say,
    *,
    methods: tuple[str, ...] | None = None,
    upgrade: tuple[str, ...] | None = None,
    source: str = "",
    accept: bool = False,
    write: bool = True,
) -> Locking:
    """Resolve and write the lock, unless `write` is off; sections of other methods and platforms stay untouched.

    Without `methods`, each candidate that this machine can resolve is locked, and at least one must be.
    A lock that cannot be read is an error, never overwritten. `source` is another tool's file or environment, for conda; `accept`
    takes an image that was built here and refused.
    """
    spec, site = session.spec, session.site
    old = session.lock()
    _check_upgrade(session, old, upgrade or ())
    refused: list[str] = []
    new: list[Section] = []
    # An image may be made from another method's section, so it comes last.
    for name in sorted(methods or candidates(spec, site), key=lambda name: name == "container"):
        reason = refusal(name, spec, site, None)
        if reason is not None:
            refused.append(f"{name}: {reason}")
            continue
        method = load_method(name)
        previous = old.section(name, method.platform(site)) if old else None
        method.digest(spec, site)  # a missing requirement file is a mistake of the spec, told before anything is resolved
        others = (old or Lock(spec.name)).with_sections(new)
        as_it_is = upgrade is None and not source and not (accept and name == "container")
        if previous is not None and as_it_is and not _moved(previous, others) and _answers(method, previous, session):
            new.append(previous)  # nothing to change: do not solve again
            continue
        resolved = method.resolve(spec, site, Change(previous, upgrade, source, others.sections, accept), say)
        for line in method.drift(resolved[0], site):
            say(f"{resolved[0].title} is for another machine: {line}")
        new += resolved
    if not new:
        raise NoMethodError(spec.name, refused, hint=f"ozrepro status {spec.name}")
    lock = (old or Lock(spec.name)).with_sections(new)
    if write:
        _check_before_lock(session, lock, new)
    changed = save_lock(session.root, lock, session.files) if write else lock != old
    return Locking(lock, tuple(dict.fromkeys(section.method for section in new)), tuple(refused), changed)


def _check_before_lock(session: Session, lock: Lock, made: Iterable[Section]) -> None:
    """Raise LockError where what the sections were made from is not what is on disk now: the lock would be wrong from the start.

    What a spec names is also digested afresh, since not all of it is kept in memory.
    """
    path = os.path.abspath(lock_file(session.root, session.name))
    moved = session.files.moved(written={path: write_text(lock).encode()})
    if not moved:
        again = replace(session.spec, files=Files())
        other = [item for item in made if load_method(item.method).digest(again, session.site) != item.spec]
        moved = [name for item in other for name in load_method(item.method).large(again)] or [item.title for item in other]
    _refuse_moved(session, moved, "locked: no lock is written")


def _refuse_moved(session: Session, moved: Iterable[str], doing: str) -> None:
    names = ", ".join(os.path.relpath(path, session.root) if os.path.isabs(path) else path for path in moved)
    if names:
        raise LockError(f"{names}: changed while {session.name} was being {doing}", hint="the same command again")


def _check_upgrade(session: Session, lock: Lock | None, names: tuple[str, ...]) -> None:
    """Raise UsageError for a package that is not locked: uv would pass over a misspelt name without a word."""
    locked = {str(item["name"]) for section in (lock.sections if lock else ()) for item in section.content.get("package", ())}
    unknown = [name for name in names if canonicalize_name(name) not in locked]
    if unknown:
        near = difflib.get_close_matches(canonicalize_name(unknown[0]), sorted(locked), 1)
        hint = f"did you mean {near[0]}?" if near else f"ozrepro lock {session.name} --upgrade PKG: the session comes first"
        raise UsageError(f"no package {', '.join(unknown)} is locked in {session.name}", hint=hint)


def stale(session: Session, lock: Lock, methods: tuple[str, ...] | None = None) -> list[str]:
    """Return a line for each section of this machine that no longer answers the spec, and each candidate without one.

    Without `methods`, all candidates are looked at.
    """
    lines: list[str] = []
    for name in candidates(session.spec, session.site) if methods is None else methods:
        method = load_method(name)
        section = lock.section(name, method.platform(session.site))
        if section is None:
            if refusal(name, session.spec, session.site, None) is None:
                lines.append(f"{name}: not locked here ({method.platform(session.site)})")
        elif section.spec != method.digest(session.spec, session.site):
            lines.append(f"{section.title}: was locked for another version of {session.spec.path.name}")
        elif moved := _moved(section, lock):
            lines.append(f"{section.title}: was made from {moved}, which is another now")
        else:
            method.unavailable(session.spec, session.site, section)  # raises LockError for a section that no build would take
            lines += [f"{section.title}: {line}" for line in method.drift(section, session.site)]
    return lines


def mend_of(session: Session, lock: Lock) -> str:
    """Return what to do about drift that locking again does not accept, "" where that is what to do."""
    methods = [(load_method(name), name) for name in candidates(session.spec, session.site)]
    found = [(method, lock.section(name, method.platform(session.site))) for method, name in methods]
    if any(section is not None and section.spec != method.digest(session.spec, session.site) for method, section in found):
        return ""
    mends = (method.mend(section, session.spec, session.site) for method, section in found if section is not None)
    return next(filter(None, mends), "")


def _answers(method: Method, section: Section, session: Session) -> bool:
    """Say whether a section was made from this spec, would be taken, and is what this machine gives.

    `ozrepro lock` is what mends a section that is refused, and what accepts a machine that has changed.
    """
    if section.spec != method.digest(session.spec, session.site):
        return False
    try:
        method.unavailable(session.spec, session.site, section)
    except LockError:
        return False
    return not (method.drift(section, session.site) or method.recheck(section, session.spec, session.site))


def _moved(section: Section, lock: Lock) -> str:
    """Return the title of the section that this one was made from and that is another now, or ""."""
    made = section.content.get("of")
    if not isinstance(made, dict):
        return ""
    title, digest = str(made.get("section", "")), made.get("digest")
    source = next((item for item in lock.sections if item.title == title), None)
    return "" if source is not None and source.digest == digest else title


def check_section(session: Session, section: Section) -> None:
    """Raise LockError when the section does not answer the spec, DriftError when the machine no longer answers the section."""
    moved = _moved(section, session.lock() or Lock(session.name)) if "of" in section.content else ""
    if moved:
        raise LockError(
            f"is out of date: {section.title} was made from {moved}, which is another now",
            where=str(lock_file(session.root, session.name)),
            hint=f"ozrepro lock {session.name}",
        )
    method = load_method(section.method)
    where = str(lock_file(session.root, session.name))
    if section.spec != method.digest(session.spec, session.site):
        inputs = [os.path.relpath(path, session.root) for path in method.inputs(session.spec)] + method.large(session.spec)
        files = ("one of " if inputs else "") + ", ".join((f"sessions/{session.spec.path.name}", *inputs))
        raise LockError(
            f"is out of date: {files} changed since {section.title} was locked", where=where, hint=f"ozrepro lock {session.name}"
        )
    _check_drift(session, section)


def _check_drift(session: Session, section: Section) -> None:
    method = load_method(section.method)
    drift = method.drift(section, session.site)
    if drift:
        where = str(lock_file(session.root, session.name))
        text = "\n  ".join((f"this machine has drifted from {section.title}:", *drift))
        mend = method.mend(section, session.spec, session.site)
        accept = f"ozrepro diff {session.name}, then ozrepro lock {session.name} to accept it"
        raise DriftError(text, where=where, hint=mend or accept)


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
    _check_drift(session, choice.section)  # after the record has noted size and time of the files that were compared
    _refuse_moved(session, session.files.moved(), "prepared")
    _write_ready(session, record)
    return prepared


def _first_lock(session: Session, say: Say, *, may_lock: bool) -> tuple[str, ...]:
    """Write a session's first lock; return why methods were refused, which says more than that they have no section."""
    chosen = choose(session.spec, session.site, None)  # with no method possible, the advice to lock would be a dead end
    if not may_lock:
        raise needs_lock(session)
    if session.site.in_ci or session.site.slurm_job:
        error = needs_lock(session)
        place = "CI is set" if session.site.in_ci else "this is a Slurm job"
        raise LockError(f"{error.what}, and none is made here: {place}", where=error.where, hint=error.hint)
    say(f"{session.name} has no lock yet: resolving {chosen.name} and writing sessions/{session.name}.lock; commit it")
    lock_session(session, say, methods=(chosen.name,))
    return chosen.refused


def environment_of(session: Session, section: Section, generation: Generation) -> Environment:
    """Return how to run programs in a built generation: the method's word, then the settings' directories and `pass`."""
    with _named(session):
        found = load_method(section.method).environment(section, session.site, generation.prefix)
    settings = session.site.settings
    more = {"path": (*found.path, *settings.path), "passed": (*found.passed, *settings.passed)}
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
        found = read_generation(store, key)
        if found is not None:
            _register(store, session.root)
            return found, False
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
        _refuse_moved(session, session.files.moved(method.inputs(session.spec)), "built: the environment is not kept")
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
