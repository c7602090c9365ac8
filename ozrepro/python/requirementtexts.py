"""What the lines of a spec's requirements lead to: requirement files, files that these name, and groups of dependencies."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Any

from packaging.requirements import InvalidRequirement

from ozrepro.project.checking import shown
from ozrepro.project.requirement import check_requirement, entries_of, file_in, from_root, group_in, leads_out, local_project
from ozrepro.project.toml import TOMLDecodeError, loads

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from ozrepro.project.files import Files


def texts_of(root: Path, files: Files, requirements: Iterable[str]) -> dict[str, str]:
    """Return the text of each requirement file, by its path in the project, and of each group, by its line in the spec.

    A file that another one names is found from that one's folder, as pip has it. One that cannot be read has the text "": it is
    told by who checks the files, and so is one outside of the project, which is not read.
    """
    found: dict[str, str] = {}
    for text in requirements:
        if file_in(text):
            _add_files(root, files, file_in(from_root(text, "")), found)
        elif group := group_in(text):
            found[text] = "\n".join(_members(root, files, *group)[0])
    return found


def _add_files(root: Path, files: Files, first: str, found: dict[str, str]) -> None:
    """Add a requirement file and those that it leads to, each before those that it names."""
    waiting = [first]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        try:
            found[name] = files.text(root / name)
        except OSError:
            found[name] = ""
        lines = (from_root(entry.text, posixpath.dirname(name)) for entry in entries_of(found[name]))
        waiting += reversed([file for file in map(file_in, lines) if file and not leads_out(file)])


def group_files(requirements: Iterable[str]) -> list[str]:
    """Return the files that the groups are in, each once."""
    return list(dict.fromkeys(group[0] for text in requirements if (group := group_in(text))))


def group_problems(root: Path, files: Files, text: str) -> list[str]:
    """Return what is wrong with the group that a line names."""
    group = group_in(text)
    return _members(root, files, *group)[1] if group else []


def _members(root: Path, files: Files, path: str, name: str) -> tuple[list[str], list[str]]:
    """Return the requirements of a group of dependencies (PEP 735), and what is wrong with it."""
    from packaging.dependency_groups import DependencyGroupResolver
    from packaging.errors import ExceptionGroup

    try:
        table = loads(files.text(root / path)).get("dependency-groups", {})
    except OSError as error:
        return [], [f"{path}: {error.strerror}"]
    except TOMLDecodeError as error:
        return [], [f"{path}: is not valid TOML: {error}"]
    groups: Mapping[str, Any] = table if isinstance(table, dict) else {}
    try:
        lines = list(dict.fromkeys(map(str, DependencyGroupResolver(groups).resolve(name))))
        problems = [problem for line in lines if (problem := check_requirement(line))]
    except ExceptionGroup as error:
        lines, problems = [], [_problem(item, groups) for item in error.exceptions]
    except RecursionError:
        lines, problems = [], ["includes groups that include others too deeply"]
    return ([] if problems else lines), [f"{path}: dependency-groups.{name}: {problem}" for problem in problems]


def _problem(error: Exception, groups: Iterable[str]) -> str:
    """Return a mistake of a group as one line: that of a requirement has the requirement itself in its second line."""
    first, *more = str(error).splitlines() or [""]
    if isinstance(error, InvalidRequirement) and more:
        return f"{shown(more[0].strip())} is not a requirement ({first})"
    return f"{first}; one of: {', '.join(groups) or 'none yet'}" if isinstance(error, LookupError) else first


def as_installers_read(text: str) -> str:
    """Return a requirement file with an entry a line and its hashes behind it, without local projects: they have other lines."""
    entries = (entry for entry in entries_of(text) if local_project(entry.text) is None)
    return "\n".join(" ".join((entry.text, *(f"--hash={item}" for item in entry.hashes))) for entry in entries) + "\n"
