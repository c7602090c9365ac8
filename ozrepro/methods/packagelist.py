"""Where a method's table of a spec names packages: the value of `contract.NamesPackages`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True, slots=True)
class PackageList:
    """Where a method's table of a spec names the packages that a user may add.

    Attributes:
        keys: the way to the array, from the spec's top; what is absent of it is made.
        check, package: say what is wrong with an entry, or None, and which package it asks for, "" where it names none.
        beginning, entries: what else the array's own table holds where it is made, and the entries that are there.

    """

    keys: tuple[str, ...]
    check: Callable[[str], str | None]
    package: Callable[[str], str]
    beginning: Mapping[str, object] = field(default_factory=dict)
    entries: tuple[str, ...] = ()
