"""Python distributions as their files tell, by `look`: names and versions that no lock or message can hold are refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ozrepro.errors import BuildError
from ozrepro.project.checking import shown
from ozrepro.python import look

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
"""What reading a foreign answer raises where it is of another form."""

_LONGEST = 300


@dataclass(frozen=True, slots=True)
class Distribution:
    """A Python distribution: name, version, and the names that it is imported by."""

    name: str
    version: str
    imports: tuple[str, ...] = ()


def distributions_in(folders: Iterable[str]) -> tuple[Distribution, ...]:
    """Return the distributions in folders, the first of a name. Raises BuildError for one that no message can hold."""
    try:
        return read_distributions(look.distributions(tuple(folders)))
    except UNREADABLE as error:
        raise BuildError(f"the packages inside cannot be listed: {error}") from error


def read_distributions(table: Mapping[str, Any]) -> tuple[Distribution, ...]:
    """Return the distributions that `look.distributions` lists, by name. Raises one of `UNREADABLE`."""
    entries = {str(name): (str(version), tuple(map(str, names))) for name, (version, names) in table.items()}
    check_texts((*entries, *(version for version, _ in entries.values())), entries)
    for name in (name for _, names in entries.values() for name in names):
        if not name.isidentifier() or len(name) > _LONGEST:
            raise ValueError(f"{shown(name)} cannot be imported")
    return tuple(Distribution(name, *entries[name]) for name in sorted(entries))


def check_texts(texts: Iterable[str], names: Iterable[str]) -> None:
    """Raise ValueError for a text that no lock or message can hold, and for a name that is empty."""
    for text in texts:
        if not text.isprintable() or len(text) > _LONGEST:
            raise ValueError(f"{shown(text)} is neither a name nor a version")
    if not all(name.strip() for name in names):
        raise ValueError("a package has no name")
