"""Locks made from a spec: resolved, compared with what was there, and written."""

from __future__ import annotations

import difflib
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from packaging.utils import canonicalize_name

from ozrepro.errors import LockError, NoMethodError, UsageError
from ozrepro.methods import registry
from ozrepro.methods.contract import Derives, Describes, NamesPackages, Request
from ozrepro.methods.packagelist import PackageList
from ozrepro.methods.reading import new_lock
from ozrepro.pipeline.checks import compared_with_site, drift_of, other_source, refuse_moved, said_of, warnings_of
from ozrepro.pipeline.choice import candidates, check_matches, unavailable
from ozrepro.pipeline.session import method_of, naming
from ozrepro.process import ended_by_signals
from ozrepro.project.lock import Lock, Section, save_lock, write_text
from ozrepro.project.lockdiff import packages_moved
from ozrepro.store.claim import closed_to_others

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from ozrepro.methods.contract import Reason, Say
    from ozrepro.pipeline.session import Session

_SHOWN = 20
"""Packages of one section that have moved and are listed by name."""


@dataclass(frozen=True, slots=True)
class Change:
    """How to lock again.

    Attributes:
        upgrade: the packages that may move; None where only those that must, () where all.
        source: another tool's file or environment whose packages are taken, "" where none is given.
        accept: whether to take what was built on this machine and refused.

    """

    upgrade: tuple[str, ...] | None = None
    source: str = ""
    accept: bool = False


@dataclass(frozen=True, slots=True)
class Locking:
    """What locking did: the lock, the methods resolved, the methods skipped with their reasons, and whether bytes changed."""

    lock: Lock
    resolved: tuple[str, ...]
    skipped: tuple[tuple[str, Reason], ...]
    changed: bool


@ended_by_signals()
@closed_to_others()
def lock_session(
    session: Session,
    say: Say,
    *,
    methods: tuple[str, ...] | None = None,
    change: Change | None = None,
    write: bool = True,
) -> Locking:
    """Resolve and write the lock, unless `write` is off; sections of other methods and platforms stay untouched.

    Without `methods`, each candidate that this machine can resolve is locked, and at least one must be.
    A lock that cannot be read is an error, never overwritten. Each package that moves is reported.
    """
    change = change or Change()
    old = session.lock()
    names = methods or candidates(session)
    _check_upgrade(session, old, names, change.upgrade or ())
    skipped: list[tuple[str, Reason]] = []
    new: list[Section] = []
    for name in _sources_first(session, names):
        reason = unavailable(session, name, None)
        if reason is not None:
            skipped.append((name, reason))
            continue
        now = (old or new_lock(session.name)).with_sections(new)
        made = _lock_method(session, name, now, change, say)
        for section in made:
            for line in warnings_of(session, section):
                say(line)
        new += made
    if not new:
        lines = [f"{name}: {reason.what}" for name, reason in skipped]
        raise NoMethodError(session.name, lines, hint=f"ozrepro status {session.name}")
    lock = (old or new_lock(session.name)).with_sections(new)
    if write:
        _check_before_lock(session, lock, new)
    changed = save_lock(session.root, lock, session.files) if write else lock != old
    resolved = tuple(dict.fromkeys(section.method for section in new))
    for name, keys in _without_packages(session, lock, resolved if write else ()):
        say(f"{name} requires no packages: name some in {'.'.join(keys)}, or ozrepro add PKG")
    return Locking(lock, resolved, tuple(skipped), changed)


def _without_packages(session: Session, lock: Lock, names: Iterable[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each method that has no packages, which is seldom meant, with the key of the spec where it takes them."""
    for name in names:
        section, method = session.section(name, lock), registry.load(name)
        place = method.package_list(session.subject(name).table) if isinstance(method, NamesPackages) else None
        if section is None or not isinstance(place, PackageList) or place.entries:
            continue
        if not (isinstance(method, Describes) and method.versions(session.read(section))):
            yield name, place.keys


def _sources_first(session: Session, names: Iterable[str]) -> list[str]:
    """Return the names so that a method whose sections are made from another's comes after it."""
    ordered: list[str] = []

    def put(name: str, beneath: tuple[str, ...]) -> None:
        method = registry.load(name)
        if isinstance(method, Derives) and name in session.spec.tables:
            for source in method.sources(session.spec.tables[name]):
                if source in named and source not in beneath:
                    put(source, (*beneath, name))
        if name not in ordered:
            ordered.append(name)

    named = list(names)
    for name in named:
        put(name, ())
    return ordered


def _lock_method(session: Session, name: str, now: Lock, change: Change, say: Say) -> Sequence[Section]:
    """Return a method's sections: as they are where nothing has changed, else resolved."""
    method = registry.load(name)
    previous = session.section(name, now)
    # A missing requirement file is a mistake of the spec, reported before anything is resolved.
    digest = session.inputs(name).digest
    forced = change.upgrade is not None or change.source or (change.accept and method.traits.builds_to_lock)
    if previous is not None and not forced and _is_current(session, previous, now):
        return (previous,)
    request = Request(
        subject=session.subject(name),
        digest=digest,
        old=_readable(session, now.of_method(name)),
        sections=now.sections,
        upgrade=change.upgrade,
        source=change.source,
        accept=change.accept,
        say=say,
    )
    with naming(session):
        resolved = method.resolve(request)
    for line in drift_of(session, resolved[0]):
        say(f"{resolved[0].title} is for another machine: {line}")
    _report_moved(session, now, resolved, change.upgrade or (), say)
    return resolved


def _readable(session: Session, sections: Iterable[Section]) -> dict[str, Any]:
    """Return the content of the sections that can be read, by platform: a damaged one is resolved as if there were none."""
    found: dict[str, Any] = {}
    for section in sections:
        with suppress(LockError):
            found[section.platform] = session.read(section)
    return found


def _versions(session: Session, section: Section) -> Mapping[str, str]:
    """Return the versions of a section's packages; none of one that cannot be read."""
    method = method_of(section)
    with suppress(LockError):
        return method.versions(session.read(section)) if isinstance(method, Describes) else {}
    return {}


def _report_moved(session: Session, old: Lock, new: Iterable[Section], asked: Iterable[str], say: Say) -> None:
    """Say which packages have another version or build than they had, and which of those `asked` for have not."""
    for section in new:
        before = old.section(section.method, section.platform)
        if before is None:
            continue
        versions = _versions(session, before)
        if not versions:
            continue
        now = _versions(session, section)
        lines = packages_moved(before, section, versions, now)
        for line in lines[:_SHOWN]:
            say(f"{section.title}: {line}")
        if len(lines) > _SHOWN:
            say(f"{section.title}: … and {len(lines) - _SHOWN} more: ozrepro diff {old.session} HEAD")
        same = {canonicalize_name(name): name for name in versions if now.get(name) == versions[name]}
        for name in (same[word] for word in map(canonicalize_name, asked) if word in same):
            say(f"{section.title}: {name} stays {now[name]}")


def _check_before_lock(session: Session, lock: Lock, made: Iterable[Section]) -> None:
    """Raise LockError where what the sections were made from is not what is on disk now: the lock would be wrong from the start.

    What a spec names is also digested afresh, since not all of it is kept in memory.
    """
    path = os.path.abspath(session.lock_path)
    moved = session.files.moved(written={path: write_text(lock).encode()})
    if not moved:
        again = session.afresh()
        other = [item for item in made if again.inputs(item.method).digest != item.spec]
        moved = [name for item in other for name in again.inputs(item.method).unchecked] or [item.title for item in other]
    refuse_moved(session, moved, "locked: no lock is written")


def _check_upgrade(session: Session, lock: Lock | None, methods: Iterable[str], names: Iterable[str]) -> None:
    """Raise UsageError for a package that no section of `methods` has: a misspelt name would be passed over without a word."""
    locked: dict[str, str] = {}
    for section in lock.sections if lock and names else ():
        if section.method in methods:
            locked.update((canonicalize_name(name), name) for name in _versions(session, section))
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


def _is_current(session: Session, section: Section, lock: Lock) -> bool:
    """Say whether a section was made from this spec, would be taken, and is what this machine gives.

    `ozrepro lock` is what repairs a section that is refused, and what accepts a machine that has changed.
    """
    if section.spec != session.inputs(section.method).digest:
        return False
    try:
        if other_source(session, section, lock):
            return False
        check_matches(session, section)
    except LockError:
        return False
    return not (drift_of(session, section) or said_of(session, section) or compared_with_site(session, section))
