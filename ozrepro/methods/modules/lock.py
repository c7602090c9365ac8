"""What a modules section of the lock holds, read and checked, and what follows from it without asking anybody.

Both halves of the modules method stand on it: the one that resolves, and the one that runs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping  # noqa: TC003  # the reader looks annotations up
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from ozrepro.environment import passing
from ozrepro.errors import BuildError, Remedy
from ozrepro.modulesystem import fingerprint, prefixes, record
from ozrepro.process import is_inside
from ozrepro.project.checking import Checker, shown
from ozrepro.project.reader import Check, read_table
from ozrepro.project.spec import digest_of
from ozrepro.python import compiled, interpreter, layer
from ozrepro.python.layer import Layer, LayerContent, LockedLayer
from ozrepro.store import cache_of

if TYPE_CHECKING:
    from pathlib import Path

    from ozrepro.methods.contract import Subject
    from ozrepro.methods.modules.table import ModulesTable
    from ozrepro.modulesystem.record import Record
    from ozrepro.project.lock import Section
    from ozrepro.python.installed import Distribution
    from ozrepro.python.interpreter import Interpreter
    from ozrepro.python.packages import LockedFile, LockedPackage
    from ozrepro.python.uv import Uv
    from ozrepro.site import Site

_VERSION = re.compile(r"3\.[0-9]{1,2}\.[0-9]{1,3}[a-z0-9+.]{0,20}\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Locked:
    """A modules section, read and checked.

    Attributes:
        platform: the section's platform: clusters of one site may share paths and stores, and have other binaries there.
        modules: what was loaded and what that does.
        python: the toolchain's interpreter.
        version: its version.
        free_threaded: whether it is a build without the global lock, which takes other wheels.
        system_site_packages: whether the venv sees the interpreter's own packages.
        folders: where programs look for packages outside the venv.
        provides: the distributions there, by name.
        layer: the venv's own packages.

    """

    platform: str
    modules: Record
    python: str
    version: str
    free_threaded: bool
    system_site_packages: bool
    folders: tuple[str, ...]
    provides: Mapping[str, str]
    layer: LockedLayer

    @property
    def interpreter(self) -> Interpreter:
        """The toolchain's Python as the lock tells of it: nobody who only looks has to start it."""
        return interpreter.recorded(self.python, self.version, free_threaded=self.free_threaded)

    @property
    def minor(self) -> str:
        """Python's minor version, such as `3.12`."""
        return ".".join(self.version.split(".")[:2])

    @property
    def pythons(self) -> str:
        """The range of the Pythons that the packages are for."""
        minor = int(self.version.split(".")[1])
        return f">=3.{minor},<3.{minor + 1}"

    @property
    def overrides(self) -> frozenset[str]:
        """The names of the venv's packages that the modules have too."""
        return frozenset(package.name for package in self.layer.packages if package.name in self.provides)


def _check_version(text: str) -> str | None:
    return None if _VERSION.match(text) else f"{text!r} is not a version of Python"


def _absolute(path: str) -> str | None:
    return None if path.startswith("/") else f"{path!r} is not an absolute path"


@dataclass(frozen=True, slots=True, kw_only=True)
class Content(LayerContent, record.RecordContent):
    """A section as it is in the lock."""

    python: Annotated[str, Check(_absolute)]
    version: Annotated[str, Check(_check_version)]
    free_threaded: bool = False
    system_site_packages: bool = False
    folders: tuple[Annotated[str, Check(_absolute)], ...] = ()
    provides: Mapping[str, str] = field(default_factory=dict)

    def problems(self) -> Iterator[tuple[str | tuple[str, ...], str]]:
        """Yield what is wrong with the packages, and with the load."""
        yield from LayerContent.problems(self)
        yield from record.RecordContent.problems(self)


def read_section(checker: Checker, section: Section, site: Site) -> Locked:
    """Return the section's content, its places those of this project and caller; what is wrong is noted in `checker`."""
    places = record.places_of(str(site.settings.root), site.environ.get("HOME", ""))
    base = (section.method, section.platform)
    here = record.replaced(dict(section.content), lambda text: record.local(text, places))
    content = read_table(checker, Content, here, base)
    locked = Locked(
        platform=section.platform,
        modules=content.record(checker, base),
        python=content.python,
        version=content.version,
        free_threaded=content.free_threaded,
        system_site_packages=content.system_site_packages,
        folders=content.folders,
        provides=content.provides,
        layer=content.layer,
    )
    in_project = "<project>" in str(section.content.get("python", "")) or is_inside(locked.python, places["<project>"])
    _check_python(checker, (*base, "python"), locked, site, in_project=in_project)
    return locked


def _check_python(checker: Checker, path: tuple[str, ...], locked: Locked, site: Site, *, in_project: bool) -> None:
    """Note an interpreter that no digest binds, or that came with the project or a store: a build starts it."""
    if not locked.python:
        return  # it is said already
    if in_project:
        checker.wrong(path, f"{shown(locked.python)} is inside the project: the Python of modules is the site's")
    elif is_inside(locked.python, site.settings.store):
        checker.wrong(path, f"{shown(locked.python)} is inside the store: the Python of modules is the site's")
    elif locked.python not in {item.path for item in locked.modules.files}:
        checker.wrong(path, f"{shown(locked.python)} has no sha256 in `file`")


def mismatches(subject: Subject[ModulesTable], locked: Locked) -> list[str]:
    """Return what a section that claims to answer this spec holds and the spec does not ask for, one line each."""
    table, checker, base = subject.table, Checker(""), ("modules", locked.platform)
    named = [name for name in locked.modules.load if name not in locked.modules.parents]
    # Which modules a collection had is known only to the lock.
    named = [name for name in named if not table.collection or name in table.load]
    unlocked = [name for name in table.site_variables if name not in locked.modules.reads.site]
    asked: dict[str, tuple[object, object]] = {
        "load": (sorted(named), sorted(table.load)),
        "system-site-packages": (locked.system_site_packages, table.venv.system_site_packages),
        "site-variables": (unlocked, []),
    }
    layer.check_agreement(checker, base, locked.layer, layer_of(subject), asked)
    listed = {module.name for module in locked.modules.modules}
    for name in locked.modules.load:
        if name not in listed:
            checker.wrong((*base, "module"), f"lacks {shown(name)}, which is loaded")
    return checker.mistakes


def software(locked: Locked, keep: str) -> tuple[str, ...]:
    """Return the prefixes of what `keep` means: `python` the interpreter's and those with its packages, `all` all of them."""
    load = locked.modules
    python = {prefixes.top_of(os.path.dirname(locked.python), load), *(prefixes.top_of(path, load) for path in locked.folders)}
    return prefixes.outermost((*python, *(prefixes.prefixes(load) if keep == "all" else ())))


def layer_of(subject: Subject[ModulesTable]) -> Layer:
    """Return what the spec asks for on top of the modules."""
    table = subject.table
    return Layer(subject.spec, "modules.venv", table.venv.requirements, table.venv.build, table.passed)


def provided_otherwise(locked: Mapping[str, str], installed: Mapping[str, Distribution]) -> list[str]:
    """Return a line for each distribution of the modules that is not installed in the version that was locked."""
    lines: list[str] = []
    for name in sorted(locked.keys() | installed.keys()):
        version = installed[name].version if name in installed else ""
        if name not in locked:
            lines.append(f"the modules now have {name} {version}, which they had not")
        elif not version:
            lines.append(f"the modules no longer have {name} {locked[name]}")
        elif version != locked[name]:
            lines.append(f"the modules now have {name} {version}, locked is {locked[name]}")
    return lines


def compile_package(
    package: LockedPackage, address: str | None, locked: Locked, found: Interpreter, uv: Uv, site: Site
) -> LockedFile:
    """Return the wheel of a package that is compiled against the loaded modules; kept, so that it is compiled once.

    `address` is where its source archive is; the indexes are asked when None. Raises BuildError, CommandFailed.
    """
    from ozrepro.python import backend

    folder, key = compiled_folder(site), compile_key(package, locked)
    wheel = compiled.compiled(folder, key)
    if wheel is not None:
        return wheel
    sha256 = package.files[0].sha256
    where = address or compiled.fetch_address(uv, package, found, site.platform)
    with backend.unpacked(where, sha256, uv.indexes.cert) as tree:
        return compiled.compile_wheel(uv, tree, found, locked.layer.build, variables_of(locked, site), folder, key)


def compiled_folder(site: Site) -> Path:
    """Return where compiled wheels are kept: never uv's cache, which forgets against what it compiled. Raises StoreError."""
    return cache_of(site.settings, "compiled")


def compile_key(package: LockedPackage, locked: Locked) -> str:
    """Return the key under which the package's compiled wheel is kept: all that decides it."""
    build = sorted(file.sha256 for item in locked.layer.build for file in item.files)
    return compiled.key({**given_by(locked), "source": package.files[0].sha256, "build": build, "version": locked.version})


def given_by(locked: Locked) -> dict[str, Any]:
    """Return what the modules give, by digest: the platform, what they do to variables, the interpreter, the packages."""
    return {
        "platform": locked.platform,
        "change": digest_of(locked.modules.change.as_table()),
        "software": sorted([item.path, item.sha256] for item in locked.modules.files),
        "provides": dict(locked.provides),
        "system-site-packages": locked.system_site_packages,
    }


def variables_of(locked: Locked, site: Site) -> dict[str, str]:
    """Return the variables in which the modules' Python and compilers run, without a venv."""
    values = locked.modules.variables(site.environ)
    is_passed = passing(locked.layer.passed)
    passed = {name: value for name, value in site.environ.items() if is_passed(name)}
    return {**passed, **values, "PYTHONNOUSERSITE": "1"}


def start_interpreter(locked: Locked, site: Site) -> Interpreter:
    """Start the modules' Python, its file compared with the lock, and return what it says of itself; for a build alone.

    Raises BuildError where it is not the locked file, does not run, or is another Python than was locked.
    """
    known = {item.path for item in locked.modules.files}
    moved = fingerprint.changed(item for item in locked.modules.files if item.path == locked.python)
    found = None if moved else interpreter.ask(locked.python, variables_of(locked, site))
    if moved:
        there = moved[0][1]
    elif found is None:
        there = "does not run"
    elif found.path not in known:
        there = f"starts {found.path}, which has no sha256 in the lock"
    else:
        there = f"is {_kind(found.version, free_threaded=found.free_threaded)}"
    wanted = _kind(locked.version, free_threaded=locked.free_threaded)
    if found is None or found.path not in known or there != f"is {wanted}":
        raise BuildError(
            f"the modules' Python {there}, locked is {wanted}", where=locked.python, hint=Remedy("ozrepro lock {session}")
        )
    return found


def _kind(version: str, *, free_threaded: bool) -> str:
    return f"{version}, free-threaded" if free_threaded else version
