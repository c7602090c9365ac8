"""Count to forty in a job that Slurm starts again when its time is up: it goes on from where it was."""

import os
import shlex
import time
from pathlib import Path

import submitit
import without_accounting  # noqa: F401

PYTHON = Path(__file__).resolve().parent / ".ozrepro" / "bin" / "fit" / "python"


class Count(submitit.helpers.Checkpointable):
    """A task whose attributes are kept when its job is requeued."""

    def __init__(self):
        self.number = 0

    def __call__(self, end):
        """Count to a number, ten in a second."""
        while self.number < end:
            time.sleep(0.1)
            self.number += 1
            print(self.number, flush=True)
        return f"counted to {self.number} in {int(os.environ.get('SLURM_RESTART_COUNT', '0')) + 1} starts"


if __name__ == "__main__":
    executor = submitit.SlurmExecutor("jobs", python=shlex.quote(str(PYTHON)))
    executor.update_parameters(time=60, mem="500MB", signal_delay_s=90)
    job = executor.submit(Count(), 40)
    print("job", job.job_id, flush=True)
    print(job.result())
