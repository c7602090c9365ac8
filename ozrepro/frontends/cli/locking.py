"""The commands about locks: lock, verify, diff."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from ozrepro.errors import DriftError, LockError, OzreproError, UsageError
from ozrepro.frontends.cli.call import take_json, take_method, take_name, take_names
from ozrepro.frontends.cli.sessions import looked_at, names_of, opened, try_each
from ozrepro.methods import comparing, registry
from ozrepro.methods.reading import read_text
from ozrepro.pipeline import describing
from ozrepro.pipeline.checks import (
    check_section,
    compared_with_site,
    drift_of,
    needs_no_site,
    outdated,
    remedy_of,
    said_otherwise,
    stale,
)
from ozrepro.pipeline.choice import candidates, choose
from ozrepro.pipeline.generations import built_generation, published
from ozrepro.pipeline.locking import Change, Locking, lock_session
from ozrepro.pipeline.revisions import find_git, text_at
from ozrepro.pipeline.session import Session, needs_lock
from ozrepro.project import sources
from ozrepro.project.files import text_of
from ozrepro.project.lock import Lock, Section, lock_file
from ozrepro.project.lockdiff import Difference, between_contents, between_sections
from ozrepro.store import audit
from ozrepro.store.publish import verify as verify_files

_NAMED = 8
"""Packages that are listed by name in a line."""

if TYPE_CHECKING:
    from collections.abc import Callable

    from ozrepro.frontends.cli.call import Add, Call
    from ozrepro.site import Site


def register(add: Add) -> None:
    """Add the commands of this module."""
    made = add("lock", "resolve and write the lock", lock)
    take_names(made)
    take_method(made)
    made.add_argument("--check", action="store_true", help="only compare; exit 3 when the lock does not answer the spec")
    made.add_argument("--here", action="store_true", help="with --check: also what is not locked for this machine, and drift")
    made.add_argument("--upgrade", nargs="*", metavar="PKG", help="take newer versions, of all packages or of these")
    source = "lock exactly the packages of another tool's lock, list or conda environment"
    made.add_argument("--from", dest="source", metavar="SOURCE", help=source)
    accept = "take the image that was built here and refused because other versions are inside"
    made.add_argument("--accept", action="store_true", help=accept)
    made = add("verify", "check a built environment against its lock", verify)
    take_name(made)
    take_method(made)
    levels = "0 files' digests; 1 and a real module load; 2 and the packages inside"
    made.add_argument("--level", type=int, choices=(0, 1, 2), default=0, help=levels)
    take_json(made)
    made = add("diff", "show what differs between two locks, two methods, or the lock and this machine", diff)
    take_name(made)
    sides = "each a lock file, a git revision or a method; one alone is compared with the lock"
    made.add_argument("sides", metavar="A B", nargs="*", help=sides)
    take_json(made)


def lock(call: Call) -> int:
    """Resolve and write the locks of the sessions named, or only compare."""
    names, source = names_of(call), call.arguments.source
    if source and len(names) != 1:
        raise UsageError("--from is for one session", hint=f"ozrepro lock NAME --from {source}")
    if call.arguments.here and not call.arguments.check:
        raise UsageError("--here is for --check", hint="ozrepro lock --check --here")
    if call.arguments.check:
        return try_each(call, names, lambda name: _check(call, looked_at(call, name)))
    return try_each(call, names, lambda name: _lock(call, opened(call, name)))


def _check(call: Call, session: Session) -> int:
    found = session.lock()
    if found is None:
        raise needs_lock(session)
    where, again = str(lock_file(session.root, session.name)), f"ozrepro lock {session.name}"
    lines, source, here = outdated(session, found), call.arguments.source or "", call.arguments.here
    said = said_otherwise(session, found)
    if here:
        lines = lines or stale(session, found) or said
    if lines:
        raise LockError("is out of date:", problems=lines, where=where, hint=remedy_of(session, found) or again)
    if source:
        lines = _check_source(call, session, found, source)
    if lines:
        hint = f"{again} --from {shlex.quote(source)}"
        raise LockError(f"is not what {source} gives:", problems=lines, where=where, hint=hint)
    for line in () if here else said:
        call.out.say(f"{session.name}: {line}; {again} takes it over")
    without = [name for name in candidates(session) if not found.of_method(name)]
    more = f", and is what {source} gives" if source else ""
    call.out.line(f"{session.name}: lock is up to date{more}" + (f"; not locked: {', '.join(without)}" if without else ""))
    return 0


def _check_source(call: Call, session: Session, old: Lock, source: str) -> list[str]:
    """Return what the lock would have otherwise if it were made from the source, one line each."""
    made = lock_session(
        session, _teller(call, session), methods=_takers(session, source), change=Change(source=source), write=False
    )
    return [item.line() for item in differences(old, made.lock)]


def _takers(session: Session, source: str) -> tuple[str, ...]:
    """Return the described methods that lock what a source is. Raises UsageError where there is none."""
    kind = sources.kind_of(source)
    takers = tuple(name for name in session.spec.tables if kind in registry.load(name).traits.takes)
    if not takers:
        able = " or ".join(f"[{name}]" for name in registry.known() if kind in registry.load(name).traits.takes)
        where, file = sources.split(source)[0], f"sessions/{session.name}.toml"
        raise UsageError(f"is {kind}: --from takes it for {able}, which {file} lacks", where=where, hint=f"add {able} to {file}")
    return takers


def _teller(call: Call, session: Session) -> Callable[[str], None]:
    return lambda text: call.out.say(f"{session.name}: {text}")


def lock_and_say(call: Call, session: Session, change: Change | None = None, methods: tuple[str, ...] | None = None) -> Locking:
    """Lock a session and print what became of it. Raises as `lock_session`."""
    done = lock_session(session, _teller(call, session), methods=methods, change=change)
    for name, reason in done.skipped:
        call.out.say(f"{session.name}: not locked: {name}: {reason.what}")
    what = "written" if done.changed else "unchanged"
    call.out.line(f"{session.name}: sessions/{session.name}.lock {what} ({', '.join(done.resolved)})")
    return done


def _lock(call: Call, session: Session) -> int:
    upgrade, source = call.arguments.upgrade, call.arguments.source
    change = Change(None if upgrade is None else tuple(upgrade), source or "", call.arguments.accept)
    done = lock_and_say(call, session, change, _takers(session, source) if source else None)
    _check_left(session, done)
    return 0


def _check_left(session: Session, done: Locking) -> None:
    """Raise LockError for a section of this machine that was left as it was, and is out of date: locking again keeps it."""
    for name, reason in done.skipped:
        if session.section(name, done.lock) is None:
            continue
        try:
            lines = stale(session, done.lock, (name,))
        except LockError as error:
            lines = [error.title, *error.problems]
        if lines:
            edit = reason.remedy or f"lock it where {name} is available"
            out = f"{edit}, or take {name} out of the spec's methods; until then: --method {done.resolved[0]}"
            what = f"still has a section of {name} that no longer holds here:"
            raise LockError(what, problems=lines, where=str(lock_file(session.root, session.name)), hint=out)


def verify(call: Call) -> int:
    """Check a built environment: files, a real module load, packages inside."""
    whole = opened(call, call.arguments.name)
    session = whole.for_looking()
    section = _section(session)
    generation = published(session, section)
    if isinstance(generation, str):
        what = f"{section.title} of {session.name} is in the store, but cannot be used: {generation}"
        what = what if generation else f"{section.title} is not built here"
        raise OzreproError(what, hint=f"ozrepro build {session.name}")
    level = call.arguments.level
    wrong = verify_files(generation)
    wrong += [f"{path}: {why}; rm -r {shlex.quote(str(path))}" for path, why in audit.records(session.store).items()]
    moved = compared_with_site(whole, section) if level >= 1 and not wrong else []
    if moved and needs_no_site(session, section):
        call.out.say(f"{session.name}: {moved[0]}; nothing of it is used: the environment's file keeps all software")
        moved = []
    if level >= 2 and not (wrong or moved):
        wrong = describing.problems(session, section, generation)
    call.out.value({"schema": 1, "session": session.name, "section": section.title, "level": level, "problems": [*wrong, *moved]})
    if wrong:
        what, hint = f"{section.title} of {session.name} is not as it was built:", f"ozrepro build {session.name} --rebuild"
        raise OzreproError(what, problems=wrong[:30], where=str(generation.folder), hint=hint)
    if moved:
        what = f"this machine no longer gives what {section.title} of {session.name} says:"
        hint = f"ozrepro lock {session.name}, if what is there now is wanted"
        raise DriftError(what, problems=moved[:30], where=str(lock_file(session.root, session.name)), hint=hint)
    files = f"one file with {generation.inside} inside" if generation.inside else f"{generation.card['files']} files"
    call.out.line(f"{session.name}: {section.title} verified, {files} OK (level {call.arguments.level})")
    return 0


def _section(session: Session, *, drifted: bool = False) -> Section:
    """Return the section in use here; `drifted` takes it although the machine has moved away from it."""
    found = session.lock()
    if found is None:
        raise needs_lock(session)
    choice = choose(session, found)
    assert choice.section is not None
    try:
        check_section(session, choice.section)
    except DriftError:
        if not drifted:
            raise
    return choice.section


def diff(call: Call) -> int:
    """Print what differs; nothing where all is the same."""
    session = looked_at(call, call.arguments.name)
    sides = call.arguments.sides
    undecided: list[str] = []
    if len(sides) > 2:
        raise UsageError("diff takes at most two sides", hint="ozrepro diff NAME [A [B]]")
    if not sides:
        found = _with_machine(session)
    elif all(side in registry.known(sides) for side in sides) and len(sides) == 2:
        found, undecided = _methods(session, sides[0], sides[1])
    else:
        left = _read_side(session, sides[0])
        right = _read_side(session, sides[1]) if len(sides) == 2 else _own_lock(session)
        found = differences(left, right or Lock(session.name))
    told = {"differences": [item.as_dict() for item in found], "undecided": undecided}
    call.out.value({"schema": 1, "session": session.name, **told})
    for item in found:
        call.out.line(item.line())
    if not found:
        call.out.line("no difference in what both locks name" if undecided else "no difference")
    if undecided:
        names = ", ".join(undecided[:_NAMED]) + (f", … {len(undecided) - _NAMED} more" if len(undecided) > _NAMED else "")
        call.out.say(f"{session.name}: not compared, as one lock alone has the name: {names}; ozrepro build {session.name} tells")
    return 0


def differences(left: Lock, right: Lock) -> list[Difference]:
    """Return what differs between two locks, section by section."""
    keys = sorted({(item.method, item.platform) for lock in (left, right) for item in lock.sections})
    found: list[Difference] = []
    for method, platform in keys:
        some = between_sections(left.section(method, platform), right.section(method, platform))
        prefix = f"{method}.{platform}: " if len(keys) > 1 else ""
        found += [Difference(prefix + item.what, item.left, item.right) for item in some]
    return found


def _methods(session: Session, left: str, right: str) -> tuple[list[Difference], list[str]]:
    """Return what differs between two methods, and the names of which their locks cannot say it: none where both are built."""
    lock = _own_lock(session)
    if lock is None:
        raise needs_lock(session)
    sections = [_of(session, lock, name) for name in (left, right)]
    one, other = (describing.inside(session, section, lock) for section in sections)
    if one.imports is not None and other.imports is not None:
        return comparing.differences(one, other), []
    # One side as its lock has it and the other as it is would differ by what installers add, such as pip.
    return comparing.differences_of_locks(*(describing.foretold(session, section) for section in sections))


def _of(session: Session, lock: Lock, name: str) -> Section:
    section = session.section(name, lock)
    section = section or next((item for item in lock.sections if item.method == name), None)
    if section is None:
        where = str(lock_file(session.root, session.name))
        raise LockError(f"has no section for {name}", where=where, hint=f"ozrepro lock {session.name}")
    return section


def _with_machine(session: Session) -> list[Difference]:
    section = _section(session, drifted=True)
    drift = [Difference(line, "", "") for line in drift_of(session, section)]
    generation = built_generation(session, section)
    if generation is None:
        return [*drift, Difference(f"{section.title}", "locked", "not built here")]
    changed = [Difference(line, "", "") for line in verify_files(generation)]
    if drift:
        return [*drift, *changed]  # what it would be built from now is another thing
    locked = describing.versions(session, section)
    inside = describing.installed(session, section, generation)
    # A package that is absent is a file that is; one with several versions has them for several Pythons.
    locked = {name: version for name, version in locked.items() if name in inside and "|" not in version}
    own = {name: version for name, version in inside.items() if name in locked}
    return [*drift, *changed, *between_contents(locked, own)]


def _read_side(session: Session, side: str) -> Lock:
    path = Path(side)
    if path.exists() and not path.is_dir():
        try:
            text = text_of(path)
        except OSError as error:
            raise LockError(f"cannot be read: {error.strerror}", where=side) from error
        return _sound(read_text(text, session.name, side), side, session.site)
    if side.startswith("-"):
        raise UsageError(f"{side!r} is neither a lock file nor a git revision")
    git = find_git(session.root)
    if git is None:
        raise UsageError(f"{side!r} is not a lock file, and git is not here to find it as a revision")
    name = f"sessions/{session.name}.lock"
    found = text_at(git, session.root, side, name)
    if found is None:
        raise UsageError(f"{side!r} is neither a lock file nor a git revision with this lock", hint=f"git log -- {name}")
    where = f"{side}:{name}"
    return _sound(read_text(found, session.name, where), where, session.site)


def _sound(lock: Lock, where: str, site: Site) -> Lock:
    """Return the lock if each section's content can be read: what is compared is also printed. Raises LockError."""
    for section in lock.sections:
        registry.read_section(section, site, where, lock.session)
    return lock


def _own_lock(session: Session) -> Lock | None:
    found = session.lock()
    for section in found.sections if found is not None else ():
        session.read(section)  # what is compared is also printed
    return found
