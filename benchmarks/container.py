"""What ozrepro adds to a start in an image: `ozrepro run` and a launcher against `apptainer exec` by hand. See README.md.

python benchmarks/container.py [--rounds N] [--json FILE]
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from overhead import SESSION, Report, make_parser, open_report
from paired import Command, added, ratio, run_rounds

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.fake_cluster import SiteUnavailable, ordinary  # noqa: E402
from tests.fake_cluster.containers import Containers, make_cached  # noqa: E402

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
    launcher = [str(root / ".ozrepro" / "bin" / SESSION / PROGRAM[0]), *PROGRAM[1:]]
    ways = (("ozrepro", ours), ("launcher", launcher), ("by hand", hand), ("by hand again", hand))
    commands = [
        Command(name, lambda words=words: account.command(*words), environ, root)  # type: ignore[misc]
        for name, words in ways
    ]
    found = run_rounds(commands, rounds, seed, warm_up=3)
    report.rounds("run", found)
    report.row("`ozrepro run` in an image, more than by hand", added(found, "ozrepro", "by hand", seed), "ms", "<= 40")
    report.row("the same as a ratio", ratio(found, "ozrepro", "by hand", seed), "ratio")
    report.row("a launcher of an image, more than by hand", added(found, "launcher", "by hand", seed), "ms", "<= 10")
    report.row("the same in CPU time", added(found, "launcher", "by hand", seed, cpu=True), "ms")
    report.row("by hand to itself (the noise)", added(found, "by hand again", "by hand", seed), "ms")


def main() -> None:
    """Measure, print a table, and write JSON."""
    given = make_parser(__doc__, 40, "of each scenario").parse_args()
    try:
        with ordinary.borrow_account() as account:
            containers = make_cached(account)
            report = open_report(given, apptainer=containers.version)
            measure(account, containers, report, given.rounds, given.seed)
    except SiteUnavailable as reason:
        sys.exit(f"no containers: {reason}")


if __name__ == "__main__":
    main()
