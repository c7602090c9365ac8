"""Lmod: whether it is there, which one, and whether the caller's variables switch it off or let it answer from an old cache."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ozrepro.doctor.finding import Finding, fine, note, wrong
from ozrepro.modulesystem.lmod import base_modulepath, find_lmod

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ozrepro.doctor.surroundings import Surroundings
    from ozrepro.modulesystem.lmod import Lmod

OLDEST = (8, 6)
"""The oldest Lmod that the modules method was tried with."""

_YES = ("1", "yes", "y", "true", "on")


def check_lmod(place: Surroundings) -> list[Finding]:
    """Look for Lmod, its version, its module directories, and variables that are known to hurt."""
    lmod = find_lmod(place.environ)
    found = [*_switched_off(place)]
    if lmod is None:
        if place.environ.get("MODULES_CMD") or place.environ.get("MODULESHOME"):
            return [*found, note("Environment Modules (Tcl) are here, and no Lmod: the modules method cannot lock here")]
        return found or [fine("no module system here: sessions use other methods")]
    return [*found, *_version(place, lmod), *_directories(place), *_flags(place)]


def _switched_off(place: Surroundings) -> Iterator[Finding]:
    command = place.environ.get("LMOD_CMD")
    if command is None or (os.path.isabs(command) and os.access(command, os.X_OK) and os.path.isfile(command)):
        return
    seen = f"LMOD_CMD={place.short(command)[:80]} is no program"
    why = "`module` then does nothing and says nothing; some sites set it so in jobs. Locked sessions run all the same."
    if place.site.slurm_job:
        yield note(seen, why)
    else:
        yield wrong(seen, why, "unset LMOD_CMD; exec bash -l")


def _version(place: Surroundings, lmod: Lmod) -> Iterator[Finding]:
    if place.is_in_home(lmod.command):
        yield note(f"Lmod at {place.short(lmod.command)} lies in the home: it was not asked")
        return
    version = lmod.version()
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        yield note(f"Lmod {version}", f"ozrepro was tried with {oldest} and newer: compare what a session loads.")
    else:
        yield fine(f"Lmod {version} at {lmod.command}")


def _directories(place: Surroundings) -> Iterator[Finding]:
    named = base_modulepath(place.environ, place.settings.modulepath)
    there = [folder for folder in named if os.path.isdir(folder)]
    if there:
        yield fine(f"module directories: {':'.join(there)}")
    elif place.environ.get("LMOD_CMD"):
        seen = "MODULEPATH names no directory that is there" if named else "MODULEPATH is empty"
        why = "Lmod then knows no module at all, and nothing can be locked."
        yield wrong(seen, why, "exec bash -l", "export OZREPRO_MODULEPATH=DIR  # the site's module directories")
    else:
        yield note(
            "this shell has no module directories: Lmod was not started in it", "No module can be locked from here.", "bash -l"
        )


def _flags(place: Surroundings) -> Iterator[Finding]:
    if place.environ.get("LMOD_CACHED_LOADS", "").lower() in _YES:
        why = "`module load` then answers from a cache, which may name modules that are gone; ozrepro asks without it."
        yield note("LMOD_CACHED_LOADS is on", why, "module --ignore_cache load NAME")
