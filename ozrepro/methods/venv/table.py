"""`[venv]` of a spec: a plain virtual environment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from ozrepro.methods.packagelist import PackageList
from ozrepro.project import reader
from ozrepro.project.reader import Check
from ozrepro.project.requirement import check_requirement, package_in
from ozrepro.project.settings import KNOWN_PLATFORMS, one_of
from ozrepro.project.spec import Distribution, PassedNames, Requirement
from ozrepro.python.interpreter import check_range

if TYPE_CHECKING:
    from ozrepro.project.checking import Checker


@dataclass(frozen=True, slots=True)
class VenvTable:
    """`[venv]`: a plain virtual environment."""

    python: Annotated[str, Check(check_range)] = ""
    requirements: tuple[Requirement, ...] = ()
    build: tuple[Distribution, ...] = ()
    platforms: tuple[Annotated[str, Check(one_of(KNOWN_PLATFORMS))], ...] = ()
    passed: PassedNames = ()


def read_table(checker: Checker, value: object) -> VenvTable:
    """Return the table; what is wrong in it is noted."""
    return reader.read_table(checker, VenvTable, value, ("venv",))


def package_list(table: VenvTable) -> PackageList:
    """Return where the packages are named."""
    return PackageList(("venv", "requirements"), check_requirement, package_in, entries=table.requirements)
