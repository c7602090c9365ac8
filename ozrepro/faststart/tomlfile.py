"""Reads TOML by the standard parser, with limits: the text may be a stranger's.

It is in this room because a start reads `[tool.ozrepro]` of a project that has one.
"""

from __future__ import annotations

import re
import sys

if sys.version_info >= (3, 11):
    from tomllib import loads as _parse
else:
    from tomli import loads as _parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LARGEST = 8 << 20
_DEEPEST = 64
_PARTS = 200
_QUOTED = re.compile(r"""\"{3}|'{3}|"(?:[^"\\\n]|\\.)*"?|'[^'\n]*'?""")


class TOMLDecodeError(ValueError):
    """A text is not TOML, or is so long, so deep or of such numbers that nobody can have meant it."""


def loads(text: str) -> dict[str, Any]:
    """Return the table that `text` holds. Raises TOMLDecodeError and nothing else, whatever the text: it may be a stranger's.

    The parsers themselves raise RecursionError for deep arrays and ValueError for a number of 5,000 digits, and some take a time
    that grows with the square of a dotted key's parts.
    """
    if len(text) > _LARGEST:
        raise TOMLDecodeError(f"it is larger than {_LARGEST >> 20} MiB")
    if text.startswith("\ufeff"):
        raise TOMLDecodeError("it begins with a byte order mark (BOM); save it as UTF-8 without one")
    bare = _QUOTED.sub("", text)
    for number, line in enumerate(bare.split("\n"), 1):
        if line.count(".") > _PARTS:
            raise TOMLDecodeError(f"a key on line {number} has more than {_PARTS} parts")
    try:
        table = _parse(text)
    except RecursionError:
        raise TOMLDecodeError("it is nested too deeply") from None
    except ValueError as error:
        raise TOMLDecodeError(str(error)) from error
    _check(table)
    return table


def _check(table: dict[str, Any]) -> None:
    pending: list[tuple[object, int]] = [(table, 0)]
    while pending:
        value, depth = pending.pop()
        if depth > _DEEPEST:
            raise TOMLDecodeError("it is nested too deeply")
        if isinstance(value, (dict, list)):
            pending += [(item, depth + 1) for item in (value.values() if isinstance(value, dict) else value)]
        elif isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise TOMLDecodeError("it holds a number of more than 64 bits")
