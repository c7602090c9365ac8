"""The Python packages of a session, whichever method they belong to: what the spec asks for, and how it is in the lock.

A plain venv has nothing else; a venv on modules has this layer on top of them.
"""

from __future__ import annotations

import difflib
import hashlib
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

from packaging.utils import canonicalize_name

from ozrepro.errors import BuildError, SpecError
from ozrepro.project.checking import shown
from ozrepro.project.files import SMALL, Files
from ozrepro.project.reader import Key
from ozrepro.project.requirement import check_requirement_file
from ozrepro.project.toml import TOMLDecodeError, loads
from ozrepro.python import lock_matches_spec
from ozrepro.python.packages import LockedPackage  # noqa: TC001  # the reader looks annotations up
from ozrepro.python.requirement_hashes import Hashed, check_hashes, hashed_in
from ozrepro.python.uv import Uv, find_uv
from ozrepro.store import caches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from ozrepro.project.checking import Checker
    from ozrepro.project.spec import Spec
    from ozrepro.python.install import Chosen
    from ozrepro.python.interpreter import Interpreter
    from ozrepro.python.resolve import Resolved, Wanted
    from ozrepro.site import Site

_OF_A_PROJECT = (
    *("name", "requires-python", "dependencies", "optional-dependencies", "dynamic"),
    *("scripts", "gui-scripts", "entry-points"),
)


@dataclass(frozen=True, slots=True)
class Layer:
    """What a spec's table asks for. `key` is the table's name in messages, `passed` the variables let through."""

    spec: Spec
    key: str
    requirements: tuple[str, ...]
    build: tuple[str, ...]
    passed: tuple[str, ...]

    def inputs(self) -> list[Path]:
        """Return requirement files and, where the project itself is installed, its pyproject.toml."""
        root = self.spec.root
        files = [root / text[2:].strip() for text in self.requirements if text.startswith(("-r", "-c"))]
        return [*files, *([root / "pyproject.toml"] if self.extras() is not None else [])]

    def contents(self) -> dict[str, object]:
        """Return what the files say, for a digest. Raises SpecError with all mistakes of a file."""
        found: dict[str, object] = {}
        for path in self.inputs():
            name = path.relative_to(self.spec.root).as_posix()
            found[name] = self._own(path) if name == "pyproject.toml" else self._content(path)
        return found

    def _own(self, path: Path) -> dict[str, Any]:
        """Return what pyproject.toml says. Raises SpecError for an extra that it lacks: uv would go on without."""
        metadata = project_metadata(path, self.spec.files)
        known = metadata["project"].get("optional-dependencies", {})
        if "optional-dependencies" in metadata["project"].get("dynamic", ()) or not isinstance(known, dict):
            return metadata
        there = {canonicalize_name(name): name for name in known}
        mistakes: list[str] = []
        for extra in self.extras() or ():
            if canonicalize_name(extra) not in there:
                near = difflib.get_close_matches(canonicalize_name(extra), there, 1)
                advice = f"did you mean {there[near[0]]!r}?" if near else "add it to [project.optional-dependencies]"
                mistakes.append(f"{self.key}.requirements: -e .: {path.name} has no extra {extra!r}; {advice}")
        if mistakes:
            raise SpecError(str(self.spec.path), mistakes)
        return metadata

    def _content(self, path: Path) -> str:
        spec, name = self.spec, path.relative_to(self.spec.root)
        place = f"{self.key}.requirements"
        if not os.path.realpath(path).startswith(os.path.realpath(spec.root) + os.sep):
            raise SpecError(str(spec.path), [f"{place}: {name}: leads out of the project; copy the file into it"])
        try:
            text = spec.files.text(path)
        except OSError as error:
            raise SpecError(str(spec.path), [f"{place}: {name}: {error.strerror}; name a file of the project"]) from error
        mistakes = check_requirement_file(text)
        if mistakes:
            raise SpecError(str(path), mistakes, hint=f"it is in {place} of {spec.path.name}")
        return hashlib.sha256(text.encode()).hexdigest()

    def extras(self) -> tuple[str, ...] | None:
        """Return the extras of `-e .[…]`, or None where the project itself is not wanted."""
        for text in self.requirements:
            if text.startswith("-e"):
                inside = text.partition("[")[2].rstrip("] ")
                return tuple(sorted(part.strip() for part in inside.split(",") if part.strip()))
        return None

    def project(self) -> tuple[str, ...]:
        """Return the name of the editable project and its extras, or () where it is not wanted.

        Raises BuildError for a project without a name.
        """
        extras = self.extras()
        if extras is None:
            return ()
        path = self.spec.root / "pyproject.toml"
        name = project_metadata(path, self.spec.files).get("project", {}).get("name")
        if not name:
            raise BuildError("-e . needs a [project] table with a name", where=str(path))
        return (canonicalize_name(name), *extras)

    def texts(self) -> list[str]:
        """Return the requirement lines and the text of each file that they name."""
        return [*self.requirements, *(self.spec.files.text(path) for path in self.inputs())]

    def files(self) -> dict[str, str]:
        """Return the text of each requirement file, by its path in the project."""
        names = [text[2:].strip() for text in self.requirements if text.startswith(("-r", "-c"))]
        return {name: self.spec.files.text(self.spec.root / name) for name in names}

    def hashed(self) -> tuple[Hashed, ...]:
        """Return the requirements with hashes, of the table and of the files that it names."""
        found: list[Hashed] = []
        for text in self.requirements:
            if text.startswith(("-r", "-c")):
                name = text[2:].strip()
                found += hashed_in(name, self.files()[name])
            elif not text.startswith("-"):
                found += [replace(item, place=f"[{self.key}]") for item in hashed_in("", text)]
        return tuple(found)

    def head(self) -> dict[str, Any]:
        """Return the keys of the layer that come before the packages in the lock."""
        project = self.project()
        return {
            "imports": list(self.spec.imports),
            **({"pass": sorted(self.passed)} if self.passed else {}),
            **({"project": {"name": project[0], "extras": list(project[1:])}} if project else {}),
        }


@dataclass(frozen=True, slots=True)
class LockedLayer:
    """The layer in a lock, read and checked. `project` is the editable project's name, "" where there is none."""

    imports: tuple[str, ...]
    passed: tuple[str, ...]
    project: str
    extras: tuple[str, ...]
    packages: tuple[LockedPackage, ...]
    build: tuple[LockedPackage, ...]


@dataclass(frozen=True, slots=True)
class LockedProject:
    """The editable project of a section."""

    name: str
    extras: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerContent:
    """The layer's keys in a section of the lock; a method's own content has them besides its own."""

    imports: tuple[str, ...] = ()
    passed: Annotated[tuple[str, ...], Key("pass")] = ()
    project: LockedProject = LockedProject("")
    package: tuple[LockedPackage, ...] = ()
    build: tuple[LockedPackage, ...] = ()

    def problems(self) -> Iterator[tuple[str | tuple[str, ...], str]]:
        """Yield that what builds packages is a source archive itself."""
        if any(not file.is_wheel for package in self.build for file in package.files):
            yield "build", "holds a source archive: what builds packages must be wheels"

    @property
    def layer(self) -> LockedLayer:
        """The layer."""
        project = self.project
        return LockedLayer(self.imports, self.passed, project.name, project.extras, self.package, self.build)


def versions_of(packages: Sequence[LockedPackage]) -> dict[str, str]:
    """Return the version of each package; one that differs between Pythons or platforms has them all, as `1.0 | 2.0`."""
    found: dict[str, list[str]] = {}
    for item in packages:
        found.setdefault(item.name, []).append(item.version)
    return {name: " | ".join(dict.fromkeys(every)) for name, every in found.items()}


def packages_table(packages: Sequence[LockedPackage], build: Sequence[LockedPackage]) -> dict[str, Any]:
    """Return the packages as they are in a section."""
    tables: dict[str, Any] = {"package": [package.as_table() for package in packages]}
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
        "project": ([*filter(None, (locked.project,)), *locked.extras], list(layer.project())),
    }
    for key, (there, expected) in asked.items():
        if there != expected:
            checker.wrong((*base, key), f"is {shown(there)} where the spec asks for {shown(expected)}")
    lock_matches_spec.check_packages(checker, base, locked.packages, layer.build, layer.texts())
    check_hashes(checker, base, locked.packages, layer.hashed())


def project_metadata(path: Path, files: Files) -> dict[str, Any]:
    """Return the parts of pyproject.toml that decide what is installed for the project and how. Raises SpecError."""
    try:
        whole = loads(files.text(path, SMALL))
    except OSError as error:
        raise SpecError(str(path), [f"cannot be read: {error.strerror}"]) from error
    except TOMLDecodeError as error:
        raise SpecError(str(path), [f"is not valid TOML: {error}"]) from error
    project = whole.get("project", {})
    if not isinstance(project, dict) or not isinstance(project.get("name", ""), str):
        raise SpecError(str(path), ["project: is not a table with a name"])
    return {
        "project": {key: project[key] for key in _OF_A_PROJECT if key in project},
        "build-system": whole.get("build-system", {}),
    }


def open_uv(site: Site, say: Callable[[str], None] | None = None) -> Uv:
    """Return the uv of this site, its cache checked: uv believes what its cache says of a file's hash.

    Its own `UV_CACHE_DIR` does not count: what other programs unpack there, other environments are linked from.
    `say` is told where another cache had to be taken. Raises StoreError.
    """
    return find_uv(site.settings, site.environ, caches.lockable(site.settings, "uv", say))


def lock_build_packages(
    uv: Uv,
    layer: Layer,
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
    from ozrepro.python import backend
    from ozrepro.python.resolve import resolve

    needed: list[str] = []
    for package in resolved.packages:
        for file in package.files:
            if not file.is_wheel:
                with backend.unpacked(resolved.sources[file.sha256], file.sha256, uv.indexes.cert) as tree:
                    needed += backend.build_requirements(uv, tree, found, variables or {}, editable=False)
    if layer.extras() is not None:
        needed += backend.build_requirements(uv, layer.spec.root, found, variables or {}, editable=True)
    if not needed:
        return ()
    tools = replace(
        task, platforms=resolved.platforms, requirements=tuple(dict.fromkeys(needed)), build=(), outside={}, hashed=()
    )
    return resolve(uv, tools, found, previous.build if previous else (), upgrade).packages


def check_resolved(resolved: Resolved, layer: Layer, platform: str, minor: str) -> None:
    """Raise BuildError where `build` names what nothing requires, or a package has no file for this platform and Python.

    `platform` is "" where the lock need not serve this machine.
    """
    from ozrepro.python.resolve import check_files

    unknown = {canonicalize_name(name) for name in layer.build} - {package.name for package in resolved.packages}
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
    if locked.project:
        root = site.settings.root
        found["project"] = [str(root), locked.project, project_metadata(root / "pyproject.toml", site.settings.files)]
    return found
