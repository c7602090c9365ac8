"""conda-lock's files (`conda-lock.yml`, version 1 of its format), which conda-lock, mamba and micromamba install."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ozrepro.errors import BuildError
from ozrepro.methods.conda.channels import SUBDIRS
from ozrepro.methods.conda.explicit import read_url, url_of
from ozrepro.methods.conda.records import topological
from ozrepro.methods.conda.yamlfile import Reader, dump
from ozrepro.project.checking import shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ozrepro.methods.conda.channels import Channel
    from ozrepro.methods.conda.explicit import Named
    from ozrepro.methods.conda.records import LockedRecord

_HEAD = "# Written by `ozrepro export`. To make the same environment: conda-lock install --name <env> conda-lock.yml\n"


def write_condalock(platforms: Mapping[str, Sequence[LockedRecord]], channels: Sequence[Channel]) -> str:
    """Return the file's text: the records of each platform. Pip packages have no place in it without an index's address.

    Raises BuildError for a package without an md5, which the format demands of conda packages.
    """
    addresses = {channel.name: channel.public for channel in channels}
    packages: list[dict[str, Any]] = []
    for platform, records in sorted(platforms.items()):
        for record in topological(records):
            if not record.md5:
                raise BuildError(
                    f"the lock has no md5 of {record.name}, which conda-lock's format demands", hint="--format conda-explicit"
                )
            packages.append(_package(record, platform, addresses))
    metadata = {
        # conda-lock compares these with its own digest of its sources; there are none, so that it never does.
        "content_hash": {platform: _content(records) for platform, records in sorted(platforms.items())},
        "channels": [{"url": channel.public, "used_env_vars": []} for channel in channels],
        "platforms": sorted(platforms),
        "sources": [],
    }
    return _HEAD + dump({"version": 1, "metadata": metadata, "package": packages})


def _package(record: LockedRecord, platform: str, addresses: Mapping[str, str]) -> dict[str, Any]:
    needs = (line.partition(" ") for line in record.depends if not line.startswith("__"))
    return {
        "name": record.name,
        "version": record.version,
        "manager": "conda",
        "platform": platform,
        "dependencies": {name: version for name, _, version in sorted(needs)},
        "url": url_of(record, addresses),
        "hash": {"md5": record.md5, "sha256": record.sha256},
        "category": "main",
        "optional": False,
    }


def _content(records: Sequence[LockedRecord]) -> str:
    return hashlib.sha256("".join(f"{record.sha256}\n" for record in topological(records)).encode()).hexdigest()


def read_condalock(text: str, where: str) -> tuple[dict[str, tuple[Named, ...]], dict[str, tuple[str, ...]]]:
    """Return the main packages of each platform: conda's, and pip's as `name==version`.

    Raises SpecError with every mistake and its line.
    """
    reader = Reader(text, where)
    table = reader.tree if isinstance(reader.tree, dict) else {}
    if table.get("version") != "1":
        reader.wrong(("version",), f"is {shown(table.get('version'))}: only version 1 of conda-lock's format is read")
        reader.finish()
    value = table.get("package")
    conda: dict[str, dict[str, Named]] = {}
    pip: dict[str, list[str]] = {}
    if not isinstance(value, list):
        reader.wrong(("package",), "is not a list of packages")
        value = []
    for number, entry in enumerate(value):
        if len(reader.mistakes) >= 30:
            break
        _entry(reader, f"package[{number}]", entry, conda, pip)
    reader.finish()
    return {key: tuple(found.values()) for key, found in conda.items()}, {key: tuple(found) for key, found in pip.items()}


def _entry(
    reader: Reader,
    place: str,
    entry: object,
    conda: dict[str, dict[str, Named]],
    pip: dict[str, list[str]],
) -> None:
    if not isinstance(entry, dict):
        reader.wrong((place,), "is not a table")
        return
    words = {key: value for key, value in entry.items() if isinstance(value, str)}
    platform, manager = words.get("platform", ""), words.get("manager", "")
    if words.get("category", "main") != "main" or words.get("optional", "false").lower() == "true":
        return  # development and other extras are not part of the environment
    if platform not in SUBDIRS or manager not in ("conda", "pip"):
        reader.wrong((place, "platform"), f"{shown(platform)} or manager {shown(manager)} is not known")
        return
    if manager == "pip":
        pip.setdefault(platform, []).append(f"{words.get('name', '')}=={words.get('version', '')}")
        return
    hashes = entry.get("hash")
    hashes = hashes if isinstance(hashes, dict) else {}
    mark = hashes.get("sha256") or hashes.get("md5")
    try:
        named = read_url(f"{words.get('url', '').partition('#')[0]}#{mark}")
        named = replace(named, md5=_md5(hashes.get("md5")))
        if (named.name, named.version) != (words.get("name"), words.get("version")):
            raise ValueError(f"is {named.name} {named.version} by its address, {shown(words.get('name'))} by its name")
        if named.name in conda.setdefault(platform, {}):
            raise ValueError(f"{named.name} is listed twice for {platform}")
        conda[platform][named.name] = named
    except ValueError as error:
        reader.wrong((place, "url"), str(error))


def _md5(value: object) -> str:
    if not value:
        return ""
    if not isinstance(value, str) or not re.fullmatch("[0-9a-f]{32}", value):
        raise ValueError(f"{shown(value)} is not an md5")
    return value
