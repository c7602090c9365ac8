"""Resolving with the real uv from a wheelhouse."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ozrepro.errors import BuildError, CommandFailed
from ozrepro.methods.reading import load_settings
from ozrepro.python.entries import packages_of
from ozrepro.python.interpreter import running
from ozrepro.python.packages import LockedPackage
from ozrepro.python.resolve import Wanted, resolve
from ozrepro.python.uv import Uv, find_uv
from tests.conftest import Project
from tests.wheels import make_sdist, make_wheel

HERE = "linux-x86_64"


def wanted(project: Project, *requirements: str, python: str = ">=3.10", build: tuple[str, ...] = ()) -> Wanted:
    names = [text[2:].strip() for text in requirements if text.startswith(("-r", "-c"))]
    texts = {name: (project.root / name).read_text(encoding="utf-8") for name in names}
    return Wanted(project.root, requirements, python, (HERE, "macos-arm64"), HERE, build, texts=texts)


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


@pytest.mark.parametrize("secret", ["alpha-1.0-py3-none-any.whl?sig=s3cret", "alpha-1.0-py3-none-any.whl?x#y"])
def test_an_address_that_a_package_requires_is_refused_where_a_lock_cannot_hold_it(project: Project, secret: str) -> None:
    archive = {"url": f"https://host.example/{secret}", "hashes": {"sha256": "0" * 64}}
    with pytest.raises(BuildError, match="alpha comes from an address that a lock cannot hold") as caught:
        packages_of([{"name": "alpha", "version": "1.0", "archive": archive}], wanted(project, "beta"))
    assert "s3cret" not in str(caught.value)


def test_the_platforms_of_the_result_are_those_asked_for(project: Project, uv: Uv) -> None:
    make_wheel(project.wheelhouse, "alpha")
    task = replace(wanted(project, "alpha"), platforms=("macos-arm64",))
    assert resolve(uv, task, running(), (), None).platforms == ("macos-arm64",)


def test_an_extra_that_a_package_lacks_is_told(project: Project, uv: Uv) -> None:
    make_wheel(project.wheelhouse, "alpha")
    said: list[str] = []
    found = resolve(uv, wanted(project, "alpha[recomended]"), running(), (), None, said.append)
    assert versions(found.packages) == ["alpha 1.0"]
    assert said == ["warning: The package `alpha==1.0` does not have an extra named `recomended`"]


def test_a_yanked_version_is_told_with_the_reason(project: Project) -> None:
    wheel = make_wheel(project.root.parent / "index" / "alpha", "alpha")
    link = f'<a href="{wheel.name}" data-yanked="wrong results">{wheel.name}</a>'
    (wheel.parent / "index.html").write_text(f"<!DOCTYPE html><html><body>{link}</body></html>")
    environ = {key: value for key, value in project.environ.items() if key not in ("PIP_NO_INDEX", "PIP_FIND_LINKS")}
    environ["PIP_INDEX_URL"] = wheel.parent.parent.as_uri()
    uv = find_uv(load_settings(project.root, {}), environ, project.root.parent / "cache")
    said: list[str] = []
    resolve(uv, wanted(project, "alpha==1.0"), running(), (), None, said.append)
    assert said == ['warning: `alpha==1.0` is yanked (reason: "wrong results")']


def test_a_resolution_without_oddities_tells_nothing(project: Project, uv: Uv) -> None:
    make_wheel(project.wheelhouse, "alpha")
    said: list[str] = []
    resolve(uv, wanted(project, "alpha", python=">=3.9"), running(), (), None, said.append)
    assert said == []
