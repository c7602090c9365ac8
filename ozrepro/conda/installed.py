"""What stands in a conda environment, as its own records (`conda-meta/*.json`) tell it."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ozrepro.errors import BuildError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from ozrepro.conda.records import LockedRecord
    from ozrepro.store.manifest import Digests


@dataclass(frozen=True, slots=True)
class Placed:
    """One file of an installed package: sha256 as the package has it, or as rattler changed it where it holds the prefix."""

    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Installed:
    """One installed package and its files; `sha256` is its archive's."""

    name: str
    version: str
    build: str
    sha256: str
    files: tuple[Placed, ...]

    @property
    def title(self) -> str:
        """Name, version and build as the cache's folders have them."""
        return f"{self.name}-{self.version}-{self.build}"


def installed(prefix: Path) -> tuple[Installed, ...]:
    """Return the packages of an environment by name. Raises BuildError where a record cannot be read."""
    found: list[Installed] = []
    for path in sorted((prefix / "conda-meta").glob("*.json")):
        try:
            record = json.loads(path.read_bytes())
            files = tuple(
                Placed(
                    item["_path"],
                    item.get("sha256_in_prefix") or ("" if item.get("prefix_placeholder") else item.get("sha256", "")),
                )
                for item in record["paths_data"]["paths"]
            )
            found.append(Installed(record["name"], record["version"], record["build"], record.get("sha256", ""), files))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise BuildError(f"is no record of a package: {error}", where=str(path)) from error
    return tuple(sorted(found, key=lambda item: item.name))


def unlike_lock(packages: Iterable[Installed], records: Iterable[LockedRecord]) -> Iterator[str]:
    """Yield each difference between the packages of an environment and those locked."""
    wanted = {record.name: record for record in records}
    there = {package.name: package for package in packages}
    for name in sorted(wanted.keys() | there.keys()):
        if name not in there:
            yield f"{wanted[name].title} is not installed"
        elif name not in wanted:
            yield f"{there[name].title} is installed but not locked"
        elif there[name].title != wanted[name].title or there[name].sha256 not in ("", wanted[name].sha256):
            yield f"{name} is {there[name].title}, locked is {wanted[name].title} of another archive"


def damaged(prefix: Path, packages: Iterable[Installed], digests: Digests) -> dict[str, list[str]]:
    """Return, by package title, the files that are gone or not the package's: someone wrote into the cache.

    Give these titles to `Helper.install` as `forget`, and install into a new prefix.
    """
    wrong: dict[str, list[str]] = {}
    for package in packages:
        lines = [line for file in package.files if (line := _differs(f"{prefix}/{file.path}", file, digests))]
        if lines:
            wrong[package.title] = lines
    return wrong


def _differs(path: str, file: Placed, digests: Digests) -> str | None:
    try:
        found = os.lstat(path)
        if not stat.S_ISREG(found.st_mode) or not file.sha256 or digests.of(path, found) == file.sha256:
            return None
    except OSError as error:
        return f"{file.path}: {error.strerror}"
    return f"{file.path}: is not the recorded file"
