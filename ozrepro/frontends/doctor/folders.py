"""What package managers and containers leave in the home: its size, its number of files, and how to move it."""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ozrepro.frontends.doctor.finding import Finding, fine, note, wrong
from ozrepro.project.formatting import size_words

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ozrepro.frontends.doctor.surroundings import Surroundings

LARGE_BYTES = 1 << 30
LARGE_FILES = 20_000
MOST_ENTRIES = 200_000
"""Files of one folder that are counted: a metadata server is asked for each."""
MOST_SECONDS = 10.0
"""Seconds that one folder may take, and `ALL_SECONDS` all of them."""
ALL_SECONDS = 30.0

_CONDA = (
    "conda config --add pkgs_dirs DIR/conda/pkgs && conda config --add envs_dirs DIR/conda/envs && conda clean --all",
    "mv ~/{0} DIR/conda && ln -s DIR/conda ~/{0}",
)
_LINK = ("mv ~/{0} DIR/ && ln -s DIR/{1} ~/{0}",)
FOLDERS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (".conda", _CONDA),
    *((name, _LINK) for name in ("miniconda3", "anaconda3", "miniforge3", "mambaforge", "micromamba", ".mamba", ".pixi")),
    (".local/share/mamba", _LINK),
    (".cache/conda", _LINK),
    (".cache/rattler", ("export RATTLER_CACHE_DIR=DIR/rattler && rm -r ~/{0}", *_LINK)),
    (".cache/pip", ("pip cache purge", "export PIP_CACHE_DIR=DIR/pip && rm -r ~/{0}")),
    (".cache/uv", ("uv cache prune", "export UV_CACHE_DIR=DIR/uv && rm -r ~/{0}")),
    (".local/share/uv", _LINK),
    (".local/share/virtualenvs", _LINK),
    (".local/share/containers", _LINK),
    (".apptainer", ("apptainer cache clean", "export APPTAINER_CACHEDIR=DIR/apptainer && rm -r ~/{0}/cache")),
    (".singularity", ("singularity cache clean", "export SINGULARITY_CACHEDIR=DIR/singularity && rm -r ~/{0}/cache")),
)
"""The folders of the home that are measured, and the commands that empty or move each. The two ways of conda are OzSTAR's."""

WHY = "A home has little room (20 GB and 200,000 files on OzSTAR); DIR is a folder of yours on project storage."


@dataclass(frozen=True, slots=True)
class Measured:
    """What a folder holds: bytes on disk, files and folders; `whole` is False where counting stopped early."""

    size: int
    files: int
    whole: bool = True

    @property
    def is_large(self) -> bool:
        """Whether it takes a noticeable part of a home's quota."""
        return self.size > LARGE_BYTES or self.files > LARGE_FILES

    def __str__(self) -> str:
        more = "" if self.whole else "more than "
        return f"{more}{size_words(self.size)} in {more}{self.files:,} files"


def measure(folder: str | os.PathLike[str], *, entries: int = MOST_ENTRIES, seconds: float = MOST_SECONDS) -> Measured:
    """Measure a folder as a quota does: blocks on disk, each file once however many names it has. No link is followed."""
    until = time.monotonic() + seconds
    size = files = 0
    seen: set[tuple[int, int]] = set()
    waiting = [os.fspath(folder)]
    while waiting:
        for entry in _entries(waiting.pop()):
            if files >= entries or time.monotonic() > until:
                return Measured(size, files, whole=False)
            try:
                found = entry.stat(follow_symlinks=False)
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
            except OSError:
                continue
            if found.st_nlink > 1 and not entry.is_dir(follow_symlinks=False):
                if (found.st_dev, found.st_ino) in seen:
                    continue
                seen.add((found.st_dev, found.st_ino))
            files += 1
            size += found.st_blocks * 512
    return Measured(size, files)


def _entries(folder: str) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            yield from found
    except OSError:
        return


def check_folders(place: Surroundings) -> list[Finding]:
    """Measure each of the folders that is inside the home; one that is a link to other storage costs the home nothing."""
    until = time.monotonic() + ALL_SECONDS
    found: list[Finding] = []
    for name, remedy in FOLDERS:
        path = place.home / name
        real = os.path.realpath(path)
        if not os.path.isdir(real):
            continue
        if not place.is_in_home(real):
            found.append(fine(f"~/{name} is outside the home, in {real}"))
            continue
        left = until - time.monotonic()
        if left <= 0:
            found.append(note(f"~/{name} was not measured: the others took {ALL_SECONDS:g} s", WHY))
            continue
        found.append(_judge(place, name, measure(real, seconds=min(left, MOST_SECONDS)), remedy))
    return found or [fine("no caches or environments of package managers in the home")]


def _judge(place: Surroundings, name: str, measured: Measured, remedy: tuple[str, ...]) -> Finding:
    seen = f"~/{name} holds {measured}"
    if measured.is_large:
        if name == ".conda" and is_moved(place):
            remedy = ("conda clean --all", *remedy[1:])
        return wrong(seen, WHY, *(words.format(name, os.path.basename(name)) for words in remedy))
    return fine(seen) if measured.whole else note(f"{seen}, and was not counted to the end", WHY)


def is_moved(place: Surroundings) -> bool:
    """Say whether conda already keeps its packages outside the home: by its variable or by ~/.condarc."""
    chosen = place.environ.get("CONDA_PKGS_DIRS", "").split(",")[0]
    if not chosen:
        listed = re.search(r"^pkgs_dirs:\s*(?:\[|\n\s*-)\s*['\"]?([^\s'\",\]]+)", place.read(_condarc(place)) or "", re.MULTILINE)
        chosen = listed[1] if listed else ""
    chosen = re.sub(r"\$\{?USER\}?", place.environ.get("USER", ""), chosen)
    return chosen.startswith("/") and not place.is_in_home(chosen)


def _condarc(place: Surroundings) -> Path:
    return place.home / ".condarc"
