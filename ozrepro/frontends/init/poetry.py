"""Translates the dependencies of `[tool.poetry]` and of pixi's PyPI tables to requirements of PEP 508."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet

if TYPE_CHECKING:
    from collections.abc import Mapping

_RELEASE = re.compile(r"\d+(\.\d+)*")
_COMMIT = re.compile(r"[0-9a-f]{40}\Z", re.ASCII)
_OPERATOR = re.compile(r"(~=|==|!=|<=|>=|<|>|=|\^|~)?\s*([0-9A-Za-z.*+!_-]+)\Z")


def versions(text: str) -> str:
    """Return a version constraint of poetry's as PEP 440 writes it: `^1.2` is `>=1.2,<2`, `1.2` is `==1.2`.

    Source: https://python-poetry.org/docs/dependency-specification/. Raises ValueError for what no specifier says, such as `||`.
    """
    parts = [_one(part) for part in re.split(r"\s*,\s*|(?<=[\w*])\s+(?=[<>=!~^])", text.strip()) if part not in ("", "*")]
    try:
        SpecifierSet(",".join(parts))
    except InvalidSpecifier as error:
        raise ValueError(f"{text!r} has no equal in a requirement") from error
    return ",".join(parts)


def _one(text: str) -> str:
    found = _OPERATOR.match(text)
    if found is None:
        raise ValueError(f"{text!r} has no equal in a requirement")
    operator, version = found[1] or "==", found[2]
    if operator == "=":
        operator = "=="
    if operator not in ("^", "~"):
        return f"{operator}{version}"
    numbers = _RELEASE.match(version)
    if numbers is None:
        raise ValueError(f"{text!r} has no equal in a requirement")
    return f">={version},<{_next(list(map(int, numbers[0].split('.'))), operator)}"


def _next(release: list[int], operator: str) -> str:
    """Return the first release that a caret or a tilde leaves out."""
    if operator == "~":
        place = min(1, len(release) - 1)
    else:
        place = next((number for number, value in enumerate(release) if value), len(release) - 1)
    return ".".join(map(str, [*release[:place], release[place] + 1]))


def requirement(name: str, value: object) -> str:
    """Return a dependency as a requirement. Raises ValueError for one that has no equal; its text says why."""
    if isinstance(value, str):
        return f"{name}{versions(value)}"
    if isinstance(value, list):
        raise ValueError("has several constraints; write one line for each, with markers")  # noqa: TRY004  # one kind to catch
    if not isinstance(value, dict):
        raise ValueError("is neither a version nor a table")  # noqa: TRY004
    extras = value.get("extras")
    title = f"{name}[{','.join(map(str, extras))}]" if isinstance(extras, list) and extras else name
    markers = _markers(value)
    behind = f" ; {markers}" if markers else ""
    if "path" in value:
        return _local(value, extras)
    if "git" in value:
        if _COMMIT.match(str(value.get("rev", ""))):
            return f"{title} @ git+{value['git']}@{value['rev']}{behind}"  # refused or taken as any other requirement
        raise ValueError("comes from git; give the https address of a wheel, or put the wheel into a wheelhouse")
    if "url" in value:
        return f"{title} @ {value['url']}{behind}"
    if "source" in value or "index" in value:
        raise ValueError("comes from an index of its own; name the index in the settings of uv or pip, and add the package")
    return f"{title}{versions(str(value.get('version', '*')))}{behind}"


def _local(value: Mapping[str, Any], extras: object) -> str:
    path = str(value["path"]).rstrip("/")
    inside = path if path.startswith(".") else f"./{path}"
    return f"-e {inside}" + (f"[{','.join(map(str, extras))}]" if isinstance(extras, list) and extras else "")


def _markers(value: Mapping[str, Any]) -> str:
    markers = [f"({value['markers']})"] if value.get("markers") else []
    if value.get("python"):
        for part in versions(str(value["python"])).split(","):
            found = _OPERATOR.match(part)
            if found is None or "*" in part:
                raise ValueError(f"is for Python {value['python']!r}; write it as a marker")
            variable = "python_version" if found[2].count(".") < 2 else "python_full_version"
            markers.append(f'{variable} {found[1]} "{found[2]}"')
    if value.get("platform"):
        markers.append(f'sys_platform == "{value["platform"]}"')
    return " and ".join(markers)
