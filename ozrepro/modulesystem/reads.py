"""What the modules of a lock read of a caller besides what is set for them, and what follows from each: a value of the record."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping  # noqa: TC003  # the reader looks annotations up
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from ozrepro.errors import Remedy
from ozrepro.project.reader import Check

if TYPE_CHECKING:
    from ozrepro.modulesystem.following import Case

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z", re.ASCII)
_MOST = 6
"""Names or commands of one module that a line shows."""


@dataclass(frozen=True, slots=True)
class Reads:
    """What is read. What follows the caller is in the change, as cases.

    Attributes:
        site: variables that decide what the modules do: their locked value, None for one that was not set.
        needed: variables that must be set, or loading fails or loads other modules.
        without_effect: variables that are read and were not seen to change anything.
        unfollowed: by module or file, what decides besides and cannot be followed: programs, the clock, the host.

    """

    site: Mapping[str, str | None] = field(default_factory=dict)
    needed: tuple[str, ...] = ()
    without_effect: tuple[str, ...] = ()
    unfollowed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def expected(self) -> dict[str, str | bool | None]:
        """Return what a caller must have, as an environment holds it."""
        return {**dict.fromkeys(self.needed, True), **self.site}

    def as_table(self) -> dict[str, Any]:
        """Return it as it is in the lock, without empty parts."""
        parts = {
            "site": {name: value for name, value in sorted(self.site.items()) if value is not None},
            "site-unset": sorted(name for name, value in self.site.items() if value is None),
            "needed": list(self.needed),
            "without-effect": list(self.without_effect),
            "unfollowed": {name: list(what) for name, what in sorted(self.unfollowed.items())},
        }
        return {key: value for key, value in parts.items() if value}

    def drift(self, caller: Mapping[str, str]) -> list[str]:
        """Return a line for each variable that the caller has otherwise than it was locked."""
        lines: list[str] = []
        for name, value in sorted(self.expected().items()):
            here = caller.get(name)
            if value is True and here is None:
                lines.append(f"{name} is not set, and the modules were locked with it: they do not load without")
            elif value is not True and here != value:
                lines.append(f"{name} is {_shown(here)}, locked is {_shown(value)}: export it as it was, or lock again")
        return lines

    def remedy(self, caller: Mapping[str, str]) -> Remedy | None:
        """Return where to start modules that do not load without a variable which the caller lacks, or None where it has all."""
        absent = [name for name in self.needed if name not in caller]
        return (
            Remedy(f"start it where {_listed(absent)} is set, as inside a job; locking again does not help") if absent else None
        )

    def lines(self, follow: Mapping[str, tuple[Case, ...]]) -> Iterator[str]:
        """Yield a line for each outcome, for who locks."""
        kept = [name for name, cases in follow.items() if any(case.is_untouched and case.asks() == {name} for case in cases)]
        if kept:
            yield f"the modules set {_listed(kept)} only where the caller has not: its value stays"
        personal = {"HOME", "USER", "LOGNAME"}
        asked = {name: frozenset().union(*(case.asks() for case in cases)) for name, cases in follow.items()}
        followed = [f"{name} ({', '.join(sorted(of))})" for name, of in asked.items() if name not in kept and of - personal]
        if followed:
            yield f"follow variables of who starts the session: {_listed(followed)}"
        if self.site:
            values = ", ".join(f"{name} {_shown(value)}" for name, value in sorted(self.site.items()))
            yield f"locked with the site's variables: {values}"
        if self.needed:
            yield f"the modules do not load without {_listed(self.needed)}: a start without is refused"
        if self.without_effect:
            yield f"the modules read {_listed(self.without_effect)}, which was not seen to change anything"
        for name, what in self.unfollowed.items():
            yield f"{name} {_listed(what)}: what that gives cannot be followed, and is locked as it is here"


def _shown(value: str | bool | None) -> str:
    return "not set" if value is None else repr(value)


def _listed(words: list[str] | tuple[str, ...]) -> str:
    more = f" and {len(words) - _MOST} more" if len(words) > _MOST else ""
    return ", ".join(words[:_MOST]) + more


def _check_name(text: str) -> str | None:
    return None if _NAME.match(text) else f"{text!r} is not a variable name"


_Name = Annotated[str, Check(_check_name)]


@dataclass(frozen=True, slots=True)
class ReadsContent:
    """What `as_table` writes, as it is in the lock."""

    site: Mapping[_Name, str] = field(default_factory=dict)
    site_unset: tuple[_Name, ...] = ()
    needed: tuple[_Name, ...] = ()
    without_effect: tuple[_Name, ...] = ()
    unfollowed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def problems(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """Yield each variable that is said to be set and not to be."""
        for name in sorted(self.site.keys() & set(self.site_unset)):
            yield ("site", name), "is among site-unset too; lock again"

    def reads(self) -> Reads:
        """Return the value."""
        site: dict[str, str | None] = {**dict.fromkeys(self.site_unset), **self.site}
        return Reads(site, self.needed, self.without_effect, self.unfollowed)
