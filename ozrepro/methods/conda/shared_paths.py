"""Paths that several packages have: the package that conda would link last keeps them, and the files of the others are removed.

rattler chooses in an order of its own, and keeps the other files in `__clobbers__/NAME/` for the day when a package is removed,
which never comes here. Of entry points (`bin/NAME` of a noarch Python package) it takes no note: it writes them into whatever
is at their path, as its threads come to it. So packages that share one are linked one after another.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ozrepro.methods.conda.installed import Installed, Placed

_ASIDE = "__clobbers__/"


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of the paths that several packages have.

    Attributes:
        packages: the packages of the environment, each with the files that are its own now.
        touched: the titles of those that have or had such a path: what was compared of their files counts no more.
        lines: for each two packages whose files differ, which one's are kept.

    """

    packages: tuple[Installed, ...]
    touched: frozenset[str] = frozenset()
    lines: tuple[str, ...] = ()


def settle(prefix: Path, packages: Sequence[Installed], order: Sequence[str]) -> Settled:
    """Give each path that several packages have to the last of them in `order`, all their names. Raises OSError."""
    shared = _shared(packages)
    if not shared:
        return Settled(tuple(packages))
    rank = {name: number for number, name in enumerate(order)}
    moved: dict[str, dict[str, str]] = {}
    pairs: dict[tuple[str, str], list[str]] = {}
    for path, claims in sorted(shared.items()):
        *others, (name, winner) = sorted(claims, key=lambda claim: rank.get(claim[0], -1))
        for other, file in others:
            moved.setdefault(other, {})[file.path] = ""
            if not file.sha256 or file.sha256 != winner.sha256:
                pairs.setdefault((other, name), []).append(path)
        moved.setdefault(name, {})[winner.path] = path
    kept = tuple(_give(prefix, package, moved[package.name]) if package.name in moved else package for package in packages)
    shutil.rmtree(prefix / _ASIDE, ignore_errors=True)
    touched = frozenset(package.title for package in packages if package.name in moved)
    return Settled(kept, touched, lines=tuple(_line(*names, paths) for names, paths in sorted(pairs.items())))


def linked_late(tables: Iterable[Mapping[str, Any]], folders: Sequence[str], order: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Return which packages must be linked after all others, one by one in this order, each with the paths for which it must.

    `tables` are the records and `folders` their contents in the cache.
    """
    claims: dict[str, list[str]] = {}
    written: set[tuple[str, str]] = set()
    for table, folder in zip(tables, folders, strict=True):
        python = table.get("noarch") == "python"
        points = _entry_points(folder) if python else []
        written |= {(point, table["name"]) for point in points}
        for program in {*_listed(f"{folder}/bin"), *(_listed(f"{folder}/python-scripts") if python else ()), *points}:
            claims.setdefault(program, []).append(table["name"])
    rank = {name: number for number, name in enumerate(order)}
    late: dict[str, list[str]] = {}
    for program in sorted({program for program, _ in written}):
        names = sorted(claims[program], key=rank.__getitem__)
        first = next(number for number, name in enumerate(names) if (program, name) in written)
        for name in names[first:] if len(names) > 1 else ():
            late.setdefault(name, []).append(f"bin/{program}")
    return sorted(late.items(), key=lambda item: rank[item[0]])


def _listed(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _entry_points(folder: str) -> list[str]:
    """Return the programs that an installer writes for a noarch Python package (CEP 34, `info/link.json`)."""
    try:
        points = json.loads(Path(folder, "info", "link.json").read_bytes())["noarch"]["entry_points"]
        names = [text.partition("=")[0].strip() for text in points]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []  # there are none, or the installer says what is wrong
    return [name for name in names if name and "/" not in name]


def _shared(packages: Iterable[Installed]) -> dict[str, list[tuple[str, Placed]]]:
    """Return the paths that several packages have, each with their names and files."""
    owners: dict[str, tuple[str, Placed]] = {}
    shared: dict[str, list[tuple[str, Placed]]] = {}
    for package in packages:
        for file in package.files:
            path = file.path.removeprefix(f"{_ASIDE}{package.name}/")
            claim = (package.name, file)
            first = owners.setdefault(path, claim)
            if first is not claim:
                shared.setdefault(path, [first]).append(claim)
    return shared


def _give(prefix: Path, package: Installed, moved: Mapping[str, str]) -> Installed:
    """Move a package's files to their paths, and take those that others keep out of its record; "" is none."""
    for old, new in moved.items():
        if new not in ("", old):
            os.replace(prefix / old, prefix / new)
    path = prefix / "conda-meta" / f"{package.title}.json"
    record = json.loads(path.read_bytes())
    listed = record["paths_data"]["paths"]
    for item in listed:
        if item["_path"] in moved:
            item["_path"] = moved[item["_path"]]
            item.pop("original_path", None)
    record["paths_data"]["paths"] = [item for item in listed if item["_path"]]
    record["files"] = [new for old in record["files"] if (new := moved.get(old, old))]
    path.write_text(json.dumps(record, indent=2), encoding="utf-8")
    files = (file._replace(path=moved.get(file.path, file.path)) for file in package.files)
    return replace(package, files=tuple(file for file in files if file.path))


def _line(loser: str, winner: str, paths: Sequence[str]) -> str:
    more = len(paths) - 1
    others = f" and {more} other file{'s' if more > 1 else ''}" if more else ""
    return f"{loser} and {winner} both have {paths[0]}{others}: {winner}'s {'are' if more else 'is'} kept, as in conda"
