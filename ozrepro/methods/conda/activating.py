"""What activating a conda environment does, captured once when it is built and replayed without conda.

conda sources `etc/conda/activate.d/*.sh` of the environment in each shell. Here one bash does it at build time, in the base of a
locked run; what it changed is kept beside the environment as data.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ozrepro import process
from ozrepro.environment import BASE_PATH
from ozrepro.errors import BuildError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

KEPT = "etc/conda/ozrepro-activation.json"
"""Where it is kept in the environment: not in conda-meta, whose files conda takes for packages."""

_HOMES = ("/ozrepro/home/one", "/ozrepro/home/two")
OWN = frozenset(("PWD", "OLDPWD", "SHLVL", "_", "HOME", "PATH"))
"""The variables that a shell or the environment itself keeps, whatever a package says."""
_SOURCE = """
for script in "$CONDA_PREFIX"/etc/conda/activate.d/*.sh; do
    [ -r "$script" ] && . "$script" </dev/null >&2
done
exec env -0
"""


@dataclass(frozen=True, slots=True)
class Activation:
    """What activate.d changes.

    Attributes:
        path: directories put in front of PATH.
        variables: variables set.
        home_relative: variables that hold the caller's home: the parts of the value.
        removed: variables unset.
        dynamic: variables whose value follows the home in another way, the clock or the process: left out.

    """

    path: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    home_relative: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    removed: tuple[str, ...] = ()
    dynamic: tuple[str, ...] = ()


def own_variables(prefix: Path) -> dict[str, str]:
    """Return the variables that conda itself sets for an active environment (conda's documentation, "Managing environments")."""
    return {"CONDA_PREFIX": str(prefix), "CONDA_DEFAULT_ENV": str(prefix), "CONDA_SHLVL": "1"}


def capture(prefix: Path, below: Mapping[str, str], variables: Mapping[str, str]) -> Activation:
    """Source the environment's scripts twice, from two homes, and return what they change. Raises BuildError, CommandFailed.

    `below` are the variables of modules, which those of packages replace; `variables` are the spec's, which replace both.
    """
    own = {name: value for name, value in _of_packages(prefix).items() if name not in variables}
    variables = {**below, **own, **variables}
    if not any((prefix / "etc" / "conda" / "activate.d").glob("*.sh")):
        return Activation(variables=own)
    path = ":".join((str(prefix / "bin"), *BASE_PATH))
    first = {"PATH": path, "LANG": "C.UTF-8", **variables, **own_variables(prefix), "HOME": _HOMES[0]}
    one, two = (_sourced({**first, "HOME": home}, prefix) for home in _HOMES)
    found = between(first, one, two)
    return replace(found, variables={**{name: own[name] for name in own if one.get(name) == own[name]}, **found.variables})


def _of_packages(prefix: Path) -> dict[str, str]:
    """Return the variables of the packages' `etc/conda/env_vars.d/*.json`, in order, as conda sets them before activate.d.

    Source: conda's activate.py, `_get_environment_env_vars`. Raises BuildError for a file that conda could not read either.
    """
    found: dict[str, str] = {}
    for file in sorted((prefix / "etc" / "conda" / "env_vars.d").glob("*.json")):
        try:
            table = json.loads(file.read_bytes())
            if not isinstance(table, dict):
                raise ValueError("holds no table")  # noqa: TRY004 - the text is wrong, not a type of the program's
        except (OSError, ValueError) as error:
            raise BuildError(f"cannot be read: {error}", where=str(file), hint="take another build of the package") from error
        found |= {name: str(value) for name, value in table.items() if name.isidentifier() and name not in OWN}
    return found


def _sourced(base: Mapping[str, str], prefix: Path) -> dict[str, str]:
    # The scripts are those of the locked packages, whose code is run by every activation anyway.
    bash = process.find_program("bash", ":".join(BASE_PATH))
    if bash is None:
        raise BuildError("there is no bash, which the environment's activate.d wants", where=str(prefix))
    done = process.run([bash, "--noprofile", "--norc", "-c", _SOURCE], env=base, cwd=prefix, timeout=120)
    done.checked("cannot activate the environment")
    return dict(entry.partition("=")[::2] for entry in done.output.split("\0") if "=" in entry)


def between(first: Mapping[str, str], one: Mapping[str, str], two: Mapping[str, str]) -> Activation:
    """Return the change from the base `first` to `one`; `two` is the same from another home."""
    variables: dict[str, str] = {}
    home_relative: dict[str, tuple[str, ...]] = {}
    dynamic: list[str] = []
    for name in sorted((one.keys() | two.keys()) - OWN):
        left, right = one.get(name), two.get(name)
        if left is None or right is None:
            dynamic.append(name)
        elif left == first.get(name) == right or name.startswith("BASH_FUNC_"):
            continue
        elif left == right:
            variables[name] = left
        elif left.split(_HOMES[0]) == right.split(_HOMES[1]):
            home_relative[name] = tuple(left.split(_HOMES[0]))
        else:
            dynamic.append(name)
    removed = sorted(name for name in first.keys() - OWN if name not in one and name not in two)
    before = set(first["PATH"].split(":"))
    path = [entry for entry in one["PATH"].split(":") if entry and entry not in before]
    return Activation(tuple(path), variables, home_relative, tuple(removed), tuple(dynamic))


def keep(activation: Activation, prefix: Path) -> None:
    """Write the activation into the environment."""
    file = prefix / KEPT
    file.parent.mkdir(parents=True, exist_ok=True)
    table = {key: getattr(activation, key) for key in ("path", "variables", "home_relative", "removed", "dynamic")}
    file.write_text(json.dumps(table, indent=1, sort_keys=True) + "\n", encoding="utf-8", errors="surrogateescape")


def kept(prefix: Path) -> Activation:
    """Return the activation that was kept in an environment. Raises BuildError where it cannot be read."""
    try:
        table: dict[str, Any] = json.loads((prefix / KEPT).read_bytes())
        parts = table["homely"] if "homely" in table else table["home_relative"]  # the former was written earlier
        return Activation(
            tuple(table["path"]),
            dict(table["variables"]),
            {name: tuple(value) for name, value in parts.items()},
            tuple(table["removed"]),
            tuple(table["dynamic"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BuildError(f"cannot be read: {error}", where=os.fspath(prefix / KEPT), hint="ozrepro build --rebuild") from error
