"""The plain method: a virtual environment with locked packages, on any machine with Python and a package index."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from packaging.utils import canonicalize_name

from ozrepro.checking import Checker, shown
from ozrepro.environment import Environment
from ozrepro.errors import BuildError, LockError, SpecError
from ozrepro.lock import Section, lock_file
from ozrepro.pypi import agreement, install, interpreter
from ozrepro.pypi.packages import LockedPackage, read_packages
from ozrepro.pypi.uv import Uv, cache_folder, find_uv
from ozrepro.settings import KNOWN_PLATFORMS, one_of
from ozrepro.spec import check_requirement_file, digest_of
from ozrepro.store import Store
from ozrepro.toml import TOMLDecodeError, loads, read_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ozrepro.methods import Change, Progress, Say
    from ozrepro.pypi.resolve import Resolved, Wanted
    from ozrepro.site import Site
    from ozrepro.spec import Spec, VenvSpec
    from ozrepro.store.manifest import Digests

PLATFORM = "any"
_MINOR = re.compile(r"3\.[0-9]{1,2}\Z", re.ASCII)
_KEYS = ("python", "imports", "pass", "platforms", "project", "covers", "package", "build")


@dataclass(frozen=True, slots=True)
class Locked:
    """A venv section, read and checked. `project` is the editable project's name, "" where there is none."""

    python: str
    imports: tuple[str, ...]
    passed: tuple[str, ...]
    platforms: tuple[str, ...]
    project: str
    extras: tuple[str, ...]
    covers: Mapping[str, tuple[str, ...]]
    packages: tuple[LockedPackage, ...]
    build: tuple[LockedPackage, ...]


def read_section(section: Section, where: str, session: str) -> Locked:
    """Return the section's content. Raises LockError with all mistakes: the lock may come from someone else's repository."""
    checker, base = Checker(where), (section.method, section.platform)
    table = checker.table(section.content, base, _KEYS)
    project = checker.table(table.get("project", {}), (*base, "project"), ("name", "extras"))
    covers = table.get("covers", {})
    covered = checker.table(covers, (*base, "covers"), KNOWN_PLATFORMS)
    locked = Locked(
        python=checker.text_at(table, (*base, "python")),
        imports=checker.texts_at(table, (*base, "imports")),
        passed=checker.texts_at(table, (*base, "pass")),
        platforms=checker.texts_at(table, (*base, "platforms"), check=one_of(KNOWN_PLATFORMS)),
        project=checker.text_at(project, (*base, "project", "name")),
        extras=checker.texts_at(project, (*base, "project", "extras")),
        covers={name: checker.texts_at(covered, (*base, "covers", name), check=_minor) for name in covered},
        packages=read_packages(checker, table.get("package", []), (*base, "package")),
        build=read_packages(checker, table.get("build", []), (*base, "build")),
    )
    if any(not file.is_wheel for package in locked.build for file in package.files):
        checker.wrong((*base, "build"), "holds a source archive: what builds packages must be wheels")
    try:
        interpreter.minors_of(locked.python)
    except ValueError:
        checker.wrong((*base, "python"), f"{locked.python!r} is no version range")
    if checker.mistakes:
        raise LockError("\n  ".join(("is refused:", *checker.mistakes)), where=where, hint=f"ozrepro lock {session}")
    return locked


def check_agreement(locked: Locked, spec: Spec, where: str) -> None:
    """Raise LockError, with all of it, where a section that claims to answer this spec holds what the spec does not ask for."""
    wanted, checker, base = _described(spec), Checker(where), ("venv", PLATFORM)
    asked: dict[str, tuple[object, object]] = {
        "python": (locked.python, wanted.python or interpreter.DEFAULT_RANGE),
        "imports": (list(locked.imports), list(spec.imports)),
        "pass": (sorted(locked.passed), sorted(wanted.passed)),
        "project": ([locked.project, *locked.extras], _own_project(wanted, spec)),
    }
    for key, (found, expected) in asked.items():
        if found != expected:
            checker.wrong((*base, key), f"is {shown(found)} where the spec asks for {shown(expected)}")
    texts = [*wanted.requirements, *(read_file(path) for path in METHOD.inputs(spec))]
    agreement.check_packages(checker, base, locked.packages, wanted.build, texts)
    agreement.check_requirements(checker, base, locked.packages, wanted.requirements)
    if checker.mistakes:
        raise LockError("\n  ".join(("is refused:", *checker.mistakes)), where=where, hint=f"ozrepro lock {spec.name}")


def _own_project(wanted: VenvSpec, spec: Spec) -> list[str]:
    extras = _project(wanted)
    if extras is None:
        return [""]
    return [canonicalize_name(_metadata(spec.root / "pyproject.toml").get("project", {}).get("name", "")), *extras]


def _minor(text: str) -> str | None:
    return None if _MINOR.match(text) else f"{text!r} is no minor version of Python, such as 3.12"


class Venv:
    """The venv method."""

    def platform(self, site: Site) -> str:
        """Return `any`: one section serves all platforms and Pythons that it covers."""
        return PLATFORM

    def inputs(self, spec: Spec) -> list[Path]:
        """Return requirement files and, where the project itself is installed, its pyproject.toml."""
        wanted = _described(spec)
        files = [spec.root / text[2:].strip() for text in wanted.requirements if text.startswith(("-r", "-c"))]
        return [*files, *([spec.root / "pyproject.toml"] if any(text.startswith("-e") for text in wanted.requirements) else [])]

    def digest(self, spec: Spec, site: Site) -> str:
        """Return the digest of the table, the imports, the platforms, and the content of all files referred to."""
        wanted = _described(spec)
        files: dict[str, object] = {}
        for path in self.inputs(spec):
            name = path.relative_to(spec.root).as_posix()
            files[name] = _metadata(path) if name == "pyproject.toml" else _content(path, spec)
        table = {
            "python": wanted.python,
            "requirements": list(wanted.requirements),
            "build": sorted(wanted.build),
            "pass": sorted(wanted.passed),
        }
        return digest_of({"venv": table, "imports": list(spec.imports), "platforms": _platforms(wanted, site), "files": files})

    def unavailable(self, spec: Spec, site: Site, section: Section | None) -> str | None:
        """Return that no Python of the range is here, or None."""
        if section is None:
            python, covered = _described(spec).python, None
        else:
            locked = self._read(section, spec)
            if section.spec == self.digest(spec, site):
                check_agreement(locked, spec, str(lock_file(spec.root, spec.name)))
            python, covered = locked.python, locked.covers.get(site.platform)
            if covered is None:
                return f"its lock does not cover {site.platform}"
        if interpreter.find(python, covered, site.environ.get("PATH", "")) is None:
            among = f" among {', '.join(covered)}" if covered is not None else ""
            return f"no Python {python or interpreter.DEFAULT_RANGE}{among} on this machine"
        return None

    def resolve(self, spec: Spec, site: Site, change: Change, say: Say) -> Section:
        """Return the section of exact packages, universal over the Python range and the platforms."""
        from ozrepro.pypi.resolve import Wanted, resolve

        wanted = _described(spec)
        digest = self.digest(spec, site)  # first of all: it reads and checks the requirement files, which uv would obey
        python = wanted.python or interpreter.DEFAULT_RANGE
        found = interpreter.find(python, None, site.environ.get("PATH", ""))
        if found is None:
            raise BuildError(f"no Python {python} on this machine", hint="change python in [venv], or install one")
        uv = _uv(site)
        previous = _previous(change, spec)
        platforms = _platforms(wanted, site)
        task = Wanted(spec.root, wanted.requirements, python, tuple(platforms), site.platform, wanted.build)
        resolved = resolve(uv, task, found, previous.packages if previous else (), change.upgrade)
        _check_resolved(resolved, wanted, site, found, say)
        build = self._build_packages(uv, spec, task, resolved, found, previous, change)
        project = _project(wanted)
        content: dict[str, Any] = {"python": python, "imports": list(spec.imports)}
        if wanted.passed:
            content["pass"] = sorted(wanted.passed)
        content["platforms"] = list(resolved.platforms)
        if project is not None:
            name = _metadata(spec.root / "pyproject.toml").get("project", {}).get("name")
            if not name:
                raise BuildError("-e . needs a [project] table with a name", where=str(spec.root / "pyproject.toml"))
            content["project"] = {"name": canonicalize_name(name), "extras": list(project)}
        content["covers"] = {platform: list(minors) for platform, minors in resolved.covers.items() if minors}
        content["package"] = [package.as_table() for package in resolved.packages]
        if build:
            content["build"] = [package.as_table() for package in build]
        return Section("venv", PLATFORM, digest, content)

    def _build_packages(
        self,
        uv: Uv,
        spec: Spec,
        task: Wanted,
        resolved: Resolved,
        found: interpreter.Interpreter,
        previous: Locked | None,
        change: Change,
    ) -> tuple[LockedPackage, ...]:
        """Lock what building the sdists and the project needs: unlocked, any version of it could run code in the environment."""
        from ozrepro.pypi import backend
        from ozrepro.pypi.resolve import resolve

        needed: list[str] = []
        for package in resolved.packages:
            for file in package.files:
                if not file.is_wheel:
                    with backend.unpacked(resolved.sources[file.sha256], file.sha256, uv.indexes.cert) as tree:
                        needed += backend.build_requirements(uv, tree, found, editable=False)
        if _project(_described(spec)) is not None:
            needed += backend.build_requirements(uv, spec.root, found, editable=True)
        if not needed:
            return ()
        tools = replace(task, platforms=resolved.platforms, requirements=tuple(dict.fromkeys(needed)), build=())
        return resolve(uv, tools, found, previous.build if previous else (), change.upgrade).packages

    def drift(self, section: Section, site: Site) -> list[str]:
        """Return nothing: a plain venv names nothing of the machine but a Python, whose absence `unavailable` tells."""
        return []

    def identity(self, section: Section, site: Site) -> dict[str, Any]:
        """Return the files that this machine's Python takes, that Python, and the checks."""
        locked = self._read(section)
        found = self._interpreter(locked, site)
        chosen = install.choose_files(locked.packages, found)
        identity: dict[str, Any] = {
            "python": found.identity(),
            "files": sorted([item.package.name, item.package.version, item.file.sha256] for item in chosen),
            "imports": list(locked.imports),
        }
        if locked.build:
            identity["build"] = sorted(file.sha256 for package in locked.build for file in package.files)
        if locked.project:
            identity["project"] = [str(site.settings.root), locked.project, _metadata(site.settings.root / "pyproject.toml")]
        return identity

    def build(self, section: Section, site: Site, prefix: Path, progress: Progress) -> Digests:
        """Make the venv, install each locked file by its hash, then the project, and check all of it."""
        locked, uv = self._read(section), _uv(site)
        found = self._interpreter(locked, site)
        chosen = install.choose_files(locked.packages, found)
        variables = self.environment(section, prefix).variables_for(site.environ)

        def fill() -> Digests:
            install.make_venv(uv, found, prefix)
            install.install(uv, prefix, chosen, locked.build, progress)
            if locked.project:
                install.install_project(uv, prefix, site.settings.root, locked.extras, locked.build)
            progress("checking files, requirements and imports", len(chosen), len(chosen))
            return install.check(uv, prefix, chosen, locked.project or None, locked.imports, variables)

        try:
            return fill()
        except install.NotAsRecordedError:
            # uv links files from its cache without looking at them again; who edits one in an environment edits the cache.
            install.forget(uv, [item.package.name for item in chosen])
            return fill()

    def environment(self, section: Section, prefix: Path) -> Environment:
        """Return the venv's bin directory, VIRTUAL_ENV, and no user site."""
        return Environment(
            path=(str(prefix / "bin"),),
            variables={"VIRTUAL_ENV": str(prefix), "PYTHONNOUSERSITE": "1"},
            passed=tuple(section.content.get("pass", ())),
        )

    def contents(self, prefix: Path) -> dict[str, str]:
        """Return name and version of each distribution in the venv."""
        return install.distributions(install.site_packages(prefix))

    def problems(self, section: Section, site: Site, prefix: Path) -> list[str]:
        """Ask again what the build's checks asked: distributions, records, requirements, imports."""
        locked = self._read(section)
        chosen = install.choose_files(locked.packages, self._interpreter(locked, site))
        variables = self.environment(section, prefix).variables_for(site.environ)
        try:
            install.check(_uv(site), prefix, chosen, locked.project or None, locked.imports, variables)
        except BuildError as error:
            return error.what.splitlines()[1:]
        return []

    def _read(self, section: Section, spec: Spec | None = None) -> Locked:
        where = str(lock_file(spec.root, spec.name)) if spec is not None else section.title
        return read_section(section, where, spec.name if spec is not None else "")

    def _interpreter(self, locked: Locked, site: Site) -> interpreter.Interpreter:
        covered = locked.covers.get(site.platform, ())
        found = interpreter.find(locked.python, covered, site.environ.get("PATH", ""))
        if found is None:
            raise BuildError(f"no Python {locked.python} among {', '.join(covered) or 'none'} on this machine")
        return found


def _described(spec: Spec) -> VenvSpec:
    assert spec.venv is not None, "the caller asks only for methods that the spec describes"
    return spec.venv


def _platforms(wanted: VenvSpec, site: Site) -> list[str]:
    return sorted(wanted.platforms or site.settings.platforms)


def _project(wanted: VenvSpec) -> tuple[str, ...] | None:
    """Return the extras of `-e .[…]`, or None where the project itself is not wanted."""
    for text in wanted.requirements:
        if text.startswith("-e"):
            inside = text.partition("[")[2].rstrip("] ")
            return tuple(sorted(part.strip() for part in inside.split(",") if part.strip()))
    return None


def _content(path: Path, spec: Spec) -> str:
    name = path.relative_to(spec.root)
    if not os.path.realpath(path).startswith(os.path.realpath(spec.root) + os.sep):
        raise SpecError(str(spec.path), [f"venv.requirements: {name}: leads out of the project; copy the file into it"])
    try:
        text = read_file(path)
    except OSError as error:
        raise SpecError(str(spec.path), [f"venv.requirements: {name}: {error.strerror}; name a file of the project"]) from error
    except TOMLDecodeError as error:
        raise SpecError(str(spec.path), [f"venv.requirements: {name}: {error}"]) from error
    mistakes = check_requirement_file(text)
    if mistakes:
        raise SpecError(str(path), mistakes, hint=f"it stands in venv.requirements of {spec.path.name}")
    return hashlib.sha256(text.encode()).hexdigest()


def _metadata(path: Path) -> dict[str, Any]:
    """Return the parts of pyproject.toml that decide what is installed for the project and how."""
    try:
        whole = loads(read_file(path))
    except (OSError, TOMLDecodeError) as error:
        raise SpecError(str(path), [f"cannot be read: {error}"]) from error
    project = whole.get("project", {})
    if not isinstance(project, dict) or not isinstance(project.get("name", ""), str):
        raise SpecError(str(path), ["project: is no table with a name"])
    kept = (
        "name",
        "requires-python",
        "dependencies",
        "optional-dependencies",
        "dynamic",
        "scripts",
        "gui-scripts",
        "entry-points",
    )
    return {"project": {key: project[key] for key in kept if key in project}, "build-system": whole.get("build-system", {})}


def _uv(site: Site) -> Uv:
    cache = cache_folder(site.settings, site.environ)
    Store(cache, group=site.settings.store_group).check()  # uv believes what its cache says of a file's hash
    return find_uv(site.settings, site.environ, cache)


def _previous(change: Change, spec: Spec) -> Locked | None:
    if change.previous is None:
        return None
    try:
        return read_section(change.previous, "", spec.name)
    except LockError:
        return None  # a damaged section is resolved anew


def _check_resolved(resolved: Resolved, wanted: VenvSpec, site: Site, found: interpreter.Interpreter, say: Say) -> None:
    """Raise BuildError where the result cannot serve this machine; say what it cannot serve elsewhere."""
    from ozrepro.pypi.resolve import check_files

    unknown = {canonicalize_name(name) for name in wanted.build} - {package.name for package in resolved.packages}
    if unknown:
        raise BuildError(
            f"build names what nothing requires: {', '.join(sorted(unknown))}", hint="remove it from build in [venv]"
        )
    here = f"{site.platform} {found.minor}"
    if site.platform in _platforms(wanted, site) and here in resolved.gaps:
        lacking = ", ".join(resolved.gaps[here])
        raise BuildError(
            f"no wheel for {here}: {lacking}", hint="another version, or name the package in build to compile it from source"
        )
    empty = check_files(resolved.packages)
    if empty:
        raise BuildError(
            "\n  ".join(("some packages have no usable file:", *empty)), hint="name them in build, or change the versions"
        )
    left_out = [platform for platform in _platforms(wanted, site) if platform not in resolved.platforms]
    if left_out:
        say(f"the lock will not serve {', '.join(left_out)}: some packages have no wheel for it, or the wheelhouse none")
    unserved: dict[tuple[str, ...], dict[str, list[str]]] = {}
    for place, lacking_there in resolved.gaps.items():
        minor, platform = place.split()[::-1]
        unserved.setdefault(lacking_there, {}).setdefault(minor, []).append(platform)
    for lacking_there, minors in unserved.items():
        pythons = ", ".join(minors)
        where = ", ".join(sorted({platform for platforms in minors.values() for platform in platforms}))
        say(f"the lock will not serve Python {pythons} on {where}: no wheel of {', '.join(lacking_there)}")


METHOD = Venv()


def export_section(section: Section, spec: Spec, site: Site, form: str) -> str:
    """Return the section as a requirement file (`requirements`) or a PEP 751 file (`pylock`). Raises LockError, BuildError."""
    from ozrepro.pypi import export
    from ozrepro.pypi.resolve import Wanted

    where = str(lock_file(spec.root, spec.name))
    locked = read_section(section, where, spec.name)
    check_agreement(locked, spec, where)
    if form == "requirements":
        return export.requirements(locked.packages)
    found = interpreter.find(locked.python, None, site.environ.get("PATH", ""))
    if found is None:
        raise BuildError(f"no Python {locked.python} on this machine")
    sdists = tuple(package.name for package in locked.packages if any(not file.is_wheel for file in package.files))
    task = Wanted(spec.root, (), locked.python, locked.platforms, site.platform, sdists)
    return export.pylock(_uv(site), task, locked.packages, found)
