"""Looks at a pixi workspace: its packages of conda and of PyPI, and what of it no spec has."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ozrepro.frontends.init import Conda, poetry
from ozrepro.frontends.init.requirementfile import Taken
from ozrepro.methods.conda.channels import check_public
from ozrepro.methods.conda.matchspec import check_spec
from ozrepro.project.files import SMALL, text_of
from ozrepro.project.toml import TOMLDecodeError, loads

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FILE = "pixi.toml"
_READ = frozenset(("workspace", "project", "dependencies", "pypi-dependencies"))
_OPERATORS = tuple("<>=!~")


def look_at_pixi(root: Path, tool: Mapping[str, Any]) -> Conda | None:
    """Return what pixi.toml, else `[tool.pixi]` of pyproject.toml, asks for; None where there is neither."""
    path, table, where = root / FILE, tool.get("pixi"), "pyproject.toml tool.pixi"
    if path.is_file():
        where = FILE
        try:
            table = loads(text_of(path, SMALL))
        except TOMLDecodeError as error:
            return Conda(left=(f"{FILE} is not valid TOML: {error}",), is_project=True)
        except OSError as error:
            return Conda(left=(f"{FILE}: {error.strerror}",), is_project=True)
    return _read(table, where) if isinstance(table, dict) else None


def _read(table: Mapping[str, Any], where: str) -> Conda:
    head: dict[str, Any] = next((table[key] for key in ("workspace", "project") if isinstance(table.get(key), dict)), {})
    left = [f"{where}: [{key}] is not read" for key in table if key not in _READ]
    channels: list[str] = []
    dependencies: list[str] = []
    pip = Taken()
    for channel in head.get("channels", ()) if isinstance(head.get("channels"), list) else ():
        name = str(channel.get("channel", "")) if isinstance(channel, dict) else str(channel)
        problem = check_public(name)
        (left if problem else channels).append(f"{where} channels: {problem}" if problem else name)
    others = [text for text in head.get("platforms", ()) if text != "linux-64"] if isinstance(head.get("platforms"), list) else []
    if others:
        left.append(f"{where} platforms: {', '.join(map(str, others))}; platforms of [conda] names what to lock for")
    for name, value in _items(table, "dependencies"):
        text, problem = _spec(name, value)
        (left if problem else dependencies).append(f"{where} dependencies: {problem}" if problem else text)
    for name, value in _items(table, "pypi-dependencies"):
        try:
            pip.take(poetry.requirement(name, value), f"{where} pypi-dependencies")
        except ValueError as error:
            pip.left.append(f"{where} pypi-dependencies: {name} {error}")
    python = next((match for text in dependencies if (match := re.match(r"python\s*[=>~]*\s*(3\.\d+)", text))), None)
    return Conda(
        channels=tuple(channels),
        dependencies=tuple(dependencies),
        versions=tuple(dependencies),
        requirements=tuple(pip.requirements),
        python=python[1] if python else "",
        left=(*left, *pip.left),
        is_project=True,
    )


def _items(table: Mapping[str, Any], key: str) -> list[tuple[str, Any]]:
    value = table.get(key)
    return list(value.items()) if isinstance(value, dict) else []


def _spec(name: str, value: object) -> tuple[str, str]:
    """Return a dependency as conda writes it, and what is wrong with it."""
    table = {"version": value} if isinstance(value, str) else value
    if not isinstance(table, dict):
        return "", f"{name} is neither a version nor a table"
    more = sorted(table.keys() - {"version", "build", "channel"})
    if more:
        return "", f"{name} has {', '.join(more)}, which is not taken"
    version, build = str(table.get("version", "*")).strip(), str(table.get("build", ""))
    if build:
        text = f"{name} {version} {build}"
    elif version in ("*", ""):
        text = name
    else:
        text = f"{name}{version}" if version.startswith(_OPERATORS) else f"{name} {version}"
    text = f"{table['channel']}::{text}" if table.get("channel") else text
    return text, check_spec(text) or ""
