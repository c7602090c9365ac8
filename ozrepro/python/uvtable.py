"""`[tool.uv]` of a project's pyproject.toml: where its requirements come from, and what else of it counts when locking.

What is not followed is named or refused: a package that uv would take from elsewhere must not be another one here.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from packaging.utils import canonicalize_name

from ozrepro.process import is_inside
from ozrepro.project.checking import shown
from ozrepro.project.requirement import check_requirement

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

LIMITS = ("constraint-dependencies", "override-dependencies", "exclude-dependencies", "build-constraint-dependencies")
"""Keys of `[tool.uv]` that limit a resolution, as uv's reference of settings has them. uv reads them of the workspace's root."""

_FOLLOWED = frozenset((
    *LIMITS,
    *("sources", "workspace", "package", "managed", "cache-keys", "required-version", "build-backend", "pip"),
    *("index", "index-url", "extra-index-url", "find-links", "no-index"),  # see indexes.py
    *("cache-dir", "concurrent-builds", "concurrent-downloads", "concurrent-installs", "link-mode", "native-tls", "offline"),
    *("keyring-provider", "allow-insecure-host", "python-downloads", "python-preference", "publish-url", "check-url", "preview"),
    *("add-bounds", "audit", "http-proxy", "https-proxy", "no-proxy", "python-install-mirror", "pypy-install-mirror"),
))  # fmt: skip
"""Keys that count here too, and those that change nothing of what is installed."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?\Z")


class Refused(ValueError):
    """A source that is not followed; says what to write instead."""


def table_of(pyproject: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return `[tool.uv]`, empty where there is none."""
    return _table(_table(pyproject, "tool"), "uv")


def _table(table: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = table.get(key)
    return value if isinstance(value, dict) else {}


def limits_of(pyproject: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of `[tool.uv]` that limit a resolution."""
    return {key: value for key, value in table_of(pyproject).items() if key in LIMITS and value and isinstance(value, list)}


def overridden(pyproject: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the packages that `[tool.uv]` has in another version than others require, or leaves out."""
    limits = limits_of(pyproject)
    texts = [*limits.get("override-dependencies", ()), *limits.get("exclude-dependencies", ())]
    return tuple(sorted({canonicalize_name(found[0]) for text in texts if (found := _NAME.match(str(text)))}))


def not_followed(pyproject: Mapping[str, Any]) -> list[str]:
    """Return the names of what `[tool.uv]` and `[dependency-groups]` say and uv would follow, and this does not."""
    table = table_of(pyproject)
    names = [f"[tool.uv] {key}" for key, value in table.items() if key not in _FOLLOWED and value not in ([], {}, "", False)]
    default = table.get("default-groups", ["dev"])
    groups = _table(pyproject, "dependency-groups")
    if "default-groups" not in table and isinstance(default, list):
        names += [f"[dependency-groups] {name}" for name in default if name in groups]
    return names


def members_of(root: Path, pyproject: Mapping[str, Any]) -> dict[str, str]:
    """Return the folders of a uv workspace's members that have a pyproject.toml, as paths from `root`; "" is the root itself."""
    workspace = table_of(pyproject).get("workspace")
    if not isinstance(workspace, dict):
        return {}
    left_out = set(_matching(root, workspace.get("exclude")))
    folders = [path for path in _matching(root, workspace.get("members")) if path not in left_out]
    return {path: path for path in ("", *folders) if (root / path / "pyproject.toml").is_file()}


def _matching(root: Path, patterns: object) -> Iterable[str]:
    for pattern in patterns if isinstance(patterns, list) else ():
        if isinstance(pattern, str) and pattern and not pattern.startswith("/") and ".." not in pattern.split("/"):
            try:
                folders = sorted(path for path in root.glob(pattern.rstrip("/")) if path.is_dir() and is_inside(path, root))
            except (IndexError, NotImplementedError, OSError, ValueError):
                continue  # no pattern that Python knows
            yield from (path.relative_to(root).as_posix() for path in folders)


def sources_of(pyproject: Mapping[str, Any]) -> dict[str, list[Mapping[str, Any]]]:
    """Return where `[tool.uv.sources]` takes packages from, by canonical name, and poetry's own table what has a `path`."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    poetry = _table(_table(_table(pyproject, "tool"), "poetry"), "dependencies")
    for name, value in poetry.items():
        if isinstance(value, dict) and "path" in value:
            found[canonicalize_name(name)] = [value]
    for name, value in _table(table_of(pyproject), "sources").items():
        entries = value if isinstance(value, list) else [value]
        found[canonicalize_name(name)] = [entry for entry in entries if isinstance(entry, dict)]
    return found


def folder_of(root: Path, base: str, entry: Mapping[str, Any]) -> str:
    """Return the folder that a source with `path` means, from `root`; `base` is the project that says it. Raises Refused."""
    text = str(entry["path"])
    if "\0" in text:
        raise Refused(f"{shown(text)} is no path")
    path = os.path.normpath(os.path.join(base or ".", text))
    if text.endswith((".whl", ".tar.gz", ".zip")):
        raise Refused(f"{shown(text)} is a file; put it into a wheelhouse, set PIP_FIND_LINKS to that, and remove this source")
    if os.path.isabs(text) or path.split("/")[0] == ".." or not is_inside(root / path, root):
        raise Refused(f"{shown(text)} is outside the project; move it in: path = {shown(os.path.basename(path))}")
    if not any((root / path / name).is_file() for name in ("pyproject.toml", "setup.py")):
        raise Refused(f"{shown(text)} has neither a pyproject.toml nor a setup.py")
    return "" if path == "." else path


def address_of(name: str, entry: Mapping[str, Any]) -> str:
    """Return the address of a source of `name` with `git` or `url`, if a requirement of a spec may have it. Raises Refused."""
    address = _git(entry) if "git" in entry else str(entry["url"])
    problem = check_requirement(f"{name} @ {address}")
    if problem:
        raise Refused(problem)
    return address


def _git(entry: Mapping[str, Any]) -> str:
    address, rev, folder = str(entry["git"]), str(entry.get("rev", "")), str(entry.get("subdirectory", ""))
    if not _COMMIT.match(rev):
        other = next((f"{key} = {shown(str(entry[key]))}" for key in ("rev", "tag", "branch") if key in entry), "no rev")
        raise Refused(f'has {other}, which may move; write the full commit: rev = "…" (git ls-remote {address})')
    return f"git+{address.removeprefix('git+')}@{rev}" + (f"#subdirectory={folder}" if folder else "")
