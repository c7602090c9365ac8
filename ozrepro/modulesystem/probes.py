"""Finds the change that loading makes, from two loads.

One load cannot tell a directory put in front from one put behind, nor a fixed value from one that follows HOME or the job. The
second has a sentinel in every path variable, in what the first unset and in what it pushed, and another home, user and job.
What the two have of the caller are marks, which occur in values where these follow the caller's variables.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ozrepro.modulesystem.bookkeeping import (
    AWAY,
    COUNT,
    PIECE,
    STACK,
    TABLE,
    is_bookkeeping,
    is_lua_data,
    is_text,
    module_table,
    pushed_away,
    stack_entry,
)
from ozrepro.modulesystem.change import Change, is_variable, replay
from ozrepro.modulesystem.following import Case, fill, fill_path, template
from ozrepro.modulesystem.paths import COUNTS, LMOD, Arithmetic, PathChange, counts_in, separator_of, split

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ozrepro.modulesystem import LoadedModule
    from ozrepro.modulesystem.reading import Reading

SENTINEL = "/ozrepro/sentinel"
MARKS: tuple[Mapping[str, str], Mapping[str, str]] = (
    {"HOME": "/ozrepro/home/one", "USER": "ozuserone", "LOGNAME": "ozlogone"},
    {"HOME": "/Oz-Home/Two", "USER": "Second-User", "LOGNAME": "Second-Login"},
)
"""Home and user of the two probes: no part of one is a part of the other, so that a part that is taken from it is seen."""

JOB = {"SLURM_JOB_ID": "987654321", "TMPDIR": "/ozrepro/tmp"}
"""What the second probe has besides, since a program that a modulefile runs may ask for it."""

_SECONDS = re.compile(r"(?<!\d)\d{9,11}(?!\d)")


@dataclass(frozen=True, slots=True)
class Moment:
    """Where and when the probes ran, which two loads on one host within one second cannot tell from fixed values.

    `host` is the name of the machine, `began` and `ended` are epoch seconds.
    """

    host: str = ""
    began: float = 0
    ended: float = -1

    def is_in(self, value: str) -> bool:
        """Say whether a value holds the host's name, whole or up to its first dot, as a word, or a second of the interval."""
        names = {self.host, self.host.partition(".")[0]} - {"", "localhost"}
        if any(re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", value) for name in names):
            return True
        return any(int(self.began) <= int(found) <= int(self.ended) for found in _SECONDS.findall(value))


def path_variables(reading: Reading) -> dict[str, str]:
    """Return the path variables of a reading with their separators: those with a reference count."""
    if reading.paths is not None:
        return dict(reading.paths)
    return {
        variable: separator_of(reading.values[variable], counts)
        for name, counts in reading.values.items()
        for variable in (name.removeprefix(COUNT),)
        if name.startswith(COUNT) and variable in reading.values and not is_bookkeeping(variable)
    }


def second_base(
    first: Mapping[str, str], reading: Reading, marks: Mapping[str, str] = MARKS[1], more: Mapping[str, str] = JOB
) -> dict[str, str]:
    """Return the base of the second probe, to the first's base and what came of it, with the second's `marks`."""
    base = {**more, **first, **marks}
    for name, mark in {"PATH": ":", **path_variables(reading)}.items():
        base[name] = f"{SENTINEL}{mark}{base[name]}" if base.get(name) else SENTINEL
    pushed = {name.removeprefix(STACK) for name in reading.values if name.startswith(STACK)}
    # Something to unset, which tells `unsetenv` from taking an entry out of a path that is not there.
    unset = {name for name in reading.deleted if name not in first and not is_bookkeeping(name)}
    base.update(dict.fromkeys((pushed | unset) - base.keys(), SENTINEL))
    return base


@dataclass(frozen=True, slots=True)
class Probes:
    """Two loads: bases, what came of each, the marks that each base has, and the module tool's arithmetic."""

    first: Mapping[str, str]
    one: Reading
    second: Mapping[str, str]
    two: Reading
    marks: tuple[Mapping[str, str], Mapping[str, str]] = MARKS
    moment: Moment = Moment()
    rules: Arithmetic = LMOD

    def effects(self) -> tuple[dict[str, Case], set[str]]:
        """Return what loading does to each variable, and the names of those of which something had to be left out."""
        paths, dynamic = self._paths()
        found = {name: Case(path=path) for name, path in paths.items()}
        one, two = self.one, self.two
        for name in (one.values.keys() | two.values.keys() | one.deleted | two.deleted) - paths.keys():
            if is_bookkeeping(name):
                continue
            left, right = one.values.get(name), two.values.get(name)
            if name in one.deleted & two.deleted:
                if is_variable(name):
                    found[name] = Case(removed=True)
            elif left is None or right is None or self.moment.is_in(left) or not is_variable(name):
                dynamic.add(name)
            else:
                text = template(left, self.marks[0])
                if fill(text, self.marks[1]) == right and (left == right or is_text(left)):
                    found[name] = Case(value=text)
                else:
                    dynamic.add(name)
        return found, dynamic

    def _paths(self) -> tuple[dict[str, PathChange], set[str]]:
        """Return the path variables' changes, their entries as templates, and the names of what had to be left out."""
        first, second, one, two, rules = self.first, self.second, self.one, self.two, self.rules
        paths: dict[str, PathChange] = {}
        dynamic: set[str] = set()
        for name, mark in {"PATH": ":", **path_variables(one), **path_variables(two)}.items():
            counted = counts_in(rules.counts_of(name, two.values), rules)
            entries = split(two.values.get(name), mark, second["HOME"], rules, counted)
            if SENTINEL not in entries or not is_variable(name):
                continue  # set whatever it was before, or not touched
            before = split(second.get(name), mark, second["HOME"], rules)
            held = {template(entry, self.marks[1]): count for entry, count in counted.items()}
            whole = _path_change(self._templates(entries, 1), self._templates(before, 1), mark, held, rules)
            raw = split(one.values.get(name), mark, first["HOME"], rules, counts_in(rules.counts_of(name, one.values), rules))
            left = self._templates(raw, 0)
            there = {text for text, entry in zip(left, raw, strict=True) if is_text(entry) and not self.moment.is_in(entry)}
            good = there & set(self._templates(entries, 1))
            kept = _only(whole, good, left)
            base = ":".join(self._templates([first[name]], 0)) if name in first else None
            expected = [entry for entry, _ in kept.entries(base, None, "~", rules) if entry in good]
            if kept != whole or not good.issuperset(left):
                dynamic.add(name)
            if expected == [entry for entry in left if entry in good]:
                paths[name] = kept
            else:
                dynamic.add(name)
                paths[name] = PathChange(separator=mark)
        return paths, dynamic

    def _templates(self, entries: Sequence[str], which: int) -> list[str]:
        return [template(entry, self.marks[which]) for entry in entries]


def change_between(probes: Probes, modules: Sequence[LoadedModule] = ()) -> Change:
    """Return the change that two probes show; `modules` are the loaded ones, which two of the tool's variables follow from."""
    found, dynamic = probes.effects()
    return _with_bookkeeping(
        change_of(found, dynamic, probes.rules), probes.first, probes.one, probes.second, probes.two, modules
    )


def change_of(effects: Mapping[str, Case], dynamic: set[str], rules: Arithmetic) -> Change:
    """Return effects that are the same whatever the caller has set as a change without the tool's own variables."""
    variables: dict[str, str] = {}
    follow: dict[str, tuple[Case, ...]] = {}
    paths: dict[str, PathChange] = {}
    for name, case in sorted(effects.items()):
        if case.refers_to():
            follow[name] = (case,)
        elif case.path is not None:
            paths[name] = fill_path(case.path, {})
        elif case.value is not None:
            variables[name] = fill(case.value, {})
    removed = tuple(sorted(name for name, case in effects.items() if case.removed))
    return Change(variables, follow, paths, removed, tuple(sorted(dynamic)), rules=rules)


def _path_change(entries: list[str], base: list[str], mark: str, counted: Mapping[str, int], rules: Arithmetic) -> PathChange:
    """Return what was put before and behind the sentinel and the rest of the base, and what was taken away."""
    place = entries.index(SENTINEL)
    front, behind = entries[:place], entries[place + 1 :]
    rest = list(dict.fromkeys(entry for entry in base if entry != SENTINEL))
    before = {entry: base.count(entry) for entry in rest}
    waiting = [entry for entry in rest if entry not in front]
    kept = 0
    for entry in behind:
        # An entry of the base with a higher count was put there again, and so stands behind the base from now on.
        if entry not in waiting or (rules.moves and counted.get(entry, 0) > before[entry]):
            break
        waiting = waiting[waiting.index(entry) + 1 :]
        kept += 1
    own = (*front, *behind[kept:])
    counts = {entry: counted[entry] - before.get(entry, 0) for entry in own if entry in counted}
    counts = {entry: count for entry, count in counts.items() if count != 1}
    if not rules.moves:
        again = {entry: counted[entry] - before[entry] for entry in rest if entry in counted and entry not in own}
        counts |= {entry: count for entry, count in again.items() if count}
    return PathChange(
        tuple(front),
        tuple(behind[kept:]),
        mark,
        tuple(entry for entry in rest if entry not in entries),
        counts,
    )


def _only(change: PathChange, good: set[str], left: list[str]) -> PathChange:
    """Return a path variable's change without the entries that are not the same everywhere."""
    prepend, append = (tuple(entry for entry in entries if entry in good) for entries in (change.prepend, change.append))
    return PathChange(
        prepend,
        append,
        change.separator,
        tuple(entry for entry in change.dropped if entry not in left),
        {entry: count for entry, count in change.counts.items() if entry in good},
    )


def _with_bookkeeping(
    found: Change,
    first: Mapping[str, str],
    one: Reading,
    second: Mapping[str, str],
    two: Reading,
    modules: Sequence[LoadedModule],
) -> Change:
    """Return the change with those of Lmod's own variables that do not follow from the rest of it."""
    own = {name: value for name, value in one.values.items() if is_bookkeeping(name)}
    plain = {name: value for name, value in own.items() if two.values.get(name) == value}
    text = module_table(own)
    if not is_lua_data(text) or not is_text(text) or module_table(two.values) != text:
        # Without it Lmod lists nothing; with another it would run or undo what was never there.
        plain = {name: value for name, value in plain.items() if not name.startswith(TABLE)}
        own = {name: value for name, value in own.items() if not name.startswith(TABLE)}
        text = ""
    first_piece = own.get(f"{TABLE}001_", "")
    piece = len(first_piece) if own.get(f"{TABLE}_Sz_", "1") != "1" else PIECE
    draft = {name: value for name, value in plain.items() if not _follows(name)}
    draft.update(
        (name, _stack(name, value, two, found, (first, second))) for name, value in own.items() if name.startswith(STACK)
    )
    draft = {name: value for name, value in draft.items() if value and is_text(value)}
    dynamic = set(found.dynamic)
    if "MODULEPATH" in own and "MODULEPATH" not in plain:
        known = two.values.get("MODULEPATH", "").split(":")
        draft["MODULEPATH"] = ":".join(entry for entry in own["MODULEPATH"].split(":") if entry in known)
        dynamic.add("MODULEPATH")
    lines = tuple(text.split("\n")[:-1]) if text.endswith("\n") else ()
    change = replace(found, bookkeeping=draft, table=lines, piece=piece, dynamic=tuple(sorted(dynamic)))
    result = replay(change, first, modules)
    wrong = {name: value for name, value in own.items() if result.get(name) != value and _is_sure(name, plain, dynamic)}
    wrong |= {name: "" for name in result if is_bookkeeping(name) and name not in own and name not in first}
    return replace(change, bookkeeping={**draft, **wrong})


def _follows(name: str) -> bool:
    """Say whether one of Lmod's variables follows from the modules, the table or a path variable."""
    return name.startswith((TABLE, *COUNTS, STACK)) or name in ("LOADEDMODULES", "_LMFILES_")


def _is_sure(name: str, plain: Mapping[str, str], dynamic: set[str]) -> bool:
    """Say whether a variable that does not follow as it should may be locked as it is."""
    for count in COUNTS:
        if name.startswith(count):
            return name.removeprefix(count) not in dynamic
    return name in plain


def _stack(name: str, value: str, two: Reading, found: Change, bases: tuple[Mapping[str, str], Mapping[str, str]]) -> str:
    """Return the template of a stack (see `bookkeeping.stack`), "" where the probes do not show one."""
    variable = name.removeprefix(STACK)
    entries, others = value.split(":"), two.values.get(name, "").split(":")
    away = [pushed_away(base.get(variable)) for base in bases]
    if [entries[-1], others[-1]] == away and away[0] != away[1] and entries[:-1] == others[:-1]:
        return ":".join((*entries[:-1], AWAY))
    if others[-1] != stack_entry(SENTINEL):
        return value if entries == others else ""
    final = found.variables.get(variable)
    follows = variable in found.follow or (final is not None and entries[0] == stack_entry(final))
    if follows and len(entries) == len(others) - 1 == 1:
        return ":"
    return f"{value}:" if entries == others[:-1] else ""
