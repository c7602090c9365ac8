"""Finds and removes what nobody needs: environments that no lock names, and what dead builders left behind."""

from __future__ import annotations

import os
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ozrepro.faststart.ready import stamp
from ozrepro.site.scheduler import running_jobs
from ozrepro.store import failed, read_json, shown
from ozrepro.store.claim import BENCH, cache_name, is_cache, is_inside, is_marked, is_own
from ozrepro.store.owner import is_alive, is_dead, read_owner
from ozrepro.store.publish import CARD, built_for, discard, examine, read_generation
from ozrepro.store.writing import remove_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ozrepro.store import Store
    from ozrepro.store.owner import Owner

SILENT = 24 * 3600.0
"""Seconds after which an unfinished generation without any proof about its owner counts as abandoned."""
_BENCH = "was left by a benchmark more than a day ago"
_OF_A_TURN = (".broken", ".beat", ".failed", ".holder")


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something that can go, or why it stays: the path, the reason, and whether it is to be removed."""

    path: Path
    reason: str
    remove: bool
    key: str = ""


def plan(store: Store, wanted: Callable[[str, str], str | None], *, even_with_jobs: bool = False) -> list[Leftover]:
    """Return what a clean-up would remove and what it keeps although it looks unused.

    `wanted` says, by key and section digest, which lock uses a generation, or None.
    """
    used = paths_in_use(store.folder / "gens")
    jobs = None if even_with_jobs else running_jobs(os.environ)
    # Judged before the names are read: a builder may publish, forget his owner record and end in between.
    orphans = [_orphan(store, folder, used, jobs) for folder in _own(store, "gens")]
    named: set[str] = set()
    found: list[Leftover] = []
    for link in _own(store, "names"):
        if link.name.startswith("."):
            continue
        generation = examine(store, link.name)
        if isinstance(generation, str):
            found += _unusable(store, link, generation, used, jobs)
            named.update(item.path.name for item in found[-1:] if item.path.parent.name == "gens")
            continue
        named.add(generation.folder.name)
        place = built_for(store, generation)
        if place:
            found.append(_unneeded(generation.folder, link.name, f"was built for {shown(place)}", used, jobs))
        elif "of" in generation.card and not os.path.lexists(store.folder / "gens" / str(generation.card["of"])):
            found.append(_unneeded(generation.folder, link.name, "the tree that it was packed from is gone", used, jobs))
        elif wanted(link.name, str(generation.card.get("section"))) is None:
            found.append(_unneeded(generation.folder, link.name, "no lock names it", used, jobs))
    found += [orphan for orphan in orphans if orphan.path.name not in named]
    found += [Leftover(path, "is trash", remove=True) for path in _own(store, "trash")]
    benches = (path for path in sorted(store.folder.iterdir()) if re.fullmatch(BENCH, path.name))
    found += [Leftover(path, _BENCH, remove=True) for path in benches if _is_old(path)]
    found += _spare_caches(store)
    found += _old_records(store, {item.path.name for item in found if item.remove}, named)
    return found


def named(store: Store, keys: Iterable[str], *, even_with_jobs: bool = False) -> list[Leftover]:
    """Return what a user's own wish would remove: the environments of these keys, and why one that is in use stays."""
    used = paths_in_use(store.folder / "gens")
    jobs = None if even_with_jobs else running_jobs(os.environ)
    folders = {key: store.folder / "gens" / os.path.basename(os.readlink(store.name(key))) for key in keys}
    found = [_unneeded(folder, key, "is named", used, jobs) for key, folder in folders.items()]
    return found + _old_records(store, {item.path.name for item in found if item.remove}, set())


def _unusable(store: Store, link: Path, why: str, used: set[str], jobs: str | None) -> list[Leftover]:
    """Judge a name that no start follows, and the generation behind it where that is finished but not as it was published."""
    with suppress(OSError, ValueError):
        folder = store.folder / "gens" / os.path.basename(os.readlink(link))
        if read_json(folder / CARD).get("key") == link.name:
            return [_unneeded(folder, link.name, why, used, jobs)]
    return [Leftover(link, "names nothing whole", remove=True, key=link.name)]


def _own(store: Store, name: str) -> list[Path]:
    """Return what ozrepro has put into a folder of the store, sorted: what has any other name is not its to judge."""
    return [path for path in sorted((store.folder / name).iterdir()) if is_own(path)]


def _spare_caches(store: Store) -> list[Leftover]:
    """Return the caches that a copy of the store or an earlier version has left, and old images that nothing is built from.

    Images are kept between locking and building; one that an environment shares has a second link.
    """
    top = store.folder / "cache"
    if store.root is not None and is_inside(store.folder, store.root):
        top /= cache_name(store.folder)
    others = sorted(top.parent.glob("*")) if top.parent != store.folder and not is_marked(top.parent) else []
    spare = [path for path in others if is_cache(path) and path != top]
    folders = [path for path in sorted(top.glob("images/*")) if re.fullmatch(r"[0-9a-f]{32}", path.name) and path.is_dir()]
    unused = [folder for folder in folders if _is_old(folder) and all(file.stat().st_nlink == 1 for file in folder.glob("*.sif"))]
    return [
        *(Leftover(path, "is the cache of a copy or of an earlier version", remove=True) for path in spare if _is_old(path)),
        *(Leftover(folder, "is an image that no environment uses", remove=True) for folder in unused),
    ]


def _unneeded(folder: Path, key: str, why: str, used: set[str], jobs: str | None) -> Leftover:
    if folder.name in used:
        return Leftover(folder, f"{why}, but a program here runs from it", remove=False, key=key)
    if jobs:
        return Leftover(folder, f"{why}, but {jobs}", remove=False, key=key)
    return Leftover(folder, why, remove=True, key=key)


def _orphan(store: Store, folder: Path, used: set[str], jobs: str | None) -> Leftover:
    """Judge a generation as if no name pointed to it."""
    if folder.name in used:
        return Leftover(folder, "no name points to it, but a program here runs from it", remove=False)
    owner = _owner(store.folder / "owners" / folder.name)
    finished = os.path.lexists(folder / CARD)
    if owner is not None and not is_dead(owner):
        if is_alive(owner) or not _is_old(folder):
            return Leftover(folder, f"is being built by {owner.describe()}", remove=False)
        return Leftover(folder, "is unfinished and more than a day old", remove=True)
    if not finished:
        if owner is not None:
            return Leftover(folder, f"was left unfinished by {owner.describe()}", remove=True)
        if _is_old(folder):
            return Leftover(folder, "is unfinished and more than a day old", remove=True)
        return Leftover(folder, "is being built by an unknown process", remove=False)
    why = "was replaced by a newer build" if owner is None else f"was left unnamed by {owner.describe()}"
    if jobs:
        return Leftover(folder, f"{why}, but {jobs}", remove=False)
    return Leftover(folder, why, remove=True)


def _owner(record: Path) -> Owner | None:
    try:
        return read_owner(os.readlink(record))
    except OSError:
        return None


def _is_old(path: Path) -> bool:
    try:
        return time.time() - os.lstat(path).st_mtime > SILENT
    except OSError:
        return False


def _old_records(store: Store, going: set[str], named: set[str]) -> list[Leftover]:
    """Ready-records whose generation is gone, temporary files of killed writers, and what is left of old turns."""
    records = [path for path in _own(store, "ready") if not path.name.startswith(".")]
    left = [
        path
        for folder in ("names", "ready", "locks", "owners")
        for path in _own(store, folder)
        if (path.name.startswith(".") or path.suffix in _OF_A_TURN) and _is_old(path)
    ]
    left += [path for path in _own(store, "owners") if _is_of_nobody(store, path, named)]
    return [
        *(
            Leftover(path, "is the record of a removed environment", remove=True)
            for path in records
            if not _names_a_generation(store, path, going)
        ),
        *(Leftover(path, "was left by a killed process", remove=True) for path in left),
    ]


def _is_of_nobody(store: Store, record: Path, named: set[str]) -> bool:
    """Say whether an owner's record is of no use: its builder is gone, and has published his generation or made none."""
    if record.name.startswith("."):
        return False
    if record.name not in named and os.path.lexists(store.folder / "gens" / record.name):
        return False
    owner = _owner(record)
    return owner is None or is_dead(owner) or (_is_old(record) and not is_alive(owner))


def _names_a_generation(store: Store, record: Path, going: set[str]) -> bool:
    try:
        said = read_json(record)
        name = os.path.basename(said["link"])
        return name not in going and said["made"] == stamp(os.lstat(store.folder / "gens" / name))
    except FileNotFoundError:
        return not os.path.lexists(record)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def remove(store: Store, leftover: Leftover) -> bool:
    """Remove one leftover: the name first, so that no start finds a half-removed environment.

    Looks once more, since the removal of others may have taken minutes: what is in use or published by now stays, and False is
    returned. Raises StoreError where something cannot be removed.
    """
    path = leftover.path
    try:
        if path.parent.name == "gens":
            return _remove_generation(store, leftover)
        if leftover.key and read_generation(store, leftover.key) is not None:
            return False
        if path.is_dir() and not path.is_symlink():
            remove_tree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise failed("remove it", path, error) from error
    return True


def _remove_generation(store: Store, leftover: Leftover) -> bool:
    folder = leftover.path
    if leftover.key and _names(store.name(leftover.key), folder):
        store.name(leftover.key).unlink(missing_ok=True)
    named = any(_names(link, folder) for link in (store.folder / "names").iterdir())
    if named or folder.name in paths_in_use(folder.parent):
        return False
    discard(store, folder)
    return True


def _names(link: Path, folder: Path) -> bool:
    """Say whether a name points to a generation; what begins with a dot never became a name."""
    try:
        return not link.name.startswith(".") and os.path.basename(os.readlink(link)) == folder.name
    except OSError:
        return False


def paths_in_use(folder: Path) -> set[str]:
    """Return the names of the entries of `folder` that a process on this machine uses.

    It runs from there, maps or holds open a file, stands there, or has the path in its environment or arguments.
    Only processes that this user may look into are seen; those of other nodes are not (the plan asks the scheduler for these).
    """
    places = {os.path.realpath(folder), os.path.abspath(folder)}
    named = re.compile(b"(?:%s)/([^/\\0:\n\"' ]+)" % b"|".join(re.escape(os.fsencode(place)) for place in places))
    used: set[str] = set()
    for process_folder in Path("/proc").glob("[0-9]*"):
        used.update(os.fsdecode(name) for name in named.findall(_places_of(process_folder)))
    return used


def _places_of(process_folder: Path) -> bytes:
    """Return every path that the kernel tells of a process, as far as this user may know them."""
    found: list[bytes] = []
    for name in ("maps", "environ", "cmdline"):
        with suppress(OSError):
            found.append((process_folder / name).read_bytes())
    links = [process_folder / "cwd", process_folder / "exe", process_folder / "root"]
    with suppress(OSError):
        links += (process_folder / "fd").iterdir()
    for link in links:
        with suppress(OSError):
            found.append(os.fsencode(os.readlink(link)))
    return b"\n".join(found)
