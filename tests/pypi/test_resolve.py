"""Resolving with the real uv from a wheelhouse."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ozrepro.errors import BuildError, CommandFailed
from ozrepro.pypi.interpreter import markers_of, running
from ozrepro.pypi.packages import LockedPackage
from ozrepro.pypi.resolve import Wanted, resolve, shorten
from ozrepro.pypi.uv import Uv
from tests.conftest import Project
from tests.wheels import make_sdist, make_wheel

HERE = "linux-x86_64"


def wanted(project: Project, *requirements: str, python: str = ">=3.10", build: tuple[str, ...] = ()) -> Wanted:
    return Wanted(project.root, requirements, python, (HERE, "macos-arm64"), HERE, build)


def versions(packages: tuple[LockedPackage, ...]) -> list[str]:
    return [f"{item.name} {item.version}" for item in packages]


def test_requirements_are_resolved_with_what_they_need(project: Project, uv: Uv) -> None:
    make_wheel(project.wheelhouse, "alpha", requires=("beta>=1", "gone; sys_platform == 'win32'"))
    wheel = make_wheel(project.wheelhouse, "beta", "1.5")
    make_wheel(project.wheelhouse, "gone")
    found = resolve(uv, wanted(project, "alpha"), running(), (), None)
    assert versions(found.packages) == ["alpha 1.0", "beta 1.5"]
    assert found.packages[1].files[0].size == wheel.stat().st_size
    assert found.packages[1].marker == ""
    assert found.platforms == (HERE,)
    assert "3.10" in found.covers[HERE]


def test_a_version_stays_until_an_upgrade_is_asked_for(project: Project, uv: Uv) -> None:
    for name in ("alpha", "beta"):
        make_wheel(project.wheelhouse, name, "1.0")
    first = resolve(uv, wanted(project, "alpha", "beta"), running(), (), None).packages
    for name in ("alpha", "beta"):
        make_wheel(project.wheelhouse, name, "2.0")
    task = wanted(project, "alpha", "beta")
    assert resolve(uv, task, running(), first, None).packages == first
    assert versions(resolve(uv, task, running(), first, ("beta",)).packages) == ["alpha 1.0", "beta 2.0"]
    assert versions(resolve(uv, task, running(), first, ()).packages) == ["alpha 2.0", "beta 2.0"]


def test_a_wheel_for_one_python_covers_that_python_only(project: Project, uv: Uv) -> None:
    make_wheel(
        project.wheelhouse,
        "alpha",
        tag=f"cp{running().minor.replace('.', '')}-cp{running().minor.replace('.', '')}-manylinux2014_x86_64",
    )
    found = resolve(uv, wanted(project, "alpha"), running(), (), None)
    assert found.covers[HERE] == (running().minor,)
    assert all(gap == ("alpha",) for gap in found.gaps.values())


def test_two_resolutions_give_the_same(project: Project, uv: Uv) -> None:
    make_wheel(project.wheelhouse, "alpha", requires=("beta",))
    make_wheel(project.wheelhouse, "beta")
    task = wanted(project, "alpha")
    assert resolve(uv, task, running(), (), None) == resolve(uv, task, running(), (), None)


def test_requirement_files_and_limits_with_spaces_in_their_names_are_read(project: Project, uv: Uv) -> None:
    for version in ("1.0", "2.0"):
        make_wheel(project.wheelhouse, "alpha", version)
    (project.root / "my needs.txt").write_text("alpha\n")
    (project.root / "my limits.txt").write_text("alpha<2\n")
    found = resolve(uv, wanted(project, "-r my needs.txt", "-c my limits.txt"), running(), (), None)
    assert versions(found.packages) == ["alpha 1.0"]


def test_a_package_without_wheels_is_refused_unless_it_is_named_in_build(project: Project, uv: Uv) -> None:
    make_sdist(project.wheelhouse, "gamma")
    with pytest.raises(CommandFailed, match="name the package in build"):
        resolve(uv, wanted(project, "gamma"), running(), (), None)
    found = resolve(uv, wanted(project, "gamma", build=("gamma",)), running(), (), None)
    assert found.packages[0].files[0].name == "gamma-1.0.tar.gz"


def test_what_cannot_fit_is_explained_by_uv(project: Project, uv: Uv) -> None:
    make_wheel(project.wheelhouse, "alpha", requires=("beta<1",))
    make_wheel(project.wheelhouse, "beta", "1.5")
    with pytest.raises(CommandFailed, match=r"(?s)cannot find versions that fit.*beta"):
        resolve(uv, wanted(project, "alpha", "beta"), running(), (), None)


def test_a_requirement_file_cannot_bring_in_what_has_no_hash(project: Project, uv: Uv) -> None:
    other = project.root / "other"
    other.mkdir()
    (other / "pyproject.toml").write_text('[project]\nname = "other"\nversion = "1"\n')
    (project.root / "needs.txt").write_text("other @ " + other.as_uri() + "\n")
    with pytest.raises((BuildError, CommandFailed)):
        resolve(uv, wanted(project, "-r needs.txt"), running(), (), None)


def test_the_platforms_of_the_result_are_those_asked_for(project: Project, uv: Uv) -> None:
    make_wheel(project.wheelhouse, "alpha")
    task = replace(wanted(project, "alpha"), platforms=("macos-arm64",))
    assert resolve(uv, task, running(), (), None).platforms == ("macos-arm64",)


_TERMS = st.sampled_from(
    ["python_full_version >= '3.10'", "python_full_version < '3.12'", "sys_platform == 'linux'", "(sys_platform == 'linux' or sys_platform == 'darwin')",
     "platform_machine != 'arm64'", "extra == 'x'", "os_name == 'nt'"]
)  # fmt: skip
_SAMPLES = [
    env for platform in (HERE, "macos-arm64") for minor in ("3.10", "3.11", "3.13") for env in markers_of(platform, minor)
]


@given(st.lists(_TERMS, min_size=1, max_size=4))
def test_a_shortened_marker_decides_the_same(terms: list[str]) -> None:
    marker = " and ".join(terms)
    short = shorten(marker, _SAMPLES)
    for environment in _SAMPLES:
        assert LockedPackage("a", "1", (), short).applies(environment) == LockedPackage("a", "1", (), marker).applies(environment)
    assert len(short) <= len(marker) + 2 * marker.count("'")
