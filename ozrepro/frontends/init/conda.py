"""Looks at an environment of conda: the project's file, or the active one's own records."""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.utils import canonicalize_name

from ozrepro.errors import without_login
from ozrepro.frontends.init import ENVIRONMENT_FILES, Conda, Package
from ozrepro.frontends.init.condafile import look_at_file
from ozrepro.frontends.init.packages import TOOLS, import_names, top_level
from ozrepro.methods.conda.channels import check_public
from ozrepro.methods.conda.matchspec import check_spec
from ozrepro.python.installed import distributions

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_SPECS = re.compile(r"# *(\w+) specs: *(.*)")
_NAME = re.compile(r"(?:.*::)?([A-Za-z0-9_][A-Za-z0-9._-]*)")
_ADDRESS = re.compile(r"https?://(?:conda\.anaconda\.org/)?(.+)")
_SUBDIR = re.compile(r"/(?:noarch|linux-\w+|osx-\w+|win-\w+)$")
_INFO = re.compile(r"site-packages/([^/]+)-[^/-]+\.(?:dist|egg)-info(?:/|$)")


def look_at_conda(environ: Mapping[str, str], root: Path) -> tuple[Conda | None, list[str]]:
    """Return the project's environment file, else the active environment, and what to say of it."""
    prefix = environ.get("CONDA_PREFIX", "")
    file = next((name for name in ENVIRONMENT_FILES if (root / name).is_file()), "")
    if file:
        return look_at_file(root, file), [f"{file} is taken, not the active conda environment"] if prefix else []
    if not prefix:
        return None, []
    folder = Path(prefix)
    if environ.get("CONDA_DEFAULT_ENV") == "base" or (folder / "condabin").is_dir():
        return None, ["conda's base environment is passed over: it holds conda itself"]
    records = _records(folder / "conda-meta")
    asked = {name: text for name, text in asked_for(_history(folder), records).items() if name in records}
    if not asked:
        return None, ["the active conda environment does not say what was asked for: passed over"]
    channels, notes = _sound(_channels(records.values()))
    return _described(folder, records, {name: _plain(text, name) for name, text in asked.items()}, channels), notes


def _sound(channels: Iterable[str]) -> tuple[tuple[str, ...], list[str]]:
    """Return the channels that a spec may name, and what to say of the others."""
    wrong = {text: problem for text in channels if (problem := check_public(text))}
    kept = tuple(text for text in channels if text not in wrong)
    return kept, [f"a channel of the conda environment is left out: {problem}" for problem in wrong.values()]


def _plain(text: str, name: str) -> str:
    """Return what was asked for as it was written, or the name alone where a spec cannot hold that."""
    return name if check_spec(text) else text


def _history(folder: Path) -> str:
    try:
        return (folder / "conda-meta" / "history").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _records(folder: Path) -> dict[str, dict[str, Any]]:
    """Return conda's record of each installed package, by name."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.glob("*.json")):
        try:
            record = json.loads(path.read_bytes())
        except (OSError, RecursionError, ValueError):
            continue
        if isinstance(record, dict) and all(isinstance(record.get(key), str) for key in ("name", "version")):
            found[record["name"]] = record
    return found


def asked_for(history: str, records: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return the specs that a user asked for, by package: from conda's history, else from what each record says of itself."""
    found: dict[str, str] = {}
    for line in history.splitlines():
        match = _SPECS.match(line)
        if match is None:
            continue
        specs = {part[1]: text for text in _listed(match[2]) if (part := _NAME.match(text))}
        if match[1] in ("remove", "uninstall"):
            found = {name: text for name, text in found.items() if name not in specs}
        elif match[1] in ("update", "install", "create"):
            found |= specs
    if found:
        return found
    for name, record in records.items():
        several = record.get("requested_specs")
        text = several[-1] if isinstance(several, list) and several else record.get("requested_spec")
        if isinstance(text, str) and text not in ("", "None"):
            found[name] = text
    return found


def _listed(text: str) -> list[str]:
    if not text.startswith("["):
        return [part.strip() for part in text.split(",") if part.strip()]
    try:
        value = ast.literal_eval(text)
    except (MemoryError, RecursionError, SyntaxError, ValueError):
        return []
    return [item for item in value if isinstance(item, str)]


def _described(folder: Path, records: Mapping[str, dict[str, Any]], asked: Mapping[str, str], channels: tuple[str, ...]) -> Conda:
    """Return the environment: of each package, conda's own record says which Python distributions it brought."""
    sites = [str(path) for path in sorted(folder.glob("lib/python*/site-packages"))]
    installed = distributions(sites)
    brought = {name: _distributions(record) for name, record in records.items()}
    theirs = set().union(*brought.values())
    python = str(records["python"]["version"]) if "python" in records else ""
    names = sorted(asked, key=lambda name: (name != "python", name))

    def packages(wanted: Iterable[str]) -> tuple[Package, ...]:
        kept = sorted(name for name in wanted if name in installed and name not in TOOLS)
        return tuple(Package(name, installed[name].version, import_names(name, installed[name].info)) for name in kept)

    return Conda(
        channels=channels,
        dependencies=tuple(asked[name] for name in names),
        versions=tuple(f"{name}={records[name]['version']}" for name in names),
        pip=packages(set(top_level(installed, ".".join(python.split(".")[:2]))) - theirs),
        python=".".join(python.split(".")[:2]),
        packages=packages(set().union(*(brought[name] for name in names))),
    )


def _distributions(record: Mapping[str, Any]) -> set[str]:
    files = record.get("files")
    matches = (_INFO.search(file) for file in files if isinstance(file, str)) if isinstance(files, list) else ()
    return {canonicalize_name(found[1]) for found in matches if found}


def _channels(records: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the channels of the packages, the most used first."""
    counted: Counter[str] = Counter()
    for record in records:
        text = str(record.get("channel") or "")
        if text and text != "pypi":
            counted[_channel(text)] += 1
    return tuple(dict.fromkeys(name for name, _ in counted.most_common()))


def _channel(text: str) -> str:
    plain = _SUBDIR.sub("", without_login(text).rstrip("/"))
    found = _ADDRESS.fullmatch(plain)
    if plain.startswith(("https://repo.anaconda.com/pkgs/", "pkgs/")):
        return "defaults"
    return found[1] if found and "conda.anaconda.org/" in plain else plain
