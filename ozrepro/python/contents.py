"""Whether an environment holds what its packages' archives hold: looked at as soon as uv has linked it, before any of it runs.

uv checks the hash of an archive as it unpacks it, and never looks at the unpacked files again; nor at files that a wheel does not
record, or puts over those of another one or of the environment itself. So what the files of an archive were is noted beside the
cache at the first installation from it, and compared at each later one.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import importlib.metadata
import os
from contextlib import suppress
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from packaging.utils import canonicalize_name

from ozrepro.errors import BuildError
from ozrepro.store import manifest, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

_OF_THE_INSTALLER = frozenset(("RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_build.json", "uv_cache.json"))
"""Files of a .dist-info folder that uv writes."""

_LOCK = ".lock"
"""The file in an environment that uv locks while it installs."""


class NotAsRecordedError(BuildError):
    """Installed files are not those that the wheels hold: uv links files from its cache without looking at them again."""


class Row(NamedTuple):
    """One file as a RECORD has it, its path taken from the environment's folder (PEP 376, PEP 627)."""

    path: str
    digest: str
    size: str


class Wheel(NamedTuple):
    """An installed distribution: the path of its .dist-info folder, and what its RECORD lists."""

    info: str
    rows: tuple[Row, ...]

    @property
    def title(self) -> str:
        """Name and version, as the folder has them."""
        return os.path.basename(self.info).removesuffix(".dist-info").replace("-", " ", 1)

    @property
    def name(self) -> str:
        """The canonical name of the distribution."""
        return canonicalize_name(self.title.split(" ")[0])


class Installed(NamedTuple):
    """What is in an environment after an installation, and which wheels were installed."""

    entries: list[manifest.Entry]
    wheels: list[Wheel]


def read_wheels(prefix: Path, folder: Path) -> list[Wheel]:
    """Return the distributions that have a RECORD in `folder`, the site-packages of the environment at `prefix`."""
    base = os.path.relpath(folder, prefix)
    found: list[Wheel] = []
    for path in sorted(folder.glob("*.dist-info/RECORD")):
        with open(path, newline="", encoding="utf-8") as stream:
            rows = [Row(os.path.normpath(f"{base}/{row[0]}"), row[1], row[2]) for row in csv.reader(stream) if len(row) >= 3]
        found.append(Wheel(f"{base}/{path.parent.name}", tuple(rows)))
    return found


def check_records(
    prefix: Path, wheels: Iterable[Wheel], digests: manifest.Digests, after: Mapping[str, str] = MappingProxyType({})
) -> Iterator[str]:
    """Yield each installed file whose size or sha256 is not what its distribution's RECORD says.

    `after` has the sha256 of files that were looked at just before; a file with the digest has the size, too.
    """
    for row in (row for wheel in wheels for row in wheel.rows):
        # Some wheels (numpy 2.2.6) ship bytecode, which compiling replaces.
        if row.digest and not row.path.endswith(".pyc"):
            known = after.get(row.path, "")
            if known and row.digest == f"sha256={_encoded(known)}":
                continue
            problem = _differs(f"{prefix}/{row.path}", row, digests)
            if problem:
                yield f"{shown(row.path)}: {problem}"


def _encoded(digest: str) -> str:
    """Return a digest as a RECORD has it, "" where it is none: of a link."""
    try:
        return base64.urlsafe_b64encode(bytes.fromhex(digest)).rstrip(b"=").decode("ascii")
    except ValueError:
        return ""


def _differs(path: str, row: Row, digests: manifest.Digests) -> str | None:
    algorithm, _, expected = row.digest.partition("=")
    try:
        found = os.stat(path)
        if row.size and int(row.size) != found.st_size:
            return f"has {found.st_size} bytes, recorded are {row.size}"
        if algorithm != "sha256":
            return None
        same = base64.urlsafe_b64decode(f"{expected.rstrip('=')}=").hex() == digests.of(path, found)
    except OSError as error:
        return error.strerror or str(error)
    except ValueError:
        same = False
    return None if same else "is not the recorded file"


def check(
    prefix: Path,
    folder: Path,
    before: Sequence[manifest.Entry],
    archives: Mapping[str, str],
    notes: Path,
    digests: manifest.Digests,
) -> Installed:
    """Check what was just installed. `before` is what was in the environment; `archives` has the key of each file by package.

    `digests` is told that all of it, but for bytecode, is to be the same when the environment is published.

    Returns what is in the environment now.

    Raises NotAsRecordedError where files are not those that their archives hold, BuildError naming the package where one brings
    files over those of another one or of the environment itself.
    """
    entries = manifest.take(prefix, digests)
    digests.settle()
    after = {entry.path: entry.digest for entry in entries}
    wheels = [wheel for wheel in read_wheels(prefix, folder) if not any(f"{wheel.info}/RECORD" == old.path for old in before)]
    refused = [*_replaced(before, after, wheels), *_contested(wheels)]
    if refused:
        _refuse(BuildError, refused)
    known = {_LOCK, *(entry.path for entry in before)}
    wrong = [*check_records(prefix, wheels, digests, after), *_unlisted(known, after, wheels)]
    fresh: dict[Path, str] = {}
    for wheel in wheels:
        key = archives.get(wheel.name)
        if key is not None:
            digest, note = _digest(prefix, wheel, after), notes / key
            kept = _read(note)
            if kept is None:
                fresh[note] = digest
            elif kept != digest:
                wrong.append(f"{wheel.title}: its files are not those that were first installed from this archive")
    if wrong:
        _refuse(NotAsRecordedError, wrong)
    for note, digest in fresh.items():
        _write(note, digest)
    digests.expect({path: digest for path, digest in after.items() if path != _LOCK and not path.endswith(".pyc")})
    return Installed(entries, wheels)


def _refuse(kind: type[BuildError], lines: Sequence[str]) -> None:
    what = "\n  ".join(("the packages cannot be installed as they are:", *lines[:30]))
    raise kind(what, hint="ask for another version of the package")


def _replaced(before: Iterable[manifest.Entry], after: Mapping[str, str], wheels: Sequence[Wheel]) -> Iterator[str]:
    """Yield a line for each file of the environment itself that is another one now, with the package that brings it."""
    for old in before:
        if after.get(old.path) != old.digest:
            bring = [wheel.title for wheel in wheels if any(row.path == old.path for row in wheel.rows)]
            yield f"{', '.join(bring) or 'a package'} replaces {shown(old.path)}, which is the environment's own"


def _contested(wheels: Iterable[Wheel]) -> Iterator[str]:
    """Yield a line for each file that two packages bring with another content."""
    first: dict[str, tuple[str, str]] = {}
    for wheel in wheels:
        for row in wheel.rows:
            title, digest = first.setdefault(row.path, (wheel.title, row.digest))
            if title != wheel.title and digest != row.digest:
                yield f"{title} and {wheel.title} each bring another {shown(row.path)}"


def _unlisted(known: set[str], after: Iterable[str], wheels: Iterable[Wheel]) -> Iterator[str]:
    """Yield a line for each new file that no package lists; PyPI takes no wheel that holds one since 2026."""
    listed = {row.path for wheel in wheels for row in wheel.rows}
    for path in after:
        if path not in known and path not in listed and _source(path) not in known:
            yield f"{shown(path)}: is in no package's RECORD"


def _source(path: str) -> str:
    """Return the source of a file of bytecode (PEP 3147), such as the environment's own when a Python was asked what it is."""
    folder, name = os.path.split(path)
    return f"{os.path.dirname(folder)}/{name.split('.')[0]}.py" if path.endswith(".pyc") else ""


def _digest(prefix: Path, wheel: Wheel, after: Mapping[str, str]) -> str:
    """Return the digest of all files that a wheel has brought, as they are in its archive: not those that uv has written."""
    base = os.path.dirname(wheel.info)
    made = {f"{wheel.info}/{name}" for name in _OF_THE_INSTALLER} | _generated(prefix, wheel)
    lines = [
        f"{_below(row.path, base)}\0{_body(prefix, row.path) or after.get(row.path, '')}\n"
        for row in wheel.rows
        if row.path not in made
    ]
    return hashlib.sha256("".join(sorted(lines)).encode("utf-8", "surrogateescape")).hexdigest()


def _below(path: str, base: str) -> str:
    """Return os.path.relpath(path, base), in a tenth of the time for most files: of a normal path in the environment."""
    return path[len(base) + 1 :] if path.startswith(f"{base}/") else os.path.relpath(path, base)


def _generated(prefix: Path, wheel: Wheel) -> set[str]:
    """Return the programs that uv has written for a wheel's entry points."""
    if not any(row.path.startswith("bin/") for row in wheel.rows):
        return set()
    points = importlib.metadata.Distribution.at(prefix / wheel.info).entry_points
    return {f"bin/{point.name}" for point in points if point.group in ("console_scripts", "gui_scripts")}


def _body(prefix: Path, path: str) -> str:
    """Return the digest of a script without its first lines, where these name this environment's Python; else ""."""
    if not path.startswith("bin/"):
        return ""
    with suppress(OSError), open(prefix / path, "rb") as stream:
        head = [stream.readline(1 << 16) for _ in range(3)]
        own = os.fsencode(f"{prefix}/bin/")
        # A path longer than a kernel takes behind #! is on a second line, as sh reads it, and a third ends that.
        start = 1 if own in head[0] else 3 if head[0] == b"#!/bin/sh\n" and own in head[1] else 0
        if start:
            return hashlib.sha256(b"".join(head[start:]) + stream.read()).hexdigest()
    return ""


def _read(note: Path) -> str | None:
    try:
        text = note.read_text(encoding="ascii")
    except (OSError, ValueError):
        return None
    return text if len(text) == 64 else None


def _write(note: Path, digest: str) -> None:
    """Note what an archive's files are; in a cache that cannot be written to it is not noted."""
    aside = note.with_name(f".{note.name[:32]}.{os.urandom(4).hex()}")
    with suppress(OSError):
        note.parent.mkdir(mode=0o755, exist_ok=True)
        aside.write_text(digest, encoding="ascii")
        os.replace(aside, note)
