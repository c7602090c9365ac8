"""Which MPI library the programs of a conda environment really get: the system's, or one of conda's by mistake."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ozrepro import process
from ozrepro.environment import BASE_PATH

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from ozrepro.methods.conda.installed import Installed

_MAGIC = b"\x7fELF"
_MOST = 20
"""Files of a package that are looked at: one that is linked rightly shows it for the others."""

_LIBRARY = re.compile(r"^\s*(libmpi\w*\.so[.0-9]*) => (not found|\S+)", re.MULTILINE)


def problems(packages: Iterable[Installed], prefix: Path, variables: Mapping[str, str]) -> list[str]:
    """Return a line for each file of the packages whose MPI library is not found, or lies in the environment itself.

    `variables` are those of the environment. Raises CommandFailed.
    """
    ldd = process.find_program("ldd", ":".join(BASE_PATH))
    if ldd is None:
        return []
    wrong: list[str] = []
    for package in packages:
        programs = [path for placed in package.files if _is_program(path := prefix / placed.path)]
        for path in programs[:_MOST]:
            done = process.run([ldd, str(path)], env=variables, timeout=60)
            for library, where in _LIBRARY.findall(done.output):
                if where == "not found":
                    wrong.append(f"{package.title}: {path.relative_to(prefix)} finds no {library}: the module does not have it")
                elif where.startswith(f"{prefix}/"):
                    wrong.append(f"{package.title}: {path.relative_to(prefix)} gets {library} from conda, not from the module")
    return wrong


def _is_program(path: Path) -> bool:
    try:
        with open(path, "rb") as stream:
            return not path.is_symlink() and stream.read(4) == _MAGIC
    except OSError:
        return False
