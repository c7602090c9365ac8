"""Module tools, through a thin binding of our own: calling one, reading what it prints, the change it makes, replaying that.

No maintained Python binding exists: PyPI's `pylmod` is a grade-book client, and all others `exec` what the tool prints, which
loses newlines and runs what modulefiles print. Called by methods and front ends, which know the protocol below and no tool.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ozrepro.errors import OzreproError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ozrepro.modulesystem.index import Index
    from ozrepro.modulesystem.paths import Arithmetic
    from ozrepro.modulesystem.reading import Reading
    from ozrepro.modulesystem.texts import Text


class ModuleError(OzreproError):
    """A module cannot be found or loaded as asked."""


def refusal_hint(names: Sequence[str]) -> str:
    """Return what to do where one of these modules was read and refused to load: an index knows nothing of the reason."""
    return f"module show {' '.join(names)}, for what it asks; ozrepro loads it without a job's variables"


@dataclass(frozen=True, slots=True)
class LoadedModule:
    """One module of a loaded list, in load order: its exact name, its file, and whether it was asked for by name."""

    name: str
    file: str
    requested: bool = False


@dataclass(frozen=True, slots=True)
class Pitfall:
    """A setting that makes a user's own `module` answer otherwise: what it is, why it hurts, and a command."""

    seen: str
    why: str
    command: str


class Indexing(Protocol):
    """What a module tool offers, which is kept from one command to the next."""

    @property
    def kind(self) -> str:
        """Its name in locks and settings, such as `lmod`; the one that `tools` knows it by."""

    @property
    def identity(self) -> str:
        """What its answers depend on besides the modules, as a text to compare: the command and its configuration."""

    def version(self) -> str:
        """Return the tool's own version."""

    def index(self, modulepath: Sequence[str]) -> Index:
        """Return every module that the directories offer, with its parents. One call of the tool. Raises ModuleError."""


class ModuleSystem(Indexing, Protocol):
    """What a module tool must be able to do for us."""

    @property
    def title(self) -> str:
        """Its name in messages."""

    @property
    def command(self) -> str:
        """The absolute path of its program."""

    @property
    def oldest(self) -> tuple[int, ...]:
        """The oldest version that ozrepro was tried with."""

    @property
    def endings(self) -> tuple[str, ...]:
        """What a modulefile's name may end in behind the module's own name, "" where it is that name alone."""

    def given(self, variables: Mapping[str, str]) -> ModuleSystem:
        """Return the tool as it is called with further variables, which decide what its modules do."""

    def is_available(self, name: str, variables: Mapping[str, str]) -> bool:
        """Say whether a module can be loaded from these variables, without walking the trees."""

    def load(self, names: Sequence[str], variables: Mapping[str, str]) -> Reading:
        """Return what loading does to these variables and to a bash, running nothing of it.

        The values have the loaded modules in LOADEDMODULES and their files in _LMFILES_, in load order and separated by colons.
        A load that warns does not fail. Raises ModuleError with the tool's own message.
        """

    def read_text(self, path: str, content: str) -> Text:
        """Return which variables a modulefile, rc file or hook reads, by its text. A name too many costs less than one missed."""

    def base_modulepath(self, environ: Mapping[str, str]) -> tuple[str, ...]:
        """Return the site's own module directories, without those that loaded modules added to the caller's MODULEPATH."""

    def rc_files(self) -> list[str]:
        """Return the site's rc files outside the module directories, which give names their meaning; perhaps absent ones."""

    def hook_files(self) -> list[str]:
        """Return the site's files that run in every load; perhaps absent ones."""

    def inactive(self, variables: Mapping[str, str]) -> frozenset[str]:
        """Return the modules that were loaded and are set aside, since the directory that they are in went away."""

    def collection(self, name: str, environ: Mapping[str, str], modulepath: Sequence[str]) -> tuple[str, ...]:
        """Return the exact names in the caller's collection of modules that were loaded by name, in load order.

        Raises ModuleError where there is none.
        """

    def init_file(self, shell: str) -> str:
        """Return the file that gives a shell, such as `bash`, its `module` command; perhaps an absent one."""

    def pitfalls(self, environ: Mapping[str, str]) -> list[Pitfall]:
        """Return the caller's settings that make `module` in the shell answer otherwise than it does for a lock."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A kind of module tool, as the registry `tools` knows it.

    Attributes:
        title: its name in messages.
        find: gives it where a caller with these variables has it here. Starts nothing.
        arithmetic: gives how it does its sums of path variables, by its version.

    """

    title: str
    find: Callable[[Mapping[str, str]], ModuleSystem | None]
    arithmetic: Callable[[str], Arithmetic]
