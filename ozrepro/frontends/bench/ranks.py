"""How ranks are started: as processes here, or by srun, across the nodes of a job or on one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ozrepro.frontends.bench.host import Place


def launch_words(place: Place, ranks: int, node: str = "") -> tuple[str, ...]:
    """Return the words in front of a command that start `ranks` of it, none where the launcher starts them itself on this node.

    Inside a job srun starts them, over as many of its nodes as there are ranks; if one fails, so does the step. With `node` it
    starts all of them there, a single one too; else, where the place holds several ranks to one node, on that one.
    """
    if not place.srun or (ranks == 1 and not node):
        return ()
    node = node or place.node
    count = 1 if node else min(place.nodes, ranks)
    words = (place.srun, f"--ntasks={ranks}", f"--nodes={count}", "--kill-on-bad-exit=1", "--input=none")
    # The step that this process is in may have all of its node's processors and memory: without --overlap srun would wait for it.
    return (*words, f"--nodelist={node}", "--overlap") if node else words
