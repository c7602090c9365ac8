"""The way of the data: a session's lock, the method, the check against this machine, the build, the launch, the record.

`STEPS` is all of it: each takes the value that the one before has made. Front ends walk it by `prepare`; none adds a step.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ozrepro.environment import Environment, says_where
from ozrepro.errors import LockError, without_login
from ozrepro.faststart import ready
from ozrepro.methods import registry
from ozrepro.methods.contract import Launch, Target
from ozrepro.pipeline import building
from ozrepro.pipeline.checks import check_drift, check_section, refuse_moved
from ozrepro.pipeline.choice import Choice, choose
from ozrepro.pipeline.locking import lock_session
from ozrepro.pipeline.session import Session, method_of, naming, needs_lock
from ozrepro.process import ended_by_signals
from ozrepro.project.spec import digest_of
from ozrepro.site import home_warning
from ozrepro.store import forms
from ozrepro.store.claim import closed_to_others
from ozrepro.store.publish import Generation, Recipe, find_published, provide, read_generation
from ozrepro.store.writing import write_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ozrepro.methods.contract import Progress, Say
    from ozrepro.project.files import Files
    from ozrepro.project.lock import Section
    from ozrepro.store import Store
    from ozrepro.store.forms import Form


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
        generation: where it is in the store.
        skipped: one line for each method that was skipped.
        built: whether it was built now.
        shell: what only a shell can take.
        watched: the files and folders whose change makes a start look again.
        inputs: the files of the project, besides the spec and the lock, whose content does.

    """

    environment: Environment
    method: str
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
    check_section(session, choice.section)
    return Chosen(locked.task, choice, choice.section, choice.skipped if locked.skipped is None else locked.skipped)


def find_or_build(chosen: Chosen) -> Stored:
    """Return the session with its environment: what the store has, else built now."""
    generation, is_new = _build(chosen.task, chosen.section)
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
        generation=stored.generation,
        skipped=chosen.skipped,
        built=stored.is_new,
        shell=shell,
        watched=tuple(filter(os.path.exists, (*found.watched, *stored.generation.gates))),
        inputs=tuple(map(str, session.inputs(section.method).files)),
    )
    record = _record(session, chosen, found, prepared)
    check_drift(session, section)  # after the record has noted size and time of the files that were compared
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


def launch_of(session: Session, section: Section, generation: Generation, *, looking: bool = False) -> Launch:
    """Return how to run programs in a built generation: the method's word, then the settings', and where it is.

    With `looking`, nothing is started to know it: what the build has noted is believed.
    """
    site = session.site.for_looking() if looking else session.site
    with naming(session), forms.seen(generation) as files:
        found = method_of(section).environment(session.read(section), Target(generation.prefix, site, files))
        watched = tuple(filter(None, (_outside(path, generation, files) for path in found.watched)))
    settings, environment = session.site.settings, found.environment
    where = says_where(session.name, section.method, str(generation.card["key"]))
    more = {
        "path": (*environment.path, *settings.path),
        "variables": {**environment.variables, **where},
        "passed": (*environment.passed, *settings.passed),
    }
    if generation.form == "file":
        more["mount"] = str(generation.folder / forms.START)
        watched = (*watched, *(str(generation.folder / name) for name in (forms.IMAGE, forms.START)))
    return replace(found, environment=Environment(**{**environment.as_dict(), **more}), watched=watched)


def _outside(path: str, generation: Generation, files: Path) -> str:
    """Return what a start compares for a path that is watched: of a link out of a file, such as its Python, where that leads.

    What lies in the file itself is as whole as that is: "".
    """
    if files == generation.prefix or generation.prefix not in Path(path).parents:
        return path
    real = os.path.realpath(files / Path(path).relative_to(generation.prefix))
    return "" if real.startswith(f"{os.path.realpath(files)}/") else real


def key_of(session: Session, section: Section, form: Form = "tree") -> str:
    """Return the store's key of a section on this machine: a digest of what is resolved, never of a name a user chose.

    The store's place is part of it: an environment holds its own path, and one in a store that was moved, or that came with
    a stranger's project, was not built here. So is the form, unless it is a tree.
    """
    with naming(session):
        plan = method_of(section).plan(session.read(section), session.site)
    return _key(session, section, plan.identity, form)


def _key(session: Session, section: Section, identity: Mapping[str, object], form: Form) -> str:
    placed = {**identity, "store": os.path.realpath(session.store.folder)}
    return key_from(section.method, placed if form == "tree" else {**placed, "form": form})


def key_from(method: str, identity: Mapping[str, object]) -> str:
    """Return the key of a method's identity: 32 hexadecimal digits."""
    return digest_of({"method": method, "identity": identity}).removeprefix("sha256:")[:32]


def built_generation(session: Session, section: Section, form: Form | None = None) -> Generation | None:
    """Return the section's generation if it is in the store and can be used; `form` is as in `published`."""
    found = published(session, section, form)
    return read_generation(session.store, str(found.card["key"])) if isinstance(found, Generation) else None


def published(session: Session, section: Section, form: Form | None = None) -> Generation | str:
    """Return what has the name of the section in the form that a start takes, or in `form`; or a line as `find_published`."""
    with naming(session):
        plan = method_of(section).plan(session.read(section), session.site)
    return find_published(session.store, _key(session, section, plan.identity, form or _form(session, section, plan.identity)[0]))


def _form(session: Session, section: Section, identity: Mapping[str, object]) -> tuple[Form, forms.Tools | None, str]:
    """Return the form that a start takes, and a build makes; what makes a file; and what is to be said where that cannot be.

    Without a setting it is a tree, unless only a file is built. An image is one file anyway.
    """
    if method_of(section).traits.is_image:
        return "tree", None, ""
    setting, site = session.site.settings.form, session.site
    if not setting:
        tree, file = (find_published(session.store, _key(session, section, identity, each)) for each in ("tree", "file"))
        setting = "file" if tree == "" and file != "" else "tree"
    tools, said = forms.choose(setting, session.store.folder, site.environ.get("PATH", ""), site.apptainer)
    return "tree" if tools is None else "file", tools, said


def _build(task: Task, section: Section) -> tuple[Generation, bool]:
    session, store = task.session, task.session.store
    with naming(session):
        plan = method_of(section).plan(session.read(section), session.site)
    form, tools, said = _form(session, section, plan.identity)
    place: forms.Place | str | None = None
    known = None if task.rebuild else building.known(task, section, _key(session, section, plan.identity, form))
    if known is None and tools is not None:
        place = forms.place(session.site.environ)
        if isinstance(place, str):
            form, tools, said = "tree", None, f"the form is tree, not file: {place}"
            known = None if task.rebuild else building.known(task, section, _key(session, section, plan.identity, form))
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
    recipe = Recipe(_key(session, section, plan.identity, form), card, building.builder(task, section, plan), pack)
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
        "section": chosen.section.digest,
        "method": prepared.method,
        "key": str(prepared.generation.card["key"]),
        "link": f"../gens/{prepared.generation.folder.name}",
        "made": ready.stamp(os.lstat(prepared.generation.folder)),
        "bytes": prepared.generation.card["bytes"],
        "files": prepared.generation.card["files"],
        "inside": prepared.generation.inside,
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
