"""What ozrepro adds to a start in an image: `ozrepro run` against the same `apptainer exec` typed by hand. See README.md.

python benchmarks/container.py [--rounds N] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
from pathlib import Path

from overhead import SESSION, Report, facts
from paired import Command, added, ratio, run_rounds

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.site import SiteUnavailable, ordinary  # noqa: E402
from tests.site.containers import Containers, make_cached  # noqa: E402

PROGRAM = ("python3", "-c", "pass")


def measure(account: ordinary.Account, containers: Containers, report: Report, rounds: int, seed: int) -> None:
    """Lock and build a session on the base image, then start the same program by ozrepro and by hand."""
    programs = ordinary.make_python(account)
    root = account.make_folder("bench of") / "a project"
    (root / "sessions").mkdir(parents=True)
    image = root / "base.sif"
    shutil.copyfile(containers.base, image)
    (root / "sessions" / f"{SESSION}.toml").write_text('[container]\nimage = "base.sif"\n', encoding="utf-8")
    account.give(root)
    environ = account.environ(programs, containers.bin)
    # As a user has it: without bytecode of its own, Python would compile ozrepro at each start.
    account.run(programs / "python", "-m", "compileall", "-q", str(programs.parent / "lib"), environ=environ)
    ours = [str(programs / "ozrepro"), "run", SESSION, "--", *PROGRAM]
    for words in (["lock"], ["build"]):
        done = account.run(programs / "ozrepro", *words, SESSION, environ=environ, cwd=root)
        if done.returncode:
            sys.exit(done.stderr)
    hand = [containers.program, "exec", str(image), *PROGRAM]
    commands = [
        Command(name, lambda words=words: account.command(*words), environ, root)  # type: ignore[misc]
        for name, words in (("ozrepro", ours), ("by hand", hand), ("by hand again", hand))
    ]
    found = run_rounds(commands, rounds, seed, warm_up=3)
    report.rounds("run", found)
    report.row("`ozrepro run` in an image, more than by hand", added(found, "ozrepro", "by hand", seed), "ms", "<= 40")
    report.row("the same as a ratio", ratio(found, "ozrepro", "by hand", seed), "ratio")
    report.row("by hand to itself (the noise)", added(found, "by hand again", "by hand", seed), "ms")


def main() -> None:
    """Measure, print a table, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40, help="of each scenario (default 40)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32), help="of the order and the bootstrap")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write figures and raw rows there")
    given = parser.parse_args()
    try:
        with ordinary.borrow_account() as account:
            containers = make_cached(account)
            report = Report(given.json, {**facts(given.rounds, given.seed), "apptainer": containers.version})
            print(json.dumps(report.facts), flush=True)
            print(f"\n| {'figure':<62} | {'median [95 % interval]':>24} | {'unit':<5} | {'bound':<7} |")
            print(f"| {'-' * 62} | {'-' * 23}: | {'-' * 5} | {'-' * 7} |", flush=True)
            measure(account, containers, report, given.rounds, given.seed)
    except SiteUnavailable as reason:
        sys.exit(f"no containers: {reason}")


if __name__ == "__main__":
    main()
