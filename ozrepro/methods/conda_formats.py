"""Other tools' files of conda packages: the lock written for them, and theirs read to be locked."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ozrepro.conda.condalock import read_condalock, write_condalock
from ozrepro.conda.environment_yml import EnvironmentFile, write_environment
from ozrepro.conda.explicit import Named, read_explicit, read_url, write_explicit
from ozrepro.errors import SpecError, UsageError
from ozrepro.methods.conda_lock import read_section
from ozrepro.toml import TOMLDecodeError, read_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ozrepro.lock import Section
    from ozrepro.site import Site

FORMS = ("conda-explicit", "conda-lock", "environment.yml")


def export_sections(sections: Sequence[Section], here: str, session: str, where: str, site: Site, form: str) -> str:
    """Return the text of one of FORMS; `here` is the platform of the two that are for one alone. Raises LockError, BuildError."""
    locked = {section.platform: read_section(section, where, session, site) for section in sections}
    own = locked[here]
    if form == "conda-lock":
        return write_condalock({platform: item.records for platform, item in locked.items()}, own.channels)
    if form == "conda-explicit":
        return write_explicit(own.records, own.addresses, here)
    file = EnvironmentFile(
        name=session,
        channels=(*(channel.written or channel.name for channel in own.channels), "nodefaults"),
        dependencies=tuple(f"{item.name}={item.version}={item.build}" for item in own.records),
        pip=tuple(f"{item.name}=={item.version}" for item in own.layer.packages),
        variables=own.variables,
    )
    return write_environment(file)


def read_source(source: str, platform: str) -> tuple[Named, ...]:
    """Return the packages of an @EXPLICIT file, a conda-lock file, or an environment's folder.

    Raises SpecError with every mistake, UsageError for anything else.
    """
    path = Path(source)
    if (path / "conda-meta").is_dir():
        return _of_prefix(path)
    try:
        text = read_file(path)
    except (OSError, TOMLDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        hint = "name an environment's folder, an @EXPLICIT file or a conda-lock file"
        raise UsageError(f"cannot be read: {reason}", where=source, hint=hint) from error
    if "@EXPLICIT" in text:
        found, named = read_explicit(text, source)
        if named not in ("", platform):
            raise SpecError(source, [f"is for {named}, and this machine is {platform}"])
        return found
    platforms, _ = read_condalock(text, source)
    if platform not in platforms:
        raise SpecError(source, [f"has no packages for {platform}: only for {', '.join(platforms) or 'none'}"])
    return platforms[platform]


def _of_prefix(prefix: Path) -> tuple[Named, ...]:
    """Return the packages of a conda environment, as its own records tell them."""
    found: list[Named] = []
    mistakes: list[str] = []
    for file in sorted((prefix / "conda-meta").glob("*.json")):
        try:
            record = json.loads(file.read_bytes())
            address, sha256 = str(record["url"]), str(record.get("sha256") or "")
            found.append(read_url(f"{address}#sha256:{sha256}" if sha256 else address))
        except (OSError, ValueError, KeyError, TypeError) as error:
            mistakes.append(f"{file.name}: {error}")
    if mistakes or not found:
        raise SpecError(os.fspath(prefix), mistakes or ["has no packages"])
    return tuple(found)
