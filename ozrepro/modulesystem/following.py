"""What loading does to one variable, by what the caller has set.

Values and path entries are templates, in which `${NAME}` stands for the caller's variable and `$$` for a dollar, as in Python's
`string.Template`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ozrepro.environment import chosen, filled

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ozrepro.environment import Case as Parts
    from ozrepro.modulesystem.paths import PathChange

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_REFERENCE = re.compile(rf"\$(?:(\$)|\{{({_NAME})\}})", re.ASCII)
CONDITION = re.compile(rf"{_NAME}:?\Z", re.ASCII)
PATH_KEYS = ("prepend", "append", "separator", "dropped", "counts")


@dataclass(frozen=True, slots=True)
class Case:
    """What loading does to a variable where the caller has some variables set; without value and path it is left as it is.

    Attributes:
        names: the variables that are set; one with `:` behind it is not empty either.
        value: the template of the value.
        path: what is put where, the entries as templates.
        removed: whether it is unset.

    """

    names: tuple[str, ...] = ()
    value: str | None = None
    path: PathChange | None = None
    removed: bool = False

    @property
    def is_untouched(self) -> bool:
        """Whether loading leaves the variable as it is."""
        return self.value is None and self.path is None and not self.removed

    @property
    def effect(self) -> Case:
        """The same whatever the caller has set, to be compared."""
        return replace(self, names=())

    def refers_to(self) -> frozenset[str]:
        """Return the caller's variables that its templates hold."""
        texts = [self.value or ""]
        if self.path is not None:
            texts += (*self.path.prepend, *self.path.append)
        return frozenset(name for text in texts for name in parts_of(text)[1::2])

    def asks(self) -> frozenset[str]:
        """Return the caller's variables that decide what it comes to."""
        return self.refers_to() | {name.rstrip(":") for name in self.names}

    def as_table(self) -> dict[str, Any]:
        """Return the case as it is in the lock."""
        path = path_table(self.path) if self.path is not None else {}
        parts = {"set": list(self.names), "value": self.value, **path, "unset": self.removed}
        return {key: value for key, value in parts.items() if value or (key == "value" and value is not None)}


def path_table(path: PathChange) -> dict[str, Any]:
    """Return the change of a path variable as it is in the lock."""
    parts = {
        "prepend": list(path.prepend),
        "append": list(path.append),
        "separator": path.separator if path.separator != ":" else "",
        "dropped": list(path.dropped),
        "counts": dict(sorted(path.counts.items())),
    }
    return {key: value for key, value in parts.items() if value}


def case_for(cases: Iterable[Case], caller: Mapping[str, str]) -> Case:
    """Return the first case whose variables the caller has."""
    listed = tuple(cases)
    place = chosen([(case.names, (str(number),)) for number, case in enumerate(listed)], caller)
    return listed[int(place[0])] if place else Case()


def template(text: str, marks: Mapping[str, str]) -> str:
    """Return a text as a template: `marks` are the values that variables of the caller had."""
    found = text.replace("$", "$$")
    for name, mark in sorted(marks.items(), key=lambda item: (-len(item[1]), item[0])):
        found = found.replace(mark, f"${{{name}}}")
    return found


def parts_of(text: str) -> tuple[str, ...]:
    """Return the parts of a template: plain text and names of variables, by turns."""
    parts, place, plain = [], 0, ""
    for found in _REFERENCE.finditer(text):
        plain += text[place : found.start()]
        place = found.end()
        if found[1]:
            plain += "$"
        else:
            parts += [plain, found[2]]
            plain = ""
    return (*parts, plain + text[place:])


def fill(text: str, caller: Mapping[str, str]) -> str:
    """Return what a template comes to for a caller; a variable that is not set is empty."""
    return filled(parts_of(text), caller)


def fill_path(path: PathChange, caller: Mapping[str, str]) -> PathChange:
    """Return a path's change for a caller. A slash at the end of a variable's value is not doubled."""
    tidy = {name: value.rstrip("/") or value for name, value in caller.items()}
    prepend, append = (tuple(fill(entry, tidy) for entry in entries) for entries in (path.prepend, path.append))
    return replace(path, prepend=prepend, append=append, counts={fill(key, tidy): count for key, count in path.counts.items()})


def as_parts(case: Case, text: str | None = None) -> Parts:
    """Return a case as an environment holds it; `text` is the template of a path variable's whole value."""
    whole = case.value if text is None else text
    if case.removed or (case.path is not None and text is None):
        return case.names, None
    return case.names, () if whole is None else parts_of(whole)
