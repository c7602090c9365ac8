"""The conda method: packages of conda channels, locked by build and sha256, installed without any conda on the machine."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from packaging.utils import canonicalize_name

from ozrepro.environment import BASE_PATH, Environment, joined_by
from ozrepro.errors import Remedy
from ozrepro.methods.comparing import Inside
from ozrepro.methods.conda import activating, installed, lock, virtual
from ozrepro.methods.conda.building import build, has_python, lines_of
from ozrepro.methods.conda.helper import without_cache
from ozrepro.methods.conda.source import TAKES
from ozrepro.methods.conda.table import CondaTable, package_list, read_table
from ozrepro.methods.conda.virtual import needed, satisfied
from ozrepro.methods.contract import Inputs, Launch, Plan, Reason, ShellParts, Traits
from ozrepro.project.spec import digest_of
from ozrepro.python.layer import decides_projects, versions_of, watched_sources
from ozrepro.store.manifest import Digests

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ozrepro.methods.components import Component
    from ozrepro.methods.conda.lock import Locked
    from ozrepro.methods.contract import ExportRequest, ImageRequest, ImageSources, Progress, Request, Say, Subject
    from ozrepro.methods.keeping import Kept
    from ozrepro.methods.target import Target
    from ozrepro.project.lock import Section
    from ozrepro.site import Site


class Conda:
    """The conda method."""

    name = "conda"
    traits = Traits(scope="machine", takes=TAKES, facts=("libc", "driver", "model"))

    table = CondaTable
    read_table = staticmethod(read_table)
    package_list = staticmethod(package_list)
    read_section = staticmethod(lock.read_section)
    mismatches = staticmethod(lock.mismatches)

    def inputs(self, subject: Subject[CondaTable]) -> Inputs:
        """Return the table with its environment file read, the imports, and the files that pip is given."""
        table, wanted = subject.table, lock.wanted_of(subject)
        described = {
            "channels": list(wanted.channels),
            "dependencies": list(wanted.dependencies),
            "pip": list(wanted.pip),
            "variables": dict(wanted.variables),
            "platforms": list(wanted.platforms),
            "virtual": dict(table.virtual_packages),
            "mpi": list(table.mpi) if len(table.mpi) > 1 else "".join(table.mpi),
            "priority": table.channel_priority,
            "exclude-newer": table.exclude_newer,
            "pass": sorted(table.passed),
        }
        spec, layer = subject.spec, lock.layer_of(subject, wanted)
        values = {"conda": described, "imports": list(spec.imports), "files": layer.contents()}
        files = (*([spec.root / table.file] if table.file else []), *layer.inputs())
        return Inputs(values, files, passed=table.passed)

    def unavailable(self, subject: Subject[CondaTable], locked: Locked | None) -> Reason | None:
        """Return that the spec does not name this machine's platform, or that the MPI it names is not here, or None.

        All else that is needed comes with ozrepro.
        """
        if locked is not None:
            return None
        here = subject.site.key(self.traits.scope)
        if here not in lock.wanted_of(subject).platforms:
            return Reason(f"platforms in [conda] has no {here}")
        request = lock.mpi_request(subject)
        if request is None:
            return None
        from ozrepro.modulesystem import loading

        refusal = loading.refusal(request, subject.spec, subject.site)
        return Reason(refusal.what, refusal.remedy) if refusal is not None else None

    def resolve(self, request: Request[CondaTable, Locked]) -> tuple[Section, ...]:
        """Return exact builds of all packages and of what pip adds, for each platform that the spec names."""
        from ozrepro.methods.conda.resolve import resolve

        return resolve(request, request.subject.site.key(self.traits.scope))

    def plan(self, locked: Locked, site: Site) -> Plan:
        """Return the archives, what pip adds, the variables, and the checks."""

        def build_there(target: Target, say: Say, progress: Progress) -> Digests:
            def variables() -> Mapping[str, str]:
                return self.environment(locked, target).environment.variables_for(target.site.environ)

            return build(locked, target, variables, say, progress)

        identity = {
            "records": sorted([item.title, item.subdir, item.sha256] for item in locked.records),
            "pip": sorted(file.sha256 for package in locked.layer.packages for file in package.files),
            "variables": dict(locked.variables),
            "imports": list(locked.layer.imports),
            **decides_projects(locked.layer, site),
            **({"mpi": digest_of(locked.mpi.change.as_table())} if locked.mpi is not None else {}),
        }
        return Plan(identity, build_there)

    def environment(self, locked: Locked, target: Target) -> Launch:
        """Return the environment's directory, conda's own variables, and what its activation changes.

        What the module of the system's MPI gives a shell is kept apart; what activation sets are variables.
        """
        prefix, mpi = target.prefix, locked.mpi
        activation = activating.kept(target.files)
        own = {
            **locked.below(),
            **locked.variables,
            **activation.variables,
            **activating.own_variables(prefix),
            "PYTHONNOUSERSITE": "1",
        }
        home_relative = {name: joined_by("HOME", parts) for name, parts in activation.home_relative.items()}
        environment = Environment(
            path=(*activation.path, str(prefix / "bin"), *(mpi.front() if mpi else ())),
            base=mpi.behind() if mpi else BASE_PATH,
            variables=own,
            following={**(mpi.following() if mpi else {}), **home_relative},
            removed=activation.removed,
            expected=mpi.reads.expected() if mpi else {},
            passed=(*locked.layer.passed, *(mpi.asked() if mpi else ())),
        )
        local = watched_sources(locked.layer, target.site.settings.root)
        watched = (str(prefix / "bin" / "python"), *(mpi.watched() if mpi else ()), *local)
        shell = ShellParts(mpi.shell.functions, mpi.shell.aliases, mpi.shell.limits) if mpi else ShellParts()
        return Launch(environment, watched, shell)

    def drift(self, locked: Locked, site: Site) -> list[str]:
        """Return what the locked packages need of a machine and this one does not offer, with both versions.

        A node without a GPU has not drifted: packages for one are built on login nodes, and most of them also run there.
        """
        unmet = [line for lines in _unmet(locked, site).values() for line in lines]
        if locked.mpi is None:
            return unmet
        from ozrepro.modulesystem import loading

        return [*loading.drift(locked.mpi, site), *unmet]

    def remedy(self, subject: Subject[CondaTable], locked: Locked) -> Remedy | None:
        """Return where a lock runs that asks for more than this machine has, and the edit by which it would ask for less."""
        keys = [name.removeprefix("__") for name in _unmet(locked, subject.site)]
        if not keys:
            return locked.mpi.reads.remedy(subject.site.environ) if locked.mpi is not None else None
        said = subject.table.virtual_packages
        written = ", ".join(f'{key} = "{said[key]}"' for key in keys if key in said)
        variables = " ".join(name for key in keys if (name := f"CONDA_OVERRIDE_{key.upper()}") in subject.site.environ)
        here = "ozrepro lock {session}"
        if written:
            here = f"change {written} in [conda.virtual-packages] of sessions/{subject.spec.path.name}, then {here}"
        elif variables:
            here = f"unset {variables}, then {here}"
        return Remedy(f"run it on a machine that has this; or, to lock for this one: {here}")

    def kept(self, subject: Subject[CondaTable], locked: Locked) -> Kept | None:
        """Return the prefixes of the modules with the system's MPI, where `keep` asks for them."""
        if locked.mpi is None or not subject.table.keep:
            return None
        from ozrepro.methods.keeping import kept_of
        from ozrepro.modulesystem.prefixes import prefixes

        return kept_of(locked.mpi, 'keep = "all" of [conda]', prefixes(locked.mpi), whole=True)

    def without(self, locked: Locked, is_kept: Callable[[str], bool]) -> Locked:
        """Return the section without the files of modules that are kept."""
        return replace(locked, mpi=locked.mpi.without(is_kept)) if locked.mpi is not None else locked

    def said_otherwise(self, subject: Subject[CondaTable], locked: Locked) -> list[str]:
        """Return what conda's variables say of a machine now, and said otherwise when the section was made."""
        said = subject.table.virtual_packages
        return virtual.said_otherwise(locked.virtual, said, subject.site.environ, cpu_builds=bool(locked.cpu_builds))

    def warnings(self, subject: Subject[CondaTable], locked: Locked) -> list[str]:
        """Return that builds for the CPU were taken where there are some for GPUs, and which are for one kind of processor."""
        asking = ((item.name, line) for item in locked.records for line in item.depends)
        gpu = [virtual.cpu_warning(locked.cpu_builds, subject.site.environ)] if locked.cpu_builds else []
        return [*gpu, *virtual.narrow_warning(asking)]

    def compare_with_site(self, subject: Subject[CondaTable], locked: Locked) -> list[str]:
        """Return what loading the system's MPI gives otherwise now; the channels have no part in a locked environment."""
        if locked.mpi is None:
            return []
        from ozrepro.modulesystem import loading

        return loading.recheck(locked.mpi, subject.spec, subject.site)

    def versions(self, locked: Locked) -> dict[str, str]:
        """Return the versions of the records and of what pip adds."""
        return {**{item.name: item.version for item in locked.records}, **versions_of(locked.layer.packages)}

    def installed(self, target: Target) -> dict[str, str]:
        """Return name and version of each conda package, and of each Python distribution beside them."""
        own = {package.name: package.version for package in installed.installed(target.files)}
        if not has_python(target.files):
            return own
        from ozrepro.methods.conda import python as conda_python

        return {**conda_python.distributions(target.files), **own}

    def inside(self, locked: Locked, target: Target) -> Inside:
        """Return what programs of its Python find: nothing in an environment without one."""
        if not has_python(target.files):
            return Inside({}, {})
        from ozrepro.methods.conda import python as conda_python

        return conda_python.inside(locked, target.files)

    def foretold(self, locked: Locked) -> Inside:
        """Return the packages that use Python, which may have other names as distributions, and what pip adds."""
        python = {item.name: item.version for item in locked.records if item.name == "python"}
        unsure: dict[str, str] = {canonicalize_name(item.name): item.version for item in locked.records if item.uses_python()}
        return Inside({**python, **versions_of(locked.layer.packages)}, unsure=unsure)

    def problems(self, locked: Locked, target: Target) -> list[str]:
        """Compare the files again with what the build's checks asked: packages, files, requirements."""
        prefix = target.files
        packages = installed.installed(prefix)
        broken = installed.damaged(prefix, packages, Digests())
        wrong = [*installed.unlike_lock(packages, locked.records), *lines_of(broken)]
        if wrong or not has_python(prefix):
            return wrong
        from ozrepro.methods.conda import python as conda_python

        return list(
            conda_python.problems(conda_python.locked_files(locked), locked.layer, prefix, conda_python.recorded(locked).markers)
        )

    def components(self, locked: Locked) -> Sequence[Component]:
        """Return the records with what each depends on, the modules below, and what pip adds."""
        from ozrepro.methods.conda.formats import components

        return list(components(locked))

    def formats(self) -> Mapping[str, Callable[[ExportRequest[Any, Any]], str]]:
        """Return conda's explicit file, conda-lock's file, and environment.yml."""
        from ozrepro.methods.conda.formats import FORMATS

        return FORMATS

    def definition(self, request: ImageRequest[CondaTable, Locked]) -> list[str]:
        """Return a definition with the records, what pip adds, and the variables. Raises BuildError for the system's MPI."""
        from ozrepro.methods.conda import image

        return image.definition(request)

    def unlike_definition(self, request: ImageRequest[CondaTable, Locked], lines: Sequence[str]) -> list[str]:
        """Return that a definition is not the one that the section gives, or nothing."""
        from ozrepro.methods.conda import image

        return image.unlike(request, lines)

    def usual_base(self, python: str) -> str:
        """Return the image of micromamba's own project, whatever the Python."""
        from ozrepro.methods.conda import image

        return image.USUAL_BASE

    def at_site(self, lines: Sequence[str], site: Site) -> ImageSources:
        """Return a definition with this site's channels, the folders that packages come from, and pip's configuration."""
        from ozrepro.methods.conda import image

        return image.at_site(lines, site)


def _unmet(locked: Locked, site: Site) -> dict[str, list[str]]:
    """Return what the locked packages ask of a machine and this one does not offer, by virtual package."""
    lines = [line for item in locked.records for line in item.depends if line.startswith("__")]
    asked = needed(lines)
    if not asked:
        return {}
    here = without_cache(site).detect(asked)
    if not any(item.name == "__cuda" for item in here):
        asked = tuple(name for name in asked if name != "__cuda")
    compared = {name: satisfied([line for line in lines if line.split()[0] == name], here) for name in asked}
    return {name: wrong for name, wrong in compared.items() if wrong}


METHOD = Conda()
