"""Names of a spec to a locked load, and a locked load to what it comes to now: all that asks the module tool for a method."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ozrepro.environment import BASE_PATH
from ozrepro.errors import BuildError, SpecError
from ozrepro.modulesystem import ModuleError, effects, fingerprint, index
from ozrepro.modulesystem.capture import Asked, Captured, capture, differences, recapture, with_parents
from ozrepro.modulesystem.record import Record
from ozrepro.modulesystem.site_index import absent, find_system, index_for, other_tool, site_modulepath
from ozrepro.modulesystem.table import ModuleRequests
from ozrepro.site import operating_system

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ozrepro.modulesystem import ModuleSystem
    from ozrepro.modulesystem.index import Index
    from ozrepro.project.spec import Spec
    from ozrepro.site import Site


@dataclass(frozen=True, slots=True)
class Request:
    """What a spec asks to be loaded.

    Attributes:
        names: the modules' names.
        modulepath: the directories that they are looked up in.
        key: the spec's key, for messages.
        table: the spec's table of modules where the key is one of it, else "".
        accepted: the modules whose commands for a shell are not to be run.
        site_variables: the spec's own.

    """

    names: tuple[str, ...]
    modulepath: tuple[str, ...]
    key: str
    table: str = ""
    accepted: tuple[str, ...] = ()
    site_variables: tuple[str, ...] = ()

    @property
    def accepting(self) -> str:
        """Where modules can be accepted without their commands for a shell."""
        return f"[{self.table}] accept-effects" if self.table else "[tool.ozrepro] accept-effects of pyproject.toml"

    @property
    def place(self) -> str:
        """Where variables of the site can be named."""
        return f"[{self.table}]" if self.table else "[tool.ozrepro] of pyproject.toml"

    @property
    def using(self) -> str:
        """Where a further directory of modules can be named, with a mark for its path."""
        return f'use = ["{{}}"] into [{self.table}]' if self.table else 'modulepath = [..., "{}"] into [tool.ozrepro]'


def request_of(names: Sequence[str], key: str, spec: Spec, site: Site) -> Request:
    """Return the request of a spec's key, such as `modules.load`."""
    table, wanted = _requests(spec)
    accepted = (*site.settings.accept_effects, *wanted.accept_effects)
    own = table if key.partition(".")[0] == table else ""
    return Request(tuple(names), modulepath_of(spec, site), key, own, accepted, wanted.site_variables)


def _requests(spec: Spec) -> tuple[str, ModuleRequests]:
    """Return what the spec says about modules, in whichever of its tables, and that table's name."""
    tables = ((name, table) for name, table in spec.tables.items() if isinstance(table, ModuleRequests))
    return next(tables, ("", ModuleRequests(())))


@dataclass(frozen=True, slots=True)
class Load:
    """A request that was loaded: the tool, what the directories offer, and what came of it."""

    request: Request
    system: ModuleSystem
    offered: Index
    captured: Captured

    def told(self) -> list[str]:
        """Return what who locks should know of it, one line each."""
        found, lines = self.captured, effects.told(self.captured.shell)
        if found.change.dynamic:
            names = ", ".join(found.change.dynamic)
            lines.append(f"left out, since they follow the host, the clock, the home or the job: {names}")
        return [*lines, *found.reads.lines(found.change.follow)]

    def record(self, more: Iterable[str] = ()) -> Record:
        """Return it as it is locked. `more` are further files that decide, such as an interpreter's. Raises OSError."""
        found, system = self.captured, self.system
        files = [
            *fingerprint.inherited_files(found.modules, self.offered),
            *fingerprint.rc_files(self.request.modulepath, found.modules, system.rc_files()),
            *system.hook_files(),
            *more,
        ]
        return Record(
            tool=f"{system.kind} {system.version()}",
            system=operating_system(),
            modulepath=self.request.modulepath,
            load=found.load,
            parents=found.parents,
            modules=found.modules,
            prints=fingerprint.take(fingerprint.modulefiles(found.modules)),
            files=fingerprint.take(files),
            change=found.change,
            reads=found.reads,
            shell=found.shell,
        )


def modules_request(spec: Spec, site: Site) -> Request:
    """Return the request of a spec's table of modules: the names of its collection, and then its own.

    Raises SpecError where the caller has no such collection.
    """
    name, wanted = _requests(spec)
    request = request_of(wanted.load, f"{name}.load", spec, site)
    system = find_system(site)
    if not wanted.collection or system is None:
        return request
    try:
        saved = system.collection(wanted.collection, site.environ, request.modulepath)
    except ModuleError as error:
        raise SpecError(str(spec.path), [f"{name}.collection: {error.what}"], hint=error.hint) from error
    if not saved:
        hint = f"module save {wanted.collection}, with modules loaded"
        raise SpecError(str(spec.path), [f"{name}.collection: {wanted.collection} holds no modules"], hint=hint)
    return replace(request, names=tuple(dict.fromkeys((*saved, *wanted.load))))


def said_otherwise(locked: Record, spec: Spec, site: Site) -> list[str]:
    """Return a line for each module that the caller's collection has otherwise than was locked; none without one."""
    system = find_system(site)
    _, wanted = _requests(spec)
    if not wanted.collection or system is None:
        return []
    try:
        saved = system.collection(wanted.collection, site.environ, modulepath_of(spec, site))
    except ModuleError:
        return []  # another user's
    asked = [name for name in locked.load if name not in locked.parents]
    title = f"the collection {wanted.collection}"
    lines = [f"{title} now has {name}" for name in saved if name not in asked]
    return lines + [f"{title} no longer has {name}" for name in asked if name not in (*saved, *wanted.load)]


def modulepath_of(spec: Spec, site: Site) -> tuple[str, ...]:
    """Return the directories that names are looked up in: the spec's own first, as `module use` puts them, then the site's."""
    own = (os.path.join(spec.root, os.path.expanduser(folder)) for folder in _requests(spec)[1].use)
    return tuple(dict.fromkeys((*own, *site_modulepath(site))))


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why names cannot be loaded here, and what to do about it where that is not to go to another machine."""

    what: str
    remedy: str = ""


def refusal(request: Request, spec: Spec, site: Site) -> Refusal | None:
    """Return why the names cannot be loaded here, or None.

    Raises SpecError for a loose name, or one that several chains of modules lead to.
    """
    system = _system(request, site)
    if system is None:
        return Refusal(absent(site))
    whole = request.modulepath
    if site.only_looking:
        whole = (*whole, *site.settings.unread)
        request = _of_the_site(request, spec, site, system)
        if not request.names:
            return None
    if not request.modulepath:
        return Refusal("the module system has no directories here (MODULEPATH is empty)")
    found = index_for(request.names, system, request.modulepath, site)
    clean = {"PATH": ":".join(BASE_PATH), "MODULEPATH": ":".join(request.modulepath)}
    where = str(spec.path)
    if twice := _versions_of_one(request.names, request.names, found):
        raise SpecError(where, [f"{request.key}: {line}" for line in twice], hint="keep one of them")
    judged = index.judge(request.names, found, lambda name: system.is_available(name, clean))
    if judged.loose:
        hint = f"write exact names, then: ozrepro lock {spec.name}"
        raise SpecError(where, [f"{request.key}: {line}" for line in judged.loose], hint=hint)
    if judged.absent:
        more = ["the directories that the project names are read by ozrepro lock"] if request.modulepath != whole else []
        return Refusal("; ".join((*judged.absent, *more, *_in_use(request, site, system))), "name another module in the spec")
    try:
        order = with_parents(request.names, found)
    except ModuleError as error:
        hint = f"write one of them into {request.key.rpartition('.')[2]} = […]"
        raise SpecError(where, [f"{request.key}: {error.what}"], hint=hint) from error
    if twice := _versions_of_one(order, request.names, found):
        hint = "keep one of them, and modules that it is loaded for"
        raise SpecError(where, [f"{request.key}: {line}" for line in twice], hint=hint)
    return None


def _in_use(request: Request, site: Site, system: ModuleSystem) -> list[str]:
    """Return a line for each directory of the caller's `module use` that has one of the names and is not looked into."""
    folders = [folder for folder in site.environ.get("MODULEPATH", "").split(":") if folder.startswith("/")]
    lines: list[str] = []
    for folder in (folder for folder in dict.fromkeys(folders) if folder not in request.modulepath):
        paths = [os.path.join(folder, name) for name in request.names]
        if any(os.path.isfile(path + end) for path in paths for end in system.endings):
            lines.append(f"your shell has {folder} in use: to look there too, write {request.using.format(folder)}")
    return lines


def _of_the_site(request: Request, spec: Spec, site: Site, system: ModuleSystem) -> Request:
    """Return the part of a request that the site's own directories answer.

    Modulefiles are code, which the module tool runs to list them. In directories that the spec or the project names, a command
    that only looks sees by the files' names what is there.
    """
    own = site_modulepath(site)
    named = [folder for folder in (*modulepath_of(spec, site), *site.settings.unread) if folder not in own]
    files = [f"{folder}/{{}}{end}" for folder in named for end in system.endings]
    names = (name for name in request.names if not any(os.path.isfile(file.format(name)) for file in files))
    return replace(request, names=tuple(names), modulepath=own)


def _versions_of_one(order: Sequence[str], names: Sequence[str], offered: Index) -> list[str]:
    """Return a line for each module of which several versions would be loaded: Lmod loads one, and its advice does not help here.

    `names` are those of the spec; of a parent that was added to them, what it is loaded for is said.
    """
    found: dict[str, list[str]] = {}
    for name in order:
        found.setdefault(name.rpartition("/")[0] or name, []).append(name)
    lines: list[str] = []
    for versions in (versions for versions in found.values() if len(versions) > 1):
        below = {name: [item for item in names if any(name in chain for chain in offered.chains(item))] for name in versions}
        added = [f"{name} is loaded for {' and '.join(below[name])}" for name in versions if name not in names]
        lines.append("; ".join((f"{' and '.join(versions)} cannot be loaded together", *added)))
    return lines


def _system(request: Request, site: Site) -> ModuleSystem | None:
    """Return the site's module tool, called with the variables that the spec names."""
    system = find_system(site)
    return system and system.given({name: site.environ[name] for name in request.site_variables if name in site.environ})


def load(request: Request, site: Site) -> Load:
    """Load the names and return what that does. Raises ModuleError, BuildError where there is no tool."""
    system = _system(request, site)
    if system is None:
        raise BuildError(absent(site), hint="ozrepro status")
    offered = index_for(request.names, system, request.modulepath, site)
    named = (*request.site_variables, *site.settings.site_variables)
    asked = Asked(
        {name: site.environ.get(name) for name in named},
        frozenset(request.site_variables),
        (*fingerprint.rc_files(request.modulepath, (), system.rc_files()), *system.hook_files()),
        request.place,
    )
    captured = capture(system, request.names, request.modulepath, offered, asked)
    effects.check_accepted(captured.shell, request.accepted, request.accepting)
    return Load(request, system, offered, captured)


def drift(locked: Record, site: Site) -> list[str]:
    """Return a line for what a locked load read that is otherwise now: variables of the site, the module tool, files."""
    tool = other_tool(locked.tool, site) if locked.watched() else []
    return [*locked.reads.drift(site.environ), *tool, *locked.drift()]


def recheck(locked: Record, spec: Spec, site: Site, compare: Callable[[str], list[str]] | None = None) -> list[str]:
    """Load the locked names once more and return what that does otherwise, one line each. Raises BuildError without a tool.

    Names are looked up in the directories of the spec and the site, never in those of the lock, which may be a stranger's.
    `compare` gets the PATH of the load, and says which program that the lock names it does not give.
    """
    system, modulepath = find_system(site), modulepath_of(spec, site)
    if system is None:
        hint = f"ozrepro verify {spec.name} --level 1 where modules can be loaded"
        raise BuildError(f"{absent(site)}: a real load cannot be compared", hint=hint)
    try:
        system = system.given({name: value for name, value in locked.reads.site.items() if value is not None})
        modules, reading, base = recapture(system, locked.load, modulepath, locked.reads.needed)
    except ModuleError as error:
        return error.what.splitlines()
    lines = differences(locked.change, locked.modules, reading, base)
    lines += compare(reading.values.get("PATH", "")) if compare is not None else []
    if modulepath != locked.modulepath:
        lines.append(f"the module directories are {':'.join(modulepath)}, locked are {':'.join(locked.modulepath)}")
    rc = fingerprint.rc_files(modulepath, modules, system.rc_files())
    known = set(locked.watched())
    lines += [f"{path} is new: it may change what names mean" for path in rc if path not in known]
    here = operating_system()
    if here != locked.system:
        lines.append(f"the operating system is {here}, locked is {locked.system}")
    return lines
