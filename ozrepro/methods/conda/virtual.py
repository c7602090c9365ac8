"""Virtual packages: what conda packages may ask of a machine, such as `__cuda` (its driver) and `__glibc` (its C library).

The solver may be told of another machine than this one, by the spec or by conda's own variables; a run asks this one.
"""

from __future__ import annotations

import os
import re
import sys
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple

from ozrepro.methods.conda.matchspec import is_version
from ozrepro.project.checking import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

KEYS = ("archspec", "cuda", "glibc", "linux", "osx")
"""The keys of `[conda.virtual-packages]`; the variables are CONDA_OVERRIDE_ and one of them in upper case."""

_NUMBERS = re.compile(r"[0-9]+(\.[0-9]+)*", re.ASCII)
_PLAIN = re.compile(rf"(>=|<)({_NUMBERS.pattern})(,(>=|<)({_NUMBERS.pattern})(\.?a0)?)*", re.ASCII)
_TEXT = re.compile(r"__[a-z0-9_.-]+=[0-9A-Za-z._+!]+=[!-<>-~]+\Z", re.ASCII)
_ARCHSPEC = re.compile(r"[a-z0-9_]+\Z", re.ASCII)
_WORDS = {
    "__cuda": "the NVIDIA driver here offers CUDA {}",
    "__glibc": "the C library here is glibc {}",
    "__archspec": "the CPU here is {}",
    "__linux": "the kernel here is Linux {}",
    "__osx": "the system here is macOS {}",
}
_NONE = {
    "__cuda": "there is no NVIDIA driver here",
    "__glibc": "there is no glibc here",
    "__linux": "this is not Linux",
    "__osx": "this is not macOS",
}
_ELSEWHERE = {
    # What a platform other than this machine's has at least: current conda-forge builds ask for no more.
    "linux": (("__unix", "0", "0"), ("__linux", "4.18", "0"), ("__glibc", "2.28", "0")),
    "osx": (("__unix", "0", "0"), ("__osx", "11.0", "0")),
    "win": (("__win", "0", "0"),),
}
_CPUS = {"64": "x86_64", "32": "x86", "arm64": "m1"}


class Virtual(NamedTuple):
    """One virtual package: name with its underscores, version, build."""

    name: str
    version: str
    build: str = "0"

    def as_text(self) -> str:
        """Return it as conda shows it and as it is in the lock: `__cuda=12.4=0`."""
        return "=".join(self)


def check_overrides(table: Mapping[str, str]) -> dict[str, str]:
    """Return what is wrong with `[conda.virtual-packages]`, by key."""
    wrong: dict[str, str] = {}
    for key, value in table.items():
        if key not in KEYS:
            wrong[key] = f"is not known; one of: {', '.join(KEYS)}"
        elif value and not (_ARCHSPEC.match(value) if key == "archspec" else value[0].isdigit() and is_version(value)):
            example = '"x86_64_v3"' if key == "archspec" else '"12.4"'
            wrong[key] = f'{shown(value)} is not a version; write for example {example}, or "" for none'
    return wrong


def overrides(spec: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """Return what is said of the machine, by key: the spec's own, else conda's variables. The empty text means none.

    A variable that is not a version is passed over: it may be meant for another tool.
    """
    variables = {key: environ[name] for key in KEYS if (name := f"CONDA_OVERRIDE_{key.upper()}") in environ}
    usable = {key: value.strip() for key, value in variables.items() if not check_overrides({key: value.strip()})}
    return {**usable, **spec}


def said_otherwise(
    locked: Iterable[Virtual], spec: Mapping[str, str], environ: Mapping[str, str], *, cpu_builds: bool
) -> list[str]:
    """Return what conda's variables say now of a property that a lock was made with otherwise; the spec's own word counts more.

    `cpu_builds` tells that the lock has packages that a GPU would have changed.
    """
    made = {item.name: item.build if item.name == "__archspec" else item.version for item in locked}
    lines: list[str] = []
    for key, value in overrides({}, environ).items():
        name = f"__{key}"
        if key in spec or made.get(name, "") == value or (name not in made and not (key == "cuda" and cpu_builds)):
            continue
        was = f"for {made[name]}" if name in made else "without it"
        lines.append(f"CONDA_OVERRIDE_{key.upper()}={value} is said now, and it was locked {was}")
    return lines


def cpu_warning(names: Iterable[str], environ: Mapping[str, str]) -> str:
    """Return what to know of packages that were taken as builds for the CPU, and the line that gives those for GPUs."""
    version = overrides({}, environ).get("cuda") or "12.4"
    line = f'cuda = "{version}" in [conda.virtual-packages]'
    return f"CPU builds of {', '.join(names)}: no CUDA driver was detected or declared; for GPU builds write {line}"


def offered(detected: Sequence[Virtual], said: Mapping[str, str], subdir: str, here: str) -> tuple[Virtual, ...]:
    """Return the virtual packages that the solver is told of: what was detected, with what is said put over it.

    For a platform other than `here` (this machine's, as conda calls it) nothing detected counts.
    """
    found = {item.name: item for item in (detected if subdir == here else _baseline(subdir))}
    for key, value in said.items():
        name = f"__{key}"
        system = {"glibc": "linux", "linux": "linux", "osx": "osx"}.get(key)
        if system is not None and not subdir.startswith(system):
            continue  # what is said of one platform is not a property of another
        if not value:
            found.pop(name, None)
        else:
            found[name] = Virtual(name, "1", value) if key == "archspec" else Virtual(name, value)
    return tuple(sorted(found.values()))


def _baseline(subdir: str) -> list[Virtual]:
    system, _, cpu = subdir.partition("-")
    basic = [Virtual(*item) for item in _ELSEWHERE.get(system, ())]
    return [*basic, Virtual("__archspec", "1", cpu if (system, cpu) == ("linux", "arm64") else _CPUS.get(cpu, cpu))]


def needed(lines: Iterable[str]) -> tuple[str, ...]:
    """Return the names of the virtual packages in dependency lines."""
    return tuple(sorted({line.split()[0] for line in lines if line.startswith("__")}))


def quickly(names: Iterable[str]) -> tuple[Virtual, ...] | None:
    """Return this machine's virtual packages where those of `names` can be told without the helper process, else None."""
    if not set(names) <= {"__glibc", "__linux", "__unix"} or sys.platform != "linux":
        return None
    library = os.confstr("CS_GNU_LIBC_VERSION") or ""
    glibc = [Virtual("__glibc", library.split()[-1])] if library.startswith("glibc ") else []
    kernel = re.match(r"[0-9]+(\.[0-9]+){0,3}", os.uname().release)
    return (*glibc, Virtual("__linux", kernel[0] if kernel else "0"), Virtual("__unix", "0"))


def satisfied(depends: Iterable[str], here: Iterable[Virtual]) -> list[str]:
    """Return what locked packages ask of the machine and `here` does not offer, one line each, with both versions.

    `here` is what this machine has, whatever is said of it.
    """
    by_name = {item.name: item for item in here}
    lines = sorted({line for line in depends if line.startswith("__")})
    return list(dict.fromkeys(filter(None, (_unmet(line, by_name) for line in lines))))


def _unmet(line: str, by_name: Mapping[str, Virtual]) -> str | None:
    name, _, want = line.partition(" ")
    here = by_name.get(name)
    if here is None:
        return f"{_NONE.get(name, f'this machine has no {name}')}, the lock needs {name} {want or 'any'}"
    try:
        if _fits(here, want):
            return None
    except ValueError:
        return f"the lock needs {shown(line)}, which cannot be read"
    value, want = (here.build, cpu_in(line)) if name == "__archspec" else (here.version, want)
    return f"{_WORDS.get(name, f'{name} here is {{}}').format(value)}, the lock needs {want}"


def _fits(here: Virtual, want: str) -> bool:
    """Say whether a virtual package is what is wanted of it. Raises ValueError where that cannot be read.

    What nearly every lock asks, such as `>=2.17,<3.0.a0` of the C library, packaging orders as conda does, and it is loaded.
    """
    if not want:
        return True
    if here.name == "__archspec":
        wanted_cpu = cpu_in(want)
        return not wanted_cpu or any(fnmatchcase(name, wanted_cpu) for name in families(here.build))
    if _PLAIN.fullmatch(want) and _NUMBERS.fullmatch(here.version):
        from packaging.specifiers import SpecifierSet

        return SpecifierSet(want).contains(here.version)
    from rattler import MatchSpec, PackageRecord
    from rattler.exceptions import InvalidMatchSpecError
    from rattler.package import BuildString

    try:
        wanted = MatchSpec(f"{here.name} {want}", strict=False)
        return wanted.matches(PackageRecord(here.name, here.version, BuildString(here.build), 0, "noarch"))
    except InvalidMatchSpecError as error:
        raise ValueError(str(error)) from error


def cpu_in(line: str) -> str:
    """Return the CPU that a line asks for, such as `zen2` in `__archspec 1 zen2`; "" where it names none."""
    words = line.removeprefix("__archspec").split()
    return words[1] if len(words) > 1 else ""


def families(cpu: str) -> tuple[str, ...]:
    """Return a CPU and all that programs for it may be made for, nearest first: `zen3` runs what is for zen2 and x86_64_v3.

    The order is that of archspec, whose names conda takes.
    """
    from archspec.cpu import TARGETS

    found = TARGETS.get(cpu)
    return (cpu, *(item.name for item in found.ancestors)) if found is not None else (cpu,)


def level_of(cpu: str) -> str:
    """Return the level of a CPU, such as `x86_64_v3` of zen2; that of a level, and of an unknown name, is itself."""
    from archspec.cpu import TARGETS

    found = TARGETS.get(cpu)
    return str(found.generic.name) if found is not None else cpu


def narrow_warning(asking: Iterable[tuple[str, str]]) -> list[str]:
    """Return what to know of packages that were taken for one kind of CPU: the lock does not start on others of its level.

    `asking` has the package and each line of what it needs.
    """
    lines: list[str] = []
    for package, line in asking:
        cpu = cpu_in(line).rstrip("*_") if line.startswith("__archspec") else ""
        if cpu and (level := level_of(cpu)) != cpu:
            wider = f'for all {level} CPUs write archspec = "{level}" in [conda.virtual-packages]'
            lines.append(f"{package} needs the CPU {cpu} or one that runs its programs; {wider}")
    return lines


def check_virtual(text: str) -> str | None:
    """Say that a text is not a virtual package such as a lock holds, or None."""
    return None if _TEXT.match(text) and len(text) < 200 else f"{shown(text)} is not a virtual package such as __cuda=12.4=0"
