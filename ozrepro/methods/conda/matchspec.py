"""The texts in which conda says what is wanted: `python=3.10`, `numpy >=1.26,<2`, `conda-forge::scipy`, `openmpi=4.1.4=ext*`.

rattler reads them. Loading it takes as long as all else that a start does, so that the plainest texts are told by their look.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING

from ozrepro.methods.conda.channels import DEFAULTS, check_channel, normal, without_subdir
from ozrepro.project.checking import hidden_character, shown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ozrepro.methods.conda.channels import Channel

NAME = re.compile(r"[a-z0-9_][a-z0-9_.-]*\Z", re.ASCII)
"""A package's name, in conda's normal form (lower case)."""

_LONGEST = 1000
_PARTS = re.compile(r"(?:(?P<channel>[^\s\[\]]+)::)?(?P<name>\w[\w.-]*)(?P<rest>(?:[\s=<>!~\[].*)?)\Z", re.ASCII)
_NUMBERS = re.compile(r"[0-9]+(\.[0-9]+)*", re.ASCII)
_PLAIN = re.compile(rf"(\s*([=<>]=?|!=)\s*{_NUMBERS.pattern}(,(?=[=<>!])|\Z))*", re.ASCII)
_LOCATED = re.compile(r"[\[,]\s*(url|fn)\s*=")
_BUILD = re.compile(r"[A-Za-z0-9_.+*^$()|-]+\Z", re.ASCII)


def name_in(text: str) -> str:
    """Return the name of the package that a text wants, or "" where it names none."""
    match = _PARTS.match(text.strip())
    return match["name"].lower() if match else ""


def check_spec(text: str) -> str | None:
    """Say what is wrong with one dependency of a spec, or None."""
    if len(text) > _LONGEST:
        return f"{shown(text)} is not a package: it is too long"
    bad = hidden_character(text)
    if bad:
        return f"{shown(text)} holds the invisible character {bad}"
    plain = text.split(" #", maxsplit=1)[0].strip()
    if "://" in plain.partition("::")[0] and "::" not in plain:
        return f"{shown(text)} is an address; name the package, and the channel that has it in channels"
    match = _PARTS.match(plain)
    if match is None or plain.endswith((".conda", ".tar.bz2")):
        return f'{shown(text)} names no package; write for example "numpy>=1.26" or "numpy=1.26"'
    if match["name"].startswith("__"):
        return f'{match["name"]} is a property of the machine: set it in [conda.virtual-packages], such as cuda = "12.4"'
    channel = channel_in(plain)
    problem = check_channel(channel) if channel else None
    return problem or (None if _PLAIN.fullmatch(match["rest"]) else _refused(text))


def _refused(text: str) -> str | None:
    """Say why rattler refuses a text, or None. It reads as conda does: its strict way refuses what `conda env export` writes."""
    from rattler import MatchSpec
    from rattler.exceptions import InvalidMatchSpecError

    try:
        wanted = MatchSpec(text, strict=False)
        build = wanted.build
    except InvalidMatchSpecError as error:
        return f'{shown(text)}: {str(error).splitlines()[0]}; write for example "numpy=1.26" or "numpy>=1.26,<2"'
    if build is not None and not _BUILD.match(build):
        return f'{shown(text)} has more than name, version and build; write for example "numpy>=1.26,<2"'
    if (wanted.channel is not None and "::" not in text) or _LOCATED.search(text):
        return f'{shown(text)} names a channel or address in brackets; write for example "conda-forge::numpy>=1.26"'
    return None


def is_version(text: str) -> bool:
    """Say whether `text` is a version."""
    if _NUMBERS.fullmatch(text):
        return True
    from rattler import Version
    from rattler.exceptions import InvalidVersionError

    try:
        Version(text)
    except InvalidVersionError:
        return False
    return True


def channel_in(text: str) -> str:
    """Return the channel that a text names, without a platform behind it, or ""."""
    match = _PARTS.match(text.strip())
    return without_subdir((match["channel"] or "") if match else "")[0]


def with_address(text: str, channels: Iterable[Channel]) -> str:
    """Return a text whose `NAME::` is the address that the channel has here: the solver knows no mirrors.

    Of the two channels of `defaults` it is the first. Raises ValueError where the channel is none of `channels`.
    """
    name, mark, rest = text.rpartition("::")
    if not mark:
        return text
    plain, subdir = without_subdir(name)
    channels, address = tuple(channels), normal(plain) if "://" in plain else ""
    if plain == "defaults" and all(channel.name != plain for channel in channels):
        plain = next(iter(DEFAULTS))
    for channel in channels:
        if plain == channel.name or (address and address in (channel.address, channel.public)):
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
        time = dt.datetime.fromisoformat(text.replace("Z", "+00:00").replace("z", "+00:00"))
        return (time if time.tzinfo else time.replace(tzinfo=dt.timezone.utc)).astimezone(dt.timezone.utc)
    except (ValueError, OverflowError):
        raise ValueError(f'{shown(text)} is not a date; write for example "2025-06-30" or "2025-06-30T12:00:00Z"') from None
