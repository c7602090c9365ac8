"""Looks at the active virtual environment."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from ozrepro.errors import OzreproError
from ozrepro.frontends.init import Package, Venv
from ozrepro.frontends.init.packages import TOOLS, import_names, origin, top_level
from ozrepro.project.requirement import check_address
from ozrepro.python.installed import distributions, search_path

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ozrepro.python.installed import Distribution


def look_at_venv(environ: Mapping[str, str], root: Path) -> tuple[Venv | None, list[str]]:
    """Return the active virtual environment and what to say of it."""
    prefix = environ.get("VIRTUAL_ENV", "")
    if not prefix:
        return None, []
    settings = _settings(Path(prefix) / "pyvenv.cfg")
    if settings is None:
        return None, ["VIRTUAL_ENV names no virtual environment: passed over"]
    python = _minor(settings.get("version") or settings.get("version_info") or "")
    own, others, notes = _folders(prefix, environ)
    installed, outside = distributions(own), distributions(others)
    found, has_project, more = _packages(installed, outside, root, python)
    shows = settings.get("include-system-site-packages", "").lower() == "true"
    return Venv(python, shows, found, has_project), [*notes, *more]


def _settings(path: Path) -> dict[str, str] | None:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    pairs = (line.partition("=") for line in text.splitlines())
    return {key.strip().lower(): value.strip() for key, _, value in pairs}


def _minor(version: str) -> str:
    found = re.match(r"\d+\.\d+", version)
    return found.group() if found else ""


def _folders(prefix: str, environ: Mapping[str, str]) -> tuple[list[str], list[str], list[str]]:
    """Return the folders of packages inside the environment, those outside, and a note where its Python does not run."""
    real = os.path.realpath(prefix)
    try:
        folders = search_path(os.path.join(prefix, "bin", "python"), dict(environ))
    except OzreproError:
        inside = sorted(str(path) for path in Path(prefix).glob("lib/python*/site-packages"))
        return inside, [], ["the Python of the active virtual environment does not run: are its modules loaded?"]
    own = [folder for folder in folders if os.path.realpath(folder).startswith(f"{real}/")]
    return own, [folder for folder in folders if folder not in own], []


def _packages(
    installed: Mapping[str, Distribution], outside: Mapping[str, Distribution], root: Path, python: str
) -> tuple[tuple[Package, ...], bool, list[str]]:
    """Return the packages to name, whether the project is one of those installed, and what is left out."""
    packages: list[Package] = []
    notes: list[str] = []
    has_project = False
    for name in top_level(installed, python):
        item = installed[name]
        address, editable = origin(item.info)
        if editable and _is_folder(address, root):
            has_project = True
        elif name in TOOLS:
            continue
        elif address and check_address(address) is not None:
            notes.append(
                f"{name} {item.version} is left out: it was installed from a folder or a repository, which no spec can name"
            )
        else:
            below = outside[name].version if name in outside else ""
            packages.append(Package(name, item.version, import_names(name, item.info), address, below))
    return tuple(packages), has_project, notes


def _is_folder(address: str, root: Path) -> bool:
    parts = urlsplit(address)
    return parts.scheme == "file" and os.path.realpath(unquote(parts.path)) == os.path.realpath(root)
