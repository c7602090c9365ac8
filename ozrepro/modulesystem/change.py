"""The change that loading modules makes, as data: what is in the lock, and its replay without the module tool.

`probes` finds it, `differences` compares it with a real load.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from ozrepro.modulesystem.bookkeeping import (
    COUNT,
    PIECE,
    PUSHED,
    STACK,
    TABLE,
    is_bookkeeping,
    is_lua_data,
    is_text,
    module_table,
    stack,
    table_variables,
)
from ozrepro.modulesystem.following import CONDITION, PATH_KEYS, Case, case_for, fill, fill_path, path_table
from ozrepro.modulesystem.paths import LMOD, Arithmetic, PathChange, counts_believed, counts_text, joined
from ozrepro.modulesystem.tools import arithmetic_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ozrepro.modulesystem import LoadedModule
    from ozrepro.project.checking import Checker

__all__ = ["Change", "PathChange", "is_bookkeeping", "is_variable", "own_variables", "read_change", "replay"]

_T = TypeVar("_T")
_KEYS = ("set", "bytes", "follow", "path", "unset", "dynamic", "bookkeeping", "table", "piece")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z", re.ASCII)
_PIECES = re.compile(rf"{TABLE}(?:[0-9]{{3}}|_Sz)_\Z")
_MOST = 10_000
_LONGEST_MARK = 4


@dataclass(frozen=True, slots=True)
class Change:
    """All that loading the modules does to an environment.

    Attributes:
        variables: values set, the same everywhere.
        follow: variables that follow what the caller has set: their cases, the first that fits counts.
        paths: path variables and what is put where.
        removed: variables unset.
        dynamic: variables whose value follows the host, the clock or the job: they cannot be locked and are left out of a replay,
            or, where they are in `paths` too, some of their entries are.
        bookkeeping: the tool's own variables that follow from nothing else, without which `module list` in a shell shows nothing;
            an empty one is not set although it would follow.
        table: the lines of Lmod's table of loaded modules, () where it cannot be reproduced.
        piece: characters of a piece of the encoded table.
        rules: the module tool's arithmetic of path variables.

    """

    variables: Mapping[str, str] = field(default_factory=dict)
    follow: Mapping[str, tuple[Case, ...]] = field(default_factory=dict)
    paths: Mapping[str, PathChange] = field(default_factory=dict)
    removed: tuple[str, ...] = ()
    dynamic: tuple[str, ...] = ()
    bookkeeping: Mapping[str, str] = field(default_factory=dict)
    table: tuple[str, ...] = ()
    piece: int = PIECE
    rules: Arithmetic = LMOD

    def as_table(self) -> dict[str, Any]:
        """Return the change as it is in the lock: sorted, without empty parts; values that are no text are in base64."""
        plain = {name: value for name, value in sorted(self.variables.items()) if is_text(value)}
        coded = {name: _coded(value) for name, value in sorted(self.variables.items()) if name not in plain}
        parts: dict[str, Any] = {
            "unset": sorted(self.removed),
            "dynamic": sorted(self.dynamic),
            "table": list(self.table),
            "piece": self.piece if self.piece != PIECE else 0,
            "set": plain,
            "bytes": coded,
            "follow": {name: [case.as_table() for case in cases] for name, cases in sorted(self.follow.items())},
            "path": {name: path_table(path) for name, path in sorted(self.paths.items())},
            "bookkeeping": dict(sorted(self.bookkeeping.items())),
        }
        return {key: value for key, value in parts.items() if value}


def _coded(value: str) -> str:
    return base64.b64encode(value.encode("utf-8", "surrogateescape")).decode("ascii")


def is_variable(name: str) -> bool:
    """Say whether a name is one that every shell takes for a variable."""
    return _NAME.match(name) is not None


def replay(change: Change, base: Mapping[str, str], modules: Sequence[LoadedModule] = ()) -> dict[str, str]:
    """Return what `base` becomes by the change, the tool's own variables too, without the module tool.

    `modules` are the loaded ones, for LOADEDMODULES and _LMFILES_. Values that follow the caller's variables follow the base's.
    """
    gone = {name for name in (*change.removed, *change.dynamic) if name not in change.paths and not is_bookkeeping(name)}
    result = {name: value for name, value in base.items() if name not in gone}
    result.update(change.variables)
    paths = dict(change.paths)
    for name, cases in change.follow.items():
        case = case_for(cases, base)
        if case.path is not None:
            paths[name] = fill_path(case.path, base)
        elif case.value is not None:
            result[name] = fill(case.value, base)
        elif case.removed:
            result.pop(name, None)
    for name, path in paths.items():
        result.pop(name, None)
        result.pop(change.rules.count + name, None)
        result.update(path_values(name, path, base, change.rules))
    result.update(own_variables(change, base, result, modules))
    return {name: value for name, value in result.items() if value or not is_bookkeeping(name)}


def path_values(name: str, path: PathChange, base: Mapping[str, str], rules: Arithmetic) -> dict[str, str]:
    """Return what a path variable and the tool's count of it become by its change, nothing where no entry is left."""
    entries = path.entries(base.get(name), counts_believed(rules.counts_of(name, base), rules), base.get("HOME", "~"), rules)
    if not entries:
        return {}
    text = joined((entry for entry, _ in entries), path.separator, name, rules)
    counts = counts_text(entries, rules) if rules.count else ""
    return {name: text, rules.count + name: counts} if counts else {name: text}


def own_variables(
    change: Change, base: Mapping[str, str], result: Mapping[str, str], modules: Sequence[LoadedModule]
) -> dict[str, str]:
    """Return the module tool's own variables after loading, "" for those that are not set; counts of `paths` are not among them.

    `result` is the environment after loading without them.
    """
    found: dict[str, str] = {}
    if modules:
        found["LOADEDMODULES"] = ":".join(module.name for module in modules)
        found["_LMFILES_"] = ":".join(module.file for module in modules)
    if change.table:
        found.update(table_variables("\n".join((*change.table, "")), change.piece))
    folders = change.bookkeeping.get("MODULEPATH")
    if folders and change.rules.ones:
        found[f"{COUNT}MODULEPATH"] = counts_text((folder, 1) for folder in dict.fromkeys(folders.split(":")))
    for name, value in change.bookkeeping.items():
        found[name] = stack(value, name, base, result) if name.startswith((STACK, PUSHED)) else value
    return found


def read_change(checker: Checker, value: object, path: tuple[str, ...], tool: str = "lmod") -> Change:
    """Return the change that `as_table` wrote, out of a lock that may be a stranger's; what is wrong is noted by `checker`.

    `tool` is the module tool with its version, such as `lmod 8.7.60`.
    """
    reader = _Reader(checker, path)
    table = checker.table(value, path, _KEYS)
    variables = reader.named(table, "set", reader.text)
    variables |= reader.named(table, "bytes", reader.bytes)
    return Change(
        variables=variables,
        follow=reader.named(table, "follow", reader.cases),
        paths=reader.named(table, "path", reader.path_change),
        removed=reader.names(table, "unset"),
        dynamic=reader.names(table, "dynamic"),
        bookkeeping=reader.bookkeeping(table),
        table=reader.table(table),
        piece=reader.number(table.get("piece", PIECE), ("piece",), 16),
        rules=arithmetic_of(tool),
    )


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads the parts of a change; each reader notes what is wrong and returns a value that lets checking go on."""

    checker: Checker
    path: tuple[str, ...]

    def wrong(self, place: tuple[str, ...], problem: str, right: str = "") -> None:
        self.checker.wrong((*self.path, *place), problem, right)

    def text(self, value: object, place: tuple[str, ...]) -> str:
        if not isinstance(value, str):
            self.wrong(place, "is not a string", "lock again")
        elif not is_text(value):
            self.wrong(place, "holds a NUL or is not text", "lock again")
        else:
            return value
        return ""

    def bytes(self, value: object, place: tuple[str, ...]) -> str:
        try:
            found = base64.b64decode(self.text(value, place), validate=True).decode("utf-8", "surrogateescape")
        except (binascii.Error, ValueError):
            self.wrong(place, "is not base64", "lock again")
            return ""
        if "\0" in found:
            self.wrong(place, "holds a NUL", "lock again")
            return ""
        return found

    def texts(self, value: object, place: tuple[str, ...]) -> tuple[str, ...]:
        if not isinstance(value, list):
            self.wrong(place, "is not an array", "lock again")
            return ()
        return tuple(self.text(item, (*place[:-1], f"{place[-1]}[{index}]")) for index, item in enumerate(value))

    def number(self, value: object, place: tuple[str, ...], least: int = 0) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= _MOST:
            self.wrong(place, f"is not a whole number between {least} and {_MOST}", "lock again")
            return PIECE
        return value

    def inner(self, value: object, place: tuple[str, ...]) -> Mapping[str, Any]:
        if isinstance(value, dict):
            return value
        self.wrong(place, "is not a table", "lock again")
        return {}

    def named(self, table: Mapping[str, Any], key: str, read: Callable[[object, tuple[str, ...]], _T]) -> dict[str, _T]:
        found: dict[str, _T] = {}
        for name, value in self.inner(table.get(key, {}), (key,)).items():
            if self.is_free(name, (key, name)):
                found[name] = read(value, (key, name))
        return found

    def is_free(self, name: str, place: tuple[str, ...]) -> bool:
        if not is_variable(name):
            self.wrong(place, "is not a variable name", "a name has letters, digits and _")
        elif is_bookkeeping(name):
            self.wrong(place, "is a variable of the module tool's own", "lock again")
        else:
            return True
        return False

    def names(self, table: Mapping[str, Any], key: str) -> tuple[str, ...]:
        found = self.texts(table.get(key, []), (key,))
        return tuple(name for index, name in enumerate(found) if self.is_listed(name, key, index))

    def is_listed(self, name: str, key: str, index: int) -> bool:
        place = (f"{key}[{index}]",)
        if key != "dynamic":
            return self.is_free(name, place)
        if not name or "=" in name or not name.isprintable():
            self.wrong(place, "is not a variable name")
            return False
        return True

    def cases(self, value: object, place: tuple[str, ...]) -> tuple[Case, ...]:
        if not isinstance(value, list):
            self.wrong(place, "is not an array", "lock again")
            return ()
        return tuple(self.case(item, (*place[:-1], f"{place[-1]}[{index}]")) for index, item in enumerate(value))

    def case(self, value: object, place: tuple[str, ...]) -> Case:
        table = self.checker.table(value, (*self.path, *place), ("set", "value", "unset", *PATH_KEYS))
        names = self.texts(table.get("set", []), (*place, "set"))
        for name in names:
            if not CONDITION.match(name):
                self.wrong((*place, "set"), f"{name!r} is not a variable name", "lock again")
                return Case()
        path = {key: table[key] for key in PATH_KEYS if key in table}
        if table.get("unset", False) is not False and (table["unset"] is not True or path or "value" in table):
            self.wrong((*place, "unset"), "cannot be combined with a value", "lock again")
        return Case(
            names,
            self.text(table["value"], (*place, "value")) if "value" in table else None,
            self.path_change(path, place) if path else None,
            table.get("unset") is True,
        )

    def path_change(self, value: object, place: tuple[str, ...]) -> PathChange:
        self.checker.table(value, (*self.path, *place), PATH_KEYS)
        table = self.inner(value, place) if isinstance(value, dict) else {}
        mark = self.text(table.get("separator", ":"), (*place, "separator"))
        if not 0 < len(mark) <= _LONGEST_MARK or not mark.isprintable():
            self.wrong((*place, "separator"), "is not a separator", 'write ":", ";" or another character')
            mark = ":"
        counts = self.inner(table.get("counts", {}), (*place, "counts"))
        return PathChange(
            self.texts(table.get("prepend", []), (*place, "prepend")),
            self.texts(table.get("append", []), (*place, "append")),
            mark,
            self.texts(table.get("dropped", []), (*place, "dropped")),
            {
                self.text(entry, (*place, "counts")): self.number(count, (*place, "counts", entry))
                for entry, count in counts.items()
            },
        )

    def bookkeeping(self, table: Mapping[str, Any]) -> dict[str, str]:
        found: dict[str, str] = {}
        for name, value in self.inner(table.get("bookkeeping", {}), ("bookkeeping",)).items():
            place = ("bookkeeping", name)
            if is_variable(name) and is_bookkeeping(name) and name != "LMOD_CMD":
                found[name] = self.text(value, place)
            else:
                self.wrong(place, "is not a variable of the module tool's own", "lock again")
        pieces = {name: value for name, value in found.items() if name.startswith(TABLE) and value}
        if pieces and not (all(map(_PIECES.match, pieces)) and is_lua_data(module_table(pieces))):
            self.wrong(("bookkeeping",), f"{min(pieces)}: is not a table of plain values: Lmod would run it", "lock again")
            found = {name: value for name, value in found.items() if name not in pieces}
        return found

    def table(self, table: Mapping[str, Any]) -> tuple[str, ...]:
        lines = self.texts(table.get("table", []), ("table",))
        if lines and not is_lua_data("\n".join((*lines, ""))):
            self.wrong(("table",), "is not a table of plain values: Lmod would run it", "lock again")
            return ()
        return lines
