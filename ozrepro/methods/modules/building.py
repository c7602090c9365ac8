"""The building half of the modules method: a venv on the modules' Python, with what is locked and nothing else."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ozrepro.errors import BuildError
from ozrepro.methods.modules.lock import (
    compile_key,
    compile_package,
    compiled_folder,
    given_by,
    provided_otherwise,
    start_interpreter,
    variables_of,
)
from ozrepro.python import bytecode, compiled, install, linked, localinstall, repositories, toolchain
from ozrepro.python import installed as outside
from ozrepro.python.layer import open_uv
from ozrepro.store.manifest import Digests, Entry, take

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ozrepro.methods.contract import Progress, Say
    from ozrepro.methods.modules.lock import Locked
    from ozrepro.methods.target import Target
    from ozrepro.python.installed import Distribution
    from ozrepro.python.interpreter import Interpreter
    from ozrepro.python.packages import LockedFile, LockedPackage
    from ozrepro.python.uv import Uv
    from ozrepro.site import Site


def build(
    locked: Locked,
    chosen: Sequence[install.Chosen],
    target: Target,
    variables: Mapping[str, str],
    say: Say,
    progress: Progress,
) -> Digests:
    """Make the venv on the modules' Python, install and compile what is locked, and check all of it.

    `chosen` are the files for this machine, `variables` those of a program in the environment. Raises BuildError, CommandFailed.
    """
    prefix, site = target.prefix, target.site
    python = start_interpreter(locked, site)
    uv = toolchain.within(open_uv(site, say), variables_of(locked, site))
    shop = repositories.Workshop(uv, site, say, uv.variables, given_by(locked))
    chosen = repositories.provided(chosen, shop, python, locked.layer.build)
    sources = [item.package for item in chosen if not item.file.is_wheel]
    wheels = [(package, _compiled(package, locked, python, uv, site, say)) for package in sources]

    def fill() -> Digests:
        digests, archives = Digests(), install.archives(chosen, ()) | {package.name: wheel.sha256 for package, wheel in wheels}
        with linked.recalled(uv, prefix, archives, digests):
            install.make_venv(uv, python, prefix, system_site_packages=locked.system_site_packages)
            before = take(prefix)
        install.install(uv, prefix, [item for item in chosen if item.file.is_wheel], (), progress)
        if wheels:
            folders = [compiled_folder(site) / compile_key(package, locked) for package in sources]
            compiled.install_compiled(uv, prefix, wheels, folders, uv.variables)
        local = locked.layer.local_here(python.markers)
        localinstall.install_projects(uv, prefix, site.settings.root, local, locked.layer.build, site.environ, uv.variables)
        progress("checking files, requirements and imports", 0, 0)
        entries = install.check_contents(uv, prefix, before, archives, digests)
        _check(locked, python, chosen, target, variables, digests, entries)
        return digests

    return install.fill_twice(uv, chosen, (), fill, say)


def _compiled(package: LockedPackage, locked: Locked, python: Interpreter, uv: Uv, site: Site, say: Say) -> LockedFile:
    """Return the package's wheel: the one that was compiled for the lock where it is kept here, else compiled now."""
    wheel = compile_package(package, None, locked, python, uv, site)
    if package.built is not None and wheel.sha256 != package.built.sha256:
        say(f"{package.name} {package.version} was compiled again: its wheel is not byte for byte the one that was locked")
    return wheel


def expected(
    locked: Locked, python: Interpreter, chosen: Sequence[install.Chosen], installed: Mapping[str, Distribution]
) -> install.Expected:
    """Return what the venv must hold on top of what the modules have."""
    kept = {name: item for name, item in installed.items() if name not in locked.overrides}
    local = [item.name for item in locked.layer.local_here(python.markers)]
    return install.Expected(chosen, local, locked.layer.imports, python.markers, kept, locked.layer.overridden)


def _check(
    locked: Locked,
    python: Interpreter,
    chosen: Sequence[install.Chosen],
    target: Target,
    variables: Mapping[str, str],
    digests: Digests,
    entries: Sequence[Entry],
) -> None:
    """Compare what was built with the lock, and what programs find with what was built. Raises BuildError."""
    installed, prefix = outside.distributions(locked.folders), target.prefix
    kept = bytecode.kept_for(target.site.settings, python)
    install.check(prefix, expected(locked, python, chosen, installed), variables, digests, kept, entries)
    seen = outside.distributions(outside.search_path(str(prefix / "bin" / "python"), variables))
    wrong = provided_otherwise(locked.provides, installed)
    for package in (item.package for item in chosen):
        first = seen.get(package.name)
        if first is None or not first.folder.startswith(f"{os.path.realpath(prefix)}/"):
            wrong.append(f"{package.name} {package.version} is installed, but programs get {first.version if first else 'none'}")
    if wrong:
        raise BuildError(
            "\n  ".join(("the new environment did not pass its checks:", *wrong)),
            hint="change load or requirements in the spec, then: ozrepro lock",
        )
