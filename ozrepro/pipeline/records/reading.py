"""Finds records: in a folder, in a file, by the beginning of an id, and by a result that names one."""

from __future__ import annotations

import json
import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ozrepro.errors import UsageError
from ozrepro.faststart.ready import content_of
from ozrepro.pipeline.records.marks import DamagedError, ids_in
from ozrepro.pipeline.records.record import ID, MARK, Record, record_of

if TYPE_CHECKING:
    from collections.abc import Iterator

LARGEST = 64 << 20
"""Bytes of a file of records, or of a result, that are read."""

SUFFIXES = (".json", ".jsonl")
"""Ends of the names of a folder's files of records: one of one run, and one of many."""

_BEGINNING = re.compile(r"[0-9]{1,8}\Z|[0-9]{8}T[0-9]{0,6}\Z|[0-9]{8}T[0-9]{6}Z-?[0-9a-f]{0,12}\Z", re.ASCII)
_LINES = re.compile(rb'\s*\{\s*"schema"')
"""How a file of records begins."""

_SHOWN = 5
"""Records that a message names."""


@dataclass(frozen=True, slots=True)
class Listing:
    """The records of a folder or file, in the order of their starts, and a line for each that cannot be read."""

    records: tuple[Record, ...]
    damaged: tuple[str, ...]


def read_records(path: Path, beginning: str = "") -> Listing:
    """Return the records in a folder or file whose ids begin so. Raises UsageError where it cannot be read.

    Of several with one id the last that has an end counts.
    """
    records: dict[str, Record] = {}
    damaged: list[str] = []
    for file in _files(path, beginning):
        try:
            content = content_of(file, LARGEST)
        except FileNotFoundError:
            if file != path:
                continue  # it was removed meanwhile
            raise UsageError("no such file or folder", where=str(path), hint="ozrepro record list DIR") from None
        except OSError as error:
            damaged.append(f"{file}: cannot be read: {error.strerror}")
            continue
        for item in _of_lines(content, str(file)):
            if isinstance(item, UsageError):
                damaged.append(f"{item.where}: {'; '.join((item.title.rstrip(':'), *item.problems))}")
            elif item.id.startswith(beginning) and (item.end or item.id not in records):
                records[item.id] = item
    return Listing(tuple(sorted(records.values(), key=lambda item: (item.start, item.id))), tuple(damaged))


def _files(path: Path, beginning: str) -> list[Path]:
    """Return the files that may have a record whose id begins so. Raises UsageError for a folder that cannot be listed."""
    if not os.path.isdir(path):
        return [path]
    try:
        names = sorted(os.listdir(path))
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=str(path), hint="ozrepro record list DIR") from error
    wanted = (name for name in names if name.endswith(SUFFIXES) and not name.startswith("."))
    return [path / name for name in wanted if name.startswith(beginning) or not ID.match(name.partition(".")[0])]


def _of_lines(content: bytes, where: str) -> Iterator[Record | UsageError]:
    """Yield each line's record, or what is wrong with the line. Of a line that no newline ends, more may have been meant."""
    hint = f"ozrepro record list {shlex.quote(where)}"
    lines = content.split(b"\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        place = f"{where}: line {number}"
        try:
            yield record_of(json.loads(line), place)
        except UsageError as error:
            yield error
        except (ValueError, RecursionError):
            yield UsageError("is not JSON" if number < len(lines) else "is cut short, or not JSON", where=place, hint=hint)


def the_record(word: str, records: Path | None) -> Record:
    """Return the record that a word means: an id, its beginning, a file of one record, or a result that names its record.

    Args:
        word: an id or a path.
        records: the folder or file where an id is looked up, None where none is known.

    Raises UsageError where it means none, or several.

    """
    if os.path.isdir(word):
        raise UsageError("is a folder, not a record", where=word, hint=f"ozrepro record list {shlex.quote(word)}")
    if os.path.lexists(word):
        return _of_file(Path(word), records)
    if _BEGINNING.match(word):
        return _by_id(word, records)
    what = "is neither a file nor the id of a record, such as 20261129T155500Z-8c1f0a2b3d4e"
    raise UsageError(what, where=word, hint="ozrepro record list")


def _by_id(beginning: str, records: Path | None, source: str = "") -> Record:
    """Return the record whose id begins so; `source` is the result that names it."""
    named = f", which {source} names" if source else ""
    if records is None:
        what = f"where records are kept is not known, to look for {beginning}{named}"
        raise UsageError(what, hint='--records DIR, or record = "DIR" in [tool.ozrepro] of pyproject.toml')
    listing = read_records(records, beginning)
    if len(listing.records) == 1:
        return listing.records[0]
    if listing.records:
        ids = [record.id for record in listing.records]
        more = f", and {len(ids) - _SHOWN} more" if len(ids) > _SHOWN else ""
        what = f"{len(ids)} records begin with {beginning}: {', '.join(ids[:_SHOWN])}{more}"
        raise UsageError(what, where=str(records), hint=f"ozrepro record show {ids[-1]}")
    if listing.damaged:
        raise UsageError(
            f"no record {beginning}{named} can be read:",
            problems=listing.damaged[:_SHOWN],
            where=str(records),
            hint="ozrepro record list",
        )
    raise UsageError(f"has no record {beginning}{named}", where=str(records), hint="ozrepro record list")


def _of_file(path: Path, records: Path | None) -> Record:
    """Return the record that a file is, or that it names."""
    try:
        content = content_of(path, LARGEST)
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=str(path), hint="ozrepro record list") from error
    here = list(_of_lines(content, str(path))) if _LINES.match(content) else []
    own = {item.id: item for item in here if isinstance(item, Record)}
    if len(own) == 1:
        return next(iter(own.values()))
    if own:
        hint = f"ozrepro record show {next(reversed(own))} --records {shlex.quote(str(path))}"
        raise UsageError(f"holds {len(own)} records", where=str(path), hint=hint)
    try:
        ids = ids_in(content)
    except DamagedError as error:
        raise UsageError(str(error), where=str(path), hint="the result as its run has written it") from error
    if len(ids) == 1 and ID.match(ids[0]):
        return _by_id(ids[0], records, str(path))
    if ids:
        what = f"names {len(ids)} records" if len(ids) > 1 else f"{ids[0][:100]!r} in it is not the id of a record"
        raise UsageError(what, where=str(path), hint="ozrepro record show ID")
    if len(here) == 1 and isinstance(here[0], UsageError):
        raise here[0]
    hint = f"have the program write the value of OZREPRO_RECORD_ID into its results, as {MARK}"
    raise UsageError("names no record", where=str(path), hint=hint)
