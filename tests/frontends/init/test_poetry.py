"""Version constraints and tables of poetry as requirements: the same versions fit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from ozrepro.frontends.init.poetry import requirement, versions


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("^1.2.3", ">=1.2.3,<2"), ("^1", ">=1,<2"), ("^0.2.3", ">=0.2.3,<0.3"), ("^0.0.3", ">=0.0.3,<0.0.4"), ("^0.0", ">=0.0,<0.1"),
        ("^0", ">=0,<1"), ("~1.2.3", ">=1.2.3,<1.3"), ("~1.2", ">=1.2,<1.3"), ("~1", ">=1,<2"), ("*", ""), ("1.2", "==1.2"),
        ("1.*", "==1.*"), ("= 1.2", "==1.2"), (">=1.2, <2", ">=1.2,<2"), (">=1.2 <2", ">=1.2,<2"), ("~=1.4", "~=1.4"),
    ],
)  # fmt: skip
def test_a_constraint_is_written_as_pep_440_writes_it(text: str, expected: str) -> None:
    assert versions(text) == expected


@given(release=st.lists(st.integers(0, 30), min_size=1, max_size=3), operator=st.sampled_from("^~"))
def test_the_version_itself_fits_and_the_next_major_does_not(release: list[int], operator: str) -> None:
    wanted = SpecifierSet(versions(f"{operator}{'.'.join(map(str, release))}"))
    assert wanted.contains(".".join(map(str, release)))
    assert not wanted.contains(f"{release[0] + 1}.0")


@pytest.mark.parametrize("text", ["^1 || ^2", "^x", "?", ">=a b"])
def test_what_no_specifier_says_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no equal"):
        versions(text)


def test_a_table_gives_extras_markers_addresses_and_folders() -> None:
    table = {"version": "^2", "extras": ["a", "b"], "python": "<3.12", "markers": "sys_platform == 'linux' or os_name == 'nt'"}
    made = Requirement(requirement("x", table))
    assert (made.extras, str(made.specifier)) == ({"a", "b"}, "<3,>=2")
    assert made.marker is not None
    assert not made.marker.evaluate({"python_version": "3.12", "sys_platform": "linux"})
    assert made.marker.evaluate({"python_version": "3.11", "sys_platform": "linux"})
    assert requirement("x", {"path": "../lib", "develop": True}) == "-e ../lib"
    assert requirement("x", {"path": "."}) == "-e ."
    assert requirement("x", {"path": "lib", "extras": ["a"]}) == "-e ./lib[a]"
    assert requirement("x", {"git": "https://h/x", "rev": "a" * 40}) == f"x @ git+https://h/x@{'a' * 40}"
    assert requirement("x", {"url": "https://h/x.whl"}) == "x @ https://h/x.whl"


@pytest.mark.parametrize("value", [3, ["^1"], {"git": "https://h/x"}, {"version": "^1", "source": "mine"}, {"index": "i"}])
def test_what_has_no_equal_is_refused_with_the_reason(value: object) -> None:
    with pytest.raises(ValueError, match=r"comes from|neither|several"):
        requirement("x", value)
