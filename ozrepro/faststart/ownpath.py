"""Where ozrepro's own imports come from: not from what the caller's shell puts in front of them.

A module of a site that is loaded leaves PYTHONPATH in the shell, with another `packaging` for another Python. Folders of the
caller are put behind all others and not taken away, since a part of the installation may lie there alone.
Loaded only where the caller has such folders, and in the processes that ozrepro starts for itself.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType

OURS = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
"""The folder that holds this package."""


def callers_folders(more: Iterable[str] = ()) -> list[str]:
    """Return the folders of the search path that the caller's shell or home has put there, and `more`."""
    listed = "" if sys.flags.ignore_environment else os.environ.get("PYTHONPATH", "")
    folders = [*more, *(listed.split(os.pathsep) if listed else ())]
    site = sys.modules.get("site")
    if site is not None and site.ENABLE_USER_SITE:
        folders.append(site.getusersitepackages())
    library = os.path.dirname(os.path.abspath(os.__file__))
    known = (os.path.abspath(folder) for folder in folders)  # as Python's own site does with sys.path
    return [folder for folder in dict.fromkeys(known) if folder != library and folder in sys.path]


def own_path() -> list[str]:
    """Return the folders of the search path that are not the caller's, and the one that holds this package."""
    callers = set(callers_folders()) - {OURS}
    return [folder for folder in sys.path if folder not in callers]


def ordered(path: Iterable[str], callers: Iterable[str], ours: str = OURS) -> list[str]:
    """Return a search path with the caller's folders behind all others.

    Where ozrepro itself lies in one of them, as a module of the site has it, they stay in front of the interpreter's packages,
    behind its standard library, and that one is the first.
    """
    theirs = [folder for folder in path if folder in set(callers)]
    rest = [folder for folder in path if folder not in theirs]
    if ours not in theirs:
        return [*rest, *theirs]
    library = os.path.dirname(os.path.abspath(os.__file__))
    standard = [folder for folder in rest if folder in (library, f"{library}/lib-dynload") or folder.endswith(".zip")]
    theirs.remove(ours)
    return [*standard, ours, *theirs, *(folder for folder in rest if folder not in standard)]


def put_callers_behind(more: Iterable[str] = ()) -> None:
    """Change this process's search path so, and forget what was imported from the caller's folders."""
    callers = callers_folders(more)
    if callers:
        sys.path[:] = ordered(sys.path, callers)
        _take_out(callers)


def _take_out(callers: Iterable[str]) -> dict[str, ModuleType]:
    """Take the modules that lie in these folders out of those that are imported, but for ozrepro's own, and return them."""
    beginnings = tuple(f"{folder.rstrip('/')}/" for folder in callers)
    names = [
        name
        for name, module in sys.modules.items()
        if name != "__main__" and name.partition(".")[0] != "ozrepro" and _origin(module).startswith(beginnings)
    ]
    return {name: sys.modules.pop(name) for name in names}


def _origin(module: ModuleType) -> str:
    origin = getattr(getattr(module, "__spec__", None), "origin", None)
    return origin if isinstance(origin, str) else ""


class OwnImports:
    """Imports from our own folders for as long as a `with` lasts, in another's process: nox, and what it has imported, stays.

    Not by contextlib: what is imported before the folders are in order may be the caller's.
    """

    _ours: dict[str, ModuleType] = {}  # noqa: RUF012 - of the process, from one time to the next: a class must not be there twice

    def __enter__(self) -> None:
        callers = callers_folders()
        self._path = list(sys.path)
        self._theirs = {} if OURS in callers else _take_out(callers)
        if OURS not in callers:
            sys.path[:] = ordered(sys.path, callers)
        sys.modules.update(self._ours)

    def __exit__(self, *_: object) -> None:
        packages = {name.partition(".")[0] for name in self._theirs}
        ours = [name for name in sys.modules if name.partition(".")[0] in packages]
        self._ours.update({name: sys.modules.pop(name) for name in ours})
        sys.modules.update(self._theirs)
        sys.path[:] = self._path


def helper(module: str, *arguments: str) -> list[str]:
    """Return the words that start a module of ozrepro as a process of its own, which searches where this one does."""
    path = [folder for folder in sys.path if os.path.isabs(folder)]
    start = "import runpy; runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
    code = f"import sys; sys.path[:] = {path!r}; {start}"
    return [sys.executable, "-c", code, module, *arguments]
