"""environment.yml, as `conda env create` and `mamba env create` read it: read with all its mistakes, and written for them."""

from __future__ import annotations

import re
from collections.abc import Mapping  # noqa: TC003  # the reader looks annotations up
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, cast

from ozrepro.methods.conda.channels import PLATFORMS, check_channel
from ozrepro.methods.conda.matchspec import check_spec
from ozrepro.methods.conda.yamlfile import Reader, dump
from ozrepro.project.checking import shown
from ozrepro.project.reader import Check, Read, read_table
from ozrepro.project.requirement import check_requirement_file, from_root, group_in
from ozrepro.project.settings import one_of
from ozrepro.project.values import INVALID, read_text

if TYPE_CHECKING:
    from ozrepro.project.checking import Checker

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z", re.ASCII)
_LONGEST = 10_000


@dataclass(frozen=True, slots=True)
class EnvironmentFile:
    """What an environment.yml says. `pip` are the requirements under its `pip:`, `variables` are set in it."""

    name: str = ""
    channels: tuple[str, ...] = ()
    dependencies: tuple[str, ...] = ()
    pip: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    platforms: tuple[str, ...] = ()


def _check_name(name: str) -> str | None:
    return None if _VARIABLE.match(name) else f"{shown(name)} is not the name of a variable"


def _read_pip(checker: Checker, value: object, path: tuple[str, ...]) -> Any:
    """Return an entry below `pip:`, a line of a requirement file whose paths are made those from the project's root."""
    text = read_text(checker, value, path)
    if text is INVALID:
        return INVALID
    text = from_root(text.strip(), cast("_Reader", checker).folder)
    if group_in(text) is not None:
        problem = f"{text!r} is not a line of a requirement file; write it into pip of [conda]"
    else:
        problem = "; ".join(line.removeprefix("line 1: ") for line in check_requirement_file(text))
    if problem:
        checker.wrong(path, problem)
    return INVALID if problem else text


def _read_variable(checker: Checker, value: object, path: tuple[str, ...]) -> Any:
    if not isinstance(value, str):
        problem = "has no value" if value is None else "is a list or a table"
        checker.wrong(path, problem, f'write a text: {path[-1]}: "…"')
    elif path not in cast("Reader", checker).quoted and value.lower() in ("true", "false"):
        checker.wrong(path, f"{value!r} is read in different ways", f'put it in quotes: {path[-1]}: "{value}"')
    elif len(value) > _LONGEST:
        checker.wrong(path, "is longer than any variable")
    else:
        return read_text(checker, value, path)
    return INVALID


@dataclass(frozen=True, slots=True)
class _Installers:
    pip: tuple[Annotated[str, Read(_read_pip)], ...] = ()


def _read_dependency(checker: Checker, value: object, path: tuple[str, ...]) -> Any:
    """Return a text that conda is asked for, or what pip is asked for."""
    if isinstance(value, dict):
        return read_table(checker, _Installers, {key: item for key, item in value.items() if item is not None}, path)
    problem = check_spec(value) if isinstance(value, str) else "is not a package; write a name with a version: - numpy>=1.26"
    if problem:
        checker.wrong(path, problem)
    return INVALID if problem else value


@dataclass(frozen=True, slots=True)
class _File:
    """The file's own keys. A `prefix` is one person's path, and conda itself passes over it."""

    name: str = ""
    channels: tuple[Annotated[str, Check(check_channel)], ...] = ()
    dependencies: tuple[Annotated[Any, Read(_read_dependency)], ...] = ()
    variables: Mapping[Annotated[str, Check(_check_name)], Annotated[str, Read(_read_variable)]] = field(default_factory=dict)
    prefix: str = ""
    platforms: tuple[Annotated[str, Check(one_of(PLATFORMS))], ...] = ()


class _Reader(Reader):
    """Reads an environment.yml in a folder of the project."""

    folder: str


def read_environment(text: str, where: str, folder: str = "") -> EnvironmentFile:
    """Return what the file says; `where` is for messages, `folder` is its folder from the project's root.

    Raises SpecError with every mistake and its line.
    """
    reader = _Reader(text, where)
    reader.folder = folder
    if not isinstance(reader.tree, dict):
        reader.wrong((), "is not an environment file", "it begins with a key such as dependencies:")
        reader.finish()
    given = {key: value for key, value in reader.tree.items() if value is not None}
    file = read_table(reader, _File, given, ())
    texts = tuple(item.strip() for item in file.dependencies if isinstance(item, str))
    if "dependencies" not in reader.tree:
        reader.wrong((), "has no dependencies", "add dependencies:")
    reader.finish(f"edit {where}")
    pip = tuple(text for item in file.dependencies if isinstance(item, _Installers) for text in item.pip)
    return EnvironmentFile(file.name, file.channels, texts, pip, file.variables, file.platforms)


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
