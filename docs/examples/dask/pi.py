"""Estimate pi on workers that Slurm starts, each in the session as it is locked."""

import random
import shlex
from pathlib import Path

from dask_jobqueue import SLURMCluster
from distributed import Client

PYTHON = Path(__file__).resolve().parent / ".ozrepro" / "bin" / "pi" / "python"


def hits(seed):
    """Count the points, of twenty thousand in a square, that lie in the quarter of a circle."""
    draw = random.Random(seed).random
    return sum(draw() ** 2 + draw() ** 2 < 1 for _ in range(20_000))


if __name__ == "__main__":
    cluster = SLURMCluster(
        python=shlex.quote(str(PYTHON)),  # it becomes a word of the job's script
        cores=1,
        memory="500MB",
        walltime="00:10:00",
        log_directory="logs",
        scheduler_options={"dashboard_address": ":0"},  # any free port
    )
    with cluster, Client(cluster) as client:
        cluster.scale(jobs=2)
        counts = client.gather(client.map(hits, range(40)))
    print(f"pi is about {4 * sum(counts) / len(counts) / 20_000:.3f}")
