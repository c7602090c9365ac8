"""What the lock says of modules: written from a capture, read back and checked, compared with the files that are there now."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Mapping  # the reader looks annotations up
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any

from ozrepro.environment import BASE_PATH
from ozrepro.modulesystem import LoadedModule, fingerprint, tools
from ozrepro.modulesystem.change import Change, PathChange, path_values, read_change, replay
from ozrepro.modulesystem.fingerprint import Print
from ozrepro.modulesystem.following import as_parts, parts_of
from ozrepro.modulesystem.reads import Reads, ReadsContent
from ozrepro.modulesystem.shell import ShellParts
from ozrepro.modulesystem.texts import is_followable
from ozrepro.project.reader import Check, Read, read_table
from ozrepro.project.values import INVALID

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ozrepro.environment import Cases
    from ozrepro.project.checking import Checker

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_CODED = re.compile(r"[A-Za-z0-9+/_-]{16,}={0,2}", re.ASCII)
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_.:+-]*\Z", re.ASCII)
_LIMIT = re.compile(r"(ulimit -[a-zA-Z] [A-Za-z0-9]+|umask [0-7]{1,4})\Z", re.ASCII)
_TOOL = re.compile(r"[a-z][a-z0-9_-]{0,39} [0-9A-Za-z.+_-]{1,40}\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Record:
    """A locked load.

    Attributes:
        tool: the module tool and its version, such as `lmod 8.7.60`.
        system: operating system and C library.
        modulepath: the directories that names were looked up in.
        load: the names as they are loaded, in order, with the parents that were added.
        parents: those of `load` that the spec does not name.
        modules: every module that is loaded in the end, in order.
        prints: the modulefiles' digests, in the same order.
        files: digests of what else decides: rc files, hooks, the interpreter.
        change: what loading does to an environment.
        reads: what the modules read of a caller.
        shell: what only a shell can take.

    """

    tool: str
    system: str
    modulepath: tuple[str, ...]
    load: tuple[str, ...]
    parents: tuple[str, ...]
    modules: tuple[LoadedModule, ...]
    prints: tuple[Print, ...]
    files: tuple[Print, ...]
    change: Change
    shell: ShellParts
    reads: Reads = field(default_factory=Reads)

    def as_table(self) -> dict[str, Any]:
        """Return the load as it is in the lock."""
        digests = {item.path: item.sha256 for item in self.prints}
        reads = self.reads.as_table()
        modules = [
            {"name": item.name, "file": item.file, "sha256": digests[item.file], "requested": item.requested}
            for item in self.modules
        ]
        effects = {name: list(texts) for name, texts in self.shell.effects.items()}
        shell = {**shell_table(self.shell), **({"effects": effects} if effects else {})}
        return {
            "tool": self.tool,
            "system": self.system,
            "modulepath": list(self.modulepath),
            "load": list(self.load),
            **({"parents": list(self.parents)} if self.parents else {}),
            "module": modules,
            "file": [{"path": item.path, "sha256": item.sha256} for item in self.files],
            "change": self.change.as_table(),
            **({"reads": reads} if reads else {}),
            **({"shell": shell} if shell else {}),
        }

    def watched(self) -> list[str]:
        """Return the files whose change may change what a name of a module means."""
        return [item.path for item in (*self.prints, *self.files)]

    def without(self, is_kept: Callable[[str], bool]) -> Record:
        """Return the load with those files alone that `is_kept` is not true of."""
        prints, files = (tuple(item for item in some if not is_kept(item.path)) for some in (self.prints, self.files))
        return replace(self, prints=prints, files=files)

    def variables(self, caller: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the base environment of a locked run as loading changes it; values follow `caller`, or nobody's variables."""
        asked = {name for cases in self.change.follow.values() for case in cases for name in case.asks()}
        kept = {name: caller[name] for name in sorted(asked) if name in caller} if caller else {}
        values = replay(self.change, {**kept, "PATH": ":".join(BASE_PATH)}, self.modules)
        return {name: value for name, value in values.items() if name not in kept or name in self.change.follow}

    def fixed(self) -> dict[str, str]:
        """Return those of the variables that are the same whatever the caller has set, without PATH."""
        following = self.following()
        return {name: value for name, value in self.variables().items() if name != "PATH" and name not in following}

    def following(self) -> dict[str, Cases]:
        """Return the variables that follow the caller's, without PATH: their cases on the base of a locked run."""
        found: dict[str, Cases] = {}
        for name, cases in self.change.follow.items():
            base = {"PATH": ":".join(BASE_PATH)} if name == "PATH" else {}
            texts = [path_values(name, case.path, base, self.change.rules) if case.path else {} for case in cases]
            for key in {name, *(key for text in texts for key in text)} - {"PATH"}:
                found[key] = tuple(as_parts(case, text.get(key)) for case, text in zip(cases, texts, strict=True))
        return dict(sorted(found.items()))

    def front(self) -> tuple[str | Cases, ...]:
        """Return the directories that loading puts in front of PATH."""
        if "PATH" not in self.change.follow:
            return self.change.paths.get("PATH", PathChange()).prepend
        return (tuple(as_parts(case, ":".join(case.path.prepend) if case.path else None) for case in self.change.follow["PATH"]),)

    def behind(self) -> tuple[str | Cases, ...]:
        """Return what the base PATH is behind those: entries may be taken from it, moved to the front, or put at its end."""
        if "PATH" not in self.change.follow:
            return tuple(entry for entry in self._behind(self.change.paths.get("PATH", PathChange())).split(":") if entry)
        cases = self.change.follow["PATH"]
        return (
            tuple((case.names, ("",) if case.value else parts_of(self._behind(case.path or PathChange()))) for case in cases),
        )

    def _behind(self, path: PathChange) -> str:
        base = ":".join(entry for entry in BASE_PATH if entry not in path.prepend)
        return replace(path, prepend=()).apply(base, self.change.rules)

    def asked(self) -> tuple[str, ...]:
        """Return the caller's variables that the modules read, which programs see as they do after a load of the modules.

        A stranger's lock lets none in that would change a program, such as PYTHONPATH.
        """
        followed = {name for cases in self.change.follow.values() for case in cases for name in case.asks()}
        return tuple(sorted(name for name in {*followed, *self.reads.expected()} if is_followable(name)))

    def drift(self) -> list[str]:
        """Return a line for each of these files that is gone or has another content."""
        named = {item.file: item.name for item in self.modules}
        lines: list[str] = []
        for path, problem in fingerprint.changed((*self.prints, *self.files)):
            of = f"module {named[path]}: " if path in named else ""
            lines.append(f"{of}{path} {problem}")
        return lines


def _limit(text: str) -> str | None:
    return None if _LIMIT.match(text) else f"{text!r} is neither a ulimit nor a umask"


def _check_word(name: str) -> str | None:
    return None if _WORD.match(name) else "is nothing that a shell can have"


def _body(checker: Checker, value: object, path: tuple[str, ...]) -> object:
    if isinstance(value, str) and "\0" not in value:
        return value  # whatever else it holds: a function may print a tab or colours
    checker.wrong(path, "is nothing that a shell can have")
    return INVALID


_Bodies = Mapping[Annotated[str, Check(_check_word)], Annotated[str, Read(_body)]]


@dataclass(frozen=True, slots=True)
class ShellContent:
    """What only a shell can take, as it is in the lock."""

    functions: _Bodies = field(default_factory=dict)
    aliases: _Bodies = field(default_factory=dict)
    limits: tuple[Annotated[str, Check(_limit)], ...] = ()
    effects: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def _kept(_: Checker, value: object, __: tuple[str, ...]) -> object:
    return value


def _check_tool(text: str) -> str | None:
    name = text.partition(" ")[0]
    if not _TOOL.match(text):
        return f"{text!r} is not a module tool with its version"
    known = name in tools.known((name,))
    return None if known else f"{name!r} is not a module tool that is known here; install its plug-in, or lock again"


def _check_sha256(text: str) -> str | None:
    return None if _SHA256.match(text) else f"{text!r} is not a sha256"


def _check_name(name: str) -> str | None:
    return None if name and ":" not in name else f"{name!r} is not a module name"


def _absolute(path: str) -> str | None:
    return None if path.startswith("/") and ":" not in path and "\0" not in path else f"{path!r} is not an absolute path"


_Path = Annotated[str, Check(_absolute)]
_Sha256 = Annotated[str, Check(_check_sha256)]


@dataclass(frozen=True, slots=True)
class ModuleEntry:
    """A module of a load, its file with the file's digest."""

    name: Annotated[str, Check(_check_name)]
    file: _Path
    sha256: _Sha256
    requested: bool = False


@dataclass(frozen=True, slots=True)
class FileEntry:
    """What decides besides the modules' own files: an rc file, a hook, the interpreter."""

    path: _Path
    sha256: _Sha256


@dataclass(frozen=True, kw_only=True)  # without slots: a section that also has packages inherits from both
class RecordContent:
    """The load's keys in a section of the lock. `change` is read by the arithmetic of the tool."""

    tool: Annotated[str, Check(_check_tool)]
    system: str = ""
    modulepath: tuple[_Path, ...] = ()
    load: tuple[str, ...] = ()
    parents: tuple[str, ...] = ()
    module: tuple[ModuleEntry, ...] = ()
    file: tuple[FileEntry, ...] = ()
    change: Annotated[Any, Read(_kept)] = field(default_factory=dict)
    reads: ReadsContent = field(default_factory=ReadsContent)
    shell: ShellContent = field(default_factory=ShellContent)

    def problems(self) -> Iterator[tuple[str | tuple[str, ...], str]]:
        """Yield that no module is named."""
        if not self.module:
            yield "module", "names no module"

    def record(self, checker: Checker, path: tuple[str, ...]) -> Record:
        """Return the load; what is wrong in its change is noted."""
        return Record(
            tool=self.tool,
            system=self.system,
            modulepath=self.modulepath,
            load=self.load,
            parents=self.parents,
            modules=tuple(LoadedModule(item.name, item.file, item.requested) for item in self.module),
            prints=tuple(Print(item.file, item.sha256) for item in self.module),
            files=tuple(Print(item.path, item.sha256) for item in self.file),
            change=read_change(checker, self.change, (*path, "change"), self.tool),
            reads=self.reads.reads(),
            shell=ShellParts(self.shell.functions, self.shell.aliases, self.shell.limits, self.shell.effects),
        )


def read_record(checker: Checker, value: object, path: tuple[str, ...], places: Mapping[str, str]) -> Record:
    """Return the load that a table of its own holds, with this caller's `places`; mistakes go to `checker`."""
    here = replaced(value, lambda text: local(text, places))
    return read_table(checker, RecordContent, here, path).record(checker, path)


def shell_table(parts: ShellParts) -> dict[str, Any]:
    """Return what a shell is given, as it is in the lock; empty parts are left out."""
    tables: dict[str, Any] = {
        "functions": dict(parts.functions),
        "aliases": dict(parts.aliases),
        "limits": list(parts.limits),
    }
    return {key: value for key, value in tables.items() if value}


def replaced(value: Any, change: Callable[[str], str]) -> Any:
    """Return a table with every text in it changed, keys too."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {change(key): replaced(item, change) for key, item in value.items()}
    return [replaced(item, change) for item in value] if isinstance(value, list) else value


def portable(text: str, places: Mapping[str, str]) -> str:
    """Return a text with the folders of one person or project replaced by their marks, such as `<project>`."""
    for mark, folder in places.items():
        text = re.sub(rf"{re.escape(folder)}(?![^/:;\s\"'])", mark, text)
    return text


def local(text: str, places: Mapping[str, str]) -> str:
    """Return what `portable` was given, with the folders of this caller."""
    for mark, folder in places.items():
        text = text.replace(mark, folder)
    return text


def hides_a_place(lines: Iterable[str], places: Mapping[str, str]) -> bool:
    """Say whether a folder of one person is in lines in base64, as Lmod's table has the scripts that `source_sh` runs."""
    for coded in _CODED.findall("\n".join(lines)):
        try:
            text = base64.b64decode(coded, altchars=b"-_").decode("utf-8", "replace")
        except ValueError:
            continue
        if any(folder in text for folder in places.values()):
            return True
    return False


EXAMPLE = {"<project>": "/project", "<home>": "/home/user"}
"""Folders for a look at a lock that is nobody's here."""


def places_of(root: str, home: str) -> dict[str, str]:
    """Return the marks of a lock and the folders that they stand for, the project's first."""
    found = {"<project>": os.path.realpath(root)}
    if home.startswith("/") and home.strip("/"):
        found["<home>"] = home.rstrip("/")
    return found
