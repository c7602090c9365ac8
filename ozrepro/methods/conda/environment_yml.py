"""environment.yml, as `conda env create` and `mamba env create` read it: read with all its mistakes, and written for them."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ozrepro.methods.conda.channels import PLATFORMS, check_channel
from ozrepro.methods.conda.matchspec import check_spec, foreign
from ozrepro.methods.conda.yamlfile import Reader, dump
from ozrepro.project.checking import hidden_character, shown
from ozrepro.project.requirement import check_requirement_file
from ozrepro.project.settings import one_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_KEYS = ("name", "channels", "dependencies", "variables", "prefix", "platforms")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z", re.ASCII)
_LONGEST = 10_000


@dataclass(frozen=True, slots=True)
class EnvironmentFile:
    """What an environment.yml says. `pip` are the requirements under its `pip:`, `variables` are set in the environment.

    A `prefix` is left out: it is one person's path, and conda itself passes over it.
    """

    name: str = ""
    channels: tuple[str, ...] = ()
    dependencies: tuple[str, ...] = ()
    pip: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    platforms: tuple[str, ...] = ()


def read_environment(text: str, where: str, channels: Sequence[str] = ()) -> EnvironmentFile:
    """Return what the file says. `where` stands in messages; `channels` are those that count where the file names none.

    Raises SpecError with every mistake and its line.
    """
    reader = Reader(text, where)
    table = reader.tree
    if not isinstance(table, dict):
        reader.wrong((), "is no environment file", "it begins with a key such as dependencies:")
        reader.finish()
    for key in table:
        if key not in _KEYS:
            near = difflib.get_close_matches(key[:100], _KEYS, 1)
            reader.wrong((key,), "unknown key", f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(_KEYS)}")
    name = _word(reader, table, "name")
    _word(reader, table, "prefix")
    own = _checked(reader, ("channels",), table.get("channels", []), check_channel)
    listed = () if reader.mistakes else own or channels  # with a wrong one left out, none can be said to be missing
    dependencies, pip = _dependencies(reader, table.get("dependencies", []), listed)
    platforms = _checked(reader, ("platforms",), table.get("platforms", []), one_of(PLATFORMS))
    found = EnvironmentFile(name, own, dependencies, pip, _variables(reader, table.get("variables", {})), platforms)
    if "dependencies" not in table:
        reader.wrong((), "has no dependencies", "add dependencies:")
    reader.finish(f"edit {where}")
    return found


def write_environment(file: EnvironmentFile) -> str:
    """Return the text of an environment.yml."""
    table: dict[str, Any] = {"name": file.name} if file.name else {}
    if file.channels:
        table["channels"] = list(file.channels)
    table["dependencies"] = [*file.dependencies, *([{"pip": list(file.pip)}] if file.pip else [])]
    if file.variables:
        table["variables"] = dict(file.variables)
    if file.platforms:
        table["platforms"] = list(file.platforms)
    return dump(table)


def _word(reader: Reader, table: Mapping[str, Any], key: str) -> str:
    value = table.get(key, "")
    if not isinstance(value, str):
        reader.wrong((key,), "is a list or a table", "write a word")
        return ""
    return "" if reader.is_null((key,), value) else _visible(reader, (key,), value)


def _visible(reader: Reader, path: tuple[str | int, ...], value: str) -> str:
    bad = hidden_character(value)
    if bad:
        reader.wrong(path, f"holds the invisible character {bad}", "remove it")
        return ""
    return value


def _checked(reader: Reader, path: tuple[str | int, ...], value: object, check: Any) -> tuple[str, ...]:
    good: list[str] = []
    for place, word in reader.words(path, value):
        if not _visible(reader, place, word):
            continue
        problem = check(word)
        if problem:
            reader.wrong(place, problem)
        else:
            good.append(word)
    return tuple(good)


def _dependencies(reader: Reader, value: object, channels: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    def check(text: str) -> str | None:
        return check_spec(text) or (foreign(text, channels) if channels else None)

    if not isinstance(value, list):
        return _checked(reader, ("dependencies",), value, check), ()
    conda: list[str] = []
    pip: list[str] = []
    for number, item in enumerate(value):
        path = ("dependencies", number)
        if isinstance(item, dict):
            pip += _pip(reader, path, item)
        else:
            conda += _dependency(reader, path, item, check)
    return tuple(conda), tuple(pip)


def _dependency(reader: Reader, path: tuple[str | int, ...], item: object, check: Callable[[str], str | None]) -> list[str]:
    if not isinstance(item, str) or reader.is_null(path, item):
        reader.wrong(path, "is no package", "write a name with a version: - numpy>=1.26")
        return []
    problem = check(item)
    if problem:
        reader.wrong(path, problem)
    return [] if problem else [item.strip()]


def _pip(reader: Reader, path: tuple[str | int, ...], table: Mapping[str, Any]) -> list[str]:
    for key in table:
        if key != "pip":
            reader.wrong((*path, key), f"{shown(key)} is no installer that can be locked", "only pip: may stand here")
    good: list[str] = []
    for place, word in reader.words((*path, "pip"), table.get("pip", [])):
        problems = check_requirement_file(word)
        for problem in problems:
            reader.wrong(place, problem.removeprefix("line 1: "))
        if not problems and _visible(reader, place, word):
            good.append(word.strip())
    return good


def _variables(reader: Reader, value: object) -> dict[str, str]:
    if reader.is_null(("variables",), value):
        return {}
    if not isinstance(value, dict):
        reader.wrong(("variables",), "is no table", "write NAME: value")
        return {}
    found: dict[str, str] = {}
    for key, item in value.items():
        path = ("variables", key)
        if not _VARIABLE.match(key):
            reader.wrong(path, f"{shown(key)} is no variable's name")
        elif not isinstance(item, str):
            reader.wrong(path, "is a list or a table", "write a text")
        elif path not in reader.quoted and item.lower() in ("true", "false", "null", "~"):
            reader.wrong(path, f"{item!r} is read in different ways", f'put it in quotes: {key}: "{item}"')
        elif len(item) > _LONGEST:
            reader.wrong(path, "is longer than any variable")
        else:
            found[key] = _visible(reader, path, item)
    return found
