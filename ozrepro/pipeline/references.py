"""Which locks need which environments of a store: asked by a clean-up, of all projects that use the store."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ozrepro.errors import LockError
from ozrepro.methods.reading import load_lock
from ozrepro.store import read_json, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ozrepro.store import Store


def locked_sections(roots: Iterable[Path]) -> tuple[dict[str, str], list[str]]:
    """Return the digest of every section of every lock in these projects, with who uses it, and what cannot be read."""
    found: dict[str, str] = {}
    unreadable: list[str] = []
    for root in roots:
        try:
            # Not by glob: it passes over a folder that may not be read, as if there were no lock in it.
            names = sorted(name for name in os.listdir(root / "sessions") if Path(name).suffix == ".lock")
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            unreadable.append(_told(root / "sessions", error))
            continue
        for name in names:
            session = name.removesuffix(".lock")
            try:
                lock = load_lock(root, session)
            except LockError as error:
                unreadable.append(str(error))
                continue
            for section in lock.sections if lock else ():
                found[section.digest] = f"{session} in {root}"
    return found, unreadable


def projects_of(store: Store, root: Path | None) -> tuple[list[Path], list[str]]:
    """Return the projects that use the store and still exist, the one at `root` first, and what cannot be read.

    A project in another user's closed home may have locks: that it cannot be seen does not say that it is gone.
    """
    roots = [root] if root is not None else []
    unreadable: list[str] = []
    folder = store.folder / "projects"
    try:
        links = sorted(folder.iterdir())
    except FileNotFoundError:
        links = []
    except OSError as error:
        return roots, [_told(folder, error)]
    for link in links:
        try:
            target = Path(os.readlink(link))
            found = target.stat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            unreadable.append(_told(Path(os.fsdecode(error.filename or link)), error))
            continue
        if stat.S_ISDIR(found.st_mode) and target not in roots:
            roots.append(target)
    return roots, unreadable


def _told(path: Path, error: OSError) -> str:
    return f"{shown(str(path))}: {error.strerror}"


def wanted_by(store: Store, root: Path | None) -> tuple[Callable[[str, str], str | None], list[str]]:
    """Return a function that says which lock uses a generation (by key and section digest), and what cannot be read for it.

    One key may serve several sections (a lock that gained another platform): ready-records tell which.
    """
    roots, unseen = projects_of(store, root)
    sections, unreadable = locked_sections(roots)
    by_key: dict[str, str] = {}
    for path in (store.folder / "ready").glob("*"):
        with suppress(OSError, ValueError, KeyError, TypeError):
            record = read_json(path)
            if record["section"] in sections:
                by_key[record["key"]] = sections[record["section"]]
    return (lambda key, section: sections.get(section) or by_key.get(key)), [*unseen, *unreadable]
