"""The node's own copies of environments that are one file: what a job has after it has staged them, and how long that took."""

from __future__ import annotations

import shutil
import tempfile
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ozrepro.errors import OzreproError
from ozrepro.store.forms import IMAGE, place

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ozrepro.frontends.bench.candidate import Candidate

MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of a random name is made in it


@contextmanager
def node_copies(candidates: Sequence[Candidate], environ: Mapping[str, str]) -> Iterator[tuple[Candidate, ...]]:
    """Give the candidates, the staged ones with a copy of their file on this node and how long it took; remove the copies.

    Raises OzreproError where this node has no folder for them, OSError where one cannot be copied.
    """
    if not any(candidate.is_staged for candidate in candidates):
        yield tuple(candidates)
        return
    local = place(environ)
    if isinstance(local, str):
        raise OzreproError(local, hint="ozrepro bench NAME --form tree,file")
    with tempfile.TemporaryDirectory(prefix="ozrepro-bench-", dir=local.folder or MEMORY) as name:
        yield tuple(
            _copied(candidate, Path(name) / str(number)) if candidate.is_staged else candidate
            for number, candidate in enumerate(candidates)
        )


def _copied(candidate: Candidate, folder: Path) -> Candidate:
    folder.mkdir()
    began = time.perf_counter()
    copy = shutil.copy2(candidate.file, folder / IMAGE)
    return replace(candidate, file=str(copy), stage_seconds=time.perf_counter() - began)
