"""Entries put into an array of a TOML file that a person has written: comments, order and spaces stay as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import Array, InlineTable, Table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tomlkit.container import Container
    from tomlkit.toml_document import TOMLDocument


@dataclass(frozen=True, slots=True)
class Edit:
    """What became of an entry: put in, put in the place of `old`, or, where both are the same, there already."""

    new: str
    old: str = ""

    @property
    def is_change(self) -> bool:
        """Whether the file is another now."""
        return self.new != self.old


def with_entries(
    text: str,
    keys: Sequence[str],
    entries: Sequence[str],
    package: Callable[[str], str],
    beginning: Mapping[str, object] | None = None,
) -> tuple[str, list[Edit]]:
    """Return a TOML text with entries in the array at `keys`, and what became of each.

    Args:
        text: the file's text.
        keys: the way to the array. What is absent of it is made.
        entries: what is to be in the array. It takes the place of an entry of the same package.
        package: returns the package that an entry names, "" where it names none.
        beginning: what else the array's table holds where it is made.

    Raises:
        ValueError: the text is not TOML, or something else than tables and an array of texts is at `keys`.

    """
    try:
        document = tomlkit.parse(text)
    except TOMLKitError as error:
        raise ValueError(f"is not valid TOML: {error}") from error
    array = _array(document, keys, beginning or {})
    edits = [_put(array, entry, package) for entry in entries]
    return tomlkit.dumps(document), edits


def _array(document: TOMLDocument, keys: Sequence[str], beginning: Mapping[str, object]) -> Array:
    table: Container | Table | InlineTable = document
    for place, key in enumerate(keys[:-1], 1):
        if key not in table:
            made = tomlkit.inline_table() if isinstance(table, InlineTable) else tomlkit.table()
            if place == len(keys) - 1:
                made.update(beginning)
            table[key] = made
        inner = table[key]
        if not isinstance(inner, (Table, InlineTable)) and not hasattr(inner, "items"):
            raise ValueError(f"{'.'.join(keys[:place])} is not a table")
        table = inner
    if keys[-1] not in table:
        table[keys[-1]] = tomlkit.array()
    array = table[keys[-1]]
    if not isinstance(array, Array) or not all(isinstance(item, (str, InlineTable)) for item in array):
        raise ValueError(f"{'.'.join(keys)} is not an array of texts")
    return array


def _put(array: Array, entry: str, package: Callable[[str], str]) -> Edit:
    if entry in array:
        return Edit(entry, entry)
    name = package(entry)
    for place, item in enumerate(array):
        if name and isinstance(item, str) and package(item) == name:
            array[place] = entry
            return Edit(entry, str(item))
    array.append(entry)
    return Edit(entry)
