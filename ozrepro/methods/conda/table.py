"""`[conda]` of a spec: packages from conda channels. Nothing here knows this machine."""

from __future__ import annotations

import re
from collections.abc import Mapping  # noqa: TC003  # the reader looks annotations up
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

from ozrepro.methods.conda.channels import PLATFORMS, check_channel
from ozrepro.methods.conda.matchspec import check_spec, moment, name_in
from ozrepro.methods.conda.virtual import check_overrides
from ozrepro.methods.contract import Reason
from ozrepro.methods.packagelist import PackageList
from ozrepro.project import reader
from ozrepro.project.checking import shown
from ozrepro.project.reader import Check, Read
from ozrepro.project.requirement import check_requirement
from ozrepro.project.settings import one_of
from ozrepro.project.spec import ModuleName, PassedNames, PathInside  # noqa: TC001  # the reader looks annotations up

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ozrepro.project.checking import Checker

_MPI = re.compile(r"(openmpi|mpich)/[A-Za-z0-9._-]+\Z", re.ASCII | re.IGNORECASE)


def _check_date(text: str) -> str | None:
    try:
        moment(text)
    except ValueError as error:
        return str(error)
    return None


@dataclass(frozen=True, slots=True)
class _Names:
    mpi: tuple[ModuleName, ...] = ()

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield that the last of the modules is not an MPI."""
        last = self.mpi[-1] if self.mpi else ""
        if not _MPI.match(last):
            what = f"{shown(last)} is not an MPI that conda knows as external" if last else "names no module"
            place = " to stand last" if len(self.mpi) > 1 else ""
            yield "mpi", f'{what}; write for example "openmpi/4.1.4"{place}'


def _read_mpi(checker: Checker, value: object, path: tuple[str, ...]) -> tuple[str, ...]:
    """Return the modules of `mpi`: one name, or an array of those to load in order, the MPI the last."""
    names = [value] if isinstance(value, str) else value
    return reader.read_table(checker, _Names, {path[-1]: names}, path[:-1]).mpi


@dataclass(frozen=True, slots=True)
class CondaTable:
    """`[conda]`: packages from conda channels."""

    channels: tuple[Annotated[str, Check(check_channel)], ...] = ("conda-forge",)
    dependencies: tuple[Annotated[str, Check(check_spec)], ...] = ()
    file: PathInside = ""
    pip: tuple[Annotated[str, Check(check_requirement)], ...] = ()
    platforms: tuple[Annotated[str, Check(one_of(PLATFORMS))], ...] = ("linux-64",)
    virtual_packages: Mapping[str, str] = field(default_factory=dict)
    mpi: Annotated[tuple[str, ...], Read(_read_mpi, (str, tuple[str, ...]))] = ()
    channel_priority: Literal["strict", "flexible", "disabled"] = "strict"
    exclude_newer: Annotated[str, Check(_check_date)] = ""
    passed: PassedNames = ()
    keep: Literal["", "all"] = ""

    def problems(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """Yield what is wrong with the properties of a machine, each with its key."""
        for key, problem in check_overrides(self.virtual_packages).items():
            yield ("virtual-packages", key), problem
        if self.keep and not self.mpi:
            yield ("keep",), "has no effect without mpi, the only key that loads modules here; remove it"


def read_table(checker: Checker, value: Any) -> CondaTable:
    """Return the table; what is wrong in it is noted."""
    table = reader.read_table(checker, CondaTable, value, ("conda",))
    given = value if isinstance(value, dict) else {}
    if "dependencies" not in given and "file" not in given:
        right = 'write dependencies = ["python=3.12", …] or file = "environment.yml"'
        checker.wrong(("conda", "dependencies"), "is missing", right)
    if "dependencies" in given and "file" in given:
        checker.wrong(("conda", "file"), "cannot be combined with dependencies", "keep one of the two")
    return table


def package_list(table: CondaTable) -> PackageList | Reason:
    """Return where the packages are named, or that a file has them."""
    if table.file:
        return Reason(f"its packages are in {table.file}", f"add PKG to dependencies of {table.file}")
    return PackageList(("conda", "dependencies"), check_spec, name_in, entries=(*table.dependencies, *table.pip))
