"""Differences between locked sections, as lines: what a person reads before committing a new lock."""

from __future__ import annotations

from typing import Any

import pytest

from ozrepro.project.lock import Section
from ozrepro.project.lockdiff import between_sections

NUMPY: dict[str, Any] = {
    "name": "numpy",
    "version": "1.22.3",
    "build": "py310_0",
    "build-number": 0,
    "channel": "conda-forge",
    "subdir": "linux-64",
    "file": "numpy-1.22.3-py310_0.conda",
    "size": 7,
    "sha256": "a" * 64,
    "depends": ["python >=3.10", "libblas"],
}


def conda(*records: dict[str, Any], **more: Any) -> Section:
    """Return a conda section."""
    content = {"channels": [{"name": "conda-forge"}], "record": list(records), **more}
    return Section("conda", "linux-64", f"sha256:{'0' * 64}", content)


def lines(left: Section, right: Section) -> list[str]:
    """Return the differences as lines."""
    return [item.line() for item in between_sections(left, right)]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"version": "1.26.4", "build": "py310_1", "sha256": "b" * 64}, "~ numpy 1.22.3 -> 1.26.4"),
        ({"version": "1.26.4", "channel": "other"}, "~ numpy 1.22.3 (conda-forge) -> 1.26.4 (other)"),
        ({"build": "py310_1", "build-number": 1, "sha256": "b" * 64}, "~ numpy 1.22.3 py310_0 -> py310_1"),
        (
            {"sha256": "b" * 64, "size": 8, "channel": "other"},
            "~ numpy 1.22.3 py310_0 channel conda-forge, size 7, sha256 aaaaaaaa -> channel other, size 8, sha256 bbbbbbbb",
        ),
        ({"depends": ["python >=3.10", "libcblas"]}, "~ numpy 1.22.3 py310_0 depends libblas -> depends libcblas"),
        ({"md5": "c" * 32}, "~ numpy 1.22.3 py310_0 md5 none -> md5 cccccccc"),
    ],
)
def test_a_conda_package_that_differs_is_one_line(change: dict[str, Any], line: str) -> None:
    assert lines(conda(NUMPY), conda({**NUMPY, **change})) == [line]


def test_a_conda_package_that_came_or_went_is_one_short_line() -> None:
    assert lines(conda(NUMPY), conda({**NUMPY, "name": "x", "version": "1.0"})) == ["- numpy 1.22.3", "+ x 1.0"]


def test_packages_of_pip_in_a_conda_section_stand_with_the_others() -> None:
    one = {"name": "alpha", "version": "1.0", "files": []}
    assert lines(conda(NUMPY, package=[one]), conda(NUMPY)) == ["- alpha 1.0"]


def test_channels_are_a_line_in_their_order() -> None:
    left = conda(NUMPY, channels=[{"name": "conda-forge"}, {"name": "tools", "address": "https://h/tools"}])
    assert lines(left, conda(NUMPY)) == ["~ channels conda-forge tools (https://h/tools) -> conda-forge"]


def test_an_mpi_that_came_is_named_and_not_printed_as_a_whole() -> None:
    mpi = {"tool": "lmod 8", "load": ["gcc/11.3.0", "openmpi/4.1.4"], "change": {"set": {"A": "b" * 1000}}}
    assert lines(conda(NUMPY), conda(NUMPY, mpi=mpi)) == ["+ mpi gcc/11.3.0 openmpi/4.1.4"]
    assert lines(conda(NUMPY, mpi=mpi), conda(NUMPY, mpi={**mpi, "tool": "lmod 9"})) == ["~ mpi.tool lmod 8 -> lmod 9"]
