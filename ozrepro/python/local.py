"""The local projects of one resolution: each described, its requirements led to where its sources say, as stubs for uv.

A backend that has to be asked runs in a copy of the project; see `treecopy`.
"""

from __future__ import annotations

import difflib
import re
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from ozrepro.errors import BuildError, SpecError
from ozrepro.project.checking import shown
from ozrepro.project.requirement import check_address, names_package
from ozrepro.python import backend, projects, uvtable
from ozrepro.python.installed import stub_name, write_stub
from ozrepro.python.packages import LockedPackage, LockedProject
from ozrepro.python.treecopy import copy_of, native_sources

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from ozrepro.python.indexes import Indexes
    from ozrepro.python.interpreter import Interpreter
    from ozrepro.python.projects import Folder, Folders, Metadata
    from ozrepro.python.uv import Uv

_EXTRA = re.compile(r"extra == ['\"]([^'\"]+)['\"]")


@dataclass(frozen=True, slots=True)
class Project:
    """A local project of a resolution.

    Attributes:
        folder: its files.
        metadata: what it requires.
        tree: its copy, which a backend may write to.
        asked: the extras that the spec asks of it, None where it is only required by another.
        local: the requirements that are other local projects, and their folders.
        addresses: those that come from an address.
        indexes: those that come from a named index, one of several.

    """

    folder: Folder
    metadata: Metadata
    tree: Path
    asked: tuple[str, ...] | None = None
    local: Mapping[str, str] = field(default_factory=dict)
    addresses: Mapping[str, str] = field(default_factory=dict)
    indexes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def wants(self, requirement: Requirement) -> bool:
        """Say whether one of its requirements counts; not where it is of extras that nobody asks for."""
        extras = set(_EXTRA.findall(str(requirement.marker or "")))
        return not extras or self.asked is None or not extras.isdisjoint(self.asked)

    def locked(self, marker: str) -> LockedProject:
        """Return it as a lock has it."""
        place = f"{self.folder.path}/" if self.folder.path else ""
        compiles = tuple(f"{place}{path}" for path in native_sources(self.tree))
        return LockedProject(self.metadata.name, self.asked or (), self.folder.path, marker, compiles)


@contextmanager
def opened(
    uv: Uv,
    folders: Folders,
    asked: Mapping[str, tuple[str, ...]],
    interpreter: Interpreter,
    variables: Mapping[str, str],
    environ: Mapping[str, str],
) -> Iterator[tuple[Project, ...]]:
    """Give the projects that are asked for, by path with their extras, and those that they need; a copy of each while it lasts.

    Raises SpecError for a source that is not followed, BuildError or CommandFailed where a backend has no answer.
    """
    if not asked:
        yield ()
        return
    limits = tuple(map(str, folders.limits().get("build-constraint-dependencies", ())))
    with ExitStack() as stack:
        copy = stack.enter_context(copy_of(folders.root, environ))

        def describe(folder: Folder) -> Metadata:
            known = folder.described()
            if known is not None:
                return known
            with backend.opened(uv, copy / folder.path, interpreter, variables, limits) as own:
                text = backend.metadata(own)
            try:
                return projects.from_core(text)
            except ValueError as error:
                raise BuildError(f"the build backend's metadata {error}", where=str(folders.root / folder.path)) from error

        yield tuple(_follow(folders, asked, copy, describe))


def _follow(
    folders: Folders, asked: Mapping[str, tuple[str, ...]], copy: Path, describe: Callable[[Folder], Metadata]
) -> Iterator[Project]:
    waiting, seen, mistakes = list(asked), set[str](), []
    made: list[Project] = []
    while waiting:
        path = waiting.pop(0)
        if path in seen:
            continue
        seen.add(path)
        folder = folders.folders.get(path) or projects.read_folder(folders.root, path, folders.files)
        if not (copy / path).is_dir():
            what = "is ignored by git or a repository of its own, and so not a part of the project"
            raise SpecError(str(folders.root / path), [f"{what}; git add it, or make it a submodule"])
        project = Project(folder, describe(folder), copy / path, asked.get(path))
        project, wrong = _led(folders, project)
        mistakes += wrong
        made.append(project)
        waiting += project.local.values()
    if mistakes:
        raise SpecError(str(folders.root / "pyproject.toml"), mistakes)
    yield from made


def _led(folders: Folders, project: Project) -> tuple[Project, list[str]]:
    """Return a project with where its requirements come from, and a line for each source that is not followed."""
    folder, metadata, mistakes = project.folder, project.metadata, []
    local: dict[str, str] = {}
    addresses: dict[str, str] = {}
    indexes: dict[str, tuple[str, ...]] = {}
    known = {canonicalize_name(extra) for extra in metadata.extras}
    title = f"-e ./{folder.path}" if folder.path else "-e ."
    for extra in project.asked or ():
        if canonicalize_name(extra) not in known:
            near = difflib.get_close_matches(canonicalize_name(extra), known, 1)
            advice = f"did you mean {near[0]!r}?" if near else "add it to [project.optional-dependencies]"
            mistakes.append(f"{title}: {metadata.name} has no extra {extra!r}; {advice}")
    for requirement in requirements_of(metadata):
        name = canonicalize_name(requirement.name)
        entries = folders.source(folder, name)
        try:
            if not entries:
                _check_address(requirement, project.tree)
                problem = check_address(requirement.url, requirement.name) if requirement.url else None
                mistakes += [f"dependencies: {problem}"] if problem and project.wants(requirement) else []
            elif all("index" in entry for entry in entries):
                indexes[name] = tuple(str(entry["index"]) for entry in entries)
            elif len(entries) > 1 or "marker" in entries[0]:
                raise uvtable.Refused("has several sources or one with a marker; keep one, or put the markers into dependencies")
            else:
                path = folders.local(folder, name, entries[0])
                if path is not None:
                    local[name] = path
                elif "git" in entries[0] or "url" in entries[0]:
                    addresses[name] = uvtable.address_of(name, entries[0])
                else:
                    raise uvtable.Refused("names no path, workspace, git, url or index")
        except uvtable.Refused as error:
            mistakes.append(f"tool.uv.sources.{name}: {error}")
    made = Project(folder, metadata, project.tree, project.asked, local, addresses, indexes)
    return made, list(dict.fromkeys(mistakes))


def requirements_of(metadata: Metadata) -> Iterator[Requirement]:
    """Yield what a project requires. Raises BuildError for what is not a requirement."""
    for text in metadata.requires:
        try:
            yield Requirement(text)
        except (InvalidRequirement, RecursionError) as error:
            raise BuildError(f"{metadata.name} requires {shown(text)}, which is not a requirement") from error


def _check_address(requirement: Requirement, tree: Path) -> None:
    if requirement.url and requirement.url.startswith("file:"):
        place = unquote(urlsplit(requirement.url).path)
        raise uvtable.Refused(
            f'is required from the folder {shown(place.rpartition("/")[2])}; name it: {requirement.name} = {{ path = "…" }}'
        )


def write_stubs(folder: Path, given: Sequence[Project]) -> list[str]:
    """Write a stub of each project, and return the requirement lines of those that the spec asks for."""
    places = {item.folder.path: folder / stub_name(item.metadata.name, item.metadata.version) for item in given}
    for item in given:
        lines = ["Metadata-Version: 2.1", f"Name: {item.metadata.name}", f"Version: {item.metadata.version}"]
        lines += [f"Requires-Python: {item.metadata.python}"] if item.metadata.python else []
        lines += [f"Provides-Extra: {canonicalize_name(extra)}" for extra in item.metadata.extras]
        for requirement in requirements_of(item.metadata):
            name = canonicalize_name(requirement.name)
            url = places[item.local[name]].as_uri() if name in item.local else item.addresses.get(name)
            if url is not None:
                requirement.specifier, requirement.url = SpecifierSet(), url
            lines.append(f"Requires-Dist: {requirement}")
        write_stub(folder, item.metadata.name, item.metadata.version, "\n".join(lines) + "\n")
    return [
        f"{item.metadata.name}{f'[{chr(44).join(item.asked)}]' if item.asked else ''} @ {places[item.folder.path].as_uri()}"
        for item in given
        if item.asked is not None
    ]


def build_requirements(
    uv: Uv, given: Sequence[Project], interpreter: Interpreter, variables: Mapping[str, str], limits: tuple[str, ...]
) -> list[str]:
    """Return what building the projects needs. Raises BuildError, CommandFailed."""
    needed: list[str] = []
    for item in given:
        if not item.folder.is_virtual:
            with backend.opened(uv, item.tree, interpreter, variables, limits) as own:
                needed += backend.build_requirements(own, editable=True)
                needed += backend.build_requirements(own, editable=False)
    return list(dict.fromkeys(needed))


def needed(
    entries: Iterable[Mapping[str, Any]], given: Sequence[Project], narrow: Callable[[LockedPackage], LockedPackage | None]
) -> tuple[LockedProject, ...]:
    """Return the local projects among uv's entries; `narrow` gives one with the marker that decides, None if not needed."""
    known = {project.metadata.name: project for project in given if not project.folder.is_virtual}
    made = []
    for entry in entries:
        if entry["name"] in known:
            found = narrow(LockedPackage(entry["name"], str(entry["version"]), (), str(entry.get("marker", ""))))
            made += [known[found.name].locked(found.marker)] if found is not None else []
    return tuple(sorted(made, key=lambda item: (item.path, item.marker)))


def check_indexes(indexes: Indexes, root: Path, given: Sequence[Project], packages: Iterable[LockedPackage]) -> None:
    """Raise SpecError for packages that a source takes from an index which is not set, or which has not the version taken."""
    known = {indexes.name_of(address) for _, address in indexes.pairs}
    asked = {name: named for project in given for name, named in project.indexes.items()}
    mistakes = []
    for package in packages:
        names = asked.get(package.name, ())
        unset = [name for name in names if name not in known]
        if unset:
            what = f'names the index {unset[0]}, which is not set; write into [tool.ozrepro.indexes]: {unset[0]} = "https://…"'
        elif names and package.index not in names:
            what = f"names the index {names[0]}, and {package.index} has {package.version}; ask for a version of {names[0]}"
        else:
            continue
        mistakes.append(f"tool.uv.sources.{package.name}: {what}")
    if mistakes:
        raise SpecError(str(root / "pyproject.toml"), mistakes)


def check_complete(requirements: Iterable[str], given: Sequence[Project], names: Collection[str]) -> None:
    """Raise BuildError where something that the spec asks for is not among the `names` of what was found."""
    asked = [Requirement(text) for text in requirements if names_package(text)]
    wanted: dict[str, str] = {canonicalize_name(item.name): item.name for item in asked if item.marker is None}
    wanted |= {item.metadata.name: item.metadata.name for item in given if item.asked is not None and not item.folder.is_virtual}
    missing = [wanted[name] for name in sorted(wanted.keys() - set(names))]
    if missing:
        raise BuildError(
            f"asked for, and not in the answer of uv: {', '.join(missing)}",
            hint="remove it from the requirements, or from exclude-dependencies of [tool.uv]",
        )
