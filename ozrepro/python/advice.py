"""What a user can do when uv fails: its words are those of another tool, with keys and files that a spec does not have."""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.specifiers import SpecifierSet

from ozrepro.errors import CommandFailed
from ozrepro.store import DENIED, FULL

if TYPE_CHECKING:
    from collections.abc import Iterable

_PATH = re.compile(r"[`'\"](/[^`'\"]+)[`'\"]")
_NUMBER = re.compile(r"(?:os error |\[Errno )(\d+)\b")
_HINT = re.compile(r"\n\s*hint: [^\n]*`requires-python`[^\n]*")
_NARROWER = re.compile(r"\(e\.g\., ([^\n]+) only supports [^\n]*\(like `?([^`)\n]+)`?\)")
_NEEDS = re.compile(r"([A-Za-z0-9][^\s,]*) (?:requires|depends on) Python ?(>=3\.[0-9]+)")
"""What uv says of a package in a wheelhouse, whose hint names no version; and without a hint of a part of the range alone."""


@dataclass(frozen=True, slots=True)
class NotWritten:
    """A file that could not be written: the error's number, the path, and the variable that has it written elsewhere."""

    number: int
    path: str
    setting: str


def of_the_files(errors: str, cache: str, target: str = "") -> NotWritten | None:
    """Return what uv says of a full disk or quota, and of a cache that it may not write to; None where it says no such thing.

    Where it names no path, `target` is meant, which it was to make, if next to nothing is left there and more in the cache.
    What else it may not read or write, such as a file of a wheelhouse, is told in its own words.
    """
    path = ""
    for line in errors.splitlines():
        if line.startswith("warning:"):
            continue
        named, found = _PATH.search(line), _NUMBER.search(line)
        path = named[1] if named is not None else path  # what a cause is about may be on the line before
        if found is None:
            continue
        number = int(found[1])
        path = path or (target if target and number in FULL and _is_tight(target) and not _is_tight(cache) else cache)
        cached = os.path.realpath(path).startswith(os.path.realpath(cache))  # those of build tools are beside it: uv-1f3b…
        if number in FULL or (number in DENIED and cached):
            elsewhere = "OZREPRO_CACHE" if cached else "OZREPRO_STORE"
            if not cached and path.startswith(os.path.join(tempfile.gettempdir(), "ozrepro-")):
                elsewhere = "TMPDIR"
            return NotWritten(number, path, elsewhere)
    return None


def _is_tight(path: str) -> bool:
    """Say whether next to nothing is left where `path` is or would be: less than 1 MiB, or a file for none of ten more."""
    while not os.path.lexists(path) and path != os.path.dirname(path):
        path = os.path.dirname(path)
    try:
        room = os.statvfs(path)
    except OSError:
        return False
    # Btrfs and others count no files and answer 0 of 0.
    return room.f_bavail * room.f_frsize < 1 << 20 or (room.f_files > 0 and room.f_favail < 10)


_NO_NETWORK = "Request failed|dns error|[Nn]etwork|error sending request|tcp connect error|tunnel error"

_HINTS = (
    (
        "setuptools-scm was unable to detect version",
        "its version is that of its commit: git init, git add --all, git commit, git tag v0.1",
    ),
    ("Could not acquire lock", "set OZREPRO_CACHE to a folder on a file system with working locks, such as a disk of the node"),
    (
        "Hash mismatch",
        "the file is not the one that was locked: contact the index's administrator; to accept it, ozrepro lock --upgrade",
    ),
    (
        r"\b(401|407) |\b403 Forbidden|authentication credentials",
        "check the login of the index: ~/.netrc, or UV_INDEX_NAME_USERNAME and UV_INDEX_NAME_PASSWORD",
    ),
    (
        "invalid peer certificate|UnknownIssuer|certificate verify",
        "set SSL_CERT_FILE to the file of certificates that this site's proxy or index is signed with",
    ),
    (
        r"HTTP status server error",
        "the same command again; if the index answers so again, contact its administrator",
    ),
    (
        _NO_NETWORK,
        "build where there is a network, check the proxy variables, or set PIP_FIND_LINKS to a wheelhouse and PIP_NO_INDEX=1",
    ),
    (
        "Wheels are required|no usable wheels",
        "another version, or name the package in build = […] to compile it from source",
    ),
    ("wheel is invalid|Scripts must not|Failed to extract archive", "ask for another version of the package"),
    (
        "were not found|was not found|no version of",
        "check the name, or set the index or wheelhouse that has it (PIP_EXTRA_INDEX_URL, PIP_FIND_LINKS)",
    ),
    ("No solution found|unsatisfiable|[Cc]onflict", "change the requirements in the spec, then lock again"),
)
"""What to try by what uv says; the first that fits counts. Where none does, uv's own words have to do."""


def hint_for(errors: str) -> str:
    """Return what to try where uv failed with these words, "" where that is not known."""
    return next((hint for pattern, hint in _HINTS if re.search(pattern, errors)), "")


def is_of_network(errors: str) -> bool:
    """Say whether uv failed with these words because no index could be reached."""
    return re.search(_NO_NETWORK, errors) is not None


def _only(found: Iterable[re.Match[str]]) -> re.Match[str] | None:
    by_version = {match[2]: match for match in found}
    return next(iter(by_version.values())) if len(by_version) == 1 else None


def about_python(error: CommandFailed, python: str, owner: str) -> CommandFailed:
    """Return the error with the key of a spec in the place of uv's `requires-python`.

    `python` is the spec's range; `owner` whose Python it is where no key sets it, else "".
    """
    what = _HINT.sub("", error.what)
    found = _NARROWER.search(error.what) or _only(_NEEDS.finditer(error.what))
    if what == error.what and found is None:
        return error
    if owner:
        older = f"a version older than {found[1]}" if found else "an older version"
        return CommandFailed(what, hint=f"ask for {older}: the Python is that of {owner}")
    if found is None:
        return CommandFailed(what, hint='a narrower range in [venv], such as python = ">=3.11,<3.13"')
    rest = [str(item) for item in SpecifierSet(python) if item.operator not in (">=", ">", "~=")]
    return CommandFailed(what, hint=f'python = "{",".join((found[2], *sorted(rest)))}" in [venv], or ask for an older version')
