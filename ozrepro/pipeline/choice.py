"""Which method serves a session here: the rules by which one is chosen, and the reasons why others were skipped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ozrepro.errors import LockError, NoMethodError, UsageError
from ozrepro.methods import registry
from ozrepro.methods.contract import Reason
from ozrepro.pipeline.session import needs_lock
from ozrepro.project.checking import one_of_these

if TYPE_CHECKING:
    from ozrepro.pipeline.session import Session
    from ozrepro.project.lock import Lock, Section


@dataclass(frozen=True, slots=True)
class Choice:
    """The chosen method, its section if there is a lock, and a line for each method before it that one would expect to be taken.

    That is one that was locked, here or for another machine of the project's: where it was never locked, nobody waits for it.
    Where there is no lock yet, it is each: the first one is written without them.
    """

    name: str
    section: Section | None
    skipped: tuple[str, ...]


def candidates(session: Session) -> tuple[str, ...]:
    """Return the methods to try, in order. Raises UsageError when the one asked for is not described."""
    asked, spec = session.site.settings.method, session.spec
    if asked is None:
        return spec.candidates(session.site.settings.methods)
    if asked not in spec.tables:
        what = f"session {spec.name!r} describes no method {asked!r}"
        raise UsageError(what, where=str(spec.path), hint=one_of_these(asked, spec.tables))
    return (asked,)


def unavailable(session: Session, name: str, lock: Lock | None) -> Reason | None:
    """Return why a method is not available for the session here, or None. Raises LockError for a section that cannot be taken."""
    method = registry.load(name)
    if lock is None:
        return method.unavailable(session.subject(name), None)
    fixed = _fixed_python(session, name)
    if fixed is not None:
        return fixed
    section = session.section(name, lock)
    if section is None:
        return Reason(f"not locked for this platform ({session.key(name)})", f"ozrepro lock {session.name}")
    locked = session.read(section)
    check_matches(session, section)
    return method.unavailable(session.subject(name), locked)


def _fixed_python(session: Session, name: str) -> Reason | None:
    """Return that the method's sections have one Python each, where the caller asks for one; locking asks for none."""
    asked = session.site.settings.python
    if not asked or registry.load(name).traits.chooses_python:
        return None
    return Reason(f"its Python is the one that is locked, and Python {asked} is asked for")


def check_matches(session: Session, section: Section) -> None:
    """Raise LockError, with all of it, where a section that claims to answer the spec holds what the spec does not ask for."""
    if section.spec != session.inputs(section.method).digest:
        return
    wrong = registry.load(section.method).mismatches(session.subject(section.method), session.read(section))
    if wrong:
        raise LockError("is refused:", problems=wrong, where=str(session.lock_path), hint=f"ozrepro lock {session.name}")


def choose(session: Session, lock: Lock | None) -> Choice:
    """Return the first available method. Raises NoMethodError with every reason, UsageError as `candidates`."""
    skipped: list[tuple[str, str]] = []
    lacks_section = False
    for name in candidates(session):
        reason = _fixed_python(session, name) or unavailable(session, name, lock)
        if reason is None:
            surprising = (line for method, line in skipped if lock is None or lock.of_method(method))
            return Choice(name, session.section(name, lock), tuple(surprising))
        lacks_section = lacks_section or (lock is not None and session.section(name, lock) is None)
        skipped.append((name, f"{name}: {reason.what}"))
    hint = f"ozrepro lock {session.name}" if lacks_section else f"ozrepro status {session.name}"
    raise NoMethodError(session.name, [line for _, line in skipped], hint=hint)


def chosen_section(session: Session) -> Section:
    """Return the locked section of the method that is taken here. Raises LockError where there is no lock, and as `choose`."""
    lock = session.lock()
    if lock is None:
        raise needs_lock(session)
    section = choose(session, lock).section
    assert section is not None, "with a lock, only a method with a section can be chosen"
    return section
