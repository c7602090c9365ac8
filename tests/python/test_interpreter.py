"""Interpreters here, and the tags and markers of those elsewhere."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.tags import Tag, sys_tags

from ozrepro.python.interpreter import ask, find, markers_of, minors_of, recorded, running, tags_of


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
    assert (Tag("cp311", "cp311", tag) in tags_of(platform_name, "3.11")) is taken


def test_markers_of_another_platform_are_that_platform_s() -> None:
    for environment in markers_of("macos-arm64", "3.12"):
        assert Marker("sys_platform == 'darwin' and platform_machine == 'arm64' and python_version == '3.12'").evaluate(
            {**environment}
        )
