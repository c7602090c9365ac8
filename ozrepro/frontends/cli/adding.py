"""The command add: packages put into a description, locked, and shown."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

from ozrepro.errors import LockError, SpecError, UsageError
from ozrepro.frontends.cli.call import take_method, take_sessions_word
from ozrepro.frontends.cli.locking import differences, lock_and_say
from ozrepro.frontends.cli.sessions import opened
from ozrepro.methods import registry
from ozrepro.methods.contract import Derives, NamesPackages, Reason
from ozrepro.methods.packagelist import PackageList
from ozrepro.project.editing import with_entries
from ozrepro.project.files import text_of
from ozrepro.project.lock import Lock, replace_text
from ozrepro.project.requirement import check_requirement, package_in
from ozrepro.project.spec import session_names

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ozrepro.frontends.cli.call import Add, Call
    from ozrepro.pipeline.session import Session


def register(add: Add) -> None:
    """Add the command of this module."""
    made = add("add", "put packages into a spec, lock, and show what changed", put)
    take_sessions_word(made)
    take_method(made)
    group = "put them into this dependency group of pyproject.toml, which the description then names"
    made.add_argument("--group", metavar="GROUP", default="", help=group)


def put(call: Call) -> int:
    """Put packages into a session's description, lock, and print what changed; the description is as it was where that fails."""
    name, packages = _split(call)
    session = opened(call, name)
    edits = _edits(call, session, packages)
    if not edits:
        call.out.line(f"{name}: nothing to add: {', '.join(packages)} {'is' if len(packages) == 1 else 'are'} there")
        return 0
    old = session.lock() or Lock(name)
    for path, (_, text) in edits.items():
        replace_text(path, text)
    try:
        done = lock_and_say(call, opened(call, name))
    except BaseException:
        _restore(edits)
        left = " and ".join(os.path.relpath(path, session.root) for path in edits)
        call.out.say(f"{name}: {left} left as before")
        raise
    for item in differences(old, done.lock):
        call.out.line(item.line())
    return 0


def _split(call: Call) -> tuple[str, list[str]]:
    """Return the session and the packages; the session may be left out where the project has one."""
    words, names = call.arguments.words_given, session_names(call.root)
    if words[0] in names:
        name, packages = words[0], words[1:]
    elif len(names) == 1:
        name, packages = names[0], words
    else:
        some = f"one of: {', '.join(names)}" if names else "ozrepro init"
        raise UsageError(f"{words[0]!r} is not a session, and the session comes first", hint=some)
    if not packages:
        raise UsageError("no package given", hint=f"ozrepro add {name} PKG…")
    return name, packages


def _edits(call: Call, session: Session, packages: Sequence[str]) -> dict[Path, tuple[str, str]]:
    """Return the files that change, each with its text before and after, and say what is put where.

    Raises SpecError, UsageError.
    """
    group, spec = call.arguments.group, session.spec.path
    texts = {spec: (text := text_of(spec), text)}
    entries = list(packages)
    lists = _lists(call, session, packages, group=bool(group))  # before anything is said to be added
    if group:
        path = session.root / "pyproject.toml"
        _refuse(packages, "dependency-groups", check_requirement)
        try:
            before = text_of(path)
        except OSError as error:
            raise SpecError(str(path), [f"cannot be read: {error.strerror}"]) from error
        named = PackageList(("dependency-groups", group), check_requirement, package_in)
        texts[path] = (before, _edited(call, session, path, before, named, entries))
        entries = [f"--group {group}"]
    for named in lists:
        _refuse(entries, ".".join(named.keys), named.check)
        before, after = texts[spec]
        texts[spec] = (before, _edited(call, session, spec, after, named, entries))
    return {path: pair for path, pair in texts.items() if pair[0] != pair[1]}


def _lists(call: Call, session: Session, packages: Sequence[str], *, group: bool) -> list[PackageList]:
    """Return where the described methods name packages, or the one that was asked for. Raises UsageError where none does."""
    asked = call.arguments.method
    names = (asked,) if asked else tuple(session.spec.tables)
    lists: list[PackageList] = []
    reasons: list[tuple[str, Reason]] = []
    for name in names:
        method, table = registry.load(name), session.subject(name).table
        if not asked and isinstance(method, Derives) and method.sources(table):
            continue  # it gets them from the other method
        found = method.package_list(table) if isinstance(method, NamesPackages) else Reason("it names no packages")
        if isinstance(found, PackageList) and not (group and found.check("--group x")):
            lists.append(found)
        else:
            reasons.append((name, found if isinstance(found, Reason) else Reason("it takes no dependency group")))
    if not lists:
        name, reason = reasons[0]
        without = "" if group else " --method METHOD"
        hint = _of(reason, packages) or f"ozrepro add {session.name} {shlex.join(packages)}{without}"
        raise UsageError(f"nothing can be added to {name}: {reason.what}", where=str(session.spec.path), hint=hint)
    for name, reason in reasons:
        remedy = _of(reason, packages)
        call.out.say(f"{session.name}: {name} stays as it is: {reason.what}" + (f"; {remedy}" if remedy else ""))
    return lists


def _of(reason: Reason, packages: Sequence[str]) -> str:
    return reason.remedy.replace("PKG", shlex.join(packages))


def way_to_add(session: Session, name: str, package: str) -> str:
    """Return what gives the environment of a session's method a package: a command, or an edit and a command."""
    method, table = registry.load(name), session.subject(name).table
    place = method.package_list(table) if isinstance(method, NamesPackages) else Reason("", "add PKG to the spec")
    if isinstance(place, PackageList) or (isinstance(method, Derives) and method.sources(table)):
        return f"ozrepro add {session.name} {package}"
    return f"{_of(place, [package])}, then: ozrepro lock {session.name}"


def _refuse(entries: Sequence[str], where: str, check: object) -> None:
    assert callable(check)
    mistakes = [f"{where}: {problem}" for entry in entries if (problem := check(entry))]
    if mistakes:
        raise UsageError("cannot be added:", problems=mistakes, hint="--method METHOD adds to one method alone")


def _edited(call: Call, session: Session, path: Path, text: str, named: PackageList, entries: Sequence[str]) -> str:
    """Return a file's text with the entries, and say what became of each. Raises SpecError."""
    try:
        after, edits = with_entries(text, named.keys, entries, named.package, named.beginning)
    except ValueError as error:
        raise SpecError(str(path), [str(error)]) from error
    place = f"{'.'.join(named.keys)} of {os.path.relpath(path, session.root)}"
    for edit in edits:
        became = f"{edit.new} is in" if not edit.is_change else f"{edit.new} takes the place of {edit.old} in" if edit.old else ""
        call.out.say(f"{session.name}: {became or f'{edit.new} added to'} {place}")
    return after


def _restore(edits: dict[Path, tuple[str, str]]) -> None:
    """Write the files back that still have what this command has put there."""
    for path, (before, after) in edits.items():
        try:
            if text_of(path) == after:
                replace_text(path, before)
        except (OSError, LockError):  # the error that is under way says more
            continue
