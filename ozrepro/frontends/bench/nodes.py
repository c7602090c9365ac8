"""The nodes of a Slurm job, as a cold start needs them: the one that this run has touched, and the others."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ozrepro import process
from ozrepro.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from ozrepro.frontends.bench.host import Place

ALLOCATE = "salloc --nodes=8 --exclusive, and the same command inside"


@dataclass(frozen=True, slots=True)
class Nodes:
    """The nodes of a job: `own` is touched by all that is not a cold start, `fresh` are the others."""

    own: str
    fresh: tuple[str, ...]


def nodes_of_job(place: Place, environ: Mapping[str, str]) -> Nodes:
    """Return the nodes of the job that this process is in, by the names that Slurm has for them.

    Raises UsageError outside of a job of several nodes and without Slurm's commands, CommandFailed where it does not name them.
    """
    scontrol = process.find_program("scontrol", environ.get("PATH", ""))
    listed = environ.get("SLURM_JOB_NODELIST", "")
    if not place.job or not listed:
        raise UsageError("fresh nodes are those of a Slurm job, and this is none", hint=ALLOCATE)
    if not place.srun or not scontrol:
        raise UsageError("fresh nodes need srun and scontrol on PATH", hint="the site's module of Slurm, or its bin on PATH")
    asked = process.run([scontrol, "show", "hostnames", listed], env=environ, timeout=60)
    names = asked.checked(f"asking for the nodes of job {place.job}", hint="scontrol ping").output.split()
    if len(names) < 2:
        raise UsageError(f"job {place.job} has one node, which has touched the environments and is not fresh", hint=ALLOCATE)
    own = own_node(names, environ.get("SLURMD_NODENAME", ""), os.uname().nodename)
    return Nodes(own, tuple(name for name in names if name != own))


def own_node(names: Sequence[str], told: str, host: str) -> str:
    """Return the node that is set aside: the one that this process runs on, by what slurmd has `told` it, else by its host name.

    Where it is on none of them, such as in a shell of salloc on a login node, several ranks of a warm start need one all the
    same: the first.
    """
    if told in names:
        return told
    short = host.partition(".")[0]
    return next((name for name in names if name.partition(".")[0] == short), names[0])


def next_node(nodes: Sequence[str], touched: Mapping[str, AbstractSet[str]], name: str) -> str:
    """Return the node for the next start of candidate `name`, or "" where it has touched all.

    It is one that the candidate has not touched, of these one that the fewest others have, of these the first.
    """
    left = [node for node in nodes if node not in touched.get(name, ())]
    return min(left, key=lambda node: sum(node in used for used in touched.values()), default="")
