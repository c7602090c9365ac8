"""What the tasks of the helper process share: telling how far they are, refusing, rattler's client and records."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Any

from ozrepro.errors import without_login

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rattler import Client, MatchSpec, RepoDataRecord

_FULL = re.compile(r"os error (28|122)\b|No space left on device|Disk quota exceeded")


class Refused(Exception):
    """An error with its explanation for the user: what, where, and what to do."""

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what = without_login(indented(what))
        self.where = where
        self.hint = hint


def indented(text: str) -> str:
    """Return a text of several lines, such as rattler's with its causes, as one message: each line behind the first set in."""
    first, *more = [line.rstrip() for line in text.strip().splitlines() if line.strip()] or [""]
    return "\n".join((first, *(line if line.startswith("  ") else f"  {line.lstrip()}" for line in more)))


def no_space(error: BaseException) -> str | None:
    """Return what to say where an error comes of a full disk or quota, else None."""
    found = _FULL.search(str(error))
    if found is None:
        return None
    return "the disk quota is used up" if "122" in found[0] or "quota" in found[0] else "there is no space left"


def progress(step: str, done: int, total: int, **more: str) -> None:
    """Tell the caller how far a step is."""
    os.write(2, (json.dumps({"progress": [step, done, total], **more}) + "\n").encode())


def client(retries: int = 3) -> Client:
    """Return rattler's client, with logins from its own store, a keyring or ~/.netrc, and proxies from the environment."""
    from rattler.networking import Client

    return Client.default_client(retries, user_agent="ozrepro")


def to_rattler(table: Mapping[str, Any]) -> RepoDataRecord:
    """Return a locked record, with the address of its channel, as rattler's own."""
    from rattler import PackageRecord, RepoDataRecord
    from rattler.package import BuildString

    record = PackageRecord(
        table["name"],
        table["version"],
        BuildString(table["build"]),
        table["build-number"],
        table["subdir"],
        noarch=table.get("noarch"),
        depends=table.get("depends", []),
        constrains=table.get("constrains", []),
        sha256=bytes.fromhex(table["sha256"]),
        md5=bytes.fromhex(table["md5"]) if "md5" in table else None,
        size=table.get("size"),
        license=table.get("license"),
        python_site_packages_path=table.get("python-site-packages-path"),
    )
    base = table["address"]
    return RepoDataRecord(record, table["file"], f"{base}/{table['subdir']}/{table['file']}", f"{base}/")


def match_specs(texts: Sequence[str]) -> list[MatchSpec]:
    """Return specs read in conda's own lenient way (`numpy=1.2=py*_0`). Raises Refused."""
    from rattler import MatchSpec
    from rattler.exceptions import InvalidMatchSpecError

    found: list[MatchSpec] = []
    for text in texts:
        try:
            found.append(MatchSpec(text, strict=False))
        except InvalidMatchSpecError as error:
            raise Refused(
                f"{text!r} is not a package that can be asked for: {error}", hint="change dependencies in [conda]"
            ) from error
    return found
