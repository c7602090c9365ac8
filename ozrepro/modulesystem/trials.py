"""Loads with telling values: whether a replay gives what a load gives for values that marks do not show (see `states`)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ozrepro.modulesystem import ModuleError
from ozrepro.modulesystem.bookkeeping import is_bookkeeping
from ozrepro.modulesystem.change import Change, replay
from ozrepro.modulesystem.reading import loaded
from ozrepro.modulesystem.states import AT_ONCE, USUAL

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ozrepro.modulesystem import LoadedModule
    from ozrepro.modulesystem.states import Loads
    from ozrepro.modulesystem.texts import Text

_MOST_LITERALS = 24


@dataclass(slots=True)
class Tried:
    """What telling values showed: names whose value decides more, and those whose empty value is not just an empty text."""

    decides: set[str] = field(default_factory=set)
    empty: set[str] = field(default_factory=set)


def try_values(loads: Loads, on: frozenset[str], names: frozenset[str], change: Change, texts: Iterable[Text]) -> Tried:
    """Load with values that tell: empty, a path, small numbers, and what the modulefiles compare values with."""
    found, free = Tried(), names - USUAL
    base = loads.known[on]
    assert base is not None
    generic = [dict.fromkeys(free, value) for value in ("", "1", "0")] + [{name: f"/Oz-Root/{name}.d" for name in free}]
    literal = [dict.fromkeys(text.names & names, word) for text in texts for word in text.literals if text.names & names]
    wanted = [values for values in (*generic, *literal[:_MOST_LITERALS]) if values]
    trial = _Trial(loads, loads.first(on), change, base.modules)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(trial.holds, wanted))
    for values, holds in zip(wanted, answers, strict=True):
        if holds:
            continue
        # One of an empty value or of a path is no reason to refuse: the modulefile refuses it wherever it is loaded.
        forgiving = not all(values.values()) or any("/Oz-Root/" in value for value in values.values())
        wrong = set()
        for name in values:
            alone = {name: values[name]}
            answer = trial.holds(alone) if len(values) > 1 else holds
            if (answer is None and forgiving) or answer:
                continue
            wrong.add(name)
            (found.decides if values[name] else found.empty).add(name)
        if not wrong and holds is False:
            found.decides |= set(values)
    return found


@dataclass(frozen=True, slots=True)
class _Trial:
    """Compares a load with the replay of a change."""

    loads: Loads
    first: Mapping[str, str]
    change: Change
    modules: tuple[LoadedModule, ...]

    def holds(self, values: Mapping[str, str]) -> bool | None:
        """Say whether a load with these values gives what a replay gives, None where it fails."""
        base = {**self.first, **values}
        try:
            reading = self.loads.system.load(self.loads.load, base)
        except ModuleError:
            return None
        if [module.file for module in loaded(reading)] != [module.file for module in self.modules]:
            return False
        real = {name: value for name, value in {**base, **reading.values}.items() if name not in reading.deleted}
        return self._plain(real) == self._plain(replay(self.change, base, self.modules))

    def _plain(self, variables: Mapping[str, str]) -> dict[str, str]:
        given = self.first.keys() - self.change.follow.keys()
        left_out = {*given, *self.change.dynamic}
        named = {name: value for name, value in variables.items() if name not in left_out and not is_bookkeeping(name)}
        return {name: value.replace("//", "/") for name, value in named.items()}
