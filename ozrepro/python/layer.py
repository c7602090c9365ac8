"""The Python packages of a session, whichever method they belong to: what the spec asks for, and how it is in the lock.

A plain venv has nothing else; a venv on modules has this layer on top of them.
"""

from __future__ import annotations

import hashlib
import os
import shlex
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

from packaging.utils import canonicalize_name

from ozrepro.errors import BuildError, SpecError
from ozrepro.project.checking import shown
from ozrepro.project.reader import Check, Key
from ozrepro.project.requirement import check_requirement_file, entries_of, group_in, local_project, names_package
from ozrepro.project.sources import not_requirements
from ozrepro.python import lock_matches_spec
from ozrepro.python.packages import LockedPackage, LockedProject, check_name  # the reader looks annotations up
from ozrepro.python.projects import reachable, read_folder
from ozrepro.python.requirement_hashes import Hashed, check_hashes, hashed_in
from ozrepro.python.requirementtexts import as_installers_read, group_files, group_problems, texts_of
from ozrepro.python.treecopy import beside
from ozrepro.python.uv import Uv, find_uv
from ozrepro.store import caches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from ozrepro.project.checking import Checker
    from ozrepro.project.files import Files
    from ozrepro.project.spec import Spec
    from ozrepro.python.install import Chosen
    from ozrepro.python.interpreter import Interpreter
    from ozrepro.python.local import Project
    from ozrepro.python.projects import Folders
    from ozrepro.python.resolve import Resolved, Wanted
    from ozrepro.site import Site


@dataclass(frozen=True, slots=True)
class Layer:
    """What a spec's table asks for. `key` is the table's name in messages, `passed` the variables let through."""

    spec: Spec
    key: str
    requirements: tuple[str, ...]
    build: tuple[str, ...]
    passed: tuple[str, ...]

    def inputs(self) -> list[Path]:
        """Return requirement files, and what says what a local project requires, such as its pyproject.toml."""
        names = [*(name for name in self._texts() if not group_in(name)), *group_files(self.requirements)]
        names += [name for folder in self.folders().folders.values() for name in folder.inputs]
        return [self.spec.root / name for name in dict.fromkeys(names)]

    def contents(self) -> dict[str, object]:
        """Return what the files say, for a digest. Raises SpecError with all mistakes of a file."""
        found: dict[str, object] = {}
        groups = {name: text.splitlines() for name, text in self._texts().items() if group_in(name)}
        wrong = [problem for name in groups for problem in group_problems(self.spec.root, self.spec.files, name)]
        if wrong:
            raise SpecError(str(self.spec.path), [f"{self.key}.requirements: {problem}" for problem in dict.fromkeys(wrong)])
        found.update(groups)
        found.update({name: self._content(self.spec.root / name) for name in self._texts() if name not in groups})
        for place, folder in self.folders().folders.items():
            name = f"{place}/pyproject.toml" if place else "pyproject.toml"
            found[name] = folder.contents(self.spec.root, self.spec.files)
        return found

    def _content(self, path: Path) -> str:
        spec, name = self.spec, os.path.relpath(path, self.spec.root)
        place = f"{self.key}.requirements"
        if not os.path.realpath(path).startswith(os.path.realpath(spec.root) + os.sep):
            raise SpecError(str(spec.path), [f"{place}: {name}: leads out of the project; copy the file into it"])
        try:
            text = spec.files.text(path)
        except OSError as error:
            raise SpecError(str(spec.path), [f"{place}: {name}: {error.strerror}; name a file of the project"]) from error
        mistakes = check_requirement_file(text, os.path.dirname(name))
        if mistakes:
            mistakes = [other] if (other := not_requirements(text, name)) else mistakes
            raise SpecError(str(path), mistakes, hint=f"edit {name}, which {place} of {spec.path.name} names")
        return hashlib.sha256(text.encode()).hexdigest()

    def asked(self) -> dict[str, tuple[str, ...]]:
        """Return the folders of the local projects that are asked for, from the project's root, with their extras."""
        found: dict[str, tuple[str, ...]] = {}
        entries = (entry.text for text in self._texts().values() for entry in entries_of(text))
        for item in filter(None, map(local_project, (*self.requirements, *entries))):
            found[item.path] = tuple(sorted({*found.get(item.path, ()), *item.extras}))
        return found

    def folders(self) -> Folders:
        """Return the local projects that it may be made from. Raises SpecError."""
        return reachable(self.spec.root, self.spec.files, self.asked())

    def texts(self) -> list[str]:
        """Return the requirement lines and the text of each file that they name."""
        groups = (text for name, text in self._texts().items() if group_in(name))
        return [*self.requirements, *groups, *(self.spec.files.text(path) for path in self.inputs())]

    def files(self) -> dict[str, str]:
        """Return the text of each requirement file and group as installers take it; see `requirementtexts.texts_of`."""
        return {name: as_installers_read(text) for name, text in self._texts().items()}

    def _texts(self) -> dict[str, str]:
        return texts_of(self.spec.root, self.spec.files, self.requirements)

    def hashed(self) -> tuple[Hashed, ...]:
        """Return the requirements with hashes, of the table and of the files that it names."""
        found: list[Hashed] = []
        for name, text in self._texts().items():
            found += hashed_in(name, text)
        for text in filter(names_package, self.requirements):
            found += [replace(item, place=f"[{self.key}]") for item in hashed_in("", text)]
        return tuple(found)

    def head(self, local: Sequence[LockedProject] = ()) -> dict[str, Any]:
        """Return the keys of the layer that come before the packages in the lock; `local` are the local projects."""
        own = [item for item in local if not item.path]
        overridden = self.folders().overridden()
        return {
            "imports": list(self.spec.imports),
            **({"pass": sorted(self.passed)} if self.passed else {}),
            **({"overridden": [*overridden]} if overridden else {}),
            **({"project": own[0].as_table()} if own else {}),
        }


@dataclass(frozen=True, slots=True)
class LockedLayer:
    """The layer in a lock, read and checked.

    `projects` are those of the project's folder, installed in editable form; `overridden` the packages that may be otherwise than
    others require.
    """

    imports: tuple[str, ...]
    passed: tuple[str, ...]
    projects: tuple[LockedProject, ...]
    packages: tuple[LockedPackage, ...]
    build: tuple[LockedPackage, ...]
    overridden: tuple[str, ...] = ()

    def local_here(self, markers: Mapping[str, str]) -> tuple[LockedProject, ...]:
        """Return the local projects that are needed where the marker variables are these."""
        return tuple(item for item in self.projects if item.applies(markers))


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerContent:
    """The layer's keys in a section of the lock; a method's own content has them besides its own."""

    imports: tuple[str, ...] = ()
    passed: Annotated[tuple[str, ...], Key("pass")] = ()
    overridden: tuple[Annotated[str, Check(check_name)], ...] = ()
    project: LockedProject | None = None
    local: tuple[LockedProject, ...] = ()
    package: tuple[LockedPackage, ...] = ()
    build: tuple[LockedPackage, ...] = ()

    def problems(self) -> Iterator[tuple[str | tuple[str, ...], str]]:
        """Yield that what builds packages is a source archive itself, and a local project that is none."""
        if self.project is not None and self.project.path:
            yield ("project", "path"), "is of another folder: those are in local"
        if any(not item.path for item in self.local):
            yield "local", "has no path"
        if any(not file.is_wheel for package in self.build for file in package.files):
            yield "build", "holds a source archive: what builds packages must be wheels"
        if any(package.commit is not None for package in self.build):
            yield "build", "holds a commit of a repository: what builds packages must be wheels"

    @property
    def layer(self) -> LockedLayer:
        """The layer."""
        projects = (*([self.project] if self.project is not None else []), *self.local)
        return LockedLayer(self.imports, self.passed, projects, self.package, self.build, self.overridden)


def say_projects_left_out(name: str, form: str, layers: Iterable[LockedLayer], say: Callable[[str], None]) -> None:
    """Say which local projects of session `name` a file in the format `form` leaves out, and how they are added to it."""
    found = sorted({(item.path, item.name) for layer in layers for item in layer.projects})
    if found:
        install = " ".join(f"-e {shlex.quote(f'./{path}' if path else '.')}" for path, _ in found)
        names = ", ".join(project for _, project in found)
        say(f"{name}: {form} does not hold what is in the project's folder ({names}): pip install --no-deps {install}")


def versions_of(packages: Sequence[LockedPackage]) -> dict[str, str]:
    """Return the version of each package; one that differs between Pythons or platforms has them all, as `1.0 | 2.0`."""
    found: dict[str, list[str]] = {}
    for item in packages:
        found.setdefault(item.name, []).append(item.version)
    return {name: " | ".join(dict.fromkeys(every)) for name, every in found.items()}


def packages_table(
    packages: Sequence[LockedPackage], build: Sequence[LockedPackage], local: Sequence[LockedProject] = ()
) -> dict[str, Any]:
    """Return the packages, and the local projects but for that of the root, as they are in a section."""
    others = [item.as_table() for item in local if item.path]
    tables: dict[str, Any] = {**({"local": others} if others else {}), "package": [package.as_table() for package in packages]}
    if build:
        tables["build"] = [package.as_table() for package in build]
    return tables


def check_agreement(
    checker: Checker, base: tuple[str, ...], locked: LockedLayer, layer: Layer, found: Mapping[str, tuple[object, object]]
) -> None:
    """Note what a section that claims to answer this spec holds and the spec does not ask for.

    `found` has the method's own pairs of what is locked and what is asked for, by key.
    """
    asked = {
        **found,
        "imports": (list(locked.imports), list(layer.spec.imports)),
        "pass": (sorted(locked.passed), sorted(layer.passed)),
        "overridden": (list(locked.overridden), list(layer.folders().overridden())),
    }
    for key, (there, expected) in asked.items():
        if there != expected:
            checker.wrong((*base, key), f"is {shown(there)} where the spec asks for {shown(expected)}")
    _check_projects(checker, base, locked, layer)
    lock_matches_spec.check_packages(checker, base, locked.packages, layer.build, layer.texts())
    check_hashes(checker, base, locked.packages, layer.hashed())


def _check_projects(checker: Checker, base: tuple[str, ...], locked: LockedLayer, layer: Layer) -> None:
    """Note a local project that the spec does not lead to, one that it asks for and the section lacks, and another name."""
    folders, asked = layer.folders().folders, layer.asked()
    for item in locked.projects:
        place = (*base, "local" if item.path else "project")
        folder = folders.get(item.path)
        if folder is None:
            checker.wrong(place, f"is {shown(item.path or item.name)}, which the spec does not ask for")
        elif folder.name and folder.name != item.name:
            checker.wrong(place, f"is {shown(item.name)} where the spec asks for {shown(folder.name)}")
        elif item.path in asked and not item.path and item.extras != asked[item.path]:
            checker.wrong(place, f"has the extras {shown(list(item.extras))} where the spec asks for {shown(list(asked['']))}")
    for path in asked.keys() - {item.path for item in locked.projects}:
        if not folders[path].is_virtual:
            checker.wrong(base, f"lacks the project in {shown(path or '.')}, which the spec asks for")


def open_uv(site: Site, say: Callable[[str], None] | None = None) -> Uv:
    """Return the uv of this site, its cache checked: uv believes what its cache says of a file's hash.

    Its own `UV_CACHE_DIR` does not count: what other programs unpack there, other environments are linked from.
    `say` is told where another cache had to be taken. Raises StoreError.
    """
    return find_uv(site.settings, site.environ, caches.lockable(site.settings, "uv", say))


def lock_build_packages(
    uv: Uv,
    task: Wanted,
    resolved: Resolved,
    found: Interpreter,
    previous: LockedLayer | None,
    upgrade: tuple[str, ...] | None,
    variables: Mapping[str, str] | None = None,
) -> tuple[LockedPackage, ...]:
    """Lock what building the sdists and the project needs: unlocked, any version of it could run code in the environment.

    `variables` are those in which it will be built.
    """
    from ozrepro.python import backend, local
    from ozrepro.python.resolve import resolve

    limits = tuple(map(str, task.limits.get("build-constraint-dependencies", ())))
    needed: list[str] = []
    for package in resolved.packages:
        for file in package.files:
            if not file.is_wheel:
                with (
                    backend.unpacked(resolved.sources[file.sha256], file.sha256, uv.indexes.cert) as tree,
                    backend.opened(uv, tree, found, variables or {}, limits) as own,
                ):
                    needed += backend.build_requirements(own, editable=False)
    needed += local.build_requirements(uv, task.projects, found, variables or {}, limits)
    needed += [line for item in task.built for line in item.needs]
    if not needed:
        return ()
    tools = replace(
        task,
        platforms=resolved.platforms,
        requirements=tuple(dict.fromkeys(needed)),
        build=(),
        outside={},
        hashed=(),
        projects=(),
        limits={"constraint-dependencies": [*limits]} if limits else {},
    )
    return resolve(uv, tools, found, previous.build if previous else (), upgrade).packages


@contextmanager
def local_projects(
    uv: Uv, layer: Layer, found: Interpreter, site: Site, say: Callable[[str], None], variables: Mapping[str, str] | None = None
) -> Iterator[tuple[Project, ...]]:
    """Give the local projects that the spec asks for and those that they need; see `local.opened`, which says what it raises."""
    from ozrepro.python import local

    folders, asked = layer.folders(), layer.asked()
    for line in folders.not_followed():
        say(line)
    with local.opened(uv, folders, asked, found, variables or {}, site.environ) as projects:
        yield projects


def check_resolved(resolved: Resolved, layer: Layer, platform: str, minor: str) -> None:
    """Raise BuildError where `build` names what nothing requires, or a package has no file for this platform and Python.

    `platform` is "" where the lock need not serve this machine.
    """
    from ozrepro.python.resolve import check_files

    known = {package.name for package in resolved.packages} | {project.name for project in resolved.local}
    unknown = {canonicalize_name(name) for name in layer.build} - known
    if unknown:
        raise BuildError(
            f"build names what nothing requires: {', '.join(sorted(unknown))}", hint=f"remove it from build in [{layer.key}]"
        )
    lacking = resolved.gaps.get(f"{platform} {minor}")
    if lacking:
        raise BuildError(
            f"no wheel for {platform} {minor}: {', '.join(lacking)}",
            hint="another version, or name the package in build to compile it from source",
        )
    empty = check_files(resolved.packages)
    if empty:
        raise BuildError(
            "\n  ".join(("some packages have no usable file:", *empty)), hint="name them in build, or change the versions"
        )


def identity(locked: LockedLayer, chosen: Sequence[Chosen], site: Site) -> dict[str, Any]:
    """Return what decides the layer of a built environment: the files that its Python takes, what builds them, the checks."""
    found: dict[str, Any] = {
        "files": sorted([item.package.name, item.package.version, item.file.sha256] for item in chosen),
        "imports": list(locked.imports),
    }
    if locked.build:
        found["build"] = sorted(file.sha256 for package in locked.build for file in package.files)
    return {**found, **decides_projects(locked, site)}


def decides_projects(locked: LockedLayer, site: Site) -> dict[str, Any]:
    """Return what decides the local projects of a built environment; empty where it has none."""
    root, files = site.settings.root, site.settings.files
    if not locked.projects:
        return {}
    built_with = sorted(file.sha256 for package in locked.build for file in package.files)
    return {"project": [str(root), built_with, *([item.as_table(), _decides(item, root, files)] for item in locked.projects)]}


def _decides(project: LockedProject, root: Path, files: Files) -> dict[str, Any]:
    """Return what decides how a local project is installed: its files' words, and the digests of what is compiled."""
    digests = {}
    for path in beside(root, project.compiles):
        try:
            digests[path] = hashlib.sha256(files.content(root / path)).hexdigest()
        except OSError as error:
            digests[path] = str(error.strerror)
    return {"compiles": digests, "says": read_folder(root, project.path, files).contents(root, files)}


def watched_sources(locked: LockedLayer, root: Path) -> tuple[str, ...]:
    """Return the compiled sources of local projects, with their folders: after a change, the environment is built again."""
    files = {path for item in locked.projects for path in beside(root, item.compiles)}
    return tuple(str(root / path) for path in sorted(files | {os.path.dirname(path) for path in files}))
