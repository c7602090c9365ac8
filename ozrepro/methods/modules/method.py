"""The modules method: toolchain modules of the site, locked by what they resolved to, with a venv on top.

Resolving asks Lmod; all else works from the lock. Knows nothing of nox, and of Lmod only what `modulesystem` says.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ozrepro.environment import Environment
from ozrepro.errors import BuildError, LockError
from ozrepro.methods.comparing import inside_of
from ozrepro.methods.modules.lock import (
    Locked,
    check_agreement,
    compile_key,
    compile_package,
    compiled_folder,
    described,
    given_by,
    layer_of,
    platform_of,
    provided_otherwise,
    read_here,
    read_section,
    start_interpreter,
    variables_of,
)
from ozrepro.methods.modules.table import read_table
from ozrepro.modulesystem import loading, record
from ozrepro.modulesystem.site_index import other_tool
from ozrepro.project.lock import Section, lock_file
from ozrepro.project.spec import digest_of
from ozrepro.python import compiled, install, layer, toolchain
from ozrepro.python import installed as outside
from ozrepro.python.layer import open_uv
from ozrepro.store.manifest import Digests, take

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ozrepro.methods import Change, Progress, Say
    from ozrepro.methods.comparing import Inside
    from ozrepro.project.spec import Spec
    from ozrepro.python.installed import Distribution
    from ozrepro.python.interpreter import Interpreter
    from ozrepro.python.packages import LockedFile, LockedPackage
    from ozrepro.python.uv import Uv
    from ozrepro.site import Site

SITE_VARIABLES = ("PIP_REQUIRE_VIRTUALENV",)
"""Variables by which a site keeps its users from mistakes: the caller's stay in force."""


class Modules:
    """The modules method."""

    read_table = staticmethod(read_table)

    def platform(self, site: Site) -> str:
        """Return conda's name of the platform and the tree's: a name from the settings, else the CPU's level."""
        return platform_of(site)

    def inputs(self, spec: Spec) -> list[Path]:
        """Return requirement files and, where the project itself is installed, its pyproject.toml."""
        return layer_of(spec).inputs()

    def large(self, spec: Spec) -> list[str]:
        """Return nothing: every start compares all of it."""
        return []

    def digest(self, spec: Spec, site: Site) -> str:
        """Return the digest of the table, the imports, and the content of all files referred to."""
        wanted = described(spec)
        table = {
            "load": list(wanted.load),
            "use": list(wanted.use),
            "pass": sorted(wanted.passed),
            "system-site-packages": wanted.system_site_packages,
            "requirements": list(wanted.requirements),
            "build": sorted(wanted.build),
            **({"site-variables": sorted(wanted.site_variables)} if wanted.site_variables else {}),
            **({"collection": wanted.collection} if wanted.collection else {}),
        }
        return digest_of({"modules": table, "imports": list(spec.imports), "files": layer_of(spec).contents()})

    def check(self, section: Section, where: str, session: str) -> None:
        """Raise LockError where the section cannot be read."""
        read_section(section, where, session, record.EXAMPLE)

    def unavailable(self, spec: Spec, site: Site, section: Section | None) -> str | None:
        """Return why no module system here has the modules, or None. With a section the module tool is not asked.

        Raises SpecError for a name that is no exact one, or that can be reached in several ways: that is a mistake of the spec.
        """
        if section is None:
            return loading.refusal(loading.modules_request(spec, site), spec, site)
        locked = read_here(section, site, spec)
        if section.spec == self.digest(spec, site):
            check_agreement(locked, spec, str(lock_file(spec.root, spec.name)))
        return None

    def resolve(self, spec: Spec, site: Site, change: Change, say: Say) -> tuple[Section, ...]:
        """Return what the modules resolve to here, what loading them does, and exact packages of the venv on top."""
        from ozrepro.methods.modules import resolve as modules_resolve

        own = change.section("modules", self.platform(site))
        # Another cluster of the site that was locked before gives a new one its versions.
        known = own or next((item for item in change.sections if item.method == "modules"), None)
        try:
            previous = read_here(known, site, spec).layer if known is not None else None
        except LockError:
            previous = None  # a damaged section is resolved anew
        digest = self.digest(spec, site)
        content = modules_resolve.resolve(spec, layer_of(spec), site, previous, change.upgrade, say)
        return (Section("modules", self.platform(site), digest, content),)

    def drift(self, section: Section, site: Site) -> list[str]:
        """Return each modulefile, rc file, hook or interpreter that changed, and each package that the modules have otherwise."""
        locked = read_here(section, site)
        lines, tool = locked.modules.drift(), other_tool(locked.modules.tool, site)
        if len(lines) == len(locked.modules.watched()) and not any(os.path.exists(path) for path in locked.modules.watched()):
            # Perhaps a machine of another site, whose CPU has the same level.
            return [f"none of its {len(lines)} files is here; if this is another site, name each site in [tool.ozrepro] platform"]
        here = outside.distributions(locked.folders)
        return locked.modules.reads.drift(site.environ) + tool + lines + provided_otherwise(locked.provides, here)

    def mend(self, section: Section, spec: Spec, site: Site) -> str:
        """Return nothing: locking again takes over what is there."""
        return ""

    def recheck(self, section: Section, spec: Spec, site: Site) -> list[str]:
        """Load the modules once with the site's own tool, and return what that does otherwise than the lock says.

        The Python that the load gives is compared by its path, and not started. Raises BuildError where there is no such tool.
        """
        locked = read_here(section, site)

        def other_python(path: str) -> list[str]:
            given = toolchain.find_python(path.split(":"))
            same = given is not None and os.path.realpath(given) == locked.python
            return [] if same else [f"the modules give the Python {given or 'none'}, locked is {locked.python}"]

        return loading.recheck(locked.modules, spec, site, other_python)

    def saved_otherwise(self, section: Section, spec: Spec, site: Site) -> list[str]:
        """Return what the caller's collection of modules has otherwise than what was locked."""
        return loading.saved_otherwise(read_here(section, site).modules, spec, site)

    def watched(self, section: Section, site: Site, prefix: Path) -> list[str]:
        """Return the interpreters, modulefiles, rc files, hooks, and the folders of the modules' packages."""
        locked = read_here(section, site)
        return list(dict.fromkeys((str(prefix / "bin" / "python"), *locked.modules.watched(), *locked.folders)))

    def identity(self, section: Section, site: Site) -> dict[str, Any]:
        """Return what loading does, the interpreter and its packages, and the files of the venv on top."""
        locked = read_here(section, site)
        chosen = install.choose_files(locked.layer.packages, locked.interpreter)
        return {"python": locked.interpreter.identity(), **given_by(locked), **layer.identity(locked.layer, chosen, site)}

    def build(self, section: Section, site: Site, prefix: Path, say: Say, progress: Progress) -> Digests:
        """Make the venv on the modules' Python, install and compile what is locked, and check all of it."""
        locked = read_here(section, site)
        found = start_interpreter(locked, site)
        variables = self.environment(section, site, prefix).variables_for(site.environ)
        uv = toolchain.within(open_uv(site, say), variables_of(locked, site))
        chosen = install.choose_files(locked.layer.packages, found)
        sources = [item.package for item in chosen if not item.file.is_wheel]
        wheels = [(package, self._compiled(package, locked, found, uv, site, say)) for package in sources]

        def fill() -> Digests:
            install.make_venv(uv, found, prefix, system_site_packages=locked.system_site_packages)
            digests, before = Digests(), take(prefix)
            install.install(uv, prefix, [item for item in chosen if item.file.is_wheel], (), progress)
            if wheels:
                folders = [compiled_folder(site) / compile_key(package, locked) for package in sources]
                compiled.install_compiled(uv, prefix, wheels, folders, uv.variables)
            if locked.layer.project:
                install.install_project(uv, prefix, site.settings.root, locked.layer.extras, locked.layer.build)
            progress("checking files, requirements and imports", len(chosen), len(chosen))
            archives = install.archives(chosen, ()) | {package.name: wheel.sha256 for package, wheel in wheels}
            install.check_contents(uv, prefix, before, archives, digests)
            return _check(locked, found, chosen, prefix, variables, digests)

        return install.fill_twice(uv, chosen, (), fill, say)

    def _compiled(self, package: LockedPackage, locked: Locked, found: Interpreter, uv: Uv, site: Site, say: Say) -> LockedFile:
        """Return the package's wheel: the one that was compiled for the lock where it is kept here, else compiled now."""
        wheel = compile_package(package, None, locked, found, uv, site)
        if package.built is not None and wheel.sha256 != package.built.sha256:
            say(f"{package.name} {package.version} was compiled anew: its wheel is not byte for byte the one that was locked")
        return wheel

    def environment(self, section: Section, site: Site, prefix: Path) -> Environment:
        """Return the modules' change of the base, with the venv's directory first."""
        locked = read_here(section, site)
        modules = locked.modules
        values, following = modules.fixed(), modules.following()
        own = {"VIRTUAL_ENV": str(prefix), "PYTHONNOUSERSITE": "1"}
        if locked.overrides:
            # Python looks into PYTHONPATH before a venv's own packages: without this the modules' versions would win.
            before = f"{prefix}/lib/python{'.'.join(locked.version.split('.')[:2])}/site-packages:"
            if values.get("PYTHONPATH"):
                own["PYTHONPATH"] = before + values["PYTHONPATH"]
            elif "PYTHONPATH" in following:
                cases = following["PYTHONPATH"]
                following["PYTHONPATH"] = tuple(
                    (names, (before + parts[0], *parts[1:]) if parts else parts) for names, parts in cases
                )
        return Environment(
            path=(str(prefix / "bin"), *modules.front()),
            base=modules.behind(),
            variables={**values, **own},
            following=following,
            removed=modules.change.removed,
            expected=modules.reads.expected(),
            passed=(*locked.layer.passed, *modules.asked(), *SITE_VARIABLES),
        )

    def shell(self, section: Section, site: Site) -> dict[str, Any]:
        """Return the functions, aliases and limits that the modules give a shell."""
        return record.shell_table(read_here(section, site).modules.shell)

    def versions(self, section: Section) -> dict[str, str]:
        """Return the versions of Python, of what the modules have, and of what the venv on top has instead."""
        locked = read_section(section, section.title, "", record.EXAMPLE)
        return {"python": locked.version, **locked.provides, **layer.versions_of(locked.layer.packages)}

    def contents(self, prefix: Path) -> dict[str, str]:
        """Return name and version of each distribution in the venv."""
        return install.distributions(install.site_packages(prefix))

    def problems(self, section: Section, site: Site, prefix: Path) -> list[str]:
        """Compare the files of the venv, and of what the modules bring, with what the build's checks asked of them."""
        locked = read_here(section, site)
        there = outside.distributions(locked.folders)
        wanted = _expected(locked, locked.interpreter, install.choose_files(locked.layer.packages, locked.interpreter), there)
        return [*install.differences(prefix, wanted, Digests()), *provided_otherwise(locked.provides, there)]

    def inside(self, section: Section, site: Site, prefix: Path) -> Inside:
        """Return what programs find in the venv, then in the modules."""
        locked = read_here(section, site)
        return inside_of(locked.version, (str(install.site_packages(prefix)), *locked.folders))


def _expected(
    locked: Locked, found: Interpreter, chosen: tuple[install.Chosen, ...], there: Mapping[str, Distribution]
) -> install.Expected:
    kept = {name: item for name, item in there.items() if name not in locked.overrides}
    return install.Expected(chosen, locked.layer.project, locked.layer.imports, found.markers, kept)


def _check(
    locked: Locked,
    found: Interpreter,
    chosen: tuple[install.Chosen, ...],
    prefix: Path,
    variables: Mapping[str, str],
    digests: Digests,
) -> Digests:
    there = outside.distributions(locked.folders)
    install.check(prefix, _expected(locked, found, chosen, there), variables, digests)
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


METHOD = Modules()
