"""From names that a user wrote to loaded modules and the change they make: one index, one question, two loads."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ozrepro.environment import BASE_PATH
from ozrepro.modulesystem import LoadedModule, ModuleError
from ozrepro.modulesystem.bookkeeping import is_bookkeeping
from ozrepro.modulesystem.change import replay
from ozrepro.modulesystem.differences import differences
from ozrepro.modulesystem.effects import by_module
from ozrepro.modulesystem.probes import MARKS, Moment, change_between
from ozrepro.modulesystem.reading import Reading, loaded
from ozrepro.modulesystem.reads import Reads
from ozrepro.modulesystem.states import USUAL, Explored, Loads, State, explore, refine, with_cases
from ozrepro.modulesystem.texts import MADE, texts_of
from ozrepro.modulesystem.trials import Tried, try_values

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ozrepro.modulesystem import ModuleSystem
    from ozrepro.modulesystem.change import Change
    from ozrepro.modulesystem.index import Index
    from ozrepro.modulesystem.shell import ShellParts
    from ozrepro.modulesystem.texts import Text

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
        reads: what the modulefiles read of a caller.
        lost: the tool's own variables that a replay gives otherwise: its commands inside a session then know less.

    """

    load: tuple[str, ...]
    parents: tuple[str, ...]
    modules: tuple[LoadedModule, ...]
    change: Change
    shell: ShellParts
    messages: str
    reads: Reads = field(default_factory=Reads)
    lost: tuple[str, ...] = ()


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


@dataclass(frozen=True, slots=True)
class Asked:
    """What may be read besides the modules.

    Attributes:
        site: variables of the site that decide, with their values here; None for one that is not set.
        always: those that are locked also where no text is seen to read them.
        files: rc files and hooks, which may read variables as modulefiles do.
        place: where `site-variables` can be written.

    """

    site: Mapping[str, str | None] = field(default_factory=dict)
    always: frozenset[str] = frozenset()
    files: tuple[str, ...] = ()
    place: str = "[tool.ozrepro] of pyproject.toml"


def capture(
    system: ModuleSystem, names: Sequence[str], modulepath: Sequence[str], index: Index, asked: Asked | None = None
) -> Captured:
    """Load the names from clean bases and return what that does. Raises ModuleError.

    Whatever is replaced, swapped, made inactive or answered by another version on the way is an error: exit 0 of the tool
    does not mean that what was asked for is loaded. Nor may what a modulefile reads decide in silence.
    """
    asked, load = asked or Asked(), with_parents(names, index)
    if not system.is_available(load[0], first_base(modulepath)):
        raise ModuleError(
            f"{load[0]} is in the index but cannot be loaded: was it removed just now?",
            hint=f"ozrepro spider --refresh {load[0]}",
        )
    before = [item.file for name in load for item in index.modules.get(name, ())]
    texts = texts_of((*asked.files, *before), system.read_text)
    loads = Loads(system, load, {name: value for name, value in first_base(modulepath).items() if name not in MARKS[0]})
    free = _candidates(texts, asked)
    loads.vary(free)
    on = free & USUAL
    state, needed = _first_state(loads, on, free, asked.place)
    on |= needed
    texts = texts_of((*asked.files, *before, *(module.file for module in state.modules)), system.read_text)
    more = _candidates(texts, asked) - free
    loads.vary(more)
    on, free = on | (more & USUAL), free | more
    loads.known[on] = state
    found = explore(loads, on, free - needed) if free else Explored()
    base = change_between(state.probes, state.modules)
    if found.moves:
        base = replace(base, dynamic=tuple(sorted({*base.dynamic, "MODULEPATH"})))
    change, tried = _tried(loads, on, free, found, base, texts)
    _refuse(found.decides | tried.decides, texts, state.modules, asked.place)
    one = state.probes.one
    effects = by_module(one.effects, state.modules, system, state.probes.first, state.probes.marks[0])
    reads = _reads(state, change, texts, asked, needed | found.needed, (found.decides | tried.decides) & USUAL)
    return Captured(
        load,
        tuple(name for name in load if name not in names),
        tuple(LoadedModule(item.name, item.file, item.name in names) for item in state.modules),
        change,
        replace(one.shell, effects=effects),
        one.messages,
        reads,
        _not_held(state, change),
    )


def _tried(
    loads: Loads, on: frozenset[str], free: frozenset[str], found: Explored, base: Change, texts: Mapping[str, Text]
) -> tuple[Change, Tried]:
    """Return the change with its cases, and what other values of the variables that are read do to it."""
    change = with_cases(base, found.follow)
    tried = try_values(loads, on, free - found.decides, change, texts.values()) if free else Tried()
    if tried.empty:
        refine(loads, on, free - found.decides, found, tried.empty)
        change = with_cases(base, found.follow)
        again = try_values(loads, on, frozenset(found.empty - found.decides), change, ())
        tried.decides |= again.decides | again.empty
    return change, tried


def _not_held(state: State, change: Change) -> tuple[str, ...]:
    """Return the tool's own variables that the first load gives and a replay does not."""
    replayed = replay(change, state.probes.first, state.modules)
    own = {name: value for name, value in state.probes.one.values.items() if is_bookkeeping(name)}
    return tuple(sorted(name for name, value in own.items() if value != replayed.get(name)))


def _candidates(texts: Mapping[str, Text], asked: Asked) -> frozenset[str]:
    """Return the variables that may matter to a load."""
    return frozenset(name for text in texts.values() for name in text.names | text.guessed) - frozenset(asked.site)


def _first_state(loads: Loads, on: frozenset[str], free: frozenset[str], place: str) -> tuple[State, frozenset[str]]:
    """Return the state that all others are compared with, and the variables that had to be set for it. Raises ModuleError."""
    began = time.time()

    def check(one: Reading) -> None:
        _check(loads.load, loaded(one), one, loads.system.inactive(one.values))

    def moment() -> Moment:
        return Moment(os.uname().nodename, began, time.time())

    try:
        return loads.state(on, moment, check), frozenset()
    except ModuleError as error:
        if not free - on:
            raise
        failed = error
    loads.need([on | free])
    if loads.known[on | free] is None:
        names = sorted(free - on)
        more = f"the modulefiles read {', '.join(names)}, which the module tool is not given; what decides can be named"
        failed.what = f"{failed.what}\n    {more}"
        failed.hint = f"{failed.hint}; or add to {place}: {_line(names)}"
        raise failed
    loads.need(on | {name} for name in free - on)
    alone = [name for name in sorted(free - on) if loads.known[on | {name}] is not None]
    needed = frozenset(alone[:1]) or free - on
    return loads.state(on | needed, moment, check), needed


def _line(names: Iterable[str]) -> str:
    return f"site-variables = [{', '.join(f'{chr(34)}{name}{chr(34)}' for name in names)}]"


def _readers(name: str, texts: Mapping[str, Text], modules: Sequence[LoadedModule]) -> str:
    titles = {module.file: module.name for module in modules}
    found = [titles.get(path, path) for path, text in texts.items() if name in text.names | text.guessed]
    return ", ".join(found[:3])


def _refuse(decides: Iterable[str], texts: Mapping[str, Text], modules: Sequence[LoadedModule], place: str) -> None:
    """Raise ModuleError where a variable decides what the modules do and is not locked."""
    names = sorted(set(decides) - USUAL)
    if names:
        lines = [f"{name}, read by {_readers(name, texts, modules)}" for name in names]
        what = "these variables decide what the modules load or set, and are not locked:"
        raise ModuleError("\n    ".join((what, *lines)), hint=f"to lock their values here, add to {place}: {_line(names)}")


def _reads(
    state: State, change: Change, texts: Mapping[str, Text], asked: Asked, needed: frozenset[str] | set[str], personal: set[str]
) -> Reads:
    """Return the record of what is read."""
    named = {name for text in texts.values() for name in text.names | text.guessed}
    made = any(MADE in text.unfollowed for text in texts.values())
    site = {name: value for name, value in asked.site.items() if made or name in asked.always or name in named}
    literal = {name for text in texts.values() for name in text.names}
    followed = {name for cases in change.follow.values() for case in cases for name in case.asks()}
    idle = literal - followed - asked.site.keys() - needed - personal - state.effects.keys()
    titles = {module.file: module.name for module in state.modules}
    unfollowed = {
        titles.get(path, path): (*text.unfollowed, *(f"compares {name}" for name in sorted(personal & text.names)))
        for path, text in texts.items()
    }
    unfollowed = {title: what for title, what in unfollowed.items() if what}
    return Reads(dict(sorted(site.items())), tuple(sorted(needed)), tuple(sorted(idle)), unfollowed)


def recapture(
    system: ModuleSystem, load: Sequence[str], modulepath: Sequence[str], needed: Iterable[str] = ()
) -> tuple[tuple[LoadedModule, ...], Reading, dict[str, str]]:
    """Load once from the clean base; return the modules loaded, all that it gave, and the base: what `differences` compares.

    `needed` are variables that are set besides.

    Raises ModuleError.
    """
    base = {**first_base(modulepath), **dict.fromkeys(needed, "7310000000003")}
    reading = system.load(load, base)
    return loaded(reading), reading, base


def _check(asked: Sequence[str], modules: Sequence[LoadedModule], reading: Reading, inactive: frozenset[str]) -> None:
    """Raise ModuleError, for all names together, where one that was asked for is not loaded in the end."""
    there = {module.name for module in modules}
    lines = [_lost(name, modules, inactive) for name in asked if name not in there]
    if lines:
        hint = f"take out of load = […] what replaces or unloads another, or see: module show {asked[-1]}"
        raise ModuleError("\n    ".join((*lines, *reading.messages.splitlines())), hint=hint)


def _lost(name: str, modules: Sequence[LoadedModule], inactive: frozenset[str]) -> str:
    if name in inactive:
        return f"{name} was asked for and is inactive: a module after it took away the directory it is in"
    short = name.rpartition("/")[0] or name
    other = [
        module.name
        for module in modules
        if module.name == short or module.name.startswith((f"{short}/", f"{name}-")) or module.name.rpartition("/")[0] == name
    ]
    if other:
        return f"{name} was asked for and {', '.join(other)} is loaded instead"
    return f"{name} was asked for and is not loaded in the end: its modulefile ends itself, or a module after it unloads it"
