"""The entries of the package cache: a folder NAME-VERSION-BUILD with a package's content, as rattler reads it, and our mark.

The mark says which archive was checked and unpacked there; an entry without it is not ours.
"""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MARK = "info/ozrepro"
"""A file of an entry: the sha256 of the archive that was checked and unpacked."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One package in the cache: its folder, where its archive is, and what is known of that."""

    title: str
    folder: str
    url: str
    channel: str
    sha256: str
    size: int | None

    @classmethod
    def of(cls, table: Mapping[str, Any], cache: Path) -> Entry:
        """Return the entry of a locked record with the address of its channel."""
        title = f"{table['name']}-{table['version']}-{table['build']}"
        url = f"{table['address']}/{table['subdir']}/{table['file']}"
        return cls(title, str(cache / "pkgs" / title), url, table["channel"], table["sha256"], table.get("size"))


def is_whole(entry: Entry) -> bool:
    """Say whether the cache has the package as it was unpacked: every file there, of its size. The contents are not read."""
    try:
        if not is_marked(entry):
            return False
        for path, size in _listed(entry.folder):
            found = os.lstat(f"{entry.folder}/{path}")
            if size not in (None, found.st_size) and stat.S_ISREG(found.st_mode):
                return False
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return True


def is_marked(entry: Entry) -> bool:
    """Say whether what is in the cache was unpacked here, from the archive that is locked."""
    try:
        with open(f"{entry.folder}/{MARK}", encoding="ascii") as stream:
            return stream.read(65) == entry.sha256
    except (OSError, ValueError):
        return False


def paths_in(content: Path) -> list[str]:
    """Return the paths that a package lists, none where it has no list that can be read."""
    try:
        return [str(path) for path, _ in _listed(str(content))]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _listed(folder: str) -> Iterator[tuple[str, int | None]]:
    """Yield path and size of each file that a package lists; packages of before 2017 have no sizes."""
    try:
        for item in json.loads(Path(folder, "info", "paths.json").read_bytes())["paths"]:
            yield item["_path"], item.get("size_in_bytes")
    except FileNotFoundError:
        for line in Path(folder, "info", "files").read_text(encoding="utf-8").splitlines():
            yield line, None
