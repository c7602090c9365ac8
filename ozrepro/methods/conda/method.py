"""The conda method: packages of conda channels, locked by build and sha256, installed without any conda on the machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ozrepro.environment import BASE_PATH, Environment, joined_by
from ozrepro.errors import BuildError
from ozrepro.methods.comparing import Inside
from ozrepro.methods.conda import activating, installed
from ozrepro.methods.conda.helper import open_helper, without_cache
from ozrepro.methods.conda.lock import (
    Locked,
    check_agreement,
    described,
    interpreter_of,
    layer_of,
    mpi_request,
    read_here,
    read_section,
    wanted_of,
)
from ozrepro.methods.conda.table import read_table
from ozrepro.methods.conda.virtual import needed, satisfied
from ozrepro.project.formatting import size_words
from ozrepro.project.lock import Section, lock_file
from ozrepro.project.spec import digest_of
from ozrepro.python.layer import versions_of
from ozrepro.site import subdir_here
from ozrepro.store.manifest import Digests

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ozrepro.methods import Change, Progress, Say
    from ozrepro.project.spec import Spec
    from ozrepro.python.install import Chosen
    from ozrepro.site import Site


_LONGEST_PREFIX = 255 - len("/bin/python3.12")
"""Characters of a prefix that packages can be made to fit: conda-build pads the places for it to 255."""


class Conda:
    """The conda method."""

    read_table = staticmethod(read_table)

    def platform(self, site: Site) -> str:
        """Return conda's name of this machine's platform."""
        return subdir_here()

    def inputs(self, spec: Spec) -> list[Path]:
        """Return the environment file and requirement files."""
        table = described(spec)
        return [*([spec.root / table.file] if table.file else []), *layer_of(spec).inputs()]

    def large(self, spec: Spec) -> list[str]:
        """Return nothing: every start compares all of it."""
        return []

    def digest(self, spec: Spec, site: Site) -> str:
        """Return the digest of the table with its environment file read, the imports, and the files that pip is given."""
        asked, wanted = described(spec), wanted_of(spec)
        table = {
            "channels": list(wanted.channels),
            "dependencies": list(wanted.dependencies),
            "pip": list(wanted.pip),
            "variables": dict(wanted.variables),
            "platforms": list(wanted.platforms),
            "virtual": dict(asked.virtual_packages),
            "mpi": list(asked.mpi) if len(asked.mpi) > 1 else "".join(asked.mpi),
            "priority": asked.channel_priority,
            "exclude-newer": asked.exclude_newer,
            "pass": sorted(asked.passed),
        }
        return digest_of({"conda": table, "imports": list(spec.imports), "files": layer_of(spec).contents()})

    def check(self, section: Section, where: str, session: str) -> None:
        """Raise LockError where the section cannot be read."""
        read_section(section, where, session)

    def unavailable(self, spec: Spec, site: Site, section: Section | None) -> str | None:
        """Return that the spec does not name this machine's platform, or that the MPI it names is not here, or None.

        All else that is needed comes with ozrepro.
        """
        if section is None:
            wanted, here, request = wanted_of(spec), self.platform(site), mpi_request(spec, site)
            if here not in wanted.platforms:
                return f"platforms in [conda] has no {here}"
            if request is None:
                return None
            from ozrepro.modulesystem import loading

            return loading.refusal(request, spec, site)
        locked = read_here(section, site, spec)
        if section.spec == self.digest(spec, site):
            check_agreement(locked, spec, site, section.platform, str(lock_file(spec.root, spec.name)))
        return None

    def resolve(self, spec: Spec, site: Site, change: Change, say: Say) -> tuple[Section, ...]:
        """Return exact builds of all packages and of what pip adds, for each platform that the spec names."""
        from ozrepro.methods.conda import resolve as conda_resolve

        return conda_resolve.resolve(spec, site, self.digest(spec, site), change, say)

    def drift(self, section: Section, site: Site) -> list[str]:
        """Return what the locked packages need of a machine and this one does not offer, with both versions.

        A node without a GPU is none: packages for one are built on login nodes, and most of them also run there.
        """
        from ozrepro.modulesystem import loading

        locked = read_here(section, site)
        moved = loading.drift(locked.mpi, site) if locked.mpi is not None else []
        return moved + [line for lines in _unmet(locked, site).values() for line in lines]

    def mend(self, section: Section, spec: Spec, site: Site) -> str:
        """Return where a lock runs that asks for more than this machine has, and the edit by which it would ask for less."""
        keys = [name.removeprefix("__") for name in _unmet(read_here(section, site), site)]
        if not keys:
            return ""
        said = described(spec).virtual_packages
        written = ", ".join(f'{key} = "{said[key]}"' for key in keys if key in said)
        variables = " ".join(name for key in keys if (name := f"CONDA_OVERRIDE_{key.upper()}") in site.environ)
        here = f"ozrepro lock {spec.name}"
        if written:
            here = f"change {written} in [conda.virtual-packages] of sessions/{spec.path.name}, then {here}"
        elif variables:
            here = f"unset {variables}, then {here}"
        return f"run it on a machine that has this; or, to lock for this one: {here}"

    def recheck(self, section: Section, spec: Spec, site: Site) -> list[str]:
        """Return what loading the system's MPI gives otherwise now; the channels have no part in a locked environment."""
        mpi = read_here(section, site).mpi
        if mpi is None:
            return []
        from ozrepro.modulesystem import loading

        return loading.recheck(mpi, spec, site)

    def saved_otherwise(self, section: Section, spec: Spec, site: Site) -> list[str]:
        """Return nothing: all that locking takes is in the project."""
        return []

    def watched(self, section: Section, site: Site, prefix: Path) -> list[str]:
        """Return the interpreter, and the files that decide what loading the system's MPI gives."""
        mpi = read_here(section, site).mpi
        return [str(prefix / "bin" / "python"), *(mpi.watched() if mpi is not None else [])]

    def identity(self, section: Section, site: Site) -> dict[str, Any]:
        """Return the archives, what pip adds, the variables, and the checks."""
        locked = read_here(section, site)
        files = sorted(file.sha256 for package in locked.layer.packages for file in package.files)
        return {
            "records": sorted([item.title, item.subdir, item.sha256] for item in locked.records),
            "pip": files,
            "variables": dict(locked.variables),
            "imports": list(locked.layer.imports),
            **({"mpi": digest_of(locked.mpi.change.as_table())} if locked.mpi is not None else {}),
        }

    def build(self, section: Section, site: Site, prefix: Path, say: Say, progress: Progress) -> Digests:
        """Fetch, check and link the packages, add pip's, capture the activation, and check all of it."""
        locked, helper = read_here(section, site), open_helper(site, say)
        if len(str(prefix)) > _LONGEST_PREFIX:
            raise BuildError(
                f"a conda environment's path can have {_LONGEST_PREFIX} characters, and this one would have {len(str(prefix))}",
                where=str(prefix),
                hint="set OZREPRO_STORE to a directory with a shorter path",
            )
        size = sum(item.size or 0 for item in locked.records)
        say(f"{len(locked.records)} conda package{'s' if len(locked.records) != 1 else ''}, {size_words(size)} packed")
        digests = Digests()
        packages = helper.install(locked.records, locked.addresses, prefix, progress, digests=digests).packages
        activating.keep(activating.capture(prefix, {**locked.below(), **locked.variables}), prefix)
        chosen: tuple[Chosen, ...] = ()
        if locked.layer.packages or _has_python(prefix):
            from ozrepro.methods.conda import python as conda_python

            chosen = conda_python.choose(locked, prefix)
            conda_python.add(chosen, site, prefix, digests, say, progress)
        progress("checking files, requirements and imports", len(locked.records), len(locked.records))
        variables = self.environment(section, site, prefix).variables_for(site.environ)
        if _has_python(prefix):
            from ozrepro.methods.conda import python as conda_python

            conda_python.compile_modules(prefix, variables)
        # pip may have written over a package's file; whatever else did is seen when the environment is published.
        broken = installed.damaged(prefix, packages, digests) if chosen else {}
        problems = self._problems(locked, chosen, prefix, variables, packages, broken)
        if problems:
            raise BuildError(
                "\n  ".join(("the new environment did not pass its checks:", *problems[:30])),
                hint="change dependencies or imports in the spec, then: ozrepro lock",
            )
        digests.expect({file.path: file.sha256 for package in packages for file in package.files})
        return digests

    def _problems(
        self,
        locked: Locked,
        chosen: Sequence[Chosen],
        prefix: Path,
        variables: Mapping[str, str],
        packages: Sequence[installed.Installed],
        broken: Mapping[str, Sequence[str]],
    ) -> list[str]:
        wrong = list(installed.unlike_lock(packages, locked.records))
        if locked.mpi is not None:
            from ozrepro.methods.conda import mpi_linkage

            name = locked.mpi.load[-1].partition("/")[0]
            users = [item.title for item in locked.records if any(line.split()[0] == name for line in item.depends)]
            wrong += mpi_linkage.problems([item for item in packages if item.title in users], prefix, variables)
        wrong += _told(broken)
        if not _has_python(prefix):
            return wrong if not locked.layer.imports else [*wrong, "imports are named and there is no Python"]
        from ozrepro.methods.conda import python as conda_python

        wrong += conda_python.problems(chosen, prefix, interpreter_of(prefix).markers)
        return wrong or conda_python.failed_imports(locked, prefix, variables)

    def environment(self, section: Section, site: Site, prefix: Path) -> Environment:
        """Return the environment's directory, conda's own variables, and what its activation changes."""
        locked, activation = read_here(section, site), activating.kept(prefix)
        own = {
            **locked.below(),
            **locked.variables,
            **activation.variables,
            **activating.own_variables(prefix),
            "PYTHONNOUSERSITE": "1",
        }
        homely = {name: joined_by("HOME", parts) for name, parts in activation.homely.items()}
        return Environment(
            path=(*activation.path, str(prefix / "bin"), *(locked.mpi.front() if locked.mpi else ())),
            base=locked.mpi.behind() if locked.mpi else BASE_PATH,
            variables=own,
            following={**(locked.mpi.following() if locked.mpi else {}), **homely},
            removed=activation.removed,
            expected=locked.mpi.reads.expected() if locked.mpi else {},
            passed=(*locked.layer.passed, *(locked.mpi.asked() if locked.mpi else ())),
        )

    def shell(self, section: Section, site: Site) -> dict[str, Any]:
        """Return what the module of the system's MPI gives a shell; what activation sets are variables."""
        mpi = read_here(section, site).mpi
        if mpi is None:
            return {}
        from ozrepro.modulesystem import record

        return record.shell_table(mpi.shell)

    def versions(self, section: Section) -> dict[str, str]:
        """Return the versions of the records and of what pip adds."""
        locked = read_section(section, section.title, "")
        return {**{item.name: item.version for item in locked.records}, **versions_of(locked.layer.packages)}

    def contents(self, prefix: Path) -> dict[str, str]:
        """Return name and version of each conda package, and of each Python distribution that is none."""
        own = {package.name: package.version for package in installed.installed(prefix)}
        if not _has_python(prefix):
            return own
        from ozrepro.methods.conda import python as conda_python

        return {**conda_python.distributions(prefix), **own}

    def problems(self, section: Section, site: Site, prefix: Path) -> list[str]:
        """Compare the files again with what the build's checks asked: packages, files, requirements."""
        locked, packages = read_here(section, site), installed.installed(prefix)
        broken = installed.damaged(prefix, packages, Digests())
        wrong = [*installed.unlike_lock(packages, locked.records), *_told(broken)]
        if wrong or not _has_python(prefix):
            return wrong
        from ozrepro.methods.conda import python as conda_python

        return list(conda_python.problems(conda_python.locked_files(locked), prefix, conda_python.recorded(locked).markers))

    def inside(self, section: Section, site: Site, prefix: Path) -> Inside:
        """Return what programs of its Python find; of an environment without one, its conda packages."""
        if not _has_python(prefix):
            return Inside(self.contents(prefix))
        from ozrepro.methods.conda import python as conda_python

        return conda_python.inside(read_here(section, site), prefix)


def _told(broken: Mapping[str, Sequence[str]]) -> list[str]:
    return [f"{title}: {line}" for title, lines in broken.items() for line in lines]


def _has_python(prefix: Path) -> bool:
    return (prefix / "bin" / "python").exists()


def _unmet(locked: Locked, site: Site) -> dict[str, list[str]]:
    """Return what the locked packages ask of a machine and this one does not offer, by virtual package."""
    lines = [line for item in locked.records for line in item.depends if line.startswith("__")]
    asked = needed(lines)
    if not asked:
        return {}
    here = without_cache(site).detect(asked)
    if not any(item.name == "__cuda" for item in here):
        asked = tuple(name for name in asked if name != "__cuda")
    found = {name: satisfied([line for line in lines if line.split()[0] == name], here) for name in asked}
    return {name: wrong for name, wrong in found.items() if wrong}


METHOD = Conda()
