"""What the lock says of conda packages: everything that is needed to fetch, check and install each without asking a channel."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any, Literal

from ozrepro.methods.conda import channels
from ozrepro.methods.conda.matchspec import NAME
from ozrepro.project.reader import Check, Range
from ozrepro.project.settings import one_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_PATH = re.compile(r"[A-Za-z0-9_.+-]+(/[A-Za-z0-9_.+-]+)*\Z", re.ASCII)
_LONGEST = 1000
_MOST = 2000


def _like(pattern: str, problem: str, longest: int = 128) -> Check:
    """Return a check that a text matches a pattern as a whole."""
    match = re.compile(rf"{pattern}\Z", re.ASCII).match
    return Check(lambda text: None if match(text) and len(text) <= longest else f"{text[:longest]!r} is not {problem}")


def _check_name(name: str) -> str | None:
    good = NAME.match(name) and len(name) <= 128 and not name.startswith("__")
    return None if good else f"{name!r} is not the name of a conda package"


def _check_lines(lines: tuple[str, ...]) -> str | None:
    if len(lines) > _MOST:
        return f"has {len(lines)} entries: no package needs so many"
    return "holds a line that is too long for a dependency" if any(len(line) > _LONGEST for line in lines) else None


def _check_site_packages(path: str) -> str | None:
    good = not path or (_PATH.match(path) and ".." not in path.split("/") and len(path) <= _LONGEST)
    return None if good else f"{path!r} is not a path inside an environment"


_Lines = Annotated[tuple[str, ...], Check(_check_lines)]


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedRecord:
    """One package of one channel: exactly this build, its fields in the lock's order.

    `channel` is a name, never an address; `size` is in bytes, None where the channel does not tell; `noarch` is "", `python` or
    `generic`; `python_site_packages_path` is set where a `python` package has them elsewhere.
    """

    name: Annotated[str, Check(_check_name)]
    version: Annotated[str, _like("[A-Za-z0-9_.+!]+", "a version")]
    build: Annotated[str, _like("[A-Za-z0-9_.+]+", "a build")]
    build_number: Annotated[int, Range(0, 1 << 53)]
    channel: Annotated[str, Check(channels.check_name)]
    subdir: Annotated[str, Check(one_of(channels.SUBDIRS))]
    file: str
    size: Annotated[int, Range(0, 1 << 40)] | None = None
    sha256: Annotated[str, _like("[0-9a-f]{64}", "a sha256 in hexadecimal")]
    md5: Annotated[str, _like("([0-9a-f]{32})?", "an md5 in hexadecimal")] = ""
    noarch: Literal["", "python", "generic"] = ""
    python_site_packages_path: Annotated[str, Check(_check_site_packages)] = ""
    license: Annotated[str, _like("(?s:.*)", "a license's name", _LONGEST)] = ""
    depends: _Lines = ()
    constrains: _Lines = ()

    @property
    def title(self) -> str:
        """Name, version and build as conda's files and folders have them."""
        return f"{self.name}-{self.version}-{self.build}"

    def uses_python(self) -> bool:
        """Say whether the package may be a Python distribution: all others are none."""
        return self.noarch == "python" or any(line.split(" ")[0] == "python" for line in self.depends)

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield that the file's name is another than conda's own rule gives: it is a path in the channel and in the cache."""
        if self.file not in (f"{self.title}.conda", f"{self.title}.tar.bz2"):
            yield "file", f"{self.file!r} is not {self.title}.conda or .tar.bz2"

    def as_table(self) -> dict[str, Any]:
        """Return the record as it is in the lock."""
        table: dict[str, Any] = {}
        for key in _FIELDS:
            value = getattr(self, key)
            if value or value == 0 or key == "depends":
                table[key.replace("_", "-")] = list(value) if isinstance(value, tuple) else value
        return table


_FIELDS = tuple(item.name for item in fields(LockedRecord))


def sorted_records(records: Iterable[LockedRecord]) -> tuple[LockedRecord, ...]:
    """Return the records in the lock's order: by name."""
    return tuple(sorted(records, key=lambda item: (item.name, item.version, item.build, item.subdir)))


def topological(records: Iterable[LockedRecord]) -> tuple[LockedRecord, ...]:
    """Return the records each behind what it depends on, else by name; a circle is cut where it closes."""
    by_name = {record.name: record for record in sorted_records(records)}
    placed: dict[str, LockedRecord] = {}
    entered: set[str] = set()
    for start in by_name:
        pending = [(start, False)]
        while pending:
            name, left = pending.pop()
            if left:
                placed.setdefault(name, by_name[name])
            elif name not in entered:
                entered.add(name)
                needed = sorted({line.split(" ")[0] for line in by_name[name].depends} & by_name.keys(), reverse=True)
                pending += [(name, True), *((item, False) for item in needed)]
    return tuple(placed.values())


def link_order(records: Iterable[LockedRecord]) -> tuple[str, ...]:
    """Return the names in the order in which conda links: what stands alone, then each behind what it depends on, by name.

    Those whose dependencies are linked come together, and of a circle first what waits for the fewest (conda's PrefixGraph).
    """
    listed = tuple(records)
    names = {item.name for item in listed}
    waiting = {item.name: {line.split(" ")[0] for line in item.depends} & names - {item.name} for item in listed}
    if "python" in waiting:
        waiting["python"].discard("pip")
    needed = {name for names in waiting.values() for name in names}
    order = sorted(name for name, depends in waiting.items() if not depends and name not in needed)
    for name in order:
        del waiting[name]
    while waiting:
        free = sorted(name for name, depends in waiting.items() if not depends)
        free = free or [min(waiting, key=lambda name: (len(waiting[name]), name))]
        waiting = {name: depends.difference(free) for name, depends in waiting.items() if name not in free}
        order += free
    return tuple(order)


def repeated(items: Iterable[LockedRecord | channels.LockedChannel], key: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield each entry of the array `key` whose name another before it has."""
    seen: set[str] = set()
    for index, item in enumerate(items):
        if item.name in seen:
            yield (f"{key}[{index}]", "name"), f"{item.name!r} is listed twice"
        seen.add(item.name)
