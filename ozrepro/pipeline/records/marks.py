"""The id of a record that a result names: in a PNG's text, in JSON, or in the text of any other file."""

from __future__ import annotations

import json
import re
import struct
import zlib

from ozrepro.pipeline.records.record import MARK

PNG = b"\x89PNG\r\n\x1a\n"
_LONGEST = 1 << 12
"""Bytes of a text of a PNG that are unpacked: an id has 29."""

_NAMED = re.compile(rb"%s\W{1,12}([0-9]{8}T[0-9]{6}Z-[0-9a-f]{12})(?![\w-])" % MARK.encode(), re.ASCII)


class DamagedError(ValueError):
    """A result is not what its beginning says."""


def ids_in(content: bytes) -> list[str]:
    """Return the ids of records that a result names, each once. Raises DamagedError for a PNG that is not whole."""
    if content.startswith(PNG):
        return _in_png(content)
    try:
        table = json.loads(content)
    except (ValueError, RecursionError):
        table = None
    if isinstance(table, dict) and isinstance(table.get(MARK), str):
        return [table[MARK]]
    return list(dict.fromkeys(item.decode("ascii") for item in _NAMED.findall(content)))


def _in_png(content: bytes) -> list[str]:
    """Return the texts with the keyword (PNG, third edition, 11.3.3); those of what is cut short, if they come before the cut."""
    texts: list[str] = []
    place = len(PNG)
    while place + 8 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, place)
        body = content[place + 8 : place + 8 + length]
        if len(body) < length:
            break
        if kind == b"IEND":
            return list(dict.fromkeys(texts))
        keyword, _, rest = body.partition(b"\0")
        if kind in (b"tEXt", b"zTXt", b"iTXt") and keyword == MARK.encode():
            texts.append(_text(kind, rest))
        place += 12 + length
    if texts:
        return list(dict.fromkeys(texts))
    raise DamagedError("is cut short: a PNG without its end, which names no record up to there")


def _text(kind: bytes, rest: bytes) -> str:
    """Return the text of a chunk, behind its keyword: plain, packed, or international, which may be either."""
    packed = kind == b"zTXt"
    if kind == b"zTXt":
        rest = rest[1:]
    elif kind == b"iTXt":
        packed = rest[:1] == b"\1"
        rest = rest[2:].split(b"\0", 2)[-1]
    if packed:
        try:
            rest = zlib.decompressobj().decompress(rest, _LONGEST)
        except zlib.error:
            raise DamagedError("has a text that cannot be unpacked") from None
    return rest[:_LONGEST].decode("utf-8", "replace")
