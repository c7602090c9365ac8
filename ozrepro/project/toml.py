"""TOML in and out: the reader of `faststart`, and a writer whose output makes good diffs.

The writer is ours because a lock wants one file a line inside an array, which no writer at hand offers, and the same bytes
for the same value. It writes plain keys before tables, tables in the order given, a list of tables as `[[…]]` where one of them
holds an array, and else as one inline table a line.
"""

from __future__ import annotations

from ozrepro.faststart.tomlfile import TOMLDecodeError, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

__all__ = ["TOMLDecodeError", "dumps", "line_of", "loads"]

_BARE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r", "\b": "\\b", "\f": "\\f"}
_INLINE_LIMIT = 100


def dumps(table: Mapping[str, Any]) -> str:
    """Return `table` as TOML. Raises TypeError for a value that TOML has no word for."""
    return "\n".join(_table_lines(table, ())).strip("\n") + "\n"


def _table_lines(table: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    for key, value in table.items():
        if not (isinstance(value, dict) or _is_tables(value)):
            yield f"{_key(key)} = {_value(value)}"
    for key, value in table.items():
        inner = (*path, key)
        if isinstance(value, dict):
            if not value or not all(isinstance(item, dict) for item in value.values()):
                yield ""
                yield f"[{'.'.join(map(_key, inner))}]"
            yield from _table_lines(value, inner)
        elif _is_tables(value):
            for entry in value:
                yield ""
                yield f"[[{'.'.join(map(_key, inner))}]]"
                yield from (f"{_key(name)} = {_value(item)}" for name, item in entry.items())


def _is_tables(value: object) -> bool:
    if not (isinstance(value, list) and value and all(isinstance(item, dict) for item in value)):
        return False
    return any(isinstance(inner, (dict, list)) for item in value for inner in item.values())


def _key(key: str) -> str:
    return key if key and _BARE.issuperset(key) else _string(key)


def _string(text: str) -> str:
    return '"' + "".join(_ESCAPES.get(char) or (char if _is_printable(char) else _escape(char)) for char in text) + '"'


def _is_printable(char: str) -> bool:
    # Bidirectional controls and other invisible characters are escaped: a reviewer must see them in a diff.
    return " " <= char < "\x7f" or (char > "\xa0" and char.isprintable())


def _escape(char: str) -> str:
    return f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(key)} = {_value(item)}" for key, item in value.items()) + " }" if value else "{}"
    if isinstance(value, (list, tuple)):
        return _array([_value(item) for item in value], long=any(isinstance(item, dict) for item in value))
    raise TypeError(f"a lock has no {type(value).__name__}: {value!r}")


def _array(items: list[str], *, long: bool) -> str:
    if not long and sum(map(len, items)) + 2 * len(items) < _INLINE_LIMIT:
        return f"[{', '.join(items)}]"
    return "[\n" + "".join(f"    {item},\n" for item in items) + "]"


def line_of(text: str, path: tuple[str, ...]) -> int | None:
    """Return the 1-based line of `text` on which the key `path` is set or its table opens, or None if it is not found.

    A plain look at the lines, for messages only: a key inside a multi-line value or an inline table gives its table's line.
    """
    table: tuple[str, ...] = ()
    best: int | None = None
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if line.startswith("["):
            table = tuple(part.strip().strip("\"'") for part in line.split("#")[0].strip().strip("[]").split("."))
            here = table
        elif "=" in line:
            here = (*table, *(part.strip().strip("\"'") for part in line.split("=")[0].split(".")))
        else:
            continue
        if here == path:
            return number
        if here == path[: len(here)] and here:
            best = number
    return best
