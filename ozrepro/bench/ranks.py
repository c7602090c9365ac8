"""How several ranks are started: as processes here, or by srun across the nodes of a job."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ozrepro.bench.plan import Place


def launch_words(place: Place, ranks: int) -> tuple[str, ...]:
    """Return the words in front of a command that start `ranks` of it, none where the launcher starts them itself on this node.

    Inside a job srun starts them, over as many of its nodes as there are ranks; if one fails, so does the step.
    """
    if not place.srun or ranks == 1:
        return ()
    return (place.srun, f"--ntasks={ranks}", f"--nodes={min(place.nodes, ranks)}", "--kill-on-bad-exit=1", "--input=none")


def ranks_words(place: Place, ranks: int) -> str:
    """Return how ranks are started, in words for the report."""
    if launch_words(place, ranks):
        return f"srun starts {ranks} ranks on {min(place.nodes, ranks)} nodes of job {place.job}"
    return f"{ranks} processes on this node, which has {place.cpus} processors for them"
