"""The lock of conda packages, written as other tools' files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ozrepro.methods.components import Component, of_layer, of_modules, purl
from ozrepro.methods.conda.channels import WELL_KNOWN
from ozrepro.methods.conda.condalock import write_condalock
from ozrepro.methods.conda.environment_yml import EnvironmentFile, write_environment
from ozrepro.methods.conda.explicit import write_explicit
from ozrepro.methods.conda.source import counted
from ozrepro.python.layer import say_projects_left_out

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ozrepro.methods.conda.lock import Locked
    from ozrepro.methods.conda.table import CondaTable
    from ozrepro.methods.contract import ExportRequest


def to_explicit(request: ExportRequest[CondaTable, Locked]) -> str:
    """Return this machine's section as an @EXPLICIT file. What it cannot hold is said."""
    here = request.sections[request.here]
    _say_left_out(request, "conda-explicit", (here,))
    say_projects_left_out(request.subject.spec.name, "conda-explicit", [here.layer], request.say)
    _say_private(request, here)
    return write_explicit(here.records, {channel.name: channel.public for channel in here.channels}, request.here)


def to_condalock(request: ExportRequest[CondaTable, Locked]) -> str:
    """Return the sections of all platforms as a conda-lock file. What it cannot hold is said."""
    _say_left_out(request, "conda-lock", request.sections.values())
    say_projects_left_out(
        request.subject.spec.name, "conda-lock", [item.layer for item in request.sections.values()], request.say
    )
    records = {platform: item.records for platform, item in request.sections.items()}
    _say_private(request, request.sections[request.here])
    return write_condalock(records, request.sections[request.here].channels)


def to_environment(request: ExportRequest[CondaTable, Locked]) -> str:
    """Return this machine's section as an environment.yml with exact builds. What it cannot hold is said."""
    here = request.sections[request.here]
    _say_left_out(request, "environment.yml", ())
    say_projects_left_out(request.subject.spec.name, "environment.yml", [here.layer], request.say)
    _say_private(request, here)
    file = EnvironmentFile(
        name=request.subject.spec.name,
        channels=tuple(channel.written or channel.name for channel in here.channels),
        dependencies=tuple(f"{item.name}={item.version}={item.build}" for item in here.records),
        pip=tuple(f"{item.name}=={item.version}" for item in here.layer.packages),
        variables=here.variables,
    )
    return write_environment(file)


def components(locked: Locked) -> Iterator[Component]:
    """Yield the records with what each depends on, the modules below, and what pip adds."""
    for item in locked.records:
        kind = "conda" if item.file.endswith(".conda") else "tar.bz2"
        needed = (line.split()[0] for line in item.depends)
        yield Component(
            item.name,
            item.version,
            purl("conda", item.name, item.version, build=item.build, channel=item.channel, subdir=item.subdir, type=kind),
            {item.file: item.sha256},
            license=item.license,
            # What begins with __ is a property of a machine, such as its C library.
            depends=tuple(name for name in needed if not name.startswith("__")),
        )
    if locked.mpi is not None:
        yield from of_modules(locked.mpi)
    yield from of_layer(locked.layer)


FORMATS = {"conda-explicit": to_explicit, "conda-lock": to_condalock, "environment.yml": to_environment}
"""The functions that write each format."""


def _say_private(request: ExportRequest[CondaTable, Locked], section: Locked) -> None:
    """Say of which channels only the settings know where they are: the file names a public address, which may not be one."""
    for channel in section.channels:
        first, settings = channel.name.partition("/")[0], request.subject.site.settings.channels
        if not channel.written and first not in WELL_KNOWN and not settings.keys().isdisjoint({first, channel.name}):
            others = f"the channel {channel.name} is {channel.public} to others"
            request.say(f"{request.subject.spec.name}: {others}: its address in [tool.ozrepro.channels] is this site's")


def _say_left_out(request: ExportRequest[CondaTable, Locked], form: str, sections: Iterable[Locked]) -> None:
    """Say which packages of pip and variables of the sections a format has no place for, and that it has none for modules."""
    held = tuple(sections)
    pip = sorted({item.name for one in held for item in one.layer.packages})
    rest = counted(pip, sorted({name for one in held for name in one.variables}))
    elsewhere = "; environment.yml holds them" if rest else ""
    mpi = request.sections[request.here].mpi
    if mpi is not None:
        rest.append(f"the modules to be loaded beside it ({' '.join(mpi.load)})")
    if rest:
        request.say(f"{request.subject.spec.name}: {form} has no place for {' and '.join(rest)}{elsewhere}")
