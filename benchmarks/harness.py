"""How good `ozrepro bench` measures: what it adds to a start, its medians beside hyperfine's, a command against itself.

python benchmarks/harness.py [--only overhead,hyperfine,itself] [--rounds N] [--runs N] [--json FILE]

overhead   the time around a start of `true` that is not the start itself, and its own time against a bare posix_spawn and wait
hyperfine  the same commands by hyperfine and by the harness, in turn, in random order: medians within 5 %
itself     one environment under two names, 20 runs of 15 rounds: "no clear difference" in at least 19

See README.md for the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

from overhead import Report, facts
from paired import Estimate

from ozrepro.environment import Environment
from ozrepro.frontends.bench.cache_states import Warm
from ozrepro.frontends.bench.candidate import Candidate
from ozrepro.frontends.bench.estimates import estimate, ratio, verdict_words
from ozrepro.frontends.bench.host import Place
from ozrepro.frontends.bench.launch import Starter
from ozrepro.frontends.bench.plan import Plan
from ozrepro.frontends.bench.result import Result
from ozrepro.frontends.bench.run import Setting, measure
from ozrepro.frontends.bench.workload import Workload, of_imports

BIN = str(Path(sys.executable).parent)
HERE = Candidate("here", Environment(path=(BIN,)), BIN, (), files=1)
COMMANDS = {
    "true": ["/bin/true"],
    "python -c pass": [sys.executable, "-c", "pass"],
    "import json, email": [sys.executable, "-c", "import json, email"],
    "sleep 0.05": ["/bin/sleep", "0.05"],
}


def bare(words: list[str]) -> float:
    """Return the seconds of a posix_spawn and its wait, with nothing around it."""
    nothing = os.open(os.devnull, os.O_RDWR)
    actions = [(os.POSIX_SPAWN_DUP2, nothing, target) for target in (0, 1, 2)]
    began = time.monotonic()
    pid = os.posix_spawn(words[0], words, {}, file_actions=actions)
    os.wait4(pid, 0)
    seconds = time.monotonic() - began
    os.close(nothing)
    return seconds


def interval(values: list[float], seed: int) -> Estimate:
    """Return the harness's own estimate as the report shows one."""
    found = estimate(values, seed)
    return Estimate(found.median, found.low, found.high)


def overhead(starter: Starter, report: Report, rounds: int, seed: int) -> None:
    """Measure what a start by the harness takes beside the program, and what it reports more than a bare start."""
    words = COMMANDS["true"]
    starter.run([words], HERE)
    around, differences, spawns = [], [], []
    for _ in range(rounds):
        spawns.append(bare(words))
        began = time.monotonic()
        wall = starter.run([words], HERE)["ends"][0]["wall"]
        around.append((time.monotonic() - began - wall) * 1000)
        differences.append((wall - spawns[-1]) * 1000)
    report.row("harness: time around one start that is not the start", interval(around, seed), "ms", "<= 2")
    report.row("harness: reported time of `true` more than a bare start", interval(differences, seed), "ms", "<= 2")
    report.row("harness: a bare posix_spawn and wait of `true`", interval([seconds * 1000 for seconds in spawns], seed), "ms")


def hyperfine(starter: Starter, report: Report, rounds: int, seed: int) -> None:
    """Time the same commands by both, one run each a round, in random order."""
    program = shutil.which("hyperfine")
    if program is None:
        report.skip("hyperfine: it is not here (Debian and others package it)")
        return
    chance = random.Random(seed)
    variables = starter.variables(HERE)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in COMMANDS}
    for number in range(rounds + 1):
        for name in chance.sample(sorted(COMMANDS), len(COMMANDS)):
            words = COMMANDS[name]
            first = chance.random() < 0.5
            ours = starter.run([words], HERE)["ends"][0]["wall"] if first else 0.0
            theirs = _hyperfine(program, words, variables)
            ours = ours or starter.run([words], HERE)["ends"][0]["wall"]
            if number:
                found[name].append((ours, theirs))
    for name, pairs in found.items():
        one, other = median([pair[0] for pair in pairs]), median([pair[1] for pair in pairs])
        # Under 5 ms hyperfine itself warns that its times are of little worth.
        report.row(f"hyperfine: medians of `{name}`", one / other, "ratio", "±0.05" if name != "true" else "")
        report.row(f"hyperfine: `{name}`, by round", interval([ours / theirs for ours, theirs in pairs], seed), "ratio")
        report.row(f"hyperfine: `{name}`, difference of medians", (one - other) * 1000, "ms")


def _hyperfine(program: str, words: list[str], variables: dict[str, str]) -> float:
    import shlex

    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        command = [program, "--runs", "1", "--shell=none", "--style", "none", "--export-json", file.name, shlex.join(words)]
        subprocess.run(command, env=variables, check=True, capture_output=True)
        return float(json.load(file)["results"][0]["median"])


def itself(starter: Starter, report: Report, runs: int, seed: int) -> None:
    """Measure one environment under two names, many times, and count what is said of the ratio."""
    blank = Result("itself", "", {}, {}, {}, 0, ())
    setting = Setting(starter, Place(2), blank, {"warm": Warm()}, counts=False)
    pair = (HERE, replace(HERE, name="again"))
    workloads: tuple[Workload, ...] = (of_imports("json and email", ("json", "email")),)
    said: dict[str, int] = {}
    report.raw["itself"] = []
    for number in range(runs):
        plan = Plan(workloads, rounds=15, warmups=1, seed=seed + number)
        result = measure(plan, pair, setting, lambda _: None, lambda _: None)
        times = {(row.candidate, row.round): row.wall for row in result.rows}
        pairs = [(times["again", place], times["here", place]) for place in range(1, plan.rounds + 1)]
        report.raw["itself"].append([[round(seconds, 6) for seconds in pair] for pair in pairs])
        found = ratio(pairs, plan.seed)
        words = verdict_words(found)
        said[words] = said.get(words, 0) + 1
        print(f"  run {number + 1}: {found.median:.3f} [{found.low:.3f}, {found.high:.3f}]: {words}", file=sys.stderr, flush=True)
    clear = said.get("no clear difference", 0)
    report.row(f"itself: runs of {runs} that say no clear difference", clear, "runs", f">= {runs * 19 // 20}")


def main() -> None:
    """Measure, print a table, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40, help="of overhead and hyperfine (default 40)")
    parser.add_argument("--runs", type=int, default=20, help="of a command against itself (default 20)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32), help="of the order and the bootstrap")
    parser.add_argument("--only", default="overhead,hyperfine,itself", help="which of the three")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write figures and raw rows there")
    given = parser.parse_args()
    report = Report(given.json, facts(given.rounds, given.seed))
    print(json.dumps(report.facts), flush=True)
    print(f"\n| {'figure':<62} | {'median [95 % interval]':>24} | {'unit':<5} | {'bound':<7} |")
    print(f"| {'-' * 62} | {'-' * 23}: | {'-' * 5} | {'-' * 7} |", flush=True)
    wanted = given.only.split(",")
    with (
        tempfile.TemporaryDirectory(prefix="ozrepro-bench-") as folder,
        Starter(dict(os.environ), Path(folder), Path(folder)) as starter,
    ):
        if "overhead" in wanted:
            overhead(starter, report, given.rounds * 5, given.seed)
        if "hyperfine" in wanted:
            hyperfine(starter, report, given.rounds, given.seed)
        if "itself" in wanted:
            itself(starter, report, given.runs, given.seed)


if __name__ == "__main__":
    main()
