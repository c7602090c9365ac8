"""The id that a result names, in each place where a program may have written it, and in files that are not whole."""

from __future__ import annotations

import json
import struct
import zlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ozrepro.pipeline.records.marks import PNG, DamagedError, ids_in

ID = "20261129T155500Z-8c1f0a2b3d4e"
MARK = b"ozrepro_record"


def chunk(kind: bytes, body: bytes) -> bytes:
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(*texts: bytes) -> bytes:
    """Return a PNG with these chunks in front of its pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    return PNG + header + b"".join(texts) + chunk(b"IDAT", zlib.compress(b"\0\0\0\0")) + chunk(b"IEND", b"")


TEXT = chunk(b"tEXt", MARK + b"\0" + ID.encode())
PACKED = zlib.compress(ID.encode())


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        chunk(b"zTXt", MARK + b"\0\0" + PACKED),
        chunk(b"iTXt", MARK + b"\0\0\0\0\0" + ID.encode()),
        chunk(b"iTXt", MARK + b"\0\0\0en\0\xc3\xa9\0" + ID.encode()),
        chunk(b"iTXt", MARK + b"\0\1\0\0\0" + PACKED),
    ],
    ids=["plain", "packed", "international", "with a language", "international and packed"],
)
def test_a_png_names_its_record_in_any_kind_of_text(text: bytes) -> None:
    assert ids_in(png(chunk(b"tEXt", b"Software\0x"), text)) == [ID]


def test_a_png_names_none_or_several() -> None:
    other = chunk(b"tEXt", MARK + b"\0other")
    assert ids_in(png()) == []
    assert ids_in(png(chunk(b"tEXt", b"Software\0" + ID.encode()))) == []
    assert ids_in(png(TEXT, TEXT)) == [ID]
    assert ids_in(png(TEXT, other)) == [ID, "other"]


def test_a_png_that_is_cut_short_says_so_unless_it_named_its_record_before() -> None:
    whole = png(TEXT)
    behind = whole.index(b"IDAT") + 6
    assert ids_in(whole[:behind]) == [ID]
    for place in (8, 12, 30, whole.index(b"tEXt") + 9):
        with pytest.raises(DamagedError, match="is cut short"):
            ids_in(whole[:place])


def test_a_chunk_that_says_it_is_huge_costs_nothing() -> None:
    with pytest.raises(DamagedError, match="is cut short"):
        ids_in(PNG + b"\xff\xff\xff\xfftEXt" + MARK + b"\0" + ID.encode())


def test_a_text_that_unpacks_to_very_much_is_cut_and_one_that_cannot_be_unpacked_is_said() -> None:
    bomb = chunk(b"zTXt", MARK + b"\0\0" + zlib.compress(b"a" * 50_000_000))
    (text,) = ids_in(png(bomb))
    assert len(text) <= 4096
    with pytest.raises(DamagedError, match="cannot be unpacked"):
        ids_in(png(chunk(b"zTXt", MARK + b"\0\0not packed")))


@pytest.mark.parametrize(
    ("content", "ids"),
    [
        (json.dumps({"x": 1, "ozrepro_record": ID}), [ID]),
        (json.dumps({"x": {"ozrepro_record": ID}}), [ID]),
        (json.dumps({"ozrepro_record": 5}), []),
        (f"# ozrepro_record: {ID}\n1,2\n", [ID]),
        (f"/Keywords (ozrepro_record: {ID})", [ID]),
        (f"COMMENT ozrepro_record = '{ID}'", [ID]),
        (f"ozrepro_record: {ID}\nozrepro_record: {ID[:-1]}f", [ID, f"{ID[:-1]}f"]),
        (f"ozrepro_record: {ID}0", []),
        ("ozrepro_record: none", []),
        ("", []),
        ("[" * 100_000, []),
    ],
)
def test_json_and_any_other_text_may_name_a_record(content: str, ids: list[str]) -> None:
    assert ids_in(content.encode()) == ids


@given(content=st.binary(max_size=200), head=st.sampled_from([b"", PNG, png(TEXT)[:60]]))
def test_whatever_the_bytes_are_nothing_else_is_raised(content: bytes, head: bytes) -> None:
    with suppress(DamagedError):
        ids_in(head + content)
