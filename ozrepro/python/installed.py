"""The distributions that a venv finds outside itself: those of the loaded modules and, where it looks there, of their Python.

uv resolves and checks as if a venv were alone, also one made with --system-site-packages, and would put a second numpy over the
module's. So the base is listed here, resolved against as empty wheels, and the requirements are checked here.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import json
import os
import re
import tempfile
import zipfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import InvalidName, canonicalize_name
from packaging.version import InvalidVersion, Version

from ozrepro import process
from ozrepro.errors import BuildError

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping

_MARK = "ozrepro-search-path:"
# Written past sys.stdout, on a line of its own: a sitecustomize may print, without a newline at the end, or replace the stream.
_ASK = f"import json,os,sys;os.write(1,('\\n{_MARK}'+json.dumps(sys.path)+'\\n').encode())"
_INFO = re.compile(r".+\.(dist|egg)-info\Z", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Distribution:
    """An installed distribution: canonical name, normalized version, the folder of the search path that holds it.

    `requires` are its Requires-Dist and `extras` its Provides-Extra, as its metadata has them, which is at `info`.
    """

    name: str
    version: str
    folder: str
    requires: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()
    info: str = field(default="", compare=False)


def search_path(python: str, variables: Mapping[str, str]) -> tuple[str, ...]:
    """Return the folders that this interpreter searches for modules under exactly these variables, in order.

    `python` is run once, a venv's own, with its site and sitecustomize: EasyBuild's EBPYTHONPREFIXES works through the latter.
    Raises CommandFailed, BuildError.
    """
    with tempfile.TemporaryDirectory(prefix="ozrepro-") as name:
        # In an empty folder: an empty entry of PYTHONPATH means the one that Python is started in.
        done = process.run([python, "-c", _ASK], env=variables, cwd=name, timeout=120)
        done.checked(f"cannot ask {python} where it finds packages")
        answers = [line for line in done.output.splitlines() if line.startswith(_MARK)]
        try:
            said = json.loads(answers[-1].removeprefix(_MARK))
        except (IndexError, ValueError) as error:
            raise BuildError("does not say where it finds packages", where=python) from error
        here = os.path.realpath(name)
        folders = [text for text in said if isinstance(text, str) and os.path.isabs(text) and os.path.isdir(text)]
        return tuple(folder for folder in dict.fromkeys(folders) if os.path.realpath(folder) != here)


class _Found(importlib.metadata.Distribution):
    """One folder or file of metadata, read whatever bytes it has: importlib's own reader stops at what is not UTF-8."""

    def __init__(self, path: str) -> None:
        self.path = path

    def read_text(self, filename: str) -> str | None:
        try:
            with open(os.path.join(self.path, filename) if filename else self.path, "rb") as stream:
                return stream.read().decode("utf-8", "replace")
        except OSError:
            return None

    def locate_file(self, path: str | os.PathLike[str]) -> Path:
        return Path(self.path).parent / path


def distributions(folders: Iterable[str]) -> dict[str, Distribution]:
    """Return the distributions in these folders by name; of several with one name that in the first folder counts.

    What has no name or no version as PEP 440 wants it is left out: no requirement can name it.
    """
    found: dict[str, Distribution] = {}
    for folder in folders:
        for path in _metadata(folder):
            distribution = _read(path, folder)
            if distribution is not None:
                found.setdefault(distribution.name, distribution)
    return found


def _metadata(folder: str) -> Iterator[str]:
    """Yield the metadata of a folder of the search path: .dist-info, .egg-info, and that of a folder which is itself an egg."""
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return
    for name in names:
        # A failed uninstallation of pip leaves the old folder with a ~ before it.
        inside_egg = name == "EGG-INFO" and folder.rstrip("/").endswith(".egg")
        if (_INFO.match(name) and not name.startswith("~")) or inside_egg:
            yield os.path.join(folder, name)


def _read(path: str, folder: str) -> Distribution | None:
    entry = _Found(path)
    try:
        metadata = entry.metadata
        # Not metadata["Name"]: where it is absent, Python 3.13 warns that this will raise.
        name, version = (str(next(iter(metadata.get_all(key) or ()), "")) for key in ("Name", "Version"))
        requires, extras = entry.requires or (), metadata.get_all("Provides-Extra") or ()
        return Distribution(
            canonicalize_name(name, validate=True),
            str(Version(version)),
            folder,
            tuple(" ".join(str(text).split()) for text in requires),
            tuple(str(text).strip() for text in extras),
            path,
        )
    except (InvalidName, InvalidVersion):
        return None
    except (AttributeError, LookupError, OSError, RecursionError, TypeError, ValueError):
        return None  # damaged in a way that the readers of some Python do not expect


def stub_wheels(base: Mapping[str, Distribution], folder: Path) -> None:
    """Write an empty wheel for each distribution, so that uv can resolve against versions that no index has.

    The same distributions give the same bytes.
    """
    for distribution in base.values():
        write_stub(folder, distribution.name, distribution.version, _stub_metadata(distribution))


def write_stub(folder: Path, name: str, version: str, metadata: str) -> Path:
    """Write a wheel that has metadata and nothing else, and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    files = {
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: ozrepro\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={digest},{len(text.encode())}\n"
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n"
    wheel = folder / stub_name(name, version)
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in files.items():
            entry = zipfile.ZipInfo(path)
            entry.create_system, entry.external_attr = 3, 0o100644 << 16
            archive.writestr(entry, text)
    return wheel


def stub_name(name: str, version: str) -> str:
    """Return the file name of a stub."""
    return f"{name.replace('-', '_')}-{version}-py3-none-any.whl"


def _stub_metadata(distribution: Distribution) -> str:
    lines = ["Metadata-Version: 2.1", f"Name: {distribution.name}", f"Version: {distribution.version}"]
    for extra in distribution.extras:
        try:
            lines.append(f"Provides-Extra: {canonicalize_name(extra, validate=True)}")
        except InvalidName:
            continue
    for text in distribution.requires:
        requirement = _requirement(text)
        # uv refuses addresses in anything but a direct requirement; here the package is installed already.
        if requirement is not None and not requirement.url:
            lines.append(f"Requires-Dist: {requirement}")
    return "\n".join(lines) + "\n"


def constraints(base: Mapping[str, Distribution], overridden: Container[str], stubs: Path | None = None) -> str:
    """Return constraint lines that hold uv to the base's versions, except of those that the venv brings itself.

    With `stubs`, the folder of `stub_wheels`, each line gives the stub's address. Then no index can offer another file of the
    same version with other requirements, local and prerelease versions need no consent, and a package may be in --no-binary.
    """
    kept = [distribution for name, distribution in sorted(base.items()) if name not in overridden]
    if stubs is not None:
        return "".join(f"{item.name} @ {(stubs.absolute() / stub_name(item.name, item.version)).as_uri()}\n" for item in kept)
    return "".join(f"{item.name}=={item.version}\n" for item in kept)


def tolerant(base: Mapping[str, Distribution], markers: Mapping[str, str]) -> dict[str, Distribution]:
    """Return the base without the requirements in which it contradicts itself: only the site can fix its modules.

    Only for resolving: a module that wants another version of its neighbour would make every resolution that meets it impossible.
    """
    found: dict[str, Distribution] = {}
    for name, item in base.items():
        broken = {text for text, _, other in _failing(item, base, markers) if other is not None}
        requires = tuple(text for text in item.requires if text not in broken)
        found[name] = replace(item, requires=requires)
    return found


def demanded(requirements: Iterable[str], base: Mapping[str, Distribution], markers: Mapping[str, str]) -> dict[str, str]:
    """Return the distributions of the base that the spec's own requirement lines do not accept, each with the reason.

    Lines that begin with `-` are not looked into. `markers` are the variables of the interpreter in use.
    """
    found: dict[str, str] = {}
    for text in requirements:
        requirement = None if text.startswith("-") else _requirement(text)
        if requirement is None or not _applies(requirement, markers):
            continue
        there = base.get(canonicalize_name(requirement.name))
        if there is None or there.name in found:
            continue
        if requirement.url:
            found[there.name] = f"{there.name} {there.version} of the modules is not the file that {text!r} names"
        elif not requirement.specifier.contains(there.version, prereleases=True):
            found[there.name] = f"{there.name} {there.version} of the modules does not satisfy {text!r}"
    return found


def unmet(
    installed: Mapping[str, Distribution],
    names: Iterable[str],
    markers: Mapping[str, str],
    overridden: Container[str] = (),
) -> list[str]:
    """Return a line for each requirement of the distributions `names` that nothing in `installed` meets.

    `installed` is all that the environment sees, base and venv; `uv pip check` knows the venv alone.
    Extras are not looked into, nor requirements of what is `overridden`.
    """
    lines: set[str] = set()
    for item in (installed[name] for name in map(canonicalize_name, names) if name in installed):
        for _, requirement, other in _failing(item, installed, markers):
            if canonicalize_name(requirement.name) in overridden:
                continue
            wanted = str(requirement).partition(";")[0].strip()
            there = f"{other.name} {other.version} is there" if other is not None else "it is not there"
            lines.add(f"{item.name} {item.version} requires {wanted}, and {there}")
    return sorted(lines)


def _failing(
    item: Distribution, installed: Mapping[str, Distribution], markers: Mapping[str, str]
) -> Iterator[tuple[str, Requirement, Distribution | None]]:
    """Yield each requirement of a distribution that applies and is not met, as text and value, with what is there instead."""
    for text in item.requires:
        requirement = _requirement(text)
        if requirement is None or not _applies(requirement, markers):
            continue
        other = installed.get(canonicalize_name(requirement.name))
        if other is None or not requirement.specifier.contains(other.version, prereleases=True):
            yield text, requirement, other


def _requirement(text: str) -> Requirement | None:
    try:
        return Requirement(text)
    except (InvalidRequirement, RecursionError, ValueError):
        return None


def _applies(requirement: Requirement, markers: Mapping[str, str]) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({**markers, "extra": ""})
