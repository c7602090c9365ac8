"""Looks something up in the index of a site's modules: what `ozrepro spider` answers, as values."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

from ozrepro.modulesystem import ModuleError
from ozrepro.modulesystem.capture import with_parents

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ozrepro.modulesystem.index import Index, IndexedModule

BARE = "-bare"
"""The end of the name of a module without packages, on OzSTAR."""

_PIECE = re.compile(r"[0-9]+|[abc](?=[0-9])|[A-Za-z]+")
_BEFORE = ("dev", "a", "alpha", "b", "beta", "c", "pre", "preview", "rc")
_NEAR = 8


@dataclass(frozen=True, slots=True)
class Way:
    """One way to a module: what must be loaded first, in order, and the packages that it then has, by name."""

    first: tuple[str, ...]
    packages: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Offer:
    """A module by its exact name: whether it is hidden, and each way to it."""

    name: str
    hidden: bool
    ways: tuple[Way, ...]

    @property
    def short(self) -> str:
        """The name without the version."""
        return self.name.rpartition("/")[0] or self.name

    @property
    def version(self) -> str:
        """The version, "" where there is none."""
        return self.name.rpartition("/")[2] if "/" in self.name else ""

    @property
    def bare(self) -> bool:
        """Whether this is a module with hardly any packages beside a full one."""
        return self.name.endswith(BARE)

    def versions_of(self, package: str) -> tuple[str, ...]:
        """Return the versions in which its ways have a package."""
        found = (version for way in self.ways for name, version in way.packages if normal(name) == normal(package))
        return tuple(dict.fromkeys(found))


def normal(name: str) -> str:
    """Return a package's name as PEP 503 compares names."""
    return re.sub(r"[-_.]+", "-", name).lower()


def version_key(version: str) -> tuple[tuple[int, int, str], ...]:
    """Return what sorts versions as people read them: 4.1.4 before 4.1.10, 1.0rc1 before 1.0, 3.10.4 before 3.10.4-bare."""
    pieces = [(found.group(), version[found.end() : found.end() + 1]) for found in _PIECE.finditer(version)]
    return (*(_rank(*piece) for piece in pieces), (0, 0, version))


def _rank(piece: str, after: str) -> tuple[int, int, str]:
    word = piece.lower()
    if word.isdigit():
        return (2, int(word[:99]), "")
    # The a of 1.0a1 is before 1.0, that of 2022a after 2022.
    early = word in _BEFORE and (len(word) > 1 or after.isdigit())
    return (-1, _BEFORE.index(word), "") if early else (1, 0, word)


def search(index: Index, pattern: str = "", *, package: str = "", hidden: bool = False) -> tuple[Offer, ...]:
    """Return the modules whose name holds the pattern, in any case, or the one of exactly this name; all without a pattern.

    With `package`, only the ways to a module that have this package. Hidden modules only with `hidden`.
    """
    if pattern in index.modules:
        names: Iterable[str] = (pattern,)
    else:
        names = (name for name in index.modules if pattern.lower() in name.lower())
    found = [offer for name in names for offer in _offered(name, index.modules[name], hidden)]
    if package:
        kept = ((offer, tuple(way for way in offer.ways if _has(way, package))) for offer in found)
        found = [replace(offer, ways=ways) for offer, ways in kept if ways]
    return tuple(sorted(found, key=lambda offer: (offer.short.lower(), offer.short, version_key(offer.version))))


def _has(way: Way, package: str) -> bool:
    return any(normal(name) == normal(package) for name, _ in way.packages)


def _offered(name: str, modules: Sequence[IndexedModule], hidden: bool) -> Iterable[Offer]:
    shown = [module for module in modules if hidden or not module.hidden]
    ways: dict[tuple[str, ...], set[tuple[str, str]]] = {}
    for module in shown:
        for chain in module.parents or ((),):
            ways.setdefault(chain, set()).update(map(_package, module.provides))
    if ways:
        made = (Way(chain, tuple(sorted(found, key=_by_name))) for chain, found in sorted(ways.items()))
        yield Offer(name, all(module.hidden for module in shown), tuple(made))


def _by_name(package: tuple[str, str]) -> tuple[str, tuple[str, str]]:
    return (normal(package[0]), package)


def _package(text: str) -> tuple[str, str]:
    name, slash, version = text.rpartition("/")
    return (name, version) if slash else (text, "")


def load_names(index: Index, name: str, first: tuple[str, ...]) -> tuple[str, ...]:
    """Return the fewest names to write into a spec's `load` so that the module is loaded behind this chain.

    The parents are found by themselves where only one chain leads to the module; else enough of them are named to choose it.
    """
    for count in range(len(first) + 1):
        for parents in combinations(first, count):
            try:
                if with_parents((*parents, name), index) == (*first, name):
                    return (*parents, name)
            except ModuleError:
                continue
    return (*first, name)


def nothing(index: Index, pattern: str, package: str) -> tuple[str, tuple[str, ...]]:
    """Return why nothing was found, with what is like it, and the words of the command to try next."""
    words = ("ozrepro", "spider", *([pattern] if pattern else []), *(["--provides", package] if package else []))
    if search(index, pattern, package=package, hidden=True):
        return "only hidden modules answer to that", (*words, "--hidden")
    if not index.modules:
        return "the site's module directories hold no module", ("ozrepro", "spider", "--refresh")
    if package and search(index, package=package):
        return f"no module with {pattern!r} in its name has the package {package!r}", ("ozrepro", "spider", "--provides", package)
    if package:
        return f"no module says that it has the package {package!r}{_like(_packages_near(index, package))}", ("ozrepro", "spider")
    if search(index, package=pattern):
        return f"no module's name has {pattern!r} in it, but there is such a package", (
            "ozrepro",
            "spider",
            "--provides",
            pattern,
        )
    return f"no module's name has {pattern!r} in it{_like(index.candidates(pattern)[:_NEAR])}", ("ozrepro", "spider")


def _like(names: Sequence[str]) -> str:
    return f"; there are {', '.join(names)}" if names else ""


def _packages_near(index: Index, package: str) -> list[str]:
    known = {normal(_package(text)[0]) for modules in index.modules.values() for module in modules for text in module.provides}
    wanted = normal(package)
    parts = sorted(name for name in known if wanted in name or name in wanted) if len(wanted) > 2 else []
    return list(dict.fromkeys((*difflib.get_close_matches(wanted, sorted(known), _NEAR, 0.6), *parts)))[:_NEAR]


def as_table(offer: Offer, index: Index) -> dict[str, Any]:
    """Return a module as it is printed in JSON."""
    ways = [
        {"load_first": list(way.first), "load": list(load_names(index, offer.name, way.first)), "packages": dict(way.packages)}
        for way in offer.ways
    ]
    return {
        "module": offer.name,
        "name": offer.short,
        "version": offer.version,
        "bare": offer.bare,
        "hidden": offer.hidden,
        "ways": ways,
    }
