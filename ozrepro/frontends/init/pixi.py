"""Looks at a pixi workspace: its packages of conda and of PyPI, and what of it no spec has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ozrepro.frontends.init import PIXI_FILE, Conda, poetry
from ozrepro.frontends.init.condapackages import CondaPackages
from ozrepro.project.files import SMALL, text_of
from ozrepro.project.toml import TOMLDecodeError, loads

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_READ = frozenset(("workspace", "project", "dependencies", "pypi-dependencies"))
_OPERATORS = tuple("<>=!~")


def look_at_pixi(root: Path, tool: Mapping[str, Any]) -> Conda | None:
    """Return what pixi.toml, else `[tool.pixi]` of pyproject.toml, asks for; None where there is neither."""
    path, table, where = root / PIXI_FILE, tool.get("pixi"), "pyproject.toml tool.pixi"
    if path.is_file():
        where = PIXI_FILE
        try:
            table = loads(text_of(path, SMALL))
        except TOMLDecodeError as error:
            return Conda(left=(f"{PIXI_FILE} is not valid TOML: {error}",), is_project=True)
        except OSError as error:
            return Conda(left=(f"{PIXI_FILE}: {error.strerror}",), is_project=True)
    return _read(table, where) if isinstance(table, dict) else None


def _read(table: Mapping[str, Any], where: str) -> Conda:
    head: dict[str, Any] = next((table[key] for key in ("workspace", "project") if isinstance(table.get(key), dict)), {})
    taken = CondaPackages(where, left=[f"{where}: [{key}] is not read" for key in table if key not in _READ])
    for channel in head.get("channels", ()) if isinstance(head.get("channels"), list) else ():
        taken.take_channel(channel.get("channel", "") if isinstance(channel, dict) else channel)
    others = [text for text in head.get("platforms", ()) if text != "linux-64"] if isinstance(head.get("platforms"), list) else []
    if others:
        named = ", ".join(map(str, others))
        taken.left.append(f"{where} platforms: {named}; platforms of [conda] names what to lock for")
    for name, value in _items(table, "dependencies"):
        try:
            taken.take(_spec(name, value))
        except ValueError as error:
            taken.left.append(f"{where} dependencies: {name} {error}")
    for name, value in _items(table, "pypi-dependencies"):
        try:
            taken.pip.take(poetry.requirement(name, value), f"{where} pypi-dependencies")
        except ValueError as error:
            taken.pip.left.append(f"{where} pypi-dependencies: {name} {error}")
    return taken.as_conda()


def _items(table: Mapping[str, Any], key: str) -> list[tuple[str, Any]]:
    value = table.get(key)
    return list(value.items()) if isinstance(value, dict) else []


def _spec(name: str, value: object) -> str:
    """Return a dependency as conda writes it. Raises ValueError for one that it cannot write."""
    table = {"version": value} if isinstance(value, str) else value
    if not isinstance(table, dict):
        raise ValueError("is neither a version nor a table")  # noqa: TRY004  # a mistake of the file
    more = sorted(table.keys() - {"version", "build", "channel"})
    if more:
        raise ValueError(f"has {', '.join(more)}, which is not taken")
    version, build = str(table.get("version", "*")).strip(), str(table.get("build", ""))
    if build:
        text = f"{name} {version} {build}"
    elif version in ("*", ""):
        text = name
    else:
        text = f"{name}{version}" if version.startswith(_OPERATORS) else f"{name} {version}"
    return f"{table['channel']}::{text}" if table.get("channel") else text
