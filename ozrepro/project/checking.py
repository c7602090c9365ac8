"""Checks a table read from TOML against what is allowed, and collects every mistake instead of stopping at the first."""

from __future__ import annotations

import datetime as dt
import difflib
import re
import unicodedata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ozrepro.errors import without_login
from ozrepro.project.toml import line_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_TYPES = {
    bool: "true or false",
    dict: "a table",
    float: "a number",
    int: "a whole number",
    list: "an array",
    str: "a string",
    dt.datetime: "a date and time",
    dt.date: "a date",
    dt.time: "a time",
    type(None): "null",
}
MOST = 30
"""Mistakes of one file that are told; a file with more of them is not a slip, and finding each one's line takes time."""

_SHOWN = 200
"""Characters of a foreign value that a message holds."""

_PROBLEM = 3 * _SHOWN
"""Characters of what a message says of a mistake: a foreign value or two, and the line to write after them."""

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*\Z", re.ASCII)
"""A session's name: an identifier in ASCII, with dashes as nox's users write them; it is a file's name and part of a script."""


def one_of_these(word: str, known: Iterable[str]) -> str:
    """Return what to write instead of an unknown word: the known one that is most like it, else all of them."""
    from difflib import get_close_matches  # of mistakes alone

    words = list(known)
    near = get_close_matches(word, words, 1)
    return f"did you mean {near[0]}?" if near else f"one of: {', '.join(words)}" if words else ""


def hidden_character(text: str) -> str | None:
    """Return the name of the first control or invisible format character of `text` (Unicode Cc, Cf, Cs, Zl, Zp), or None.

    Such characters can split a line of a generated script or hide text from a reviewer; no name or version needs one.
    """
    if text.isprintable():
        return None
    for char in text:
        if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp"):
            return unicodedata.name(char, f"U+{ord(char):04X}")
    return None


def shown(value: object) -> str:
    """Return a foreign value as a message may hold it: quoted, its invisible characters escaped, of a bounded length."""
    return _short(without_login(repr(value)))


def _short(text: str, most: int = _SHOWN) -> str:
    return text if len(text) <= most else f"{text[:most]}… ({len(text)} characters)"


def _part(key: str) -> str:
    return _short(key if key.isprintable() else repr(key))


@dataclass(slots=True)
class Checker:
    """Reads values out of one file's table; each reader notes what is wrong and returns a value that lets checking go on.

    `elsewhere` names what has given a key's value in the place of the file, such as a variable.
    """

    where: str
    text: str = ""
    elsewhere: Mapping[tuple[str, ...], str] = field(default_factory=dict)
    mistakes: list[str] = field(default_factory=list)

    def wrong(self, path: tuple[str, ...], problem: str, right: str = "") -> None:
        """Note a mistake at the key `path`: what is wrong, and what would be right."""
        if len(self.mistakes) >= MOST:
            if len(self.mistakes) == MOST:
                self.mistakes.append("… and more")
            return
        plain = tuple(part.partition("[")[0] for part in path)
        given = self.elsewhere.get(plain)
        line = line_of(self.text, plain) if self.text and not given else None
        place = f"line {line}, " if line else ""
        key = given or ".".join(_part(part) for part in path) or "the file"
        self.mistakes.append(f"{place}{key}: {_short(without_login(problem), _PROBLEM)}" + (f"; {right}" if right else ""))

    def table(self, value: object, path: tuple[str, ...], allowed: Iterable[str]) -> Mapping[str, Any]:
        """Return `value` as a table whose keys are all `allowed`."""
        if not isinstance(value, dict):
            self.wrong(path, f"is {describe(value)}", "write a table")
            return {}
        known = set(allowed)
        for key in value:
            if key not in known:
                self.unknown((*path, key), known)
        return value

    def unknown(self, path: tuple[str, ...], known: Iterable[str]) -> None:
        """Note a key that no table here has, with the nearest of the `known` ones."""
        known = sorted(known)
        near = difflib.get_close_matches(path[-1][:_SHOWN], known, 1) if len(self.mistakes) < MOST else []
        self.wrong(path, "unknown key", f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}")


def describe(value: object) -> str:
    """Return what kind of TOML value this is, in words."""
    return _TYPES.get(type(value), f"a {type(value).__name__}")
