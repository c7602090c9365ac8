"""The module tool: whether it is there, which one, and whether the caller's variables switch it off or change its answers."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from ozrepro.frontends.doctor.finding import Finding, fine, note, wrong
from ozrepro.modulesystem import site_index, tools

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ozrepro.frontends.doctor.surroundings import Surroundings
    from ozrepro.modulesystem import ModuleSystem


def check_modules(place: Surroundings) -> list[Finding]:
    """Look for the module tool, its version, its module directories, and variables that are known to hurt."""
    system = site_index.find_system(place.site)
    found = [*_switched_off(place)]
    if system is None:
        return found or [fine("no module system here: sessions use other methods")]
    hurting = [note(item.seen, item.why, item.command) for item in system.pitfalls(place.environ)]
    return [*found, *_version(place, system), *_other(place, system), *_directories(place, system), *hurting]


def _switched_off(place: Surroundings) -> Iterator[Finding]:
    name = tools.switched_off(place.environ)
    if name is None:
        return
    seen = f"{name}={place.short(place.environ[name])[:80]} is not a program"
    why = "`module` then does nothing and says nothing; some sites set it so in jobs. Locked sessions run all the same."
    if place.site.job:
        yield note(seen, why)
    else:
        yield wrong(seen, why, f"unset {name}; exec bash -l")


def _version(place: Surroundings, system: ModuleSystem) -> Iterator[Finding]:
    if place.is_in_home(system.command):
        yield note(f"{system.title} at {place.short(system.command)} is inside the home: it was not asked")
        return
    version = system.version()
    if tuple(int(part) for part in re.findall(r"\d{1,6}", version)[:2]) < system.oldest:
        oldest = ".".join(map(str, system.oldest))
        yield note(f"{system.title} {version}", f"ozrepro was tried with {oldest} and newer: compare what a session loads.")
    else:
        yield fine(f"{system.title} {version} at {system.command}")


def _other(place: Surroundings, system: ModuleSystem) -> Iterator[Finding]:
    """Say which of two tools is taken, and why."""
    used = tools.used(place.environ)
    for other in tools.others(system.kind, place.environ):
        here_too = f"{other.title} is here too"
        if place.settings.module_tool:
            yield fine(f"{here_too}; {system.title} is taken, as module-tool says")
        elif used == system.kind:
            yield fine(f"{here_too}; {system.title} is taken, which `module` calls in this shell")
        else:
            why = f"Nothing says which one `module` calls here; {system.title} is taken."
            yield note(here_too, why, f"export OZREPRO_MODULE_TOOL={other.kind}  # to take the other one")


def _directories(place: Surroundings, system: ModuleSystem) -> Iterator[Finding]:
    named = site_index.site_modulepath(place.site)
    there = [folder for folder in named if os.path.isdir(folder)]
    if there:
        yield fine(f"module directories: {':'.join(there)}")
    elif tools.is_started(place.environ):
        seen = "MODULEPATH names no directory that is there" if named else "MODULEPATH is empty"
        why = f"{system.title} then knows no module at all, and nothing can be locked."
        yield wrong(seen, why, "exec bash -l", "export OZREPRO_MODULEPATH=DIR  # the site's module directories")
    else:
        seen = f"this shell has no module directories: {system.title} was not started in it"
        yield note(seen, "No module can be locked from here.", "bash -l")
