"""Which Python: interpreters on this machine, and the tags and markers of those that a lock may meet elsewhere."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.util import MAGIC_NUMBER
from typing import TYPE_CHECKING

from packaging import tags
from packaging.markers import default_environment
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from ozrepro import process
from ozrepro.errors import CommandFailed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

MINORS = tuple(range(8, 16))
"""The minor versions of Python 3 that a lock's coverage is worked out for."""

DEFAULT_RANGE = ">=3.10"
_HERE = "here"
"""Stands for the platform in tags that are made once for all of them."""

_ASK = (
    "import json,os,platform,sys,sysconfig;"
    "v=sys.implementation.version;"
    "print(json.dumps({'path':getattr(sys,'_base_executable',None) or sys.executable,"
    "'abi':sysconfig.get_config_var('SOABI') or '','free':bool(sysconfig.get_config_var('Py_GIL_DISABLED')),"
    "'tag':sys.implementation.cache_tag or '','magic':sys.modules['_frozen_importlib_external'].MAGIC_NUMBER.hex(),"
    "'markers':{'implementation_name':sys.implementation.name,'implementation_version':'.'.join(map(str,v[:3])),"
    "'os_name':os.name,'platform_machine':platform.machine(),'platform_release':platform.release(),"
    "'platform_system':platform.system(),'platform_version':platform.version(),"
    "'python_full_version':platform.python_version(),"
    "'platform_python_implementation':platform.python_implementation(),"
    "'python_version':'.'.join(platform.python_version_tuple()[:2]),'sys_platform':sys.platform}}))"
)


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python on this machine: path of its executable (of the base, not of a venv), markers' variables, free-threaded or not.

    `tag` is what the names of its bytecode have and `magic` what that begins with (PEP 3147); "" where nobody was asked:
    what a lock tells of a Python is the same Python.
    """

    path: str
    markers: Mapping[str, str]
    free_threaded: bool = False
    tag: str = field(default="", compare=False)
    magic: str = field(default="", compare=False)

    @property
    def version(self) -> str:
        """The full version, such as 3.12.4."""
        return self.markers["python_full_version"]

    @property
    def minor(self) -> str:
        """The language version, such as 3.12."""
        return self.markers["python_version"]

    def tags(self) -> list[tags.Tag]:
        """Return the wheel tags that it takes, best first."""
        major, minor = (int(part) for part in self.minor.split("."))
        abi = f"cp{major}{minor}{'t' if self.free_threaded else ''}"
        return _cpython_tags((major, minor), abi, list(tags.platform_tags()))

    def identity(self) -> dict[str, str]:
        """Return what makes an environment on this interpreter differ from one on another."""
        return {"path": self.path, "version": self.version, "free-threaded": str(self.free_threaded)}


def _cpython_tags(version: tuple[int, int], abi: str, platforms: list[str]) -> list[tags.Tag]:
    interpreter = f"cp{version[0]}{version[1]}"
    exact = tags.cpython_tags(version, abis=[abi], platforms=platforms)
    return [*exact, *tags.compatible_tags(version, interpreter, platforms)]


def running() -> Interpreter:
    """Return the interpreter that ozrepro runs on."""
    import sysconfig

    base = getattr(sys, "_base_executable", None) or sys.executable
    markers = {name: str(value) for name, value in default_environment().items()}
    free, tag = bool(sysconfig.get_config_var("Py_GIL_DISABLED")), sys.implementation.cache_tag or ""
    return Interpreter(os.path.realpath(base), markers, free, tag, MAGIC_NUMBER.hex())


def recorded(path: str, version: str, *, free_threaded: bool = False) -> Interpreter:
    """Return a CPython of this machine as its version alone tells, nothing started: all other markers are the machine's."""
    markers = {name: str(value) for name, value in default_environment().items()}
    parts = Version(version)
    markers |= {
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "implementation_version": parts.base_version,
        "python_full_version": version,
        "python_version": f"{parts.major}.{parts.minor}",
    }
    return Interpreter(path, markers, free_threaded)


def ask(path: str, variables: Mapping[str, str] | None = None) -> Interpreter | None:
    """Return what the interpreter at `path` says of itself, or None when it does not run or is not CPython.

    `variables` are those that it needs to run, such as LD_LIBRARY_PATH for one of a module.
    """
    try:
        done = process.run([path, "-I", "-S", "-c", _ASK], env={"PATH": process.CLEAN_PATH, **(variables or {})}, timeout=30)
        said = json.loads(done.output) if done.status == 0 else {}
        markers = {str(name): str(value) for name, value in said["markers"].items()}
        found = Interpreter(os.path.realpath(said["path"]), markers, bool(said["free"]), str(said["tag"]), str(said["magic"]))
        version = Version(found.version)
    except (AttributeError, CommandFailed, LookupError, RecursionError, TypeError, ValueError):
        return None  # any program may be called python
    sound = markers.get("implementation_name") == "cpython" and found.minor == f"{version.major}.{version.minor}"
    return found if sound else None


def find(python: str, covered: Iterable[str] | None, path: str, project: Path) -> Interpreter | None:
    """Return an interpreter of the range `python`: the running one if it fits, else the newest on `path`.

    `covered` limits the choice to these minor versions. A program that is inside the project is never started: a look at a clone
    must run nothing of it. None when there is none.
    """
    wanted = SpecifierSet(python or DEFAULT_RANGE)
    allowed = None if covered is None else set(covered)

    def fits(found: Interpreter) -> bool:
        return wanted.contains(found.version, prereleases=True) and (allowed is None or found.minor in allowed)

    own = running()
    if own.markers["implementation_name"] == "cpython" and fits(own):
        return own
    for candidate in _on_path(path, project, allowed):
        found = ask(candidate)
        if found is not None and fits(found):
            return found
    return None


def _on_path(path: str, project: Path, allowed: set[str] | None) -> Iterator[str]:
    folders = list(process.safe_folders(path))
    minors = [f"3.{minor}" for minor in reversed(MINORS) if allowed is None or f"3.{minor}" in allowed]
    for name in (*(f"python{minor}" for minor in minors), "python3", "python"):
        for folder in folders:
            candidate = os.path.join(folder, name)
            runs = os.access(candidate, os.X_OK) and os.path.isfile(candidate)
            if runs and not process.is_inside(candidate, project):
                # A venv's own link is not started: its pyvenv.cfg may name another standard library.
                yield os.path.realpath(candidate) if process.is_inside(folder, project) else candidate


def check_range(python: str) -> str | None:
    """Return what is wrong with a range of Python's versions, or None."""
    try:
        SpecifierSet(python).contains("3.10.0", prereleases=True)
    except ValueError:
        return f'{python!r} is not a version range; write for example ">=3.10" or ">=3.10,<3.13"'
    return None


def minors_of(python: str) -> tuple[str, ...]:
    """Return the minor versions that have a release in the range `python`, such as 3.10, 3.11."""
    wanted = SpecifierSet(python or DEFAULT_RANGE)
    inside = (any(wanted.contains(f"3.{minor}.{patch}", prereleases=True) for patch in range(31)) for minor in MINORS)
    return tuple(f"3.{minor}" for minor, good in zip(MINORS, inside, strict=True) if good)


def markers_of(platform: str, minor: str) -> tuple[dict[str, str], ...]:
    """Return the markers' variables of a first and a late release of Python `minor` on `platform`."""
    system, _, machine = platform.partition("-")
    common = {
        "implementation_name": "cpython",
        "os_name": "posix",
        "platform_machine": machine,
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Darwin" if system == "macos" else "Linux",
        "platform_version": "",
        "python_version": minor,
        "sys_platform": "darwin" if system == "macos" else "linux",
    }
    return tuple({**common, "implementation_version": f"{minor}.{p}", "python_full_version": f"{minor}.{p}"} for p in (0, 30))


def takes(platform: str, minor: str, wheel: Iterable[tags.Tag]) -> bool:
    """Say whether a CPython `minor` on a recent `platform` takes a wheel of these tags."""
    # Platforms and the rest are compared apart: a set of all their pairs has 1,200 tags and takes 3 ms to make, for each of 15.
    accepted, platforms = _accepted(minor), _platforms(platform)
    return any(
        (tag in accepted)
        if tag.platform == "any"
        else tag.platform in platforms and tags.Tag(tag.interpreter, tag.abi, _HERE) in accepted
        for tag in wheel
    )


@lru_cache(maxsize=32)
def _accepted(minor: str) -> frozenset[tags.Tag]:
    """Return the wheel tags that a CPython `minor` takes, with `_HERE` for each platform."""
    version = (3, int(minor.split(".")[1]))
    return frozenset(_cpython_tags(version, f"cp3{version[1]}", [_HERE]))


@lru_cache(maxsize=32)
def _platforms(platform: str) -> frozenset[str]:
    system, _, machine = platform.partition("-")
    if system == "macos":
        return frozenset(tags.mac_platforms((26, 0), machine))
    # glibc 2.17 is the oldest that manylinux2014 wheels and the clusters in use have; 2.45 is beyond today's newest.
    old = (f"{name}_{machine}" for name in ("manylinux2014", "manylinux2010", "manylinux1"))
    return frozenset((*(f"manylinux_2_{number}_{machine}" for number in range(45, 4, -1)), *old, f"linux_{machine}"))
