"""Where the benchmark runs: on how many processors, and in which Slurm job."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ozrepro.process import find_program

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Place:
    """Where the benchmark runs: CPUs that it may use, the Slurm job it is in, and what starts ranks there.

    `node` is the one that several ranks are held to, where the others of the job are to stay fresh.
    """

    cpus: int
    job: str = ""
    srun: str = ""
    scheduler: bool = False
    nodes: int = 1
    node: str = ""

    @property
    def is_login(self) -> bool:
        """Whether this is a node of a cluster outside of any job: where people log in."""
        return self.scheduler and not self.job


def look_at_place(environ: Mapping[str, str]) -> Place:
    """Return where this process runs: a cluster is known by Slurm's commands on PATH, a job by its variables."""
    path = environ.get("PATH", "")
    srun, sbatch = find_program("srun", path), find_program("sbatch", path)
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    job = environ.get("SLURM_JOB_ID", "")
    count = environ.get("SLURM_JOB_NUM_NODES", "") or environ.get("SLURM_NNODES", "")
    nodes = int(count) if job and count.isascii() and count.isdigit() else 1
    return Place(cpus, job, (srun or "") if job else "", scheduler=bool(srun or sbatch), nodes=max(nodes, 1))
