"""Whether a section of the lock answers the spec and this machine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ozrepro.errors import DriftError, LockError
from ozrepro.methods.contract import Derives, Drifts, FollowsCaller, Keeps, Remedies, Warns
from ozrepro.pipeline.choice import candidates, check_matches, unavailable
from ozrepro.pipeline.generations import kept_by, published
from ozrepro.pipeline.session import method_of
from ozrepro.store.kept import folders_of, is_kept

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ozrepro.pipeline.session import Session
    from ozrepro.project.lock import Lock, Section


_KEPT = "the environment's file keeps it as it was"


def refuse_moved(session: Session, moved: Iterable[str], doing: str) -> None:
    """Raise LockError where files of the project have `moved` while the session was `doing` something."""
    names = ", ".join(os.path.relpath(path, session.root) if os.path.isabs(path) else path for path in moved)
    if names:
        raise LockError(f"{names}: changed while {session.name} was being {doing}", hint="the same command again")


def drift_of(session: Session, section: Section) -> list[str]:
    """Return what the section names and this machine no longer has as it was."""
    method = method_of(section)
    return list(method.drift(session.read(section), session.site)) if isinstance(method, Drifts) else []


def other_source(session: Session, section: Section, lock: Lock) -> str:
    """Return the title of the section that this one was made from and that has changed since, or ""."""
    method = method_of(section)
    origin = method.origin(session.read(section)) if isinstance(method, Derives) else None
    if origin is None:
        return ""
    source = next((item for item in lock.sections if item.title == origin.section), None)
    return "" if source is not None and source.digest == origin.digest else origin.section


def check_answers(session: Session, section: Section) -> None:
    """Raise LockError when the section does not answer the spec, or was made from another one that has changed since."""
    where, hint = str(session.lock_path), f"ozrepro lock {session.name}"
    lock = session.lock()
    if lock is not None and (source := other_source(session, section, lock)):
        what = f"is out of date: {section.title} was built from {source}, which has changed since"
        raise LockError(what, where=where, hint=hint)
    inputs = session.inputs(section.method)
    if section.spec != inputs.digest:
        names = [os.path.relpath(path, session.root) for path in inputs.files] + list(inputs.unchecked)
        files = ("one of " if names else "") + ", ".join((f"sessions/{session.spec.path.name}", *names))
        raise LockError(f"is out of date: {files} changed since {section.title} was locked", where=where, hint=hint)


def check_section(session: Session, section: Section, *, whole: bool = False) -> None:
    """Raise LockError when the section does not answer the spec, DriftError when the machine no longer answers the section.

    `whole` is as in `check_drift`.
    """
    check_answers(session, section)
    check_drift(session, section, whole=whole)


def check_drift(session: Session, section: Section, *, whole: bool = False) -> None:
    """Raise DriftError when the machine no longer answers the section.

    What the built environment keeps of the machine's software is in the place of that; with `whole` it does not count.
    """
    drift = drift_of(session, section)
    if drift and not whole:
        drift = _left(session, section, drift)
    if drift:
        accept = f"ozrepro diff {session.name}, then ozrepro lock {session.name} to accept it"
        hint = _remedy(session, section) or accept
        raise DriftError(
            f"this machine has drifted from {section.title}:", problems=drift, where=str(session.lock_path), hint=hint
        )


def _left(session: Session, section: Section, drift: list[str]) -> list[str]:
    """Return those of these lines that remain where the built environment keeps software of the machine."""
    method, generation = method_of(section), published(session, section)
    if not isinstance(method, Keeps) or isinstance(generation, str) or not folders_of(generation):
        return drift
    locked = method.without(session.read(section), lambda path: is_kept(generation, path))
    return list(method.drift(locked, session.site)) if isinstance(method, Drifts) else []


def kept_lines(session: Session, section: Section) -> list[str]:
    """Return what the machine no longer has as it was, and the built environment keeps."""
    drift = drift_of(session, section)
    left = set(_left(session, section, drift)) if drift else set()
    return [f"{line}; {_KEPT}" for line in drift if line not in left]


def _remedy(session: Session, section: Section) -> str:
    method = method_of(section)
    remedy = method.remedy(session.subject(section.method), session.read(section)) if isinstance(method, Remedies) else None
    return remedy.for_session(session.name) if remedy is not None else ""


def outdated(session: Session, lock: Lock) -> list[str]:
    """Return a line for each section, of whatever machine, that does not answer the spec as it is now; the same on every machine.

    Raises LockError for a section that no build would take.
    """
    lines: list[str] = []
    for section in (section for name in candidates(session) for section in lock.of_method(name)):
        if section.spec != session.inputs(section.method).digest:
            lines.append(f"{section.title}: was locked for another version of {session.spec.path.name}")
        elif source := other_source(session, section, lock):
            lines.append(f"{section.title}: was built from {source}, which has changed since")
        else:
            check_matches(session, section)
    if not any(lock.of_method(name) for name in candidates(session)):
        lines.append(f"no section of {', '.join(candidates(session))}")
    return lines


def stale(session: Session, lock: Lock, methods: tuple[str, ...] | None = None) -> list[str]:
    """Return a line for each section of this machine that no longer answers the spec, and each candidate without one.

    Without `methods`, all candidates are looked at. Raises LockError for a section that no build would take.
    """
    lines: list[str] = []
    for name in candidates(session) if methods is None else methods:
        section = session.section(name, lock)
        if section is None:
            if unavailable(session, name, None) is None:
                lines.append(f"{name}: not locked for this platform ({session.key(name)})")
        elif section.spec != session.inputs(name).digest:
            lines.append(f"{section.title}: was locked for another version of {session.spec.path.name}")
        elif source := other_source(session, section, lock):
            lines.append(f"{section.title}: was built from {source}, which has changed since")
        else:
            check_matches(session, section)
            lines += [f"{section.title}: {line}" for line in drift_of(session, section)]
    return lines


def said_otherwise(session: Session, lock: Lock) -> list[str]:
    """Return a line for all that only locking takes from the caller's files and variables and is another there now."""
    sections = filter(None, (session.section(name, lock) for name in candidates(session)))
    return [f"{section.title}: {line}" for section in sections for line in said_of(session, section)]


def said_of(session: Session, section: Section) -> list[str]:
    """Return what only locking takes from the caller's files and variables and is another there now, for one section."""
    method = method_of(section)
    if not isinstance(method, FollowsCaller):
        return []
    return list(method.said_otherwise(session.subject(section.method), session.read(section)))


def compared_with_site(session: Session, section: Section) -> list[str]:
    """Return what the section's requests come to otherwise now, by the site's own tools. Raises BuildError."""
    method = method_of(section)
    if not isinstance(method, Drifts):
        return []
    return list(method.compare_with_site(session.subject(section.method), session.read(section)))


def needs_no_site(session: Session, section: Section) -> bool:
    """Say whether the built environment keeps all of the machine's software that the section names."""
    wanted, generation = kept_by(session, section), published(session, section)
    if wanted is None or isinstance(generation, str) or not folders_of(generation):
        return False
    return all(is_kept(generation, path) for path in wanted.digests)


def remedy_of(session: Session, lock: Lock) -> str:
    """Return what to do about drift that locking again does not accept, "" where locking again is what to do."""
    sections = list(filter(None, (session.section(name, lock) for name in candidates(session))))
    if any(section.spec != session.inputs(section.method).digest for section in sections):
        return ""
    return next(filter(None, (_remedy(session, section) for section in sections)), "")


def warnings_of(session: Session, section: Section) -> list[str]:
    """Return what a user should know of a section, as long as it is true."""
    method = method_of(section)
    lines = method.warnings(session.subject(section.method), session.read(section)) if isinstance(method, Warns) else ()
    return [f"{section.title}: {line}" for line in lines]
