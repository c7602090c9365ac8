"""What a modules section of the lock holds, read and checked, and what follows from it without asking anybody.

Both halves of the modules method stand on it: the one that resolves, and the one that runs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ozrepro.environment import passing
from ozrepro.errors import BuildError, LockError
from ozrepro.methods.modules.table import ModulesTable
from ozrepro.modulesystem import fingerprint, record
from ozrepro.process import is_inside
from ozrepro.project.checking import Checker, shown
from ozrepro.project.lock import lock_file
from ozrepro.project.spec import digest_of
from ozrepro.python import compiled, interpreter, layer
from ozrepro.python.layer import Layer, LockedLayer
from ozrepro.store import cache_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ozrepro.modulesystem.record import Record
    from ozrepro.project.lock import Section
    from ozrepro.project.spec import Spec
    from ozrepro.python.installed import Distribution
    from ozrepro.python.interpreter import Interpreter
    from ozrepro.python.packages import LockedFile, LockedPackage
    from ozrepro.python.uv import Uv
    from ozrepro.site import Site

_ARCHES = {"linux-x86_64": "linux-64"}
"""conda's names of platforms, where they are not the same."""

KEYS = (
    *("python", "version", "free-threaded", "system-site-packages", "folders", "provides"),
    *record.KEYS,
    *layer.KEYS,
)
"""The keys of a section."""

_VERSION = re.compile(r"3\.[0-9]{1,2}\.[0-9]{1,3}[a-z0-9+.]{0,20}\Z", re.ASCII)


def platform_of(site: Site) -> str:
    """Return conda's name of the platform and the tree's: a name from the settings, else the CPU's level."""
    return f"{_ARCHES.get(site.platform, site.platform)}/{site.settings.platform or site.cpu}"


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
    def overrides(self) -> frozenset[str]:
        """The names of the venv's packages that the modules have too."""
        return frozenset(package.name for package in self.layer.packages if package.name in self.provides)


def read_section(section: Section, where: str, session: str, places: Mapping[str, str]) -> Locked:
    """Return the section's content, its places those of this caller. Raises LockError with all mistakes."""
    checker, base = Checker(where), (section.method, section.platform)
    content = record.replaced(dict(section.content), lambda text: record.local(text, places))
    table = checker.table(content, base, KEYS)
    provides = table.get("provides", {})
    provided = checker.table(provides, (*base, "provides"), provides if isinstance(provides, dict) else ())
    locked = Locked(
        platform=section.platform,
        modules=record.read_record(checker, table, base),
        python=checker.text_at(table, (*base, "python")),
        version=checker.text_at(table, (*base, "version")),
        free_threaded=checker.flag_at(table, (*base, "free-threaded")),
        system_site_packages=checker.flag_at(table, (*base, "system-site-packages")),
        folders=checker.texts_at(table, (*base, "folders"), check=_absolute),
        provides={name: checker.text_at(provided, (*base, "provides", name)) for name in provided},
        layer=layer.read_layer(checker, table, base),
    )
    _check_python(checker, (*base, "python"), str(section.content.get("python", "")), locked, places)
    if not _VERSION.match(locked.version):
        checker.wrong((*base, "version"), f"{locked.version!r} is no version of Python")
    if checker.mistakes:
        raise LockError("\n  ".join(("is refused:", *checker.mistakes)), where=where, hint=f"ozrepro lock {session}")
    return locked


def _check_python(checker: Checker, path: tuple[str, ...], written: str, locked: Locked, places: Mapping[str, str]) -> None:
    """Note an interpreter that no digest binds, or that came with the project: a build starts it."""
    if not locked.python.startswith("/"):
        checker.wrong(path, f"{shown(locked.python)} is no absolute path")
    elif "<project>" in written or (places is not record.EXAMPLE and is_inside(locked.python, places["<project>"])):
        checker.wrong(path, f"{shown(locked.python)} lies in the project: the Python of modules is the site's")
    elif locked.python not in {item.path for item in locked.modules.files}:
        checker.wrong(path, f"{shown(locked.python)} has no sha256 in `file`")


def check_agreement(locked: Locked, spec: Spec, where: str) -> None:
    """Raise LockError, with all of it, where a section that claims to answer this spec holds what the spec does not ask for."""
    wanted, checker, base = described(spec), Checker(where), ("modules", locked.platform)
    named = [name for name in locked.modules.load if name not in locked.modules.parents]
    # Which modules a collection had is known only to the lock.
    named = [name for name in named if not wanted.collection or name in wanted.load]
    asked: dict[str, tuple[object, object]] = {
        "load": (sorted(named), sorted(wanted.load)),
        "system-site-packages": (locked.system_site_packages, wanted.system_site_packages),
    }
    missing = [name for name in wanted.site_variables if name not in locked.modules.reads.site]
    asked["site-variables"] = (missing, [])
    layer.check_agreement(checker, base, locked.layer, layer_of(spec), asked)
    there = {module.name for module in locked.modules.modules}
    for name in locked.modules.load:
        if name not in there:
            checker.wrong((*base, "module"), f"lacks {shown(name)}, which is loaded")
    if checker.mistakes:
        raise LockError("\n  ".join(("is refused:", *checker.mistakes)), where=where, hint=f"ozrepro lock {spec.name}")


def _absolute(path: str) -> str | None:
    return None if path.startswith("/") else f"{path!r} is no absolute path"


def provided_otherwise(locked: Mapping[str, str], here: Mapping[str, Distribution]) -> list[str]:
    """Return a line for each distribution of the modules that is not there in the version that was locked."""
    lines: list[str] = []
    for name in sorted(locked.keys() | here.keys()):
        there = here[name].version if name in here else ""
        if name not in locked:
            lines.append(f"the modules now have {name} {there}, which they had not")
        elif not there:
            lines.append(f"the modules no longer have {name} {locked[name]}")
        elif there != locked[name]:
            lines.append(f"the modules now have {name} {there}, locked is {locked[name]}")
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
        raise BuildError(f"the modules' Python {there}, locked is {wanted}", where=locked.python, hint="ozrepro lock NAME")
    return found


def _kind(version: str, *, free_threaded: bool) -> str:
    return f"{version}, free-threaded" if free_threaded else version


def read_here(section: Section, site: Site, spec: Spec | None = None) -> Locked:
    """Return a section's content with the folders of this project and caller. Raises LockError as `read_section`."""
    where = str(lock_file(spec.root, spec.name)) if spec is not None else section.title
    places = record.places_of(str(site.settings.root), site.environ.get("HOME", ""))
    name = spec.name if spec is not None else "NAME"
    locked = read_section(section, where, name, places)
    if is_inside(locked.python, site.settings.store):
        wrong = f"{section.title}.python: {shown(locked.python)} lies in the store: the Python of modules is the site's"
        raise LockError(f"is refused:\n  {wrong}", where=where, hint=f"ozrepro lock {name}")
    return locked


def described(spec: Spec) -> ModulesTable:
    """Return the spec's table, which the caller knows to be there."""
    table = spec.tables["modules"]
    assert isinstance(table, ModulesTable), "the registry has this method read its table"
    return table


def layer_of(spec: Spec) -> Layer:
    """Return what the spec asks for on top of the modules."""
    wanted = described(spec)
    return Layer(spec, "modules.venv", wanted.requirements, wanted.build, wanted.passed)
