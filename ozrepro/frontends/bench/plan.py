"""What is going to be measured, in which order, how much load that makes, and whether this is the place for it."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ozrepro.errors import UsageError
from ozrepro.frontends.bench.lustre.model import of_starts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ozrepro.frontends.bench.host import Place
    from ozrepro.frontends.bench.nodes import Nodes
    from ozrepro.frontends.bench.workload import Workload

STATES = ("warm", "cold-client")
LOGIN_RANKS = 4
"""The most processes at once that a login node is asked for: others work there too."""

LOGIN_REQUESTS = 200_000
"""The most requests to the metadata server that a run from a login node may make in all: at the 30,000 operations a second that
one job of 50 ranks was seen to make (SYMFLUENCE #21), seven seconds of a storm."""

ASSUMED_TREE, ASSUMED_EMPTY, ASSUMED_IMAGE = 800, 150, 10
"""Requests of one cold start where nothing could be counted, rounded up. Measured on an emulated Lustre: `import numpy` from a
directory tree 785, from an image 4; a Python that imports nothing makes about 150 calls with a path."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured, and how often.

    Attributes:
        states: words of STATES, in order.
        ranks: numbers of processes at once.
        rounds: rounds in the warm state.
        cold_rounds: rounds in each other one.
        warmups: starts of each workload that are discarded before warm rounds; with the three that count requests, more than the
            five after which a client of Lustre keeps a file open.
        budget_seconds: after which no new block is begun.
        seed: of the order and of every bootstrap.
        timeout_seconds: after which one start is killed.
        nodes: of the job, where a cold client is a node on which a candidate was not started yet; None for another way to one.

    """

    workloads: tuple[Workload, ...]
    states: tuple[str, ...] = ("warm",)
    ranks: tuple[int, ...] = (1,)
    rounds: int = 15
    cold_rounds: int = 9
    warmups: int = 3
    budget_seconds: float = 300.0
    seed: int = 0
    timeout_seconds: float = 600.0
    nodes: Nodes | None = None

    def __post_init__(self) -> None:
        wrong = [state for state in self.states if state not in STATES]
        if wrong or not self.states:
            raise UsageError(f"unknown state {wrong[0]!r}" if wrong else "no state given", hint=f"one of: {', '.join(STATES)}")
        if not self.workloads:
            raise UsageError("there is nothing to start", hint="--workload empty")
        names = [workload.name for workload in self.workloads]
        twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
        if twice:
            raise UsageError(f"the workload {twice[0]} is named twice", hint="--workload with each one once")
        if not self.ranks or min(self.ranks) < 1 or max(self.ranks) > 100_000:
            raise UsageError("--ranks must be from 1 to 100,000", hint="--ranks 1,2,4")
        if self.rounds < 1 or self.cold_rounds < 1 or self.warmups < 0:
            raise UsageError("--rounds must be at least 1", hint="--rounds 15")
        if not self.budget_seconds > 0 or not self.timeout_seconds > 0:
            raise UsageError("--budget must be more than 0 seconds", hint="--budget 300")
        if 0 < self.fresh_nodes < self.kinds:
            raise UsageError(
                f"a round has {self.kinds} kinds of start, workloads times --ranks, and each takes a node of its own: "
                f"{_nodes(self.fresh_nodes)} for it",
                hint=f"salloc --nodes={self.kinds + 1}, or fewer workloads and ranks",
            )

    @property
    def fresh_nodes(self) -> int:
        """How many nodes of the job are fresh, 0 where it does not matter."""
        return len(self.nodes.fresh) if self.nodes else 0

    @property
    def kinds(self) -> int:
        """How many kinds of start a round has for each candidate: workloads times numbers of ranks."""
        return len(self.workloads) * len(self.ranks)

    def rounds_of(self, state: str) -> int:
        """Return how many rounds a state has."""
        if state == "cold-client" and self.fresh_nodes:
            return min(self.cold_rounds, self.fresh_nodes // self.kinds)
        return self.rounds if state == "warm" else self.cold_rounds

    def nodes_drawn(self) -> tuple[str, ...]:
        """Return the fresh nodes in the order in which they are to be taken, drawn from the seed."""
        return order(f"{self.seed} nodes", self.nodes.fresh, 1)[0] if self.nodes else ()

    def starts(self, state: str) -> int:
        """Return how many processes of each candidate one state and workload starts, warm-ups included."""
        alone = self.warmups if state == "warm" else 0
        return alone + self.rounds_of(state) * sum(self.ranks)


def fresh_words(plan: Plan) -> str:
    """Return what the fresh nodes of a plan are enough for, as one line that is told before anything starts."""
    rounds, wanted = plan.rounds_of("cold-client"), plan.cold_rounds
    kinds = f"{plan.kinds} kind{'s' if plan.kinds > 1 else ''} of start"
    give = "give" if plan.fresh_nodes > 1 else "gives"
    text = f"cold-client: {_nodes(plan.fresh_nodes)} {give} {rounds} round{'s' if rounds > 1 else ''} of {kinds}"
    return f"{text}; {wanted} rounds would need a job of {wanted * plan.kinds + 1} nodes" if rounds < wanted else text


def time_words(plan: Plan, candidates: int, seconds: float) -> str:
    """Return about how long a plan takes, as one line told before it begins.

    `seconds` is what one start of each of the `candidates` took, one after another. The processes of a rank count start at once;
    the three starts that count requests come on top of the warm-ups.
    """
    rounds = sum(plan.rounds_of(state) for state in plan.states)
    alone = (plan.warmups if "warm" in plan.states else 0) + 3
    starts = rounds * plan.kinds + alone * len(plan.workloads)
    about = min(max(seconds * starts, 1.0), plan.budget_seconds)
    what = f"{candidates} environment{'s' if candidates > 1 else ''}, {starts} starts each"
    return f"{what}: about {about:.0f} s, no new round after {plan.budget_seconds:g} s (--budget)"


def _nodes(count: int) -> str:
    return f"{count} fresh node{'s' if count > 1 else ''}"


def order(seed: int | str, names: Sequence[str], rounds: int) -> tuple[tuple[str, ...], ...]:
    """Return randomised complete blocks: every name once in each round, in an order drawn from `seed`.

    The draw is Fisher and Yates' over the sorted names, so that neither the order of candidates nor Python's hash matters.
    """
    chance = random.Random(f"ozrepro {seed}")  # noqa: S311 - repeatable on purpose
    blocks = []
    for _ in range(rounds):
        block = sorted(names)
        chance.shuffle(block)
        blocks.append(tuple(block))
    return tuple(blocks)


@dataclass(frozen=True, slots=True)
class Load:
    """What a plan asks of the machine: processes, requests to the metadata server by candidate, the most processes at once.

    `assumed` names the candidates for which nothing was counted.
    """

    processes: int
    requests: Mapping[str, int]
    ranks: int
    assumed: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """Requests of all candidates."""
        return sum(self.requests.values())

    def words(self) -> str:
        """Return the load as one line that is printed before it is made."""
        each = ", ".join(f"{name} {count:,}" for name, count in self.requests.items())
        many = f"{self.processes:,} process{'es' if self.processes > 1 else ''}"
        text = f"{many}, at most {self.ranks} at once; on Lustre, requests to its metadata server: {each}"
        return f"{text} (assumed for {', '.join(self.assumed)}: nothing was counted)" if self.assumed else text


def predict(
    plan: Plan,
    images: Mapping[str, bool],
    cold: Mapping[tuple[str, str], Mapping[str, int]],
    warm: Mapping[tuple[str, str], Mapping[str, int]],
    open_lock_after: int,
) -> Load:
    """Return the load that a plan will make.

    `images` says of each candidate whether it is an image, or a file that is mounted. `cold` and `warm` have the requests to the
    metadata server of one start by their kind, of each candidate and workload, where they are known: the first start on a node,
    and the next one.
    Processes on one node share its cache, so of several ranks all but one are warm, and from open number `open_lock_after` of a
    file on none is asked for. A fresh copy also makes every file, which is not counted here.
    """
    requests: dict[str, int] = {}
    assumed: dict[str, None] = {}
    processes = 0
    for name, is_image in images.items():
        total = 0
        for workload in plan.workloads:
            key = (name, workload.name)
            if key not in cold:
                assumed[name] = None
            first = cold.get(key, {"lookup": _assumed(workload, is_image=is_image)})
            later = warm.get(key, first)
            for state in plan.states:
                processes += plan.starts(state)
                # A client that is cold each time, or one that makes all the starts of the state.
                series = plan.ranks * plan.rounds_of(state) if state == "cold-client" else (plan.starts(state),)
                total += sum(sum(of_starts(first, later, starts, open_lock_after).values()) for starts in series)
        requests[name] = total
    return Load(processes, requests, max(plan.ranks), tuple(assumed))


def _assumed(workload: Workload, *, is_image: bool) -> int:
    if is_image:
        return ASSUMED_IMAGE
    return ASSUMED_TREE if workload.statements or workload.script else ASSUMED_EMPTY


def check_place(plan: Plan, place: Place, load: Load | None = None) -> None:
    """Raise UsageError for a run that is too large for a login node. `load` is asked for where it is known."""
    if not place.is_login:
        return
    inside = "inside a job: salloc, or sbatch with the same command"
    if max(plan.ranks) > LOGIN_RANKS:
        raise UsageError(
            f"{max(plan.ranks)} processes at once are too many for a login node, where others work: at most {LOGIN_RANKS}",
            hint=inside,
        )
    if load is not None and load.total > LOGIN_REQUESTS:
        raise UsageError(
            f"this run would send about {load.total:,} requests to the metadata server, too many from a login node: "
            f"at most {LOGIN_REQUESTS:,}",
            hint=f"fewer --rounds or workloads, or {inside}",
        )


def budget_words(done: int, wanted: int, state: str, budget: float) -> str:
    """Return why a state has fewer rounds than planned."""
    return f"the time budget of {budget:g} s ended the {state} rounds after {done} of {wanted}"
