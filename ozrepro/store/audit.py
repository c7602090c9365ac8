"""Says what in a store is not as ozrepro left it: names, cards and files of environments, and the records of starts."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from ozrepro.environment import Environment
from ozrepro.faststart.ready import SCHEMA, is_absolute, stamp
from ozrepro.store import read_json
from ozrepro.store.publish import Generation, find_published, verify

if TYPE_CHECKING:
    from pathlib import Path

    from ozrepro.store import Store


def environments(store: Store) -> dict[str, tuple[Generation | None, list[str]]]:
    """Return each name of the store with its environment, where that can be read, and what is wrong with either."""
    found: dict[str, tuple[Generation | None, list[str]]] = {}
    for link in sorted((store.folder / "names").iterdir()):
        if link.name.startswith("."):
            continue
        generation = find_published(store, link.name)
        if isinstance(generation, Generation):
            found[link.name] = generation, verify(generation)
        elif generation:
            found[link.name] = None, [generation]
    return found


def records(store: Store) -> dict[Path, str]:
    """Return the records of starts that ozrepro has not written so, with the reason; those of what was replaced are sound."""
    paths = (path for path in sorted((store.folder / "ready").iterdir()) if not path.name.startswith("."))
    return {path: why for path in paths if not _is_kept_private(path) and (why := _wrong_with(store, path))}


def _is_kept_private(path: Path) -> bool:
    """Say whether another member's umask closes a record to this user: none of this user's starts takes it."""
    try:
        return os.lstat(path).st_uid != os.geteuid() and not os.access(path, os.R_OK)
    except OSError:
        return False


def _wrong_with(store: Store, path: Path) -> str:
    try:
        found = os.lstat(path)
        if not stat.S_ISREG(found.st_mode):
            return "is not a regular file"
        if found.st_mode & 0o002:
            return "can be written by everybody"
        if not store.is_ours(found):
            return f"belongs to another user (uid {found.st_uid})"
        record = read_json(path)
        if record.get("schema") != SCHEMA:
            return "" if isinstance(record.get("schema"), int) else "is damaged"
        name = os.path.basename(record["link"])
        if os.readlink(store.name(str(record["key"]))) != record["link"]:
            return ""  # of an environment that was replaced
        if record["made"] != stamp(os.lstat(store.folder / "gens" / name)):
            return f"was not made for gens/{name}, which its name points to"
        return "" if is_absolute(Environment.from_dict(record["environment"])) else "holds relative paths"
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return "is damaged"
