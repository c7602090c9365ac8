"""`[modules]` of a spec: toolchain modules, with a venv on top."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ozrepro.modulesystem.table import ModuleRequests
from ozrepro.project.settings import check_passed, check_site_variable
from ozrepro.project.spec import check_distribution, check_module, requirements_at

if TYPE_CHECKING:
    from ozrepro.project.checking import Checker

_COLLECTION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class ModulesTable(ModuleRequests):
    """`[modules]`: what to load, and the venv on top."""

    passed: tuple[str, ...] = ()
    system_site_packages: bool = False
    requirements: tuple[str, ...] = ()
    build: tuple[str, ...] = ()


def read_table(checker: Checker, value: object) -> ModulesTable:
    """Return the table; what is wrong in it is noted."""
    keys = ("load", "collection", "use", "pass", "site-variables", "accept-effects", "venv")
    table = checker.table(value, ("modules",), keys)
    load = checker.texts_at(table, ("modules", "load"), check=check_module)
    collection = checker.text_at(table, ("modules", "collection"))
    if "load" not in table and "collection" not in table:
        checker.wrong(("modules", "load"), "is missing", 'name the modules: load = ["name/version"]')
    if "collection" in table and not _COLLECTION.match(collection):
        checker.wrong(("modules", "collection"), f"{collection!r} is no name of a collection", "as in module save NAME")
    path = ("modules", "venv")
    venv = checker.table(table.get("venv", {}), path, ("system-site-packages", "requirements", "build"))
    return ModulesTable(
        load=load,
        collection=collection,
        use=checker.texts_at(table, ("modules", "use")),
        passed=checker.texts_at(table, ("modules", "pass"), check=check_passed),
        system_site_packages=checker.flag_at(venv, (*path, "system-site-packages")),
        requirements=requirements_at(checker, venv, path),
        build=checker.texts_at(venv, (*path, "build"), check=check_distribution),
        site_variables=checker.texts_at(table, ("modules", "site-variables"), check=check_site_variable),
        accept_effects=checker.texts_at(table, ("modules", "accept-effects"), check=check_module),
    )
