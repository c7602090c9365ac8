"""Channels: the name by which the lock knows one, and the address that it has here.

A name is what the spec says (`conda-forge`, `pkgs/main`), so that one lock serves behind every mirror. Only an address that the
spec itself writes out is in the lock, beside the name that it gets there.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote, unquote, urlsplit

from ozrepro.errors import SpecError, UsageError
from ozrepro.project.checking import shown
from ozrepro.project.reader import Check

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

ALIAS = "https://conda.anaconda.org"
"""Where a bare name is looked for, unless CONDA_CHANNEL_ALIAS or the settings' `channel-alias` says otherwise."""

DEFAULTS = {"pkgs/main": "https://repo.anaconda.com/pkgs/main", "pkgs/r": "https://repo.anaconda.com/pkgs/r"}
"""What conda's documentation gives for `defaults` on Linux and macOS."""

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*\Z", re.ASCII)
SUBDIRS = (
    *("noarch", "linux-64", "linux-aarch64", "linux-ppc64le", "linux-s390x", "linux-riscv64", "linux-32"),
    *("linux-armv6l", "linux-armv7l", "osx-64", "osx-arm64", "win-64", "win-arm64", "win-32"),
)
"""The folders of a channel that a lock may name."""

PLATFORMS = SUBDIRS[1:]
"""The platforms that a lock can be made for, as conda calls them."""

_ADDRESS = re.compile(r"(https?|file)://", re.IGNORECASE)
_LONGEST = 500


@dataclass(frozen=True, slots=True)
class Channel:
    """One channel. `address` is where it is here; `written` is its address in the spec, "" where the spec gives a name."""

    name: str
    address: str
    written: str = ""

    def as_table(self) -> dict[str, str]:
        """Return the channel as it is in the lock."""
        return {"name": self.name, **({"address": self.written} if self.written else {})}


def check_name(name: str) -> str | None:
    """Say what is wrong with a channel's name in a lock, or None."""
    good = NAME.match(name) and ".." not in name and len(name) <= _LONGEST
    return None if good else f"{name!r} is not the name of a channel: a lock holds names, never addresses"


def _check_address(text: str) -> str | None:
    return check_channel(text) if "://" in text else f"{text!r} is not an address" if text else None


@dataclass(frozen=True, slots=True)
class LockedChannel:
    """One channel as it is in the lock."""

    name: Annotated[str, Check(check_name)]
    address: Annotated[str, Check(_check_address)] = ""


def normal(address: str) -> str:
    """Return an address in its one spelling: host in lower case, no slash at the end, no folder of a platform, no login."""
    parts = urlsplit(address.strip())
    host = (parts.hostname or "") if parts.scheme.lower() != "file" else ""
    port = parts.port
    if port is not None and (parts.scheme.lower(), port) not in (("https", 443), ("http", 80)):
        host = f"{host}:{port}"
    path = re.sub(r"/{2,}", "/", quote(unquote(parts.path), safe="/+~:@!$&'()*,;=")).rstrip("/")
    path, _ = without_subdir(path)
    return f"{parts.scheme.lower()}://{host}{path}"


def without_subdir(text: str) -> tuple[str, str]:
    """Return a channel without the platform's folder that some write behind it, and that folder or ""."""
    head, _, last = text.rstrip("/").rpartition("/")
    return (head, last) if head and last in SUBDIRS else (text.rstrip("/"), "")


def check_channel(text: str) -> str | None:
    """Say what is wrong with one channel of a spec, or None."""
    if len(text) > _LONGEST or "\\" in text:
        return f"{shown(text)} is not a channel"
    if "://" not in text:
        if NAME.match(text.rstrip("/")) and ".." not in text.split("/"):
            return None
        return f'{shown(text)} is not a channel; write a name such as "conda-forge", or https://… or file:///…'
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError as error:
        return f"{shown(text)} is not an address: {error}"
    if "@" in parts.netloc or "/t/" in parts.path:
        return f"{shown(text)} holds a login or token; put it where `rattler auth login` or ~/.netrc keeps it"
    if parts.query or parts.fragment or "$" in text or any(char.isspace() for char in text):
        return f"{shown(text)} holds a query, a variable or a space"
    if parts.scheme.lower() == "file":
        return (
            None
            if parts.path.startswith("/") and parts.netloc in ("", "localhost")
            else f"{shown(text)} is not a file:///… address"
        )
    if parts.scheme.lower() != "https":
        return f"{shown(text)} is not https; a mirror inside the cluster can be named in [tool.ozrepro.channels]"
    return None if parts.hostname else f"{shown(text)} names no host"


def find_channels(
    texts: Iterable[str], aliases: Mapping[str, str], environ: Mapping[str, str], *, where: str = ""
) -> tuple[Channel, ...]:
    """Return a spec's channels in order, each once. `aliases` are the settings' `channels`; `nodefaults` is dropped.

    Raises SpecError with all mistakes, UsageError for a wrong CONDA_CHANNEL_ALIAS.
    """
    alias, mistakes, texts = channel_alias(aliases, environ), list[str](), tuple(texts)
    found: list[Channel] = []
    names = {without_subdir(text)[0] for text in texts if "://" not in text}
    for text in texts:
        problem = check_channel(text)
        if problem:
            mistakes.append(f"conda.channels: {problem}")
        elif text != "nodefaults":
            found += _channels(without_subdir(text)[0], aliases, alias, names, found)
    if mistakes:
        raise SpecError(where, mistakes)
    kept: dict[str, Channel] = {}
    for channel in found:
        kept.setdefault(normal(channel.address), channel)
    return tuple(kept.values())


def channel_alias(aliases: Mapping[str, str], environ: Mapping[str, str]) -> str:
    """Return where bare names are looked for: CONDA_CHANNEL_ALIAS, else the settings' `channel-alias`, else conda's own.

    Raises UsageError where the variable is not an address.
    """
    text = environ.get("CONDA_CHANNEL_ALIAS", "")
    if text and (not _ADDRESS.match(text) or "@" in urlsplit(text).netloc or "?" in text):
        raise UsageError(f"CONDA_CHANNEL_ALIAS={text!r} is not a plain address", hint="unset CONDA_CHANNEL_ALIAS")
    return normal(text or aliases.get("channel-alias") or ALIAS)


def _channels(
    text: str, aliases: Mapping[str, str], alias: str, names: Collection[str], before: Sequence[Channel]
) -> list[Channel]:
    if "://" in text:
        return [_written(text, aliases, alias, names, before)]
    if text == "defaults" and text not in aliases:
        return [Channel(name, address_of(name, aliases, alias)) for name in DEFAULTS]
    return [Channel(text, address_of(text, aliases, alias))]


def address_of(name: str, aliases: Mapping[str, str], alias: str) -> str:
    """Return the address of a channel given by name: the settings' own, that of its first part, a public one, or the alias's."""
    if name in aliases:
        return normal(aliases[name])
    first, _, rest = name.partition("/")
    if rest and first in aliases:
        return f"{normal(aliases[first])}/{rest}"
    return DEFAULTS.get(name) or f"{alias}/{name}"


def _written(text: str, aliases: Mapping[str, str], alias: str, names: Collection[str], before: Sequence[Channel]) -> Channel:
    """Return the channel of an address: one that has a name already, else one named after the address's end."""
    address = normal(text)
    for name, there in aliases.items():
        if normal(there) == address and name != "channel-alias":
            return Channel(name, address)
    for name, there in DEFAULTS.items():
        if there == address:
            return Channel(name, address_of(name, aliases, alias))
    for base in (ALIAS, alias):
        if address.startswith(f"{base}/") and NAME.match(address[len(base) + 1 :]):
            name = address[len(base) + 1 :]
            return Channel(name, address_of(name, aliases, alias))
    last = re.sub(r"[^A-Za-z0-9._-]+", "-", unquote(address.rpartition("/")[2])).strip("-.") or "channel"
    taken = {channel.name for channel in before if channel.address != address} | set(names)
    name, number = last, 2
    while name in taken or name in aliases:
        name, number = f"{last}-{number}", number + 1
    return Channel(name, address, address)


def channels_here(listed: Iterable[LockedChannel], aliases: Mapping[str, str], environ: Mapping[str, str]) -> tuple[Channel, ...]:
    """Return a lock's channels with their addresses here. Raises UsageError for a wrong CONDA_CHANNEL_ALIAS.

    An alias of the settings for a name goes before the address that the lock has for it.
    """
    alias = channel_alias(aliases, environ)
    return tuple(
        Channel(
            item.name,
            normal(item.address) if item.address and item.name not in aliases else address_of(item.name, aliases, alias),
            item.address,
        )
        for item in listed
    )


def name_of(address: str, channels: Iterable[Channel]) -> str | None:
    """Return the name of the channel that an address of the solver belongs to, or None. A file's address will do."""
    wanted = normal(address)
    fitting = [item for item in channels if wanted == item.address or wanted.startswith(f"{item.address}/")]
    return max(fitting, key=lambda item: len(item.address)).name if fitting else None


def local_path(address: str) -> str | None:
    """Return the path of a `file://` address, or None for any other."""
    return os.path.normpath(unquote(urlsplit(address).path)) if address.lower().startswith("file:") else None
