"""What loading does to a path variable, by Lmod's own arithmetic: entries in order, how often each was put there.

The rules are those of Lmod's Var.lua and fileOps.lua (`l_extract`, `expand`, `path2pathA`, `path_regularize`), read in 8.6.19 and
measured: an entry stands once, is cleaned when Lmod touches the variable, and is counted, so that unloading takes it away last.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_SPACE = " \t\n\v\f\r"
_SLASHES = re.compile("//+")
_COUNTED = re.compile(r"(.*?):(\d+)(?:;|\Z)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class PathChange:
    """What loading does to one path variable.

    Attributes:
        prepend: entries put in front; the first ends up first.
        append: entries put behind; the last ends up last.
        separator: what stands between entries, mostly `:`.
        dropped: entries of the base that are taken away.
        counts: how often an entry is put there, where that is not once; 0 for one that was taken away first.

    """

    prepend: tuple[str, ...] = ()
    append: tuple[str, ...] = ()
    separator: str = ":"
    dropped: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)

    def entries(self, base: str | None, counted: Mapping[str, int] | None = None, home: str = "~") -> dict[str, int]:
        """Return the entries after loading, in order, and how often each counts.

        `counted` are the counts that the base has from modules loaded before, `home` what a leading `~` stands for.
        """
        known = counted or {}
        found: dict[str, int] = {}
        for entry in split(base, self.separator, home):
            found[entry] = found.get(entry, known.get(entry, 1) - 1) + 1
        for entry in self.dropped:
            if entry in found:
                found[entry] -= 1
                if found[entry] < 1:
                    del found[entry]
        front, back = (
            {entry: max(1, found.pop(entry, 0) + self.counts.get(entry, 1)) for entry in entries}
            for entries in (self.prepend, self.append)
        )
        return {**front, **found, **back}

    def apply(self, base: str | None) -> str:
        """Return the variable's new value: an entry that is put somewhere is taken from where it was, as Lmod does."""
        return joined(self.entries(base), self.separator)


def regular(entry: str, home: str = "~") -> str:
    """Return a path entry as Lmod writes it: no doubled slashes, no `/./`, no slash at the end, `~` replaced."""
    text = _SLASHES.sub("/", entry.strip(_SPACE)).replace("/./", "/").removesuffix("/")
    if text.startswith("~"):
        text = home + text[1:]
    if not text:
        return ""
    first, *rest = text.split("/")
    rest = [part for part in rest if part != "."]
    if first == "." and rest:
        first, *rest = rest
    # Two slashes at the very end have a meaning to TeX, and Lmod keeps them.
    return "/".join((first, *rest)) + ("//" if re.search(r"[^/]//\Z", entry) else "")


def split(value: str | None, separator: str, home: str = "~") -> list[str]:
    """Return a path variable's entries as Lmod takes them: cleaned, of the empty ones at the end only one."""
    if not value:
        return []
    return _trimmed(regular(entry, home) for entry in value.split(separator))


def joined(entries: Iterable[str], separator: str, name: str = "") -> str:
    """Return entries as Lmod writes the variable `name`: an empty entry at the end gets a separator behind it, not in PATH."""
    found = _trimmed(entries)
    text = separator * 2 if found == [""] else separator.join(found) + (separator if found and not found[-1] else "")
    return re.sub("::+", ":", text.strip(":")) if name == "PATH" else text


def _trimmed(entries: Iterable[str]) -> list[str]:
    found = list(entries)
    while found[-2:] == ["", ""]:
        found.pop()
    return found


def counts_text(entries: Mapping[str, int]) -> str:
    """Return the value of Lmod's `__LMOD_REF_COUNT_…` for these entries."""
    return ";".join(f"{entry}:{count}" for entry, count in entries.items() if entry)


def counts_in(text: str) -> dict[str, int]:
    """Return the entries and counts in a `__LMOD_REF_COUNT_…`."""
    return {entry: int(count[:9]) for entry, count in _COUNTED.findall(text)}


def counts_believed(text: str) -> dict[str, int]:
    """Return what Lmod itself reads out of a `__LMOD_REF_COUNT_…`: it splits at each `;` and `:`, whatever an entry holds."""
    parts = (item.split(":") for item in text.split(";"))
    return {part[0]: int(part[1][:9]) for part in parts if len(part) > 1 and part[1].isascii() and part[1].isdigit()}


def separator_of(value: str, counts: str) -> str:
    """Return what stands between the entries of a path variable, by the entries that its counts name."""
    entries = list(counts_in(counts))
    if len(entries) > 1:
        # The text between the first two, then the usual ones, since an empty entry may stand between.
        between = value.removeprefix(entries[0]).partition(entries[1])[0]
        for mark in (":", ";", " ", ",", between):
            if mark and [entry for entry in value.split(mark) if entry] == entries:
                return mark
    return ":"
