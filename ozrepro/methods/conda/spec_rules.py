"""What may stand in a spec's table `[conda]`: the rules of its keys, all of them about texts.

Read by the spec's own reader, so that every mistake of a file is told at once; nothing here knows this machine.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ozrepro.methods.conda.channels import DEFAULTS, SUBDIRS, check_channel, without_subdir
from ozrepro.methods.conda.matchspec import check_spec, moment, take_apart
from ozrepro.methods.conda.virtual import check_overrides
from ozrepro.project.checking import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from ozrepro.project.checking import Checker

__all__ = ["PLATFORMS", "check_channel", "check_date", "check_overrides", "check_spec", "foreign", "read_mpi"]

PLATFORMS = tuple(name for name in SUBDIRS if name != "noarch")
"""The platforms that a lock can be made for, as conda calls them."""

_MPI = re.compile(r"(openmpi|mpich)/[A-Za-z0-9._-]+\Z", re.ASCII | re.IGNORECASE)


def check_date(text: str) -> str | None:
    """Say what is wrong with `exclude-newer`, or None."""
    try:
        moment(text)
    except ValueError as error:
        return str(error)
    return None


def read_mpi(
    checker: Checker, table: Mapping[str, Any], path: tuple[str, ...], check: Callable[[str], str | None]
) -> tuple[str, ...]:
    """Return the modules of `mpi`: one name, or an array of those to load in order, the MPI the last.

    `check` says what is wrong with the name of any module, or None.
    """
    value = table.get(path[-1], "")
    if isinstance(value, list):
        names = checker.texts_at(table, path, check=check)
        if len(names) < len(value):
            return ()  # it is told which of them are wrong
        last = names[-1] if names else ""
    else:
        last = checker.text_at(table, path)
        names = (last,) if last else ()
        if not names:
            return ()
    if not _MPI.match(last):
        what = "names no module" if not last else f"{shown(last)} is no MPI that conda knows as external"
        place = " to stand last" if len(names) > 1 else ""
        checker.wrong(path, what, f'write for example "openmpi/4.1.4"{place}')
    return names


def foreign(text: str, channels: Collection[str]) -> str | None:
    """Say that a dependency's `NAME::` is none of the channels, or None.

    None too where that is not certain yet: an address among the channels may have the name, by the settings' aliases.
    """
    try:
        name, _ = without_subdir(take_apart(text).channel)
    except ValueError:
        return None
    if not name or "://" in name or any("://" in channel for channel in channels):
        return None
    known = {without_subdir(channel)[0] for channel in channels}
    if name in known or ("defaults" in known and name in DEFAULTS):
        return None
    return f"{shown(text)} names the channel {shown(name)}, which is not in channels"
