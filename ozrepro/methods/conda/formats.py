"""Other tools' files of conda packages: the lock written for them, and theirs read to be locked."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from ozrepro.errors import SpecError, UsageError
from ozrepro.faststart.ready import content_of
from ozrepro.methods.conda.channels import WELL_KNOWN
from ozrepro.methods.conda.condalock import read_condalock, write_condalock
from ozrepro.methods.conda.environment_yml import EnvironmentFile, write_environment
from ozrepro.methods.conda.explicit import Named, read_explicit, read_url, write_explicit
from ozrepro.project.files import text_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ozrepro.methods.conda.lock import Locked
    from ozrepro.methods.conda.table import CondaTable
    from ozrepro.methods.contract import ExportRequest

_PROJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_RECORD = 256 << 20
"""Bytes of a package's record at most: it lists all files of the package."""

_SHOWN = 10
"""Names of what is left out that are shown; the count covers the others."""


@dataclass(frozen=True, slots=True)
class Source:
    """What another tool's file or environment has: conda packages, pip's as `name==version`, and variables by name."""

    named: tuple[Named, ...]
    pip: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()

    def rest(self, pip: Sequence[str], variables: Iterable[str]) -> list[str]:
        """Return in words what is there besides conda packages, without the requirements and variables that a spec has itself."""
        known = {canonicalize_name(found[0]) for text in pip if (found := _PROJECT.match(text))}
        packages = [text for text in self.pip if canonicalize_name(text.partition("==")[0]) not in known]
        return _words(packages, [name for name in self.variables if name not in set(variables)])


def to_explicit(request: ExportRequest[CondaTable, Locked]) -> str:
    """Return this machine's section as an @EXPLICIT file. What it cannot hold is said."""
    here = request.sections[request.here]
    _say_left_out(request, "conda-explicit", (here,))
    _say_private(request, here)
    return write_explicit(here.records, {channel.name: channel.public for channel in here.channels}, request.here)


def to_condalock(request: ExportRequest[CondaTable, Locked]) -> str:
    """Return the sections of all platforms as a conda-lock file. What it cannot hold is said."""
    _say_left_out(request, "conda-lock", request.sections.values())
    records = {platform: item.records for platform, item in request.sections.items()}
    _say_private(request, request.sections[request.here])
    return write_condalock(records, request.sections[request.here].channels)


def to_environment(request: ExportRequest[CondaTable, Locked]) -> str:
    """Return this machine's section as an environment.yml with exact builds. What it cannot hold is said."""
    here = request.sections[request.here]
    _say_left_out(request, "environment.yml", ())
    file = EnvironmentFile(
        name=request.subject.spec.name,
        channels=tuple(channel.written or channel.name for channel in here.channels),
        dependencies=tuple(f"{item.name}={item.version}={item.build}" for item in here.records),
        pip=tuple(f"{item.name}=={item.version}" for item in here.layer.packages),
        variables=here.variables,
    )
    return write_environment(file)


FORMATS = {"conda-explicit": to_explicit, "conda-lock": to_condalock, "environment.yml": to_environment}
"""The functions that write each format."""


def _say_private(request: ExportRequest[CondaTable, Locked], section: Locked) -> None:
    """Say of which channels only the settings know where they are: the file names a public address, which may not be one."""
    for channel in section.channels:
        first, settings = channel.name.partition("/")[0], request.subject.site.settings.channels
        if not channel.written and first not in WELL_KNOWN and not settings.keys().isdisjoint({first, channel.name}):
            where = f"the file names {channel.public} for the channel {channel.name}"
            request.say(f"{request.subject.spec.name}: {where}: its address in [tool.ozrepro.channels] is this site's")


def _say_left_out(request: ExportRequest[CondaTable, Locked], form: str, sections: Iterable[Locked]) -> None:
    """Say which packages of pip and variables of the sections a format has no place for, and that it has none for modules."""
    held = tuple(sections)
    pip = sorted({item.name for one in held for item in one.layer.packages})
    rest = _words(pip, sorted({name for one in held for name in one.variables}))
    elsewhere = "; environment.yml holds them" if rest else ""
    mpi = request.sections[request.here].mpi
    if mpi is not None:
        rest.append(f"the modules to be loaded beside it ({' '.join(mpi.load)})")
    if rest:
        request.say(f"{request.subject.spec.name}: {form} has no place for {' and '.join(rest)}{elsewhere}")


def _words(packages: Sequence[str], variables: Sequence[str]) -> list[str]:
    """Return how many there are of each, and their names."""
    found: list[str] = []
    for names, one, several in ((packages, "package of pip", "packages of pip"), (variables, "variable", "variables")):
        if names:
            shown = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
            found.append(f"{len(names)} {one if len(names) == 1 else several} ({shown})")
    return found


def read_source(source: str, platform: str) -> Source:
    """Return what an @EXPLICIT file, a conda-lock file, or an environment's folder has.

    Raises SpecError with every mistake, UsageError for anything else.
    """
    path = Path(source)
    if (path / "conda-meta").is_dir():
        return _of_prefix(path)
    try:
        text = text_of(path)
    except OSError as error:
        hint = "name an environment's folder, an @EXPLICIT file or a conda-lock file"
        raise UsageError(f"cannot be read: {error.strerror}", where=source, hint=hint) from error
    if "@EXPLICIT" in text:
        found, named = read_explicit(text, source)
        if named not in ("", platform):
            raise SpecError(source, [f"is for {named}, and this machine is {platform}"])
        return Source(found)
    platforms, pip = read_condalock(text, source)
    if platform not in platforms:
        raise SpecError(source, [f"has no packages for {platform}: only for {', '.join(platforms) or 'none'}"])
    return Source(platforms[platform], pip.get(platform, ()))


def _of_prefix(prefix: Path) -> Source:
    """Return what a conda environment has, as its own records tell it; what no package's record lists, pip has put there."""
    found: list[Named] = []
    mistakes: list[str] = []
    owned: set[str] = set()
    for file in sorted((prefix / "conda-meta").glob("*.json")):
        try:
            record = json.loads(content_of(file, _RECORD))
            address, sha256 = str(record["url"]), str(record.get("sha256") or "")
            found.append(read_url(f"{address}#sha256:{sha256}" if sha256 else address))
            owned.update(path.split("/")[-2] for path in record.get("files", ()) if path.endswith(".dist-info/METADATA"))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            mistakes.append(f"{file.name}: {error}")
    if mistakes or not found:
        raise SpecError(os.fspath(prefix), mistakes or ["has no packages"])
    folders = sorted(path.name for path in prefix.glob("lib/python3*/site-packages/*.dist-info") if path.name not in owned)
    pip = (folder.removesuffix(".dist-info").partition("-") for folder in folders)
    return Source(tuple(found), tuple(f"{name}=={version}" for name, _, version in pip), _variables_of(prefix))


def _variables_of(prefix: Path) -> tuple[str, ...]:
    """Return the names of the variables that `conda env config vars set` has noted in an environment."""
    try:
        return tuple(sorted(json.loads(content_of(prefix / "conda-meta" / "state"))["env_vars"]))
    except (OSError, ValueError, KeyError, TypeError):
        return ()
