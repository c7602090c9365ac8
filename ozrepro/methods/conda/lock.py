"""What a conda section of the lock holds, read and checked, and what a spec asks for, its environment file read."""

from __future__ import annotations

import os
from collections.abc import Mapping  # noqa: TC003  # the reader looks annotations up
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any

from ozrepro.errors import BuildError, SpecError, UsageError
from ozrepro.methods.conda.channels import Channel, LockedChannel, channels_here, find_channels
from ozrepro.methods.conda.environment_yml import EnvironmentFile, read_environment
from ozrepro.methods.conda.matchspec import NAME, channel_in, name_in
from ozrepro.methods.conda.records import LockedRecord, repeated
from ozrepro.methods.conda.virtual import Virtual, check_virtual
from ozrepro.project import sources
from ozrepro.project.checking import Checker, shown
from ozrepro.project.files import SMALL
from ozrepro.project.reader import MULTILINE, Check, Read, read_table
from ozrepro.python import interpreter, layer
from ozrepro.python.layer import Layer, LayerContent, LockedLayer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ozrepro.methods.conda.table import CondaTable
    from ozrepro.methods.contract import Subject
    from ozrepro.modulesystem.loading import Request
    from ozrepro.modulesystem.record import Record
    from ozrepro.project.lock import Section
    from ozrepro.python.interpreter import Interpreter
    from ozrepro.site import Site


@dataclass(frozen=True, slots=True)
class Locked:
    """A conda section, read and checked.

    Attributes:
        platform: the section's platform, conda's name of it.
        channels: where the records come from, with their addresses here.
        virtual: the properties of a machine that it was resolved for.
        variables: variables of an environment file.
        records: the packages, each exactly one build.
        layer: what pip adds.
        mpi: the load of the system's MPI beneath it, None where the spec names none.
        cpu_builds: packages whose build for the CPU was taken although there is one for GPUs, as no CUDA was seen or said.

    """

    platform: str
    channels: tuple[Channel, ...]
    virtual: tuple[Virtual, ...]
    variables: Mapping[str, str]
    records: tuple[LockedRecord, ...]
    layer: LockedLayer
    mpi: Record | None = None
    cpu_builds: tuple[str, ...] = ()

    def below(self) -> dict[str, str]:
        """Return the variables that the system's MPI gives whatever the caller has set, without PATH."""
        return self.mpi.fixed() if self.mpi else {}

    @property
    def addresses(self) -> dict[str, str]:
        """Where each channel is, by its name."""
        return {channel.name: channel.address for channel in self.channels}


def _check_variable(name: str) -> str | None:
    good = name.isidentifier() and name not in ("PATH", "HOME")
    return None if good else "is not the name of a variable that an environment may set"


def _check_package(name: str) -> str | None:
    return None if NAME.match(name) else f"{shown(name)} is not the name of a package"


def _read_later(_: Checker, value: object, __: tuple[str, ...]) -> object:
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Content(LayerContent):
    """A section as it is in the lock. The load of the system's MPI has a reader of its own."""

    channels: tuple[LockedChannel, ...] = ()
    virtual: tuple[Annotated[str, Check(check_virtual)], ...] = ()
    variables: Mapping[Annotated[str, Check(_check_variable)], Annotated[str, MULTILINE]] = field(default_factory=dict)
    cpu_builds: tuple[Annotated[str, Check(_check_package)], ...] = ()
    record: tuple[LockedRecord, ...] = ()
    mpi: Annotated[Any, Read(_read_later)] = None

    def problems(self) -> Iterator[tuple[str | tuple[str, ...], str]]:
        """Yield what does not fit together: a name given twice, a record of a channel that is not listed."""
        if any(not file.is_wheel for package in self.package for file in package.files):
            yield "package", "holds a source archive: in a conda environment pip takes wheels alone"
        yield from LayerContent.problems(self)
        yield from repeated(self.channels, "channels")
        yield from repeated(self.record, "record")
        named = {channel.name for channel in self.channels}
        for number, item in enumerate(self.record):
            if item.channel not in named:
                yield (f"record[{number}]", "channel"), f"{shown(item.channel)} is not one of the section's channels"


def read_section(checker: Checker, section: Section, site: Site) -> Locked:
    """Return the section's content with the addresses that its channels have here; what is wrong is noted in `checker`."""
    base = (section.method, section.platform)
    content = read_table(checker, Content, section.content, base)
    channels: tuple[Channel, ...] = ()
    try:
        channels = channels_here(content.channels, site.settings.channels, site.environ)
    except UsageError as error:
        checker.wrong((*base, "channels"), error.what, error.hint)
    return Locked(
        platform=section.platform,
        channels=channels,
        virtual=tuple(Virtual(*text.split("=")) for text in content.virtual),
        variables=content.variables,
        records=content.record,
        layer=content.layer,
        mpi=_read_mpi(checker, content.mpi, base, site) if content.mpi else None,
        cpu_builds=content.cpu_builds,
    )


def _read_mpi(checker: Checker, table: object, base: tuple[str, ...], site: Site) -> Record:
    from ozrepro.modulesystem import record

    places = record.places_of(str(site.settings.root), site.environ.get("HOME", ""))
    return record.read_record(checker, table, (*base, "mpi"), places)


def mismatches(subject: Subject[CondaTable], locked: Locked) -> list[str]:
    """Return what a section that claims to answer this spec holds and the spec does not ask for, one line each."""
    wanted, checker, base = wanted_of(subject), Checker(""), ("conda", locked.platform)
    channels = channels_of(subject, wanted)
    asked: dict[str, tuple[object, object]] = {
        "channels": ([item.as_table() for item in locked.channels], [item.as_table() for item in channels]),
        "variables": (dict(locked.variables), dict(wanted.variables)),
        "mpi": (_asked_for(locked.mpi), sorted(subject.table.mpi)),
    }
    layer.check_agreement(checker, base, locked.layer, layer_of(subject, wanted), asked)
    names = {item.name for item in locked.records}
    for text in wanted.dependencies:
        name = name_in(text)
        if name not in names:
            checker.wrong((*base, "record"), f"lacks {name}, which the spec asks for")
    return checker.mistakes


def _asked_for(mpi: Record | None) -> list[str]:
    return sorted(name for name in mpi.load if name not in mpi.parents) if mpi is not None else []


def mpi_spec(module: str) -> str:
    """Return how conda is asked for the system's MPI: the empty build that promises it (conda-forge's documentation, "MPI")."""
    name, _, version = module.partition("/")
    return f"{name.lower()}={version}=external_*"


def mpi_request(subject: Subject[CondaTable]) -> Request | None:
    """Return the modules that `mpi` names as they are to be loaded, or None where it names none."""
    if not subject.table.mpi:
        return None
    from ozrepro.modulesystem import loading

    return loading.request_of(subject.table.mpi, "conda.mpi", subject.spec, subject.site)


def wanted_of(subject: Subject[CondaTable]) -> EnvironmentFile:
    """Return what the spec asks for, its environment file read. Raises SpecError with all mistakes."""
    table, spec = subject.table, subject.spec
    given = EnvironmentFile("", table.channels, table.dependencies, table.pip, {}, table.platforms)
    if not table.file:
        return given
    path = spec.root / table.file
    if not os.path.realpath(path).startswith(os.path.realpath(spec.root) + os.sep):
        raise SpecError(str(spec.path), [f"conda.file: {table.file}: leads out of the project; copy the file into it"])
    try:
        file = _read_file(spec.files.text(path, SMALL), path, os.path.dirname(table.file), spec.name)
    except OSError as error:
        raise SpecError(str(spec.path), [f"conda.file: {table.file}: {error.strerror}; name a file of the project"]) from error
    return replace(
        file,
        channels=file.channels or given.channels,
        pip=(*file.pip, *given.pip),
        platforms=file.platforms or given.platforms,
    )


def _read_file(text: str, path: Path, folder: str, session: str) -> EnvironmentFile:
    """Return what an environment.yml says. Raises SpecError, which calls another tool's lock by its name."""
    try:
        return read_environment(text, str(path), folder)
    except SpecError as error:
        kind = ""
        with suppress(UsageError):
            kind = sources.kind_of_text(text, str(path))
        if kind in ("", sources.ENVIRONMENT_YML):
            raise
        hint = f"write dependencies in [conda], then ozrepro lock {session} --from {path.name}"
        raise SpecError(str(path), [f"is {kind}, and not an environment.yml"], hint=hint) from error


def channels_of(subject: Subject[CondaTable], wanted: EnvironmentFile) -> tuple[Channel, ...]:
    """Return the channels with their addresses here: those listed, and last what a `CHANNEL::package` names besides, as conda.

    Raises SpecError with all mistakes.
    """
    spec, site = subject.spec, subject.site
    texts = (*wanted.channels, *filter(None, map(channel_in, wanted.dependencies)))
    return find_channels(texts, site.settings.channels, site.environ, where=str(spec.path))


def layer_of(subject: Subject[CondaTable], wanted: EnvironmentFile) -> Layer:
    """Return what the spec has pip add."""
    return Layer(subject.spec, "conda", wanted.pip, (), subject.table.passed)


def interpreter_of(prefix: Path) -> Interpreter:
    """Return the Python of a conda environment. Raises BuildError where there is none."""
    python = interpreter.ask(str(prefix / "bin" / "python"))
    if python is None:
        raise BuildError(
            "the environment has no Python that runs", where=str(prefix), hint="add python to dependencies in [conda]"
        )
    return python
