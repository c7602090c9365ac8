"""Which methods there are: this package's, and those of other distributions, by the entry point group `ozrepro.methods`.

A method is loaded when a spec or a lock names it. Other distributions are looked through only for a name that is not known here:
their number, not ozrepro's, decides how long that takes on a cold file system.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ozrepro.errors import UsageError
from ozrepro.faststart.ownpath import own_path

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ozrepro.project.checking import Checker

GROUP = "ozrepro.methods"
"""The entry point group of methods: `NAME = "package.module:METHOD"`."""

BUILTIN = ("modules", "conda", "container", "venv")
"""The package's own, in the order in which they are preferred and written."""


def known(written: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the names of the methods, the package's own first; others only where one of `written` is no name of these."""
    if all(name in BUILTIN for name in written):
        return BUILTIN
    return (*BUILTIN, *sorted(_plugins()))


def is_method(name: str) -> bool:
    """Say whether there is a method of this name."""
    return name in known((name,))


def load(name: str) -> Any:
    """Return the method of a name. Raises UsageError where there is none, or its distribution cannot be loaded."""
    return _load(name)


@cache
def _load(name: str) -> Any:
    if name in BUILTIN:
        method: Any = import_module(f"ozrepro.methods.{name}.method").METHOD
        return method
    if name not in _plugins():
        raise UsageError(f"{name!r} is not a method", hint=f"one of: {', '.join(known((name,)))}")
    module, _, attribute = _plugins()[name].partition(":")
    try:
        found: Any = getattr(import_module(module), attribute or "METHOD")
    except (ImportError, AttributeError) as error:
        raise UsageError(f"the method {name!r} cannot be loaded: {error}", where=module, hint="reinstall its package") from error
    return found


@cache
def _plugins() -> dict[str, str]:
    """Return the methods of other distributions where ozrepro itself is installed, never of the caller's PYTHONPATH."""
    from importlib.metadata import distributions

    found: dict[str, str] = {}
    for distribution in distributions(path=own_path()):
        for point in distribution.entry_points:
            if point.group == GROUP and point.name not in BUILTIN:
                found.setdefault(point.name, point.value)
    return found


def read_table(name: str, checker: Checker, value: object) -> object:
    """Return a method's table of a spec, read by the method; what is wrong is noted in `checker`."""
    return load(name).read_table(checker, value)
