"""Installed distributions: which of them somebody asked for, what they are imported by, where they came from."""

from __future__ import annotations

import json
import os
from importlib.metadata import Distribution as Metadata
from typing import TYPE_CHECKING

from packaging.markers import default_environment
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ozrepro.python.installed import Distribution

TOOLS = frozenset(("distribute", "ozrepro", "pip", "setuptools", "wheel"))
"""What makes environments, and is not a part of an analysis."""

_NOT_IMPORTED = frozenset(("bin", "doc", "docs", "example", "examples", "share", "test", "tests"))


def top_level(installed: Mapping[str, Distribution], python: str = "") -> tuple[str, ...]:
    """Return the names of the distributions that no other one requires; of those that require one another, the first.

    What a distribution requires for an extra counts as asked for: the extra may have been. `python` is the language version.
    """
    needs = {name: _needs(item.requires, python) & set(installed) - {name} for name, item in installed.items()}
    required = set().union(*needs.values())
    tops = [name for name in sorted(installed) if name not in required]
    reached = _reached(tops, needs)
    for name in sorted(installed):
        if name not in reached:
            tops.append(name)
            reached |= _reached([name], needs)
    return tuple(sorted(tops))


def _needs(requires: Iterable[str], python: str) -> set[str]:
    markers = {name: str(value) for name, value in default_environment().items()}
    if python:
        markers |= {"python_version": python, "python_full_version": f"{python}.0"}
    found: set[str] = set()
    for text in requires:
        try:
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({**markers, "extra": ""}):
                found.add(canonicalize_name(requirement.name))
        except (InvalidRequirement, LookupError, RecursionError, ValueError):
            continue
    return found


def _reached(names: Iterable[str], needs: Mapping[str, set[str]]) -> set[str]:
    found: set[str] = set()
    pending = list(names)
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            pending += needs[name]
    return found


def import_names(name: str, info: str) -> tuple[str, ...]:
    """Return the names that a distribution is imported by: its own name where that is one of them, else all public ones."""
    metadata = Metadata.at(info)
    try:
        listed = (metadata.read_text("top_level.txt") or "").split() or [_top(str(path)) for path in metadata.files or ()]
    except (OSError, ValueError):
        return ()
    found = {text for text in listed if text.isidentifier() and text.isascii() and text[0] != "_" and text not in _NOT_IMPORTED}
    own = [text for text in found if canonicalize_name(text) == name]
    return tuple(sorted(own or found))


def _top(path: str) -> str:
    """Return the name that a file of a distribution can be imported below, "" where there is none."""
    first, slash, rest = path.partition("/")
    last = rest.rpartition("/")[2] or first
    if not last.endswith((".py", ".so")) or first in ("..", ""):
        return ""
    return first if slash else first.partition(".")[0]


def origin(info: str) -> tuple[str, bool]:
    """Return the address that a distribution was installed from (PEP 610) and whether as editable; "" for an index."""
    try:
        with open(os.path.join(info, "direct_url.json"), "rb") as stream:
            said = json.load(stream)
        address = str(said["url"])
        editable = bool(said.get("dir_info", {}).get("editable"))
    except (AttributeError, KeyError, OSError, RecursionError, TypeError, ValueError):
        return "", False
    return (f"{said['vcs_info'].get('vcs', 'vcs')}+{address}" if isinstance(said.get("vcs_info"), dict) else address), editable
