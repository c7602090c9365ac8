"""Looks at the modules of the caller's shell."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ozrepro.errors import OzreproError
from ozrepro.frontends.init import Loaded, Package
from ozrepro.frontends.init.packages import TOOLS, import_names
from ozrepro.modulesystem import ModuleError, site_index
from ozrepro.modulesystem.bookkeeping import asked_for, default_modules
from ozrepro.modulesystem.capture import with_parents
from ozrepro.modulesystem.search import search
from ozrepro.python.installed import distributions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ozrepro.modulesystem.index import Index
    from ozrepro.site import Site


def look_at_modules(site: Site, root: Path) -> tuple[Loaded | None, list[str]]:
    """Return the modules that the user loaded, without those that others bring, and what to say of them."""
    notes: list[str] = []
    names = _asked(site.environ, notes)
    if not names:
        return None, notes
    try:
        index, use = _offered(site, names)
    except OzreproError as error:
        notes.append(f"the modules loaded are taken as they are, since the site's cannot be looked up: {error.what}")
        return Loaded(tuple(names)), notes
    unknown = [name for name in names if name not in index.modules]
    notes += [f"{name} is loaded, and is not in the index of the site's modules" for name in unknown]
    load = needed(names, index)
    if not any("python" in name.lower() for name in site.environ.get("LOADEDMODULES", "").split(":")):
        notes.append("none of the modules loaded seems to bring a Python, which a session needs: ozrepro spider python")
    parents = tuple(name for name in names if name not in load)
    places = tuple(_written(folder, root, site.environ) for folder in use)
    return Loaded(load, parents, places, _packages(load, index, site.environ)), notes


def _asked(environ: Mapping[str, str], notes: list[str]) -> list[str]:
    """Return the modules that were asked for, but not by the site for everybody."""
    default = default_modules(environ)
    found: list[str] = []
    for name in asked_for(environ):
        if any(name == other or name.startswith(f"{other}/") for other in default):
            notes.append(f"{name} is left out: the site loads it for everybody")
        elif "/" not in name:
            notes.append(f"{name} is left out: it has no version, which a spec needs")
        else:
            found.append(name)
    return found


def _offered(site: Site, names: Sequence[str]) -> tuple[Index, list[str]]:
    """Return the index of the site's modules, and of the directories of those loaded that are not among them."""
    index = site_index.look(site).index
    loaded = zip(site.environ.get("LOADEDMODULES", "").split(":"), site.environ.get("_LMFILES_", "").split(":"), strict=False)
    use = list(
        dict.fromkeys(
            file.removesuffix(".lua").removesuffix(f"/{name}")
            for name, file in loaded
            if name in names and name not in index.modules and file.removesuffix(".lua").endswith(f"/{name}")
        )
    )
    return (site_index.look(site, use=use).index, use) if use else (index, [])


def needed(names: Sequence[str], index: Index) -> tuple[str, ...]:
    """Return the names without those that the others have found for them as the parents of a hierarchy."""
    kept = list(names)
    for name in names:
        rest = [other for other in kept if other != name]
        try:
            if rest and name in with_parents(rest, index):
                kept = rest
        except ModuleError:
            continue
    return tuple(kept)


def _written(folder: str, root: Path, environ: Mapping[str, str]) -> str:
    """Return a folder as a spec should name it: from the project or from the home, where it lies in one of them."""
    real = os.path.realpath(folder)
    home = environ.get("HOME", "")
    for base, prefix in ((str(root), ""), (home, "~/")):
        inside = os.path.realpath(base) if os.path.isabs(base) else "/"
        if inside != "/" and real.startswith(f"{inside}/"):
            return prefix + real.removeprefix(f"{inside}/")
    return folder


def _packages(load: Sequence[str], index: Index, environ: Mapping[str, str]) -> tuple[Package, ...]:
    """Return the Python packages that these modules say they have and that their Python finds through the shell's variables."""
    claimed = {
        name for full in load for offer in search(index, full, hidden=True) for way in offer.ways for name, _ in way.packages
    }
    folders = [folder for folder in environ.get("PYTHONPATH", "").split(":") if os.path.isabs(folder)]
    for prefix in filter(os.path.isabs, environ.get("EBPYTHONPREFIXES", "").split(":")):
        folders += sorted(str(path) for path in Path(prefix).glob("lib/python*/site-packages"))
    found = distributions(folders)
    wanted = {name.lower().replace("_", "-").replace(".", "-") for name in claimed} - TOOLS
    kept = sorted(name for name in found if name in wanted)
    return tuple(Package(name, found[name].version, import_names(name, found[name].info)) for name in kept)
