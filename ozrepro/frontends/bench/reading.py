"""Reads a value of JSON into the dataclasses of a result by their own annotations, so that each field that is added is checked.

A file may have been edited, or be a stranger's: what is wrong is told by its key, and never met later as a traceback.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from ozrepro.project.checking import shown

if TYPE_CHECKING:
    from collections.abc import Collection

    from ozrepro.project.checking import Checker

_T = TypeVar("_T")
_WANTED = {bool: "true or false", float: "a number", int: "a whole number", str: "a string"}
_BEYOND = 2**63
"""Numbers are below it: as text and as a float a longer one raises errors of its own."""

_DEEPEST = 16
"""Tables inside each other, of values that have no type here; a machine's facts have three."""

_SIGNED, _ABOVE, _COUNT = (-_BEYOND, _BEYOND), (1e-9, _BEYOND), (1, _BEYOND)
_BOUNDS: Mapping[str, tuple[float, int]] = {
    "depth": (0, 100_000),
    "nodes": _COUNT,
    "phases": _SIGNED,
    "ranks": _COUNT,
    "ready": _ABOVE,
    "round": _COUNT,
    "seed": _SIGNED,
    "status": _SIGNED,
}
"""From what to below what the numbers of a field are, where that is not 0: a status below it is a signal's, two nodes' clocks may
put one phase before the zero, no start is ready within a nanosecond, and a module as deep as that would be drawn for hours."""


def read_table(
    checker: Checker, kind: type[_T], value: object, path: tuple[str, ...] = (), optional: Collection[str] | None = None
) -> _T | None:
    """Return a value of the dataclass `kind` from a table of JSON; what is wrong is noted, and is None in what is returned.

    Without `optional`, the fields that may be missing are those that have a default. A key that `kind` does not know is left
    out: a newer version of the same schema may have written it.
    """
    if not isinstance(value, dict):
        _wrong(checker, path, value, "a table")
        return None
    hints, given, missing = get_type_hints(kind), {}, []
    for item in fields(kind):  # type: ignore[arg-type]
        name = item.name
        if name in value:
            bounds = _BOUNDS.get(name, (0, _BEYOND))
            given[name] = _read(checker, hints[name], value[name], (*path, name), bounds)
        elif name not in optional if optional is not None else (item.default, item.default_factory) == (MISSING, MISSING):
            missing.append(name)
    if missing:
        checker.wrong(path, f"lacks {', '.join(missing)}")
        return None
    return kind(**given)


def _read(checker: Checker, hint: Any, value: object, path: tuple[str, ...], bounds: tuple[float, int]) -> Any:
    if get_origin(hint) in (Union, UnionType):
        if value is None:
            return None
        (hint,) = (item for item in get_args(hint) if item is not NoneType)
    if is_dataclass(hint):
        return read_table(checker, hint, value, path)  # type: ignore[arg-type]
    if get_origin(hint) is tuple:
        return _items(checker, get_args(hint)[0], value, path, bounds)
    if get_origin(hint) is Mapping:
        return _named(checker, get_args(hint)[1], value, path, bounds)
    return _plain(checker, value, path) if hint is Any else _scalar(checker, hint, value, path, bounds)


def _items(checker: Checker, hint: Any, value: object, path: tuple[str, ...], bounds: tuple[float, int]) -> tuple[Any, ...]:
    if not isinstance(value, list):
        _wrong(checker, path, value, "an array")
        return ()
    *above, name = path
    return tuple(_read(checker, hint, item, (*above, f"{name}[{number}]"), bounds) for number, item in enumerate(value))


def _named(checker: Checker, hint: Any, value: object, path: tuple[str, ...], bounds: tuple[float, int]) -> dict[str, Any]:
    if not isinstance(value, dict):
        _wrong(checker, path, value, "a table")
        return {}
    found = {}
    for name, item in value.items():
        place = (*path, name)
        if _is_text(name):
            found[name] = _read(checker, hint, item, place, bounds)
        else:
            checker.wrong(place, "is a key that is no text")
    return found


def _scalar(checker: Checker, hint: type, value: object, path: tuple[str, ...], bounds: tuple[float, int]) -> Any:
    if hint in (int, float):
        allowed = (int, float) if hint is float else (int,)
        # A number that is none, as JSON of Python's may hold, is not within any bounds either.
        if isinstance(value, allowed) and not isinstance(value, bool) and bounds[0] <= value < bounds[1]:
            return value
        _wrong(checker, path, value, f"{_WANTED[hint]}{_bounds_words(*bounds)}")
    elif isinstance(value, hint) and (hint is not str or _is_text(value)):
        return value
    else:
        _wrong(checker, path, value, _WANTED[hint])
    return None


def _bounds_words(least: float, beyond: int) -> str:
    most = f" to {beyond - 1:,}" if beyond < _BEYOND else ""
    return most if least < 0 else " above 0" if 0 < least < 1 else f" from {least:g}{most}"


def _plain(checker: Checker, value: Any, path: tuple[str, ...]) -> Any:
    """Return a value that is only ever shown, as it is: deeper or longer than anybody writes it, showing it fails."""
    pending: list[tuple[Any, int]] = [(value, 0)]
    while pending:
        item, depth = pending.pop()
        if isinstance(item, (dict, list)) and depth < _DEEPEST:
            inner = [*item, *item.values()] if isinstance(item, dict) else item
            pending += [(part, depth + 1) for part in inner]
        elif not _can_be_shown(item):
            checker.wrong(path, "is nested too deeply, or holds what is no text or a number of more than 64 bits")
            return None
    return value


def _can_be_shown(item: object) -> bool:
    if isinstance(item, str):
        return _is_text(item)
    return not isinstance(item, (dict, list)) and (not isinstance(item, int) or -_BEYOND <= item < _BEYOND)


def _is_text(value: object) -> bool:
    """Say whether a string can be written: one half of a pair of UTF-16, which JSON can name, cannot."""
    try:
        str(value).encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def _wrong(checker: Checker, path: tuple[str, ...], value: object, wanted: str) -> None:
    words = {dict: "a table", list: "an array", NoneType: "null", bool: str(value).lower()}
    checker.wrong(path, f"is {words.get(type(value)) or shown(value)}", f"{wanted} is wanted")
