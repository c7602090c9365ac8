"""Reads single values of TOML and JSON: each reader returns the value, or notes what is wrong with it and returns INVALID."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ozrepro.project.checking import describe, hidden_character, shown

if TYPE_CHECKING:
    from ozrepro.project.checking import Checker

Reader = Callable[["Checker", Any, tuple[str, ...]], Any]
"""Reads a value; its arguments are what collects the mistakes, what the parser returned, and its key."""

INVALID: Final = object()
"""What a reader returns of a value that cannot be used."""

BEYOND = 2**63
"""Numbers are below it: TOML has none above, and as text a longer one raises errors of its own."""

_DEEPEST = 16
"""Tables inside each other in a value of any type; a machine's facts have three."""

_WANTED = {bool: "true or false", float: "a number", int: "a whole number", str: "a string in quotes"}


def read_text(checker: Checker, value: Any, path: tuple[str, ...], visible: str | None = None) -> Any:
    """Return a text of a line; `visible` is the part of it that may hold no invisible character, None for all."""
    if not isinstance(value, str):
        return mistyped(checker, value, path, _WANTED[str])
    hidden = hidden_character(value if visible is None else visible)
    if hidden:
        checker.wrong(path, f"holds the invisible character {hidden}", "remove it")
        return INVALID
    return value


def read_lines(checker: Checker, value: Any, path: tuple[str, ...]) -> Any:
    """Return a text that may hold line breaks and tabs."""
    return read_text(checker, value, path, value.replace("\n", "").replace("\t", "") if isinstance(value, str) else None)


def read_json_text(checker: Checker, value: Any, path: tuple[str, ...]) -> Any:
    """Return any text that can be written again; a path of any bytes is one."""
    if not isinstance(value, str):
        return mistyped(checker, value, path, _WANTED[str])
    if not _is_text(value):
        checker.wrong(path, f"{shown(value)} is not valid Unicode")
        return INVALID
    return value


def read_flag(checker: Checker, value: Any, path: tuple[str, ...]) -> Any:
    """Return true or false."""
    return value if isinstance(value, bool) else mistyped(checker, value, path, _WANTED[bool])


def read_choice(choices: tuple[Any, ...]) -> Reader:
    """Return a reader of one of these strings."""

    def choice(checker: Checker, value: Any, path: tuple[str, ...]) -> Any:
        if isinstance(value, str) and value not in choices:
            checker.wrong(path, f"{shown(value)} is not known", f"write one of: {', '.join(filter(None, choices))}")
            return INVALID
        return value if isinstance(value, str) else mistyped(checker, value, path, _WANTED[str])

    return choice


def read_number(hint: type, least: float, below: float, unit: str = "") -> Reader:
    """Return a reader of an `int` or a `float` from `least` to below `below`; `unit` is the plural of what is counted."""
    allowed = (int, float) if hint is float else (int,)
    wanted = f"{_WANTED[hint]}{f' of {unit}' if unit else ''}{_words_of(least, below, whole=hint is int)}"

    def number(checker: Checker, value: Any, path: tuple[str, ...]) -> Any:
        if isinstance(value, bool) or not isinstance(value, allowed):
            return mistyped(checker, value, path, wanted)
        # Not a number (NaN) is within no bounds.
        if least <= value < below:
            return hint(value)
        checker.wrong(path, f"is {shown(value)}", f"write {wanted}")
        return INVALID

    return number


def _words_of(least: float, below: float, *, whole: bool) -> str:
    most = (f" to {below - 1:,}" if whole else f" and below {below:,.0f}") if below < BEYOND else ""
    return most if least < 0 else f" above 0{most}" if 0 < least < 1 else f" from {least:g}{most}"


def read_anything(checker: Checker, value: Any, path: tuple[str, ...]) -> Any:
    """Return a value that is only ever shown, as it is: deeper or longer than anybody writes it, showing it fails."""
    pending: list[tuple[Any, int]] = [(value, 0)]
    while pending:
        item, depth = pending.pop()
        if isinstance(item, (dict, list)) and depth < _DEEPEST:
            inner = [*item, *item.values()] if isinstance(item, dict) else item
            pending += [(part, depth + 1) for part in inner]
        elif not _can_be_shown(item):
            checker.wrong(path, "is nested too deeply, or holds invalid Unicode or a number of more than 64 bits")
            return INVALID
    return value


def _can_be_shown(item: object) -> bool:
    if isinstance(item, str):
        return _is_text(item)
    return not isinstance(item, (dict, list)) and (not isinstance(item, int) or -BEYOND <= item < BEYOND)


def _is_text(value: str) -> bool:
    """Return whether a string can be written: one half of a pair of UTF-16, which JSON can name, cannot."""
    try:
        value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def mistyped(checker: Checker, value: object, path: tuple[str, ...], wanted: str) -> Any:
    """Note a value of another type than the one that is `wanted`, and return INVALID."""
    checker.wrong(path, f"is {describe(value)}", f"write {wanted}")
    return INVALID
