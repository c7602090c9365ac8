"""From names that a user wrote to loaded modules and the change they make: one index, one question, two loads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ozrepro.environment import BASE_PATH
from ozrepro.modulesystem import LoadedModule
from ozrepro.modulesystem.change import HOMES, Change, change_between, second_base
from ozrepro.modulesystem.lmod import ModuleError, clean_message

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ozrepro.modulesystem import ModuleSystem
    from ozrepro.modulesystem.index import Index
    from ozrepro.modulesystem.reading import Reading


@dataclass(frozen=True, slots=True)
class Captured:
    """What loading came to: the list as it is loaded, parents that were added, every module loaded, the change, words to tell."""

    load: tuple[str, ...]
    parents: tuple[str, ...]
    modules: tuple[LoadedModule, ...]
    change: Change
    messages: str


def missing(names: Sequence[str], index: Index) -> list[str]:
    """Return a line for each name that the index does not have exactly, with what may have been meant."""
    lines: list[str] = []
    for name in names:
        if name not in index.modules:
            near = index.candidates(name)
            lines.append(f"there is no module {name!r} here" + (f"; there are {', '.join(near)}" if near else ""))
    return lines


def with_parents(names: Sequence[str], index: Index) -> tuple[str, ...]:
    """Return the names with the parents that a hierarchy wants before them, in load order.

    Raises ModuleError where several chains lead to a module and the names choose none of them.
    """
    order: list[str] = []
    for name in names:
        chains = index.chains(name)
        before = {*order, *names}
        fitting = (
            [chain for chain in chains if set(chain) <= before]
            or [chain for chain in chains if set(chain) & before]
            or list(chains)
        )
        shortest = min((len(chain) for chain in fitting), default=0)
        best = [chain for chain in fitting if len(chain) == shortest]
        if len(best) > 1 and not any(set(chain) <= before for chain in best):
            ways = "; or ".join(" ".join((*chain, name)) for chain in best)
            raise ModuleError(f"{name} can be reached in {len(best)} ways: {ways}", hint="write one of them into load = […]")
        for parent in (*(best[0] if best else ()), name):
            if parent not in order:
                order.append(parent)
    return tuple(order)


def capture(system: ModuleSystem, names: Sequence[str], modulepath: Sequence[str], index: Index) -> Captured:
    """Load the names twice from clean bases and return what that does. Raises ModuleError.

    Whatever is replaced, swapped, made inactive or answered by another version on the way is an error: exit 0 of the tool
    does not mean that what was asked for is loaded.
    """
    load = with_parents(names, index)
    first = {"PATH": ":".join(BASE_PATH), "MODULEPATH": ":".join(modulepath), "HOME": HOMES[0], "USER": "nobody"}
    if not system.is_available(load[0], first):
        raise ModuleError(
            f"{load[0]} is in the index but cannot be loaded: was it removed just now?", hint=f"module spider {load[0]}"
        )
    one = system.load(load, first)
    modules = loaded(one)
    _check(load, modules, one)
    second = second_base(first, one)
    two = system.load(load, second)
    if [module.file for module in loaded(two)] != [module.file for module in modules]:
        raise ModuleError(
            "two loads of the same names gave different modules: a modulefile asks for the host, the home or the job"
        )
    asked = tuple(LoadedModule(item.name, item.file, item.name in names) for item in modules)
    parents = tuple(name for name in load if name not in names)
    return Captured(load, parents, asked, change_between(first, one, second, two), clean_message(one.messages))


def loaded(reading: Reading) -> tuple[LoadedModule, ...]:
    """Return the loaded list that a reading ends with, in load order."""
    names = [name for name in reading.values.get("LOADEDMODULES", "").split(":") if name]
    files = [file for file in reading.values.get("_LMFILES_", "").split(":") if file]
    return tuple(LoadedModule(name, file) for name, file in zip(names, files, strict=False))


def _check(asked: Sequence[str], modules: Sequence[LoadedModule], reading: Reading) -> None:
    there = {module.name for module in modules}
    lost = [name for name in asked if name not in there]
    if not lost:
        return
    lines: list[str] = []
    for name in lost:
        short = name.rpartition("/")[0]
        other = [
            module.name for module in modules if module.name.rpartition("/")[0] == short or module.name.startswith(f"{name}-")
        ]
        lines.append(
            f"{name} was asked for and {', '.join(other) + ' is loaded instead' if other else 'is not loaded in the end'}"
        )
    said = clean_message(reading.messages)
    raise ModuleError(
        "\n    ".join((*lines, *said.splitlines())), hint="two modules replace each other: take one of them out of load = […]"
    )


def clean_base(environ: Mapping[str, str], modulepath: Sequence[str]) -> dict[str, str]:
    """Return the base that a session's environment starts from, as a real load for comparison wants it."""
    from ozrepro.environment import Environment

    return {**Environment().variables_for(environ), "MODULEPATH": ":".join(modulepath)}
