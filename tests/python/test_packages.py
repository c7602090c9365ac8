"""What the lock says of Python packages."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ozrepro.project.checking import Checker
from ozrepro.project.reader import read_table
from ozrepro.python.layer import LayerContent
from ozrepro.python.packages import LockedFile, LockedPackage, distribution_of, sorted_packages

SHA = "0123456789abcdef" * 4
_FILES = st.builds(
    LockedFile,
    st.sampled_from(["alpha-1.0-py3-none-any.whl", "alpha-1.0-cp310-cp310-manylinux2014_x86_64.whl", "alpha-1.0.tar.gz"]),
    st.text("0123456789abcdef", min_size=64, max_size=64),
    st.none() | st.integers(0, 2**50),
)
_MARKERS = st.sampled_from(["", 'python_version < "3.11"', 'sys_platform == "linux" and python_full_version >= "3.12"'])
_PACKAGES = st.builds(
    LockedPackage, st.just("alpha"), st.just("1.0"), st.lists(_FILES, min_size=1, max_size=3, unique_by=(lambda file: file.name, lambda file: file.sha256)).map(tuple), _MARKERS,
    st.sampled_from(["", "pypi", "lab-mirror"]),
)  # fmt: skip


def read(*tables: Any) -> tuple[tuple[LockedPackage, ...], list[str]]:
    checker = Checker("x.lock")
    content = read_table(checker, LayerContent, {"package": list(tables)}, ("venv", "any"))
    return content.package, checker.mistakes


@given(st.lists(_PACKAGES, max_size=1))
def test_packages_go_through_their_tables_unchanged(packages: list[LockedPackage]) -> None:
    assert read(*(package.as_table() for package in packages)) == (tuple(packages), [])


def good(**changes: Any) -> dict[str, Any]:
    table: dict[str, Any] = {
        "name": "alpha",
        "version": "1.0",
        "files": [{"name": "alpha-1.0-py3-none-any.whl", "size": 3, "sha256": SHA}],
    }
    return {**table, **changes}


def of_file(**changes: Any) -> dict[str, Any]:
    return good(files=[{**good()["files"][0], **changes}])


@pytest.mark.parametrize(
    ("table", "field"),
    [
        (good(name="Alpha"), "package[0].name"),
        (good(name="al\npha"), "package[0].name"),
        (good(version="one"), "package[0].version"),
        (good(marker="python is new"), "package[0].marker"),
        (good(index="https://host/simple"), "package[0].index"),
        (good(url="file:///tmp/alpha-1.0-py3-none-any.whl"), "package[0].url"),
        (good(url="git+https://host/x"), "package[0].url"),
        (good(files=[]), "package[0].files"),
        (good(extra=1), "package[0].extra"),
        (of_file(sha256="abc"), "package[0].files[0].sha256"),
        (of_file(sha256=SHA.upper()), "package[0].files[0].sha256"),
        (of_file(name="../alpha-1.0-py3-none-any.whl"), "package[0].files[0].name"),
        (of_file(name="beta-1.0-py3-none-any.whl"), "is not a file of 'alpha'"),
        (of_file(size=-1), "package[0].files[0].size"),
        (of_file(size=True), "package[0].files[0].size"),
        ("alpha", "package[0]"),
    ],
)
def test_a_wrong_field_is_named(table: Any, field: str) -> None:
    _, mistakes = read(table)
    assert any(field in line for line in mistakes), mistakes


def test_packages_are_ordered_by_name_then_by_version_as_a_version() -> None:
    packages = [LockedPackage(name, version, ()) for name, version in (("b", "1"), ("a", "1.10"), ("a", "1.9"))]
    assert [(item.name, item.version) for item in sorted_packages(packages)] == [("a", "1.9"), ("a", "1.10"), ("b", "1")]


@pytest.mark.parametrize(
    ("name", "distribution"),
    [
        ("Alpha_Beta-1.0-py3-none-any.whl", "alpha-beta"),
        ("alpha-1.0.tar.gz", "alpha"),
        ("alpha.exe", None),
        ("alpha-x-y.whl", None),
    ],
)
def test_a_file_s_distribution_is_read_from_its_name(name: str, distribution: str | None) -> None:
    assert distribution_of(name) == distribution
