"""The examination: all checks in order, none of which hides another."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ozrepro.errors import OzreproError
from ozrepro.frontends.doctor.dotfiles import check_collections, check_dotfiles
from ozrepro.frontends.doctor.finding import Finding, note
from ozrepro.frontends.doctor.folders import check_folders
from ozrepro.frontends.doctor.machine import (
    check_apptainer,
    check_container_variables,
    check_gpu,
    check_namespaces,
    check_scheduler,
)
from ozrepro.frontends.doctor.modules import check_modules
from ozrepro.frontends.doctor.pythons import (
    check_kept_out,
    check_own_python,
    check_python,
    check_python_variables,
    check_user_packages,
)
from ozrepro.frontends.doctor.quota import check_quota
from ozrepro.frontends.doctor.stores import check_locks, check_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ozrepro.frontends.doctor.surroundings import Surroundings

    Check = Callable[[Surroundings], list[Finding]]

CHECKS: tuple[Check, ...] = (
    check_quota,
    check_folders,
    check_user_packages,
    check_python_variables,
    check_python,
    check_own_python,
    check_kept_out,
    check_dotfiles,
    check_collections,
    check_modules,
    check_store,
    check_locks,
    check_apptainer,
    check_container_variables,
    check_namespaces,
    check_gpu,
    check_scheduler,
)


def examine(place: Surroundings, checks: Iterable[Check] = CHECKS) -> Iterator[Finding]:
    """Yield what each check finds, with its name, and the home's path as `~`; a check that fails is itself a finding."""
    for check in checks:
        name = check.__name__.removeprefix("check_").replace("_", "-")
        try:
            found = check(place)
        except (OSError, OzreproError) as error:
            what = error.what if isinstance(error, OzreproError) else str(error)
            found = [note(f"the check {name} failed: {what}")]
        for item in found:
            shown = (place.short(item.seen), place.short(item.why), tuple(map(place.short, item.remedy)))
            yield replace(item, check=name, seen=shown[0], why=shown[1], remedy=shown[2])
