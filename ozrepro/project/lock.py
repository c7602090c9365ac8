"""The lock: `sessions/NAME.lock`, one section per method and platform, stable to the byte.

This module knows the file: its header, its sections, what makes it unreadable. What stands inside a section belongs to
the method.
"""

from __future__ import annotations

import os
import re
import shlex
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ozrepro.errors import LockError
from ozrepro.faststart.ready import content_of
from ozrepro.project.checking import Checker, describe, shown
from ozrepro.project.files import Files
from ozrepro.project.spec import digest_of
from ozrepro.project.toml import TOMLDecodeError, dumps, loads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from ozrepro.project.spec import Methods

SCHEMA = 1
_HEADER = "# Written by `ozrepro lock`: commit it, and change it only by that command.\n"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
_CONFLICT = re.compile(r"^(<{7} |={7}$|>{7} |\|{7} )", re.MULTILINE)
_PLATFORM = re.compile(r"[a-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Section:
    """What one method resolved for one platform. `spec` is the digest of what it was resolved from."""

    method: str
    platform: str
    spec: str
    content: Mapping[str, Any]
    _read: list[Any] = field(default_factory=list, init=False, compare=False, repr=False)

    def once(self, read: Callable[[], Any]) -> Any:
        """Return what `read` makes of the content, made once: of three hundred records it takes 25 ms."""
        if not self._read:
            self._read.append(read())
        return self._read[0]

    @property
    def title(self) -> str:
        """The section's name as it is in the file."""
        return f"{self.method}.{self.platform}"

    @property
    def digest(self) -> str:
        """The digest of its content, by which the store and what is made from it know it."""
        return digest_of([self.method, self.platform, self.content])


@dataclass(frozen=True, slots=True)
class Lock:
    """All that is locked of one session. `order` is that of the methods in the file; others follow by name."""

    session: str
    sections: tuple[Section, ...] = ()
    order: tuple[str, ...] = field(default=(), compare=False)

    def section(self, method: str, platform: str) -> Section | None:
        """Return the section of `method` for `platform`, or None."""
        return next((item for item in self.sections if (item.method, item.platform) == (method, platform)), None)

    def with_sections(self, new: Iterable[Section]) -> Lock:
        """Return a lock with these sections put in or replaced; all others stay untouched."""
        found = {(item.method, item.platform): item for item in self.sections}
        found.update({(item.method, item.platform): item for item in new})

        def place(key: tuple[str, str]) -> tuple[int, str, str]:
            return self.order.index(key[0]) if key[0] in self.order else len(self.order), *key

        return Lock(self.session, tuple(found[key] for key in sorted(found, key=place)), self.order)

    def of_method(self, method: str) -> tuple[Section, ...]:
        """Return the sections of a method, of all platforms."""
        return tuple(item for item in self.sections if item.method == method)


def lock_file(root: Path, name: str) -> Path:
    """Return the path of a session's lock."""
    return root / "sessions" / f"{name}.lock"


def write_text(lock: Lock) -> str:
    """Return the file's text; the same lock gives the same bytes."""
    table: dict[str, Any] = {"schema": SCHEMA, "session": lock.session}
    for section in lock.with_sections(()).sections:
        table.setdefault(section.method, {})[section.platform] = {"spec": section.spec, **section.content}
    return _HEADER + dumps(table)


def read_text(text: str, session: str, where: str, methods: Methods) -> Lock:
    """Return the lock that `text` holds. `where` is for messages.

    Raises LockError: merge conflict, no TOML, a newer schema, another session's lock, or a malformed section.
    """
    again = f"ozrepro lock {session}"
    away = f"git checkout -- {shlex.quote(where)}, or remove the file and {again}"
    conflict = _CONFLICT.search(text)
    if conflict:
        line = text.count("\n", 0, conflict.start()) + 1
        raise LockError(
            f"line {line} is a merge conflict marker", where=where, hint=f"git checkout --theirs -- {where!r}; {again}"
        )
    try:
        whole = loads(text)
    except TOMLDecodeError as error:
        raise LockError(f"is damaged: {error}", where=where, hint=away) from error
    schema = whole.get("schema")
    if not isinstance(schema, int) or isinstance(schema, bool) or schema < 1:
        raise LockError("not an ozrepro lock: schema must be a positive integer", where=where, hint=away)
    if schema > SCHEMA:
        raise LockError(
            f"has schema {schema}; this ozrepro reads up to {SCHEMA}", where=where, hint="pip install --upgrade ozrepro"
        )
    if whole.get("session") != session:
        raise LockError(f"session: is the lock of {shown(whole.get('session'))}, not of {session!r}", where=where, hint=away)
    known = methods.known(key for key in whole if key not in ("schema", "session"))
    return Lock(session, tuple(_sections(whole, text, where, away, known)), known)


def _foreign(value: object, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], object]]:
    """Yield each value of a kind that no lock has, such as a date, with its key: it could be carried along, and not written."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _foreign(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _foreign(item, (*path[:-1], f"{path[-1]}[{index}]"))
    elif not isinstance(value, (str, int)):
        yield path, value


def _sections(whole: Mapping[str, Any], text: str, where: str, away: str, methods: tuple[str, ...]) -> list[Section]:
    checker = Checker(where, text)
    checker.table(whole, (), ("schema", "session", *methods))
    for path, value in _foreign(whole, ()):
        checker.wrong(path, f"is {describe(value)}, and a lock holds none")
    sections: list[Section] = []
    for method in methods:
        platforms = whole.get(method, {})
        if not isinstance(platforms, dict):
            checker.wrong((method,), "is not a table")
            continue
        for platform, content in platforms.items():
            if not _PLATFORM.match(platform):
                checker.wrong((method, platform), "is not a platform name")
            elif not isinstance(content, dict) or not _DIGEST.match(str(content.get("spec"))):
                checker.wrong((method, platform, "spec"), "is not a sha256 digest")
            else:
                rest = {key: value for key, value in content.items() if key != "spec"}
                sections.append(Section(method, platform, content["spec"], rest))
    if checker.mistakes:
        raise LockError("\n  ".join(("is damaged:", *checker.mistakes)), where=where, hint=away)
    return sections


def load_lock(root: Path, name: str, methods: Methods, files: Files | None = None) -> Lock | None:
    """Return a session's lock as `files` has read it, parsed once; None where there is none. Raises LockError as `read_text`."""
    path = lock_file(root, name)
    read = Files() if files is None else files
    try:
        return read.parsed(path, lambda text: read_text(text, name, str(path), methods))
    except FileNotFoundError:
        return None
    except OSError as error:
        hint = f"git checkout -- {shlex.quote(str(path))}, or remove it and ozrepro lock {name}"
        raise LockError(f"cannot be read: {error.strerror}", where=str(path), hint=hint) from error


def save_lock(root: Path, lock: Lock, files: Files | None = None) -> bool:
    """Write the lock if its bytes changed, whole or not at all, and note it in `files`; return whether they did."""
    path, text = lock_file(root, lock.session), write_text(lock)
    if files is not None:
        files.put(path, text.encode())
    try:
        if content_of(path) == text.encode():
            return False
    except OSError:
        pass
    replace_text(path, text)
    return True


def replace_text(path: Path, text: str) -> None:
    """Write a file of the project, whole or not at all; one that was there keeps its mode. Raises LockError."""
    temporary = ""
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with open(descriptor, "w", encoding="utf-8", newline="") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o644 & ~mask)
        os.replace(temporary, path)
    except BaseException as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        raise LockError(f"cannot be written: {error.strerror}", where=str(path), hint="check quota and permissions") from error
