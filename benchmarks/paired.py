"""Times commands against each other: whole processes, in rounds, each round in a new random order.

Commands of one round share the same background load, so the ratio within a round is what is kept: the headline is the median
of the per-round ratios with a interval of 95 %. Nothing is discarded but the warm-up rounds.
"""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ozrepro.frontends.bench import estimates as statistics

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path


@dataclass(frozen=True)
class Command:
    """A command to be timed. `words` is called for each run, `before` and `after` around it, outside the timing."""

    name: str
    words: Callable[[], Sequence[str]]
    environ: Mapping[str, str]
    cwd: Path
    before: Callable[[], None] = lambda: None
    after: Callable[[], None] = lambda: None

    def time(self) -> tuple[float, float]:
        """Run it once; return the seconds from its start to its end, and those of CPU time that it and its children used.

        A command that fails ends the benchmark.
        """
        self.before()
        words = list(self.words())
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        began = time.perf_counter()
        done = subprocess.run(
            words, cwd=self.cwd, env=dict(self.environ), stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
        seconds = time.perf_counter() - began
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode != 0:
            sys.exit(f"{' '.join(words)}\nended with {done.returncode}: {done.stderr.decode(errors='replace')[-2000:]}")
        self.after()
        return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@dataclass
class Rounds:
    """The rounds of one scenario: for each, the order that was drawn, and each command's seconds by the clock and of CPU time."""

    orders: list[list[str]] = field(default_factory=list)
    seconds: list[dict[str, float]] = field(default_factory=list)
    cpu: list[dict[str, float]] = field(default_factory=list)

    def of(self, name: str, *, cpu: bool = False) -> list[float]:
        """Return the seconds of one command, by round."""
        return [row[name] for row in (self.cpu if cpu else self.seconds)]


def run_rounds(commands: Sequence[Command], rounds: int, seed: int, *, warm_up: int = 1) -> Rounds:
    """Run every command once a round, in an order drawn anew from `seed` each time."""
    chance = random.Random(seed)
    found = Rounds()
    for number in range(warm_up + rounds):
        order = list(commands)
        chance.shuffle(order)
        taken = {command.name: command.time() for command in order}
        if number >= warm_up:
            found.orders.append([command.name for command in order])
            found.seconds.append({name: seconds for name, (seconds, _) in taken.items()})
            found.cpu.append({name: cpu for name, (_, cpu) in taken.items()})
    return found


@dataclass(frozen=True)
class Estimate:
    """A median with its interval of 95 %."""

    median: float
    low: float
    high: float

    def words(self, digits: int = 2) -> str:
        """Return the estimate as a table shows it."""
        return f"{self.median:.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}]"


def estimate(values: Sequence[float], seed: int) -> Estimate:
    """Return the median of `values` and its interval, as a report of `ozrepro bench` has them."""
    found = statistics.estimate(values, seed)
    return Estimate(found.median, found.low, found.high)


def ratio(rounds: Rounds, ours: str, theirs: str, seed: int, *, cpu: bool = False) -> Estimate:
    """Return the median of the per-round ratios of two commands, of their time by the clock or of CPU time."""
    pairs = zip(rounds.of(ours, cpu=cpu), rounds.of(theirs, cpu=cpu), strict=True)
    return estimate([one / other for one, other in pairs], seed)


def added(rounds: Rounds, ours: str, theirs: str, seed: int, *, cpu: bool = False) -> Estimate:
    """Return the median of the per-round differences of two commands, in milliseconds."""
    pairs = zip(rounds.of(ours, cpu=cpu), rounds.of(theirs, cpu=cpu), strict=True)
    return estimate([(one - other) * 1000 for one, other in pairs], seed)


def settle() -> None:
    """Write out what earlier commands left in memory: a build flushes its file system and would pay for them."""
    os.sync()
