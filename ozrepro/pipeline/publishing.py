"""A recorded run made into a crate: the lock that it was made with, the files that it read and wrote, and what they are."""

from __future__ import annotations

import datetime as dt
import errno
import hashlib
import math
import os
import shutil
import stat
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ozrepro.errors import LockError, OzreproError, UsageError
from ozrepro.faststart.ready import content_of
from ozrepro.methods import registry
from ozrepro.methods.contract import ListsComponents
from ozrepro.methods.reading import load_settings, read_text
from ozrepro.pipeline.records.record import line_of
from ozrepro.pipeline.revisions import find_git, text_at
from ozrepro.pipeline.rocrate import METADATA, Part, Parts, metadata
from ozrepro.project.lock import lock_file
from ozrepro.project.toml import TOMLDecodeError, loads
from ozrepro.python import look
from ozrepro.site import look_around

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from ozrepro.methods.components import Component
    from ozrepro.methods.contract import Say
    from ozrepro.pipeline.records.record import Record

RECORD = "ozrepro-record.json"
"""The record's name in a crate that is a folder."""

_ROOM = "--output DIR, in a folder that is there, that you may write to, and that has room"
_SLACK = 2.0
"""Seconds that the clocks of a node and of a file system may differ."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The crate that is asked for.

    Attributes:
        root: the project's folder.
        environ: the caller's variables.
        record: the run.
        inputs, results: the files that it read and wrote, as the caller names them.
        output: the folder to be made, None where the project's folder itself is the crate.

    """

    root: Path
    environ: Mapping[str, str]
    record: Record
    inputs: tuple[str, ...] = ()
    results: tuple[str, ...] = ()
    output: Path | None = None


def publish(wanted: Wanted, say: Say) -> str:
    """Make the crate's folder where one is asked for, whole or not at all, and return the text of the metadata.

    Raises UsageError for files that no crate of this project can hold, LockError where the run's lock cannot be had, OzreproError
    for a folder that cannot be made.
    """
    record = wanted.record
    if record.end and record.status is None:
        raise UsageError("was skipped by nox: nothing ran", where=record.id, hint="ozrepro record list")
    inputs, results = _paths(wanted)
    lock = _lock_of(wanted)
    components = _components(wanted, lock, say)
    terms = _license_of(wanted.root)
    if not terms:
        say('the crate states no license; write license = "MIT", or another one, under [project] of pyproject.toml')
    if record.status is None:
        say("the record has no end, so the crate calls the run active")
    _say_doubts(wanted, inputs, results, say)

    def described(folder: Path, *others: Part) -> str:
        def parts(names: Iterable[str], about: str) -> tuple[Part, ...]:
            return tuple(_part(folder, name, about) for name in names)

        lock_part = _part(folder, _lock_name(record), "what the environment is made of, each file by its sha256")
        found = Parts(lock_part, parts(inputs, "read by the run"), parts(results, "written by the run"), others)
        return metadata(record, found, components, terms)

    if wanted.output is None:
        return described(wanted.root)
    with _new_folder(wanted.output) as folder:
        for name in (*inputs, *results):
            _copy(wanted.root / name, folder / name)
        _write(folder / _lock_name(record), lock)
        _write(folder / RECORD, line_of(record))
        text = described(folder, _part(folder, RECORD, "the run as ozrepro has recorded it"))
        _write(folder / METADATA, text.encode("utf-8"))
    return text


def _paths(wanted: Wanted) -> tuple[list[str], list[str]]:
    """Return the inputs and results by their paths from the project's folder. Raises UsageError with all that is wrong."""
    problems: list[str] = []
    found: list[list[str]] = []
    for texts in (wanted.inputs, wanted.results):
        names = {text: _inside(wanted.root, text) for text in texts}
        wrong = {text: _problem(text, name) for text, name in names.items()}
        problems += [f"{text}: {problem}" for text, problem in wrong.items() if problem]
        found.append([*dict.fromkeys(names.values())])
    if problems:
        raise UsageError("a crate cannot hold:", problems=problems, hint="name files of the project, one by one")
    return found[0], found[1]


def _inside(root: Path, text: str) -> str:
    """Return a path from the project's folder, "" where it lies outside. A link in the project may lead anywhere."""
    path = os.path.abspath(text)
    names = (os.path.relpath(each, root) for each in (path, os.path.realpath(path)))
    return next((name for name in names if name.split(os.sep)[0] != os.pardir), "")


def _problem(text: str, name: str) -> str:
    """Say why a file cannot be a part of the crate, "" where it can."""
    if not name:
        return "lies outside of the project"
    if name in (METADATA, RECORD):
        return "is the name of a file that the crate has itself"
    try:
        mode = os.stat(text).st_mode
    except OSError as error:
        return str(error.strerror)
    if not stat.S_ISREG(mode):
        return "is a folder; name its files" if stat.S_ISDIR(mode) else "is not a file"
    return "" if os.access(text, os.R_OK) else os.strerror(errno.EACCES)


def _say_doubts(wanted: Wanted, inputs: Iterable[str], results: Iterable[str], say: Say) -> None:
    """Say which files were last written at a time that does not fit: the crate holds them as they are now."""
    start = _seconds(wanted.record.start)
    end = _seconds(wanted.record.end) if wanted.record.end else math.inf
    for name in inputs:
        if _written(wanted.root / name) > start + _SLACK:
            say(f"{name} was written after the run began: it may have read another content")
    for name in results:
        written = _written(wanted.root / name)
        if not start - _SLACK <= written <= end + _SLACK:
            say(f"{name} was last written {'before' if written < start else 'after'} the run: it may not be its result")


def _seconds(text: str) -> float:
    """Return a record's time as seconds since the epoch."""
    part = ".%f" if "." in text else ""
    return dt.datetime.strptime(text, f"%Y-%m-%dT%H:%M:%S{part}%z").timestamp()


def _written(path: Path) -> float:
    """Return when a file was last written, in seconds since the epoch. Raises OzreproError where it is gone."""
    try:
        return path.stat().st_mtime
    except OSError as error:
        raise OzreproError(f"cannot be read: {error.strerror}", where=str(path), hint="the same command again") from error


def _lock_name(record: Record) -> str:
    return f"sessions/{record.session}.lock"


def _lock_of(wanted: Wanted) -> bytes:
    """Return the lock that the run was made with: the project's, else that of the revision that the run was made in."""
    record, name = wanted.record, _lock_name(wanted.record)

    def is_it(content: bytes) -> bool:
        return hashlib.sha256(content).hexdigest() == record.lock.sha256

    path = lock_file(wanted.root, record.session)
    with suppress(OSError):
        if is_it(content := content_of(path)):
            return content
    revision = record.git.revision if record.git is not None else ""
    git = find_git(wanted.root) if revision else None
    old = text_at(git, wanted.root, revision, name) if git is not None else None
    content = old.encode("utf-8", "surrogateescape") if old is not None else b""
    if not is_it(content):
        hint = f"git log -- {name}, and put back the one with the sha256 {record.lock.sha256}"
        raise LockError("is not the lock that the run was made with", where=str(path), hint=hint)
    if wanted.output is None:
        hint = f"--output DIR, which takes that of the revision {revision[:12]}"
        raise LockError("is not the lock that the run was made with", where=str(path), hint=hint)
    return content


def _components(wanted: Wanted, content: bytes, say: Say) -> Sequence[Component]:
    """Return what the section names that the run was made with. Raises LockError where the lock has no such section."""
    record, where = wanted.record, str(lock_file(wanted.root, wanted.record.session))
    lock = read_text(content.decode("utf-8", "replace"), record.session, where)
    section = next((item for item in lock.sections if item.digest == record.section), None)
    if section is None:
        raise LockError(f"has no section {record.section}, which the record names", where=where, hint="ozrepro record list")
    method = registry.load(section.method)
    if not isinstance(method, ListsComponents):
        say(f"the method {section.method!r} cannot list its components: the crate names no packages")
        return ()
    site = look_around(load_settings(wanted.root, wanted.environ), wanted.environ).for_looking()
    return method.components(registry.read_section(section, site, where, record.session))


def _license_of(root: Path) -> str:
    """Return the license of the project as its pyproject.toml has it, "" for none."""
    try:
        project = loads(content_of(root / "pyproject.toml").decode("utf-8")).get("project")
    except (OSError, UnicodeDecodeError, TOMLDecodeError):
        return ""
    terms = project.get("license") if isinstance(project, dict) else None
    terms = terms.get("text") if isinstance(terms, dict) else terms
    return terms if isinstance(terms, str) else ""


def _part(folder: Path, name: str, about: str) -> Part:
    path = folder / name
    try:
        return Part(name, look.digest(os.fspath(path)).hex(), path.stat().st_size, about)
    except OSError as error:
        raise OzreproError(f"cannot be read: {error.strerror}", where=str(path), hint="the same command again") from error


def _copy(source: Path, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    except OSError as error:
        raise OzreproError(f"cannot be copied: {error.strerror}", where=str(source), hint=_ROOM) from error


def _write(target: Path, content: bytes) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    except OSError as error:
        raise OzreproError(f"cannot be written: {error.strerror}", where=str(target), hint=_ROOM) from error


@contextmanager
def _new_folder(output: Path) -> Iterator[Path]:
    """Give a folder that becomes `output` when all went well, and is removed otherwise. Raises OzreproError."""
    path = os.path.abspath(output)
    if os.path.lexists(path):
        raise OzreproError("is there already", where=str(output), hint="--output DIR, a folder that is not there yet")
    try:
        made = tempfile.mkdtemp(prefix=f".{os.path.basename(path)}.", dir=os.path.dirname(path))
    except OSError as error:
        raise OzreproError(f"cannot be written: {error.strerror}", where=str(output), hint=_ROOM) from error
    try:
        yield Path(made)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(made, 0o777 & ~mask & ~0o002)
        os.rename(made, path)
    except BaseException as error:
        shutil.rmtree(made, ignore_errors=True)
        if not isinstance(error, OSError):
            raise
        raise OzreproError(f"cannot be written: {error.strerror}", where=str(output), hint=_ROOM) from error
