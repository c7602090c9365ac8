"""A plug-in for a third module tool, the `shmod` beside this file, as another distribution would have it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar

from ozrepro import process
from ozrepro.modulesystem import ModuleError, Pitfall, Tool
from ozrepro.modulesystem.index import Index, IndexedModule
from ozrepro.modulesystem.paths import Arithmetic
from ozrepro.modulesystem.reading import Reading
from ozrepro.modulesystem.texts import Text, is_followable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NAMES = re.compile(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)", re.ASCII)
STAYING = Arithmetic("", cleans=False, moves=False, ones=False)
"""An entry that is there already stays where it is, and nothing is counted."""


@dataclass(frozen=True, slots=True)
class Shmod:
    """The command of shmod."""

    command: str
    kind: ClassVar[str] = "shmod"
    title: ClassVar[str] = "shmod"
    oldest: ClassVar[tuple[int, ...]] = (1, 0)
    endings: ClassVar[tuple[str, ...]] = (".sh",)
    site: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def identity(self) -> str:
        """The program and the site's variables."""
        return "\0".join((self.command, *(f"{name}={value}" for name, value in sorted(self.site.items()))))

    def version(self) -> str:
        """Return what it says."""
        return self._ask(("version",), {}).output.strip()

    def given(self, variables: Mapping[str, str]) -> Shmod:
        """Return it with further variables."""
        return replace(self, site={**self.site, **variables})

    def _ask(self, words: Sequence[str], variables: Mapping[str, str]) -> process.Finished:
        return process.run([self.command, *words], env={"PATH": process.CLEAN_PATH, **variables, **self.site}, timeout=60)

    def index(self, modulepath: Sequence[str]) -> Index:
        """Return what the directories have; there is no hierarchy."""
        entries = self._ask(("avail",), {"MODULEPATH": ":".join(modulepath)}).output.split("\0")
        pairs = [entry.removeprefix("module ").partition("=") for entry in entries if entry]
        return Index({name: (IndexedModule(name, file),) for name, _, file in reversed(pairs)})

    def is_available(self, name: str, variables: Mapping[str, str]) -> bool:
        """Say whether a directory has it."""
        return name in self.index(variables.get("MODULEPATH", "").split(":")).modules

    def load(self, names: Sequence[str], variables: Mapping[str, str]) -> Reading:
        """Return what shmod says that loading does."""
        done = self._ask(("load", *names), variables)
        if done.status != 0:
            raise ModuleError(f"cannot load {' '.join(names)}: {done.errors.strip()}")
        values: dict[str, str] = {}
        paths, deleted = {"PATH": ":"}, set()
        for entry in filter(None, done.output.split("\0")):
            verb, _, rest = entry.partition(" ")
            name, _, value = rest.partition("=")
            if verb == "unset":
                deleted.add(name)
                continue
            values[name] = value
            paths |= {name: ":"} if verb == "path" else {}
        return Reading(values, frozenset(deleted), done.errors, paths=paths)

    def read_text(self, path: str, content: str) -> Text:
        """Return the variables that a shell would look up."""
        return Text(names=frozenset(filter(is_followable, NAMES.findall(content))))

    def base_modulepath(self, environ: Mapping[str, str]) -> tuple[str, ...]:
        """Return MODULEPATH, which no module changes."""
        return tuple(folder for folder in environ.get("MODULEPATH", "").split(":") if folder)

    def rc_files(self) -> list[str]:
        """Return nothing: there are none."""
        return []

    def hook_files(self) -> list[str]:
        """Return the program, which is all that runs in a load."""
        return [self.command]

    def inactive(self, variables: Mapping[str, str]) -> frozenset[str]:
        """Return nothing: no module goes away."""
        return frozenset()

    def collection(self, name: str, environ: Mapping[str, str], modulepath: Sequence[str]) -> tuple[str, ...]:
        """Raise: there are none."""
        raise ModuleError(f"shmod has no collections, and none of the name {name!r}", hint="name the modules in load")

    def init_file(self, shell: str) -> str:
        """Return where one would be."""
        return os.path.join(os.path.dirname(self.command), "init", shell)

    def pitfalls(self, environ: Mapping[str, str]) -> list[Pitfall]:
        """Return none."""
        return []


def find(environ: Mapping[str, str]) -> Shmod | None:
    """Return the program that SHMOD_CMD names."""
    command = environ.get("SHMOD_CMD", "")
    return Shmod(command) if os.path.isabs(command) and os.access(command, os.X_OK) else None


TOOL = Tool(Shmod.title, find, lambda version: STAYING)
