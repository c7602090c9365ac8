"""Interpreters here, and the tags and markers of those elsewhere."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.markers import Marker
from packaging.tags import Tag, compatible_tags, cpython_tags, mac_platforms, sys_tags

from ozrepro.python.interpreter import MINORS, ask, find, markers_of, minors_of, recorded, running, takes


def test_the_running_interpreter_is_preferred_when_it_fits() -> None:
    found = find(f"=={platform.python_version()}", None, "", Path("/none"))
    assert found == running()
    assert found is not None
    assert found.minor == f"{sys.version_info.major}.{sys.version_info.minor}"


def test_no_interpreter_of_an_unknown_range_is_found() -> None:
    assert find(">=4", None, "/usr/bin:/bin", Path("/none")) is None
    assert find("", (), "/usr/bin:/bin", Path("/none")) is None


def test_a_python_of_the_project_is_never_started_and_its_venv_s_link_is_resolved(tmp_path: Path) -> None:
    other = tmp_path / "elsewhere" / "python3.98"
    for place in (tmp_path / "project" / "bin" / "python3.99", other):
        place.parent.mkdir(parents=True)
        place.write_text(f"#!/bin/sh\necho $0 >> '{tmp_path}/ran'\n")
        place.chmod(0o755)
    (tmp_path / "project" / "bin" / "python3").symlink_to(other)
    assert find(">=3.97", None, str(tmp_path / "project" / "bin"), tmp_path / "project") is None
    assert (tmp_path / "ran").read_text().split() == [str(other)]


def test_what_a_lock_tells_of_an_interpreter_is_what_it_says_itself() -> None:
    mine = running()
    assert recorded(mine.path, mine.version, free_threaded=mine.free_threaded) == mine


def test_an_interpreter_asked_by_its_path_says_the_same_as_the_running_one() -> None:
    asked = ask(sys.executable)
    assert asked is not None
    assert asked == running()


def test_a_program_that_is_not_python_is_no_interpreter() -> None:
    assert ask("/bin/true") is None
    assert ask("/nowhere") is None


def test_the_running_interpreter_s_tags_are_those_that_packaging_gives() -> None:
    mine = running().tags()
    theirs = [tag for tag in sys_tags() if not tag.abi.startswith("none") or tag.platform != "any"]
    assert [tag for tag in theirs if tag in set(mine)] == [tag for tag in mine if tag in set(theirs)]
    assert set(theirs) <= set(mine)


@pytest.mark.parametrize(
    ("python", "minors"),
    [
        (">=3.10,<3.13", ("3.10", "3.11", "3.12")),
        ("==3.11.4", ("3.11",)),
        ("~=3.12.0", ("3.12",)),
        ("!=3.11.*,>=3.10,<3.13", ("3.10", "3.12")),
    ],
)
def test_the_minor_versions_of_a_range_are_listed(python: str, minors: tuple[str, ...]) -> None:
    assert minors_of(python) == minors


@pytest.mark.parametrize(
    ("platform_name", "tag", "taken"),
    [
        ("linux-x86_64", "manylinux_2_28_x86_64", True),
        ("linux-x86_64", "manylinux2014_x86_64", True),
        ("linux-aarch64", "manylinux2014_x86_64", False),
        ("linux-x86_64", "musllinux_1_2_x86_64", False),
        ("macos-arm64", "macosx_11_0_arm64", True),
        ("macos-arm64", "macosx_10_9_universal2", True),
        ("macos-arm64", "macosx_10_9_x86_64", False),
    ],
)
def test_a_platform_takes_its_own_wheels(platform_name: str, tag: str, taken: bool) -> None:
    assert takes(platform_name, "3.11", [Tag("cp311", "cp311", tag)]) is taken


@st.composite
def drawn_tags(draw: st.DrawFn) -> Tag:
    """Draw a tag as wheels have them, such as cp310-abi3-manylinux_2_28_x86_64, or nearly."""
    minor = draw(st.integers(0, 16))
    interpreter = draw(st.sampled_from((f"cp3{minor}", f"py3{minor}", "py3", "py2", "pp310")))
    abi = draw(st.sampled_from((f"cp3{minor}", f"cp3{minor}t", "abi3", "none")))
    machine = draw(st.sampled_from(("x86_64", "aarch64", "arm64", "universal2")))
    system = draw(
        st.sampled_from((f"manylinux_2_{draw(st.integers(0, 50))}", "manylinux2014", "linux", "musllinux_1_2", "macosx_11_0"))
    )
    return Tag(interpreter, abi, draw(st.sampled_from((f"{system}_{machine}", "any", "here"))))


@given(st.sampled_from(("linux-x86_64", "linux-aarch64", "macos-arm64")), st.sampled_from(MINORS), drawn_tags())
def test_a_tag_is_taken_where_packaging_s_list_for_the_platform_has_it(platform_name: str, minor: int, tag: Tag) -> None:
    machine = platform_name.partition("-")[2]
    if platform_name.startswith("macos"):
        platforms = list(mac_platforms((26, 0), machine))
    else:
        platforms = [
            *(f"manylinux_2_{number}_{machine}" for number in range(5, 46)),
            *(f"manylinux{year}_{machine}" for year in ("1", "2010", "2014")),
            f"linux_{machine}",
        ]
    exact = set(cpython_tags((3, minor), abis=[f"cp3{minor}"], platforms=platforms))
    whole = exact | set(compatible_tags((3, minor), f"cp3{minor}", platforms))
    assert takes(platform_name, f"3.{minor}", [tag]) is (tag in whole)


def test_markers_of_another_platform_are_that_platform_s() -> None:
    for environment in markers_of("macos-arm64", "3.12"):
        assert Marker("sys_platform == 'darwin' and platform_machine == 'arm64' and python_version == '3.12'").evaluate(
            {**environment}
        )
