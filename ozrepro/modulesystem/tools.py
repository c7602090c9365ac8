"""The module tools that ozrepro knows, and which of them this machine's users have."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ozrepro.modulesystem.lmod import Lmod, find_lmod
from ozrepro.modulesystem.tmod import EnvironmentModules, find_environment_modules

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ozrepro.modulesystem import ModuleSystem

FINDERS: dict[str, Callable[[Mapping[str, str]], ModuleSystem | None]] = {"lmod": find_lmod, "tcl": find_environment_modules}
"""What finds each tool, by its name in locks and settings; the first that is there is taken where a shell has none."""

TITLES = {"lmod": Lmod.title, "tcl": EnvironmentModules.title}

_PROGRAMS = {"LMOD_CMD": "lmod", "MODULES_CMD": "tcl"}
_FUNCTIONS = ("BASH_FUNC_module%%", "BASH_FUNC__module_raw%%")
_BEGINNINGS = {"_ModuleTable": "lmod", "__LMOD_REF_COUNT_": "lmod", "__MODULES_": "tcl"}


def find(environ: Mapping[str, str], wanted: str = "") -> ModuleSystem | None:
    """Return the module tool of this machine, or None where there is none.

    That is `wanted`, the name of a tool from the settings, where it says one; else the one that the caller's shell uses; else the
    first one that is in a usual place.
    """
    for kind in (wanted,) if wanted else dict.fromkeys((used(environ) or "", *FINDERS)):
        system = FINDERS[kind](environ) if kind in FINDERS else None
        if system is not None:
            return system
    return None


def used(environ: Mapping[str, str]) -> str | None:
    """Return the name of the tool that `module` calls in the caller's shell, or None where its variables do not say.

    Where both have left their variables, bash's exported function says which is called, else whose modules are loaded.
    """
    text = "".join(environ.get(name, "") for name in _FUNCTIONS)
    if text:
        return "lmod" if "LMOD_CMD" in text else "tcl" if "_module_raw" in text or "modulecmd" in text else None
    programs = [kind for name, kind in _PROGRAMS.items() if os.path.isfile(environ.get(name, ""))]
    if len(programs) < 2:
        return programs[0] if programs else None
    loaded = {kind for mark, kind in _BEGINNINGS.items() if any(name.startswith(mark) for name in environ)}
    if len(loaded) == 1:
        return loaded.pop()
    return "lmod" if "lmod" in environ.get("MODULESHOME", "lmod") else "tcl"


def other_than(kind: str, environ: Mapping[str, str], wanted: str = "") -> ModuleSystem | None:
    """Return the tool that is used here instead of one that something was locked with, or None.

    A shell whose variables say nothing, as in many jobs, uses any that the machine has.
    """
    said = wanted or used(environ)
    system = find(environ, said or "") if said else find(environ, kind) or find(environ)
    return system if system is not None and system.kind != kind else None


def switched_off(environ: Mapping[str, str]) -> str | None:
    """Return the variable that names no program as the module tool's, which some sites set so in jobs, or None."""
    command = environ.get("LMOD_CMD")
    if command is None or (os.path.isabs(command) and os.access(command, os.X_OK) and os.path.isfile(command)):
        return None
    return None if used(environ) == "tcl" else "LMOD_CMD"


def is_started(environ: Mapping[str, str]) -> bool:
    """Say whether the caller's shell has the command of a module tool."""
    return any(environ.get(name) for name in _PROGRAMS)
