"""References to images in registries: public names, what they are pinned to, and where a registry is reached here.

A lock and a definition keep public names (`docker.io/library/python:3.11`); only the definition that is built from names the
address that the settings' `registries` give for one, such as a mirror inside the cluster.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

HUB = "docker.io"
"""The registry of a name without a host (distribution/reference, "Normalized names")."""

_HUB_HOST = "registry-1.docker.io"
"""Docker Hub's registry answers under this host, not under its name."""

_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?\Z", re.ASCII)
_REPOSITORY = re.compile(r"[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*\Z", re.ASCII)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}\Z", re.ASCII)
DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Reference:
    """An image in a registry by its public name: `tag` and `digest` are "" where the name has none."""

    host: str
    repository: str
    tag: str = ""
    digest: str = ""

    @property
    def name(self) -> str:
        """The public name, without a digest; also without a tag where it is named by digest alone."""
        return f"{self.host}/{self.repository}:{self.tag}" if self.tag else f"{self.host}/{self.repository}"

    @property
    def text(self) -> str:
        """The public name, with its digest where it has one."""
        return f"{self.name}@{self.digest}" if self.digest else self.name

    def pinned(self, digest: str) -> Reference:
        """Return the reference with a digest."""
        return replace(self, digest=digest)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a registry is reached here: scheme, host with port, and a path in front of its repositories."""

    scheme: str
    host: str
    path: str = ""

    @property
    def is_plain(self) -> bool:
        """Whether it is asked without encryption."""
        return self.scheme == "http"


def read_reference(text: str) -> Reference:
    """Return the reference that `text` holds, with or without `docker://`. Raises ValueError that says what is wrong."""
    rest = text.removeprefix("docker://").strip("/")
    rest, at, digest = rest.partition("@")
    if at and not DIGEST.match(digest):
        raise ValueError(f"{digest!r} is not a digest sha256:…")
    first, _, behind = rest.partition("/")
    if behind and ("." in first or ":" in first or first == "localhost"):
        host, rest = first, behind
    else:
        host = HUB
    path, colon, tag = rest.partition(":")
    if host in ("index.docker.io", _HUB_HOST):
        host = HUB
    if host == HUB and "/" not in path:
        path = f"library/{path}"
    if not _HOST.match(host):
        raise ValueError(f"{host!r} is not a registry host")
    if not _REPOSITORY.match(path):
        raise ValueError(f"{path!r} is not a repository name")
    if colon and not _TAG.match(tag):
        raise ValueError(f"{tag!r} is not a tag")
    return Reference(host, path, tag or ("" if digest else "latest"), digest)


def place_of(host: str, aliases: Mapping[str, str]) -> Place:
    """Return where the registry `host` is reached here: at its alias in the settings, or at its own host by https."""
    given = aliases.get(host)
    if given is None:
        return Place("https", _HUB_HOST if host == HUB else host)
    parts = urlsplit(given if "://" in given else f"https://{given}")
    return Place("http" if parts.scheme == "http" else "https", parts.netloc, parts.path.strip("/"))


def source_of(reference: Reference, aliases: Mapping[str, str]) -> str:
    """Return what Apptainer is told to fetch: the reference at its place here, by digest where it has one."""
    place = place_of(reference.host, aliases)
    host = HUB if reference.host not in aliases and reference.host == HUB else place.host
    path = "/".join(part for part in (host, place.path, reference.repository) if part)
    return f"{path}@{reference.digest}" if reference.digest else f"{path}:{reference.tag}"
