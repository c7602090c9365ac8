"""Measures a plan: counts first, then the predicted load, then rounds of complete blocks, each told to the caller as it ends.

Whatever ends it early (Ctrl-C, the time budget, a full disk under a fresh copy) leaves a result with what there is and why.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ozrepro.errors import CommandFailed, OzreproError, UsageError
from ozrepro.frontends.bench import counting
from ozrepro.frontends.bench.launch import not_started
from ozrepro.frontends.bench.lustre.profile import QUIET
from ozrepro.frontends.bench.plan import budget_words, check_place, order, predict
from ozrepro.frontends.bench.ranks import launch_words
from ozrepro.frontends.bench.result import Counted, Replay, Result, Row

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ozrepro.frontends.bench.cache_states import State
    from ozrepro.frontends.bench.candidate import Candidate
    from ozrepro.frontends.bench.host import Place
    from ozrepro.frontends.bench.launch import Started, Starter
    from ozrepro.frontends.bench.lustre.profile import Profile
    from ozrepro.frontends.bench.plan import Plan
    from ozrepro.frontends.bench.workload import Workload

    OnRound = Callable[[Result], None]
    Say = Callable[[str], None]
    _Requests = dict[tuple[str, str], dict[str, int]]

RUNNING = "still measuring"
INTERRUPTED = "interrupted"
PLANNED = ("rounds", "cold_rounds", "warmups", "budget_seconds")
_LEAST = 1.0
"""Seconds that a start is given even where the budget is spent."""

_SHARE = 0.5
"""Of what is left of the budget, how much a start may take that is not timed: what hangs leaves some for the others."""


def _nothing() -> None:
    """Stand for a file system that does not go away."""


@dataclass(frozen=True, slots=True)
class Setting:
    """All that measuring needs besides the plan and the candidates.

    Attributes:
        about: the result to fill: session, lock, host, file system, refused methods.
        states: what brings about each state of the plan.
        counts: whether runs under strace are made.
        profiles: of the cost model, for the replay; none for no replay.
        points: nodes and ranks of the replay.
        client: of whose client the requests are predicted; the first of `profiles` without.
        check: raises OzreproError where the file system under test has gone; asked after a failure, which is then no method's.
        counters_root: the folder that proc/ is in, with the counters of the node's Lustre client.

    """

    starter: Starter
    place: Place
    about: Result
    states: Mapping[str, State]
    counts: bool = True
    profiles: tuple[Profile, ...] = ()
    points: tuple[tuple[int, int], ...] = counting.POINTS
    client: Profile | None = None
    check: Callable[[], object] = _nothing
    counters_root: Path = Path("/")

    @property
    def predicted(self) -> Profile:
        """The profile whose client the requests are predicted of."""
        return self.client or next(iter(self.profiles), QUIET)


def measure(plan: Plan, candidates: Sequence[Candidate], setting: Setting, on_round: OnRound, say: Say) -> Result:
    """Return what was found, also when it is not all; `on_round` is given all that is known after every round.

    Raises UsageError for a plan without candidates, two of one name, or more load than this place may have. A program that fails
    is a row with its status, and is not started again where it never went well.
    """
    names = [candidate.name for candidate in candidates]
    if not names or len(set(names)) != len(names):
        raise UsageError(
            "there is nothing to measure" if not names else f"two candidates are called {max(names, key=names.count)}"
        )
    check_place(plan, setting.place)
    run = _Run(plan, tuple(candidates), setting, on_round, say)
    try:
        why = run.all()
    except KeyboardInterrupt:
        why = INTERRUPTED
    except UsageError:
        raise
    except (OSError, OzreproError) as error:
        why, run.failed = f"it could not go on: {error}", True
        say(why)
    finally:
        setting.starter.close()
    result = run.result(why)
    on_round(result)
    return result


class _Spent(Exception):
    """The time budget ended a start."""


@dataclass(slots=True)
class _Run:
    """What has been found so far."""

    plan: Plan
    candidates: tuple[Candidate, ...]
    setting: Setting
    on_round: OnRound
    say: Say
    began: float = field(default_factory=time.monotonic)
    day: str = field(default_factory=lambda: time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()))
    rows: list[Row] = field(default_factory=list)
    order: list[tuple[str, ...]] = field(default_factory=list)
    counted: list[Counted] = field(default_factory=list)
    replays: list[Replay] = field(default_factory=list)
    notes: dict[str, None] = field(default_factory=dict)
    good: set[tuple[str, str]] = field(default_factory=set)
    bad: set[tuple[str, str]] = field(default_factory=set)
    failed: bool = False

    @property
    def end(self) -> float:
        return self.began + self.plan.budget_seconds

    def result(self, why: str) -> Result:
        plan, about = self.plan, self.setting.about
        states = {word: {"how": state.how, "leaves": state.leaves} for word, state in self.setting.states.items()}
        return replace(
            about,
            plan={name: getattr(plan, name) for name in (*PLANNED, *(("fresh_nodes",) if plan.fresh_nodes else ()))},
            seed=plan.seed,
            candidates=tuple(candidate.about() for candidate in self.candidates),
            order=tuple(self.order),
            rows=tuple(self.rows),
            counts=tuple(self.counted),
            replay=tuple(self.replays),
            states={word: states[word] for word in plan.states},
            notes=(*about.notes, *self.notes),
            complete=not why,
            why=why,
            failed=self.failed,
            began=self.day,
            scripts={workload.name: workload.digest for workload in plan.workloads if workload.digest},
        )

    def all(self) -> str:
        """Do all of it; return why it is not complete, or ""."""
        cold, warm = self._count()
        self.on_round(self.result(RUNNING))
        images = {item.name: item.is_image or bool(item.file) for item in self.candidates}
        load = predict(self.plan, images, cold, warm, self.setting.predicted.open_lock_after)
        self.say(load.words())
        check_place(self.plan, self.setting.place, load)
        reasons = []
        for number, state in enumerate(self.plan.states):
            # Each state has an even share of the time that is left, so that a long warm part leaves some for the cold one.
            now = time.monotonic()
            share = now + max(0.0, self.end - now) / (len(self.plan.states) - number)
            reasons.append(self._state(state, share))
        return "; ".join(filter(None, reasons))

    def _count(self) -> tuple[_Requests, _Requests]:
        """Make the runs that count; return requests to the metadata server by kind, cold and warm."""
        cold: _Requests = {}
        warm: _Requests = {}
        starter = self.setting.starter
        reason = (
            counting.why_not(starter.caller, starter.cwd)
            if self.setting.counts
            else "no system calls were counted: not asked for"
        )
        if reason:
            self.notes[reason] = None
        for workload in self.plan.workloads:
            for candidate in self.candidates:
                if time.monotonic() > self.end:
                    self.notes["the time budget was spent before everything was counted"] = None
                    return cold, warm
                if not self._warm_up(candidate, workload):  # it also compiles bytecode, which would be counted
                    continue
                if not reason:
                    self._count_one(candidate, workload, cold, warm)
        return cold, warm

    def _count_one(self, candidate: Candidate, workload: Workload, cold: _Requests, warm: _Requests) -> None:
        key = (candidate.name, workload.name)
        try:
            limit = self._limit(_SHARE)  # strace waits for all that a program leaves running
            setting = self.setting
            counts = counting.count(
                setting.starter, candidate, workload, limit, profile=setting.predicted, counters_root=setting.counters_root
            )
        except CommandFailed as error:
            self.setting.check()
            what = f"{candidate.name}, {workload.name}"
            reason = error.what.splitlines()[-1].strip()
            self.notes[f"nothing was counted of {what}, so that the model says nothing of many nodes: {reason}"] = None
            return
        cold[key], warm[key] = counts.metadata
        self.counted += counts.rows
        self.replays += counting.replays(candidate, counts, self.setting.profiles, self.setting.points)

    def _warm_up(self, candidate: Candidate, workload: Workload) -> bool:
        """Start a workload once, discarded; a crash is recorded as the first round's. Return whether it went well."""
        key = (candidate.name, workload.name)
        if key in self.bad:
            return False
        try:
            started = self._start(candidate, workload, 1)
        except _Spent:
            return False
        if not started.ready:
            self.setting.check()
            self._keep(started, candidate, workload, self.plan.states[0], 1, 1, {})
        else:
            self.good.add(key)
        return bool(started.ready)

    def _limit(self, share: float = 1.0) -> float:
        """Return the seconds that a start may take: a share of what is left of the budget, but some at least."""
        return min(self.plan.timeout_seconds, max(share * (self.end - time.monotonic()), _LEAST))

    def _start(self, candidate: Candidate, workload: Workload, ranks: int) -> Started:
        limit = self._limit()
        launch = launch_words(self.setting.place, ranks, candidate.node)
        try:
            started = self.setting.starter.start(candidate, workload, ranks=ranks, launch=launch, timeout=limit)
        except CommandFailed as error:
            return not_started(error.what)
        if started.late and limit < self.plan.timeout_seconds:
            raise _Spent
        return started

    def _state(self, state: str, share: float) -> str:
        """Measure all rounds of a state; return why there are fewer, or ""."""
        plan, wanted = self.plan, self.plan.rounds_of(state)
        cells = [(workload, ranks) for workload in plan.workloads for ranks in plan.ranks]
        names = [candidate.name for candidate in self.candidates]
        orders = {cell: order(f"{plan.seed} {state} {cell[0].name} {cell[1]}", names, wanted) for cell in cells}
        if state == "warm":
            for _ in range(plan.warmups):
                for workload in plan.workloads:
                    for candidate in self.candidates:
                        self._warm_up(candidate, workload)
        longest = 0.0
        for number in range(1, wanted + 1):
            began = time.monotonic()
            if began + longest > share and (number > 1 or began > self.end):
                return budget_words(number - 1, wanted, state, plan.budget_seconds)
            try:
                for cell in cells:
                    self._block(orders[cell][number - 1], *cell, state, number)
            except _Spent:
                return budget_words(number - 1, wanted, state, plan.budget_seconds)
            except (OSError, OzreproError) as error:
                self.failed = True
                self.notes[f"{state} could not be brought about: {error}"] = None
                return f"{state} could not be brought about: {error}"
            longest = max(longest, time.monotonic() - began)
            self.on_round(self.result(RUNNING))
        return ""

    def _block(self, names: tuple[str, ...], workload: Workload, ranks: int, state: str, number: int) -> None:
        """Start every candidate once, in the order drawn."""
        self.order.append(names)
        by_name = {candidate.name: candidate for candidate in self.candidates}
        for name in names:
            if (name, workload.name) in self.bad:
                continue
            way = self.setting.states[state]
            prepared = way.prepare(by_name[name])
            try:
                started = self._start(prepared, workload, ranks)
            except BaseException:
                with suppress(OSError, OzreproError):
                    way.after(prepared)
                raise
            asked = way.after(prepared)
            self._keep(started, prepared, workload, state, ranks, number, asked)

    def _keep(
        self,
        started: Started,
        candidate: Candidate,
        workload: Workload,
        state: str,
        ranks: int,
        number: int,
        asked: Mapping[str, int],
    ) -> None:
        key = (candidate.name, workload.name)
        if started.ready:
            self.good.add(key)
        elif key not in self.good:
            self.bad.add(key)
            self.say(f"{candidate.name}, {workload.name}: ended with {started.status}, and is not started again: {started.error}")
        if not started.ready:
            self.notes[f"{candidate.name}, {workload.name}: ended with {started.status}: {started.error}"] = None
        row = Row(
            candidate=candidate.name,
            workload=workload.name,
            state=state,
            ranks=ranks,
            round=number,
            phases=started.phases,
            wall=started.wall,
            user=started.user,
            system=started.system,
            rss=started.rss,
            status=started.status,
            ready=started.ready,
            faults=started.faults,
            blocks=started.blocks,
            error=started.error,
            requests=asked,
            node=candidate.node,
        )
        self.rows.append(row)
