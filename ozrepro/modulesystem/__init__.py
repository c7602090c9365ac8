"""Lmod, through a thin binding of our own: calling it, reading what it prints, the change it makes, replaying that change.

No maintained Python binding exists: PyPI's `pylmod` is a grade-book client, and all others `exec` what Lmod prints, which loses
newlines and runs what modulefiles print. Called by the modules method; Tcl Environment Modules can implement the same contract.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ozrepro.modulesystem.index import Index
    from ozrepro.modulesystem.reading import Reading
    from ozrepro.modulesystem.shell import ShellParts


@dataclass(frozen=True, slots=True)
class LoadedModule:
    """One module of a loaded list, in load order: its exact name, its file, and whether it was asked for by name."""

    name: str
    file: str
    requested: bool = False


class ModuleSystem(Protocol):
    """What a module tool must be able to do for us."""

    @property
    def kind(self) -> str:
        """`lmod` or `tcl`."""

    @property
    def identity(self) -> str:
        """What its answers depend on besides the modules, as a text to compare: the command and its configuration."""

    def version(self) -> str:
        """Return the tool's own version."""

    def index(self, modulepath: Sequence[str]) -> Index:
        """Return every module that the directories offer, with its parents. One call of the tool. Raises ModuleError."""

    def is_available(self, name: str, variables: Mapping[str, str]) -> bool:
        """Say whether a module can be loaded from these variables, without walking the trees."""

    def load(self, names: Sequence[str], variables: Mapping[str, str]) -> Reading:
        """Return what loading does to these variables. Raises ModuleError with the tool's own message."""

    def shell_parts(self, names: Sequence[str], variables: Mapping[str, str]) -> ShellParts:
        """Return what loading gives a shell besides variables, executing nothing. Raises ModuleError as `load` does."""
