"""The modules method: toolchain modules of the site, locked by what they resolved to, with a venv on top.

Resolving asks the module tool; all else works from the lock. Knows nothing of nox, and of module tools what `modulesystem` says.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from ozrepro.environment import Environment
from ozrepro.methods import image_definition
from ozrepro.methods.comparing import inside_of
from ozrepro.methods.contract import Inputs, Launch, Plan, Reason, ShellParts, Traits
from ozrepro.methods.keeping import kept_of
from ozrepro.methods.modules import lock
from ozrepro.methods.modules.table import ModulesTable, package_list, read_table
from ozrepro.modulesystem import loading
from ozrepro.modulesystem.site_index import other_tool
from ozrepro.project import sources
from ozrepro.project.lock import Section
from ozrepro.python import install, layer, toolchain
from ozrepro.python import installed as outside
from ozrepro.store.manifest import Digests

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ozrepro.errors import Remedy
    from ozrepro.methods.comparing import Inside
    from ozrepro.methods.components import Component
    from ozrepro.methods.contract import ImageRequest, Progress, Request, Say, Subject
    from ozrepro.methods.keeping import Kept
    from ozrepro.methods.modules.lock import Locked
    from ozrepro.methods.target import Target
    from ozrepro.site import Site

SITE_VARIABLES = ("PIP_REQUIRE_VIRTUALENV",)
"""Variables by which a site keeps its users from mistakes: the caller's stay in force."""


class Modules:
    """The modules method."""

    name = "modules"
    traits = Traits(scope="cluster", takes=(sources.PYLOCK,), facts=("cpu",))

    table = ModulesTable
    read_table = staticmethod(read_table)
    package_list = staticmethod(package_list)
    read_section = staticmethod(lock.read_section)
    mismatches = staticmethod(lock.mismatches)

    def inputs(self, subject: Subject[ModulesTable]) -> Inputs:
        """Return the table, the imports, and the content of the files referred to."""
        table, on_top = subject.table, lock.layer_of(subject)
        described = {
            "load": list(table.load),
            "use": list(table.use),
            "pass": sorted(table.passed),
            "system-site-packages": table.venv.system_site_packages,
            "requirements": list(table.venv.requirements),
            "build": sorted(table.venv.build),
            **({"site-variables": sorted(table.site_variables)} if table.site_variables else {}),
            **({"collection": table.collection} if table.collection else {}),
        }
        values = {"modules": described, "imports": list(subject.spec.imports), "files": on_top.contents()}
        return Inputs(values, tuple(on_top.inputs()), passed=table.passed)

    def unavailable(self, subject: Subject[ModulesTable], locked: Locked | None) -> Reason | None:
        """Return why no module system here has the modules, or None. With a section the module tool is not asked.

        Raises SpecError for a name that is loose, or that can be reached in several ways: that is a mistake of the spec.
        """
        if locked is not None:
            return None
        spec, site = subject.spec, subject.site
        refusal = loading.refusal(loading.modules_request(spec, site), spec, site)
        return Reason(refusal.what, refusal.remedy) if refusal is not None else None

    def resolve(self, request: Request[ModulesTable, Locked]) -> Sequence[Section]:
        """Return what the modules resolve to here, what loading them does, and exact packages of the venv on top.

        Only this cluster's: those of others can be asked for there alone, and stay as they are.
        """
        from ozrepro.methods.modules.resolve import resolve

        platform = request.subject.site.key(self.traits.scope)
        return (Section(self.name, platform, request.digest, resolve(request, platform)),)

    def plan(self, locked: Locked, site: Site) -> Plan:
        """Return what loading does, the interpreter and its packages, and the files of the venv on top."""
        chosen = install.choose_files(locked.layer.packages, locked.interpreter)

        def build(target: Target, say: Say, progress: Progress) -> Digests:
            from ozrepro.methods.modules import building

            variables = self.environment(locked, target).environment.variables_for(target.site.environ)
            return building.build(locked, chosen, target, variables, say, progress)

        identity = {
            "python": locked.interpreter.identity(),
            **lock.given_by(locked),
            **layer.identity(locked.layer, chosen, site),
        }
        return Plan(identity, build)

    def environment(self, locked: Locked, target: Target) -> Launch:
        """Return the modules' change of the base, with the venv's directory first."""
        modules, prefix = locked.modules, target.prefix
        values, following = modules.fixed(), modules.following()
        own = {"VIRTUAL_ENV": str(prefix), "PYTHONNOUSERSITE": "1"}
        if locked.overrides:
            # Python looks into PYTHONPATH before a venv's own packages: without this the modules' versions would win.
            before = f"{prefix}/lib/python{locked.minor}/site-packages:"
            if values.get("PYTHONPATH"):
                own["PYTHONPATH"] = before + values["PYTHONPATH"]
            elif "PYTHONPATH" in following:
                cases = following["PYTHONPATH"]
                following["PYTHONPATH"] = tuple(
                    (names, (before + parts[0], *parts[1:]) if parts else parts) for names, parts in cases
                )
        environment = Environment(
            path=(str(prefix / "bin"), *modules.front()),
            base=modules.behind(),
            variables={**values, **own},
            following=following,
            removed=modules.change.removed,
            expected=modules.reads.expected(),
            passed=(*locked.layer.passed, *modules.asked(), *SITE_VARIABLES),
        )
        watched = dict.fromkeys((str(prefix / "bin" / "python"), *modules.watched(), *locked.folders))
        watched |= dict.fromkeys(layer.watched_sources(locked.layer, target.site.settings.root))
        shell = ShellParts(modules.shell.functions, modules.shell.aliases, modules.shell.limits)
        return Launch(environment, tuple(watched), shell)

    def drift(self, locked: Locked, site: Site) -> list[str]:
        """Return each modulefile, rc file, hook or interpreter that changed, and each package that the modules have otherwise."""
        lines, watched = locked.modules.drift(), locked.modules.watched()
        if watched and len(lines) == len(watched) and not any(map(os.path.exists, watched)):
            # Perhaps a machine of another site, whose CPU has the same level.
            return [f"none of its {len(lines)} files is here; if this is another site, name each site in [tool.ozrepro] platform"]
        tool = other_tool(locked.modules.tool, site) if watched else []
        reads = locked.modules.reads.drift(site.environ)
        return [*reads, *tool, *lines, *lock.provided_otherwise(locked.provides, outside.distributions(locked.folders))]

    def remedy(self, subject: Subject[ModulesTable], locked: Locked) -> Remedy | None:
        """Return where to start what does not load without a variable that is not set here."""
        return locked.modules.reads.remedy(subject.site.environ)

    def compare_with_site(self, subject: Subject[ModulesTable], locked: Locked) -> list[str]:
        """Load the modules once with the site's own tool, and return what that does otherwise than the lock says.

        The Python that the load gives is compared by its path, and not started. Raises BuildError where there is no such tool.
        """

        def other_python(path: str) -> list[str]:
            given = toolchain.find_python(path.split(":"))
            same = given is not None and os.path.realpath(given) == locked.python
            return [] if same else [f"the modules give the Python {given or 'none'}, locked is {locked.python}"]

        return loading.recheck(locked.modules, subject.spec, subject.site, other_python)

    def kept(self, subject: Subject[ModulesTable], locked: Locked) -> Kept | None:
        """Return the prefixes of the modules, or those of their Python and its packages, as `keep` says."""
        keep = subject.table.keep
        asked, folders = f'keep = "{keep}" of [modules]', lock.software(locked, keep)
        return kept_of(locked.modules, asked, folders, whole=keep == "all") if keep else None

    def without(self, locked: Locked, is_kept: Callable[[str], bool]) -> Locked:
        """Return the section without the files that are kept, and without the packages where all their folders are."""
        modules = locked.modules.without(is_kept)
        if all(map(is_kept, locked.folders)):
            return replace(locked, modules=modules, folders=(), provides={})
        return replace(locked, modules=modules)

    def said_otherwise(self, subject: Subject[ModulesTable], locked: Locked) -> list[str]:
        """Return what the caller's collection of modules has otherwise than what was locked."""
        return loading.said_otherwise(locked.modules, subject.spec, subject.site)

    def versions(self, locked: Locked) -> dict[str, str]:
        """Return the versions of Python, of what the modules have, and of what the venv on top has instead."""
        return {"python": locked.version, **locked.provides, **layer.versions_of(locked.layer.packages)}

    def components(self, locked: Locked) -> Sequence[Component]:
        """Return the modules, their Python and its packages, and what the venv on top has."""
        from ozrepro.methods.components import Component, of_layer, of_modules, of_python, purl

        provided = ((name, version) for name, version in locked.provides.items() if name not in locked.overrides)
        packages = (Component(name, text, purl("pypi", name, text), properties={"of": "modules"}) for name, text in provided)
        return [*of_modules(locked.modules), of_python(locked.version), *packages, *of_layer(locked.layer)]

    def details(self, locked: Locked) -> dict[str, object]:
        """Return the module tool and the modules, in load order."""
        return {"module-tool": locked.modules.tool, "modules": [module.name for module in locked.modules.modules]}

    def installed(self, target: Target) -> dict[str, str]:
        """Return name and version of each distribution in the venv."""
        return install.distributions(install.site_packages(target.files))

    def inside(self, locked: Locked, target: Target) -> Inside:
        """Return what programs find in the venv, then in the modules."""
        return inside_of(locked.version, (str(install.site_packages(target.files)), *map(target.used, locked.folders)))

    def problems(self, locked: Locked, target: Target) -> list[str]:
        """Compare the files of the venv, and of what the modules bring, with what the build's checks asked of them."""
        from ozrepro.methods.modules.building import expected

        provided = outside.distributions(map(target.used, locked.folders))
        chosen = install.choose_files(locked.layer.packages, locked.interpreter)
        wanted = expected(locked, locked.interpreter, chosen, provided)
        different = install.differences(target.files, wanted, Digests())
        return [*different, *lock.provided_otherwise(locked.provides, provided)]

    def definition(self, request: ImageRequest[ModulesTable, Locked]) -> list[str]:
        """Return a definition with the venv's wheels, and those of what the modules have as far as an index has them."""
        locked = request.locked
        return image_definition.definition(locked.layer, locked.provides, locked.pythons, locked.minor, request)

    def unlike_definition(self, request: ImageRequest[ModulesTable, Locked], lines: Sequence[str]) -> list[str]:
        """Return what a definition installs otherwise; of what the modules have, names and versions are compared."""
        locked = request.locked
        return image_definition.unlike(locked.layer, locked.provides, locked.pythons, request, lines)

    usual_base = staticmethod(image_definition.usual_base)
    at_site = staticmethod(image_definition.at_site)


METHOD = Modules()
