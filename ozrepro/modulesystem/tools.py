"""The module tools that ozrepro knows, and which of them this machine's users have."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ozrepro.modulesystem.lmod import find_lmod

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ozrepro.modulesystem import ModuleSystem


def find(environ: Mapping[str, str]) -> ModuleSystem | None:
    """Return the module tool of this machine, or None where there is none."""
    return find_lmod(environ)


def switched_off(environ: Mapping[str, str]) -> str | None:
    """Return the variable that names no program as the module tool's, which some sites set so in jobs, or None."""
    command = environ.get("LMOD_CMD")
    if command is None or (os.path.isabs(command) and os.access(command, os.X_OK) and os.path.isfile(command)):
        return None
    return "LMOD_CMD"


def is_started(environ: Mapping[str, str]) -> bool:
    """Say whether the caller's shell has the module tool's command."""
    return bool(environ.get("LMOD_CMD"))
