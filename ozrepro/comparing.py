"""Whether the methods of one lock give the same versions: told from the lock, or asked of the environments themselves."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING

from ozrepro import process
from ozrepro.containers.contents import question, read_packages
from ozrepro.errors import BuildError
from ozrepro.lockdiff import Difference

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ozrepro.environment import Environment


@dataclass(frozen=True, slots=True)
class Inside:
    """What one method gives: versions by name, and the names that can be imported, None where only the lock was read."""

    versions: Mapping[str, str]
    imports: Mapping[str, frozenset[str]] | None = field(default=None)


def ask(environment: Environment, caller: Mapping[str, str], root: Path) -> Inside:
    """Return what an environment's own Python finds. Raises BuildError where it has none that answers."""
    words = environment.command(["python3", *question("--packages")])
    done = process.run(words, env=environment.variables_for(caller), cwd=root)
    found = read_packages(done.output)
    if found is None:
        said = (done.errors.strip() or done.output.strip()).splitlines()[-5:]
        raise BuildError("\n    ".join(("its Python does not say what it has:", *said)), hint="ozrepro verify NAME")
    python, distributions = found
    versions = {"python": python, **{item.name: item.version for item in distributions}}
    return Inside(versions, {item.name: frozenset(item.imports) for item in distributions})


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


def _importable(imports: Mapping[str, frozenset[str]], lacking: set[str]) -> frozenset[str]:
    """Return the public names that distributions which both sides have can be imported by."""
    every = (names for name, names in imports.items() if name not in lacking)
    return frozenset(word for names in every for word in names if not word.startswith("_"))


def unlike(sides: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Return the names whose versions differ between any two methods that have them; `sides` are versions by method."""
    found: set[str] = set()
    for one, other in combinations(sides.values(), 2):
        found |= {name for name in one.keys() & other.keys() if one[name] != other[name]}
    return sorted(found)
