"""Scripts that conda runs when it links a package (`bin/.NAME-post-link.sh`): not run here, and their packages are named.

Such a script may do anything, with the network, and what it makes is in no lock. No channel's index tells of them, only the
list of files in the archive.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rattler import Client
    from rattler.package_streaming import PackageArchive

    from ozrepro.methods.conda.package_cache import Entry

_SCRIPT = re.compile(r"bin/\.(.+)-(pre-link|post-link)\.sh\Z")
_AT_ONCE = 16
_LIGHT = 1 << 20
"""Bytes of an archive that is fetched whole for its list of files. Of a `.conda` a server usually sends the list alone."""
_SHOWN = 3
"""Packages that a line about several names."""
_PATIENCE = 30.0
"""Seconds after which the rest is given up: it is known when the packages are built."""


def scripts_in(paths: Iterable[str]) -> list[tuple[str, str]]:
    """Return package and kind (`pre-link`, `post-link`) of each script among the paths of packages or of an environment."""
    found = (match.groups() for path in paths if (match := _SCRIPT.match(path)))
    return sorted((name, kind) for name, kind in found)


def format_scripts(scripts: Iterable[tuple[str, str]]) -> list[str]:
    """Return a line for each package that has such a script."""
    return [f"{name}: its {kind} script is not run; what it makes under conda is missing" for name, kind in scripts]


def format_unread(titles: Iterable[str]) -> list[str]:
    """Return a line about packages whose list of files was not read, or nothing."""
    names = list(titles)
    if not names:
        return []
    shown = ", ".join(names) if len(names) <= _SHOWN else f"{', '.join(names[:_SHOWN])} and {len(names) - _SHOWN} other packages"
    return [f"not checked for post-link scripts, which only a download would show: {shown}; ozrepro build names those with one"]


async def look(task: Mapping[str, Any]) -> object:
    """Find the scripts of packages: `scripts` as [package, kind], and `unread`, the titles of those not looked into.

    What is in the cache or in a local channel is read there. Of an archive elsewhere only the list of files is asked for, in
    one or two requests; one that would have to be fetched whole is left out where it is not small.
    """
    import asyncio

    from ozrepro.methods.conda.package_cache import Entry
    from ozrepro.methods.conda.worker_common import client, progress

    gate, cache, asked = asyncio.Semaphore(_AT_ONCE), Path(task["cache"]), client(retries=0)
    entries = [Entry.of(table, cache) for table in task["records"]]
    done = 0

    async def one(entry: Entry) -> list[str] | None:
        nonlocal done
        async with gate:
            paths = await _paths(entry, asked)
        done += 1
        progress("looking for scripts of packages", done, len(entries))
        return paths

    jobs = {asyncio.ensure_future(one(entry)): entry for entry in entries}
    finished, late = await asyncio.wait(jobs, timeout=_PATIENCE) if jobs else (set(), set())
    for job in late:
        job.cancel()
    lists = {jobs[job].title: job.result() for job in finished}
    return {
        "scripts": scripts_in(path for paths in lists.values() for path in paths or ()),
        "unread": sorted(entry.title for entry in entries if lists.get(entry.title) is None),
    }


async def _paths(entry: Entry, client: Client) -> list[str] | None:
    """Return the paths that a package lists, or None where they cannot be had, or not at a low price."""
    from ozrepro.methods.conda.channels import local_path
    from ozrepro.methods.conda.package_cache import is_marked, paths_in

    if is_marked(entry):
        return paths_in(Path(entry.folder))
    local = local_path(entry.url)
    if local is not None and not os.path.exists(local):
        return []  # nothing that a download would show either
    try:
        archive = await _open(entry, client)
        return await _listed(archive) if archive is not None else None
    except (OSError, ValueError, KeyError, TypeError):
        return None  # what is wrong with an archive or its channel, a build says


async def _open(entry: Entry, client: Client) -> PackageArchive | None:
    from rattler.package_streaming import PackageArchive

    from ozrepro.methods.conda.channels import local_path

    local = local_path(entry.url)
    if local is not None:
        return await PackageArchive.from_path(local)
    if not entry.url.endswith(".conda") and (entry.size is None or entry.size > _LIGHT):
        return None
    return await PackageArchive.from_url(client, entry.url, max_spool_size=_LIGHT)


async def _listed(archive: PackageArchive) -> list[str]:
    raw = await archive.read_file("info/paths.json")
    if raw is not None:
        return [str(item["_path"]) for item in json.loads(raw)["paths"]]
    return os.fsdecode(await archive.read_file("info/files") or b"").splitlines()  # packages of before 2017
