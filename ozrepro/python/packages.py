"""What the lock says of Python packages: versions, markers, and each file by name, size and sha256."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from packaging.markers import InvalidMarker, Marker
from packaging.utils import (
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import Version

from ozrepro.project.requirement import check_address, is_decidable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from packaging.tags import Tag

    from ozrepro.project.checking import Checker

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]*\Z", re.ASCII)
_LONGEST = 2000
"""Characters of a marker."""
_MOST_TAGS = 500
_INDEX = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class LockedFile:
    """One downloadable file. `size` is in bytes, None where the index did not tell."""

    name: str
    sha256: str
    size: int | None = None

    @property
    def is_wheel(self) -> bool:
        """Whether this is a wheel, and not an sdist."""
        return self.name.endswith(".whl")

    def as_table(self) -> dict[str, Any]:
        """Return the file as it stands in the lock."""
        return {"name": self.name, **({} if self.size is None else {"size": self.size}), "sha256": self.sha256}

    def tags(self) -> frozenset[Tag]:
        """Return the tags of a wheel."""
        return parse_wheel_filename(self.name)[3]


@dataclass(frozen=True, slots=True)
class LockedPackage:
    """One version of one package: when it is needed, from which configured index or direct address, and its files.

    `built` is the wheel that was compiled from its source archive, where the lock's platform says against what.
    """

    name: str
    version: str
    files: tuple[LockedFile, ...]
    marker: str = ""
    index: str = ""
    url: str = ""
    built: LockedFile | None = None

    def applies(self, environment: Mapping[str, str]) -> bool:
        """Say whether the package is needed where the marker variables are those of `environment`."""
        return not self.marker or Marker(self.marker).evaluate({**environment, "extra": ""})

    def as_table(self) -> dict[str, Any]:
        """Return the package as it stands in the lock."""
        table: dict[str, Any] = {"name": self.name, "version": self.version}
        for key in ("marker", "index", "url"):
            if getattr(self, key):
                table[key] = getattr(self, key)
        if self.built is not None:
            table["built"] = self.built.as_table()
        table["files"] = [file.as_table() for file in self.files]
        return table


def sorted_packages(packages: list[LockedPackage]) -> tuple[LockedPackage, ...]:
    """Return the packages in the lock's order: name, version, marker."""
    return tuple(sorted(packages, key=lambda item: (item.name, Version(item.version), item.marker)))


def read_packages(checker: Checker, value: object, path: tuple[str, ...]) -> tuple[LockedPackage, ...]:
    """Return the packages of one `[[…package]]` list of a lock, each field checked; mistakes go to `checker`."""
    if not isinstance(value, list):
        checker.wrong(path, "is no list of packages")
        return ()
    return tuple(_package(checker, entry, (*path[:-1], f"{path[-1]}[{index}]")) for index, entry in enumerate(value))


def _package(checker: Checker, value: object, path: tuple[str, ...]) -> LockedPackage:
    table = checker.table(value, path, ("name", "version", "marker", "index", "url", "built", "files"))
    name = checker.text_at(table, (*path, "name"))
    version = checker.text_at(table, (*path, "version"))
    marker = checker.text_at(table, (*path, "marker"))
    index = checker.text_at(table, (*path, "index"))
    url = checker.text_at(table, (*path, "url"))
    if not name or canonicalize_name(name) != name:
        checker.wrong((*path, "name"), f"{name!r} is no normalized distribution name")
    if _version(version) is None:
        checker.wrong((*path, "version"), f"{version!r} is no version")
    if marker and not _is_marker(marker):
        checker.wrong((*path, "marker"), f"{marker!r} is no environment marker")
        marker = ""
    if index and not _INDEX.match(index):
        checker.wrong((*path, "index"), f"{index!r} is no index's name: a lock holds names, never addresses")
    if url and (problem := check_address(url)):
        checker.wrong((*path, "url"), problem)
    files = table.get("files")
    if not isinstance(files, list) or not files:
        checker.wrong((*path, "files"), "is empty: without a file and its hash nothing may be installed")
        files = []
    read = tuple(_file(checker, entry, (*path, f"files[{number}]"), name, version) for number, entry in enumerate(files))
    built = _file(checker, table["built"], (*path, "built"), name, version) if "built" in table else None
    if built is not None and (not built.is_wheel or any(file.is_wheel for file in read)):
        checker.wrong((*path, "built"), "is no wheel that was compiled from a source archive")
    return LockedPackage(name, version, read, marker, index, url, built)


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


def _file(checker: Checker, value: object, path: tuple[str, ...], package: str, version: str) -> LockedFile:
    table = checker.table(value, path, ("name", "size", "sha256"))
    name = checker.text_at(table, (*path, "name"))
    sha256 = checker.text_at(table, (*path, "sha256"))
    size = table.get("size")
    if not _FILE_NAME.match(name) or len(name) > 255:
        checker.wrong((*path, "name"), f"{name!r} is no plain file name")
    elif (found := _name_and_version(name)) is None or found[0] != package:
        checker.wrong((*path, "name"), f"{name!r} is no file of {package!r}")
    elif found[1] != _version(version):
        checker.wrong((*path, "name"), f"{name!r} is no file of version {version}")
    if not _SHA256.match(sha256):
        checker.wrong((*path, "sha256"), "is missing or no sha256 in hexadecimal: every file needs one")
    if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 0):
        checker.wrong((*path, "size"), f"{size!r} is no number of bytes")
        size = None
    return LockedFile(name, sha256, size)


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
