"""From names that a user wrote to loaded modules and the change they make: one index, one question, two loads."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ozrepro.environment import BASE_PATH
from ozrepro.modulesystem import LoadedModule, ModuleError
from ozrepro.modulesystem.differences import differences
from ozrepro.modulesystem.effects import by_module
from ozrepro.modulesystem.lmod import clean_message
from ozrepro.modulesystem.paths import ARITHMETIC, LMOD
from ozrepro.modulesystem.probes import MARKS, Moment, Probes, change_between, second_base
from ozrepro.modulesystem.reading import Reading, loaded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ozrepro.modulesystem import ModuleSystem
    from ozrepro.modulesystem.change import Change
    from ozrepro.modulesystem.index import Index
    from ozrepro.modulesystem.shell import ShellParts

__all__ = ["Captured", "capture", "differences", "first_base", "loaded", "recapture", "with_parents"]


@dataclass(frozen=True, slots=True)
class Captured:
    """What loading came to.

    Attributes:
        load: the names as they are loaded.
        parents: those of them that were added for a hierarchy.
        modules: every module loaded, in load order.
        change: what that does to an environment.
        shell: what it gives a shell besides.
        messages: what the tool and the modulefiles said.

    """

    load: tuple[str, ...]
    parents: tuple[str, ...]
    modules: tuple[LoadedModule, ...]
    change: Change
    shell: ShellParts
    messages: str


def with_parents(names: Sequence[str], index: Index) -> tuple[str, ...]:
    """Return the names with the parents that a hierarchy wants before them, in load order.

    Raises ModuleError, for all names together, where several chains lead to a module and the names choose none of them.
    """
    order: list[str] = []
    unclear: list[str] = []
    # A name that only one way leads to decides for all others, wherever it stands.
    sure = {parent for name in names for chains in (index.chains(name),) if len(chains) == 1 for parent in chains[0]}
    for name in names:
        chains = index.chains(name)
        before = {*order, *names, *sure}
        fitting = (
            [chain for chain in chains if set(chain) <= before]
            or [chain for chain in chains if set(chain) & before]
            or list(chains)
        )
        shortest = min((len(chain) for chain in fitting), default=0)
        best = [chain for chain in fitting if len(chain) == shortest]
        if len(best) > 1 and not any(set(chain) <= before for chain in best):
            ways = "; or ".join(" ".join((*chain, name)) for chain in best)
            unclear.append(f"{name} can be reached in {len(best)} ways: {ways}")
            continue
        for parent in (*(best[0] if best else ()), name):
            if parent not in order:
                order.append(parent)
    if unclear:
        raise ModuleError("\n    ".join(unclear), hint="write one of them into load = […]")
    return tuple(order)


def first_base(modulepath: Sequence[str]) -> dict[str, str]:
    """Return the clean base that modules are captured on: nothing of the caller's but the module directories."""
    return {"PATH": ":".join(BASE_PATH), "MODULEPATH": ":".join(modulepath), **MARKS[0]}


def capture(system: ModuleSystem, names: Sequence[str], modulepath: Sequence[str], index: Index) -> Captured:
    """Load the names from clean bases and return what that does. Raises ModuleError.

    Whatever is replaced, swapped, made inactive or answered by another version on the way is an error: exit 0 of the tool
    does not mean that what was asked for is loaded.
    """
    load = with_parents(names, index)
    first = first_base(modulepath)
    if not system.is_available(load[0], first):
        raise ModuleError(
            f"{load[0]} is in the index but cannot be loaded: was it removed just now?",
            hint=f"ozrepro spider --refresh {load[0]}",
        )
    began = time.time()
    one = system.load(load, first)
    modules = loaded(one)
    _check(load, modules, one, system.inactive(one.values))
    second = second_base(first, one)
    two = system.load(load, second)
    moment = Moment(os.uname().nodename, began, time.time())
    others = loaded(two)
    if [module.file for module in others] != [module.file for module in modules]:
        raise ModuleError(
            f"two loads of {' '.join(load)} gave different modules ({_unlike(modules, others)}): a modulefile asks for the host, "
            "the home, the job or a variable that is set",
            hint=f"module show {load[-1]}",
        )
    asked = tuple(LoadedModule(item.name, item.file, item.name in names) for item in modules)
    parents = tuple(name for name in load if name not in names)
    change = change_between(Probes(first, one, second, two, moment=moment, rules=ARITHMETIC.get(system.kind, LMOD)), modules)
    effects = by_module(one.effects, modules, system, first, MARKS[0])
    shell = replace(one.shell, effects=effects)
    return Captured(load, parents, asked, change, shell, clean_message(one.messages))


def recapture(
    system: ModuleSystem, load: Sequence[str], modulepath: Sequence[str]
) -> tuple[tuple[LoadedModule, ...], Reading, dict[str, str]]:
    """Load once from the clean base; return the modules loaded, all that it gave, and the base: what `differences` compares.

    Raises ModuleError.
    """
    base = first_base(modulepath)
    reading = system.load(load, base)
    return loaded(reading), reading, base


def _unlike(modules: Sequence[LoadedModule], others: Sequence[LoadedModule]) -> str:
    names, files = ({module.name: module.file for module in found} for found in (modules, others))
    unlike = sorted(name for name in names.keys() | files.keys() if names.get(name) != files.get(name))
    return ", ".join(unlike) or "another order"


def _check(asked: Sequence[str], modules: Sequence[LoadedModule], reading: Reading, inactive: frozenset[str]) -> None:
    """Raise ModuleError, for all names together, where one that was asked for is not loaded in the end."""
    there = {module.name for module in modules}
    lines = [_lost(name, modules, inactive) for name in asked if name not in there]
    if lines:
        said = clean_message(reading.messages)
        hint = f"take out of load = […] what replaces or unloads another, or see: module show {asked[-1]}"
        raise ModuleError("\n    ".join((*lines, *said.splitlines())), hint=hint)


def _lost(name: str, modules: Sequence[LoadedModule], inactive: frozenset[str]) -> str:
    if name in inactive:
        return f"{name} was asked for and is inactive: a module after it took away the directory it is in"
    short = name.rpartition("/")[0] or name
    other = [
        module.name
        for module in modules
        if module.name == short or module.name.startswith((f"{short}/", f"{name}-")) or module.name.rpartition("/")[0] == name
    ]
    return f"{name} was asked for and {', '.join(other) + ' is loaded instead' if other else 'is unloaded by a module after it'}"
