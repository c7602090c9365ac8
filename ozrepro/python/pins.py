"""Exact versions to files with hashes: for a set of packages whose versions another tool has chosen, such as a toolchain's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from packaging.version import InvalidVersion, Version

from ozrepro.errors import CommandFailed
from ozrepro.project.toml import loads
from ozrepro.python.entries import packages_of
from ozrepro.python.interpreter import running
from ozrepro.python.resolve import Wanted, compile_lines, narrowed, workspace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ozrepro.python.packages import LockedPackage
    from ozrepro.python.uv import Uv

_LACKING = "status 1"
"""How uv ends when an index answers and has not what is asked for; it ends with 2 when it cannot be asked."""


def find_exactly(uv: Uv, versions: Mapping[str, str], wanted: Wanted) -> tuple[tuple[LockedPackage, ...], tuple[str, ...]]:
    """Return the wheels of exactly these versions for the platform and Python of `wanted`, and the names that have none.

    Nothing is replaced: a name whose version the index lacks, or has no wheel of, is left out. Dependencies are not followed.
    Raises CommandFailed where the index cannot be asked: that says nothing of what it has.
    """
    known = {name: version for name, version in versions.items() if _is_version(version)}
    packages, lacking = _find_each(uv, known, wanted)
    return packages, tuple(sorted((*lacking, *(versions.keys() - known.keys()))))


def _is_version(text: str) -> bool:
    try:
        Version(text)
    except InvalidVersion:
        return False
    return True


def _find_each(uv: Uv, versions: Mapping[str, str], wanted: Wanted) -> tuple[tuple[LockedPackage, ...], tuple[str, ...]]:
    try:
        return _find(uv, versions, wanted)
    except CommandFailed as error:
        if not error.what.partition("\n")[0].endswith(_LACKING):
            raise
        if len(versions) <= 1:
            return (), tuple(versions)
    # uv names the first that it cannot find and stops: halves find them all.
    names = sorted(versions)
    middle = len(names) // 2
    parts = ({name: versions[name] for name in some} for some in (names[:middle], names[middle:]))
    found = [_find_each(uv, part, wanted) for part in parts]
    return tuple(item for packages, _ in found for item in packages), tuple(name for _, lacking in found for name in lacking)


def _find(uv: Uv, versions: Mapping[str, str], wanted: Wanted) -> tuple[tuple[LockedPackage, ...], tuple[str, ...]]:
    if not versions:
        return (), ()
    lines = "\n".join(f"{name}=={version}" for name, version in sorted(versions.items()))
    with workspace(wanted) as folder:
        output = folder / "pylock.found.toml"
        compile_lines(uv, folder, wanted, running(), lines, ["--no-deps", "-o", str(output)])
        entries = loads(output.read_text(encoding="utf-8")).get("packages", [])
    packages = [item for package in packages_of(entries, wanted)[0] if (item := narrowed(package, wanted)) is not None]
    there = tuple(item for item in packages if item.files)
    return there, tuple(sorted(versions.keys() - {item.name for item in there}))
