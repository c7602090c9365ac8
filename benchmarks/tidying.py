"""Takes a machine's names and places out of a result before it is committed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_OWN = re.compile(r"(?<![\w.])/(?:var/tmp|tmp|home|root|mnt|srv|work|data|scratch|Users)\b")
"""Folders that hold somebody's files. What every Linux has, such as /usr, tells nothing."""


def tidy(table: Mapping[str, Any], places: Mapping[str, str]) -> dict[str, Any]:
    """Return a result without the host's name, in which a path below one of `places` begins with a word instead.

    What the times depend on stays: processors, memory, kernel, Python.
    """
    order = sorted(places, key=len, reverse=True)
    found: dict[str, Any] = _replaced(dict(table), [(place, places[place]) for place in order if place])
    host = {key: value for key, value in found.get("host", {}).items() if key != "name"}
    return {**found, "host": host}


def _replaced(value: Any, words: Sequence[tuple[str, str]]) -> Any:
    if isinstance(value, dict):
        return {_replaced(key, words): _replaced(item, words) for key, item in value.items()}
    if isinstance(value, list):
        return [_replaced(item, words) for item in value]
    if isinstance(value, str):
        for place, word in words:
            value = re.sub(rf"{re.escape(place)}(?![\w.-])", lambda _, word=word: word, value)  # type: ignore[misc]
    return value


def stray(table: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """Return the texts of a result that name a folder of somebody's or one of `names`, such as the host's."""
    words = [re.compile(rf"(?<![\w-]){re.escape(name)}(?![\w-])") for name in names if name]
    return [text for text in _texts(table) if _OWN.search(text) or any(word.search(text) for word in words)]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _texts(key)
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, str):
        yield value
