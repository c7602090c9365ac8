"""Locks: made from a spec, compared with it, with the machine and with what is on disk.

The steps resolve and check of the way of the data; `workflow` walks them.
"""

from __future__ import annotations

import difflib
import os
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from ozrepro.errors import DriftError, LockError, NoMethodError, UsageError
from ozrepro.methods import Change, Method, candidates, load_method, refusal
from ozrepro.process import ended_by_signals
from ozrepro.project.files import Files
from ozrepro.project.lock import Lock, Section, lock_file, save_lock, write_text
from ozrepro.project.lockdiff import packages_moved
from ozrepro.store.claim import closed_to_others

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ozrepro.methods import Say
    from ozrepro.pipeline import Session

_TOLD = 20
"""Packages of one section that have moved and are told by name."""


@dataclass(frozen=True, slots=True)
class Locking:
    """What locking did: the lock, the methods resolved, those left out with their reasons, and whether bytes changed."""

    lock: Lock
    resolved: tuple[str, ...]
    refused: tuple[str, ...]
    changed: bool


def needs_lock(session: Session) -> LockError:
    """Return the error for a session that has no lock where one is required."""
    where = str(lock_file(session.root, session.name))
    return LockError("there is no lock", where=where, hint=f"ozrepro lock {session.name}, then commit {session.name}.lock")


@ended_by_signals()
@closed_to_others()
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
    takes an image that was built here and refused. Each package that moves is told.
    """
    spec, site = session.spec, session.site
    old = session.lock()
    names = methods or candidates(spec, site)
    _check_upgrade(session, old, names, upgrade or ())
    refused: list[str] = []
    new: list[Section] = []
    # An image may be made from another method's section, so it comes last.
    for name in sorted(names, key=lambda name: name == "container"):
        reason = refusal(name, spec, site, None)
        if reason is not None:
            refused.append(f"{name}: {reason}")
            continue
        method = load_method(name)
        now = (old or Lock(spec.name)).with_sections(new)
        previous = now.section(name, method.platform(site))
        method.digest(spec, site)  # a missing requirement file is a mistake of the spec, told before anything is resolved
        as_it_is = upgrade is None and not source and not (accept and name == "container")
        if previous is not None and as_it_is and not _moved(previous, now) and _answers(method, previous, session):
            new.append(previous)  # nothing to change: do not solve again
            continue
        resolved = method.resolve(spec, site, Change(now.sections, upgrade, source, accept), say)
        for line in method.drift(resolved[0], site):
            say(f"{resolved[0].title} is for another machine: {line}")
        _tell_moved(now, resolved, upgrade or (), say)
        new += resolved
    if not new:
        raise NoMethodError(spec.name, refused, hint=f"ozrepro status {spec.name}")
    lock = (old or Lock(spec.name)).with_sections(new)
    if write:
        _check_before_lock(session, lock, new)
    changed = save_lock(session.root, lock, session.files) if write else lock != old
    return Locking(lock, tuple(dict.fromkeys(section.method for section in new)), tuple(refused), changed)


def _tell_moved(old: Lock, new: Iterable[Section], asked: Iterable[str], say: Say) -> None:
    """Say which packages have another version or build than they had, and which of those `asked` for have not."""
    for section in new:
        before, method = old.section(section.method, section.platform), load_method(section.method)
        if before is None:
            continue
        try:
            versions = method.versions(before)
        except LockError:
            continue  # a damaged section: nothing tells what it had
        now = method.versions(section)
        lines = packages_moved(before, section, versions, now)
        for line in lines[:_TOLD]:
            say(f"{section.title}: {line}")
        if len(lines) > _TOLD:
            say(f"{section.title}: … and {len(lines) - _TOLD} more: ozrepro diff {old.session} HEAD")
        same = {canonicalize_name(name): name for name in versions if now.get(name) == versions[name]}
        for name in (same[word] for word in map(canonicalize_name, asked) if word in same):
            say(f"{section.title}: {name} stays {now[name]}")


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
    refuse_moved(session, moved, "locked: no lock is written")


def refuse_moved(session: Session, moved: Iterable[str], doing: str) -> None:
    """Raise LockError where files of the project have `moved` while the session was `doing` something."""
    names = ", ".join(os.path.relpath(path, session.root) if os.path.isabs(path) else path for path in moved)
    if names:
        raise LockError(f"{names}: changed while {session.name} was being {doing}", hint="the same command again")


def _check_upgrade(session: Session, lock: Lock | None, methods: Iterable[str], names: Iterable[str]) -> None:
    """Raise UsageError for a package that no section of `methods` has: a misspelt name would be passed over without a word."""
    locked: dict[str, str] = {}
    for section in lock.sections if lock and names else ():
        if section.method in methods:
            with suppress(LockError):  # a damaged section is resolved anew
                locked.update((canonicalize_name(name), name) for name in load_method(section.method).versions(section))
    unknown = [name for name in names if canonicalize_name(name) not in locked]
    if unknown:
        near = [*filter(None, (_nearest(name, locked) for name in unknown))]
        hint = (
            f"did you mean {', '.join(near)}?" if near else f"ozrepro lock {session.name} --upgrade PKG: the session comes first"
        )
        raise UsageError(f"no package {', '.join(unknown)} is locked in {session.name}", hint=hint)


def _nearest(name: str, locked: Mapping[str, str]) -> str:
    near = difflib.get_close_matches(canonicalize_name(name), sorted(locked), 1)
    return locked[near[0]] if near else ""


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


def saved_otherwise(session: Session, lock: Lock) -> list[str]:
    """Return a line for all that only locking takes from the caller's own files and is another there now."""
    lines: list[str] = []
    for name in candidates(session.spec, session.site):
        method = load_method(name)
        section = lock.section(name, method.platform(session.site))
        if section is not None:
            lines += [f"{section.title}: {line}" for line in method.saved_otherwise(section, session.spec, session.site)]
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
    asked = (session.spec, session.site)
    return not (method.drift(section, session.site) or method.saved_otherwise(section, *asked) or method.recheck(section, *asked))


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
    check_drift(session, section)


def check_drift(session: Session, section: Section) -> None:
    """Raise DriftError when the machine no longer answers the section."""
    method = load_method(section.method)
    drift = method.drift(section, session.site)
    if drift:
        where = str(lock_file(session.root, session.name))
        text = "\n  ".join((f"this machine has drifted from {section.title}:", *drift))
        mend = method.mend(section, session.spec, session.site)
        accept = f"ozrepro diff {session.name}, then ozrepro lock {session.name} to accept it"
        raise DriftError(text, where=where, hint=mend or accept)
