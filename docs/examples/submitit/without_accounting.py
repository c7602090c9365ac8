"""Ask squeue which jobs have ended, where Slurm keeps no accounts and sacct has no answer."""

import submitit
from submitit.slurm.slurm import SlurmInfoWatcher


class QueueWatcher(SlurmInfoWatcher):
    """Takes a job that squeue does not list any more as ended."""

    def _make_command(self):
        unfinished = self._registered - self._finished
        return ["squeue", "--me", "--array", "--noheader", "--format=%i"] if unfinished else None

    def read_info(self, string):
        """Return the state of each job by what squeue printed."""
        queued = string.decode().split()
        return {job: {"State": "RUNNING" if job in queued else "ENDED"} for job in self._registered}


submitit.SlurmJob.watcher = QueueWatcher(delay_s=60)
