"""Asks a registry which digest a tag has now, by the OCI distribution protocol; nothing is downloaded.

Format: OCI distribution-spec 1.1, "Pulling manifests"; the token dance is Docker's "Token Authentication Specification".
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import re
import urllib.error
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING

from ozrepro.errors import BuildError
from ozrepro.methods.container.reference import DIGEST, HUB, Reference, place_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from email.message import Message

_ACCEPTED = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
"""An index first: its digest stands for all platforms, so that one lock serves each."""

_LARGEST = 8 << 20
_PATIENCE = 30.0
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')


def digest_of(reference: Reference, aliases: Mapping[str, str], environ: Mapping[str, str]) -> str:
    """Return the digest that the reference's tag has now. Raises BuildError where the registry does not answer with one."""
    place = place_of(reference.host, aliases)
    path = "/".join(part for part in (place.path, reference.repository) if part)
    address = f"{place.scheme}://{place.host}/v2/{path}/manifests/{reference.digest or reference.tag}"
    try:
        headers, content = _ask(address, _login(place.host, environ))
    except urllib.error.HTTPError as error:
        raise BuildError(_refused(error.code, reference), where=reference.name, hint=_hint(error.code)) from error
    except (OSError, ValueError, RecursionError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or str(error) or type(error).__name__
        raise BuildError(
            f"the registry cannot be reached: {reason}",
            where=place.host,
            hint="the same command on a login node, or name a mirror in [tool.ozrepro.registries]",
        ) from error
    found = f"sha256:{hashlib.sha256(content).hexdigest()}"
    said = headers.get("Docker-Content-Digest") or found
    if not DIGEST.match(said):
        raise BuildError(f"the registry answers with {said[:100]!r}, which is not a sha256 digest", where=reference.name)
    if (said, reference.digest or said) != (found, found):
        raise BuildError(
            "the registry's answer has another digest than it should", where=reference.name, hint="the same command again"
        )
    return found


def _refused(code: int, reference: Reference) -> str:
    if code == 404:
        return "the registry has no such image"
    if code in (401, 403):
        return "the registry does not let this image be read without a login"
    return f"the registry answers {code} for {reference.repository}"


def _hint(code: int) -> str:
    if code in (401, 403):
        return "apptainer registry login --username NAME docker://HOST; a name that does not exist is answered so too"
    return "check the name of the image" if code == 404 else "the same command again"


def _ask(address: str, login: str | None) -> tuple[Message, bytes]:
    request = urllib.request.Request(address, headers={"Accept": ", ".join(_ACCEPTED)})
    try:
        return _open(request)
    except urllib.error.HTTPError as error:
        challenge = error.headers.get("WWW-Authenticate", "")
        if error.code != 401 or not challenge:
            raise
    if challenge.lower().startswith("bearer "):
        request.add_unredirected_header("Authorization", f"Bearer {_token(challenge, login)}")
    elif login is not None:
        request.add_unredirected_header("Authorization", f"Basic {login}")
    return _open(request)


def _token(challenge: str, login: str | None) -> str:
    fields = dict(_CHALLENGE.findall(challenge))
    realm = fields.pop("realm", "")
    parts = urllib.parse.urlsplit(realm)
    if parts.scheme != "https" and (parts.scheme, parts.hostname) not in (("http", "127.0.0.1"), ("http", "localhost")):
        raise ValueError(f"it sends logins to {realm[:100]!r}")
    request = urllib.request.Request(f"{realm}?{urllib.parse.urlencode(fields)}")
    if login is not None:
        request.add_unredirected_header("Authorization", f"Basic {login}")
    table = json.loads(_open(request)[1])
    token = (table.get("token") or table.get("access_token")) if isinstance(table, dict) else None
    if not isinstance(token, str):
        raise ValueError("it gives no token")  # noqa: TRY004
    return token


def _open(request: urllib.request.Request) -> tuple[Message, bytes]:
    try:
        with urllib.request.urlopen(request, timeout=_PATIENCE) as answer:
            content: bytes = answer.read(_LARGEST + 1)
            headers: Message = answer.headers
    except urllib.error.HTTPError as error:
        error.close()
        raise
    if len(content) > _LARGEST:
        raise ValueError("its answer is larger than a manifest can be")
    if headers.get("Content-Length", str(len(content))) != str(len(content)):
        raise ValueError("its answer was cut off")
    return headers, content


def _login(host: str, environ: Mapping[str, str]) -> str | None:
    """Return the login that `apptainer registry login` or `docker login` keeps for a registry's host, in base64, or None.

    A login for Docker Hub goes to Docker Hub alone: the settings, which may be a stranger's, can name any host for it.
    """
    home = environ.get("HOME", "")
    names = (host,) if host != place_of(HUB, {}).host else ("https://index.docker.io/v1/", "index.docker.io", HUB, host)
    for file in (".apptainer/docker-config.json", ".singularity/docker-config.json", ".docker/config.json"):
        try:
            with open(os.path.join(home, file), "rb") as stream:
                auths = json.loads(stream.read(_LARGEST))["auths"]
            for key in names:
                coded = auths[key]["auth"] if key in auths else None
                if isinstance(coded, str) and base64.b64decode(coded):
                    return coded
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None
