"""Exact versions that another tool has chosen, with the real uv from a wheelhouse."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ozrepro.errors import CommandFailed
from ozrepro.methods.reading import load_settings
from ozrepro.python.build_hashes import hashed_lines
from ozrepro.python.pins import find_exactly
from ozrepro.python.resolve import Wanted
from ozrepro.python.uv import Uv, find_uv
from tests.conftest import Project
from tests.wheels import make_sdist, make_wheel

HERE = "linux-x86_64"


def wanted(project: Project) -> Wanted:
    return Wanted(project.root, ("-",), ">=3.11,<3.12", (HERE,), HERE)


def test_the_versions_are_found_and_what_they_need_is_not_followed(project: Project, uv: Uv) -> None:
    for version in ("1.0", "2.0"):
        make_wheel(project.wheelhouse, "alpha", version, requires=("beta>=1",))
    make_wheel(project.wheelhouse, "beta", "1.5")
    found, absent = find_exactly(uv, {"alpha": "1.0"}, wanted(project))
    assert [(item.name, item.version) for item in found] == [("alpha", "1.0")]
    assert absent == ()
    assert hashed_lines(found).startswith("alpha==1.0 \\\n    --hash=sha256:")
    assert find_exactly(uv, {}, wanted(project)) == ((), ())


def test_what_the_index_lacks_is_left_out_and_never_replaced(project: Project, uv: Uv) -> None:
    for name in ("alpha", "beta", "gamma"):
        make_wheel(project.wheelhouse, name, "1.0")
    make_wheel(project.wheelhouse, "other", "1.0", tag="cp310-cp310-manylinux2014_x86_64")
    make_wheel(project.wheelhouse, "mac", "1.0", tag="cp311-cp311-macosx_11_0_arm64")
    make_sdist(project.wheelhouse, "source", "1.0")
    versions = {"alpha": "1.0", "beta": "9.9", "gamma": "1.0", "gone": "1.0", "other": "1.0", "mac": "1.0", "source": "1.0",
                "odd": "2022.1-foss-2022a"}  # fmt: skip
    found, absent = find_exactly(uv, versions, wanted(project))
    assert sorted(item.name for item in found) == ["alpha", "gamma"]
    assert absent == ("beta", "gone", "mac", "odd", "other", "source")


def test_an_index_that_cannot_be_asked_is_an_error_and_no_sign_that_it_lacks_anything(project: Project) -> None:
    """Else an image would be made without its packages, and said to be the same."""
    online = {key: value for key, value in project.environ.items() if not key.startswith("PIP_")}
    environ = {**online, "PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_CONFIG_FILE": "/dev/null"}
    uv = find_uv(load_settings(project.root, {}), environ, project.root.parent / "cache")
    quick = replace(uv, variables={**uv.variables, "UV_HTTP_RETRIES": "0"})
    with pytest.raises(CommandFailed, match="Failed to fetch"):
        find_exactly(quick, {"alpha": "1.0", "beta": "1.0"}, wanted(project))
