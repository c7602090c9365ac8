"""What a caller's variables change in a load, measured: loads with each of the variables set, and not, and with telling values.

Two loads show what a load does in one state (see `probes`). The states differ in which variables are set; their values are marks,
so that a value which is copied is seen. Each variable that loading changes gets a case for each state of those that matter to it.
A state is the set of the names that have marks; one with `=` before it is set and empty.
"""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ozrepro.modulesystem import ModuleError
from ozrepro.modulesystem.following import Case
from ozrepro.modulesystem.probes import JOB, MARKS, Moment, Probes, second_base
from ozrepro.modulesystem.reading import loaded
from ozrepro.modulesystem.tools import arithmetic_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ozrepro.modulesystem import LoadedModule, ModuleSystem
    from ozrepro.modulesystem.change import Change
    from ozrepro.modulesystem.reading import Reading

USUAL = frozenset(("USER", "LOGNAME"))
"""What every caller has, as a rule; HOME is never missing."""

MOST_TOGETHER = 4
"""Variables that may matter to one variable at once: each doubles the loads."""

_EMPTY = "="
_MOST_STATES = 27
_FEW = 8
"""Up to so many variables are set one by one also where setting all of them changes nothing, since one may undo another."""

AT_ONCE = 2
"""Loads that run beside each other."""


@dataclass(frozen=True, slots=True)
class State:
    """What loading does where some variables are set: its effects, what was left out, the files loaded, and MODULEPATH."""

    probes: Probes
    modules: tuple[LoadedModule, ...]
    effects: Mapping[str, Case]
    dynamic: frozenset[str]

    @property
    def files(self) -> tuple[str, ...]:
        """The modulefiles that are loaded in the end, in order."""
        return tuple(module.file for module in self.modules)

    def of(self, name: str) -> tuple[Case, bool]:
        """Return what loading does to a variable, and whether something of it was left out."""
        return self.effects.get(name, Case()), name in self.dynamic


@dataclass(frozen=True, slots=True)
class Loads:
    """Loads of the same names, each from a base of its own.

    Attributes:
        system: the module tool.
        load: the names.
        base: what all bases have: PATH, the module directories, the site's variables.
        marks: two values of each variable that is varied, and a third that is a number as the first is.
        known: the states that were loaded already, by the names that are set.

    """

    system: ModuleSystem
    load: tuple[str, ...]
    base: Mapping[str, str]
    marks: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    known: dict[frozenset[str], State | None] = field(default_factory=dict)

    def vary(self, names: Iterable[str]) -> None:
        """Make marks for variables."""
        for name in sorted(names):
            number = len(self.marks)
            if name in USUAL:
                self.marks.setdefault(name, (MARKS[0][name], MARKS[1][name], MARKS[1][name]))
            # Numbers, since modulefiles may do sums with what schedulers set; no number is part of another.
            more = str(2_480_000_000_011 + 3_000_017 * number)
            self.marks.setdefault(name, (str(7_310_000_000_003 + 1_000_003 * number), f"Oz-{number:03}-Rp", more))

    def _marks(self, names: frozenset[str], which: int) -> dict[str, str]:
        always = {name: mark for name, mark in MARKS[min(which, 1)].items() if name not in self.marks}
        given = {name: self.marks[name][which] for name in sorted(names) if not name.startswith(_EMPTY)}
        return {**always, **given, **{name[1:]: "" for name in names if name.startswith(_EMPTY)}}

    def first(self, names: frozenset[str]) -> dict[str, str]:
        """Return the base of the first load in a state."""
        return {**self.base, **self._marks(names, 0)}

    def state(
        self,
        names: frozenset[str],
        moment: Callable[[], Moment] = Moment,
        beside: Callable[[Reading], None] = lambda reading: None,
    ) -> State:
        """Load twice with these variables set. `beside` gets what came of the first. Raises ModuleError."""
        first = self.first(names)
        one = self.system.load(self.load, first)
        beside(one)
        try:
            second, two = self._second(names, first, one, 1)
        except ModuleError:
            if not names - USUAL:
                raise
            second, two = self._second(names, first, one, 2)  # perhaps it does sums with a value
        given = {name: mark for name, mark in self._marks(names, 0).items() if mark}
        marks = (given, {name: second[name] for name in given})
        rules = arithmetic_of(f"{self.system.kind} {self.system.version()}")
        probes = Probes(first, one, second, two, marks, moment(), rules)
        effects, dynamic = probes.effects()
        modules = loaded(one)
        if loaded(two) != modules:
            raise ModuleError(_unlike(self.load, modules, loaded(two)), hint=f"module show {self.load[-1]}")
        return State(probes, modules, effects, frozenset(dynamic))

    def _second(
        self, names: frozenset[str], first: Mapping[str, str], one: Reading, which: int
    ) -> tuple[dict[str, str], Reading]:
        more = {name: value for name, value in JOB.items() if name not in self.marks}
        second = second_base(first, one, self._marks(names, which), more)
        return second, self.system.load(self.load, second)

    def need(self, states: Iterable[frozenset[str]]) -> None:
        """Load in each of the states that is not known yet; one that fails is None."""
        missing = [names for names in dict.fromkeys(states) if names not in self.known]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            self.known.update(zip(missing, pool.map(self._try, missing), strict=True))

    def _try(self, names: frozenset[str]) -> State | None:
        try:
            return self.state(names)
        except ModuleError:
            return None


def _unlike(load: Sequence[str], modules: Sequence[LoadedModule], others: Sequence[LoadedModule]) -> str:
    names, files = ({module.name: module.file for module in found} for found in (modules, others))
    unlike = sorted(name for name in names.keys() | files.keys() if names.get(name) != files.get(name))
    return (
        f"two loads of {' '.join(load)} gave different modules ({', '.join(unlike) or 'another order'}): a modulefile asks for "
        "the host, the home, the job or a variable that is set"
    )


@dataclass(slots=True)
class Explored:
    """What was found: variables that follow the caller's by cases, and names of the caller's by what they do.

    `asked` are the names that each of these follows, `empty` those for which being empty is a state of its own;
    `decides` are those whose value decides more than a copy of it, `needed` those without which loading fails.
    """

    follow: dict[str, tuple[Case, ...]] = field(default_factory=dict)
    asked: dict[str, frozenset[str]] = field(default_factory=dict)
    empty: set[str] = field(default_factory=set)
    decides: set[str] = field(default_factory=set)
    needed: set[str] = field(default_factory=set)
    moves: bool = False
    """Whether MODULEPATH follows the caller."""


def explore(loads: Loads, on: frozenset[str], names: frozenset[str]) -> Explored:
    """Return what setting and unsetting `names` changes; `on` are those that are set in the state that is known to load."""
    found = Explored()
    base = loads.known[on]
    assert base is not None, "the state that was loaded first"
    loads.need([on ^ names])
    whole = loads.known[on ^ names]
    if len(names) > _FEW and not names & on and whole is not None and _alike(base, whole):
        return found
    loads.need(on ^ {name} for name in names)
    single = {name: loads.known[on ^ {name}] for name in names}
    for name, state in sorted(single.items()):
        if state is None or state.files != base.files:
            (found.needed if name in on else found.decides).add(name)
        else:
            found.moves |= _modulepath(state) != _modulepath(base)
    live = names - found.decides - found.needed
    loads.need([on ^ live])
    together = loads.known[on ^ live]
    if together is None or together.files != base.files:
        found.decides |= live - on
        return found
    states = {name: state for name, state in single.items() if state is not None and name in live}
    changed = {key for state in (*states.values(), together) for key in {*state.effects, *base.effects, *state.dynamic}}
    for target in sorted(changed - base.dynamic):
        sources = {name for name, state in states.items() if state.of(target) != base.of(target)}
        sources |= together.of(target)[0].refers_to() & live
        if sources or together.of(target) != base.of(target):
            _settle(loads, on, target, frozenset(sources), live, found)
    return found


def _alike(one: State, other: State) -> bool:
    same = (one.effects, one.dynamic, one.files) == (other.effects, other.dynamic, other.files)
    return same and _modulepath(one) == _modulepath(other)


def _modulepath(state: State) -> str:
    return state.probes.one.values.get("MODULEPATH", "")


def _settle(
    loads: Loads, on: frozenset[str], target: str, sources: frozenset[str], live: frozenset[str], found: Explored
) -> None:
    """Find the cases of one variable, or the names that decide it."""
    asked, states = sources, _states(loads, on, sources, found)
    together, most = loads.known[on ^ live], loads.known.get(on ^ sources)
    if states and most is not None and together is not None and together.of(target) != most.of(target):
        asked, states = live, _states(loads, on, live, found)  # some of them matter only together
    cases: list[Case] = []
    for tokens, state in states.items():
        if state is None or target in state.dynamic:
            found.decides |= {token.removeprefix(_EMPTY) for token in tokens ^ (on & asked)}
            return
        conditions = tuple(sorted(_condition(token, found.empty) for token in tokens))
        cases.append(replace(state.of(target)[0], names=conditions))
    if cases:
        found.asked[target] = asked
        found.follow[target] = _pruned(sorted(cases, key=_fullest))


def _condition(token: str, empty: set[str]) -> str:
    return token.removeprefix(_EMPTY) if token not in empty else f"{token}:"


def _fullest(case: Case) -> tuple[int, int, tuple[str, ...]]:
    return -len(case.names), -sum(name.endswith(":") for name in case.names), case.names


def _states(loads: Loads, on: frozenset[str], asked: frozenset[str], found: Explored) -> dict[frozenset[str], State | None]:
    """Return the states of some variables, those next to the known one first; none where they are too many."""
    options = [("", name, *([_EMPTY + name] if name in found.empty else [])) for name in sorted(asked)]
    chosen = [frozenset(filter(None, tokens)) for tokens in itertools.product(*options)] if len(asked) <= MOST_TOGETHER else []
    if not chosen or len(chosen) > _MOST_STATES:
        found.decides |= asked - on
        return {}
    chosen.sort(key=lambda tokens: (len(tokens ^ (on & asked)), sorted(tokens)))
    loads.need((on - asked) | tokens for tokens in chosen)
    return {tokens: loads.known[(on - asked) | tokens] for tokens in chosen}


def refine(loads: Loads, on: frozenset[str], live: frozenset[str], found: Explored, empty: Iterable[str]) -> None:
    """Add the cases of variables for which being empty is a state of its own."""
    base = loads.known[on]
    assert base is not None, "the state that was loaded first"
    for name in sorted(empty):
        tokens = (on - {name}) | {_EMPTY + name}
        loads.need([tokens])
        state = loads.known[tokens]
        if state is None:
            continue  # it does not load with an empty value, here as anywhere
        if state.files != base.files:
            found.decides.add(name)
            continue
        found.empty.add(name)
        for target in {*state.effects, *base.effects} - base.dynamic:
            if state.of(target) != base.of(target):
                found.asked[target] = found.asked.get(target, frozenset()) | {name}
    for target, asked in sorted(found.asked.items()):
        if asked & found.empty:
            _settle(loads, on, target, asked, asked, found)


def _pruned(cases: Sequence[Case]) -> tuple[Case, ...]:
    """Return the cases, the fullest first, without those whose effect a later one has that would be taken then."""
    kept: list[Case] = []
    for case in reversed(cases):
        implied = {*case.names, *(name.removesuffix(":") for name in case.names)}
        later = next((other for other in kept if implied.issuperset(other.names)), Case())
        if later.effect != case.effect:
            kept.insert(0, case)
    return tuple(kept)


def with_cases(base: Change, follow: Mapping[str, tuple[Case, ...]]) -> Change:
    """Return a change in which some variables have cases."""
    return replace(
        base,
        variables={name: value for name, value in base.variables.items() if name not in follow},
        paths={name: path for name, path in base.paths.items() if name not in follow},
        removed=tuple(name for name in base.removed if name not in follow),
        follow={**base.follow, **follow},
    )
