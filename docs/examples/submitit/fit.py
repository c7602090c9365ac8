"""Fit a line to each of four samples, a task of an array of jobs each."""

import random
import shlex
import statistics
from pathlib import Path

import submitit
import without_accounting  # noqa: F401

PYTHON = Path(__file__).resolve().parent / ".ozrepro" / "bin" / "fit" / "python"


def slope(seed):
    """Return the slope of the line through a hundred noisy points."""
    noise = random.Random(seed).gauss
    points = range(100)
    return statistics.linear_regression(points, [2 * x + noise(0, 5) for x in points]).slope


if __name__ == "__main__":
    executor = submitit.SlurmExecutor("jobs", python=shlex.quote(str(PYTHON)))  # it becomes a word of the job's script
    executor.update_parameters(time=10, mem="500MB", array_parallelism=2)
    jobs = executor.map_array(slope, range(4))
    print(*(f"{job.result():.3f}" for job in jobs))
