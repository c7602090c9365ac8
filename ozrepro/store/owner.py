"""Who is building: a record that another process, on this or another node, can judge.

A record is one line without spaces in its fields, so that it fits into the target of a symlink, which is made atomically with
its content. Whatever cannot be proved dead counts as alive.
"""

from __future__ import annotations

import os
import secrets
import socket
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from urllib.parse import quote, unquote

from ozrepro.site import scheduler
from ozrepro.site.scheduler import Job

_PID_DIGITS = 9


@dataclass(frozen=True, slots=True)
class Owner:
    """A process of one host and boot, perhaps of a job: of Slurm its id alone, of another `PBS:12`; `token` is random."""

    host: str
    boot: str
    pidns: str
    pid: str
    start: str
    job: str
    restart: str
    token: str

    def record(self) -> str:
        """Return the record as one line."""
        return ":".join(("1", *(quote(value, safe="", errors="surrogateescape") for value in astuple(self))))

    def describe(self) -> str:
        """Return who this is, in words."""
        return f"process {self.pid} on {self.host}" + (f", {self._job()}" if self.job else "")

    def is_over(self) -> bool:
        """Say whether the scheduler of its job says that this has ended."""
        return bool(self.job) and scheduler.is_over(self._job(), self.restart)

    def _job(self) -> Job:
        name, mark, number = self.job.partition(":")
        return Job(name, number) if mark else Job("Slurm", self.job)


def myself() -> Owner:
    """Return the record of this process, with a new token."""
    job = scheduler.job_of(os.environ)
    of_slurm = job is not None and job.scheduler == "Slurm"
    return Owner(
        host=socket.gethostname(),
        boot=_boot(),
        pidns=_pidns(),
        pid=str(os.getpid()),
        start=_start_of(os.getpid()) or "",
        job="" if job is None else job.number if of_slurm else f"{job.scheduler}:{job.number}",
        restart=os.environ.get("SLURM_RESTART_COUNT", "") if of_slurm else "",
        token=secrets.token_hex(8),
    )


def read_owner(record: str) -> Owner | None:
    """Return the owner that a record names, or None where it is none."""
    parts = record.split(":")
    if len(parts) != 1 + len(fields(Owner)) or parts[0] != "1":
        return None
    return Owner(*(unquote(part, errors="surrogateescape") for part in parts[1:]))


def is_dead(owner: Owner, *, ask_scheduler: bool = True) -> bool:
    """Say whether the owner is proved dead: by this host's own process table or boot, or by its job's scheduler."""
    lives = _lives_here(owner)
    if lives is not None:
        return not lives
    return ask_scheduler and owner.is_over()


def is_alive(owner: Owner) -> bool:
    """Say whether the owner is proved alive: a process of this host that started when the record says."""
    return _lives_here(owner) is True


def _lives_here(owner: Owner) -> bool | None:
    """Return what this host's boot and process table tell, None where they tell nothing."""
    boot = _boot()
    if owner.host != socket.gethostname() or not owner.boot or not boot:
        return None
    if owner.boot != boot:
        return False
    if owner.pidns != _pidns():
        return None
    if not (owner.pid.isascii() and owner.pid.isdigit() and len(owner.pid) <= _PID_DIGITS):
        return False
    start = _start_of(int(owner.pid))
    if start is None:
        return False
    # With /proc mounted hidepid=2 another user's process shows that it exists, but not since when.
    return start == owner.start if start and owner.start else None


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _pidns() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _start_of(pid: int) -> str | None:
    """Return when a process started, in clock ticks since boot (proc(5), field 22); "" if not to be told, None if it is gone."""
    try:
        # The command's name may hold spaces and parentheses: count from the last one.
        fields_after = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
        except OSError:
            pass
        return ""
    return None if fields_after[0] in "ZX" else fields_after[19]
