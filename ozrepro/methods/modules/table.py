"""`[modules]` of a spec: toolchain modules, with a venv on top."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ozrepro.methods.packagelist import PackageList
from ozrepro.modulesystem.table import ModuleRequests
from ozrepro.project import reader
from ozrepro.project.requirement import check_requirement, package_in
from ozrepro.project.spec import Distribution, PassedNames, Requirement  # noqa: TC001  # the reader looks annotations up

if TYPE_CHECKING:
    from ozrepro.project.checking import Checker


@dataclass(frozen=True, slots=True)
class VenvOnTop:
    """`[modules.venv]`: what the toolchain lacks."""

    system_site_packages: bool = False
    requirements: tuple[Requirement, ...] = ()
    build: tuple[Distribution, ...] = ()


@dataclass(frozen=True, slots=True)
class ModulesTable(ModuleRequests):
    """`[modules]`: what to load, the venv on top, and what of the site's software the environment's file holds too."""

    passed: PassedNames = ()
    keep: Literal["", "python", "all"] = ""
    venv: VenvOnTop = VenvOnTop()


def read_table(checker: Checker, value: object) -> ModulesTable:
    """Return the table; what is wrong in it is noted."""
    if isinstance(value, dict) and "load" not in value and "collection" not in value:
        checker.wrong(("modules", "load"), "is missing", 'name the modules: load = ["name/version"]')
    return reader.read_table(checker, ModulesTable, value, ("modules",))


def package_list(table: ModulesTable) -> PackageList:
    """Return where the packages on top are named; a new layer sees what the toolchain has, and adds what it lacks."""
    keys = ("modules", "venv", "requirements")
    return PackageList(keys, check_requirement, package_in, {"system-site-packages": True}, table.venv.requirements)
