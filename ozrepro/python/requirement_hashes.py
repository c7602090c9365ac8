"""The hashes that requirement files name with `--hash=`: of a package that has some, only these files may be locked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ozrepro.errors import BuildError
from ozrepro.project.requirement import entries_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ozrepro.project.checking import Checker
    from ozrepro.python.packages import LockedPackage


@dataclass(frozen=True, slots=True)
class Hashed:
    """A requirement that has hashes: where it stands, and the sha256 of each file that it allows, in lower case."""

    place: str
    requirement: Requirement
    sha256: frozenset[str]

    def speaks_of(self, package: LockedPackage) -> bool:
        """Say whether it is about this version of this package."""
        named = canonicalize_name(self.requirement.name) == package.name
        return named and self.requirement.specifier.contains(package.version, prereleases=True)


def hashed_in(where: str, text: str) -> list[Hashed]:
    """Return the requirements with hashes in the text of a requirement file that was checked; `where` is its name."""
    found = [entry for entry in entries_of(text) if entry.hashes]
    return [Hashed(f"{where}, line {entry.line}", Requirement(entry.text), entry.sha256) for entry in found]


def allowed(package: LockedPackage, hashed: Iterable[Hashed]) -> LockedPackage:
    """Return the package with those of its files that its hashes name; with all where nothing names a hash for it."""
    speaking = [item for item in hashed if item.speaks_of(package)]
    if not speaking:
        return package
    named = frozenset().union(*(item.sha256 for item in speaking))
    return replace(package, files=tuple(file for file in package.files if file.sha256 in named))


def refused(package: LockedPackage, hashed: Iterable[Hashed], target: str) -> BuildError:
    """Return the error for a package of which no file for `target`, a platform and Python or "", has one of its hashes."""
    places = " and ".join(item.place for item in hashed if item.speaks_of(package))
    return BuildError(
        f"no file of {package.name} {package.version}{f' for {target}' if target else ''} has a hash that is named there",
        where=places,
        hint="write version and hashes again (pip-compile --generate-hashes), or lock from the index that has these files",
    )


def check_hashes(checker: Checker, base: tuple[str, ...], packages: Sequence[LockedPackage], hashed: Sequence[Hashed]) -> None:
    """Note each locked file whose hash is none of those that the requirement files name for its package."""
    for number, package in enumerate(packages):
        named = allowed(package, hashed).files
        for index, file in enumerate(package.files):
            if file not in named:
                place = (*base, f"package[{number}]", f"files[{index}]", "sha256")
                checker.wrong(place, f"is none of the hashes that the requirement files name for {package.name}")
