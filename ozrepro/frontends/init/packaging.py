"""Looks at the project's own packaging: `[project]`, poetry, setup.py, extras, dependency groups and the range of Pythons."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from packaging.utils import canonicalize_name

from ozrepro.frontends.init import poetry
from ozrepro.frontends.init.requirementfile import Taken
from ozrepro.project.files import SMALL, text_of
from ozrepro.project.requirement import check_requirement
from ozrepro.project.toml import TOMLDecodeError, loads
from ozrepro.python.interpreter import check_range, minors_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

FILE = "pyproject.toml"


@dataclass(slots=True)
class Packaging(Taken):
    """What is taken of the project's packaging, with the range of Pythons and the lines that a user may add."""

    python: str = ""
    offers: list[str] = field(default_factory=list)


def look_at_packaging(root: Path) -> tuple[Packaging, Mapping[str, Any]]:
    """Return what the packaging gives a spec, and pyproject.toml's table."""
    found = Packaging()
    path = root / FILE
    try:
        table = loads(text_of(path, SMALL)) if path.is_file() else {}
    except TOMLDecodeError as error:
        found.left.append(f"{FILE} is not valid TOML: {error}")
        return found, {}
    except OSError as error:
        found.left.append(f"{FILE}: {error.strerror}")
        return found, {}
    tool = _table(table, "tool")
    if isinstance(table.get("project"), dict):
        _standard(found, table, tool, root)
    elif isinstance(tool.get("poetry"), dict):
        _poetry(found, tool["poetry"], str(_table(table, "build-system").get("build-backend", "")))
    elif (root / "setup.py").is_file() or ("build-system" in table and (root / "setup.cfg").is_file()):
        found.requirements.append("-e .")
    elif (root / "setup.cfg").is_file():
        found.left.append("setup.cfg: without a setup.py or a [build-system] in pyproject.toml it cannot be installed")
    for group, entries in _table(table, "dependency-groups").items():
        if isinstance(entries, list):
            line = f"--group {group}"
            texts = [repr(line)] if check_requirement(line) is None else [repr(text) for text in entries if isinstance(text, str)]
            found.offers += [f"dependency group {group}: {', '.join(texts)}"] if texts else []
    return found, tool


def _table(table: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = table.get(key)
    return value if isinstance(value, dict) else {}


def _strings(value: object) -> list[str]:
    return [text for text in value if isinstance(text, str)] if isinstance(value, list) else []


def _standard(found: Packaging, table: Mapping[str, Any], tool: Mapping[str, Any], root: Path) -> None:
    """Take a `[project]` (PEP 621): itself where a backend can build it or uv's table decides, else what it requires."""
    project = table["project"]
    _python(found, project.get("requires-python"))
    if not isinstance(project.get("name"), str):
        return
    wanted, dynamic = _strings(project.get("dependencies")), _strings(project.get("dynamic"))
    installs = "build-system" in table or (root / "setup.py").is_file()
    if installs or "dependencies" in dynamic or (wanted and isinstance(tool.get("uv"), dict)):
        found.requirements.append("-e .")
        found.named.append(canonicalize_name(project["name"]))
        for text in wanted:
            found.name(text)
        _offer_extras(found, project.get("optional-dependencies"))
        return
    for text in wanted:
        found.take(text, f"{FILE} project.dependencies")
    for extra, texts in _table(project, "optional-dependencies").items():
        found.offers.append(f"extra {extra}: {', '.join(map(repr, _strings(texts)))}")


def _offer_extras(found: Packaging, extras: object) -> None:
    names = [name for name in extras if check_requirement(f"-e .[{name}]") is None] if isinstance(extras, dict) else []
    found.offers += [f"extra {name}: '-e .[{name}]' in place of '-e .'" for name in names]


def _python(found: Packaging, text: object) -> None:
    if not isinstance(text, str) or not text.strip():
        return
    if problem := check_range(text):
        found.left.append(f"{FILE} requires-python: {problem}")
    elif not minors_of(text):
        found.left.append(f"{FILE} requires-python: no Python that ozrepro knows is in {text!r}")
    else:
        found.python = text.strip()


def _poetry(found: Packaging, table: Mapping[str, Any], backend: str) -> None:
    """Take what poetry's own table has: the project where poetry-core builds it, else its dependencies, translated."""
    wanted = _table(table, "dependencies")
    try:
        _python(found, poetry.versions(str(wanted["python"]))) if isinstance(wanted.get("python"), str) else None
    except ValueError as error:
        found.left.append(f"{FILE} python of [tool.poetry.dependencies]: {error}")
    lines = _translated(found, {name: value for name, value in wanted.items() if name != "python" and not _optional(value)}, "")
    if backend.startswith("poetry.") and table.get("package-mode", True) is not False:
        found.requirements.append("-e .")
        found.named += [canonicalize_name(table["name"])] if isinstance(table.get("name"), str) else []
        for text in lines:
            found.name(text)
        _offer_extras(found, table.get("extras"))
    else:
        for text in lines:
            found.take(text, f"{FILE} tool.poetry.dependencies")
        optional = {name: {**value, "optional": False} for name, value in wanted.items() if _optional(value)}
        _offer_group(found, "optional", optional)
    for name, group in _table(table, "group").items():
        _offer_group(found, name, _table(group, "dependencies") if isinstance(group, dict) else {})
    _offer_group(found, "dev", _table(table, "dev-dependencies"))


def _optional(value: object) -> bool:
    return isinstance(value, dict) and value.get("optional") is True


def _translated(found: Packaging, wanted: Mapping[str, Any], group: str) -> list[str]:
    lines = []
    for name, value in wanted.items():
        try:
            lines.append(poetry.requirement(name, value))
        except ValueError as error:
            found.left.append(f"{FILE} {name} of [tool.poetry.{group}dependencies]: {error}")
    return lines


def _offer_group(found: Packaging, name: str, wanted: Mapping[str, Any]) -> None:
    lines: Iterable[str] = _translated(found, wanted, f"group.{name}.")
    texts = [repr(text) for text in lines]
    if texts:
        found.offers.append(f"group {name} of poetry: {', '.join(texts)}")
