"""What can change without a module's name changing: modulefiles, rc files, the site's hooks, the software behind them."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ozrepro.store import manifest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ozrepro.modulesystem import LoadedModule
    from ozrepro.modulesystem.index import Index

_RC = (".modulerc", ".modulerc.lua", ".version")


@dataclass(frozen=True, slots=True)
class Print:
    """A file by path and sha256."""

    path: str
    sha256: str


def take(paths: Iterable[str]) -> tuple[Print, ...]:
    """Return the prints of the files that exist, in order, each once. Raises OSError for one that cannot be read."""
    return tuple(Print(path, digest(path)) for path in dict.fromkeys(paths) if os.path.isfile(path))


def digest(path: str) -> str:
    """Return a regular file's sha256 in hexadecimal. Raises OSError: a lock may name a device or a pipe, which has no end."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(errno.EINVAL, "is not a regular file", path)
    return manifest.digest_file(path)


def modulefiles(modules: Iterable[LoadedModule]) -> list[str]:
    """Return the files of the loaded modules, in load order."""
    return [module.file for module in modules]


def inherited_files(modules: Iterable[LoadedModule], index: Index) -> list[str]:
    """Return the files of the same names that a loaded modulefile may have loaded by `inherit()`: Lmod's own list lacks them."""
    found: list[str] = []
    for module in modules:
        others = [item.file for item in index.modules.get(module.name, ()) if item.file != module.file]
        if others and b"inherit" in Path(module.file).read_bytes():
            found += others
    return found


def rc_files(modulepath: Sequence[str], modules: Iterable[LoadedModule], own: Sequence[str]) -> list[str]:
    """Return the files that can rename, alias, hide or default a module that was loaded: the tool's `own` and the directories'.

    Only those that exist.
    """
    short = sorted({module.name.rpartition("/")[0] for module in modules})
    folders = [folder for base in modulepath for folder in (base, *(os.path.join(base, name) for name in short))]
    found = [*own, *(os.path.join(folder, name) for folder in folders for name in _RC)]
    return [path for path in dict.fromkeys(found) if os.path.isfile(path)]


def user_rc_files(environ: Mapping[str, str]) -> list[str]:
    """Return a user's own rc files, which change what names mean for this user alone; a lock never follows them."""
    home = environ.get("HOME", "")
    return [path for path in (f"{home}/.modulerc.lua", f"{home}/.modulerc") if home and os.path.isfile(path)]


def interpreter_files(python: str) -> list[str]:
    """Return an interpreter's executable, resolved, and the libpython beside it, where there is one."""
    real = os.path.realpath(python)
    libraries = sorted(str(path) for path in Path(real).parent.parent.glob("lib*/libpython3*.so*"))
    return [real, *dict.fromkeys(os.path.realpath(path) for path in libraries)]


def changed(prints: Iterable[Print]) -> list[tuple[str, str]]:
    """Return path and problem of each file that is gone or has another content."""
    found: list[tuple[str, str]] = []
    for item in prints:
        try:
            if digest(item.path) != item.sha256:
                found.append((item.path, "was changed"))
        except FileNotFoundError:
            found.append((item.path, "is gone"))
        except OSError as error:
            found.append((item.path, f"cannot be read: {error.strerror}"))
    return found
