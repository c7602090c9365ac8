"""The texts in which conda says what is wanted: `python=3.10`, `numpy >=1.26,<2`, `conda-forge::scipy`, `openmpi=4.1.4=ext*`.

The solver reads them finally; here a mistake is told early with its key, and the parts that ozrepro itself needs are taken apart.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ozrepro.methods.conda.versions import is_range
from ozrepro.project.checking import hidden_character, shown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ozrepro.methods.conda.channels import Channel

NAME = re.compile(r"[a-z0-9_][a-z0-9_.-]*\Z", re.ASCII)
"""A package's name, in conda's normal form (lower case)."""

_LONGEST = 1000
_PARTS = re.compile(
    r"(?:(?P<channel>[^\s\[\]]+)::)?(?P<name>[A-Za-z0-9_][A-Za-z0-9_.-]*)(?P<rest>(?:[\s=<>!~][^\[\]]*)?)"
    r"(?P<bracket>\[[^\[\]]*(?:\[[^\[\]]*\][^\[\]]*)*\])?\Z",
    re.ASCII,
)
_BUILD = re.compile(r"[A-Za-z0-9_.+*^$()|-]+\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Wanted:
    """One text, taken apart. `bracket` is what stands in `[…]`, for the solver alone; `version` is "" where any will do."""

    name: str
    version: str = ""
    build: str = ""
    channel: str = ""
    bracket: str = ""


def take_apart(text: str) -> Wanted:
    """Return the parts of a text. Raises ValueError saying what is wrong with it."""
    if len(text) > _LONGEST:
        raise ValueError(f"{shown(text)} is no package: nobody writes one so long")
    bad = hidden_character(text)
    if bad:
        raise ValueError(f"{shown(text)} holds the invisible character {bad}")
    plain = text.split(" #", maxsplit=1)[0].strip()
    if "://" in plain.partition("::")[0] and "::" not in plain:
        raise ValueError(f"{shown(text)} is an address; name the package, and the channel that has it in channels")
    found = _PARTS.match(plain)
    if found is None or plain.endswith((".conda", ".tar.bz2")):
        raise ValueError(f'{shown(text)} names no package; write for example "numpy>=1.26" or "numpy=1.26"')
    version, build = _version_and_build(found["rest"].strip(), text)
    return Wanted(found["name"].lower(), version, build, found["channel"] or "", (found["bracket"] or "")[1:-1])


def _version_and_build(rest: str, text: str) -> tuple[str, str]:
    """Return the two in either form: `=1.2=build` or `>=1.2 build`."""
    if not rest:
        return "", ""
    joined = re.sub(r"\s*([,|])\s*", r"\1", re.sub(r"([=<>!~])\s+", r"\1", rest))
    words = joined.split()
    if len(words) == 1 and (exact := re.fullmatch(r"(={0,2})([^=<>!~,|]+)=([^=]+)", words[0])):
        words = [f"{exact[1]}{exact[2]}" if exact[1] == "==" else exact[2], exact[3]]
    if len(words) > 2:
        raise ValueError(f'{shown(text)} has more than name, version and build; write for example "numpy>=1.26,<2"')
    if not is_range(words[0]):
        raise ValueError(f'{shown(text)}: {words[0]!r} is no version or range; write for example "=1.26" or ">=1.26,<2"')
    if len(words) == 2 and not _BUILD.match(words[1]):
        raise ValueError(f"{shown(text)}: {words[1]!r} is no build")
    return words[0], words[1] if len(words) == 2 else ""


def check_spec(text: str) -> str | None:
    """Say what is wrong with one dependency of a spec, or None."""
    try:
        wanted = take_apart(text)
    except ValueError as error:
        return str(error)
    if wanted.name.startswith("__"):
        return f'{wanted.name} is no package but a property of the machine: set it in [conda.virtual-packages], cuda = "12.4"'
    return None


def with_address(text: str, channels: Iterable[Channel]) -> str:
    """Return a text whose `NAME::` is the address that the channel has here: the solver knows no mirrors.

    Raises ValueError where the channel is none of `channels`.
    """
    name, mark, rest = text.rpartition("::")
    if not mark:
        return text
    from ozrepro.methods.conda.channels import without_subdir

    plain, subdir = without_subdir(name)
    for channel in channels:
        if plain in (channel.name, channel.address, channel.written):
            wanted = f"{rest[:-1]},subdir={subdir}]" if rest.endswith("]") else f"{rest}[subdir={subdir}]"
            return f"{channel.address}::{wanted if subdir else rest}"
    raise ValueError(f"{shown(text)} names the channel {shown(plain)}, which is not in channels")


def moment(text: str) -> dt.datetime | None:
    """Return the time that `exclude-newer` is, in UTC; a date alone is its end. None where the text is "".

    Raises ValueError where it is neither a date nor a time.
    """
    if not text:
        return None
    try:
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text, re.ASCII):
            day = dt.datetime.fromisoformat(text).replace(tzinfo=dt.timezone.utc)
            return day + dt.timedelta(days=1) - dt.timedelta(milliseconds=1)
        found = dt.datetime.fromisoformat(text.replace("Z", "+00:00").replace("z", "+00:00"))
        if found.tzinfo is None:
            found = found.replace(tzinfo=dt.timezone.utc)
        return found.astimezone(dt.timezone.utc)
    except (ValueError, OverflowError):
        raise ValueError(f'{shown(text)} is no date; write for example "2025-06-30" or "2025-06-30T12:00:00Z"') from None
