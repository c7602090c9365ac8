"""Whether ozrepro's own Python can start without the module that it came with: after `module purge` it could say nothing."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ozrepro import process
from ozrepro.errors import CommandFailed

if TYPE_CHECKING:
    from collections.abc import Mapping

_LIBRARY = "libpython"
_PATIENCE = 20.0
"""Seconds that a Python may take to start."""


@dataclass(frozen=True, slots=True)
class NeedsModule:
    """What ozrepro's Python finds only by LD_LIBRARY_PATH, why it matters, and the command that installs it otherwise."""

    library: str

    @property
    def what(self) -> str:
        """What was seen, in one line."""
        return f"ozrepro's own Python starts only while LD_LIBRARY_PATH finds {os.path.basename(self.library)} for it"

    @property
    def why(self) -> str:
        """Why it matters, in one sentence."""
        return (
            f"It is a module's, in {os.path.dirname(self.library)}: after module purge, or in a job that loads no module, "
            "ozrepro ends before it can say a word."
        )

    @property
    def command(self) -> str:
        """The command that installs ozrepro so that it needs no module."""
        return "uv tool install --managed-python --reinstall /path/to/the/clone/of/ozrepro"


def needs_module(environ: Mapping[str, str], maps: str | None = None) -> NeedsModule | None:
    """Return what this process's Python would lack without LD_LIBRARY_PATH, or None where it starts without.

    `maps` is the text of /proc/self/maps (proc(5)); it is read when None. Only where a library of Python lies in a folder of
    LD_LIBRARY_PATH is a Python started to see.
    """
    folders = [Path(folder) for folder in environ.get("LD_LIBRARY_PATH", "").split(":") if folder]
    offered = {os.path.realpath(path): path for folder in folders for path in folder.glob(f"{_LIBRARY}*")}
    if not offered:
        return None
    if maps is None:
        try:
            maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="surrogateescape")
        except OSError:
            return None
    paths = (line.split(maxsplit=5)[-1] for line in maps.splitlines() if _LIBRARY in line)
    library = next((offered[path] for path in map(os.path.realpath, paths) if path in offered), None)
    if library is None:
        return None
    without = {name: value for name, value in environ.items() if name != "LD_LIBRARY_PATH"}
    try:
        status = process.run([sys.executable, "-I", "-S", "-c", ""], env=without, cwd="/", timeout=_PATIENCE).status
    except CommandFailed:
        return None
    return NeedsModule(str(library)) if status != 0 else None
