"""The module system of this machine and what it offers, from the index that is kept between two commands."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ozrepro.modulesystem import ModuleError, tools
from ozrepro.modulesystem.cache import cached_index
from ozrepro.store import cache_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ozrepro.modulesystem import ModuleSystem
    from ozrepro.modulesystem.index import Index
    from ozrepro.project.settings import Settings
    from ozrepro.site import Site


class NoModulesError(ModuleError):
    """This machine has no module system, or one that looks nowhere."""

    exit_code = 4


@dataclass(frozen=True, slots=True)
class Offered:
    """What the site offers: its module directories, the index of them, and when that was made, in epoch seconds."""

    modulepath: tuple[str, ...]
    index: Index
    made: float


def find_system(site: Site) -> ModuleSystem | None:
    """Return the site's module tool, called with the site's variables that the settings name, or None where there is none."""
    tool = tools.find(site.environ, site.settings.module_tool)
    names = site.settings.site_variables
    return tool and tool.given({name: site.environ[name] for name in names if name in site.environ})


def absent(site: Site) -> str:
    """Return what to say where there is no module tool."""
    wanted = site.settings.module_tool
    return f"no module system here ({tools.title_of(wanted) if wanted else ', '.join(tools.titles())})"


def other_tool(locked: str, site: Site) -> list[str]:
    """Return a line where the module tool here is another one than a lock says, such as `lmod 8.7.60`; its version may differ."""
    kind, _, version = locked.partition(" ")
    other = tools.other_than(kind, site.environ, site.settings.module_tool)
    if other is None:
        return []
    title = tools.title_of(kind)
    return [f"the modules were locked with {title} {version}; the module tool here is {other.title} ({other.command})"]


def site_modulepath(site: Site) -> tuple[str, ...]:
    """Return the site's own module directories: those of the settings, else those that the module tool tells."""
    system = None if site.settings.modulepath else find_system(site)
    return site.settings.modulepath if system is None else system.base_modulepath(site.environ)


def index_of(system: ModuleSystem, modulepath: Sequence[str], site: Site) -> Index:
    """Return what the directories offer, from the cache where nothing was added or removed since. Raises ModuleError."""
    return cached_index(system, modulepath, _folder(site.settings, site.environ))[0]


def index_for(names: Sequence[str], system: ModuleSystem, modulepath: Sequence[str], site: Site) -> Index:
    """Return what the directories offer, made again where the kept index lacks one of the names. Raises ModuleError.

    Not every change is seen by the cache: a modulefile edited in place may lead to new directories. That a module is absent is a
    verdict, which a user cannot tell from a stale one.
    """
    began, folder = time.time(), _folder(site.settings, site.environ)
    found, made = cached_index(system, modulepath, folder)
    if made >= began or all(name in found.modules for name in names):
        return found
    return cached_index(system, modulepath, folder, refresh=True)[0]


def look(site: Site, *, use: Sequence[str] = (), refresh: bool = False) -> Offered:
    """Return what the site's own module directories offer, those of `use` before them; `refresh` passes the cache over.

    Raises NoModulesError, ModuleError.
    """
    system = find_system(site)
    if system is None:
        raise NoModulesError(absent(site), hint="set LMOD_CMD or MODULES_CMD to the tool's program, where there is one")
    modulepath = tuple(dict.fromkeys((*use, *site_modulepath(site))))
    if not modulepath:
        hint = "set OZREPRO_MODULEPATH to the site's module directories"
        raise NoModulesError("the module system has no directories here (MODULEPATH is empty)", hint=hint)
    return Offered(modulepath, *cached_index(system, modulepath, _folder(site.settings, site.environ), refresh=refresh))


def _folder(settings: Settings, environ: Mapping[str, str]) -> Path:
    """Return the folder of the indexes: the store's, or the user's own cache where there is neither a project nor a store.

    A look at the modules from any folder must not leave a store behind there.
    """
    wanted = settings.cache is not None or settings.store.is_dir() or any((settings.root / "sessions").glob("*.toml"))
    given = environ.get("XDG_CACHE_HOME", "")
    own = given if os.path.isabs(given) else os.path.join(environ.get("HOME", ""), ".cache")
    if wanted or not os.path.isabs(own):
        return cache_of(settings, "modules")
    return cache_of(replace(settings, cache=Path(own) / "ozrepro"), "modules")
