"""Where the software of a locked load is: the folders that modules name, without `bin`, `lib` and the like at their ends."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ozrepro.modulesystem.record import Record

_INSIDE = re.compile(
    r"/(?:s?bin|libexec|man|info|easybuild(?:/.*)?|include(?:/[^/]+)?"
    r"|lib(?:32|64)?(?:/python3\.\d+t?(?:/[a-z-]+)?|/pkgconfig|/cmake(?:/.*)?)?"
    r"|share(?:/(?:man|info|doc|aclocal|pkgconfig|cmake(?:/.*)?))?)\Z"
)
"""What modulefiles of EasyBuild, Spack and OzSTAR put behind a prefix."""
_ROOT = "EBROOT"
"""How EasyBuild begins the names of variables that have a module's prefix."""


def prefixes(load: Record) -> tuple[str, ...]:
    """Return the folders of all software that a load names, sorted, none inside another."""
    return outermost(top_of(path, load) for path in _named(load))


def outermost(paths: Iterable[str]) -> tuple[str, ...]:
    """Return the paths that are not inside another one, sorted."""
    found: list[str] = []
    for path in sorted(set(paths)):
        if not any(path.startswith(f"{other}/") for other in found):
            found.append(path)
    return tuple(found)


def top_of(path: str, load: Record) -> str:
    """Return the prefix that a folder of software belongs to; the folder itself where that would hold other software too."""
    top = _INSIDE.sub("", path)
    wide = top.count("/") < 2 or any(f"{folder}/".startswith(f"{top}/") for folder in load.modulepath)
    return path if wide else top


def _named(load: Record) -> Iterator[str]:
    """Yield the absolute paths that a load puts into path variables, and EasyBuild's prefixes, whoever the caller is."""
    change = load.change
    paths = [*change.paths.values(), *(case.path for cases in change.follow.values() for case in cases if case.path)]
    texts = [entry for path in paths for entry in (*path.prepend, *path.append)]
    texts += [value for name, value in change.variables.items() if name.startswith(_ROOT)]
    for text in texts:
        path = re.sub(r"/+", "/", text).rstrip("/")
        if path.startswith("/") and "$" not in path and "/../" not in f"{path}/":
            yield path
