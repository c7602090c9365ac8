"""The helper process: `python -m ozrepro.conda.worker TASK RESULT`. It and `archives` alone know rattler.

Reads a task (JSON), does it, writes RESULT whole or not at all, and ends with `os._exit`: rattler's threads can crash an
interpreter that shuts down in the usual way, long after all work is done (PyO3/pyo3-async-runtimes#40). So the caller trusts the
result file, never the exit status. Progress goes to standard error, one JSON line each.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sys
import threading
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ozrepro.checking import hidden_character
from ozrepro.conda.archives import Entry, Refused, fetch, indented, is_marked, is_whole, no_space

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from rattler import Channel, Client, Gateway, GenericVirtualPackage, RepoDataRecord
    from rattler.install import InstallerReporter

    Task = Callable[[Mapping[str, Any]], Coroutine[Any, Any, object]]

_NEED = re.compile(r"(?<!\w)(__[a-z0-9_]+)(?: ([^\n]+?))?, for which no candidates were found")

_LATER = re.compile(r"(\S+) (\S+)(?: \| \S+)* is excluded because due to strict channel priority")
"""The solver's words for a package that an earlier channel has in another version (rattler_solve, on resolvo)."""


def progress(step: str, done: int, total: int, **more: str) -> None:
    """Tell the caller how far a step is."""
    os.write(2, (json.dumps({"progress": [step, done, total], **more}) + "\n").encode())


def client() -> Client:
    """Return rattler's client: three tries, logins from its own store, a keyring or ~/.netrc, proxies from the environment."""
    from rattler.networking import Client

    return Client.default_client(user_agent="ozrepro")


def to_rattler(table: Mapping[str, Any]) -> RepoDataRecord:
    """Return a locked record, with the address of its channel, as rattler's own."""
    from rattler import PackageRecord, RepoDataRecord
    from rattler.package import BuildString

    record = PackageRecord(
        table["name"],
        table["version"],
        BuildString(table["build"]),
        table["build-number"],
        table["subdir"],
        noarch=table.get("noarch"),
        depends=table.get("depends", []),
        constrains=table.get("constrains", []),
        sha256=bytes.fromhex(table["sha256"]),
        md5=bytes.fromhex(table["md5"]) if "md5" in table else None,
        size=table.get("size"),
        license=table.get("license"),
        python_site_packages_path=table.get("python-site-packages-path"),
    )
    base = table["address"]
    return RepoDataRecord(record, table["file"], f"{base}/{table['subdir']}/{table['file']}", f"{base}/")


def from_rattler(record: RepoDataRecord) -> dict[str, Any]:
    """Return rattler's record as a table of the lock, its channel still an address. Raises Refused where it has no sha256."""
    if record.sha256 is None:
        raise Refused(f"the channel {record.channel} does not tell the sha256 of {record.file_name}: it cannot be locked")
    noarch = record.noarch
    license_ = record.license or ""
    table: dict[str, Any] = {
        "name": record.name.normalized,
        "version": str(record.version),
        "build": str(record.build),
        "build-number": record.build_number,
        "channel": record.url.rpartition("/")[0].rpartition("/")[0],
        "subdir": record.subdir,
        "file": record.file_name,
        "size": record.size,
        "sha256": record.sha256.hex(),
        "md5": record.md5.hex() if record.md5 else None,
        "noarch": "python" if noarch.python else "generic" if noarch.generic else None,
        "python-site-packages-path": record.python_site_packages_path,
        "license": None if hidden_character(license_) else license_[:200] or None,
        "depends": record.depends,
        "constrains": record.constrains,
    }
    return {key: value for key, value in table.items() if value is not None}


async def solve(task: Mapping[str, Any]) -> object:
    """Find the records that the specs come to, and of which of them the channels have builds for a GPU that were not taken."""
    from rattler import Channel, Gateway, GenericVirtualPackage, PackageName, Version
    from rattler.exceptions import GatewayError, SolverError
    from rattler.package import BuildString

    gateway = Gateway(cache_dir=Path(task["cache"]) / "repodata", client=client())
    sources = [Channel(address) for address in task["channels"]]
    offered = [
        GenericVirtualPackage(PackageName(name), Version(version), BuildString.new_unchecked(build))
        for name, version, build in task["virtual"]
    ]
    progress("solving", 0, 1)
    try:
        found = await _solve(task, gateway, sources, offered)
    except SolverError as error:
        raise Refused(_plain(str(error)), hint=_lacking(str(error), task["virtual"])) from error
    except GatewayError as error:
        raise Refused(f"a channel cannot be read: {error}", hint=_unreached(str(error))) from error
    except OSError as error:
        raise Refused(f"a channel cannot be read: {error}", hint=_unreached(str(error))) from error
    progress("solving", 1, 1)
    return {"records": [from_rattler(record) for record in found], "cpu": await _without_gpu(gateway, sources, task, found)}


async def _solve(
    task: Mapping[str, Any], gateway: Gateway, sources: Sequence[Channel], offered: Sequence[GenericVirtualPackage]
) -> list[RepoDataRecord]:
    import datetime as dt

    import rattler
    from rattler.channel import ChannelPriority
    from rattler.exceptions import SolverError

    cutoff = dt.datetime.fromisoformat(task["exclude-newer"]) if task["exclude-newer"] else None
    order = {"strict": [True], "flexible": [True, False], "disabled": [False]}[task["priority"]]
    for strict in order:
        try:
            return await rattler.solve(
                sources,
                # rattler looks for the first channel only among the builds that fit a spec of the user's own: the bare names
                # make strict priority hold for these as it does for what they depend on.
                _specs([*task["specs"], *(task["names"] if strict else ())]),
                gateway=gateway,
                platforms=[task["subdir"], "noarch"],
                locked_packages=[to_rattler(table) for table in task["locked"]],
                pinned_packages=[to_rattler(table) for table in task["pinned"]],
                virtual_packages=offered,
                channel_priority=ChannelPriority.Strict if strict else ChannelPriority.Disabled,
                exclude_newer=cutoff,
                timestamp_policy="allow-missing",  # what has no date is older than the dates
                constraints=_specs(task["constraints"]),
                channel_relations="disabled",  # a channel must not bring in others that the spec does not name
            )
        except SolverError:
            if strict is order[-1]:
                raise
    raise AssertionError("a priority has no step")


def _specs(texts: Sequence[str]) -> list[Any]:
    """Return the specs read in conda's own lenient way (`numpy=1.2=py*_0`)."""
    from rattler import MatchSpec
    from rattler.exceptions import InvalidMatchSpecError

    found: list[MatchSpec] = []
    for text in texts:
        try:
            found.append(MatchSpec(text, strict=False))
        except InvalidMatchSpecError as error:
            raise Refused(
                f"{text!r} is no package that can be asked for: {error}", hint="change dependencies in [conda]"
            ) from error
    return found


def _plain(text: str) -> str:
    return "these packages cannot be had together:\n  " + "\n  ".join(
        line for line in text.removeprefix("Cannot solve the request because of: ").strip().splitlines() if line.strip()
    )


def _lacking(text: str, offered: Sequence[Sequence[str]]) -> str:
    """Return what to do where a property of the machine is what is missing: the solver says only that it has no candidate."""
    here = {name: version for name, version, _ in offered}
    for name, wanted in _NEED.findall(text):
        plain = name.removeprefix("__")
        have = f"this machine has {name} {here[name]}" if name in here else f"this machine has no {name}"
        version = re.search(r"\d[\w.]*", wanted or "")
        value = version[0] if version else "…"
        if plain in ("cuda", "glibc", "archspec", "linux", "osx"):
            return (
                f"{have}, {name} {wanted or ''}".rstrip() + f" is needed; to lock for another machine: "
                f'CONDA_OVERRIDE_{plain.upper()}={value}, or {plain} = "{value}" in [conda.virtual-packages]'
            )
        return f"{have}: take another version or build of what needs it"
    later = sorted({name for name, _ in _LATER.findall(text)})
    if later:
        names = ", ".join(later)
        return (
            f"{names} in that version is in a later channel only, and strict priority takes the first that has the name: "
            f'write CHANNEL::{later[0]} in dependencies, put its channel first, or set channel-priority = "flexible" in [conda]'
        )
    if "No candidates were found for" in text or "no candidates were found" in text:
        return "check the name, its version, and the channels in [conda]"
    return "loosen a version in [conda] dependencies"


def _unreached(text: str) -> str:
    if "os error 2" in text or "404" in text:
        return "check the channel's name; [tool.ozrepro.channels] NAME = address says where it is"
    return "lock where there is a network, or name a mirror in [tool.ozrepro.channels]"


async def _without_gpu(
    gateway: Gateway, sources: Sequence[Channel], task: Mapping[str, Any], found: Sequence[RepoDataRecord]
) -> list[str]:
    """Return the packages that were taken in a build for the CPU though the channels have builds for a GPU."""
    names = {record.name.normalized for record in found if not _for_gpu(record)}
    if not names or not task["gpu-check"]:
        return []
    answer = await gateway.query(
        sources, [task["subdir"], "noarch"], sorted(names), recursive=False, channel_relations="disabled"
    )
    return sorted({record.name.normalized for several in answer for record in several if _for_gpu(record)} & names)


def _for_gpu(record: RepoDataRecord) -> bool:
    needs = {line.split(" ")[0] for line in record.depends}
    return "cuda" in str(record.build).lower() or bool(needs & {"__cuda", "cuda-version", "cudatoolkit"})


async def take(task: Mapping[str, Any]) -> object:
    """Put the packages' archives, checked, into the package cache."""
    return {"fetched": await fetch(task["records"], Path(task["cache"]), task["forget"], client, progress)}


async def install(task: Mapping[str, Any]) -> object:
    """Fetch what the cache lacks, then link all packages into the prefix. No script of a package is run.

    The caller compares each package as it is linked, and asks again where someone wrote into the cache. Here the entries are
    looked at only where they cannot be linked: what was damaged is taken afresh and the prefix made anew.
    """
    cache, prefix = Path(task["cache"]), Path(task["prefix"])
    entries = [Entry.of(table, cache) for table in task["records"]]
    was_empty = not prefix.exists() or not any(prefix.iterdir())
    fetched = await fetch(task["records"], cache, task["forget"], client, progress, look=is_marked)
    try:
        await _link(task, entries)
    except Exception:
        broken = [entry.title for entry in entries if not is_whole(entry)]
        if not (broken and was_empty):
            raise
        shutil.rmtree(prefix, ignore_errors=True)
        fetched += await fetch(task["records"], cache, broken, client, progress)
        await _link(task, entries)
    return {"fetched": sorted(set(fetched))}


async def _link(task: Mapping[str, Any], entries: Sequence[Entry]) -> None:
    import rattler
    from rattler.package_cache import PackageCache, ValidationMode

    cache = Path(task["cache"])
    before = [os.stat(entry.folder).st_ino for entry in entries]
    await rattler.install(
        [to_rattler(table) for table in task["records"]],
        target_prefix=task["prefix"],
        # Each entry is looked at here, by a stricter rule than rattler's.
        package_cache=PackageCache.new_layered([cache / "pkgs"], validation_mode=ValidationMode.skip()),
        execute_link_scripts=False,
        requested_specs=[spec._match_spec for spec in _specs(task["specs"])],  # noqa: SLF001  # its own hint is wrong
        reporter=cast(
            "InstallerReporter",
            _Reporter({table["name"]: entry.title for table, entry in zip(task["records"], entries, strict=True)}),
        ),
        client=client(),
    )
    for entry, inode in zip(entries, before, strict=True):
        # rattler fetches anew what vanishes meanwhile, and does not check the hash of a local file.
        if os.stat(entry.folder).st_ino != inode or not is_marked(entry):
            what = f"the package cache changed while {entry.title} was installed from it"
            raise Refused(what, where=str(cache), hint="build again")


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


async def detect(task: Mapping[str, Any]) -> object:
    """Return the virtual packages of this machine as they are, whatever the variables say."""
    from rattler import VirtualPackage, VirtualPackageOverrides

    found = [item.into_generic() for item in VirtualPackage.detect(VirtualPackageOverrides())]
    return {"virtual": [[item.name.normalized, str(item.version), str(item.build_string)] for item in found]}


TASKS: Mapping[str, Task] = {"solve": solve, "fetch": take, "install": install, "virtual-packages": detect}


def perform(task: Mapping[str, Any]) -> dict[str, Any]:
    """Do a task and return what the result file holds: `done`, or `refused` with what, where and hint."""
    try:
        return {"done": asyncio.run(TASKS[task["task"]](task))}
    except Refused as error:
        return {"refused": {"what": error.what, "where": error.where, "hint": error.hint}}
    except Exception as error:  # noqa: BLE001  # rattler's errors have no common base, and each is one line for the user
        full = no_space(error)
        if full is not None:
            return {
                "refused": {
                    "what": full,
                    "where": task.get("prefix") or task.get("cache", ""),
                    "hint": "free some space, then again",
                }
            }
        traceback.print_exc()
        return {"refused": {"what": indented(f"{task['task']} failed: {error}"), "where": task.get("prefix", ""), "hint": ""}}


def main(arguments: Sequence[str]) -> int:
    """Do what the file `arguments[0]` says and write `arguments[1]`."""
    task = json.loads(Path(arguments[0]).read_bytes())
    answer = json.dumps(perform(task)).encode()
    temporary = f"{arguments[1]}.new"
    with open(temporary, "wb") as stream:
        stream.write(answer)
    os.rename(temporary, arguments[1])
    return 0


if __name__ == "__main__":
    status = 1
    try:
        status = main(sys.argv[1:])
    except BaseException:  # noqa: BLE001  # nothing may reach the interpreter's usual end
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
