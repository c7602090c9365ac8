"""What loading does to a path variable, by the module tool's own arithmetic: entries in order, how often each was put there.

Lmod's rules are those of its Var.lua and fileOps.lua (`l_extract`, `expand`, `path2pathA`, `path_regularize`), read in 8.6.19 and
measured: an entry stands once, is cleaned when Lmod touches the variable, and is counted, so that unloading takes it away last.
Those of Environment Modules are `add-path`, `unload-path` and `setReferenceCountRecordValue` of its modulecmd.tcl, read in 5.2.0.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_SPACE = " \t\n\v\f\r"
_SLASHES = re.compile("//+")
_COUNTED = re.compile(r"(.*?):(\d+)(?:;|\Z)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """How a module tool does its sums.

    Attributes:
        count: what the name of the variable begins with that has the counts of a path variable's entries; "" where there is none.
        cleans: whether entries are cleaned (see `regular`) and an empty one at the end has a separator of its own behind it.
        moves: whether an entry that is put there again is taken from where it was; else it stays there and is counted.
        ones: whether an entry that was put there once is counted too; else only an empty one is.
        empties: whether an empty entry is counted, and of three separators or more in a row two are kept (`path2pathA` in Lmod's
            utils.lua, since 8.7.22).

    """

    count: str
    cleans: bool
    moves: bool
    ones: bool
    empties: bool = True

    def counts_of(self, name: str, variables: Mapping[str, str]) -> str:
        """Return the tool's counts of a path variable's entries among these variables."""
        return variables.get(self.count + name, "") if self.count else ""


LMOD = Arithmetic("__LMOD_REF_COUNT_", cleans=True, moves=True, ones=True, empties=False)
LMOD_8_7_22 = replace(LMOD, empties=True)
TCL = Arithmetic("__MODULES_SHARE_", cleans=False, moves=False, ones=False)
COUNTS = (LMOD.count, TCL.count)


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

    def entries(
        self, base: str | None, counted: Mapping[str, int] | None = None, home: str = "~", rules: Arithmetic = LMOD
    ) -> list[tuple[str, int]]:
        """Return the entries after loading, in order, and how often each counts.

        `counted` are the counts that the base has from modules loaded before, `home` what a leading `~` stands for.
        """
        known = counted or {}
        if not rules.moves:
            return self._staying(_entries(base, self.separator, known), known)
        found: dict[str, int] = {}
        for entry in split(base, self.separator, home, rules):
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
        return [*front.items(), *found.items(), *back.items()]

    def _staying(self, items: list[str], known: Mapping[str, int]) -> list[tuple[str, int]]:
        """Return the entries after loading where one that is there already stays in its place."""
        counts = {entry: known.get(entry, 1) for entry in items}
        for entry in self.dropped:
            counts[entry] = counts.get(entry, 1) - 1
        items = [entry for entry in items if counts[entry] > 0]
        for entry in reversed(self.prepend):
            counts[entry] = self.counts.get(entry, 1) + (counts[entry] if entry in items else 0)
            items = items if entry in items else [entry, *items]
        for entry in self.append:
            counts[entry] = self.counts.get(entry, 1) + (counts[entry] if entry in items else 0)
            items = items if entry in items else [*items, entry]
        for entry in self.counts.keys() - {*self.prepend, *self.append}:
            counts[entry] = counts.get(entry, 0) + self.counts[entry]
        return [(entry, counts[entry]) for entry in items]

    def apply(self, base: str | None, rules: Arithmetic = LMOD) -> str:
        """Return the variable's new value."""
        return joined((entry for entry, _ in self.entries(base, rules=rules)), self.separator, rules=rules)


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


def split(
    value: str | None, separator: str, home: str = "~", rules: Arithmetic = LMOD, counted: Mapping[str, int] | None = None
) -> list[str]:
    """Return a path variable's entries as the tool takes them; Lmod: cleaned, of the empty ones at the end only one."""
    if not rules.cleans:
        return _entries(value, separator, counted or {})
    if not value:
        return []
    if rules.empties:
        value = re.sub(f"(?:{re.escape(separator)}){{3,}}", lambda _: separator * 2, value)
    return _trimmed(regular(entry, home) for entry in value.split(separator))


def _entries(value: str | None, separator: str, counted: Mapping[str, int]) -> list[str]:
    """Return the entries of a variable as they are; one without text has an entry only where the counts say so."""
    return value.split(separator) if value else [""] if value is not None and "" in counted else []


def joined(entries: Iterable[str], separator: str, name: str = "", rules: Arithmetic = LMOD) -> str:
    """Return entries as the tool writes the variable `name`; Lmod puts a separator behind an empty last one, not in PATH."""
    if not rules.cleans:
        return separator.join(entries)
    found = _trimmed(entries)
    text = separator * 2 if found == [""] else separator.join(found) + (separator if found and not found[-1] else "")
    return re.sub("::+", ":", text.strip(":")) if name == "PATH" else text


def _trimmed(entries: Iterable[str]) -> list[str]:
    found = list(entries)
    while found[-2:] == ["", ""]:
        found.pop()
    return found


def counts_text(entries: Iterable[tuple[str, int]], rules: Arithmetic = LMOD) -> str:
    """Return the value of the tool's variable with the counts of these entries."""
    if rules.ones:
        return ";".join(f"{entry}:{count}" for entry, count in entries if entry or rules.empties)
    counted = {entry: count for entry, count in entries if count > 1 or not entry}
    return ":".join(f"{_escaped(entry)}:{count}" for entry, count in counted.items())


def counts_shared(text: str) -> dict[str, int]:
    """Return the entries and counts in a `__MODULES_SHARE_…`, {} where it is not a list of pairs."""
    words = [word.replace("\\:", ":") for word in re.split(r"(?<!\\):", text)] if text else []
    pairs = zip(words[::2], words[1::2], strict=False)
    return {} if len(words) % 2 else {entry: int(count[:9]) for entry, count in pairs if count.isascii() and count.isdigit()}


def _escaped(text: str) -> str:
    return text.replace(":", "\\:")


def counts_in(text: str, rules: Arithmetic = LMOD) -> dict[str, int]:
    """Return the entries and counts in the tool's variable with counts."""
    if not rules.ones:
        return counts_shared(text)
    return {entry: int(count[:9]) for entry, count in _COUNTED.findall(text)}


def counts_believed(text: str, rules: Arithmetic = LMOD) -> dict[str, int]:
    """Return what the tool itself reads out of its counts: Lmod splits at each `;` and `:`, whatever an entry holds."""
    if not rules.ones:
        return counts_shared(text)
    parts = (item.split(":") for item in text.split(";"))
    return {part[0]: int(part[1][:9]) for part in parts if len(part) > 1 and part[1].isascii() and part[1].isdigit()}


def separator_of(value: str, counts: str) -> str:
    """Return what stands between the entries of a path variable, by the entries that its counts name."""
    entries = [entry for entry in counts_in(counts) if entry]
    if len(entries) > 1:
        # The text between the first two, then the usual ones, since an empty entry may stand between.
        between = value.removeprefix(entries[0]).partition(entries[1])[0]
        for mark in (":", ";", " ", ",", between):
            if mark and [entry for entry in value.split(mark) if entry] == entries:
                return mark
    return ":"
