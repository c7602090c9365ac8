"""The tasks of solving and of seeing what a machine offers: which records specs come to, and where there are none, why."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ozrepro.methods.conda.virtual import check_overrides, cpu_in, families
from ozrepro.methods.conda.worker_common import Refused, client, match_specs, progress, to_rattler
from ozrepro.project.checking import hidden_character

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rattler import Channel, Gateway, GenericVirtualPackage, RepoDataRecord

_NEED = re.compile(r"(?<!\w)(__[a-z0-9_]+)(?: ([^\n]+?))?, for which no candidates were found")

_LATER = re.compile(r"(\S+) (\S+)(?: \| \S+)* is excluded because due to strict channel priority")
"""The solver's words for a package that an earlier channel has in another version (rattler_solve, on resolvo)."""


def from_rattler(record: RepoDataRecord) -> dict[str, Any]:
    """Return rattler's record as a table of the lock, its channel still an address. Raises Refused where it has no sha256."""
    if record.sha256 is None:
        raise Refused(f"the channel {record.channel} does not give the sha256 of {record.file_name}: it cannot be locked")
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
    from rattler.exceptions import GatewayError, SolverError

    progress("solving", 0, 1)
    try:
        try:
            answer = await _answer(task, Path(task["cache"]) / "repodata")
        except (GatewayError, OSError) as error:
            if "304" not in str(error):
                raise
            # A server may say that nothing changed without the time that rattler needs (RFC 9110 allows it): ask without a cache.
            with tempfile.TemporaryDirectory(prefix="ozrepro-") as fresh:
                answer = await _answer(task, Path(fresh))
    except SolverError as error:
        raise Refused(_plain(str(error)), hint=_lacking(str(error), task["virtual"])) from error
    except (GatewayError, OSError) as error:
        raise Refused(f"a channel cannot be read: {error}", hint=_unreached(str(error))) from error
    progress("solving", 1, 1)
    return answer


async def _answer(task: Mapping[str, Any], cache: Path) -> object:
    """Return what `solve` does, with the channels' indexes kept in `cache`. Raises rattler's errors, OSError."""
    from rattler import Channel, Gateway, GenericVirtualPackage, PackageName, Version
    from rattler.package import BuildString

    gateway = Gateway(cache_dir=cache, client=client())
    sources = [Channel(address) for address in task["channels"]]
    offered = [
        GenericVirtualPackage(PackageName(name), Version(version), BuildString.new_unchecked(build))
        for name, version, build in task["virtual"]
    ]
    found = await _solve(task, gateway, sources, offered)
    return {
        "records": [from_rattler(record) for record in found],
        "cpu-builds": await _without_gpu(gateway, sources, task, found),
    }


async def _solve(
    task: Mapping[str, Any], gateway: Gateway, sources: Sequence[Channel], offered: Sequence[GenericVirtualPackage]
) -> list[RepoDataRecord]:
    import datetime as dt

    import rattler
    from rattler.channel import ChannelPriority
    from rattler.exceptions import SolverError

    cutoff = dt.datetime.fromisoformat(task["exclude-newer"]) if task["exclude-newer"] else None
    specs = match_specs(task["specs"])
    names = match_specs(sorted({spec.name.normalized for spec in specs if spec.channel is None}))
    order = {"strict": [True], "flexible": [True, False], "disabled": [False]}[task["priority"]]
    for strict in order:
        try:
            return await rattler.solve(
                sources,
                # rattler looks for the first channel only among the builds that fit a spec of the user's own: the bare names
                # make strict priority hold for these as it does for what they depend on.
                [*specs, *(names if strict else ())],
                gateway=gateway,
                platforms=[task["subdir"], "noarch"],
                locked_packages=[to_rattler(table) for table in task["locked"]],
                virtual_packages=offered,
                channel_priority=ChannelPriority.Strict if strict else ChannelPriority.Disabled,
                exclude_newer=cutoff,
                timestamp_policy="allow-missing",  # what has no date is older than the dates
                channel_relations="disabled",  # a channel must not bring in others that the spec does not name
            )
        except SolverError:
            if strict is order[-1]:
                raise
    raise AssertionError("a priority has no step")


def _plain(text: str) -> str:
    return "these packages cannot be had together:\n  " + "\n  ".join(
        line for line in text.removeprefix("Cannot solve the request because of: ").strip().splitlines() if line.strip()
    )


def _lacking(text: str, offered: Sequence[Sequence[str]]) -> str:
    """Return what to do where a property of the machine is what is missing: the solver says only that it has no candidate."""
    here = {name: version for name, version, _ in offered}
    cpu = next((build for name, _, build in offered if name == "__archspec"), "")
    for name, wanted in _NEED.findall(text):
        plain = name.removeprefix("__")
        have = f"this machine has {name} {here[name]}" if name in here else f"this machine has no {name}"
        version = re.search(r"\d[\w.]*", wanted or "")
        value = version[0] if version else "…"
        if plain == "archspec":  # its version says nothing, the CPU is in the build
            return _another_cpu(cpu, cpu_in(f"{name} {wanted or ''}"))
        if plain in ("cuda", "glibc", "linux", "osx"):
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


def _another_cpu(here: str, wanted: str) -> str:
    """Return what to do where packages are for a CPU of another name than the one that is assumed."""
    value = wanted.rstrip("*_")
    if check_overrides({"archspec": value}) or not value:
        return f"the CPU is {here or 'not known'}: take another version or build of what needs __archspec"
    runs = value in families(here)
    why = f"{here} runs packages for {value}, but the solver compares the names; to take them" if runs else ""
    why = why or f"the CPU is {here or 'not known'}, and packages for {value} are needed; to lock for another machine"
    return f'{why}: CONDA_OVERRIDE_ARCHSPEC={value}, or archspec = "{value}" in [conda.virtual-packages]'


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


async def detect(task: Mapping[str, Any]) -> object:
    """Return the virtual packages of this machine as they are, whatever the variables say."""
    from rattler import VirtualPackage, VirtualPackageOverrides

    found = [item.into_generic() for item in VirtualPackage.detect(VirtualPackageOverrides())]
    return {"virtual": [[item.name.normalized, str(item.version), str(item.build_string)] for item in found]}
