"""Finds and removes what nobody needs: environments that no lock names, and what dead builders left behind."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ozrepro import process
from ozrepro.errors import CommandFailed
from ozrepro.store.owner import is_dead, read_owner
from ozrepro.store.publish import discard, read_generation, remove_tree

if TYPE_CHECKING:
    from collections.abc import Callable

    from ozrepro.store import Store

SILENT = 24 * 3600.0
"""Seconds after which an unfinished generation without any proof about its owner counts as abandoned."""


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
    jobs = None if even_with_jobs else _running_jobs()
    named: set[str] = set()
    found: list[Leftover] = []
    for link in sorted((store.folder / "names").iterdir()):
        if link.name.startswith("."):
            continue
        generation = read_generation(store, link.name)
        if generation is None:
            found.append(Leftover(link, "names nothing whole", remove=True, key=link.name))
            continue
        named.add(generation.folder.name)
        if wanted(link.name, str(generation.card.get("section"))) is None:
            found.append(_unneeded(generation.folder, link.name, used, jobs))
    orphans = [folder for folder in sorted((store.folder / "gens").iterdir()) if folder.name not in named]
    found += [_orphan(store, folder, used) for folder in orphans]
    found += [Leftover(path, "is trash", remove=True) for path in sorted((store.folder / "trash").iterdir())]
    found += _old_records(store)
    return found


def _unneeded(folder: Path, key: str, used: set[str], jobs: str | None) -> Leftover:
    if folder.name in used:
        return Leftover(folder, "no lock names it, but a program here runs from it", remove=False, key=key)
    if jobs:
        return Leftover(folder, f"no lock names it, but {jobs} of yours may run from it", remove=False, key=key)
    return Leftover(folder, "no lock names it", remove=True, key=key)


def _orphan(store: Store, folder: Path, used: set[str]) -> Leftover:
    if folder.name in used:
        return Leftover(folder, "was replaced, but a program here runs from it", remove=False)
    try:
        owner = read_owner(os.readlink(store.folder / "owners" / folder.name))
    except OSError:
        owner = None
    if owner is not None and is_dead(owner):
        return Leftover(folder, f"was left unfinished by {owner.describe()}", remove=True)
    if (folder / "generation.json").exists() and owner is None:
        return Leftover(folder, "was replaced by a newer build", remove=True)
    try:
        silent = time.time() - folder.stat().st_mtime
    except OSError:
        silent = 0.0
    if silent > SILENT:
        return Leftover(folder, "is unfinished and more than a day old", remove=True)
    return Leftover(folder, f"is being built by {owner.describe() if owner else 'an unknown process'}", remove=False)


def _old_records(store: Store) -> list[Leftover]:
    """Ready-records whose generation is gone, temporary files of killed writers, and beats of gone tickets."""
    import json

    found: list[Leftover] = []
    for path in sorted((store.folder / "ready").iterdir()):
        try:
            whole = Path(json.loads(path.read_bytes())["generation"]).is_dir()
        except (OSError, ValueError, KeyError, TypeError):
            whole = False
        if not whole:
            found.append(Leftover(path, "is the record of a removed environment", remove=True))
    for folder in ("names", "locks", "owners"):
        for path in sorted((store.folder / folder).iterdir()):
            stale = path.name.startswith(".") or path.suffix in (".broken", ".beat")
            if stale and time.time() - path.lstat().st_mtime > SILENT:
                found.append(Leftover(path, "was left by a killed process", remove=True))
            elif folder == "owners" and not (store.folder / "gens" / path.name).exists():
                owner = read_owner(os.readlink(path)) if path.is_symlink() else None
                if owner is None or is_dead(owner):
                    found.append(Leftover(path, "was left by a killed process", remove=True))
    return found


def remove(store: Store, leftover: Leftover) -> None:
    """Remove one leftover: the name first, so that no start finds a half-removed environment."""
    if leftover.key:
        store.name(leftover.key).unlink(missing_ok=True)
    if leftover.path.parent.name == "gens":
        discard(store, leftover.path)
    elif leftover.path.is_dir() and not leftover.path.is_symlink():
        remove_tree(leftover.path)
    else:
        leftover.path.unlink(missing_ok=True)


def paths_in_use(folder: Path) -> set[str]:
    """Return the names of the entries of `folder` that a process on this machine runs from, maps, or has in its environment.

    Only processes that this user may look into are seen; those of other nodes are not (the plan asks Slurm for these).
    """
    used: set[str] = set()
    marker = f"{os.path.realpath(folder)}/".encode()
    for process_folder in Path("/proc").glob("[0-9]*"):
        for name in ("maps", "environ", "cmdline"):
            try:
                content = (process_folder / name).read_bytes()
            except OSError:
                continue
            for piece in content.split(marker)[1:]:
                used.add(os.fsdecode(piece.split(b"/", 1)[0].split(b"\0", 1)[0].split(b":", 1)[0].split(b"\n", 1)[0]))
    return used


def _running_jobs() -> str | None:
    squeue = shutil.which("squeue")
    if squeue is None:
        return None
    try:
        done = process.run(
            [squeue, "--me", "-h", "-t", "running,suspended,completing", "-o", "%i"], env=dict(os.environ), timeout=20
        )
    except CommandFailed:
        return "running jobs (Slurm does not answer)"
    if done.status != 0:
        return "running jobs (Slurm does not answer)"
    count = len(done.output.split())
    return f"{count} running job{'s' if count > 1 else ''}" if count else None
