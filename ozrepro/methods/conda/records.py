"""What the lock says of conda packages: everything that is needed to fetch, check and install each without asking a channel."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ozrepro.methods.conda import channels
from ozrepro.methods.conda.matchspec import NAME
from ozrepro.methods.conda.versions import is_version

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ozrepro.project.checking import Checker

EXTENSIONS = (".conda", ".tar.bz2")
_BUILD = re.compile(r"[A-Za-z0-9_.+]+\Z", re.ASCII)
_VERSION = re.compile(r"[A-Za-z0-9_.+!]+\Z", re.ASCII)
_PATH = re.compile(r"[A-Za-z0-9_.+-]+(/[A-Za-z0-9_.+-]+)*\Z", re.ASCII)
_HEX = {"sha256": re.compile(r"[0-9a-f]{64}\Z"), "md5": re.compile(r"[0-9a-f]{32}\Z")}
_KEYS = (
    *("name", "version", "build", "build-number", "channel", "subdir", "file", "size", "sha256", "md5"),
    *("noarch", "python-site-packages-path", "license", "depends", "constrains"),
)
_LONGEST = 1000
_MOST = 2000
_LARGEST = 1 << 40
_HIGHEST = 1 << 53


@dataclass(frozen=True, slots=True)
class LockedRecord:
    """One package of one channel: exactly this build. `channel` is a name, `size` in bytes, None where the channel does not tell.

    `noarch` is "", `python` or `generic`; `python_site_packages_path` is set where a `python` package has them elsewhere.
    """

    name: str
    version: str
    build: str
    build_number: int
    channel: str
    subdir: str
    file: str
    sha256: str
    size: int | None = None
    md5: str = ""
    depends: tuple[str, ...] = ()
    constrains: tuple[str, ...] = ()
    noarch: str = ""
    python_site_packages_path: str = ""
    license: str = ""

    @property
    def title(self) -> str:
        """Name, version and build as conda's files and folders have them."""
        return f"{self.name}-{self.version}-{self.build}"

    def as_table(self) -> dict[str, Any]:
        """Return the record as it stands in the lock."""
        table: dict[str, Any] = {}
        for key in _KEYS:
            value = getattr(self, key.replace("-", "_"))
            if isinstance(value, tuple):
                table[key] = list(value)
            elif value not in ("", None):
                table[key] = value
        if not self.constrains:
            del table["constrains"]
        return table


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


def read_records(checker: Checker, value: object, path: tuple[str, ...]) -> tuple[LockedRecord, ...]:
    """Return the records of one `[[…package]]` list of a lock, each field checked; mistakes go to `checker`."""
    if not isinstance(value, list):
        checker.wrong(path, "is no list of packages")
        return ()
    found = tuple(_record(checker, entry, (*path[:-1], f"{path[-1]}[{index}]")) for index, entry in enumerate(value))
    seen: set[str] = set()
    for index, record in enumerate(found):
        if record.name and record.name in seen:
            checker.wrong((*path[:-1], f"{path[-1]}[{index}]", "name"), f"{record.name!r} stands there twice")
        seen.add(record.name)
    return found


def _record(checker: Checker, value: object, path: tuple[str, ...]) -> LockedRecord:
    table = checker.table(value, path, _KEYS)

    def text(key: str) -> str:
        return checker.text_at(table, (*path, key))

    record = LockedRecord(
        name=text("name"),
        version=text("version"),
        build=text("build"),
        build_number=_number(checker, table, (*path, "build-number"), _HIGHEST) or 0,
        channel=text("channel"),
        subdir=text("subdir"),
        file=text("file"),
        sha256=text("sha256"),
        size=_number(checker, table, (*path, "size"), _LARGEST),
        md5=text("md5"),
        depends=_lines(checker, table, (*path, "depends")),
        constrains=_lines(checker, table, (*path, "constrains")),
        noarch=text("noarch"),
        python_site_packages_path=text("python-site-packages-path"),
        license=text("license"),
    )
    for key, problem in _problems(record):
        checker.wrong((*path, key), problem)
    return record


def _problems(record: LockedRecord) -> Iterable[tuple[str, str]]:
    if not NAME.match(record.name) or len(record.name) > 128 or record.name.startswith("__"):
        yield "name", f"{record.name!r} is no conda package's name"
    if not (_VERSION.match(record.version) and is_version(record.version)):
        yield "version", f"{record.version!r} is no version"
    if not _BUILD.match(record.build) or len(record.build) > 128:
        yield "build", f"{record.build!r} is no build"
    if not channels.NAME.match(record.channel) or ".." in record.channel or len(record.channel) > _LONGEST:
        yield "channel", f"{record.channel!r} is no channel's name: a lock holds names, never addresses"
    if record.subdir not in channels.SUBDIRS:
        yield "subdir", f"{record.subdir!r} is no platform's folder of a channel"
    # The file's name is a path in the channel and in the cache: only the one that conda's own rule gives is taken.
    if record.file not in [f"{record.title}{extension}" for extension in EXTENSIONS]:
        yield "file", f"{record.file!r} is not {record.title}.conda or .tar.bz2"
    yield from _odd_details(record)


def _odd_details(record: LockedRecord) -> Iterable[tuple[str, str]]:
    if not _HEX["sha256"].match(record.sha256):
        yield "sha256", "is missing or no sha256 in hexadecimal: every package needs one"
    if record.md5 and not _HEX["md5"].match(record.md5):
        yield "md5", "is no md5 in hexadecimal"
    if record.noarch not in ("", "python", "generic"):
        yield "noarch", f"{record.noarch!r} is not known; python or generic"
    where = record.python_site_packages_path
    if where and (not _PATH.match(where) or ".." in where.split("/") or len(where) > _LONGEST):
        yield "python-site-packages-path", f"{where!r} is no path inside an environment"
    if len(record.license) > _LONGEST:
        yield "license", "is longer than any license's name"


def _number(checker: Checker, table: Mapping[str, Any], path: tuple[str, ...], limit: int) -> int | None:
    value = table.get(path[-1])
    if value is None and path[-1] == "size":
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < limit:
        checker.wrong(path, f"{value!r} is no number from 0 to {limit - 1}")
        return None
    return value


def _lines(checker: Checker, table: Mapping[str, Any], path: tuple[str, ...]) -> tuple[str, ...]:
    value = table.get(path[-1], [])
    if isinstance(value, list) and len(value) > _MOST:
        checker.wrong(path, f"has {len(value)} entries: no package needs so many")
        return ()
    return checker.texts_at(table, path, check=_line)


def _line(text: str) -> str | None:
    return f"{text[:60]!r}… is no dependency: nobody writes one so long" if len(text) > _LONGEST else None
