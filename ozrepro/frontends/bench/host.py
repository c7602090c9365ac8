"""Where the benchmark runs: on how many processors, in which Slurm job, on which machine and file system."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ozrepro.process import find_program
from ozrepro.site import LOCAL, mount_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


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


def host_facts(cpus: int) -> dict[str, Any]:
    """Return what the times depend on: processors, memory, system, this Python. No user's name and no path."""
    import platform

    model = ""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as stream:
            lines = (line.partition(":")[2].strip() for line in stream if line.startswith("model name"))
            model = next(lines, "")
    except OSError:
        pass  # not Linux
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if "SC_PHYS_PAGES" in os.sysconf_names else 0
    return {
        "name": platform.node(),
        "cpus": cpus,
        "model": model,
        "memory": memory,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def fs_facts(folders: Iterable[str], mountinfo: str | None = None) -> dict[str, Any]:
    """Return the type and the mount options of the file system that folders are on.

    Of several, that of the first folder which others wait for too: a store on a disk of this machine does not spare the servers
    of modules. `also` has the types of the others then. `mountinfo` is as for `mount_of`.
    """
    found = [mount for mount in (mount_of(Path(folder), mountinfo) for folder in dict.fromkeys(folders)) if mount is not None]
    if not found:
        return {"type": "", "options": []}
    main = next((mount for mount in found if mount.kind not in LOCAL), found[0])
    also = sorted({mount.kind for mount in found} - {main.kind})
    return {"type": main.kind, "options": sorted(main.options), **({"also": also} if also else {})}
