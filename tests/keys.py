"""The keys of a table that a dataclass describes."""

from __future__ import annotations

from dataclasses import fields
from typing import get_args, get_type_hints

from ozrepro.project.reader import Key


def keys_of(kind: type) -> set[str]:
    """Return the keys of the table that is read into a dataclass."""
    hints = get_type_hints(kind, include_extras=True)
    marks = {item.name: [mark.name for mark in get_args(hints[item.name])[1:] if isinstance(mark, Key)] for item in fields(kind)}
    return {next(iter(marks[item.name]), item.name.replace("_", "-")) for item in fields(kind)}
