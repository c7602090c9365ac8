"""What a check of the doctor gives: what was seen, why it matters, and the command that fixes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["wrong", "note", "fine"]
"""`wrong` ends the command with exit status 1; `note` is worth knowing; `fine` is what was looked at and is as it should be."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a check has seen.

    Attributes:
        level: how bad it is.
        seen: what was seen, in one line.
        why: why it matters, in one sentence.
        remedy: commands that fix it; several are alternatives.
        check: the check that found it; the examination writes it in.

    """

    level: Level
    seen: str
    why: str = ""
    remedy: tuple[str, ...] = ()
    check: str = ""


def wrong(seen: str, why: str, *remedy: str) -> Finding:
    """Return a finding that something is wrong."""
    return Finding("wrong", seen, why, remedy)


def note(seen: str, why: str = "", *remedy: str) -> Finding:
    """Return a finding that is worth knowing and no fault."""
    return Finding("note", seen, why, remedy)


def fine(seen: str) -> Finding:
    """Return a finding that something is as it should be."""
    return Finding("fine", seen)
