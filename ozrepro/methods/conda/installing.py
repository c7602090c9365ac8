"""The tasks of fetching and installing: what the cache lacks is put into it, and packages are linked from it."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ozrepro.methods.conda.package_cache import Entry, is_marked, is_whole
from ozrepro.methods.conda.shared_paths import linked_late
from ozrepro.methods.conda.worker_common import Refused, client, progress, to_rattler

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rattler.install import InstallerReporter


_LINKS = "allow-hard-links = {}\n"
"""How rattler may put a cached file into an environment. Where a file system can clone files it does, else it copies."""


async def install(task: Mapping[str, Any]) -> object:
    """Fetch what the cache lacks, then link all packages into the prefix. No script of a package is run.

    The caller compares each package as it is linked, and asks again where someone wrote into the cache. Here the entries are
    looked at only where they cannot be linked: what was damaged is fetched again and the prefix made again.
    """
    cache, prefix = Path(task["cache"]), Path(task["prefix"])
    entries = [Entry.of(table, cache) for table in task["records"]]
    was_empty = not prefix.exists() or not any(prefix.iterdir())
    forget = task["forget"]
    fetched = await _fill([entry for entry in entries if entry.title in forget or not is_marked(entry)], cache, forget)
    try:
        await _link(task, entries)
    except Exception:
        broken = [entry for entry in entries if not is_whole(entry)]
        if not (broken and was_empty):
            raise
        shutil.rmtree(prefix, ignore_errors=True)
        fetched += await _fill(broken, cache, [entry.title for entry in broken])
        await _link(task, entries)
    return {"fetched": sorted(set(fetched))}


async def _fill(lacking: Sequence[Entry], cache: Path, forget: Sequence[str]) -> list[str]:
    if not lacking:
        return []
    from ozrepro.methods.conda import archives  # a build from a warm cache needs nothing of it

    return await archives.fill(lacking, cache, forget)


async def _link(task: Mapping[str, Any], entries: Sequence[Entry]) -> None:
    import rattler
    from rattler.config import Config
    from rattler.package_cache import PackageCache, ValidationMode

    cache = Path(task["cache"])
    before = [os.stat(entry.folder).st_ino for entry in entries]
    reporter = _Reporter({table["name"]: entry.title for table, entry in zip(task["records"], entries, strict=True)})
    late = linked_late(task["records"], [entry.folder for entry in entries], task["order"])
    waiting = {name for name, _ in late}
    for next_name, paths in (("", ()), *late):
        waiting.discard(next_name)
        for path in paths:
            _unshare(Path(task["prefix"], path))
        await rattler.install(
            [to_rattler(table) for table in task["records"] if table["name"] not in waiting],
            target_prefix=task["prefix"],
            # Each entry is looked at here, by a stricter rule than rattler's.
            package_cache=PackageCache.new_layered([cache / "pkgs"], validation_mode=ValidationMode.skip()),
            config=Config.from_toml(_LINKS.format("true" if task["shares"] else "false")),
            execute_link_scripts=False,
            reporter=cast("InstallerReporter", reporter),
            client=client(),
        )
    for entry, inode in zip(entries, before, strict=True):
        # rattler fetches again what vanishes meanwhile, and does not check the hash of a local file.
        if os.stat(entry.folder).st_ino != inode or not is_marked(entry):
            what = f"the package cache changed while {entry.title} was installed from it"
            raise Refused(what, where=str(cache), hint="build again")


def _unshare(path: Path) -> None:
    """Put a copy in a file's place, before rattler writes into it: the file may be the cache's own too."""
    if not os.path.lexists(path):
        return
    copy = path.with_name(f"{path.name}.ozrepro")
    shutil.copy2(path, copy, follow_symlinks=False)
    os.replace(copy, path)


class _Reporter:
    """Tells the caller of each linked package. Rattler looks for the methods by name and misses none of the others."""

    def __init__(self, titles: Mapping[str, str]) -> None:
        self._titles = titles
        self._started: list[str] = []
        self._done = 0
        self._lock = threading.Lock()

    def on_link_start(self, operation: int, package_name: str) -> int:
        """Note which package is linked now, and return the number under which its end is told."""
        with self._lock:  # rattler calls from several threads
            self._started.append(self._titles[package_name])
            return len(self._started) - 1

    def on_link_complete(self, index: int) -> None:
        """Tell that one more is linked, and which: its record is written by then."""
        with self._lock:
            self._done += 1
            progress("linking packages", self._done, len(self._titles), linked=self._started[index])
