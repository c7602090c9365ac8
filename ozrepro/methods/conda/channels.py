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

from ozrepro.errors import SpecError, UsageError, without_login
from ozrepro.project.checking import shown
from ozrepro.project.reader import Check

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

ALIAS = "https://conda.anaconda.org"
"""Where a bare name is looked for, unless CONDA_CHANNEL_ALIAS or the settings' `channel-alias` says otherwise."""

DEFAULTS = {"pkgs/main": "https://repo.anaconda.com/pkgs/main", "pkgs/r": "https://repo.anaconda.com/pkgs/r"}
"""What conda's documentation gives for `defaults` on Linux and macOS."""

WELL_KNOWN = frozenset({"anaconda", "bioconda", "conda-forge", "defaults", "intel", "nvidia", "pkgs", "pytorch"})
"""Channels whose name means the same to everybody, by its first part: an address of a site for one is a mirror's."""

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
_KEPT = "put it where `rattler auth login` or ~/.netrc keeps it"


@dataclass(frozen=True, slots=True)
class Channel:
    """One channel. `address` is where it is here; `written` is its address in the spec, "" where the spec gives a name."""

    name: str
    address: str
    written: str = ""

    def as_table(self) -> dict[str, str]:
        """Return the channel as it is in the lock."""
        return {"name": self.name, **({"address": self.written} if self.written else {})}

    @property
    def public(self) -> str:
        """The address for others: the spec's own, else the public one of that name, whatever stands for it here."""
        return self.written or address_of(self.name, {}, ALIAS)


def check_name(name: str) -> str | None:
    """Say what is wrong with a channel's name in a lock, or None."""
    good = NAME.match(name) and ".." not in name and len(name) <= _LONGEST
    return None if good else f"{name!r} is not the name of a channel: a lock holds names, never addresses"


def _check_address(text: str) -> str | None:
    return check_public(text) if "://" in text else f"{text!r} is not an address" if text else None


def check_public(text: str) -> str | None:
    """Say what is wrong with a channel where no settings can name a mirror, or None."""
    return check_channel(text) or _unencrypted(text)


def _unencrypted(text: str) -> str | None:
    mirror = "a mirror inside the cluster can be named in [tool.ozrepro.channels]"
    return f"{shown(text)} is not https; {mirror}" if text.lower().startswith("http:") else None


@dataclass(frozen=True, slots=True)
class LockedChannel:
    """One channel as it is in the lock."""

    name: Annotated[str, Check(check_name)]
    address: Annotated[str, Check(_check_address)] = ""


def normal(address: str) -> str:
    """Return an address in its one spelling: host in lower case, no slash at the end, no platform, no login or token."""
    parts = urlsplit(without_login(address.strip()))
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
    """Say what is wrong with one channel of a spec, or None. Which addresses may be http, `find_channels` knows."""
    if len(text) > _LONGEST or "\\" in text:
        return f"{shown(text)} is not a channel"
    if "://" not in text:
        if NAME.match(text.rstrip("/")) and ".." not in text.split("/"):
            return None
        return f'{shown(text)} is not a channel; write a name such as "conda-forge", or https://… or file:///…'
    text = text.replace("/t/<TOKEN>", "", 1)  # conda's own mask
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError as error:
        return f"{shown(text)} is not an address: {error}"
    if "@" in parts.netloc or ("/t/" in f"{parts.path}/" and parts.scheme.lower() != "file"):
        return f"{shown(text)} holds a login or token; {_KEPT}"
    if parts.query or parts.fragment or "$" in text or any(char.isspace() for char in text):
        return f"{shown(text)} holds a query, a variable or a space"
    if parts.scheme.lower() == "file":
        return (
            None
            if parts.path.startswith("/") and parts.netloc in ("", "localhost")
            else f"{shown(text)} is not a file:///… address"
        )
    if parts.scheme.lower() not in ("https", "http"):
        return f"{shown(text)} is not a channel; write a name, or https://… or file:///…"
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
        if problem is None and not _named(text, aliases, alias):
            problem = _unencrypted(text)
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
    if text and (not _ADDRESS.match(text) or "@" in urlsplit(text).netloc or without_login(text) != text):
        what = f"CONDA_CHANNEL_ALIAS={without_login(text)!r} is not a plain address: it holds no login, token or query"
        raise UsageError(what, hint=f"unset CONDA_CHANNEL_ALIAS; a login: {_KEPT}")
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
    """Return the address of a channel given by name: the settings' own, that of its first parts, a public one, or the alias's."""
    parts = name.split("/")
    for count in range(len(parts), 0, -1):
        first, rest = "/".join(parts[:count]), parts[count:]
        if first in aliases:
            return "/".join((normal(aliases[first]), *rest))
    return DEFAULTS.get(name) or f"{alias}/{name}"


def _named(text: str, aliases: Mapping[str, str], alias: str) -> str:
    """Return the name that an address has by the settings, by `defaults`, or by where bare names are looked for; else ""."""
    address, keys = normal(text), [(name, normal(there)) for name, there in aliases.items() if name != "channel-alias"]
    for name, there in (*keys, *DEFAULTS.items()):
        if there == address:
            return name
    for start, there in (*((f"{name}/", there) for name, there in keys), ("", ALIAS), ("", alias)):
        name = start + address[len(there) + 1 :]
        if address.startswith(f"{there}/") and NAME.match(name):
            return name
    return ""


def _written(text: str, aliases: Mapping[str, str], alias: str, names: Collection[str], before: Sequence[Channel]) -> Channel:
    """Return the channel of an address: one that has a name already, else one named after the address's end."""
    address = normal(text)
    if known := _named(text, aliases, alias):
        return Channel(known, address_of(known, aliases, alias))
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
