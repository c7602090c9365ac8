"""Locked records: what is written is read back, and a hostile lock is refused field by field."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ozrepro.methods.conda.lock import Content
from ozrepro.methods.conda.records import LockedRecord, sorted_records, topological
from ozrepro.project.checking import Checker
from ozrepro.project.reader import read_table
from ozrepro.project.toml import dumps, loads

GOOD = LockedRecord(
    name="numpy",
    version="1.26.4",
    build="py310hb13e2d6_0",
    build_number=0,
    channel="conda-forge",
    subdir="linux-64",
    file="numpy-1.26.4-py310hb13e2d6_0.conda",
    sha256="0" * 64,
    size=7_000_000,
    md5="0" * 32,
    depends=("__glibc >=2.17,<3.0.a0", "libblas >=3.9.0,<4.0a0", "python >=3.10,<3.11.0a0"),
    constrains=("numpy-base <0a0",),
    license="BSD-3-Clause",
)

_PLAIN = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=12)
_TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=30)


@st.composite
def records(draw: st.DrawFn) -> LockedRecord:
    name, version, build = draw(_PLAIN), draw(st.from_regex(r"[0-9]{1,4}(\.[0-9a-z]{1,4}){0,3}", fullmatch=True)), draw(_PLAIN)
    return LockedRecord(
        name=name,
        version=version,
        build=build,
        build_number=draw(st.integers(0, 2**53 - 1)),
        channel=draw(st.sampled_from(["conda-forge", "pkgs/main", "a/label/b"])),
        subdir=draw(st.sampled_from(["noarch", "linux-64", "osx-arm64"])),
        file=f"{name}-{version}-{build}{draw(st.sampled_from(['.conda', '.tar.bz2']))}",
        sha256=draw(st.binary(min_size=32, max_size=32).map(bytes.hex)),
        size=draw(st.none() | st.integers(0, 2**40 - 1)),
        md5=draw(st.just("") | st.binary(min_size=16, max_size=16).map(bytes.hex)),
        depends=tuple(draw(st.lists(_TEXT, max_size=4))),
        constrains=tuple(draw(st.lists(_TEXT, max_size=3))),
        noarch=draw(st.sampled_from(["", "python", "generic"])),
        python_site_packages_path=draw(st.sampled_from(["", "lib/python3.14t/site-packages"])),
        license=draw(st.just("") | _TEXT),
    )


def read(value: object) -> tuple[tuple[LockedRecord, ...], list[str]]:
    """Read the records of a section, with channels that they may name; return them and what is wrong."""
    checker = Checker("x.lock")
    listed = [{"name": name} for name in ("conda-forge", "pkgs/main", "a/label/b")]
    return read_table(checker, Content, {"channels": listed, "record": value}, ()).record, checker.mistakes


@given(st.lists(records(), max_size=5, unique_by=lambda item: item.name))
def test_a_written_record_is_read_back(found: list[LockedRecord]) -> None:
    ordered = sorted_records(found)
    text = dumps({"conda": {"linux-64": {"package": [record.as_table() for record in ordered]}}})
    assert read(loads(text)["conda"]["linux-64"]["package"]) == (ordered, [])


def test_an_entry_reads_well_in_a_lock() -> None:
    text = dumps({"conda": {"linux-64": {"package": [GOOD.as_table()]}}})
    assert text == (
        "[conda.linux-64]\n"
        "\n"
        "[[conda.linux-64.package]]\n"
        'name = "numpy"\n'
        'version = "1.26.4"\n'
        'build = "py310hb13e2d6_0"\n'
        "build-number = 0\n"
        'channel = "conda-forge"\n'
        'subdir = "linux-64"\n'
        'file = "numpy-1.26.4-py310hb13e2d6_0.conda"\n'
        "size = 7000000\n"
        f'sha256 = "{"0" * 64}"\n'
        f'md5 = "{"0" * 32}"\n'
        'license = "BSD-3-Clause"\n'
        'depends = ["__glibc >=2.17,<3.0.a0", "libblas >=3.9.0,<4.0a0", "python >=3.10,<3.11.0a0"]\n'
        'constrains = ["numpy-base <0a0"]\n'
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "../numpy"),
        ("name", "__cuda"),
        ("name", "num\u202epy"),
        ("version", "1/../2"),
        ("version", "1-2"),
        ("build", "../x"),
        ("build", "a-b"),
        ("build-number", -1),
        ("build-number", 2**60),
        ("build-number", True),
        ("build-number", "0"),
        ("channel", "https://host/chan"),
        ("channel", "../x"),
        ("channel", ""),
        ("subdir", "linux-64/.."),
        ("subdir", "solaris-64"),
        ("file", "../numpy-1.26.4-py310hb13e2d6_0.conda"),
        ("file", "numpy-1.26.4-py310hb13e2d6_0.exe"),
        ("file", "scipy-1.26.4-py310hb13e2d6_0.conda"),
        ("sha256", "0" * 63),
        ("sha256", "0" * 64 + "\n"),
        ("sha256", None),
        ("md5", "x" * 32),
        ("size", -1),
        ("size", 2**50),
        ("size", 1.5),
        ("noarch", "ruby"),
        ("python-site-packages-path", "/etc"),
        ("python-site-packages-path", "lib/../../x"),
        ("depends", "python"),
        ("depends", [1]),
        ("depends", ["a\nb"]),
        ("depends", ["x" * 2000]),
        ("depends", ["x"] * 3000),
        ("license", "MIT\x1b[2J"),
        ("run", "evil"),
    ],
)
def test_a_hostile_field_is_a_mistake(key: str, value: object) -> None:
    table: dict[str, Any] = {**GOOD.as_table(), key: value}
    if value is None:
        del table[key]
    assert read([table])[1]


@given(
    st.recursive(st.none() | st.integers() | st.text(max_size=5), lambda x: st.lists(x) | st.dictionaries(st.text(max_size=9), x))
)
def test_any_value_is_a_record_or_a_mistake(value: object) -> None:
    read(value)


def test_a_list_of_records_has_each_name_once() -> None:
    assert "twice" in read([GOOD.as_table(), GOOD.as_table()])[1][0]


def test_the_order_of_dependence_is_stable_and_survives_a_circle() -> None:
    def record(name: str, *depends: str) -> LockedRecord:
        return replace(GOOD, name=name, file=f"{name}-1-0.conda", depends=depends)

    found = topological([record("a", "c >=1"), record("b", "a"), record("c", "b", "__glibc"), record("d")])
    assert [item.name for item in found] == ["b", "c", "a", "d"]
    assert topological(reversed(found)) == found
    assert [item.name for item in topological([record("a", "z"), record("z")])] == ["z", "a"]
