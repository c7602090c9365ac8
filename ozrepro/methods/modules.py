"""The modules method: toolchain modules of the site, locked by what they resolved to, with a venv on top.

Resolving asks Lmod; all else works from the lock. Knows nothing of nox, and of Lmod only what `modulesystem` says.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ozrepro.checking import Checker, shown
from ozrepro.environment import BASE_PATH, Environment
from ozrepro.errors import BuildError, LockError
from ozrepro.lock import Section, lock_file
from ozrepro.modulesystem import change, record
from ozrepro.pypi import base as outside
from ozrepro.pypi import compiled, install, interpreter, layer, toolchain
from ozrepro.pypi.layer import Layer, LockedLayer, open_uv
from ozrepro.spec import digest_of
from ozrepro.store import cache_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ozrepro.methods import Change, Progress, Say
    from ozrepro.modulesystem.record import Record
    from ozrepro.pypi.base import Distribution
    from ozrepro.pypi.interpreter import Interpreter
    from ozrepro.pypi.packages import LockedFile, LockedPackage
    from ozrepro.pypi.uv import Uv
    from ozrepro.site import Site
    from ozrepro.spec import ModulesSpec, Spec
    from ozrepro.store.manifest import Digests

_ARCHES = {"linux-x86_64": "linux-64"}
"""conda's names of platforms, where they are not the same."""

_KEYS = ("python", "version", "system-site-packages", "folders", "provides", *record.KEYS, *layer.KEYS)
_VERSION = re.compile(r"3\.[0-9]{1,2}\.[0-9]{1,3}[a-z0-9+.]{0,20}\Z", re.ASCII)
SITE_VARIABLES = ("PIP_REQUIRE_VIRTUALENV",)
"""Variables by which a site keeps its users from mistakes: the caller's stay in force."""


@dataclass(frozen=True, slots=True)
class Locked:
    """A modules section, read and checked.

    Attributes:
        modules: what was loaded and what that does.
        python: the toolchain's interpreter.
        version: its version.
        system_site_packages: whether the venv sees the interpreter's own packages.
        folders: where programs look for packages outside the venv.
        provides: the distributions there, by name.
        layer: the venv's own packages.

    """

    modules: Record
    python: str
    version: str
    system_site_packages: bool
    folders: tuple[str, ...]
    provides: Mapping[str, str]
    layer: LockedLayer

    @property
    def overrides(self) -> frozenset[str]:
        """The names of the venv's packages that the modules have too."""
        return frozenset(package.name for package in self.layer.packages if package.name in self.provides)


def read_section(section: Section, where: str, session: str, places: Mapping[str, str]) -> Locked:
    """Return the section's content, its places those of this caller. Raises LockError with all mistakes."""
    checker, base = Checker(where), (section.method, section.platform)
    content = record.replaced(dict(section.content), lambda text: record.local(text, places))
    table = checker.table(content, base, _KEYS)
    provides = table.get("provides", {})
    provided = checker.table(provides, (*base, "provides"), provides if isinstance(provides, dict) else ())
    locked = Locked(
        modules=record.read_record(checker, table, base),
        python=checker.text_at(table, (*base, "python")),
        version=checker.text_at(table, (*base, "version")),
        system_site_packages=checker.flag_at(table, (*base, "system-site-packages")),
        folders=checker.texts_at(table, (*base, "folders"), check=_absolute),
        provides={name: checker.text_at(provided, (*base, "provides", name)) for name in provided},
        layer=layer.read_layer(checker, table, base),
    )
    if not locked.python.startswith("/"):
        checker.wrong((*base, "python"), f"{locked.python!r} is no absolute path")
    if not _VERSION.match(locked.version):
        checker.wrong((*base, "version"), f"{locked.version!r} is no version of Python")
    if checker.mistakes:
        raise LockError("\n  ".join(("is refused:", *checker.mistakes)), where=where, hint=f"ozrepro lock {session}")
    return locked


def check_agreement(locked: Locked, spec: Spec, platform: str, where: str) -> None:
    """Raise LockError, with all of it, where a section that claims to answer this spec holds what the spec does not ask for."""
    wanted, checker, base = _described(spec), Checker(where), ("modules", platform)
    named = [name for name in locked.modules.load if name not in locked.modules.parents]
    asked: dict[str, tuple[object, object]] = {
        "load": (sorted(named), sorted(wanted.load)),
        "system-site-packages": (locked.system_site_packages, wanted.system_site_packages),
    }
    layer.check_agreement(checker, base, locked.layer, _layer(spec), asked)
    there = {module.name for module in locked.modules.modules}
    for name in locked.modules.load:
        if name not in there:
            checker.wrong((*base, "module"), f"lacks {shown(name)}, which is loaded")
    if checker.mistakes:
        raise LockError("\n  ".join(("is refused:", *checker.mistakes)), where=where, hint=f"ozrepro lock {spec.name}")


def _absolute(path: str) -> str | None:
    return None if path.startswith("/") else f"{path!r} is no absolute path"


class Modules:
    """The modules method."""

    def platform(self, site: Site) -> str:
        """Return conda's name of the platform and the tree's: a name from the settings, else the CPU's level."""
        return f"{_ARCHES.get(site.platform, site.platform)}/{site.settings.platform or site.cpu}"

    def inputs(self, spec: Spec) -> list[Path]:
        """Return requirement files and, where the project itself is installed, its pyproject.toml."""
        return _layer(spec).inputs()

    def digest(self, spec: Spec, site: Site) -> str:
        """Return the digest of the table, the imports, and the content of all files referred to."""
        wanted = _described(spec)
        table = {
            "load": list(wanted.load),
            "use": list(wanted.use),
            "pass": sorted(wanted.passed),
            "system-site-packages": wanted.system_site_packages,
            "requirements": list(wanted.requirements),
            "build": sorted(wanted.build),
        }
        return digest_of({"modules": table, "imports": list(spec.imports), "files": _layer(spec).contents()})

    def check(self, section: Section, where: str, session: str) -> None:
        """Raise LockError where the section cannot be read."""
        read_section(section, where, session, record.places_of("/project", "/home/user"))

    def unavailable(self, spec: Spec, site: Site, section: Section | None) -> str | None:
        """Return why no module system here has the modules, or None. With a section the module tool is not asked.

        Raises SpecError for a name that is no exact one, or that can be reached in several ways: that is a mistake of the spec.
        """
        if section is None:
            from ozrepro.methods import modules_resolve

            return modules_resolve.refusal(spec, site)
        locked = _read(section, site, spec)
        if section.spec == self.digest(spec, site):
            check_agreement(locked, spec, section.platform, str(lock_file(spec.root, spec.name)))
        return None

    def resolve(self, spec: Spec, site: Site, change: Change, say: Say) -> Section:
        """Return what the modules resolve to here, what loading them does, and exact packages of the venv on top."""
        from ozrepro.methods import modules_resolve

        previous = None
        if change.previous is not None:
            try:
                previous = _read(change.previous, site, spec).layer
            except LockError:
                previous = None  # a damaged section is resolved anew
        digest = self.digest(spec, site)
        content = modules_resolve.resolve(spec, _layer(spec), site, previous, change.upgrade, say)
        return Section("modules", self.platform(site), digest, content)

    def drift(self, section: Section, site: Site) -> list[str]:
        """Return each modulefile, rc file, hook or interpreter that changed, and each package that the modules have otherwise."""
        locked = _read(section, site)
        lines = locked.modules.drift()
        if len(lines) == len(locked.modules.watched()) and not any(os.path.exists(path) for path in locked.modules.watched()):
            # Perhaps a machine of another site, whose CPU has the same level.
            return [f"none of its {len(lines)} files is here; if this is another site, name each site in [tool.ozrepro] platform"]
        here = outside.distributions(locked.folders)
        return lines + provided_otherwise(locked.provides, here)

    def recheck(self, section: Section, site: Site) -> list[str]:
        """Load the modules once with the site's own tool, and return what that does otherwise than the lock says."""
        from ozrepro.methods import modules_resolve

        return modules_resolve.recheck(_read(section, site).modules, site)

    def watched(self, section: Section, site: Site) -> list[str]:
        """Return modulefiles, rc files, hooks, the interpreter, and the folders of the modules' packages."""
        locked = _read(section, site)
        return list(dict.fromkeys((*locked.modules.watched(), *locked.folders)))

    def identity(self, section: Section, site: Site) -> dict[str, Any]:
        """Return what loading does, the interpreter and its packages, and the files of the venv on top."""
        locked = _read(section, site)
        found = _interpreter(locked, site)
        chosen = install.choose_files(locked.layer.packages, found)
        return {"python": found.identity(), **_base(locked), **layer.identity(locked.layer, chosen, site)}

    def build(self, section: Section, site: Site, prefix: Path, say: Say, progress: Progress) -> Digests:
        """Make the venv on the modules' Python, install and compile what is locked, and check all of it."""
        locked = _read(section, site)
        found = _interpreter(locked, site)
        variables = self.environment(section, site, prefix).variables_for(site.environ)
        uv = toolchain.within(open_uv(site), variables_of(locked, site))
        chosen = install.choose_files(locked.layer.packages, found)
        sources = [item.package for item in chosen if not item.file.is_wheel]
        wheels = [(package, self._compiled(package, locked, found, uv, site, say)) for package in sources]

        def fill() -> Digests:
            install.make_venv(uv, found, prefix, system_site_packages=locked.system_site_packages)
            install.install(uv, prefix, [item for item in chosen if item.file.is_wheel], (), progress)
            if wheels:
                folders = [compiled_folder(site) / _compile_key(package, locked) for package in sources]
                compiled.install_compiled(uv, prefix, wheels, folders, uv.variables)
            if locked.layer.project:
                install.install_project(uv, prefix, site.settings.root, locked.layer.extras, locked.layer.build)
            progress("checking files, requirements and imports", len(chosen), len(chosen))
            return _check(locked, found, chosen, prefix, variables)

        try:
            return fill()
        except install.NotAsRecordedError:
            # uv links files from its cache without looking at them again; who edits one in an environment edits the cache.
            install.forget(uv, [item.package.name for item in chosen])
            return fill()

    def _compiled(self, package: LockedPackage, locked: Locked, found: Interpreter, uv: Uv, site: Site, say: Say) -> LockedFile:
        """Return the package's wheel: the one that was compiled for the lock where it is kept here, else compiled now."""
        wheel = compile_package(package, None, locked, found, uv, site)
        if package.built is not None and wheel.sha256 != package.built.sha256:
            say(f"{package.name} {package.version} was compiled anew: its wheel is not byte for byte the one that was locked")
        return wheel

    def environment(self, section: Section, site: Site, prefix: Path) -> Environment:
        """Return the modules' change of the base, with the venv's directory first."""
        locked = _read(section, site)
        modules = locked.modules
        values = _loaded(modules)
        own = {"VIRTUAL_ENV": str(prefix), "PYTHONNOUSERSITE": "1"}
        if locked.overrides and values.get("PYTHONPATH"):
            # Python looks into PYTHONPATH before a venv's own packages: without this the modules' versions would win.
            minor = ".".join(locked.version.split(".")[:2])
            own["PYTHONPATH"] = f"{prefix}/lib/python{minor}/site-packages:{values['PYTHONPATH']}"
        path = modules.change.paths.get("PATH", change.PathChange())
        behind = replace(path, prepend=()).apply(":".join(entry for entry in BASE_PATH if entry not in path.prepend))
        kept = {name: value for name, value in values.items() if name not in ("PATH", *modules.change.homely)}
        return Environment(
            path=(str(prefix / "bin"), *path.prepend),
            base=[entry for entry in behind.split(":") if entry],
            variables={**kept, **own},
            homely=modules.change.homely,
            removed=modules.change.removed,
            passed=(*locked.layer.passed, *SITE_VARIABLES),
        )

    def shell(self, section: Section, site: Site) -> dict[str, Any]:
        """Return the functions, aliases and limits that the modules give a shell."""
        return record.shell_table(_read(section, site).modules.shell)

    def contents(self, prefix: Path) -> dict[str, str]:
        """Return name and version of each distribution in the venv."""
        return install.distributions(install.site_packages(prefix))

    def problems(self, section: Section, site: Site, prefix: Path) -> list[str]:
        """Ask again what the build's checks asked, of the venv and of what the modules bring."""
        locked = _read(section, site)
        found = _interpreter(locked, site)
        chosen = install.choose_files(locked.layer.packages, found)
        try:
            _check(locked, found, chosen, prefix, self.environment(section, site, prefix).variables_for(site.environ))
        except BuildError as error:
            return error.what.splitlines()[1:]
        return []


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


def _check(
    locked: Locked, found: Interpreter, chosen: tuple[install.Chosen, ...], prefix: Path, variables: Mapping[str, str]
) -> Digests:
    there = outside.distributions(locked.folders)
    kept = {name: item for name, item in there.items() if name not in locked.overrides}
    digests = install.check(
        prefix, install.Expected(chosen, locked.layer.project, locked.layer.imports, found.markers, kept), variables
    )
    seen = outside.distributions(outside.search_path(str(prefix / "bin" / "python"), variables))
    wrong = provided_otherwise(locked.provides, there)
    for item in chosen:
        package = item.package
        first = seen.get(package.name)
        if first is None or not first.folder.startswith(f"{os.path.realpath(prefix)}/"):
            wrong.append(f"{package.name} {package.version} is installed, but programs get {first.version if first else 'none'}")
    if wrong:
        raise BuildError(
            "\n  ".join(("the new environment did not pass its checks:", *wrong)),
            hint="change load or requirements in the spec, then: ozrepro lock",
        )
    return digests


def compile_package(
    package: LockedPackage, address: str | None, locked: Locked, found: Interpreter, uv: Uv, site: Site
) -> LockedFile:
    """Return the wheel of a package that is compiled against the loaded modules; kept, so that it is compiled once.

    `address` is where its source archive is; the indexes are asked when None. Raises BuildError, CommandFailed.
    """
    from ozrepro.pypi import backend

    folder, key = compiled_folder(site), _compile_key(package, locked)
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


def _compile_key(package: LockedPackage, locked: Locked) -> str:
    build = sorted(file.sha256 for item in locked.layer.build for file in item.files)
    return compiled.key({**_base(locked), "source": package.files[0].sha256, "build": build, "version": locked.version})


def _base(locked: Locked) -> dict[str, Any]:
    """Return what the modules give, by digest: what they do to variables, the interpreter, the packages."""
    return {
        "change": digest_of(locked.modules.change.as_table()),
        "software": sorted([item.path, item.sha256] for item in locked.modules.files),
        "provides": dict(locked.provides),
        "system-site-packages": locked.system_site_packages,
    }


def _loaded(modules: Record) -> dict[str, str]:
    """Return the base environment of a locked run as the modules change it."""
    values = change.replay(modules.change, {"PATH": ":".join(BASE_PATH), "HOME": ""}, modules.modules)
    values.pop("HOME", None)
    return values


def variables_of(locked: Locked, site: Site) -> dict[str, str]:
    """Return the variables in which the modules' Python and compilers run, without a venv."""
    values = _loaded(locked.modules)
    passed = {name: site.environ[name] for name in locked.layer.passed if name in site.environ}
    return {**passed, **values, "PYTHONNOUSERSITE": "1"}


def _interpreter(locked: Locked, site: Site) -> Interpreter:
    found = interpreter.ask(locked.python, variables_of(locked, site))
    if found is None or found.version != locked.version:
        there = f"is {found.version}" if found else "does not run"
        raise BuildError(f"the modules' Python {there}, locked is {locked.version}", where=locked.python, hint="ozrepro lock")
    return found


def _read(section: Section, site: Site, spec: Spec | None = None) -> Locked:
    where = str(lock_file(spec.root, spec.name)) if spec is not None else section.title
    places = record.places_of(str(site.settings.root), site.environ.get("HOME", ""))
    return read_section(section, where, spec.name if spec is not None else "", places)


def _described(spec: Spec) -> ModulesSpec:
    assert spec.modules is not None, "the caller asks only for methods that the spec describes"
    return spec.modules


def _layer(spec: Spec) -> Layer:
    wanted = _described(spec)
    return Layer(spec, "modules.venv", wanted.requirements, wanted.build, wanted.passed)


METHOD = Modules()
