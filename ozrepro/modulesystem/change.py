"""The change that loading modules makes, as data: found by two probes, replayed on any base without the module tool.

One load cannot tell a directory put in front from one put behind, nor a fixed value from one that follows HOME or the job. The
second probe has a sentinel in every path variable and another home and job.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ozrepro.modulesystem.reading import Reading

SENTINEL = "/ozrepro/sentinel"
HOMES = ("/ozrepro/home/one", "/ozrepro/home/two")
_COUNT = "__LMOD_REF_COUNT_"
_OWN = ("_ModuleTable", "__LMOD_", "LMOD_FAMILY_", "MODULES_FAMILY_")
_OWN_NAMES = frozenset(("LOADEDMODULES", "_LMFILES_", "MODULEPATH", "LMOD_CMD", "LMOD_VERSION"))


@dataclass(frozen=True, slots=True)
class PathChange:
    """What is put in front of a path variable and behind it; the first entry ends up first. `separator` is mostly `:`."""

    prepend: tuple[str, ...] = ()
    append: tuple[str, ...] = ()
    separator: str = ":"

    def apply(self, base: str | None) -> str:
        """Return the variable's new value: an entry that is put somewhere is taken from where it was, as Lmod does."""
        own = {*self.prepend, *self.append}
        kept = [entry for entry in base.split(self.separator) if entry not in own] if base else []
        return self.separator.join((*self.prepend, *kept, *self.append))


@dataclass(frozen=True, slots=True)
class Change:
    """All that loading the modules does to an environment.

    Attributes:
        variables: values set, the same everywhere.
        homely: values that hold the caller's home: their parts, to be joined by HOME.
        paths: path variables and what is put where.
        removed: variables unset.
        dynamic: variables whose value follows the host, the clock or the job: they cannot be locked and are left out of a replay.
        bookkeeping: the tool's own variables, without which `module list` in a shell shows nothing.

    """

    variables: Mapping[str, str] = field(default_factory=dict)
    homely: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    paths: Mapping[str, PathChange] = field(default_factory=dict)
    removed: tuple[str, ...] = ()
    dynamic: tuple[str, ...] = ()
    bookkeeping: Mapping[str, str] = field(default_factory=dict)

    def as_table(self) -> dict[str, Any]:
        """Return the change as it stands in the lock."""
        paths: dict[str, dict[str, Any]] = {}
        for name in sorted(self.paths):
            entry = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self.paths[name]).items()}
            paths[name] = {key: value for key, value in entry.items() if value and value != ":"}
        return {
            "set": dict(sorted(self.variables.items())),
            "home": {name: list(parts) for name, parts in sorted(self.homely.items())},
            "path": paths,
            "unset": sorted(self.removed),
            "dynamic": sorted(self.dynamic),
            "bookkeeping": dict(sorted(self.bookkeeping.items())),
        }


def is_bookkeeping(name: str) -> bool:
    """Say whether a variable is the module tool's own."""
    return name.startswith(_OWN) or name in _OWN_NAMES


def from_table(table: Mapping[str, Any]) -> Change:
    """Return the change that `as_table` wrote. Raises TypeError, KeyError or AttributeError where it is malformed."""
    return Change(
        variables=dict(table.get("set", {})),
        homely={name: tuple(parts) for name, parts in table.get("home", {}).items()},
        paths={
            name: PathChange(tuple(entry.get("prepend", ())), tuple(entry.get("append", ())), entry.get("separator", ":"))
            for name, entry in table.get("path", {}).items()
        },
        removed=tuple(table.get("unset", ())),
        dynamic=tuple(table.get("dynamic", ())),
        bookkeeping=dict(table.get("bookkeeping", {})),
    )


def path_variables(reading: Reading) -> dict[str, str]:
    """Return the path variables of a reading with their separators: those with a reference count."""
    found: dict[str, str] = {}
    for name, counts in reading.values.items():
        variable = name.removeprefix(_COUNT)
        if not name.startswith(_COUNT) or variable not in reading.values or is_bookkeeping(variable):
            continue
        entries = [item.rpartition(":")[0] for item in counts.split(";")]
        fitting = (mark for mark in (":", ";", " ") if mark.join(entries) == reading.values[variable])
        found[variable] = next(fitting, ":")
    return found


def second_base(first: Mapping[str, str], reading: Reading) -> dict[str, str]:
    """Return the base of the second probe: a sentinel in every path variable, another home, another job."""
    base = {
        **first,
        "HOME": HOMES[1],
        "USER": "somebody",
        "LOGNAME": "somebody",
        "SLURM_JOB_ID": "987654321",
        "TMPDIR": "/ozrepro/tmp",
    }
    for name in path_variables(reading):
        base[name] = f"{SENTINEL}:{base[name]}" if base.get(name) else SENTINEL
    return base


def change_between(first: Mapping[str, str], one: Reading, second: Mapping[str, str], two: Reading) -> Change:
    """Return the change that two probes show: `one` is what came of the base `first`, `two` of `second`."""
    variables: dict[str, str] = {}
    homely: dict[str, tuple[str, ...]] = {}
    dynamic: list[str] = []
    separators = path_variables(one) | path_variables(two)
    paths = {name: _path_change(two.values.get(name, ""), second.get(name), mark) for name, mark in separators.items()}
    for name in sorted(one.values.keys() | two.values.keys()):
        if is_bookkeeping(name) or name in paths:
            continue
        left, right = one.values.get(name), two.values.get(name)
        if left is None or right is None:
            dynamic.append(name)
        elif left == right:
            variables[name] = left
        elif left.split(HOMES[0]) == right.split(HOMES[1]):
            homely[name] = tuple(left.split(HOMES[0]))
        else:
            dynamic.append(name)
    for name, path in paths.items():
        if path.apply(first.get(name)) != one.values.get(name):
            dynamic.append(name)  # it holds the home, the job, or an entry that was taken away
    removed = sorted(name for name in one.deleted & two.deleted if not is_bookkeeping(name) and name not in paths)
    own = {name: value for name, value in one.values.items() if is_bookkeeping(name)}
    kept = {name: path for name, path in paths.items() if name not in dynamic}
    return Change(variables, homely, kept, tuple(removed), tuple(sorted(set(dynamic))), own)


def _path_change(value: str, base: str | None, separator: str) -> PathChange:
    """Return what was put before and behind the sentinel and the rest of the base."""
    entries = value.split(separator) if value else []
    if SENTINEL not in entries:
        return PathChange(tuple(entries), (), separator)
    place = entries.index(SENTINEL)
    behind = entries[place + 1 :]
    rest = [entry for entry in (base or "").split(":")[1:] if entry not in entries[:place]]
    while rest and behind and behind[0] == rest[0]:
        behind, rest = behind[1:], rest[1:]
    return PathChange(tuple(entries[:place]), tuple(behind), separator)


def replay(change: Change, base: Mapping[str, str]) -> dict[str, str]:
    """Return what `base` becomes by the change, without the module tool and without its bookkeeping."""
    result = {name: value for name, value in base.items() if name not in change.removed and name not in change.dynamic}
    for name, path in change.paths.items():
        result[name] = path.apply(base.get(name))
    result.update(change.variables)
    home = base.get("HOME", "")
    result.update({name: home.join(parts) for name, parts in change.homely.items()})
    return result
