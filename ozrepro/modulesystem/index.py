"""What a site's modules offer: exact names, files, parents and included packages, from Lmod's `spider -o spider-json`."""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclass(frozen=True, slots=True)
class IndexedModule:
    """One modulefile: exact name, file, chains of modules of which one must be loaded first, packages it has."""

    name: str
    file: str
    parents: tuple[tuple[str, ...], ...] = ()
    provides: tuple[str, ...] = ()
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class Index:
    """All modules below some directories, by exact name; a name may stand in several places of a hierarchy."""

    modules: Mapping[str, tuple[IndexedModule, ...]]

    def candidates(self, name: str) -> list[str]:
        """Return the exact names that somebody who wrote `name` may have meant, the nearest first."""
        short = name.partition("/")[0]
        same = [full for full in sorted(self.modules) if full.rpartition("/")[0] in (short, name) and not self._is_hidden(full)]
        if same:
            return same
        near = difflib.get_close_matches(name, [full for full in self.modules if not self._is_hidden(full)], 5, 0.5)
        return near or sorted(full for full in self.modules if short and short.lower() in full.lower())[:5]

    def _is_hidden(self, name: str) -> bool:
        return all(module.hidden for module in self.modules[name])

    def chains(self, name: str) -> tuple[tuple[str, ...], ...]:
        """Return each chain of modules that makes the exact name loadable, in load order; one empty chain for a core module."""
        found = {chain for module in self.modules.get(name, ()) for chain in (module.parents or ((),))}
        return tuple(sorted(found))

    def providers(self, package: str) -> list[tuple[str, str]]:
        """Return the modules that say they include a package, with its version."""
        wanted = package.lower().replace("_", "-")
        return sorted(
            (name, version)
            for name, modules in self.modules.items()
            for module in modules
            for has, _, version in (item.rpartition("/") for item in module.provides)
            if has.lower().replace("_", "-") == wanted
        )


def read_index(output: str, messages: str = "") -> Index:
    """Return the index that `spider -o spider-json` printed; text of printing modulefiles before it is dropped.

    Raises ValueError where there is none in it.
    """
    # The index is the last line; modulefiles may print before it, even JSON.
    decoder = json.JSONDecoder(strict=False)
    for line in reversed(output.splitlines()):
        try:
            table = decoder.decode(line)
        except ValueError:
            continue
        if isinstance(table, dict) and all(isinstance(files, dict) for files in table.values()):
            return Index(_modules(table))
    if output.strip() in ("", "[]"):
        return Index({})
    raise ValueError(f"the module tool printed no index: {(messages or output).strip()[-300:]}")


def _modules(table: Mapping[str, Any]) -> dict[str, tuple[IndexedModule, ...]]:
    found: dict[str, list[IndexedModule]] = {}
    for files in table.values():
        for file, entry in sorted(files.items()):
            if not isinstance(entry, dict) or "fullName" not in entry:
                continue
            module = IndexedModule(
                name=str(entry["fullName"]),
                file=str(file),
                parents=tuple(sorted(tuple(str(name) for name in chain) for chain in entry.get("parentAA", ()) or ())),
                provides=tuple(sorted(_provided(entry.get("provides", ())))),
                hidden=bool(entry.get("hidden")),
            )
            found.setdefault(module.name, []).append(module)
    return {name: tuple(modules) for name, modules in sorted(found.items())}


def _provided(items: Iterable[object]) -> Iterable[str]:
    return (str(item) for item in items)
