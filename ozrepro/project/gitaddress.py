"""Addresses of git repositories in requirements, `git+https://HOST/OWNER/REPO@COMMIT`: which are taken, what to write instead.

A commit's name is a digest of its files and history, so that nobody can put others in their place. A branch or tag may move.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ozrepro.project.checking import shown

CONTROL = ("git+", "hg+", "svn+", "bzr+")
"""How an address of version control begins (pip's documentation, "VCS Support")."""

_PART = r"\.?[A-Za-z0-9_+=~%-]+(?:\.[A-Za-z0-9_+=~%-]+)*"
_FOLDER = rf"{_PART}(?:/{_PART})*"
_TAKEN = re.compile(
    rf"git\+(?P<repository>https://[A-Za-z0-9.-]+(?::[0-9]+)?(?:/{_PART})+)"
    rf"@(?P<commit>[0-9a-f]{{40}})(?:\#subdirectory=(?P<folder>{_FOLDER}))?(?![\w@:/.%#&?~+=-])",
    re.ASCII,
)
_ANY = re.compile(
    r"git\+(?:(?P<scheme>[a-z+]+)://)?(?:(?P<login>[^/#]*)@)?(?P<place>[^@#]*)(?:@(?P<ref>[^#]*))?(?:#(?P<fragment>.*))?\Z"
)
_SHORT = re.compile(r"[0-9a-fA-F]{7,39}\Z")
_SUBDIRECTORY = re.compile(rf"(?:.*&)?subdirectory=(?P<folder>{_FOLDER})(?:&.*)?\Z", re.ASCII)
_EGG = re.compile(r"(?:.*[#&])?egg=(?P<name>[A-Za-z0-9._-]+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit of a repository, and the folder in it that has the project, "" for its top."""

    repository: str
    commit: str
    folder: str = ""

    @property
    def address(self) -> str:
        """The address as requirements and locks have it."""
        return f"git+{self.repository}@{self.commit}" + (f"#subdirectory={self.folder}" if self.folder else "")


def read_commit(address: str) -> Commit | None:
    """Return what an address names, None where it is not one that is taken."""
    found = _TAKEN.fullmatch(address)
    return Commit(found["repository"], found["commit"], found["folder"] or "") if found else None


def commits_in(text: str) -> list[Commit]:
    """Return the commits whose addresses are in a text, in their order."""
    return [Commit(found["repository"], found["commit"], found["folder"] or "") for found in _TAKEN.finditer(text)]


def check_control(address: str, name: str = "") -> str | None:
    """Say why an address of version control is refused, and the line to write, or None; `name` is the requirement's, if known."""
    if read_commit(address) is not None:
        return None
    found = _ANY.match(address)
    if found is None or not address.startswith("git+"):
        kind = address.partition("+")[0]
        title = shown(address.split("#", maxsplit=1)[0])
        return f"{title}: of version control only git+https:// is taken, not {kind}; name a wheel or a git mirror"
    scheme, place, ref = found["scheme"] or "", found["place"], found["ref"] or ""
    login, fragment = found["login"], found["fragment"] or ""
    if not scheme:  # git@HOST:OWNER/REPO, as git itself takes it
        place = place.replace(":", "/", 1)
    egg = _EGG.match(fragment)
    name = name or (egg["name"] if egg else "NAME")
    folder = _SUBDIRECTORY.match(fragment)
    repository = f"https://{place.strip('/')}"
    is_commit = len(ref) == 40 and _SHORT.match(ref[:39]) is not None
    line = f"{name} @ git+{repository}@{ref.lower() if is_commit else 'COMMIT'}"
    line += f"#subdirectory={folder['folder']}" if folder else ""
    title, write = _title(scheme, repository, ref), f"write {line}"
    if scheme == "file":
        return f"{title} is a repository of this machine alone; write {name} @ git+https://HOST/OWNER/REPO@COMMIT, or -e ./FOLDER"
    if _TAKEN.fullmatch(line.partition(" @ ")[2].replace("@COMMIT", f"@{'0' * 40}")) is None:
        return f"{title} holds more than host, path and commit; write {name} @ git+https://HOST/OWNER/REPO@COMMIT"
    why = _reason(scheme, login, fragment, ref, is_commit=is_commit)
    if is_commit:
        return f"{title} {why}; {write}"
    if _SHORT.match(ref):
        return f"{title} {why}; {write} with all 40 digits: git rev-parse {ref} in a clone gives them"
    return f"{title} {why}; git ls-remote {repository} {ref or 'HEAD'} gives the commit: {write}"


def _reason(scheme: str, login: str | None, fragment: str, ref: str, *, is_commit: bool) -> str:
    if scheme == "https" and login is not None:
        return "holds a user name or password, which git takes from its credential helper"
    if scheme != "https":
        return "is not an https address, the one form that works for everybody"
    if not is_commit:
        return (
            f"names {shown(ref)}, which is not a full commit and may move" if ref else "names no commit, and what it means moves"
        )
    return "has the commit in upper case" if not fragment else f"has {shown('#' + fragment)} behind it"


def _title(scheme: str, repository: str, ref: str) -> str:
    place = repository.removeprefix("https://") + (f"@{ref}" if ref else "")
    return shown(f"git+{scheme}://{place}" if scheme else f"git+{place}")
