"""The half of the conda method that is for environments with a Python: what pip adds, bytecode, requirements, imports.

Loaded where there is one: an environment of programs alone pays nothing for it.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from ozrepro.errors import BuildError
from ozrepro.methods.comparing import inside_of
from ozrepro.python import bytecode, install, interpreter, linked
from ozrepro.python import installed as outside
from ozrepro.python.contents import NotAsRecordedError
from ozrepro.python.layer import open_uv
from ozrepro.store.manifest import take

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from ozrepro.methods.comparing import Inside
    from ozrepro.methods.conda.installed import Installed
    from ozrepro.methods.conda.lock import Locked
    from ozrepro.methods.contract import Progress, Say
    from ozrepro.methods.target import Target
    from ozrepro.python.interpreter import Interpreter
    from ozrepro.python.layer import LockedLayer
    from ozrepro.store.manifest import Digests

_FREE = re.compile(r"_cp3[0-9]+t\Z", re.ASCII)


def choose(locked: Locked, python: Interpreter) -> tuple[install.Chosen, ...]:
    """Return what pip adds to an environment of this Python. Raises BuildError."""
    return install.choose_files(locked.layer.packages, python) if locked.layer.packages else ()


def recorded(locked: Locked) -> Interpreter:
    """Return the environment's Python as the lock tells of it. Raises BuildError where it has none."""
    python = next((item for item in locked.records if item.name == "python"), None)
    if python is None:
        raise BuildError("the lock has no python among its records", hint="add python to dependencies in [conda]")
    # conda-forge's builds without the global lock end with the ABI, such as `_cp313t`.
    return interpreter.recorded("bin/python", python.version, free_threaded=bool(_FREE.search(python.build)))


def locked_files(locked: Locked) -> tuple[install.Chosen, ...]:
    """Return what pip adds to this environment, its Python not started. Raises BuildError."""
    return install.choose_files(locked.layer.packages, recorded(locked)) if locked.layer.packages else ()


def add(
    chosen: Sequence[install.Chosen],
    layer: LockedLayer,
    python: Interpreter,
    variables: Mapping[str, str],
    target: Target,
    digests: Digests,
    say: Say,
    progress: Progress,
) -> None:
    """Install what pip adds and the local projects, and check that it is what the wheels hold and leaves what is there alone.

    `variables` are those of the environment, which compilers get.
    Raises BuildError, CommandFailed; where uv's cache had other files it has forgotten them by then.
    """
    prefix, site = target.prefix, target.site
    if not (chosen or layer.projects):
        return
    from ozrepro.python import repositories

    uv, before = open_uv(site, say), take(prefix, digests)
    chosen = repositories.provided(chosen, repositories.Workshop(uv, site, say), python, layer.build)
    archives = install.archives(chosen, ())
    with linked.recalled(uv, prefix, archives, digests):
        pass
    install.install(uv, prefix, chosen, (), progress)
    if layer.projects:
        from ozrepro.python import localinstall

        local = layer.local_here(python.markers)
        localinstall.install_projects(uv, prefix, site.settings.root, local, layer.build, site.environ, variables)
    try:
        install.check_contents(uv, prefix, before, archives, digests)
    except NotAsRecordedError as error:
        install.forget(uv, chosen)
        raise BuildError(error.what, hint="the same command again: the package cache has forgotten these packages") from error
    records = {f"conda-meta/{name}" for name in os.listdir(prefix / "conda-meta")} - {entry.path for entry in before}
    if records:
        what = f"a package of pip brings {', '.join(sorted(records))}, where conda's own records are"
        raise BuildError(what, hint="ask for another version of the package")


def compile_modules(
    target: Target, python: Interpreter, variables: Mapping[str, str], packages: Sequence[Installed], digests: Digests
) -> None:
    """Give all modules their bytecode, but for those whose packages bring it. Raises OSError, CommandFailed, StoreError."""
    prefix = target.prefix
    folder = install.site_packages(prefix)
    base = f"{os.path.relpath(folder, prefix)}/"
    files = [file for package in packages for file in package.files if file.path.startswith(base)]
    bytecode.provide(
        prefix,
        folder,
        bytecode.kept_for(target.site.settings, python),
        variables,
        digests,
        brought={file.path.removeprefix(base) for file in files if file.path.endswith(".pyc")},
        changing={file.path.removeprefix(base) for file in files if file.changed},
    )


def problems(chosen: Sequence[install.Chosen], layer: LockedLayer, prefix: Path, markers: Mapping[str, str]) -> Iterator[str]:
    """Yield what is wrong with what pip added, and each requirement of it that is not met; `markers` are the Python's."""
    there = outside.distributions([str(install.site_packages(prefix))])
    for item in chosen:
        name, version = item.package.name, item.package.version
        if name not in there or there[name].version != version:
            yield f"{name} {version} is locked, and {there[name].version if name in there else 'none'} is there"
    local = [item.name for item in layer.local_here(markers)]
    yield from (f"{name}, a local project, is not installed" for name in local if name not in there)
    yield from outside.unmet(there, [*(item.package.name for item in chosen), *local], markers, layer.overridden)


def failed_imports(locked: Locked, prefix: Path, variables: Mapping[str, str]) -> list[str]:
    """Return a line for each import that the lock names and that fails."""
    return install.check_imports(prefix, locked.layer.imports, variables)


def inside(locked: Locked, prefix: Path) -> Inside:
    """Return what its Python finds, as the files tell."""
    return inside_of(recorded(locked).version, (str(install.site_packages(prefix)),))


def distributions(prefix: Path) -> dict[str, str]:
    """Return name and version of each Python distribution."""
    return install.distributions(install.site_packages(prefix))
