"""The way of the data: a session's lock, the method, the check against this machine, the build, the launch, the record.

`STEPS` is all of it: each takes the value that the one before has made. Front ends walk it by `prepare`; none adds a step.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ozrepro.errors import LockError, without_login
from ozrepro.faststart import ready
from ozrepro.methods import registry
from ozrepro.pipeline import building
from ozrepro.pipeline.checks import check_drift, check_section, kept_lines, refuse_moved
from ozrepro.pipeline.choice import Choice, choose
from ozrepro.pipeline.generations import form_of, kept_by, key_for, launch_of
from ozrepro.pipeline.locking import lock_session
from ozrepro.pipeline.session import Session, method_of, naming, needs_lock
from ozrepro.process import ended_by_signals
from ozrepro.site import home_warning
from ozrepro.store import forms
from ozrepro.store.claim import closed_to_others
from ozrepro.store.kept import folders_of
from ozrepro.store.publish import Generation, Recipe, provide
from ozrepro.store.writing import write_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ozrepro.environment import Environment
    from ozrepro.methods.contract import Launch, Progress, Say
    from ozrepro.project.files import Files
    from ozrepro.project.lock import Section
    from ozrepro.store import Store


@dataclass(frozen=True, slots=True)
class Task:
    """A session to be prepared: who is told, whether a missing lock may be written, and whether to build again."""

    session: Session
    say: Say
    progress: Progress
    may_lock: bool = False
    rebuild: bool = False


@dataclass(frozen=True, slots=True)
class Locked:
    """A session with a lock. `skipped` says why methods were skipped when it was written now, None where it was there."""

    task: Task
    skipped: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Chosen:
    """A session with the section in use here, which answers the spec and the machine."""

    task: Task
    choice: Choice
    section: Section
    skipped: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Stored:
    """A session whose environment is in the store. `is_new` says that it was built now."""

    chosen: Chosen
    generation: Generation
    is_new: bool


@dataclass(frozen=True, slots=True)
class Launched:
    """A session that programs can be run in."""

    stored: Stored
    launch: Launch


@dataclass(frozen=True, slots=True)
class Prepared:
    """A session's environment, built, and how it came about.

    Attributes:
        environment: how programs are run in it.
        method: the method that provides it.
        digest: that of the section of the lock that it was built from, `sha256:…`.
        generation: where it is in the store.
        skipped: one line for each method that was skipped.
        built: whether it was built now.
        shell: what only a shell can take.
        watched: the files and folders whose change makes a start look again.
        inputs: the files of the project, besides the spec and the lock, whose content does.

    """

    environment: Environment
    method: str
    digest: str
    generation: Generation
    skipped: tuple[str, ...]
    built: bool
    shell: Mapping[str, Any]
    watched: tuple[str, ...]
    inputs: tuple[str, ...]


def take_lock(task: Task) -> Locked:
    """Return the session with its lock, written now where that may be. Raises LockError where it may not."""
    session = task.session
    if session.lock() is not None:
        return Locked(task, None)
    chosen = choose(session, None)  # with no method possible, the advice to lock would be a dead end
    if not task.may_lock:
        raise needs_lock(session)
    job = session.site.job
    if session.site.in_ci or job:
        error = needs_lock(session)
        place = f"this is {job.kind}" if job and not session.site.in_ci else "CI is set"
        raise LockError(f"{error.what}; not creating one because {place}", where=error.where, hint=error.hint)
    lock = f"sessions/{session.name}.lock"
    task.say(f"{session.name} has no lock yet: resolving {chosen.name} and writing {lock}; commit it")
    lock_session(session, task.say, methods=(chosen.name,))
    return Locked(task, chosen.skipped)


def choose_method(locked: Locked) -> Chosen:
    """Return the session with the first available method, its section checked against spec and machine."""
    session = locked.task.session
    choice = choose(session, session.lock())
    assert choice.section is not None, "with a lock, only a method with a section can be chosen"
    check_section(session, choice.section, whole=locked.task.rebuild)
    return Chosen(locked.task, choice, choice.section, choice.skipped if locked.skipped is None else locked.skipped)


def find_or_build(chosen: Chosen) -> Stored:
    """Return the session with its environment: what the store has, else built now."""
    generation, is_new = _build(chosen.task, chosen.section)
    if not is_new and folders_of(generation) and (lines := kept_lines(chosen.task.session, chosen.section)):
        more = f" (and {len(lines) - 1} more: ozrepro status)" if len(lines) > 1 else ""
        chosen.task.say(f"{chosen.task.session.name}: {lines[0]}{more}")
    return Stored(chosen, generation, is_new)


def launch(stored: Stored) -> Launched:
    """Return how programs are run in the environment."""
    return Launched(stored, launch_of(stored.chosen.task.session, stored.chosen.section, stored.generation))


def certify(launched: Launched) -> Prepared:
    """Write the record that the next start reads instead of all this, if nothing has changed meanwhile."""
    stored, found = launched.stored, launched.launch
    chosen = stored.chosen
    session, section = chosen.task.session, chosen.section
    shell = asdict(found.shell)
    prepared = Prepared(
        environment=found.environment,
        method=chosen.choice.name,
        digest=section.digest,
        generation=stored.generation,
        skipped=chosen.skipped,
        built=stored.is_new,
        shell=shell,
        watched=tuple(filter(os.path.exists, (*found.watched, *stored.generation.gates))),
        inputs=tuple(map(str, session.inputs(section.method).files)),
    )
    record = _record(session, chosen, found, prepared)
    check_drift(session, section, whole=stored.is_new)  # after the record has noted size and time of the files that were compared
    refuse_moved(session, session.files.moved(), "prepared")
    _write_ready(session, record)
    return prepared


STEPS: tuple[Callable[[Any], Any], ...] = (take_lock, choose_method, find_or_build, launch, certify)
"""From a task to a prepared session: each step takes what the one before has returned."""


@ended_by_signals()
@closed_to_others()
def prepare(session: Session, say: Say, progress: Progress, *, may_lock: bool = False, rebuild: bool = False) -> Prepared:
    """Return the session's environment, built from the lock where it is not in the store yet.

    `may_lock` resolves and writes a missing lock, except in CI and inside a job, where it is an error as everywhere else.
    Raises LockError where a file of the project was edited meanwhile: nothing is certified that was not read.
    """
    value: Any = Task(session, lambda line: say(without_login(line)), progress, may_lock, rebuild)
    for step in STEPS:
        value = step(value)
    prepared: Prepared = value
    return prepared


def _build(task: Task, section: Section) -> tuple[Generation, bool]:
    session, store = task.session, task.session.store
    with naming(session):
        plan = method_of(section).plan(session.read(section), session.site)
    form, tools, said = form_of(session, section, plan.identity)
    place: forms.Place | str | None = None
    known = None if task.rebuild else building.known(task, section, key_for(session, section, plan.identity, form))
    if known is None and tools is not None:
        place = forms.place(session.site.environ)
        if isinstance(place, str):
            form, tools, said = "tree", None, f"the form is tree, not file: {place}"
            known = None if task.rebuild else building.known(task, section, key_for(session, section, plan.identity, form))
    kept = kept_by(session, section)
    if kept is not None and form == "tree":
        said = f"{said}; {kept.without_effect}" if said else kept.without_effect
    if said:
        task.say(f"{session.name}: {said}")
    if known is not None:
        _register(store, session.root)
        return known, False
    warning = home_warning(store.folder, session.site.environ)
    if warning:
        task.say(f"warning: {warning}")
    store.open()
    _register(store, session.root)
    pack = building.packer(task, section, tools, place) if tools is not None and isinstance(place, forms.Place) else None
    card = {"session": session.name, "method": section.method, "platform": section.platform, "section": section.digest}
    recipe = Recipe(key_for(session, section, plan.identity, form), card, building.builder(task, section, plan), pack)
    with naming(session):
        return provide(store, recipe, task.say, rebuild=task.rebuild)


def _register(store: Store, root: Path) -> None:
    """Note which project uses the store, so that a clean-up started from another one keeps its environments."""
    link = store.folder / "projects" / hashlib.sha256(os.fsencode(root)).hexdigest()[:16]
    with suppress(OSError):  # it exists, or the store is another's to write
        link.parent.mkdir(exist_ok=True)
        os.symlink(root, link)


def _record(session: Session, chosen: Chosen, found: Launch, prepared: Prepared) -> dict[str, Any]:
    """Return what the next start reads instead of all this, but for the time at which it is written."""
    folder = prepared.generation.folder
    return {
        "schema": ready.SCHEMA,
        "session": session.name,
        "section": prepared.digest,
        "method": prepared.method,
        "key": str(prepared.generation.card["key"]),
        "link": f"../gens/{prepared.generation.folder.name}",
        "made": ready.stamp(os.lstat(prepared.generation.folder)),
        "bytes": prepared.generation.card["bytes"],
        "files": prepared.generation.card["files"],
        "inside": prepared.generation.inside,
        "recorded": session.site.settings.recorded,
        "said": list(chosen.choice.skipped),
        "stats": [_stat(Path(path), folder) for path in prepared.watched],
        "digests": [[path, hashlib.sha256(session.files.content(Path(path))).hexdigest()] for path in prepared.inputs],
        "environment": prepared.environment.as_dict(),
        "shell": prepared.shell,
        "facts": ready.facts_here(_facts(session)),
    }


def _write_ready(session: Session, record: Mapping[str, Any]) -> None:
    """Write the ready-record, under the digest of what was read. A store that cannot be written only costs time."""
    root, name, store = str(session.root), session.name, session.store
    spec, lock = session.files.content(session.spec.path), session.files.content(session.lock_path)
    files = (spec, lock, _read(session.files, session.root / "pyproject.toml"))
    digest, _ = ready.question_of(files, root, name, session.site.settings.method, session.site.environ)
    with suppress(OSError):
        (store.folder / "ready").mkdir(exist_ok=True)  # somebody may have removed it; every start would be a slow one
        if _other_facts(store.folder / "ready" / digest, record["facts"]):
            digest = ready.digest_on(digest, record["facts"])
        write_whole(store.folder / "ready" / digest, json.dumps(record, separators=(",", ":")).encode())


def _facts(session: Session) -> list[str]:
    """Return the names of the facts on which any method of the session depends: another node may take another method."""
    return sorted({fact for name in session.spec.tables for fact in registry.load(name).traits.facts})


def _other_facts(path: Path, facts: Mapping[str, str]) -> bool:
    """Say whether there is a record of a machine that has other facts of the same names: it serves the nodes of that kind."""
    try:
        known = json.loads(ready.content_of(path))["facts"]
        return bool(known.keys() == facts.keys() and known != facts)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return False


def _read(files: Files, path: Path) -> bytes:
    try:
        return files.content(path)
    except FileNotFoundError:
        return b""  # a project needs no pyproject.toml


def _stat(path: Path, generation: Path) -> list[object]:
    """Return a row of a ready-record. A file of the environment also keeps its inode and mode, as nobody should change it."""
    found = path.stat()
    own = [found.st_ino, found.st_mode] if generation in path.parents else []
    if path.parent == generation and path.name in (forms.IMAGE, forms.START):
        own.append(found.st_ctime_ns)  # one file is all there is to compare; those of a tree may have links in the cache
    return [str(path), found.st_size, found.st_mtime_ns, *own]
