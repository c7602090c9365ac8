"""Says what a real load of modules now gives otherwise than the locked change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ozrepro.modulesystem.change import Change, is_bookkeeping, replay
from ozrepro.modulesystem.paths import split
from ozrepro.modulesystem.reading import Reading, loaded
from ozrepro.project.checking import shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ozrepro.modulesystem import LoadedModule


def differences(change: Change, modules: Sequence[LoadedModule], reading: Reading, base: Mapping[str, str]) -> list[str]:
    """Return a line for each module and variable that a real load of `base` (`reading`) gives otherwise than the lock.

    Dynamic variables and the tool's own are left out.
    """
    now = {name: value for name, value in {**base, **reading.values}.items() if name not in reading.deleted}
    locked = replay(change, base, modules)
    lines = _of_modules(modules, loaded(reading))
    for name in sorted(locked.keys() | now.keys()):
        if is_bookkeeping(name) or name in change.dynamic or locked.get(name) == now.get(name):
            continue
        if name in change.paths:
            lines += _of_path(name, locked.get(name), now.get(name), change)
        else:
            lines.append(_of_variable(name, locked.get(name), now.get(name), given=name in change.variables))
    return lines


def _of_modules(modules: Sequence[LoadedModule], there: Sequence[LoadedModule]) -> list[str]:
    old, new = ({module.name: module.file for module in found} for found in (modules, there))
    lines = [f"module {name} is no longer loaded" for name in old if name not in new]
    lines += [f"module {name} is loaded now, from {file}" for name, file in new.items() if name not in old]
    lines += [f"module {name} is now read from {new[name]}" for name in old if new.get(name, old[name]) != old[name]]
    if not lines and list(old) != list(new):
        lines.append(f"modules are now loaded in another order: {' '.join(new)}")
    return lines


def _of_variable(name: str, locked: str | None, now: str | None, *, given: bool) -> str:
    if now is None:
        return f"{name}: locked {shown(locked)}, now not set"
    if locked is None:
        return f"{name}: not set by the locked modules, now {shown(now)}"
    return f"{name}: {'locked ' if given else 'after the locked change '}{shown(locked)}, now {shown(now)}"


def _of_path(name: str, locked: str | None, now: str | None, change: Change) -> list[str]:
    mark = change.paths[name].separator
    old, new = split(locked, mark, rules=change.rules), split(now, mark, rules=change.rules)
    lines = [f"{name}: no longer has {entry}" for entry in old if entry not in new]
    lines += [f"{name}: now has {entry}" for entry in new if entry not in old]
    return lines or [f"{name}: has its entries in another order: {shown(now)}"]
