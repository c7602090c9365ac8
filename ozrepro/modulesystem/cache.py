"""Keeps the index of a site's modules from one command to the next, for as long as no directory of modulefiles changes.

A walk over 4,200 modulefiles takes a second of CPU and 8,000 system calls; a look at their directories takes a tenth.
What is not seen is a modulefile edited in place: names stay, but its parents or packages may be others. Hence the time returned.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ozrepro.modulesystem.index import Index, IndexedModule
from ozrepro.store.writing import write_whole

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from ozrepro.modulesystem import Indexing

_SCHEMA = 2
_LARGEST = 256 << 20
_RC = (".modulerc", ".modulerc.lua", ".version")
_NO_MODULES = {".git", ".hg", ".svn", "CVS"}
_SECOND = 1_000_000_000


def cached_index(system: Indexing, modulepath: Sequence[str], folder: Path, *, refresh: bool = False) -> tuple[Index, float]:
    """Return the index of the module directories and when it was made, in epoch seconds: from `folder`, or made again.

    A cache that cannot be read or written, is damaged, or that others could have written is passed over. Raises ModuleError.
    """
    key = "\0".join((system.kind, system.version(), system.identity, *modulepath))
    path = folder / f"index-{hashlib.sha256(key.encode('utf-8', 'surrogateescape')).hexdigest()[:32]}.json"
    found = None if refresh else _read(path)
    if found is not None:
        return found
    began = time.time()
    index = system.index(modulepath)
    stamps = _stamps(watched(index, modulepath))
    # What changed while the index was made, or in the same tick of the file system's clock, could change again unseen.
    if not any(_is_fresh(mtime, began) for mtime in stamps.values() if mtime is not None):
        with suppress(OSError, UnicodeEncodeError):
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(path, json.dumps(_table(index, stamps, began), ensure_ascii=True).encode("ascii"))
    return index, began


def _is_fresh(mtime: int, began: float) -> bool:
    tick = _SECOND if mtime % _SECOND == 0 else _SECOND // 50
    return mtime >= began * _SECOND - tick


def watched(index: Index, modulepath: Sequence[str]) -> list[str]:
    """Return the directories that hold or could hold modulefiles, and the rc files in them.

    A directory without a module is in no index, and a file that is put into it changes no other: so each one below a
    directory of MODULEPATH is taken. One that a hierarchy will look into but that is empty, or not there yet, is found by the
    name of a module, where the directories of others are made of their parents' names.
    """
    folders = dict.fromkeys(modulepath)
    trees: dict[str, None] = {}
    roots: dict[str, None] = {}
    for module in (module for modules in index.modules.values() for module in modules):
        inner = _folders(module)
        folders.update(dict.fromkeys(inner))
        roots.update(dict.fromkeys(inner[-1:]))
        for parent in (chain[-1] for chain in module.parents if chain):
            if inner and inner[-1].endswith(f"/{parent}"):
                trees[inner[-1].removesuffix(f"/{parent}")] = None
    folders.update(dict.fromkeys(_below([*modulepath, *roots])))
    for tree in trees:
        named = (os.path.join(tree, name) for name in index.modules)
        below = [path for path in named if os.path.isdir(path)]
        folders.update(dict.fromkeys([tree, *below, *map(os.path.dirname, below)]))
    rc = (os.path.join(folder, name) for folder in folders for name in _RC)
    return [*folders, *(path for path in rc if os.path.isfile(path))]


def _below(roots: Sequence[str]) -> Iterator[str]:
    """Yield each directory below the roots once, those behind links too, as the module tool follows them."""
    seen: set[tuple[int, int]] = set()
    for root in roots:
        for folder, names, _ in os.walk(root, followlinks=True):
            try:
                found = os.stat(folder)
            except OSError:  # it was removed just now
                names.clear()
                continue
            names[:] = [] if (found.st_dev, found.st_ino) in seen else sorted(set(names) - _NO_MODULES)
            seen.add((found.st_dev, found.st_ino))
            yield folder


def _folders(module: IndexedModule) -> list[str]:
    """Return the directories from that of a modulefile up to the one that is in MODULEPATH."""
    found: list[str] = []
    path = module.file
    for _ in module.name.split("/"):
        path = os.path.dirname(path)
        found.append(path)
    return found


def _stamps(paths: Sequence[str]) -> dict[str, int | None]:
    """Return when each path was changed, in nanoseconds; None for one that is not there."""
    found: dict[str, int | None] = {}
    for path in paths:
        try:
            found[path] = os.stat(path).st_mtime_ns
        except OSError:
            found[path] = None
    return found


def _table(index: Index, stamps: Mapping[str, int | None], made: float) -> dict[str, Any]:
    modules = [
        [module.name, module.file, module.parents, module.provides, module.hidden]
        for found in index.modules.values()
        for module in found
    ]
    return {"schema": _SCHEMA, "made": made, "stamps": stamps, "modules": modules}


def _read(path: Path) -> tuple[Index, float] | None:
    """Return the index in a cache file that still holds, or None."""
    try:
        table = json.loads(_bytes(path))
        if table["schema"] != _SCHEMA or not table["stamps"]:
            return None
        made, stamps = float(table["made"]), dict(table["stamps"])
        if not 0 < made <= time.time() or not all(isinstance(name, str) and name.startswith("/") for name in stamps):
            return None
        if _stamps(list(stamps)) != stamps:
            return None
        found: dict[str, list[IndexedModule]] = {}
        for module in _modules(table["modules"]):
            found.setdefault(module.name, []).append(module)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return Index({name: tuple(modules) for name, modules in found.items()}), made


def _modules(rows: object) -> Iterator[IndexedModule]:
    """Yield the modules in the rows. Raises ValueError or TypeError where a row is not as `_table` wrote it."""
    for name, file, parents, provides, hidden in _listed(rows):
        chains = tuple(tuple(map(_text, _listed(chain))) for chain in _listed(parents))
        yield IndexedModule(_text(name), _text(file), chains, tuple(map(_text, _listed(provides))), hidden is True)


def _listed(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(type(value))
    return value


def _text(value: object) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise ValueError(type(value))
    return value


def _bytes(path: Path) -> bytes:
    """Return a file's content. Raises OSError where it is a link, no file, another user's, writable by all, or too large."""
    number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(number, "rb") as stream:
        found = os.fstat(number)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & stat.S_IWOTH:
            raise PermissionError(path)
        if found.st_size > _LARGEST:
            raise OSError(path)
        return stream.read()
