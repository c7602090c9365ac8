"""The job that a process runs in, as its scheduler's variables tell, and what the scheduler says of jobs.

Whatever a scheduler does not say in words that are known counts as a job that runs.
"""

from __future__ import annotations

import os
import pwd
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ozrepro import process
from ozrepro.errors import CommandFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ozrepro.process import Finished

_PATIENCE = 20.0
"""Seconds that a scheduler may take to answer."""

_NUMBER = re.compile(r"\w[\w.@\[\]-]*\Z")
"""A job's id, which comes from a record of another's: `12`, `12[3]`, `12.server`, and Flux's, which begins with a letter."""

_FINISHED = frozenset(
    ["BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT"]
)
"""Slurm states after which a job's processes are gone; SUSPENDED and COMPLETING are not among them (squeue(1))."""


COMMANDS = {
    "Slurm": ("sbatch", "squeue", "sinfo"),
    "PBS": ("qsub", "qstat", "qselect"),
    "LSF": ("bsub", "bjobs"),
    "SGE": ("qsub", "qstat"),
    "Flux": ("flux",),
}
"""The schedulers that are known, each with the commands that its users have."""


@dataclass(frozen=True, slots=True)
class Job:
    """A job: its scheduler, one of `COMMANDS`, and its id there."""

    scheduler: str
    number: str

    def __str__(self) -> str:
        return f"{self.scheduler} job {self.number}"

    @property
    def kind(self) -> str:
        """What it is, in words: `a Slurm job`."""
        return f"{'an' if self.scheduler in ('LSF', 'SGE') else 'a'} {self.scheduler} job"


def job_of(environ: Mapping[str, str]) -> Job | None:
    """Return the job that a process with these variables runs in, or None.

    LSF numbers the parts of an array apart. SGE's names are general, so one that only its jobs have must be set too; what a
    batch script of Flux has is the id in the enclosing instance.
    """
    index = environ.get("LSB_JOBINDEX", "0")
    part = f"[{index}]" if index not in ("", "0") else ""
    in_sge = bool(environ.get("SGE_TASK_ID") or environ.get("SGE_O_HOST"))
    numbers = {
        "Slurm": environ.get("SLURM_JOB_ID", ""),
        "PBS": environ.get("PBS_JOBID", ""),
        "LSF": environ["LSB_JOBID"] + part if environ.get("LSB_JOBID") else "",
        "SGE": environ.get("JOB_ID", "") if in_sge else "",
        "Flux": environ.get("FLUX_JOB_ID") or environ.get("FLUX_ENCLOSING_ID", ""),
    }
    return next((Job(name, number) for name, number in numbers.items() if number), None)


def has_scheduler(environ: Mapping[str, str]) -> bool:
    """Say whether this is a machine of a cluster: a job runs here, or a scheduler's commands are on PATH. Asks nobody."""
    path = environ.get("PATH", "")
    return job_of(environ) is not None or any(process.find_program(names[0], path) for names in COMMANDS.values())


def is_over(job: Job, restart: str = "") -> bool:
    """Say whether the scheduler says that a job, or its run before the restart after number `restart`, has ended."""
    words = {
        "Slurm": ("squeue", "-h", "-j", job.number, "-t", "all", "-O", "JobID:24,State:32,RestartCnt:16"),
        "PBS": ("qstat", "-f", job.number),
        "LSF": ("bjobs", "-noheader", "-o", "stat", job.number),
        "SGE": ("qstat", "-j", job.number),
        "Flux": ("flux", "jobs", "--no-header", "--format={state}", job.number),
    }
    if job.scheduler not in words or not _NUMBER.match(job.number):
        return False
    done = _ask(*words[job.scheduler])
    return done is not None and (
        _is_over_in_slurm(done, job, restart) if job.scheduler == "Slurm" else _OVER[job.scheduler](done)
    )


def _is_over_in_slurm(done: Finished, job: Job, restart: str) -> bool:
    if done.status != 0:
        # Slurm forgets a job MinJobAge seconds after its end and then answers "Invalid job id specified".
        return "Invalid job id" in done.errors
    # An array's own id is also that of one of its tasks, and asking for it lists them all.
    lines = [words for words in map(str.split, done.output.splitlines()) if words[:1] == [job.number]]
    if len(lines) != 1 or len(lines[0]) < 2:
        return False
    state, *rest = lines[0][1:]
    restarted = bool(rest) and rest[0].isdecimal() and restart.isdecimal() and int(rest[0]) > int(restart)
    return state in _FINISHED or restarted


def _is_over_in_pbs(done: Finished) -> bool:
    """PBS Pro keeps a finished job for `qstat -x` and says so, Torque shows it as C for a while; then neither knows it."""
    if done.status != 0:
        return "Unknown Job Id" in done.errors or "Job has finished" in done.errors
    states = re.findall(r"^\s*job_state = (\S+)\s*$", done.output, re.MULTILINE)
    return len(states) == 1 and states[0] in ("C", "F", "X")


def _is_over_in_lsf(done: Finished) -> bool:
    states = done.output.split()
    return states in (["DONE"], ["EXIT"]) or (not states and bool(re.search(r"^Job <\S+> is not found", done.errors)))


def _is_over_in_sge(done: Finished) -> bool:
    """Newer releases say `… do not exist or permissions are not sufficient`, which proves nothing."""
    return done.status != 0 and bool(re.search(r"^Following jobs do not exist:? *$", done.errors, re.MULTILINE))


def _is_over_in_flux(done: Finished) -> bool:
    return done.status == 0 and done.output.split() == ["INACTIVE"]


_OVER: Mapping[str, Callable[[Finished], bool]] = {
    "PBS": _is_over_in_pbs,
    "LSF": _is_over_in_lsf,
    "SGE": _is_over_in_sge,
    "Flux": _is_over_in_flux,
}


def running_jobs(environ: Mapping[str, str]) -> str | None:
    """Return why jobs of this user may run from an environment, None where there are none; no answer proves nothing.

    The first scheduler whose command is on PATH is asked: Slurm has wrappers by the names of others. PBS and SGE share names.
    """
    user = _user()
    others = (
        ("SGE", ("qstat", "-s", "rs", "-u", user)) if environ.get("SGE_ROOT") else ("PBS", ("qselect", "-u", user, "-s", "RSEU")),
        ("LSF", ("bjobs", "-noheader", "-r", "-o", "jobid")),
        ("Flux", ("flux", "jobs", "--no-header", "--format={id}", "--filter=running")),
    )
    for name, words in (("Slurm", ("squeue", "--me", "-h", "-t", "running,suspended,completing", "-o", "%i")), *others):
        program = _find(words[0])
        if program is None:
            continue
        done = _ask(*words)
        # LSF has a status of its own where there is no job.
        if done is None or (done.status != 0 and not re.search(r"No (running|unfinished) job found", done.errors)):
            return f"{program} does not answer, and jobs of yours may run from it (if there is no cluster here: --even-with-jobs)"
        lines = (
            done.output.split() if name != "SGE" else [line for line in done.output.splitlines() if line[:8].strip().isdecimal()]
        )
        count = len(lines)
        return f"{count} running job{'s' if count > 1 else ''} of yours may run from it" if count else None
    return None


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return os.environ.get("USER", "")


def _find(name: str) -> str | None:
    return process.find_program(name, os.environ.get("PATH", ""))


def _ask(name: str, *words: str) -> Finished | None:
    """Return what a scheduler's command says, or None where it is not here or does not answer."""
    program = _find(name)
    if program is None:
        return None
    try:
        return process.run([program, *words], env=dict(os.environ), timeout=_PATIENCE)
    except CommandFailed:
        return None
