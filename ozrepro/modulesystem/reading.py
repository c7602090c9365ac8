"""What a module tool said a load does, as data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ozrepro.modulesystem import LoadedModule
from ozrepro.modulesystem.shell import ShellParts

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Reading:
    """What one call said.

    Attributes:
        values: variables set.
        deleted: variables unset.
        messages: what it said to its user.
        shell: functions, aliases and limits.
        paths: the path variables among the values and their separators, where the tool does not say them by counts.
        effects: commands for a shell that say not all that they do, as text; whose they are is not known here.

    """

    values: Mapping[str, str]
    deleted: frozenset[str] = frozenset()
    messages: str = ""
    shell: ShellParts = field(default_factory=ShellParts)
    effects: tuple[str, ...] = ()
    paths: Mapping[str, str] | None = None


def loaded(reading: Reading) -> tuple[LoadedModule, ...]:
    """Return the loaded list that a reading ends with, in load order."""
    names = [name for name in reading.values.get("LOADEDMODULES", "").split(":") if name]
    files = [file for file in reading.values.get("_LMFILES_", "").split(":") if file]
    return tuple(LoadedModule(name, file) for name, file in zip(names, files, strict=False))
