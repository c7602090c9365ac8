"""Reads what `lmod python …` prints, as data: nothing of it is ever executed.

Lmod writes strings with Lua's `%q`, which Python reads otherwise: a newline is a backslash and a newline, a control character is
a backslash and a decimal number. Modulefiles may print to the same stream before the first statement.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ozrepro.modulesystem import LoadedModule

if TYPE_CHECKING:
    from collections.abc import Mapping

_START = re.compile(r"import os$", re.MULTILINE)
_SET = re.compile(r'os\.environ\["([^"\\\n=]+)"\] = (?:"|\'\'$)', re.MULTILINE)
_DELETE = re.compile(r'del os\.environ\["([^"\\\n=]+)"\]$', re.MULTILINE)
_STATUS = re.compile(r"_mlstatus = (True|False)$", re.MULTILINE)
_LINE = re.compile(r"[^\n]*\n?")
_NUMBER = re.compile(r"[0-9]{1,3}")


@dataclass(frozen=True, slots=True)
class Reading:
    """What one call said: variables set, variables deleted, and its last status (None where it printed none).

    `paths` are the path variables among them and their separators, where the tool does not say them by counts.
    """

    values: Mapping[str, str]
    deleted: frozenset[str]
    status: bool | None
    messages: str = ""
    paths: Mapping[str, str] | None = None


def read(output: str, messages: str = "") -> Reading:
    """Return what Lmod's Python output says. Lines that are none of its statements are passed over."""
    values: dict[str, str] = {}
    deleted: set[str] = set()
    status: bool | None = None
    # The last one: modulefiles print before it, perhaps without a newline at the end, perhaps the very words. Inside a value the
    # words cannot end a line, since Lmod puts a backslash before each newline.
    place = max((found.end() + 1 for found in _START.finditer(output)), default=0)
    while place < len(output):
        if found := _SET.match(output, place):
            text, place = ("", found.end()) if found.group().endswith("''") else _quoted(output, found.end())
            if text is not None:
                values[found[1]] = text
                deleted.discard(found[1])
        elif found := _DELETE.match(output, place):
            deleted.add(found[1])
            values.pop(found[1], None)
            place = found.end()
        elif found := _STATUS.match(output, place):
            # Queries that are false print True and then False: the last one counts.
            status = found[1] == "True"
            place = found.end()
        line = _LINE.match(output, place)
        place = line.end() if line and line.end() > place else place + 1
    return Reading(values, frozenset(deleted), status, messages)


def _quoted(output: str, place: int) -> tuple[str | None, int]:
    """Return the string that was opened before `place`, by Lua's rules, and where it ends; None where it never does."""
    parts: list[str] = []
    while place < len(output):
        char = output[place]
        if char == '"':
            return "".join(parts), place + 1
        if char != "\\":
            parts.append(char)
            place += 1
            continue
        after = output[place + 1 : place + 2]
        if number := _NUMBER.match(output, place + 1):
            parts.append(chr(int(number.group())))
            place = number.end()
        else:
            # Lua 5.1 writes a carriage return as \r; everything else stands for itself, a newline too.
            parts.append("\r" if after == "r" else after)
            place += 2
    return None, place


def loaded(reading: Reading) -> tuple[LoadedModule, ...]:
    """Return the loaded list that a reading ends with, in load order."""
    names = [name for name in reading.values.get("LOADEDMODULES", "").split(":") if name]
    files = [file for file in reading.values.get("_LMFILES_", "").split(":") if file]
    return tuple(LoadedModule(name, file) for name, file in zip(names, files, strict=False))
