"""Whose a folder is: one that ozrepro made for a store or a cache, or may take for one. Any other is refused, and left alone.

The marker says that a folder is ozrepro's, not that its content may be believed: a clone can bring both. What is believed is
bound to inodes and ctimes of this machine (`ready.stamp`), and so is the name of a cache that lies in a project.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import stat
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from ozrepro import process
from ozrepro.errors import CommandFailed, StoreError
from ozrepro.faststart.ready import stamp
from ozrepro.store.writing import write_whole

if TYPE_CHECKING:
    from collections.abc import Iterator

MARKER = ".ozrepro-store"
CACHE_SETTING = "OZREPRO_CACHE"
_GENERATION = r"[0-9a-f]{12}-[0-9a-f]{8}"
ENTRIES = {
    "names": r"[0-9a-f]{32}|\.[0-9a-f]{16}",
    "gens": _GENERATION,
    "owners": _GENERATION,
    "locks": r"[0-9a-f]{32}\.(flock|ticket|holder|failed)|\.[0-9a-f]{32}\.failed\.[0-9a-f]{8}"
    r"|[0-9a-f]{16}\.(beat|broken)|\.[0-9a-f]{16}\.holder",
    "trash": rf"{_GENERATION}-[0-9a-f]{{8}}",
    "ready": r"[0-9a-f]{32}|\.[0-9a-f]{32}\.[0-9a-f]{8}",
    "projects": r"[0-9a-f]{16}",
}
"""The folders of a store, and the names that ozrepro gives in each: nothing else is ever removed."""

CACHES = ("apptainer", "bytecode", "compiled", "conda", "images", "modules", "uv")
BENCH = r"bench-[0-9a-f]{16}"
_CACHE_OF_A_PROJECT = r"[0-9a-f]{16}"
_OF_OLD_BENCHES = r"bench-[a-z0-9_]{8}"
_LINKS = ("names", "owners", "projects")


def is_own(path: Path) -> bool:
    """Say whether something in a folder of a store has a name that ozrepro gives there."""
    return bool(re.fullmatch(ENTRIES[path.parent.name], path.name))


def is_marked(folder: Path) -> bool:
    """Say whether a folder was made or taken by ozrepro for a store or a cache."""
    try:
        return stat.S_ISREG(os.lstat(folder / MARKER).st_mode)
    except OSError:
        return False


def claim(folder: Path, setting: str) -> None:
    """Make a folder and mark it as ozrepro's; an empty one, and a store or cache of a version without markers, are taken too.

    `setting` is the variable that chooses the folder. Raises StoreError where it holds anything else, OSError.
    """
    with closed_to_others():
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        if not is_marked(folder):
            names = set(os.listdir(folder))
            if names and not (_is_cache(folder) if setting == CACHE_SETTING else _is_store(folder, names)):
                raise StoreError(
                    "is neither empty nor a folder that ozrepro made, and nothing is kept in it",
                    where=str(folder),
                    hint=f"set {setting} to a folder of its own, such as {shlex.quote(str(folder / 'ozrepro'))}",
                )
            if not os.access(folder, os.W_OK):
                return  # another member of the group built here by an earlier version: it is his to mark
            with suppress(FileExistsError):
                os.close(os.open(folder / MARKER, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644))
        _hide_from_git(folder / ".gitignore")


def _hide_from_git(path: Path) -> None:
    with suppress(FileNotFoundError):
        found = os.lstat(path)
        if found.st_size or not stat.S_ISREG(found.st_mode):
            return
    write_whole(path, b"*\n")  # an empty one was left by a killed process


def _is_store(folder: Path, names: set[str]) -> bool:
    """Say whether all of a folder is what an earlier version of ozrepro has put into its stores."""
    if not _is_cache_of_store(folder, names):
        return False
    for name in ENTRIES.keys() & names:
        if os.path.islink(folder / name) or not os.path.isdir(folder / name):
            return False
        with os.scandir(folder / name) as entries:
            if not all(is_own(Path(entry)) and (name not in _LINKS or entry.is_symlink()) for entry in entries):
                return False
    return names >= ENTRIES.keys() or not names & ENTRIES.keys()


def _is_cache_of_store(folder: Path, names: set[str]) -> bool:
    """Say whether what is in a folder beside the folders of a store is ozrepro's."""
    more = names - ENTRIES.keys() - {"cache"}
    if not all(_is_hidden(name) or re.fullmatch(f"{BENCH}|{_OF_OLD_BENCHES}", name) for name in more):
        return False
    return "cache" not in names or _is_cache(folder / "cache")


def _is_cache(folder: Path) -> bool:
    """Say whether a folder holds only caches of ozrepro; each but rattler's hides itself from git."""
    names = [name for name in os.listdir(folder) if not _is_hidden(name)]
    known = not os.path.islink(folder) and all(is_cache(folder / name) for name in names)
    return known and all((folder / name / ("pkgs" if name == "conda" else ".gitignore")).exists() for name in names)


def _is_hidden(name: str) -> bool:
    return bool(re.fullmatch(rf"\.gitignore|\.\.gitignore\.[0-9a-f]{{8}}|{re.escape(MARKER)}", name))


def is_cache(path: Path) -> bool:
    """Say whether something in `cache` of a store has a name that ozrepro gives there."""
    return path.name in CACHES or bool(re.fullmatch(_CACHE_OF_A_PROJECT, path.name))


def cache_name(folder: Path) -> str:
    """Return the name of the cache in a store or a cache folder that lies in a project: 16 digits that no clone can know.

    What is in such a cache is believed, and a clone may bring any file by any name that can be foreseen. Raises OSError where
    the folder has no marker.
    """
    return hashlib.sha256(repr(stamp(os.lstat(folder / MARKER))).encode()).hexdigest()[:16]


def is_inside(folder: Path, root: Path) -> bool:
    """Say whether a folder is written as one of the project at `root`, wherever links lead."""
    return os.path.abspath(folder).startswith(os.path.join(os.path.abspath(root), ""))


def check_path(path: Path, what: str) -> None:
    """Raise StoreError for a path in which no environment can work; `what` says whose it is, and how to choose another.

    PATH is divided at colons; a script's first line ends at a newline or carriage return, and is divided at a tab, for which uv
    has no way round as it has for a space; uv takes no path that is not UTF-8.
    """
    broken = sorted(set(str(path)) & set(":\t\n\r"))
    try:
        os.fsencode(path).decode()
    except UnicodeDecodeError:
        broken.append("bytes that are not UTF-8")
    if broken:
        named = ", ".join(ascii(item) if len(item) == 1 else item for item in broken)
        raise StoreError(f"no environment works in a path with {named}", where=ascii(str(path))[1:-1], hint=what)


def check_place(folder: Path, root: Path | None) -> None:
    """Raise StoreError where a folder was put there by a project's repository: a link out of it, or something that git tracks.

    The same for a path in which no environment can work.
    """
    if root is not None:
        check_path(root, "rename the project's folder")
    check_path(folder, "set OZREPRO_STORE, or OZREPRO_CACHE where that is it, to another folder")
    if root is not None and is_inside(folder, root):
        target = Path(os.path.realpath(folder))
        if not is_inside(target, Path(os.path.realpath(root))):
            chosen = f"rm {shlex.quote(str(folder))}, or name the folder itself: export OZREPRO_STORE={shlex.quote(str(target))}"
            raise StoreError(f"is a link out of the project, to {target}", where=str(folder), hint=chosen)
    if _is_tracked(folder):
        hint = f"git rm -r --cached {shlex.quote(str(folder))}, and commit"
        raise StoreError("is tracked by git, and would be used as what was built here", where=str(folder), hint=hint)


@lru_cache(maxsize=64)
def _is_tracked(folder: Path) -> bool:
    """Say whether git knows the folder or anything in it, as far as git is here to tell."""
    parent = folder.parent
    if not os.path.isdir(parent) or not any(os.path.lexists(above / ".git") for above in folder.parents):
        return False
    git = process.find_program("git", os.environ.get("PATH", ""))
    if git is None:
        return False
    # No program that the repository's own configuration names is started, and nothing is written or fetched.
    variables = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    variables |= {"GIT_OPTIONAL_LOCKS": "0", "GIT_NO_LAZY_FETCH": "1", "GIT_LITERAL_PATHSPECS": "1"}
    try:
        words = [git, "-c", "core.fsmonitor=false", "-C", str(parent), "ls-files", "-z", "--", folder.name]
        done = process.run(words, env=variables, timeout=60)
    except CommandFailed:
        return False
    return done.status == 0 and bool(done.output)


@contextmanager
def closed_to_others() -> Iterator[None]:
    """Let nothing be made that everybody may write to, also by the programs that are started, whatever the umask is."""
    before = os.umask(0o077)
    os.umask(before | 0o002)
    try:
        yield
    finally:
        os.umask(before)
