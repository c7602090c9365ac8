"""The bytecode of an environment: linked from the cache where it was compiled before, else compiled now and kept there.

Nobody can write bytecode into a published environment, so all of it is there from the start. In the cache a top-level package has
a folder, named by paths and sha256 of its sources, with a numbered file for each and a record of their sha256: what is linked is
compared with that before anything runs. One file serves every environment: it names its source by the path below site-packages,
and Python puts the real path in its place as it loads it (importlib's `_compile_bytecode`, tried with 3.9 to 3.13). It is of the
kind that Python does not compare with its source (PEP 552), as files of an environment never change, and their dates may.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from ozrepro import process
from ozrepro.python import compiling as compiler
from ozrepro.store import cache_of, caches, manifest, states

if TYPE_CHECKING:
    from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from ozrepro.project.settings import Settings
    from ozrepro.python.interpreter import Interpreter

_FORM = "1"
"""Counted among what names a folder: another way of compiling, or of writing the record, is another form."""

_RECORD = "record"
_STATES = "states"
_NONE = "-"
"""What the record has for a source that does not compile: some packages ship files for other Pythons."""

_LEFT = 86_400
"""Seconds after which a folder that nobody has moved into its place was left by a killed process."""


@dataclass(frozen=True, slots=True)
class Kept:
    """Where the bytecode of one Python is kept: the folder, the tag in its files' names, and whether they may be linked."""

    folder: Path
    tag: str
    linked: bool


class _Source(NamedTuple):
    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class _Package:
    """The sources of one top-level package below site-packages, by path."""

    sources: tuple[_Source, ...]

    def name(self) -> str:
        """Return the name of its folder: what its bytecode follows from, but for the Python."""
        text = "".join(f"{source.path}\0{source.sha256}\n" for source in self.sources)
        return hashlib.sha256(f"{_FORM}\n{text}".encode("utf-8", "surrogateescape")).hexdigest()


def kept_for(settings: Settings, python: Interpreter) -> Kept | None:
    """Return where the bytecode of this Python is kept; None where it does not say which bytecode it has. Raises StoreError."""
    name = f"{python.tag}-{python.magic}-{python.version}"
    if not (python.tag and python.magic and re.fullmatch(r"[\w.+-]+", name, re.ASCII)):
        return None
    folder = cache_of(settings, "bytecode") / name
    return Kept(folder, python.tag, caches.shares(settings, folder))


def provide(
    prefix: Path,
    folder: Path,
    kept: Kept | None,
    variables: Mapping[str, str],
    digests: manifest.Digests,
    *,
    entries: Iterable[manifest.Entry] | None = None,
    brought: Collection[str] = (),
    changing: Collection[str] = (),
) -> None:
    """Give every module in `folder`, the site-packages of the environment at `prefix`, its bytecode; nothing is imported.

    `variables` are those that the environment's Python needs. `digests` gets what was taken. `entries`
    are what is in the environment, where it was looked at just before. `brought` are files of bytecode that
    packages bring and that stay as they are, `changing` sources that name the prefix: their bytecode is not kept. Both are paths
    below `folder`. Raises OSError, CommandFailed.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    base = f"{os.path.relpath(folder, prefix)}/"
    sources = _look(folder, digests) if entries is None else _listed(entries, base)
    packages, others = _sort(sources, kept.tag if kept else "", brought, changing)
    with ThreadPoolExecutor(max_workers=cores) as pool:
        lacking = packages
        if kept is not None:
            there = list(pool.map(lambda package: _take(kept, folder, base, package, digests), packages))
            digests.settle()
            lacking = [package for package, whole in zip(packages, there, strict=True) if not whole]
        todo = [*others, *(source.path for package in lacking for source in package.sources)]
        refused = _compile(pool, prefix, folder, todo, variables, cores)
        if kept is not None and lacking:
            _keep(pool, kept, folder, base, lacking, refused, digests)


def _look(folder: Path, digests: manifest.Digests) -> Iterator[_Source]:
    """Yield the sources below `folder`, a symlink without a digest."""
    for path, item in manifest.scan(folder):
        if path.endswith(".py"):
            found = item.stat(follow_symlinks=False)
            if not stat.S_ISDIR(found.st_mode):
                yield _Source(path, digests.of(item.path, found) if stat.S_ISREG(found.st_mode) else "")


def _listed(entries: Iterable[manifest.Entry], base: str) -> Iterator[_Source]:
    """Yield the sources among the entries of an environment, as `_look` does."""
    for entry in entries:
        if entry.path.endswith(".py") and entry.path.startswith(base):
            yield _Source(entry.path[len(base) :], "" if entry.digest.startswith("->") else entry.digest)


def _sort(
    sources: Iterable[_Source], tag: str, brought: Collection[str], changing: Container[str]
) -> tuple[list[_Package], list[str]]:
    """Return the packages, and the sources whose bytecode is not kept: what a link leads to, a project's file, may change."""
    packages: dict[str, list[_Source]] = {}
    others: list[str] = []
    for source in sources:
        if tag and brought and _bytecode(source.path, tag) in brought:
            continue
        if source.sha256 and source.path not in changing:
            packages.setdefault(source.path.partition("/")[0], []).append(source)
        else:
            others.append(source.path)
    # The largest first: what begins last ends alone.
    return [_Package(tuple(sorted(packages[top]))) for top in sorted(packages, key=lambda top: -len(packages[top]))], others


def _bytecode(path: str, tag: str) -> str:
    """Return where Python looks for the bytecode of a source (PEP 3147)."""
    inner, slash, name = path.rpartition("/")
    return f"{inner}{slash}__pycache__/{name.removesuffix('.py')}.{tag}.pyc"


def _take(kept: Kept, folder: Path, base: str, package: _Package, digests: manifest.Digests) -> bool:
    """Put the kept bytecode of a package into the environment; False, and none of it is there, where it is not whole."""
    place = kept.folder / package.name()
    recorded = _read(place)
    if recorded is None or len(recorded) != len(package.sources):
        return False
    if kept.linked:
        states.recall(place / _STATES, digests, os.stat(folder).st_dev)
    put: list[str] = []
    made = ""
    with suppress(OSError):  # what is gone from the cache, or does not fit on the disk, is compiled
        for number, (source, sha256) in enumerate(zip(package.sources, recorded, strict=True)):
            if sha256 == _NONE:
                continue
            target = f"{folder}/{_bytecode(source.path, kept.tag)}"
            if target.rpartition("/")[0] != made:
                made = target.rpartition("/")[0]
                with suppress(FileExistsError):
                    os.mkdir(made)
            put.append(target)
            _put(f"{place}/{number}", target, linked=kept.linked)
            if digests.read(target) != sha256:
                break
        else:
            _note(kept, base, package, digests)
            return True
    for target in put:
        with suppress(OSError):
            os.unlink(target)
    return False


def _note(kept: Kept, base: str, package: _Package, digests: manifest.Digests) -> None:
    """Have the files of a package's bytecode noted when the environment is published; see `states`."""
    if kept.linked:
        place = kept.folder / package.name()
        files = {f"{base}{_bytecode(source.path, kept.tag)}": str(number) for number, source in enumerate(package.sources)}
        digests.noted.append(states.Noted(place / _STATES, str(place), files))


def _put(source: str, target: str, *, linked: bool) -> None:
    try:
        caches.put(source, target, linked=linked)
    except FileExistsError:  # a wheel has brought it
        os.unlink(target)
        caches.put(source, target, linked=linked)


def _compile(
    pool: ThreadPoolExecutor, prefix: Path, folder: Path, paths: Sequence[str], variables: Mapping[str, str], cores: int
) -> set[str]:
    """Compile sources by the environment's own Python, and return those that do not compile."""
    if not paths:
        return set()
    workers = max(1, min(cores, len(paths) // 100))
    words = [str(prefix / "bin" / "python"), "-I", "-S", compiler.__file__, str(folder)]
    parts = ["".join(f"{path}\n" for path in paths[number::workers]) for number in range(workers)]
    done = pool.map(lambda part: process.run(words, env=variables, cwd=prefix, text=part), parts)
    return {line for finished in done for line in finished.output.split("\n")}


def _keep(
    pool: ThreadPoolExecutor,
    kept: Kept,
    folder: Path,
    base: str,
    packages: Iterable[_Package],
    refused: Container[str],
    digests: manifest.Digests,
) -> None:
    """Keep bytecode that was just compiled, each package's whole or not at all; a cache that cannot be written to keeps none."""
    with suppress(OSError):
        kept.folder.mkdir(mode=0o755, exist_ok=True)
        _tidy(kept.folder)
        with tempfile.TemporaryDirectory(prefix=".", dir=kept.folder, ignore_cleanup_errors=True) as aside:
            list(pool.map(lambda package: _keep_one(kept, aside, folder, base, package, refused, digests), packages))


def _keep_one(
    kept: Kept, aside: str, folder: Path, base: str, package: _Package, refused: Container[str], digests: manifest.Digests
) -> None:
    name = package.name()
    fresh, recorded = f"{aside}/{name}", []
    with suppress(OSError):
        os.mkdir(fresh, 0o755)
        for number, source in enumerate(package.sources):
            if source.path in refused:
                recorded.append(_NONE)
                continue
            target = f"{folder}/{_bytecode(source.path, kept.tag)}"
            caches.put(target, f"{fresh}/{number}", linked=kept.linked)  # a new name moves the ctime: digested after it
            recorded.append(digests.read(target) or "")
        with open(f"{fresh}/{_RECORD}", "x", encoding="ascii") as stream:
            stream.write(_written(kept.folder / name, recorded))
        place = kept.folder / name
        with suppress(FileNotFoundError):  # what is there is not whole, or another process's and the same
            os.rename(place, f"{aside}/old-{name}")
        os.rename(fresh, place)
        _note(kept, base, package, digests)


def _written(place: Path, recorded: Sequence[str]) -> str:
    """Return a record: the digest of which folder of which Python it is and of the rest, then a line for each source."""
    lines = "".join(f"{sha256}\n" for sha256 in recorded)
    return f"{hashlib.sha256(f'{place.parent.name}/{place.name}/{lines}'.encode()).hexdigest()}\n{lines}"


def _read(place: Path) -> list[str] | None:
    """Return the sha256 of each file of a folder, None where the record is not one that was written for it."""
    try:
        text = (place / _RECORD).read_text(encoding="ascii")
    except (OSError, ValueError):
        return None
    recorded = text.split("\n")[1:-1]
    return recorded if text == _written(place, recorded) else None


def _tidy(folder: Path) -> None:
    """Remove what killed processes have left."""
    for path in folder.glob(".*"):
        with suppress(OSError):
            if time.time() - path.lstat().st_mtime > _LEFT:
                shutil.rmtree(path)
