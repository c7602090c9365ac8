"""The resolving half of the modules method: everything that asks the site's module tool or a package index."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from packaging.requirements import Requirement

from ozrepro.environment import passing
from ozrepro.errors import BuildError
from ozrepro.methods.modules.lock import Locked, compile_package, given_by, layer_of, variables_of
from ozrepro.modulesystem import fingerprint, loading, record
from ozrepro.modulesystem.following import fill, parts_of
from ozrepro.project.requirement import entries_of
from ozrepro.python import installed as outside
from ozrepro.python import layer as packages
from ozrepro.python import repositories, toolchain
from ozrepro.python.layer import LockedLayer, open_uv
from ozrepro.python.pylock import read_pins
from ozrepro.python.resolve import Wanted
from ozrepro.python.resolve import resolve as resolve_packages

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ozrepro.methods.contract import Request, Say
    from ozrepro.methods.modules.table import ModulesTable
    from ozrepro.modulesystem.capture import Captured
    from ozrepro.python.interpreter import Interpreter
    from ozrepro.python.layer import Layer
    from ozrepro.python.packages import LockedPackage
    from ozrepro.python.pylock import Pins
    from ozrepro.python.resolve import Resolved
    from ozrepro.python.toolchain import Toolchain
    from ozrepro.python.uv import Uv
    from ozrepro.site import Site


def resolve(request: Request[ModulesTable, Locked], platform: str) -> dict[str, Any]:
    """Return the content of a lock's section: modules, what loading them does, and the packages on top.

    Raises ModuleError, BuildError, CommandFailed.
    """
    subject, say, pins = request.subject, request.say, read_pins(request.source)
    table, site, on_top = subject.table, subject.site, layer_of(subject)
    load = loading.load(loading.modules_request(subject.spec, site), site)
    captured = load.captured
    _tell(load, table, site, say)
    path = toolchain.find_python(_path_of(captured))
    if path is None:
        raise BuildError(
            f"the modules {' '.join(captured.load)} bring no Python",
            where=str(subject.spec.path),
            hint="name a module with Python in load, such as python/… (ozrepro spider python); the system's own is never taken",
        )
    made = load.record(fingerprint.interpreter_files(path))
    empty = LockedLayer(subject.spec.imports, on_top.passed, (), (), ())
    locked = Locked(platform, made, path, "", False, table.venv.system_site_packages, (), {}, empty)
    variables, uv = variables_of(locked, site), open_uv(site)
    tools = toolchain.look(path, uv, variables, system_site_packages=table.venv.system_site_packages)
    # The load gives a path; where that is a script, the Python that it starts is another file, and has its digest too.
    more = fingerprint.take(fingerprint.interpreter_files(tools.python.path))
    locked = replace(
        locked,
        modules=replace(made, files=tuple(dict.fromkeys((*made.files, *more)))),
        python=os.path.realpath(path),
        version=tools.python.version,
        free_threaded=tools.python.free_threaded,
        folders=tools.folders,
        provides={name: item.version for name, item in sorted(tools.outside.items())},
    )
    # Another cluster of the site that was locked before gives a new one its versions.
    known = request.old.get(platform) or next(iter(request.old.values()), None)
    previous = known.layer if known is not None else None
    locked = replace(locked, layer=_packages(locked, on_top, tools, site, previous, request.upgrade, pins, say))
    return _content(locked, on_top, site, say)


def _tell(load: loading.Load, wanted: ModulesTable, site: Site, say: Say) -> None:
    """Say what a user should know of this load."""
    captured, offered = load.captured, load.offered
    for line in captured.messages.splitlines():
        say(f"the modules say: {line}")
    for line in load.told():
        say(line)
    if captured.lost:
        names = ", ".join(captured.lost[:3]) + (f" and {len(captured.lost) - 3} more" if len(captured.lost) > 3 else "")
        say(f"the lock cannot hold {names}: module list, load and purge in a session do not see all of the locked modules")
    if captured.parents:
        below = [name for name in captured.load if name not in captured.parents and any(offered.chains(name))]
        need = f"need{'s' if len(below) == 1 else ''} {'it' if len(captured.parents) == 1 else 'them'}"
        say(f"loads {' '.join(captured.parents)} first: {' '.join(below)} {need}")
    bare = [module.name for module in captured.modules if module.name.endswith("-bare")]
    if bare and wanted.venv.system_site_packages:
        say(f"warning: {bare[0]} has hardly any packages for system-site-packages to show: the full module has no -bare")
    for path in fingerprint.user_rc_files(site.environ):
        say(f"{path.replace(site.environ.get('HOME', ''), '~', 1)} is not followed: a lock means the same for every user")
    is_passed = passing(wanted.passed)
    unset = [name for name in (*captured.change.variables, *captured.change.paths) if is_passed(name)]
    if unset:
        say(f"the modules set {', '.join(unset)}: the caller's value is not passed")


def _path_of(captured: Captured) -> tuple[str, ...]:
    """Return the directories in front of PATH, without those that follow who starts a session."""
    path = captured.change.paths.get("PATH")
    if path is not None:
        return path.prepend
    cases = captured.change.follow.get("PATH", ())
    found = next((case.path for case in reversed(cases) if case.path is not None), None)
    return tuple(fill(entry, {}) for entry in found.prepend if len(parts_of(entry)) == 1) if found is not None else ()


def _packages(
    locked: Locked,
    layer: Layer,
    found: Toolchain,
    site: Site,
    previous: LockedLayer | None,
    upgrade: tuple[str, ...] | None,
    pins: Pins,
    say: Say,
) -> LockedLayer:
    """Resolve what the toolchain lacks, keep its own versions, and compile what the spec names in build."""
    python = found.python
    uv = toolchain.within(open_uv(site), variables_of(locked, site))
    lines = [entry.text for text in layer.texts() for entry in entries_of(text)]
    overridden = outside.demanded(_plain(lines), found.outside, python.markers)
    for reason in overridden.values():
        say(f"{reason}: another version is installed over it")
    minor = int(python.minor.split(".")[1])
    with packages.local_projects(uv, layer, python, site, say, uv.variables) as projects:
        task = Wanted(
            layer.spec.root,
            layer.requirements,
            f">=3.{minor},<3.{minor + 1}",
            (site.platform,),
            site.platform,
            layer.build,
            found.outside,
            frozenset(overridden),
            layer.hashed(),
            "the modules",
            layer.files(),
            projects,
            layer.folders().limits(),
        )
        shop = repositories.Workshop(uv, site, say, uv.variables, given_by(locked))
        task = repositories.with_wheels(task, shop, python, previous, upgrade)
        resolved = resolve_packages(uv, pins.limit(task), python, previous.packages if previous else (), upgrade, say)
        pins.check(resolved, task, say)
        packages.check_resolved(resolved, layer, site.platform, python.minor)
        build = packages.lock_build_packages(uv, task, resolved, python, previous, upgrade, uv.variables)
    twice = [f"{item.name} {found.hidden[item.name].version}" for item in resolved.packages if item.name in found.hidden]
    if twice:
        say(f"the modules' Python has {', '.join(twice)}, which system-site-packages = true in [modules.venv] would show")
    done = replace(locked.layer, projects=resolved.local, packages=resolved.packages, build=build)
    return replace(done, packages=tuple(_compiled(replace(locked, layer=done), resolved, python, uv, site, say)))


def _compiled(locked: Locked, resolved: Resolved, python: Interpreter, uv: Uv, site: Site, say: Say) -> Iterator[LockedPackage]:
    """Yield the packages, those that are source archives with the wheel that is compiled of each."""
    for package in resolved.packages:
        if package.files[0].is_wheel:
            yield package
            continue
        say(f"compiling {package.name} {package.version} against the loaded modules")
        wheel = compile_package(package, resolved.sources[package.files[0].sha256], locked, python, uv, site)
        yield replace(package, built=wheel)


def _plain(lines: Sequence[str]) -> list[str]:
    """Return the lines that are requirements, and no options."""
    found: list[str] = []
    for text in lines:
        if not text.startswith("-"):
            try:
                found.append(str(Requirement(text)))
            except ValueError:
                continue
    return found


def _content(locked: Locked, layer: Layer, site: Site, say: Say) -> dict[str, Any]:
    """Return the section's content, with the project's and the home's folders replaced by marks. Raises BuildError."""
    table = locked.modules.as_table()
    head = layer.head(locked.layer.projects)
    content: dict[str, Any] = {
        **{key: table.pop(key) for key in ("tool", "system", "modulepath", "load", "parents") if key in table},
        "python": locked.python,
        "version": locked.version,
        **({"free-threaded": True} if locked.free_threaded else {}),
        "system-site-packages": locked.system_site_packages,
        "folders": list(locked.folders),
        **head,
        **{key: table.pop(key) for key in ("module", "file")},
        "provides": dict(locked.provides),
        **table,
    }
    places = record.places_of(str(site.settings.root), site.environ.get("HOME", ""))
    if record.hides_a_place(content["change"].get("table", ()), places):
        del content["change"]["table"]
        say("the lock leaves out the module tool's table, which names a folder of yours: module list in a session shows nothing")
    marked = record.replaced(content, lambda text: record.portable(text, places))
    if record.replaced(marked, lambda text: record.local(text, places)) != content:
        raise BuildError(f"the modules use the words {' or '.join(places)} in their values, which a lock uses itself")
    return {**marked, **packages.packages_table(locked.layer.packages, locked.layer.build, locked.layer.projects)}
