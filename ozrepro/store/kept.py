"""Software of the machine inside of an environment's file: what of it is packed, and where it is mounted.

`start` mounts each folder over its own path: both where it really is and by the name that the environment has for it, which a
link may have made. So programs find it where they would without, and read nothing of the machine's.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ozrepro.errors import BuildError
from ozrepro.project.formatting import size_words
from ozrepro.store import manifest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from ozrepro.store.publish import Generation

FOLDER = ".ozrepro-kept"
"""Of a packed environment: a folder by number for each that is kept; `table`, with number or path below it, real path and path of
each that is mounted; `fstab`, with the same for mount(8); and `cover`, on which `start` mounts memory."""

_SYSTEM = re.compile(r"/(?:usr(?!/local/)|bin|sbin|lib(?:32|64|x32)?|etc|proc|sys|dev|run|boot)(?:/|\Z)|/[^/]*\Z")
"""Folders that each node has of its own, and those at the top of the file system, which hold more than one software."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What is to be kept, as it is now.

    Attributes:
        sources: the folders by number, by their real paths.
        rows: for each path that is mounted: what of the kept folder, the real path, the path.
        files: how many files and links they have.
        bytes: how large these are.
        inodes: how many files, links and folders there are, one with several names once.
        closed: what this user cannot read, which is left out.
        raised: programs that change user or group, and their modes without that.
        private: the first path that not everybody may read, "" where all may.
        system: what the machine has of its own, which is not kept.
        leading: links that lead out of all this, each with where.

    """

    sources: tuple[str, ...] = ()
    rows: tuple[tuple[str, str, str], ...] = ()
    files: int = 0
    bytes: int = 0
    inodes: int = 0
    closed: tuple[str, ...] = ()
    raised: Mapping[str, int] = field(default_factory=dict)
    private: str = ""
    system: tuple[str, ...] = ()
    leading: tuple[tuple[str, str], ...] = ()

    @property
    def folders(self) -> dict[str, str]:
        """Where each path is below the environment, by the path."""
        return {path: f"{FOLDER}/{place}" for place, _, path in self.rows}

    def lines(self) -> list[str]:
        """Return what is to be said before it is packed."""
        if not self.sources:
            return []
        count = len(self.sources)
        what = self.sources[0] if count == 1 else f"{count} folders: {_some(self.sources)}"
        lines = [f"keeping {self.files:,} files, {size_words(self.bytes)}, of {what}"]
        if self.system:
            lines.append(f"not kept, as each node has its own: {_some(self.system)}")
        if self.closed:
            lines.append(f"not kept, as you cannot read it: {_some(self.closed)}")
        if self.private:
            lines.append(f"the environment's file is for you alone, as not everybody may read {self.private}")
        if self.leading:
            links = [f"{path} -> {target}" for path, target in self.leading]
            lines.append(f"links lead to what is not kept: {_some(links)}")
        return lines


def _some(names: Sequence[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def is_system(path: str) -> bool:
    """Say whether a folder is one that each node has of its own."""
    return _SYSTEM.match(path) is not None


def place_of(path: str, folders: Mapping[str, str]) -> str:
    """Return where a path of the machine is below an environment that keeps `folders`, "" where it does not keep it."""
    for folder, place in folders.items():
        if path == folder or path.startswith(f"{folder}/"):
            return place + path[len(folder) :]
    return ""


def folders_of(generation: Generation) -> dict[str, str]:
    """Return the paths that a generation keeps, each with its place below the environment."""
    kept = generation.card.get("kept")
    folders = kept.get("folders") if isinstance(kept, dict) else None
    return folders if isinstance(folders, dict) else {}


def is_kept(generation: Generation, path: str) -> bool:
    """Say whether what a generation keeps is used in the place of a path of the machine, or makes it needless."""
    kept = generation.card.get("kept")
    covered = kept.get("covered", ()) if isinstance(kept, dict) else ()
    return path in covered or bool(place_of(path, folders_of(generation)))


def survey(folders: Iterable[str], named: Iterable[str], outside: Iterable[Path], asked: str) -> Survey:
    """Look at the folders that are to be kept, and count what is in them.

    Args:
        folders: what to keep.
        named: further names that may be other names of the same.
        outside: what must not be inside of any, such as the store.
        asked: the words of the spec that ask for it.

    Raises BuildError for one that is gone or too wide, OSError for one that cannot be read.

    """
    wanted = list(dict.fromkeys(folders))
    system = tuple(path for path in wanted if is_system(path) or is_system(os.path.realpath(path)))
    real = {path: os.path.realpath(path) for path in wanted if path not in system}
    gone = [path for path in real if not os.path.isdir(path)]
    real = {path: there for path, there in real.items() if path not in gone}
    sources = _tops(real.values())
    within = [os.path.realpath(path) for path in outside]
    for source in sources:
        if wide := next((path for path in within if f"{path}/".startswith(f"{source}/")), ""):
            raise BuildError(f"{source} cannot be kept: {wide} is in it", hint=f"remove {asked} from the spec")
    real |= {path: there for path in named if _top(there := os.path.realpath(path), sources) and os.path.isdir(path)}
    rows = {there: there for there in sources} | real
    count = _count(sources, [*sources, *rows])
    return Survey(
        sources=sources,
        rows=tuple((_place(there, sources), there, path) for path, there in sorted(rows.items())),
        files=count.files,
        bytes=count.bytes,
        inodes=len(count.inodes),
        closed=tuple(count.closed),
        raised=count.raised,
        private=count.private,
        system=system,
        leading=tuple(count.leading),
    )


def _tops(paths: Iterable[str]) -> tuple[str, ...]:
    """Return the paths that are not inside another one."""
    found: list[str] = []
    for path in sorted(set(paths)):
        if not _top(path, found):
            found.append(path)
    return tuple(found)


def _top(path: str, tops: Iterable[str]) -> str:
    return next((top for top in tops if path == top or path.startswith(f"{top}/")), "")


def _place(path: str, sources: Sequence[str]) -> str:
    top = _top(path, sources)
    return f"{sources.index(top)}{path[len(top) :]}"


class _Count:
    """Counts while folders are walked through."""

    def __init__(self, kept: Collection[str]) -> None:
        self.kept = kept
        self.files = self.bytes = 0
        self.inodes: set[tuple[int, int]] = set()
        self.closed: list[str] = []
        self.raised: dict[str, int] = {}
        self.private = ""
        self.leading: list[tuple[str, str]] = []

    def note(self, path: str, found: os.stat_result) -> bool:
        """Note a file, a link or a folder; return whether it can be read."""
        mode = found.st_mode
        if stat.S_ISLNK(mode):
            self.note_link(path)
        else:
            needed = 0o005 if stat.S_ISDIR(mode) else 0o004
            if mode & needed != needed:
                if not os.access(path, os.R_OK | (os.X_OK if stat.S_ISDIR(mode) else 0)):
                    self.closed.append(path)
                    return False
                self.private = self.private or path
        self.inodes.add((found.st_dev, found.st_ino))
        if not stat.S_ISDIR(mode):
            self.files += 1
            self.bytes += found.st_size
            if mode & (stat.S_ISUID | stat.S_ISGID):
                self.raised[path] = stat.S_IMODE(mode) & 0o777
        return True

    def note_link(self, path: str) -> None:
        target = os.path.normpath(os.path.join(os.path.dirname(path), os.readlink(path)))
        if not (_top(target, self.kept) or is_system(target)):
            self.leading.append((path, target))


def _count(sources: Sequence[str], kept: Collection[str]) -> _Count:
    count = _Count(kept)
    for source in sources:
        found = os.stat(source)
        if not os.access(source, os.R_OK | os.X_OK):
            raise BuildError("cannot be read, so it cannot be kept", where=source, hint="ask the centre, or leave out keep")
        count.note(source, found)
        above = [str(parent) for parent in Path(source).parents]
        count.private = count.private or next((path for path in above if not os.stat(path).st_mode & 0o001), "")
        pending = [source]
        while pending:
            with os.scandir(pending.pop()) as entries:
                readable = [entry for entry in entries if count.note(entry.path, entry.stat(follow_symlinks=False))]
                pending += [entry.path for entry in readable if entry.is_dir(follow_symlinks=False)]
    return count


def prepare(prefix: Path, kept: Survey) -> None:
    """Make the folders that what is kept is mounted on while it is packed, and the tables of what `start` mounts where.

    `fstab` (fstab(5)) is for a machine on which all paths are as they are now.
    """
    folder = prefix / FOLDER
    folder.mkdir(mode=0o755)
    for name in (*range(len(kept.sources)), "cover"):
        (folder / str(name)).mkdir(mode=0o755)
    real = {there: place for place, there, _ in kept.rows}
    lines = [f"{_escaped(f'{folder}/{place}')} {_escaped(there)} none bind\n" for there, place in real.items()]
    rows = [text for row in kept.rows for text in row]
    for name, content in (("table", "".join(f"{text}\0" for text in rows)), ("fstab", "".join(lines))):
        (folder / name).write_bytes(os.fsencode(content))
        (folder / name).chmod(0o444)


def _escaped(path: str) -> str:
    """Return a path as fstab(5) has it."""
    return re.sub(r"[\\ \t\n]", lambda found: f"\\{ord(found[0]):03o}", path)


PACKING = """\
mount=$1; shift
while [ "$1" != -- ]; do
    "$mount" -i -n -c --rbind "$1" "$2" || exit
    shift 2
done
shift
exec "$@"
"""
"""For bash, in a mount namespace: puts each folder that is kept where mksquashfs finds it, and runs that."""


def packing_words(unshare: str, mount: str, prefix: Path, kept: Survey, words: Sequence[str]) -> list[str]:
    """Return the words that run mksquashfs, `words`, with what is kept in its place below the prefix."""
    binds = [text for number, source in enumerate(kept.sources) for text in (source, str(prefix / FOLDER / str(number)))]
    inner = ["/bin/bash", "-p", "-c", PACKING, "packing", mount, *binds, "--", *words]
    return [unshare, "--user", "--map-root-user", "--mount", "--", *inner]


def options(beside: Path, kept: Survey) -> list[str]:
    """Return mksquashfs's options for what is kept, their files written into the folder `beside`.

    Files that cannot be read are left out; programs that change user or group lose that mode, which has no effect inside.
    """
    changes = []
    for path, mode in kept.raised.items():
        place = place_of(path, kept.folders).replace("\\", "\\\\").replace('"', '\\"')
        changes.append(f'"{place}" m {mode:o} 0 0')
    words: list[str] = []
    for option, lines in (("-ef", kept.closed), ("-pf", changes)):
        if lines:
            file = beside / f"options{option}"
            file.write_bytes(os.fsencode("".join(f"{line}\n" for line in lines)))
            words += [option, str(file)]
    return words


def unlike(files: Path, folders: Mapping[str, str], digests: Mapping[str, str]) -> list[str]:
    """Return the paths that are kept otherwise than with these sha256s; `files` is where the packed environment is seen."""
    wrong = []
    for path, sha256 in digests.items():
        place = place_of(path, folders)
        try:
            if place and manifest.digest_file(files / place) != sha256:
                wrong.append(f"{path} was changed")
        except OSError as error:
            wrong.append(f"{path}: {error.strerror}")
    return wrong
