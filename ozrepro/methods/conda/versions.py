"""The order of conda's versions, and whether one is in a range: what a start must decide without loading a solver.

The order is that of conda's documentation ("Package match specifications", and CEP 33): numbers and words alternate, a word is
before any number, `dev` before every other word, `post` behind everything.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import total_ordering
from itertools import zip_longest

_VERSION = re.compile(r"[0-9a-z._+!*-]+\Z", re.ASCII)
_RUNS = re.compile(r"[0-9]+|[^0-9]+")
_CLAUSE = re.compile(r"(==|!=|<=|>=|~=|<|>|=)?\s*(\S+)\Z")
_LONGEST = 200
_DIGITS = 300

Atom = tuple[int, float, str]
_ZERO: Atom = (1, 0, "")


@total_ordering
@dataclass(frozen=True, slots=True, eq=False)
class CondaVersion:
    """One version, ready to be compared: epoch and the rest, each a list of parts, each part a list of numbers and words."""

    text: str
    parts: tuple[tuple[tuple[Atom, ...], ...], ...]

    @classmethod
    def read(cls, text: str) -> CondaVersion:
        """Return the version that `text` is. Raises ValueError where it is none."""
        plain = text.strip().lower()
        if not _VERSION.match(plain) or "*" in plain or len(plain) > _LONGEST:
            raise ValueError(f"{text[:_LONGEST]!r} is no version")
        epoch, mark, rest = plain.rpartition("!")
        main, plus, local = rest.partition("+")
        if "!" in epoch or (mark and not epoch.isdigit()) or not main or (plus and not local) or "+" in local:
            raise ValueError(f"{text!r} is no version")
        return cls(text, (_parts(epoch or "0"), _parts(main), _parts(local) if plus else ()))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CondaVersion) and self._compare(other) == 0

    def __lt__(self, other: CondaVersion) -> bool:
        return self._compare(other) < 0

    def __hash__(self) -> int:
        return hash(tuple(tuple(_trimmed(part) for part in _trimmed_parts(group)) for group in self.parts))

    def _compare(self, other: CondaVersion) -> int:
        for left, right in zip_longest(self.parts, other.parts, fillvalue=()):
            for one, two in zip_longest(left, right, fillvalue=()):
                for first, second in zip_longest(one, two, fillvalue=_ZERO):
                    if first != second:
                        return -1 if first < second else 1
        return 0

    def starts_with(self, other: CondaVersion) -> bool:
        """Say whether this is `other` or one of its patches: 1.2, 1.2.3 and 1.2a start with 1.2, and 1.20 does not."""
        if self.parts[0] != other.parts[0]:
            return False
        mine, wanted = self.parts[1], other.parts[1]
        missing = len(wanted) - len(mine)
        mine = (*mine, *([(_ZERO,)] * missing))
        if any(_trimmed(one) != _trimmed(two) for one, two in zip(mine, wanted[:-1], strict=False)):
            return False
        last = mine[len(wanted) - 1]
        return last[: len(wanted[-1])] == wanted[-1]


def _parts(text: str) -> tuple[tuple[Atom, ...], ...]:
    if "-" in text:
        text = text.replace("-", "_")
    last = text.endswith("_")
    pieces = text.rstrip("_").replace("_", ".").split(".")
    if last:
        pieces[-1] += "_"
    if not all(pieces):
        raise ValueError(f"{text!r} is no version: it has an empty part")
    return tuple(_atoms(piece) for piece in pieces)


def _atoms(piece: str) -> tuple[Atom, ...]:
    found: list[Atom] = [] if piece[0].isdigit() else [_ZERO]
    for run in _RUNS.findall(piece):
        if run.isdigit():
            if len(run) > _DIGITS:
                raise ValueError("it holds a number of more digits than any version has")
            found.append((1, int(run), ""))
        elif run == "post":
            found.append((2, 0, ""))
        else:
            found.append((0, 0, "" if run == "dev" else run))
    return tuple(found)


def _trimmed(part: tuple[Atom, ...]) -> tuple[Atom, ...]:
    while part and part[-1] == _ZERO:
        part = part[:-1]
    return part


def _trimmed_parts(group: tuple[tuple[Atom, ...], ...]) -> tuple[tuple[Atom, ...], ...]:
    while group and not _trimmed(group[-1]):
        group = group[:-1]
    return group


def is_version(text: str) -> bool:
    """Say whether `text` is a version."""
    try:
        CondaVersion.read(text)
    except ValueError:
        return False
    return True


def in_range(version: str, wanted: str) -> bool:
    """Say whether a version is in a range such as `>=12,<13`, `12.*`, `=12.4` or `11.8|>=12`.

    Raises ValueError where one of them cannot be read.
    """
    found = CondaVersion.read(version)
    return any(all(_fits(found, clause.strip()) for clause in part.split(",")) for part in wanted.split("|"))


def is_range(text: str) -> bool:
    """Say whether `in_range` can read a range."""
    try:
        for clause in text.replace("|", ",").split(","):
            _fits(CondaVersion("0", ((), (), ())), clause.strip())
    except ValueError:
        return False
    return len(text) <= _LONGEST


def _fits(found: CondaVersion, clause: str) -> bool:
    if clause == "*":
        return True
    match = _CLAUSE.match(clause)
    if match is None:
        raise ValueError(f"{clause[:_LONGEST]!r} is no range of versions")
    sign, text = match[1] or "", match[2]
    if text == "*" and sign in ("", "=", "==", ">="):
        return True
    loose = text.endswith("*")
    wanted = CondaVersion.read(text.rstrip("*").rstrip(".") if loose else text)
    if sign in ("", "=", "==", "!="):
        same = found.starts_with(wanted) if loose or sign == "=" else found == wanted
        return same is not (sign == "!=")
    if sign == "~=":
        parent = text.rpartition(".")[0]
        if not parent:
            raise ValueError(f"{clause!r} needs a version of two parts")
        return found >= wanted and found.starts_with(CondaVersion.read(parent))
    return {"<": found < wanted, "<=": found <= wanted, ">": found > wanted, ">=": found >= wanted}[sign]
