"""What other distributions add, by entry points: methods, formats, module tools."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

from ozrepro.errors import UsageError
from ozrepro.faststart.ownpath import own_path


@cache
def plugins(group: str) -> dict[str, str]:
    """Return the entry points of a group where ozrepro itself is installed, never of the caller's PYTHONPATH.

    How many distributions there are decides how long this takes on a cold file system: call it only for a name that is not
    built in.
    """
    from importlib.metadata import distributions

    points: dict[str, str] = {}
    for distribution in distributions(path=own_path()):
        for point in distribution.entry_points:
            if point.group == group:
                points.setdefault(point.name, point.value)
    return points


def load(value: str, default: str, title: str) -> Any:
    """Return what an entry point names, `package.module:attribute`. Raises UsageError where it cannot be imported."""
    module, _, attribute = value.partition(":")
    try:
        return getattr(import_module(module), attribute or default)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"{title} cannot be loaded: {error}", where=module, hint="reinstall its package") from error
