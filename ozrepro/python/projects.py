"""The local projects of a session: what their own files say of them, and which others of the folder they are made from.

A project is described by its `[project]` table where that says enough (PEP 621), else by its build backend (PEP 517). Its version
is not asked for: no lock needs it.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field, replace
from email.parser import HeaderParser
from typing import TYPE_CHECKING, Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from ozrepro.errors import SpecError
from ozrepro.process import is_inside
from ozrepro.project.checking import shown
from ozrepro.project.files import SMALL
from ozrepro.project.toml import TOMLDecodeError, loads
from ozrepro.python import uvtable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from ozrepro.project.files import Files

UNKNOWN = "9999"
"""Stands for a version that only a build can tell: above what another package may ask for."""

_DECIDES = frozenset(("name", "dependencies", "optional-dependencies", "requires-python"))
_READ = ("pyproject.toml", "setup.py", "setup.cfg")
_OF_A_PROJECT = (
    *("name", "requires-python", "dependencies", "optional-dependencies", "dynamic"),
    *("scripts", "gui-scripts", "entry-points"),
)


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a project requires, in the words of core metadata: `requires` has a requirement of an extra with its marker."""

    name: str
    version: str
    python: str
    requires: tuple[str, ...]
    extras: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Folder:
    """A local project as its files are: its folder from the project's root, "" for that itself, and its pyproject.toml."""

    path: str
    table: Mapping[str, Any]
    inputs: tuple[str, ...]

    @property
    def is_virtual(self) -> bool:
        """Whether its dependencies alone are wanted: uv's `package = false`."""
        return uvtable.table_of(self.table).get("package") is False

    @property
    def name(self) -> str:
        """The canonical name where it is static, else ""."""
        project, tool = self.table.get("project"), self.table.get("tool")
        poetry = tool.get("poetry") if isinstance(tool, dict) else None
        name = next((part["name"] for part in (project, poetry) if isinstance(part, dict) and "name" in part), "")
        return canonicalize_name(name) if isinstance(name, str) else ""

    def described(self) -> Metadata | None:
        """Return what its `[project]` says, or None where only the backend can tell."""
        project = self.table.get("project")
        if not isinstance(project, dict) or not isinstance(project.get("name"), str):
            return None
        extras = project.get("optional-dependencies", {})
        try:
            if not _DECIDES.isdisjoint(project.get("dynamic", ())):
                return None
            requires = [str(Requirement(text)) for text in project.get("dependencies", ())]
            requires += [_of_extra(text, extra) for extra, texts in extras.items() for text in texts]
            return _checked(project["name"], project.get("version", ""), project.get("requires-python", ""), requires, extras)
        except (AttributeError, InvalidRequirement, RecursionError, TypeError, ValueError):
            return None  # hatchling fills in {root:uri}; what is wrong the backend tells

    def contents(self, root: Path, files: Files) -> dict[str, Any]:
        """Return what decides what is installed for it, for a digest."""
        said: dict[str, Any] = {
            "project": {key: value for key, value in self.table.get("project", {}).items() if key in _OF_A_PROJECT},
            "build-system": self.table.get("build-system", {}),
        }
        uv = uvtable.table_of(self.table)
        used = {key: uv[key] for key in (*uvtable.LIMITS, "sources", "workspace", "package") if key in uv}
        if used:
            said["uv"] = used
        if self.described() is None:
            said["files"] = {name: files.text(root / name) for name in self.inputs}
        return said


def _checked(name: str, version: object, python: object, requires: Iterable[str], extras: Iterable[str]) -> Metadata:
    """Return metadata whose texts are what they claim: they become a file's name and lines. Raises ValueError."""
    named = canonicalize_name(name, validate=True)
    return Metadata(named, _version(str(version)), str(SpecifierSet(str(python))), tuple(requires), tuple(map(_extra, extras)))


def _extra(name: str) -> str:
    return canonicalize_name(name, validate=True)


def _of_extra(text: str, extra: str) -> str:
    requirement = Requirement(text)
    marker = f"({requirement.marker}) and " if requirement.marker is not None else ""
    requirement.marker = None
    return f"{requirement} ; {marker}extra == '{canonicalize_name(extra)}'"


def _version(text: str) -> str:
    try:
        return str(Version(text)) if text else UNKNOWN
    except (InvalidVersion, ValueError):
        return UNKNOWN


def from_core(text: str) -> Metadata:
    """Return what a file of core metadata says, as a backend writes it. Raises ValueError where the name is wrong."""
    message = HeaderParser().parsestr(text)
    name = message.get("Name", "")
    if not name:
        raise ValueError("has no Name")
    requires, extras = message.get_all("Requires-Dist") or [], message.get_all("Provides-Extra") or []
    return _checked(name, message.get("Version", ""), message.get("Requires-Python", ""), requires, extras)


def read_folder(root: Path, path: str, files: Files) -> Folder:
    """Return the project in a folder as its files are. Raises SpecError."""
    place = f"{path}/" if path else ""
    inputs = [f"{place}{name}" for name in _READ if (root / path / name).is_file()]
    if not any(name.endswith(("pyproject.toml", "setup.py")) for name in inputs):
        raise SpecError(str(root / path), ["has neither a pyproject.toml nor a setup.py, so that it cannot be installed"])
    if not is_inside(root / path, root):
        raise SpecError(str(root / path), ["leads out of the project; move it in"])
    table: Mapping[str, Any] = {}
    if inputs[0].endswith("pyproject.toml"):
        file = root / inputs[0]
        try:
            table = files.parsed(file, loads) if files.content(file, SMALL) else {}
        except OSError as error:
            raise SpecError(str(file), [f"cannot be read: {error.strerror}"]) from error
        except TOMLDecodeError as error:
            raise SpecError(str(file), [f"is not valid TOML: {error}"]) from error
        project = table.get("project", {})
        if not isinstance(project, dict) or not isinstance(project.get("name", ""), str):
            raise SpecError(str(file), ["project: is not a table with a name"])
    found = Folder(path, table, tuple(inputs))
    if found.described() is not None:
        return Folder(path, table, (inputs[0],))
    more = [f"{place}{name}" for name in _named(table.get("tool")) if _is_plain(root, f"{place}{name}")]
    return Folder(path, table, tuple(dict.fromkeys((*inputs, *more))))


def _named(value: object) -> Iterator[str]:
    """Yield the files that a backend's settings read dependencies from, such as `dependencies = {file = "requirements.txt"}`."""
    for key, inner in value.items() if isinstance(value, dict) else ():
        if key in ("file", "files", "filename"):
            yield from (text for text in (inner if isinstance(inner, list) else [inner]) if isinstance(text, str))
        yield from _named(inner)


def _is_plain(root: Path, path: str) -> bool:
    return not {"..", "\0"} & {*path.split("/"), *path} and not path.startswith("/") and os.path.isfile(root / path)


@dataclass(frozen=True, slots=True)
class Folders:
    """The local projects that a session may be made from, by path: those it names, and those that their sources lead to."""

    root: Path
    files: Files
    folders: Mapping[str, Folder] = field(default_factory=dict)

    def source(self, folder: Folder, name: str) -> list[Mapping[str, Any]]:
        """Return where a project takes a requirement from; a member of a workspace has the sources of its root too."""
        own = uvtable.sources_of(folder.table)
        if name in own or folder.path not in uvtable.members_of(self.root, self._top()):
            return own.get(name, [])
        return uvtable.sources_of(self._top()).get(name, [])

    def _top(self) -> Mapping[str, Any]:
        return self.folders[""].table if "" in self.folders else _root_table(self.root, self.files)

    def limits(self) -> dict[str, Any]:
        """Return what `[tool.uv]` of the project's folder limits a resolution by."""
        return uvtable.limits_of(self._top()) if self.folders else {}

    def overridden(self) -> tuple[str, ...]:
        """Return the names of the packages whose requirements `[tool.uv]` overrides."""
        return uvtable.overridden(self._top()) if self.folders else ()

    def not_followed(self) -> list[str]:
        """Return a line where uv would follow more than is followed here."""
        names = uvtable.not_followed(self._top()) if self.folders else []
        return [f"pyproject.toml: not followed: {', '.join(names)}"] if names else []

    def local(self, folder: Folder, name: str, entry: Mapping[str, Any]) -> str | None:
        """Return the folder that a source leads to, None where it is none. Raises `uvtable.Refused`."""
        if "path" in entry:
            inherited = name not in uvtable.sources_of(folder.table)
            return uvtable.folder_of(self.root, "" if inherited else folder.path, entry)
        if not entry.get("workspace"):
            return None
        members = uvtable.members_of(self.root, self._top())
        names = {read_folder(self.root, path, self.files).name: path for path in members}
        if name not in names:
            where = f"[tool.uv.workspace] of {shown(str(self.root.name))}/pyproject.toml"
            raise uvtable.Refused(f"is no member of {where}; the workspace's root must be the project's folder")
        return names[name]

    def neighbours(self, folder: Folder) -> Iterator[str]:
        """Yield the folders that a project's sources lead to."""
        for name in sorted({*uvtable.sources_of(folder.table), *uvtable.sources_of(self._top())}):
            for entry in self.source(folder, name):
                with suppress(uvtable.Refused):
                    path = self.local(folder, name, entry)
                    if path is not None:
                        yield path


def _root_table(root: Path, files: Files) -> Mapping[str, Any]:
    try:
        return read_folder(root, "", files).table
    except SpecError:
        return {}


def reachable(root: Path, files: Files, paths: Iterable[str]) -> Folders:
    """Return the projects at `paths` and all that their sources may lead to. What is refused is left to who needs it.

    The project's folder is there too where it has a `[tool.uv]`, which decides for those below. Raises SpecError for a folder
    that has no project, or one that cannot be read.
    """
    found: dict[str, Folder] = {}
    waiting = list(paths)
    if waiting and uvtable.table_of(_root_table(root, files)):
        found[""] = read_folder(root, "", files)
    folders, seen = Folders(root, files, found), set[str]()
    while waiting:
        path = waiting.pop(0)
        if path in seen:
            continue
        seen.add(path)
        found[path] = read_folder(root, path, files)
        waiting += folders.neighbours(found[path])
    return replace(folders, folders=dict(sorted(found.items())))
