"""What the lock says of Python packages: versions, markers, and each file by name, size and sha256."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from packaging.markers import InvalidMarker, Marker
from packaging.utils import (
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import Version

from ozrepro.project.checking import shown
from ozrepro.project.gitaddress import Commit, read_commit
from ozrepro.project.reader import Check, Range
from ozrepro.project.requirement import check_address, is_decidable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from packaging.tags import Tag

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]*\Z", re.ASCII)
_LONGEST = 2000
"""Characters of a marker."""
_MOST_TAGS = 500
_INDEX = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z", re.ASCII)


def _check_file_name(name: str) -> str | None:
    return None if _FILE_NAME.match(name) and len(name) <= 255 else f"{name!r} is not a plain file name"


def _check_sha256(text: str) -> str | None:
    return None if _SHA256.match(text) else f"{shown(text)} is not a sha256 in hexadecimal: every file needs one"


def check_name(name: str) -> str | None:
    """Return what is wrong with the name of a distribution, or None."""
    return None if name and canonicalize_name(name) == name else f"{name!r} is not a normalized distribution name"


def _check_version(text: str) -> str | None:
    return None if _version(text) is not None else f"{text!r} is not a version"


def _check_marker(text: str) -> str | None:
    return None if not text or _is_marker(text) else f"{text!r} is not an environment marker"


def _check_index(name: str) -> str | None:
    return None if not name or _INDEX.match(name) else f"{name!r} is not an index name: a lock holds names, never addresses"


def _check_url(url: str) -> str | None:
    return check_address(url) if url else None


def _is_marker(text: str) -> bool:
    if len(text) > _LONGEST or "\\" in text:
        return False  # packaging reads a backslash as Python does, uv and pip as a character
    try:
        return is_decidable(Marker(text))
    except (InvalidMarker, RecursionError):
        return False


def _version(text: str) -> Version | None:
    try:
        return Version(text)
    except ValueError:  # also of a number with thousands of digits
        return None


@dataclass(frozen=True, slots=True)
class LockedFile:
    """One downloadable file. `size` is in bytes, None where the index did not tell."""

    name: Annotated[str, Check(_check_file_name)]
    sha256: Annotated[str, Check(_check_sha256)]
    size: Annotated[int, Range(unit="bytes")] | None = None

    @property
    def is_wheel(self) -> bool:
        """Whether this is a wheel, and not an sdist."""
        return self.name.endswith(".whl")

    def as_table(self) -> dict[str, Any]:
        """Return the file as it is in the lock."""
        return {"name": self.name, **({} if self.size is None else {"size": self.size}), "sha256": self.sha256}

    def tags(self) -> frozenset[Tag]:
        """Return the tags of a wheel."""
        return parse_wheel_filename(self.name)[3]


@dataclass(frozen=True, slots=True)
class LockedPackage:
    """One version of one package: when it is needed, from which configured index or direct address, and its files.

    `built` is the wheel that was compiled from its source archive, where the lock's platform says against what.
    """

    name: Annotated[str, Check(check_name)]
    version: Annotated[str, Check(_check_version)]
    files: tuple[LockedFile, ...]
    marker: Annotated[str, Check(_check_marker)] = ""
    index: Annotated[str, Check(_check_index)] = ""
    url: Annotated[str, Check(_check_url)] = ""
    built: LockedFile | None = None

    def problems(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """Yield what the files' names say otherwise than the package, and a compiled wheel that is none."""
        if not self.files:
            yield ("files",), "is empty: without a file and its hash nothing may be installed"
        places = [((f"files[{number}]", "name"), file) for number, file in enumerate(self.files)]
        for path, file in [*places, *([(("built", "name"), self.built)] if self.built is not None else [])]:
            found = _name_and_version(file.name)
            if found is None or found[0] != self.name:
                yield path, f"{file.name!r} is not a file of {self.name!r}"
            elif found[1] != _version(self.version):
                yield path, f"{file.name!r} is not a file of version {self.version}"
        if self.commit is not None and (len(self.files) != 1 or not self.files[0].is_wheel):
            yield ("files",), "is not the one wheel that was built from the commit"
        if self.built is not None and (not self.built.is_wheel or any(file.is_wheel for file in self.files)):
            yield ("built",), "is not a wheel that was compiled from a source archive"

    @property
    def commit(self) -> Commit | None:
        """The commit of a repository that its wheel was built from, if it was."""
        return read_commit(self.url)

    def applies(self, environment: Mapping[str, str]) -> bool:
        """Say whether the package is needed where the marker variables are those of `environment`."""
        return not self.marker or Marker(self.marker).evaluate({**environment, "extra": ""})

    def as_table(self) -> dict[str, Any]:
        """Return the package as it is in the lock."""
        table: dict[str, Any] = {"name": self.name, "version": self.version}
        for key in ("marker", "index", "url"):
            if getattr(self, key):
                table[key] = getattr(self, key)
        if self.built is not None:
            table["built"] = self.built.as_table()
        table["files"] = [file.as_table() for file in self.files]
        return table


def _check_path(path: str) -> str | None:
    parts = path.split("/")
    return f"{shown(path)} leads out of the project" if path.startswith(("/", "~")) or ".." in parts else None


@dataclass(frozen=True, slots=True)
class LockedProject:
    """A local project in a lock: its folder from the project's root, and the sources in it that are compiled, from there too."""

    name: Annotated[str, Check(check_name)]
    extras: tuple[str, ...] = ()
    path: Annotated[str, Check(_check_path)] = ""
    marker: Annotated[str, Check(_check_marker)] = ""
    compiles: tuple[Annotated[str, Check(_check_path)], ...] = ()

    def applies(self, environment: Mapping[str, str]) -> bool:
        """Say whether the project is needed where the marker variables are those of `environment`."""
        return not self.marker or Marker(self.marker).evaluate({**environment, "extra": ""})

    def as_table(self) -> dict[str, object]:
        """Return the project as it is in the lock."""
        table: dict[str, object] = {"name": self.name}
        if self.path:
            table["path"] = self.path
        else:
            table["extras"] = list(self.extras)
        if self.marker:
            table["marker"] = self.marker
        if self.compiles:
            table["compiles"] = list(self.compiles)
        return table


def sorted_packages(packages: list[LockedPackage]) -> tuple[LockedPackage, ...]:
    """Return the packages in the lock's order: name, version, marker."""
    return tuple(sorted(packages, key=lambda item: (item.name, Version(item.version), item.marker)))


def distribution_of(file_name: str) -> str | None:
    """Return the normalized name of the distribution that a wheel or sdist is of, or None where it is neither."""
    found = _name_and_version(file_name)
    return found[0] if found is not None else None


def _name_and_version(file_name: str) -> tuple[str, Version] | None:
    try:
        if not file_name.endswith(".whl"):
            found = parse_sdist_filename(file_name)
            return str(found[0]), found[1]
        # Its compressed tags are multiplied out by whoever parses it: 150 of each sort are three million.
        if math.prod(part.count(".") + 1 for part in file_name.removesuffix(".whl").split("-")[-3:]) > _MOST_TAGS:
            return None
        name, version, _, _ = parse_wheel_filename(file_name)
    except ValueError:  # the three of packaging, and that of a number with thousands of digits
        return None
    return str(name), version
