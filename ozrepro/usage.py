"""Which locks need which environments of a store: asked by a clean-up, of all projects that use the store."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ozrepro.errors import LockError
from ozrepro.lock import load_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ozrepro.store import Store


def locked_sections(roots: Iterator[Path] | list[Path]) -> tuple[dict[str, str], list[str]]:
    """Return the digest of every section of every lock in these projects, with who uses it, and the locks that cannot be read."""
    found: dict[str, str] = {}
    unreadable: list[str] = []
    for root in roots:
        for path in sorted((root / "sessions").glob("*.lock")):
            try:
                lock = load_lock(root, path.stem)
            except LockError as error:
                unreadable.append(str(error))
                continue
            for section in lock.sections if lock else ():
                found[section.digest] = f"{path.stem} in {root}"
    return found, unreadable


def projects_of(store: Store, root: Path | None) -> list[Path]:
    """Return the projects that use the store and still exist, the one at `root` first."""
    roots = [root] if root is not None else []
    folder = store.folder / "projects"
    for link in sorted(folder.iterdir()) if folder.is_dir() else ():
        target = Path(os.readlink(link))
        if target.is_dir() and target not in roots:
            roots.append(target)
    return roots


def wanted_by(store: Store, root: Path | None) -> tuple[Callable[[str, str], str | None], list[str]]:
    """Return a function that says which lock uses a generation (by key and section digest), and the locks that cannot be read.

    One key may serve several sections (a lock that gained another platform): ready-records tell which.
    """
    sections, unreadable = locked_sections(projects_of(store, root))
    by_key: dict[str, str] = {}
    for path in (store.folder / "ready").glob("*"):
        with suppress(OSError, ValueError, KeyError, TypeError):
            record = json.loads(path.read_bytes())
            if record["section"] in sections:
                by_key[record["key"]] = sections[record["section"]]
    return (lambda key, section: sections.get(section) or by_key.get(key)), unreadable
