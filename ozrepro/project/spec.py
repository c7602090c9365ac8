"""A session's description: `sessions/NAME.toml`, read and checked as a whole."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Protocol

from ozrepro.errors import SpecError, UsageError
from ozrepro.project.checking import NAME, Checker, one_of_these
from ozrepro.project.files import Files
from ozrepro.project.reader import MULTILINE, Check, Key, read_table
from ozrepro.project.requirement import check_requirement
from ozrepro.project.settings import check_passed, one_of
from ozrepro.project.toml import TOMLDecodeError, loads

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path


LARGEST = 256 << 10
"""Bytes of a description: room for ten thousand packages, and little enough to be checked in a second."""

_TOP = ("description", "methods", "imports")
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*\Z")
_DISTRIBUTION = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\Z", re.ASCII)


class Methods(Protocol):
    """What reading a description needs to know of the methods: which there are, and how each reads its table."""

    def known(self, written: Iterable[str] = ()) -> tuple[str, ...]:
        """Return the names of the methods in order, with those of plug-ins where one of `written` is none of ours."""

    def read_table(self, name: str, checker: Checker, value: object) -> object:
        """Return a method's table, read by the method; what is wrong is noted in `checker`."""


@dataclass(frozen=True, slots=True)
class Spec:
    """A session's whole description.

    Attributes:
        name: the session's name.
        path: the file.
        description: what it is, for people.
        methods: the methods to try, in order; () where the project's preference decides.
        imports: the names that are imported as a check.
        tables: each method's table, of the method's own type, in the order in which the methods are preferred.
        files: reads what the spec names, each file once.

    """

    name: str
    path: Path
    description: str = ""
    methods: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()
    tables: Mapping[str, object] = field(default_factory=dict)
    files: Files = field(default_factory=Files, compare=False, repr=False)

    @property
    def root(self) -> Path:
        """The project's folder."""
        return self.path.parent.parent

    def candidates(self, preferred: tuple[str, ...]) -> tuple[str, ...]:
        """Return the methods to try, in order: the spec's own, else the project's `preferred` ones, else all described."""
        return self.methods or tuple(name for name in preferred if name in self.tables) or tuple(self.tables)


def digest_of(value: object) -> str:
    """Return the sha256 of a value's canonical JSON, as `sha256:…`; what JSON has no word for, such as a date, is its text."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, default=str)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def check_name(name: str) -> str:
    """Return `name` if it can name a session. Raises UsageError otherwise: it is part of file names and scripts."""
    if len(name) > 64 or not NAME.match(name):
        raise UsageError(f"{name!r} cannot name a session", hint="at most 64 ASCII letters, digits, _ and -, a letter first")
    return name


def session_names(root: Path) -> list[str]:
    """Return the names of all sessions described in the project, in order; a file whose name cannot be one is there too."""
    return sorted(path.stem for path in (root / "sessions").glob("*.toml"))


def load_spec(root: Path, name: str, methods: Methods, files: Files | None = None) -> Spec:
    """Return the description of session `name`, through `files` where the caller has read of the project already.

    Raises SpecError with every mistake of the file, UsageError where there is no such file.
    """
    path = root / "sessions" / f"{name}.toml"
    try:
        check_name(name)
    except UsageError as error:
        if name not in session_names(root):
            raise
        hint = f"rename it: {error.hint}; or move it out of sessions/"
        raise UsageError(error.what, where=str(path), hint=hint) from None
    files = Files() if files is None else files
    try:
        text = files.text(path, LARGEST)
    except FileNotFoundError:
        hint = one_of_these(name, session_names(root)) or "ozrepro init"
        raise UsageError(f"there is no session {name!r}", where=str(path), hint=hint) from None
    except OSError as error:
        raise SpecError(str(path), [f"cannot be read: {error.strerror}"]) from error
    return parse_spec(path, text, methods, files)


def parse_spec(path: Path, text: str, methods: Methods, files: Files | None = None) -> Spec:
    """Return the description that `text` holds; `path` names the session and appears in messages. Raises SpecError."""
    try:
        whole = loads(text)
    except TOMLDecodeError as error:
        raise SpecError(str(path), [f"is not valid TOML: {error}"]) from error
    checker = Checker(str(path), text)
    if not NAME.match(path.stem):
        checker.wrong((), f"its name {path.stem!r} cannot name a session", "rename it: letters, digits, _ and - only")
    known = methods.known(key for key in whole if key not in _TOP)
    for key in whole.keys() - {*_TOP, *known}:
        checker.unknown((key,), (*_TOP, *known))
    common = read_table(checker, Common, {key: whole[key] for key in _TOP if key in whole})
    spec = Spec(
        name=path.stem,
        path=path,
        description=common.description,
        methods=common.methods,
        imports=common.imports,
        tables={name: methods.read_table(name, checker, whole[name]) for name in known if name in whole},
        files=Files() if files is None else files,
    )
    _check_methods(checker, spec, whole, known)
    if checker.mistakes:
        raise SpecError(str(path), checker.mistakes, hint=f"edit {path.parent.name}/{path.name}")
    return spec


def _check_methods(checker: Checker, spec: Spec, whole: Mapping[str, object], known: tuple[str, ...]) -> None:
    """Note what `methods` lists and the file does not describe, and a file that describes none."""
    for number, name in enumerate(spec.methods):
        if problem := one_of(known)(name):
            checker.wrong((f"methods[{number}]",), problem)
        elif name not in whole:
            checker.wrong(
                ("methods",), f"lists {name!r} but there is no [{name}] table", f"add [{name}] or remove it from methods"
            )
    if len(set(spec.methods)) < len(spec.methods):
        checker.wrong(("methods",), "lists a method twice", "list each once")
    if not spec.tables:
        checker.wrong((), "describes no method", f"add one of the tables: {', '.join(f'[{name}]' for name in known)}")
    elif whole.get("methods") == []:
        checker.wrong(("methods",), "is empty", f"list at least one of: {', '.join(spec.tables)}")


@dataclass(frozen=True, slots=True)
class Matching:
    """A check that a text matches a pattern."""

    pattern: re.Pattern[str]
    problem: str
    example: str

    def __call__(self, text: str) -> str | None:
        """Return what is wrong with a text, or None."""
        return None if self.pattern.match(text) else f"{text!r} {self.problem}; {self.example}"


_check_import = Matching(_MODULE, "is not an importable name", "such as scipy.signal")
check_distribution = Matching(_DISTRIBUTION, "is not a distribution name", "such as mpi4py")
"""Says what is wrong with the name of a distribution, or None."""


def check_module(name: str) -> str | None:
    """Return what is wrong with a module's name, or None."""
    if re.search(r"\s", name) or name.startswith("-") or not all(name.split("/")):
        return f"{name!r} is not a module name"
    return None


def check_inside(path: str) -> str | None:
    """Return what is wrong with a path that must stay inside the project, or None."""
    leaves = path.startswith(("/", "~")) or ".." in path.split("/")
    return f"{path!r} leaves the project; write a path inside it, from its root" if leaves else None


@dataclass(frozen=True, slots=True)
class Common:
    """The keys that belong to no method."""

    description: Annotated[str, MULTILINE] = ""
    methods: tuple[str, ...] = ()
    imports: tuple[Annotated[str, Check(_check_import)], ...] = ()


ModuleName = Annotated[str, Check(check_module)]
Distribution = Annotated[str, Check(check_distribution)]
Requirement = Annotated[str, Check(check_requirement)]
PathInside = Annotated[str, Check(check_inside)]
PassedNames = Annotated[tuple[Annotated[str, Check(check_passed)], ...], Key("pass")]
