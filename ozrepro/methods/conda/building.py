"""The building half of the conda method: what fills an environment's directory from the lock, and the checks after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ozrepro.errors import BuildError
from ozrepro.methods.conda import activating, installed
from ozrepro.methods.conda.helper import open_helper
from ozrepro.methods.conda.link_scripts import format_scripts, scripts_in
from ozrepro.methods.conda.lock import interpreter_of
from ozrepro.project.formatting import size_words
from ozrepro.store.manifest import Digests

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from ozrepro.methods.conda.lock import Locked
    from ozrepro.methods.contract import Progress, Say
    from ozrepro.methods.target import Target
    from ozrepro.python.install import Chosen
    from ozrepro.python.interpreter import Interpreter

_LONGEST_PREFIX = 255 - len("/bin/python3.12")
"""Characters of a prefix that packages can be made to fit: conda-build pads the places for it to 255."""


def build(locked: Locked, target: Target, variables_of: Callable[[], Mapping[str, str]], say: Say, progress: Progress) -> Digests:
    """Fetch, check and link the packages, add pip's, capture the activation, and check all of it.

    `variables_of` gives the variables of the environment once its activation is captured.
    Raises BuildError, CommandFailed.
    """
    prefix, helper = target.prefix, open_helper(target.site, say)
    if len(str(prefix)) > _LONGEST_PREFIX:
        raise BuildError(
            f"a conda environment's path can have {_LONGEST_PREFIX} characters, and this one would have {len(str(prefix))}",
            where=str(prefix),
            hint="set OZREPRO_STORE to a directory with a shorter path",
        )
    size = sum(item.size or 0 for item in locked.records)
    say(f"{len(locked.records)} conda package{'s' if len(locked.records) != 1 else ''}, {size_words(size)} packed")
    digests = Digests()
    linked = helper.install(locked.records, locked.addresses, prefix, progress, digests=digests)
    packages = linked.packages
    for line in (*linked.shared, *format_scripts(scripts_in(file.path for package in packages for file in package.files))):
        say(line)
    activating.keep(activating.capture(prefix, locked.below(), locked.variables), prefix)
    chosen: tuple[Chosen, ...] = ()
    python, variables = None, variables_of()
    if locked.layer.packages or locked.layer.projects or has_python(prefix):
        from ozrepro.methods.conda import python as conda_python

        python = interpreter_of(prefix)
        chosen = conda_python.choose(locked, python)
        conda_python.add(chosen, locked.layer, python, variables, target, digests, say, progress)
        progress("compiling bytecode", 0, 0)
        conda_python.compile_modules(target, python, variables, packages, digests)
    progress("checking files, requirements and imports", 0, 0)
    # pip may have written over a package's file; whatever else did is seen when the environment is published.
    broken = installed.damaged(prefix, packages, digests) if chosen else {}
    problems = _problems(locked, chosen, python, prefix, variables, packages, broken)
    if problems:
        raise BuildError(
            "\n  ".join(("the new environment did not pass its checks:", *problems[:30])),
            hint="change dependencies or imports in the spec, then: ozrepro lock",
        )
    digests.expect({file.path: file.sha256 for package in packages for file in package.files})
    return digests


def _problems(
    locked: Locked,
    chosen: Sequence[Chosen],
    python: Interpreter | None,
    prefix: Path,
    variables: Mapping[str, str],
    packages: Sequence[installed.Installed],
    broken: Mapping[str, Sequence[str]],
) -> list[str]:
    wrong = list(installed.unlike_lock(packages, locked.records))
    if locked.mpi is not None:
        from ozrepro.methods.conda import mpi_linkage

        name = locked.mpi.load[-1].partition("/")[0]
        users = [item.title for item in locked.records if any(line.split()[0] == name for line in item.depends)]
        wrong += mpi_linkage.problems([item for item in packages if item.title in users], prefix, variables)
    wrong += lines_of(broken)
    if python is None:
        return wrong if not locked.layer.imports else [*wrong, "imports are named and the environment has no Python"]
    from ozrepro.methods.conda import python as conda_python

    wrong += conda_python.problems(chosen, locked.layer, prefix, python.markers)
    return wrong or conda_python.failed_imports(locked, prefix, variables)


def lines_of(broken: Mapping[str, Sequence[str]]) -> list[str]:
    """Return what is wrong with each package, by its title, as lines."""
    return [f"{title}: {line}" for title, lines in broken.items() for line in lines]


def has_python(prefix: Path) -> bool:
    """Say whether an environment has a Python."""
    return (prefix / "bin" / "python").exists()
