"""A user's own collections of modules, as `module save NAME` writes them: read as text, never run."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from ozrepro.modulesystem import ModuleError

if TYPE_CHECKING:
    from collections.abc import Sequence

FOLDERS = (".lmod.d", ".config/lmod", ".module")
"""Where a home has collections: two folders of Lmod's, and that of Environment Modules."""

_LARGEST = 1 << 20
_ENTRY = re.compile(r'\bfullName = "([^"\\]+)",((?:(?!fullName = ).)*?)\bstatus = "active"', re.DOTALL)
_ORDER = re.compile(r"\bloadOrder = (\d{1,6}),")
_LINE = re.compile(r"module\s+(use|load)\s+(.+)\Z")
_WORD = re.compile(r"\{([^{}]*)\}|(\S+)")


def text_of(name: str, folders: Sequence[str], suffix: str = "") -> str:
    """Return what a collection's file says, from the first folder that has it. Raises ModuleError with those that there are."""
    for folder in folders:
        path = os.path.join(folder, name + suffix)
        if os.path.isfile(path):
            try:
                with open(path, encoding="utf-8", errors="surrogateescape") as stream:
                    return stream.read(_LARGEST)
            except OSError as error:
                raise ModuleError(f"the collection {name} cannot be read: {error.strerror}", where=path) from error
    there = sorted({_shown(file, suffix) for folder in folders if os.path.isdir(folder) for file in os.listdir(folder)} - {""})
    known = f"; saved are {', '.join(there)}" if there else ""
    raise ModuleError(f"there is no collection {name!r} of yours{known}", hint=f"module save {name}")


def _shown(file: str, suffix: str) -> str:
    """Return a file's name as that of a collection, "" for another system's and for one kept as it was before."""
    return file.removesuffix(suffix) if file.endswith(suffix) and not file.startswith((".", "__")) and file[-1] != "~" else ""


def lmod_names(text: str) -> tuple[str, ...]:
    """Return the exact names in a collection of Lmod's that were loaded by name, in load order."""
    found: list[tuple[int, str]] = []
    for entry in _ENTRY.finditer(text):
        order = _ORDER.search(entry[2])
        if re.search(r"\bstackDepth = 0,", entry[2]) or "stackDepth" not in entry[2]:
            found.append((int(order[1]) if order else 0, entry[1]))
    return tuple(name for _, name in sorted(found))


def tcl_names(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names in a collection of Environment Modules that were loaded by name, and the directories that it uses."""
    names: list[str] = []
    folders: list[str] = []
    for line in text.splitlines():
        found = _LINE.match(line.strip())
        words = [braced or plain for braced, plain in _WORD.findall(found[2])] if found else []
        options = [word for word in words if word.startswith("-")]
        rest = [word for word in words if not word.startswith("-")]
        if found and found[1] == "use":
            folders += rest
        elif not any("auto-loaded" in word or word == "--notuasked" for word in options):
            names += rest[:1]
    return tuple(names), tuple(folders)


def exact(names: Sequence[str], loaded: Sequence[str], others: str) -> tuple[str, ...]:
    """Return the exact name that each name stood for in a load that gave `loaded`.

    `others` are the further names of modules loaded, as __MODULES_LMALTNAME has them. Raises ModuleError.
    """
    further = {part.split("&")[0]: {word.split("|")[-1] for word in part.split("&")[1:]} for part in others.split(":")}
    found: list[str] = []
    for name in names:
        fitting = [full for full in loaded if full == name or full.startswith(f"{name}/") or name in further.get(full, ())]
        if not fitting:
            raise ModuleError(f"{name} of the collection is not loaded by it", hint="module restore, then module save")
        found.append(name if name in fitting else fitting[0])
    return tuple(found)
