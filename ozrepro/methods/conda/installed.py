"""What is in a conda environment, as its own records (`conda-meta/*.json`) tell it."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from ozrepro.errors import BuildError
from ozrepro.store import states

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from ozrepro.methods.conda.records import LockedRecord
    from ozrepro.store.manifest import Digests

    _State = tuple[int, int, int]
    _Compared = tuple["Installed", list[str]]


class Placed(NamedTuple):
    """One file of an installed package: sha256 as the package has it, or as rattler `changed` it where it holds the prefix.

    A named tuple, as there are tens of thousands.
    """

    path: str
    sha256: str
    changed: bool = False


@dataclass(frozen=True, slots=True)
class Installed:
    """One installed package and its files; `sha256` is its archive's."""

    name: str
    version: str
    build: str
    sha256: str
    files: tuple[Placed, ...]

    @property
    def title(self) -> str:
        """Name, version and build as the cache's folders have them."""
        return f"{self.name}-{self.version}-{self.build}"


def installed(prefix: Path) -> tuple[Installed, ...]:
    """Return the packages of an environment by name. Raises BuildError where a record cannot be read."""
    found = (_read(path) for path in (prefix / "conda-meta").glob("*.json"))
    return tuple(sorted(found, key=lambda item: item.name))


def _read(path: Path) -> Installed:
    try:
        record = json.loads(path.read_bytes())
        files = tuple(
            Placed(
                item["_path"],
                item.get("sha256_in_prefix") or ("" if item.get("prefix_placeholder") else item.get("sha256", "")),
                bool(item.get("prefix_placeholder")),
            )
            for item in record["paths_data"]["paths"]
        )
        return Installed(record["name"], record["version"], record["build"], record.get("sha256", ""), files)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BuildError(f"is not a record of a package: {error}", where=str(path)) from error


def unlike_lock(packages: Iterable[Installed], records: Iterable[LockedRecord]) -> Iterator[str]:
    """Yield each difference between the packages of an environment and those locked."""
    wanted = {record.name: record for record in records}
    there = {package.name: package for package in packages}
    for name in sorted(wanted.keys() | there.keys()):
        if name not in there:
            yield f"{wanted[name].title} is not installed"
        elif name not in wanted:
            yield f"{there[name].title} is installed but not locked"
        elif there[name].title != wanted[name].title or there[name].sha256 not in ("", wanted[name].sha256):
            yield f"{name} is {there[name].title}, locked is {wanted[name].title} of another archive"


def damaged(prefix: Path, packages: Iterable[Installed], digests: Digests) -> dict[str, list[str]]:
    """Return, by package title, the files that are gone or not the package's: someone wrote into the cache."""
    compared = ((package.title, _unlike(prefix, package, digests)) for package in packages)
    return {title: lines for title, lines in compared if lines}


@contextmanager
def comparing(prefix: Path, digests: Digests) -> Iterator[Comparison]:
    """Give a Comparison for a new environment. What it has not looked at when the context ends is given up."""
    pool = ThreadPoolExecutor(max_workers=1)  # for small files two would only wait for each other
    try:
        yield Comparison(prefix, digests, pool)
    finally:
        pool.shutdown(cancel_futures=True)


class Comparison:
    """Compares the files of a new environment with what their packages list, while other packages are still being linked."""

    def __init__(self, prefix: Path, digests: Digests, pool: ThreadPoolExecutor) -> None:
        self._prefix = prefix
        self._digests = digests
        self._pool = pool
        self._begun: dict[str, tuple[_State, Future[_Compared]]] = {}

    def recall(self, notes: Sequence[Path]) -> None:
        """Begin to look for the files in the cache that need not be read again; what is compared later waits for that."""
        device = os.stat(self._prefix.parent).st_dev
        self._pool.submit(states.recall_all, notes, self._digests, device)

    def look(self, title: str) -> None:
        """Begin to compare a package that was just linked; return at once."""
        path = self._prefix / "conda-meta" / f"{title}.json"
        try:
            state = _state(path)
        except OSError:
            return  # `finish` finds it, if it is there
        self._begun[path.name] = (state, self._pool.submit(self._compare, path))

    def finish(self) -> tuple[tuple[Installed, ...], dict[str, list[str]]]:
        """Return what `installed` and `damaged` would return. Raises BuildError where a record cannot be read.

        One whose record was written again since is compared again: where two packages have the same file, the installer
        settles at the end whose it is.
        """
        found: list[_Compared] = []
        for path in (self._prefix / "conda-meta").glob("*.json"):
            state, begun = self._begun.get(path.name, (None, None))
            if begun is not None and state == _state(path):
                found.append(begun.result())
            else:
                found.append(self._compare(path))
        found.sort(key=lambda item: item[0].name)
        return tuple(package for package, _ in found), {package.title: lines for package, lines in found if lines}

    def _compare(self, path: Path) -> _Compared:
        package = _read(path)
        return package, _unlike(self._prefix, package, self._digests)


def _state(path: Path) -> _State:
    found = os.stat(path)
    return found.st_ino, found.st_size, found.st_mtime_ns


def _unlike(prefix: Path, package: Installed, digests: Digests) -> list[str]:
    return [line for file in package.files if (line := _differs(f"{prefix}/{file.path}", file, digests))]


def _differs(path: str, file: Placed, digests: Digests) -> str | None:
    try:
        if not file.sha256:
            os.lstat(path)
        elif digests.read(path) not in (None, file.sha256):
            return f"{file.path}: is not the recorded file"
    except OSError as error:
        return f"{file.path}: {error.strerror}"
    return None
