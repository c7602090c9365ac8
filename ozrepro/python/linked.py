"""Which files that uv links from its cache were compared before and are still so: `store.states` for unpacked wheels.

uv does not tell where it keeps an unpacked wheel. Of the folders in its cache it is the one whose METADATA is the environment's
own, the same inode; where none is, nothing is noted and the files are read again each time.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from ozrepro.store import states

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from ozrepro.python.contents import Wheel
    from ozrepro.python.uv import Uv
    from ozrepro.store.manifest import Digests


@contextmanager
def recalled(uv: Uv, prefix: Path, archives: Mapping[str, str], digests: Digests) -> Iterator[None]:
    """Have `digests` told of the files that are as they were, before uv links them and beside what is done in the context.

    `archives` has the key of each by package.
    """
    if not uv.links:
        yield
        return
    notes = [_notes(uv) / key for key in archives.values()]
    with ThreadPoolExecutor(max_workers=1) as pool:
        done = pool.submit(states.recall_all, notes, digests, os.stat(prefix.parent).st_dev)
        yield
        done.result()


def note(uv: Uv, prefix: Path, wheels: Iterable[Wheel], archives: Mapping[str, str], digests: Digests) -> None:
    """Have the files of installed wheels noted when the environment is published."""
    folders: dict[str, list[str]] | None = None
    for wheel in wheels if uv.links else ():
        key = archives.get(wheel.name)
        if key is None:
            continue
        root = digests.roots.get(key, "")
        info = os.path.basename(wheel.info)
        if not _same(f"{root}/{info}/METADATA", prefix / wheel.info / "METADATA"):
            folders = _unpacked(uv) if folders is None else folders
            places = (
                place for place in folders.get(info, ()) if _same(f"{place}/{info}/METADATA", prefix / wheel.info / "METADATA")
            )
            root = next(places, "")
        if root:
            base = len(wheel.info) - len(info)
            below = {row.path: row.path[base:] for row in wheel.rows if row.path.startswith(wheel.info[:base])}
            digests.noted.append(states.Noted(_notes(uv) / key, root, below))


def _notes(uv: Uv) -> Path:
    return uv.notes.parent / states.FOLDER


def _same(one: str, other: Path) -> bool:
    with suppress(OSError):
        return os.path.samefile(one, other)
    return False


def _unpacked(uv: Uv) -> dict[str, list[str]]:
    """Return the folders of unpacked wheels in uv's caches, by the name of the .dist-info folder that each holds."""
    found: dict[str, list[str]] = {}
    for place in uv.notes.parent.glob("uv*/archive-v*/*"):
        with suppress(OSError):
            for name in os.listdir(place):
                if name.endswith(".dist-info"):
                    found.setdefault(name, []).append(str(place))
    return found
