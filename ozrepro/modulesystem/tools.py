"""Which module tools there are, built in and by the entry point group `ozrepro.modulesystems`, and which one users have here.

A tool's file is loaded when it is looked for. Other distributions are looked through only for a name that is not built in: one
that the setting `module-tool` or a lock has.
"""

from __future__ import annotations

import os
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

from ozrepro.project.plugins import load, plugins

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ozrepro.modulesystem import ModuleSystem, Tool
    from ozrepro.modulesystem.paths import Arithmetic

GROUP = "ozrepro.modulesystems"
"""The entry point group of module tools: `NAME = "package.module:TOOL"`."""

_BUILTIN = {"lmod": "ozrepro.modulesystem.lmod", "tcl": "ozrepro.modulesystem.tmod"}
"""The file of each built-in tool, by its name in locks and settings; the first that is there is taken where a shell has none."""

COMMAND_VARIABLES = (
    *("LMOD_CMD", "LMOD_DIR", "LMOD_PKG", "LMOD_ROOT", "LMOD_VERSION", "LMOD_PAGER", "LMOD_PAGER_OPTS", "LMOD_COLORIZE"),
    *("MODULESHOME", "MODULES_CMD", "MODULES_PAGER", "MODULES_COLOR"),
)
"""What the command `module` of a shell at a prompt needs, and what decides how it prints: nothing of what it loads."""

_PROGRAMS = {"LMOD_CMD": "lmod", "MODULES_CMD": "tcl"}
_FUNCTIONS = ("BASH_FUNC_module%%", "BASH_FUNC__module_raw%%")
_BEGINNINGS = {"_ModuleTable": "lmod", "__LMOD_REF_COUNT_": "lmod", "__MODULES_": "tcl"}


def known(written: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the names of the tools, the built-in first; others only where one of `written` is not a name of these."""
    return (*_BUILTIN, *(() if all(name in _BUILTIN for name in written) else sorted(_plugins())))


def _plugins() -> dict[str, str]:
    return {name: value for name, value in plugins(GROUP).items() if name not in _BUILTIN}


@cache
def tool_of(name: str) -> Tool | None:
    """Return the tool of a name, None where there is none. Raises UsageError where its distribution cannot be loaded."""
    if name in _BUILTIN:
        tool: Tool = import_module(_BUILTIN[name]).TOOL
        return tool
    if name not in _plugins():
        return None
    plugin: Tool = load(_plugins()[name], "TOOL", f"the module tool {name!r}")
    return plugin


def title_of(name: str) -> str:
    """Return a tool's name in messages."""
    tool = tool_of(name)
    return tool.title if tool is not None else name


def titles() -> list[str]:
    """Return the built-in tools' names in messages."""
    return [title_of(name) for name in _BUILTIN]


def arithmetic_of(tool: str) -> Arithmetic:
    """Return the arithmetic of path variables of a tool with its version, such as `lmod 8.7.60`; Lmod's where it is not known."""
    name, _, version = tool.partition(" ")
    known_tool = tool_of(name) or tool_of("lmod")
    assert known_tool is not None, "it is built in"
    return known_tool.arithmetic(version)


def find(environ: Mapping[str, str], wanted: str = "") -> ModuleSystem | None:
    """Return the module tool of this machine, or None where there is none.

    That is `wanted`, the name of a tool from the settings, where it says one; else the one that the caller's shell uses; else the
    first one that is in a usual place.
    """
    for name in (wanted,) if wanted else dict.fromkeys((*filter(None, (used(environ),)), *_BUILTIN)):
        tool = tool_of(name)
        system = tool.find(environ) if tool is not None else None
        if system is not None:
            return system
    return None


def others(kind: str, environ: Mapping[str, str]) -> Iterator[ModuleSystem]:
    """Yield the built-in tools that this machine has besides the one of this name."""
    for name in _BUILTIN:
        system = find(environ, name) if name != kind else None
        if system is not None:
            yield system


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
