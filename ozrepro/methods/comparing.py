"""Whether the methods of one lock give the same versions: told from the lock, or by the files of the environments."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING

from ozrepro.project.lockdiff import Difference
from ozrepro.python.distributions import distributions_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_RELEASE = re.compile(r"[0-9]+(\.[0-9]+)*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Inside:
    """What one method gives.

    Attributes:
        versions: of Python and its distributions, by name.
        imports: the names that each can be imported by, None where only a lock was read that does not tell.
        unsure: of a lock, packages that may be distributions under other names, or none, as conda's are.
        others: packages of other tools that are inside too, such as an image's: a distribution is none of them.

    """

    versions: Mapping[str, str]
    imports: Mapping[str, frozenset[str]] | None = field(default=None)
    unsure: Mapping[str, str] = field(default_factory=dict)
    others: Mapping[str, str] = field(default_factory=dict)

    @property
    def named(self) -> dict[str, str]:
        """The version of all that is or may be a distribution."""
        return {**self.unsure, **self.versions}


def inside_of(python: str, folders: Iterable[str]) -> Inside:
    """Return what a Python of this version finds in folders, as the metadata there tells. Nothing of it is started.

    Raises BuildError for names and versions that no message can hold.
    """
    found = distributions_in(folders)
    release = _RELEASE.match(python)
    versions = {"python": release[0] if release else python, **{item.name: item.version for item in found}}
    return Inside(versions, {item.name: frozenset(item.imports) for item in found})


def differences(left: Inside, right: Inside) -> list[Difference]:
    """Return each package whose version differs or that one side lacks, then each name that one side alone can import."""
    names = sorted(left.versions.keys() | right.versions.keys())
    pairs = ((name, left.versions.get(name, ""), right.versions.get(name, "")) for name in names)
    found = [Difference(name, one, other) for name, one, other in pairs if one != other]
    if left.imports is None or right.imports is None:
        return found
    lacking = {item.what for item in found if not (item.left and item.right)}
    mine, theirs = (_importable(side.imports or {}, lacking) for side in (left, right))
    here, there = (frozenset().union(*(side.imports or {}).values()) for side in (left, right))
    found += [Difference(f"import {name}", "works", "") for name in sorted(mine - there)]
    return found + [Difference(f"import {name}", "", "works") for name in sorted(theirs - here)]


def differences_of_locks(left: Inside, right: Inside) -> tuple[list[Difference], list[str]]:
    """Return what surely differs between two methods as their locks tell, and the names of which that cannot be said.

    A name that one lock alone has differs where both list all distributions by their names; `python` is not in every lock.
    """
    found: list[Difference] = []
    undecided: list[str] = []
    for name in sorted(left.named.keys() | right.named.keys()):
        one, other = left.named.get(name, ""), right.named.get(name, "")
        if one and other:
            if not _alike(one, other):
                found.append(Difference(name, one, other))
            continue
        holder, lacks = (left, right) if one else (right, left)
        if name in holder.unsure and _alike(lacks.others.get(name, ""), holder.unsure[name]):
            continue
        if name == "python" or name in holder.unsure or lacks.unsure.keys() - holder.named.keys():
            undecided.append(name)
        else:
            found.append(Difference(name, one, other))
    return found, undecided


def _alike(one: str, other: str) -> bool:
    """Say whether two versions are one; of several, for several Pythons, whether they share one."""
    return bool({*one.split(" | ")} & {*other.split(" | ")})


def _importable(imports: Mapping[str, frozenset[str]], lacking: set[str]) -> frozenset[str]:
    """Return the public names that distributions which both sides have can be imported by."""
    every = (names for name, names in imports.items() if name not in lacking)
    return frozenset(word for names in every for word in names if not word.startswith("_"))


def unlike(sides: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Return the names whose versions differ between any two methods that have them; `sides` are versions by method."""
    found: set[str] = set()
    for one, other in combinations(sides.values(), 2):
        found |= {name for name in one.keys() & other.keys() if not _alike(one[name], other[name])}
    return sorted(found)
