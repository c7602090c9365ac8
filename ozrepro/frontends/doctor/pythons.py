"""Which Python the caller gets, and what leaks into every Python: packages in ~/.local, variables, a pip that installs there."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from ozrepro.faststart.ownpython import needs_module
from ozrepro.frontends.doctor.finding import Finding, fine, note, wrong
from ozrepro.frontends.keptout import kept_out, listed
from ozrepro.modulesystem.site_index import find_system, site_modulepath
from ozrepro.process import find_program

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ozrepro.frontends.doctor.surroundings import Surroundings

SHOWN = 5
"""Names of packages that are told."""

_NO = ("", "0", "n", "no", "f", "false", "off")
"""What pip takes for no (pip's strtobool), and an empty value, which it passes over."""

_DISTRIBUTION = re.compile(r"([A-Za-z0-9][A-Za-z0-9._]*)(?:-[^-]+.*)?\.(?:dist-info|egg-info|egg-link|egg)\Z")


def check_user_packages(place: Surroundings) -> list[Finding]:
    """Look for packages in the user's own site-packages, which every Python of that version imports before a module's."""
    base = Path(place.environ.get("PYTHONUSERBASE") or place.home / ".local")
    found: list[Finding] = []
    for folder in sorted(base.glob("lib/python*/site-packages")):
        names = sorted({match[1] for name in _listed(folder) if (match := _DISTRIBUTION.match(name))}, key=str.lower)
        if not names:
            continue
        first = ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")
        where = place.short(folder)
        seen = f"{where} has {len(names)} package{'s' * (len(names) > 1)}: {first}"
        if place.environ.get("PYTHONNOUSERSITE"):
            found.append(note(seen, "They leak wherever PYTHONNOUSERSITE is not set, as it is here."))
            continue
        why = "Outside ozrepro's sessions every Python of that version imports them instead of what its modules have."
        minor = folder.parent.name.removeprefix("python")
        if not _is_here(minor, place):
            why = (
                f"No Python {minor} is on PATH or in a module that is offered at first: `pip install` inside an image, which is "
                "read-only, probably put them there. Outside ozrepro's sessions every image with that Python imports them."
            )
        found.append(wrong(seen, why, f"mv {where} {where}.off", "export PYTHONNOUSERSITE=1"))
    return found or [fine(f"no packages in {place.short(base)}")]


def _is_here(minor: str, place: Surroundings) -> bool:
    """Say whether this machine has a Python of a minor version: a program, or a module that needs no other first."""
    if find_program(f"python{minor}", place.path):
        return True
    folders = (Path(folder) for folder in site_modulepath(place.site))
    offered = (path.name for folder in folders for path in folder.glob("[Pp]ython*/*"))
    return any(name == minor or name.startswith((f"{minor}.", f"{minor}-")) for name in offered)


def _listed(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def check_python_variables(place: Surroundings) -> list[Finding]:
    """Look at the variables that change what every Python imports and where pip installs."""
    found = [*_leaks(place), *_pip(place)]
    return found or [fine("no variable changes what every Python imports")]


def _leaks(place: Surroundings) -> Iterator[Finding]:
    environ = place.environ
    loaded = environ.get("LOADEDMODULES")
    if environ.get("PYTHONPATH"):
        why = "Every Python imports from there first, whatever its version and environment."
        if loaded:
            yield note("PYTHONPATH is set, and modules are loaded, which may have set it", why)
        else:
            yield wrong("PYTHONPATH is set, and no module is loaded", why, "unset PYTHONPATH")
    if environ.get("PYTHONHOME"):
        yield wrong(
            "PYTHONHOME is set", "Every other Python looks for its standard library there and cannot start.", "unset PYTHONHOME"
        )
    if environ.get("PYTHONUSERBASE"):
        yield wrong(
            "PYTHONUSERBASE is set", "It is ~/.local at another place: its packages leak in the same way.", "unset PYTHONUSERBASE"
        )
    if environ.get("PIP_USER", "").lower() not in _NO:
        why = "pip then installs for all Pythons instead of into the active environment, or refuses."
        yield wrong("PIP_USER is set", why, "unset PIP_USER")


def _pip(place: Surroundings) -> Iterator[Finding]:
    why = "Without it pip installs into ~/.local when no environment is active, and those packages leak into all others."
    value = place.environ.get("PIP_REQUIRE_VIRTUALENV")
    if value:
        if value.lower() in _NO:
            yield wrong(f"PIP_REQUIRE_VIRTUALENV={value[:8]}", why, "export PIP_REQUIRE_VIRTUALENV=true")
        return
    if place.environ.get("VIRTUAL_ENV") or place.environ.get("CONDA_PREFIX") or _is_required(place):
        return
    if find_program("pip", place.path) or find_program("pip3", place.path):
        yield note("PIP_REQUIRE_VIRTUALENV is not set", why, "export PIP_REQUIRE_VIRTUALENV=true")


def _is_required(place: Surroundings) -> bool:
    """Say whether one of pip's configuration files asks for a virtual environment."""
    config = Path(place.environ.get("XDG_CONFIG_HOME") or place.home / ".config")
    files = (place.environ.get("PIP_CONFIG_FILE"), config / "pip" / "pip.conf", place.home / ".pip" / "pip.conf", "/etc/pip.conf")
    texts = [place.read(Path(file)) or "" for file in files if file]
    values = [
        item[1].lower() for text in texts for item in re.finditer(r"^require-virtualenv\s*[=:]\s*(\S+)", text, re.MULTILINE)
    ]
    return any(value not in _NO for value in values)


def check_kept_out(place: Surroundings) -> list[Finding]:
    """Look which variables that a job usually has no session gets."""
    names = kept_out(place.environ, place.settings.passed)
    if not names:
        return [fine("sessions get all that a job usually has")]
    why = "A session starts from a list, so that the shell does not change its result; these load code, or are your site's own."
    remedies = (
        f'pass = ["{names[0]}"]  # in the spec, or in [tool.ozrepro]',
        f"export OZREPRO_PASS={names[0]}  # for all projects here",
    )
    return [note(f"kept out of sessions: {listed(names)}", why, *remedies)]


def check_own_python(place: Surroundings) -> list[Finding]:
    """Look whether ozrepro's own Python starts without what the caller's modules have set."""
    needs = needs_module(place.environ)
    return [note(needs.what, needs.why, needs.command)] if needs else [fine("ozrepro's own Python starts without any module")]


def check_python(place: Surroundings) -> list[Finding]:
    """Look which python3 the caller would get."""
    python = find_program("python3", place.path)
    if python is None:
        return [note("there is no python3 on PATH", "Nothing of ozrepro needs one: sessions bring theirs.")]
    system = os.path.realpath("/usr/bin/python3")
    if os.path.realpath(python) == system and find_system(place.site) is not None:
        environment = Path(python).parent.parent
        its = "It is the operating system's" + (
            f", through the virtual environment {place.short(str(environment))}" if (environment / "pyvenv.cfg").is_file() else ""
        )
        why = f"{its}: it changes with updates, and the site's modules have newer ones."
        return [
            note(f"python3 is {python}, though modules offer others", why, "ozrepro run NAME -- python …", "module spider python")
        ]
    return [fine(f"python3 is {place.short(python)}")]
