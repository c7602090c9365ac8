"""The plain method: a virtual environment with locked packages, on any machine with Python and a package index."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ozrepro.methods.venv.table import VenvTable
from ozrepro.methods.venv.table import read_table
from ozrepro.project.checking import Checker
from ozrepro.methods.comparing import inside_of
from ozrepro.environment import Environment
from ozrepro.errors import BuildError, LockError
from ozrepro.project.lock import Section, lock_file
from ozrepro.python import lock_matches_spec, install, interpreter, layer
from ozrepro.python.layer import Layer, LockedLayer, open_uv
from ozrepro.project.settings import KNOWN_PLATFORMS, one_of
from ozrepro.project.spec import digest_of
from ozrepro.store.manifest import Digests, take

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ozrepro.methods.comparing import Inside
    from ozrepro.methods import Change, Progress, Say
    from ozrepro.python.resolve import Resolved
    from ozrepro.site import Site
    from ozrepro.project.spec import Spec

PLATFORM = "any"
_MINOR = re.compile(r"3\.[0-9]{1,2}\Z", re.ASCII)
_KEYS = ("python", "platforms", "covers", *layer.KEYS)


@dataclass(frozen=True, slots=True)
class Locked:
    """A venv section, read and checked."""

    python: str
    platforms: tuple[str, ...]
    covers: Mapping[str, tuple[str, ...]]
    layer: LockedLayer


def read_section(section: Section, where: str, session: str) -> Locked:
    """Return the section's content. Raises LockError with all mistakes: the lock may come from someone else's repository."""
    checker, base = Checker(where), (section.method, section.platform)
    table = checker.table(section.content, base, _KEYS)
    covers = table.get("covers", {})
    covered = checker.table(covers, (*base, "covers"), KNOWN_PLATFORMS)
    locked = Locked(
        python=checker.text_at(table, (*base, "python")),
        platforms=checker.texts_at(table, (*base, "platforms"), check=one_of(KNOWN_PLATFORMS)),
        covers={name: checker.texts_at(covered, (*base, "covers", name), check=_minor) for name in covered},
        layer=layer.read_layer(checker, table, base),
    )
    if any(package.built for package in locked.layer.packages):
        checker.wrong((*base, "package"), "holds a compiled wheel, which can serve one platform alone")
    try:
        interpreter.minors_of(locked.python)
    except ValueError:
        checker.wrong((*base, "python"), f"{locked.python!r} is no version range")
    if checker.mistakes:
        raise LockError("\n  ".join(("is refused:", *checker.mistakes)), where=where, hint=f"ozrepro lock {session}")
    return locked


def check_agreement(locked: Locked, spec: Spec, where: str) -> None:
    """Raise LockError, with all of it, where a section that claims to answer this spec holds what the spec does not ask for."""
    wanted, checker, base = _layer(spec), Checker(where), ("venv", PLATFORM)
    python = (locked.python, _described(spec).python or interpreter.DEFAULT_RANGE)
    layer.check_agreement(checker, base, locked.layer, wanted, {"python": python})
    lock_matches_spec.check_requirements(checker, base, locked.layer.packages, wanted.requirements)
    if checker.mistakes:
        raise LockError("\n  ".join(("is refused:", *checker.mistakes)), where=where, hint=f"ozrepro lock {spec.name}")


def _minor(text: str) -> str | None:
    return None if _MINOR.match(text) else f"{text!r} is no minor version of Python, such as 3.12"


class Venv:
    """The venv method."""

    read_table = staticmethod(read_table)

    def platform(self, site: Site) -> str:
        """Return `any`: one section serves all platforms and Pythons that it covers."""
        return PLATFORM

    def inputs(self, spec: Spec) -> list[Path]:
        """Return requirement files and, where the project itself is installed, its pyproject.toml."""
        return _layer(spec).inputs()

    def large(self, spec: Spec) -> list[str]:
        """Return nothing: every start compares all of it."""
        return []

    def digest(self, spec: Spec, site: Site) -> str:
        """Return the digest of the table, the imports, the platforms, and the content of all files referred to."""
        wanted = _described(spec)
        table = {
            "python": wanted.python,
            "requirements": list(wanted.requirements),
            "build": sorted(wanted.build),
            "pass": sorted(wanted.passed),
        }
        files = _layer(spec).contents()
        return digest_of({"venv": table, "imports": list(spec.imports), "platforms": _platforms(wanted, site), "files": files})

    def check(self, section: Section, where: str, session: str) -> None:
        """Raise LockError where the section cannot be read."""
        read_section(section, where, session)

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
        if _find(python, covered, site) is None:
            return _absent(python or interpreter.DEFAULT_RANGE, covered)
        return None

    def resolve(self, spec: Spec, site: Site, change: Change, say: Say) -> tuple[Section, ...]:
        """Return the section of exact packages, universal over the Python range and the platforms."""
        from ozrepro.python.resolve import Wanted, resolve

        described, wanted = _described(spec), _layer(spec)
        digest = self.digest(spec, site)  # first of all: it reads and checks the requirement files, which uv would obey
        python = described.python or interpreter.DEFAULT_RANGE
        found = _find(python, None, site)
        if found is None:
            raise BuildError(_absent(python), hint="put one on PATH, or change python in [venv]")
        uv = open_uv(site, say)
        previous = _previous(change, spec)
        platforms = _platforms(described, site)
        task = Wanted(
            spec.root,
            wanted.requirements,
            python,
            tuple(platforms),
            site.platform,
            wanted.build,
            hashed=wanted.hashed(),
            texts=wanted.files(),
        )
        resolved = resolve(uv, task, found, previous.packages if previous else (), change.upgrade, say)
        layer.check_resolved(resolved, wanted, site.platform if site.platform in platforms else "", found.minor)
        _tell_gaps(resolved, platforms, say)
        build = layer.lock_build_packages(uv, wanted, task, resolved, found, previous, change.upgrade)
        head = wanted.head()
        content: dict[str, Any] = {"python": python, "imports": head.pop("imports")}
        if "pass" in head:
            content["pass"] = head.pop("pass")
        content |= {"platforms": list(resolved.platforms), **head}
        content["covers"] = {platform: list(minors) for platform, minors in resolved.covers.items() if minors}
        return (Section("venv", PLATFORM, digest, content | layer.packages_table(resolved.packages, build)),)

    def drift(self, section: Section, site: Site) -> list[str]:
        """Return nothing: a plain venv names nothing of the machine but a Python, whose absence `unavailable` tells."""
        return []

    def mend(self, section: Section, spec: Spec, site: Site) -> str:
        """Return nothing: locking again takes over what is there."""
        return ""

    def recheck(self, section: Section, spec: Spec, site: Site) -> list[str]:
        """Return nothing: there is no tool of the site to ask."""
        return []

    def saved_otherwise(self, section: Section, spec: Spec, site: Site) -> list[str]:
        """Return nothing: all that locking takes is in the project."""
        return []

    def watched(self, section: Section, site: Site, prefix: Path) -> list[str]:
        """Return the interpreter."""
        return [str(prefix / "bin" / "python")]

    def identity(self, section: Section, site: Site) -> dict[str, Any]:
        """Return the files that this machine's Python takes, that Python, and the checks."""
        locked = self._read(section)
        found = self._interpreter(locked, site)
        chosen = install.choose_files(locked.layer.packages, found)
        return {"python": found.identity(), **layer.identity(locked.layer, chosen, site)}

    def build(self, section: Section, site: Site, prefix: Path, say: Say, progress: Progress) -> Digests:
        """Make the venv, install each locked file by its hash, then the project, and check all of it."""
        locked, uv = self._read(section), open_uv(site, say)
        found = self._interpreter(locked, site)
        chosen = install.choose_files(locked.layer.packages, found)
        variables = self.environment(section, site, prefix).variables_for(site.environ)

        def fill() -> Digests:
            install.make_venv(uv, found, prefix)
            digests, before = Digests(), take(prefix)
            install.install(uv, prefix, chosen, locked.layer.build, progress)
            if locked.layer.project:
                install.install_project(uv, prefix, site.settings.root, locked.layer.extras, locked.layer.build)
            progress("checking files, requirements and imports", len(chosen), len(chosen))
            install.check_contents(uv, prefix, before, install.archives(chosen, locked.layer.build), digests)
            return install.check(prefix, _expected(locked, found, chosen), variables, digests)

        return install.fill_twice(uv, chosen, locked.layer.build, fill, say)

    def environment(self, section: Section, site: Site, prefix: Path) -> Environment:
        """Return the venv's bin directory, VIRTUAL_ENV, and no user site."""
        return Environment(
            path=(str(prefix / "bin"),),
            variables={"VIRTUAL_ENV": str(prefix), "PYTHONNOUSERSITE": "1"},
            passed=tuple(section.content.get("pass", ())),
        )

    def shell(self, section: Section, site: Site) -> dict[str, Any]:
        """Return nothing: a venv is its variables."""
        return {}

    def versions(self, section: Section) -> dict[str, str]:
        """Return the packages' versions; one that differs between Pythons has them all."""
        return layer.versions_of(self._read(section).layer.packages)

    def contents(self, prefix: Path) -> dict[str, str]:
        """Return name and version of each distribution in the venv."""
        return install.distributions(install.site_packages(prefix))

    def problems(self, section: Section, site: Site, prefix: Path) -> list[str]:
        """Compare the files again with what the build's checks asked: distributions, records, requirements."""
        locked = self._read(section)
        found = self._interpreter(locked, site)
        return install.differences(
            prefix, _expected(locked, found, install.choose_files(locked.layer.packages, found)), Digests()
        )

    def inside(self, section: Section, site: Site, prefix: Path) -> Inside:
        """Return what programs find in the venv."""
        return inside_of(install.version_of(prefix), (str(install.site_packages(prefix)),))

    def _read(self, section: Section, spec: Spec | None = None) -> Locked:
        where = str(lock_file(spec.root, spec.name)) if spec is not None else section.title
        return read_section(section, where, spec.name if spec is not None else "")

    def _interpreter(self, locked: Locked, site: Site) -> interpreter.Interpreter:
        covered = locked.covers.get(site.platform, ())
        found = _find(locked.python, covered, site)
        if found is None:
            raise BuildError(_absent(locked.python, covered), hint="put one on PATH, then the same command again")
        return found


def _expected(locked: Locked, found: interpreter.Interpreter, chosen: tuple[install.Chosen, ...]) -> install.Expected:
    return install.Expected(chosen, locked.layer.project, locked.layer.imports, found.markers)


def _find(python: str, covered: tuple[str, ...] | None, site: Site) -> interpreter.Interpreter | None:
    return interpreter.find(python, covered, site.environ.get("PATH", ""), site.settings.root)


def _absent(python: str, covered: tuple[str, ...] | None = None) -> str:
    """Return that no Python of the range is found, and with a lock which ones it serves."""
    serves = f" (the lock serves {', '.join(covered) or 'none'})" if covered is not None else ""
    return f"no Python {python} on PATH{serves}"


def _described(spec: Spec) -> VenvTable:
    table = spec.tables["venv"]
    assert isinstance(table, VenvTable), "the registry has this method read its table"
    return table


def _layer(spec: Spec) -> Layer:
    wanted = _described(spec)
    return Layer(spec, "venv", wanted.requirements, wanted.build, wanted.passed)


def _platforms(wanted: VenvTable, site: Site) -> list[str]:
    return sorted(wanted.platforms or site.settings.platforms)


def _previous(change: Change, spec: Spec) -> LockedLayer | None:
    section = change.section("venv", PLATFORM)
    try:
        return read_section(section, "", spec.name).layer if section is not None else None
    except LockError:
        return None  # a damaged section is resolved anew


def _tell_gaps(resolved: Resolved, platforms: list[str], say: Say) -> None:
    """Say which of the platforms and Pythons asked for the result cannot serve."""
    left_out = [platform for platform in platforms if platform not in resolved.platforms]
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
    from ozrepro.python import export
    from ozrepro.python.resolve import Wanted

    where = str(lock_file(spec.root, spec.name))
    locked = read_section(section, where, spec.name)
    check_agreement(locked, spec, where)
    if form == "requirements":
        return export.requirements(locked.layer.packages)
    found = _find(locked.python, None, site)
    if found is None:
        raise BuildError(_absent(locked.python), hint="put one on PATH, then the same command again")
    sdists = tuple(package.name for package in locked.layer.packages if any(not file.is_wheel for file in package.files))
    task = Wanted(spec.root, (), locked.python, locked.platforms, site.platform, sdists)
    return export.pylock(open_uv(site), task, locked.layer.packages, found)
