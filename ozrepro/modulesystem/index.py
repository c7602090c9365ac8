"""What a site's modules offer: exact names, files, parents and included packages, from Lmod's `spider -o spider-json`."""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

_SHOWN = 8


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
    """All modules below some directories, by exact name; a name may be in several places of a hierarchy."""

    modules: Mapping[str, tuple[IndexedModule, ...]]

    def candidates(self, name: str) -> list[str]:
        """Return the exact names that somebody who wrote `name` may have meant, the nearest first."""
        seen = [full for full in sorted(self.modules) if not self._is_hidden(full)]
        if parts := self.completions(name):
            return parts
        short = name.rstrip("/").partition("/")[0]
        if same := [full for full in seen if full == short or full.startswith(f"{short}/")]:
            return sorted(same, key=lambda full: (not full.startswith(name), full))
        near = difflib.get_close_matches(name.lower(), [full.lower() for full in seen], 5, 0.5)
        return [full for full in seen if full.lower() in near] or [full for full in seen if short.lower() in full.lower()][:5]

    def completions(self, name: str) -> list[str]:
        """Return the exact names of which `name` is a part: `python` and `python/3.10` of `python/3.10.4`, not of 3.10.4-bare."""
        word = name.rstrip("/")
        marks = (f"{word}/", f"{word}.") if "/" in word else (f"{word}/",)
        return [full for full in sorted(self.modules) if full.startswith(marks) and not self._is_hidden(full)]

    def _is_hidden(self, name: str) -> bool:
        return all(module.hidden for module in self.modules[name])

    def chains(self, name: str) -> tuple[tuple[str, ...], ...]:
        """Return each chain of modules that makes the exact name loadable, in load order; one empty chain for a core module."""
        found = {chain for module in self.modules.get(name, ()) for chain in (module.parents or ((),))}
        return tuple(sorted(found))


@dataclass(frozen=True, slots=True)
class Judged:
    """Lines on names that cannot be locked: `loose` ones, which stand for an exact name, and those of modules that are absent."""

    loose: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()


def judge(names: Sequence[str], index: Index, is_alias: Callable[[str], bool]) -> Judged:
    """Return a line for each name that the index does not have exactly, with what may have been meant.

    A loose name is a part of an exact one, or one that the tool resolves: `is_alias` says that of an alias or a symbolic version,
    and is asked only about names that are neither exact nor a part.
    """
    loose: list[str] = []
    absent: list[str] = []
    for name in names:
        if "/" not in name and (name in index.modules or index.completions(name)):
            versions = _listed(index.completions(name), " or ") if index.completions(name) else ""
            loose.append(f"{name} has no version: write {versions}" if versions else f"{name} has no version, which a lock needs")
            continue
        if name in index.modules:
            continue
        near = _listed(index.candidates(name))
        if index.completions(name):
            loose.append(f"{name!r} is only a part of a module's name: {near}")
        elif is_alias(name):
            loose.append(f"{name!r} is an alias or a symbolic version here, which can be moved; exact names: {near}")
        else:
            absent.append(f"there is no module {name!r} here; {near if near == _NOTHING else f'there are {near}'}")
    return Judged(tuple(loose), tuple(absent))


_NOTHING = "nothing has a like name"


def _listed(names: Sequence[str], mark: str = ", ") -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return mark.join(names[:_SHOWN]) + more or _NOTHING


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
        # Lua writes a table without entries as an array: a name of which all versions are hidden from everybody.
        if isinstance(table, dict) and all(isinstance(files, dict) or files == [] for files in table.values()):
            return Index(_modules({name: files for name, files in table.items() if files}))
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
