"""Results of the size that real runs have, made by a seeded generator: the numbers are invented, and stand for no measurement."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace

from ozrepro.frontends.bench.plan import order
from ozrepro.frontends.bench.result import About, Counted, Replay, Result, Row

SPEED: Mapping[str, Mapping[str, float]] = {
    "modules": {"cold-client": 1.8, "warm": 0.30},
    "conda": {"cold-client": 2.1, "warm": 0.31},
    "container": {"cold-client": 0.8, "warm": 0.33},
}
"""Seconds of an invented start: what the noise is put around."""

FILES = {"modules": 15_234, "conda": 41_080, "container": 1}
TREE = {"lookup": 359, "miss": 77, "open": 171, "close": 171, "readdir": 19, "glimpse": 320, "enqueue": 171, "read": 189}
IMAGE = {"lookup": 2, "open": 1, "close": 1, "glimpse": 1, "enqueue": 1, "read": 38}


def made(
    *,
    speed: Mapping[str, Mapping[str, float]] = SPEED,
    workloads: tuple[str, ...] = ("imports",),
    ranks: tuple[int, ...] = (1, 4),
    rounds: int = 15,
    seed: int = 7,
    **changes: object,
) -> Result:
    """Return a whole result of these candidates: every state of `speed`, every workload and number of ranks, `rounds` rounds."""
    chance = random.Random(seed)
    names = tuple(speed)
    rows = [
        _row(chance, name, (workload, state, count), number, speed[name][state])
        for workload in workloads
        for state in dict.fromkeys(state for table in speed.values() for state in table)
        for count in ranks
        for number, block in enumerate(order(seed, names, rounds), 1)
        for name in block
    ]
    requests = {name: IMAGE if name == "container" else TREE for name in names}
    result = Result(
        session="analysis",
        lock="0123456789abcdef" * 4,
        host={"name": "node", "cpus": 32, "kernel": "6.1"},
        fs={"type": "lustre", "options": ["rw", "flock"]},
        plan={"rounds": rounds, "cold_rounds": rounds, "warmups": 2, "budget_seconds": 300.0},
        seed=seed,
        candidates=tuple(_about(name) for name in names),
        order=order(seed, names, rounds),
        rows=tuple(rows),
        counts=tuple(
            Counted(name, workloads[-1], state, {"open": 171}, 359, 77, 171, 171, 27_700_000, _counted(requests[name], state))
            for name in names
            for state in ("cold-client", "warm")
        ),
        profile={"name": "busy", "mds_us": 1000, "mds_stats": 50_000},
        replay=tuple(
            Replay(name, nodes, 32, "busy", share * ((5.0 if name == "container" else 2.0 * nodes) + nodes / 10), workload)
            for workload, share in ((workload, 0.1 if workload == "empty" else 1.0) for workload in workloads)
            for name in names
            for nodes in (1, 4, 16, 64)
        ),
        states={
            "warm": {"how": "started before", "leaves": ""},
            "cold-client": {"how": "a fresh copy", "leaves": "servers are warm"},
        },
        refused=(),
        notes=(),
        complete=True,
    )
    return replace(result, **changes)  # type: ignore[arg-type]


def _about(name: str) -> About:
    versions = {"numpy": "1.22.3" if name == "modules" else "2.1.0", "scipy": "1.14.1", "blas": name}
    return About(
        name,
        FILES.get(name, 9_000),
        300 << 20,
        versions,
        f"/apps/{name}/bin/python3",
        "lustre",
        90.0 if name == "container" else 30.0,
    )


def _counted(requests: Mapping[str, int], state: str) -> dict[str, int]:
    return {kind: number for kind, number in requests.items() if state != "warm" or kind in ("open", "close")}


def _row(chance: random.Random, name: str, case: tuple[str, str, int], number: int, seconds: float) -> Row:
    workload, state, ranks = case
    last = (0.1 if workload == "empty" else 1.0) * seconds * ranks**0.2 * chance.lognormvariate(0, 0.04)
    if chance.random() < 0.03:
        last *= 1.8
    environment = min(0.12, 0.4 * last) if name == "container" else 0.0
    rest = last - environment
    phases = {"environment": environment, "interpreter": 0.1 * rest, "imports": 0.8 * rest, "first_call": 0.1 * rest}
    ready = tuple(last * share / ranks for share in range(1, ranks + 1))
    return Row(name, workload, state, ranks, number, phases, last + 0.01, 0.3, 0.1, 60_000_000, 0, ready)
