"""Workers of Dask as jobs of a real Slurm: started by a launcher, and by the venv's own Python. See README.md.

python benchmarks/workers.py [--rounds N] [--workers N] [--json FILE]
"""

from __future__ import annotations

import random
import subprocess
import sys
from typing import TYPE_CHECKING

from overhead import SESSION, make_parser, open_report, real_project, workplace
from paired import Rounds, added, ratio

from tests.fake_cluster.slurm import Slurm

if TYPE_CHECKING:
    from pathlib import Path

    from overhead import Project

STACK = ("dask-jobqueue==0.9.0", "distributed==2026.8.0")
LAUNCHER, PYTHON = "launcher", "the venv's python"

DRIVER = """\
import shlex, sys, time
from dask_jobqueue import SLURMCluster
from distributed import Client

if __name__ == "__main__":
    began = time.perf_counter()
    with SLURMCluster(
        python=shlex.quote(sys.argv[1]), cores=1, memory="500MB", walltime="00:05:00",
        scheduler_options={"dashboard_address": ":0"},
    ) as cluster, Client(cluster) as client:
        cluster.scale(jobs=int(sys.argv[2]))
        client.wait_for_workers(int(sys.argv[2]), timeout=120)
        print(time.perf_counter() - began)
"""
"""Says how many seconds passed from the cluster's making until all workers were there."""


def seconds_of(project: Project, slurm: Slurm, python: Path, workers: int) -> float:
    """Start a cluster whose workers have this Python, and wait until no job of it is left; return what its driver says."""
    environ = {**project.environ, "PATH": f"{slurm.bin}:{project.environ['PATH']}"}
    words = [str(project.prefix() / "bin" / "python"), "driver.py", str(python), str(workers)]
    done = subprocess.run(words, cwd=project.root, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    idle = ["srun", f"--nodes={len(slurm.nodes)}", "--exclusive", "true"]
    subprocess.run(idle, cwd=project.root, env=environ, capture_output=True, check=True)
    return float(done.stdout)


def main() -> None:
    """Measure, print a table, and write JSON."""
    parser = make_parser(__doc__, 9, "of both ways, in random order")
    parser.add_argument("--workers", type=int, default=4, help="how many workers, each a job (default 4)")
    given = parser.parse_args()
    with workplace() as folder, Slurm(folder / "slurm", nodes=given.workers) as slurm:
        project = real_project(folder, STACK, ("dask_jobqueue", "distributed"))
        (project.root / "driver.py").write_text(DRIVER, encoding="utf-8")
        launcher = project.root / ".ozrepro" / "bin" / SESSION / "python"
        pythons = {LAUNCHER: launcher, PYTHON: project.prefix() / "bin" / "python"}
        report = open_report(given, packages=STACK, workers=given.workers)
        chance, found = random.Random(given.seed), Rounds()
        for number in range(1 + given.rounds):
            order = list(pythons)
            chance.shuffle(order)
            taken = {name: seconds_of(project, slurm, pythons[name], given.workers) for name in order}
            if number:  # the first warms up
                found.orders.append(order)
                found.seconds.append(taken)
        report.rounds("workers", found)
        what = f"{given.workers} workers of SLURMCluster: launcher to the venv's own Python"
        report.row(what, ratio(found, LAUNCHER, PYTHON, given.seed), "ratio", "<= 1.3")
        report.row("the same, added", added(found, LAUNCHER, PYTHON, given.seed), "ms")
        report.write()


if __name__ == "__main__":
    main()
