"""What a conda section of the lock holds, read and checked, and what a spec asks for, its environment file read."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ozrepro.errors import BuildError, LockError, SpecError
from ozrepro.methods.conda.channels import Channel, find_channels, read_channels
from ozrepro.methods.conda.matchspec import take_apart
from ozrepro.methods.conda.records import LockedRecord, read_records
from ozrepro.methods.conda.table import CondaTable
from ozrepro.methods.conda.virtual import Virtual, read_virtual
from ozrepro.project.checking import Checker, shown
from ozrepro.project.files import SMALL
from ozrepro.project.lock import Section, lock_file
from ozrepro.python import interpreter, layer
from ozrepro.python.layer import Layer, LockedLayer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ozrepro.methods.conda.environment_yml import EnvironmentFile
    from ozrepro.modulesystem.loading import Request
    from ozrepro.modulesystem.record import Record
    from ozrepro.project.spec import Spec
    from ozrepro.python.interpreter import Interpreter
    from ozrepro.site import Site

KEYS = ("channels", "virtual", "variables", "record", "mpi", *layer.KEYS)
"""The keys of a section."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a spec asks for, its environment file read."""

    channels: tuple[str, ...]
    dependencies: tuple[str, ...]
    pip: tuple[str, ...]
    variables: Mapping[str, str]
    platforms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Locked:
    """A conda section, read and checked.

    Attributes:
        channels: where the records come from, with their addresses here.
        virtual: the properties of a machine that it was resolved for.
        variables: variables of an environment file.
        records: the packages, each exactly one build.
        layer: what pip adds.
        mpi: the load of the system's MPI beneath it, None where the spec names none.

    """

    channels: tuple[Channel, ...]
    virtual: tuple[Virtual, ...]
    variables: Mapping[str, str]
    records: tuple[LockedRecord, ...]
    layer: LockedLayer
    mpi: Record | None = None

    def below(self) -> dict[str, str]:
        """Return the variables that the system's MPI gives whatever the caller has set, without PATH."""
        return self.mpi.fixed() if self.mpi else {}

    @property
    def addresses(self) -> dict[str, str]:
        """Where each channel is, by its name."""
        return {channel.name: channel.address for channel in self.channels}


def read_section(section: Section, where: str, session: str, site: Site | None = None) -> Locked:
    """Return the section's content. Raises LockError with all mistakes: the lock may come from someone else's repository."""
    checker, base = Checker(where), (section.method, section.platform)
    table = checker.table(section.content, base, KEYS)
    aliases, environ = (site.settings.channels, site.environ) if site is not None else ({}, {})
    written = table.get("variables", {})
    variables = checker.table(written, (*base, "variables"), written if isinstance(written, dict) else ())
    locked = Locked(
        channels=read_channels(checker, table.get("channels", []), (*base, "channels"), aliases, environ),
        virtual=read_virtual(checker, table, (*base, "virtual")),
        variables={name: checker.text_at(variables, (*base, "variables", name), multiline=True) for name in variables},
        records=read_records(checker, table.get("record", []), (*base, "record")),
        layer=layer.read_layer(checker, table, base),
        mpi=_read_mpi(checker, table["mpi"], base, site) if table.get("mpi") else None,
    )
    named = {channel.name for channel in locked.channels}
    for number, item in enumerate(locked.records):
        if item.channel not in named:
            checker.wrong((*base, f"record[{number}]", "channel"), f"{shown(item.channel)} is none of the section's channels")
    for name in locked.variables:
        if not name.isidentifier() or name in ("PATH", "HOME"):
            checker.wrong((*base, "variables", name), "is no variable's name that an environment may set")
    if locked.layer.build or any(not file.is_wheel for package in locked.layer.packages for file in package.files):
        checker.wrong((*base, "package"), "holds a source archive: in a conda environment pip takes wheels alone")
    if checker.mistakes:
        raise LockError("\n  ".join(("is refused:", *checker.mistakes)), where=where, hint=f"ozrepro lock {session}")
    return locked


def _read_mpi(checker: Checker, table: object, base: tuple[str, ...], site: Site | None) -> Record:
    from ozrepro.modulesystem import record

    places = record.places_of(str(site.settings.root), site.environ.get("HOME", "")) if site else record.EXAMPLE
    here = record.replaced(table, lambda text: record.local(text, places))
    return record.read_record(checker, checker.table(here, (*base, "mpi"), record.KEYS), (*base, "mpi"))


def check_agreement(locked: Locked, spec: Spec, site: Site, platform: str, where: str) -> None:
    """Raise LockError, with all of it, where a section that claims to answer this spec holds what the spec does not ask for."""
    wanted, checker, base = wanted_of(spec), Checker(where), ("conda", platform)
    channels = find_channels(wanted.channels, site.settings.channels, site.environ, where=str(spec.path))
    asked: dict[str, tuple[object, object]] = {
        "channels": ([item.as_table() for item in locked.channels], [item.as_table() for item in channels]),
        "variables": (dict(locked.variables), dict(wanted.variables)),
        "mpi": (_asked_for(locked.mpi), sorted(described(spec).mpi)),
    }
    layer.check_agreement(checker, base, locked.layer, layer_of(spec), asked)
    there = {item.name for item in locked.records}
    for text in wanted.dependencies:
        name = take_apart(text).name
        if not name.startswith("__") and name not in there:
            checker.wrong((*base, "record"), f"lacks {name}, which the spec asks for")
    if checker.mistakes:
        raise LockError("\n  ".join(("is refused:", *checker.mistakes)), where=where, hint=f"ozrepro lock {spec.name}")


def _asked_for(mpi: Record | None) -> list[str]:
    return sorted(name for name in mpi.load if name not in mpi.parents) if mpi is not None else []


def mpi_spec(module: str) -> str:
    """Return how conda is asked for the system's MPI: the empty build that promises it (conda-forge's documentation, "MPI")."""
    name, _, version = module.partition("/")
    return f"{name.lower()}={version}=external_*"


def mpi_request(spec: Spec, site: Site) -> Request | None:
    """Return the modules that `mpi` names as they are to be loaded, or None where it names none."""
    names = described(spec).mpi
    if not names:
        return None
    from ozrepro.modulesystem import loading

    return loading.request_of(names, "conda.mpi", spec, site)


def wanted_of(spec: Spec) -> Wanted:
    """Return what the spec asks for, its environment file read. Raises SpecError with all mistakes."""
    table = described(spec)
    if not table.file:
        return Wanted(table.channels, table.dependencies, table.pip, {}, table.platforms)
    file = _file(spec, table)
    pip = (*file.pip, *table.pip)
    return Wanted(file.channels or table.channels, file.dependencies, pip, file.variables, file.platforms or table.platforms)


def _file(spec: Spec, described: CondaTable) -> EnvironmentFile:
    from ozrepro.methods.conda.environment_yml import read_environment

    path = spec.root / described.file
    if not os.path.realpath(path).startswith(os.path.realpath(spec.root) + os.sep):
        raise SpecError(str(spec.path), [f"conda.file: {described.file}: leads out of the project; copy the file into it"])
    try:
        return read_environment(spec.files.text(path, SMALL), str(path), described.channels)
    except OSError as error:
        raise SpecError(
            str(spec.path), [f"conda.file: {described.file}: {error.strerror}; name a file of the project"]
        ) from error


def described(spec: Spec) -> CondaTable:
    """Return the spec's table, which the caller knows to be there."""
    table = spec.tables["conda"]
    assert isinstance(table, CondaTable), "the registry has this method read its table"
    return table


def layer_of(spec: Spec) -> Layer:
    """Return what the spec has pip add."""
    return Layer(spec, "conda", wanted_of(spec).pip, (), described(spec).passed)


def read_here(section: Section, site: Site, spec: Spec | None = None) -> Locked:
    """Return a section's content with the addresses of this caller. Raises LockError as `read_section`.

    A build asks several times for the same section, and checking each package's record takes a while: the last one is kept.
    """
    kept = _LAST.get("read")
    if kept is not None and kept[0] is section and kept[1] is site:
        return kept[2]
    where = str(lock_file(spec.root, spec.name)) if spec is not None else section.title
    locked = read_section(section, where, spec.name if spec is not None else "", site)
    _LAST["read"] = (section, site, locked)
    return locked


_LAST: dict[str, tuple[Section, Site, Locked]] = {}


def interpreter_of(prefix: Path) -> Interpreter:
    """Return the Python of a conda environment. Raises BuildError where there is none."""
    found = interpreter.ask(str(prefix / "bin" / "python"))
    if found is None:
        raise BuildError(
            "the environment has no Python that runs", where=str(prefix), hint="add python to dependencies in [conda]"
        )
    return found
