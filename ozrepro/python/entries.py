"""What uv's PEP 751 output says, as a lock has it; and the wheels that uv was given in the place of commits of repositories."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from packaging.utils import canonicalize_name

from ozrepro.errors import BuildError, CommandFailed
from ozrepro.project.requirement import check_address
from ozrepro.python.packages import LockedFile, LockedPackage

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ozrepro.project.gitaddress import Commit
    from ozrepro.python.resolve import Wanted


@dataclass(frozen=True, slots=True)
class Built:
    """A wheel in the place of a commit: where it is kept, and the exact versions that it was built with, as requirements."""

    commit: Commit
    file: LockedFile
    folder: Path
    needs: tuple[str, ...]

    @property
    def uri(self) -> str:
        """The address of the wheel on this machine."""
        return (self.folder / self.file.name).as_uri()


def _locked_of(entry: Mapping[str, Any], built: Sequence[Built]) -> tuple[LockedFile, str] | None:
    """Return the wheel and the address of the commit that an entry of uv's answer is, None where it is no built one."""
    archive = entry.get("archive") or {}
    where = str(archive.get("url") or archive.get("path") or "")
    found = next((item for item in built if unquote(where).endswith(f"{item.folder.name}/{item.file.name}")), None)
    return (found.file, found.commit.address) if found is not None else None


def with_addresses(error: CommandFailed, built: Iterable[Built]) -> CommandFailed:
    """Return an error of uv with the addresses of commits in the place of the wheels'."""
    what = error.what
    for item in built:
        what = what.replace(item.uri, item.commit.address)
    return error if what == error.what else CommandFailed(what, where=error.where, hint=error.hint)


def packages_of(entries: Iterable[Mapping[str, Any]], wanted: Wanted) -> tuple[list[LockedPackage], dict[str, str]]:
    """Return the packages of uv's PEP 751 entries, and where each file came from, by its sha256.

    Raises BuildError for a source that a lock may not hold.
    """
    packages: list[LockedPackage] = []
    sources: dict[str, str] = {}
    for entry in entries:
        name, version, marker = entry["name"], str(entry.get("version", "")), str(entry.get("marker", ""))
        commit = _locked_of(entry, wanted.built)
        if commit is not None:
            packages.append(LockedPackage(name, version, (commit[0],), marker, url=commit[1]))
            continue
        for kind in ("vcs", "directory"):
            if kind in entry:
                raise BuildError(
                    f"{name} comes from {'version control' if kind == 'vcs' else 'a local directory'}, which has no hash",
                    hint="publish a wheel and name its version, or its https address with #sha256=…",
                )
        archive = entry.get("archive")
        if archive is not None:
            url = str(archive.get("url", ""))
            if not url.startswith("https://"):
                raise BuildError(f"{name} comes from a local file", hint="put it into a wheelhouse and set PIP_FIND_LINKS to it")
            problem = check_address(url)
            if problem:  # of a package that another one requires; those of the spec are checked with it
                raise BuildError(f"{name} comes from an address that a lock cannot hold: {problem}")
            file = _file(archive)
            packages.append(LockedPackage(name, version, (file,), marker, url=url.split("#", maxsplit=1)[0]))
            sources[file.sha256] = url
            continue
        chosen = (
            [entry["sdist"]] if canonicalize_name(name) in map(canonicalize_name, wanted.build) and "sdist" in entry else None
        )
        files: dict[tuple[str, str], LockedFile] = {}
        for item in chosen if chosen is not None else entry.get("wheels", []):
            file = _file(item)
            known = files.get((file.name, file.sha256))
            if known is None or known.size is None:
                files[file.name, file.sha256] = file
            sources.setdefault(file.sha256, str(item.get("url") or item.get("path")))
        packages.append(LockedPackage(name, version, tuple(files[key] for key in sorted(files)), marker))
    return packages, sources


def _file(item: Mapping[str, Any]) -> LockedFile:
    address = str(item.get("url") or item.get("path") or "")
    name = str(item.get("name") or unquote(urlsplit(address).path.rpartition("/")[2]))
    sha256 = item.get("hashes", {}).get("sha256")
    size = item.get("size")
    local = unquote(urlsplit(address).path) if address.startswith("file:") else ""
    if local:
        # A wheelhouse tells no sizes, and a flat directory no hashes.
        size = os.stat(local).st_size
        sha256 = sha256 or hashlib.sha256(Path(local).read_bytes()).hexdigest()
    if not sha256:
        raise BuildError(f"the index gives no sha256 for {name}", hint="add #sha256=… to its address, or use another index")
    return LockedFile(name, sha256, size)
