"""What the files of environments tell of their packages, compared."""

from __future__ import annotations

from pathlib import Path

import pytest

from ozrepro.errors import BuildError
from ozrepro.methods.comparing import Inside, differences, differences_of_locks, inside_of, unlike


def installed(folder: Path, name: str, version: str, *files: str) -> str:
    """Put a distribution's metadata into a folder, as an installer does."""
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "RECORD").write_text("".join(f"{file},sha256=x,1\n" for file in files))
    return str(folder)


def test_distributions_and_what_they_can_be_imported_by_are_read_from_their_files(tmp_path: Path) -> None:
    first = installed(tmp_path / "one", "PyYAML", "6.0", "yaml/__init__.py", "_yaml/__init__.py")
    second = installed(tmp_path / "two", "pyyaml", "5.0", "old/__init__.py")
    found = inside_of("3.13.0rc1", (first, second))
    assert found == Inside({"python": "3.13.0", "pyyaml": "6.0"}, {"pyyaml": frozenset({"_yaml", "yaml"})})


def test_a_name_that_a_terminal_would_obey_is_refused_and_never_printed_as_it_is(tmp_path: Path) -> None:
    folder = installed(tmp_path, "alpha", "1\x1b[2J")
    with pytest.raises(BuildError, match="cannot be listed") as caught:
        inside_of("3.11.2", (folder,))
    assert "\x1b" not in str(caught.value)


def test_versions_come_first_and_packages_that_one_side_lacks_are_told_once() -> None:
    left = Inside({"a": "1", "b": "1"}, {"a": frozenset({"a", "old"}), "b": frozenset({"b"})})
    right = Inside({"a": "2"}, {"a": frozenset({"a", "_hidden", "new"})})
    lines = [item.line() for item in differences(left, right)]
    assert lines == ["~ a 1 -> 2", "- b 1", "- import old works", "+ import new works"]


def told(left: Inside, right: Inside) -> tuple[list[str], list[str]]:
    found, undecided = differences_of_locks(left, right)
    return [item.line() for item in found], undecided


def test_locks_differ_only_in_what_both_would_list() -> None:
    """A conda package may be a distribution of another name, or none: only an environment tells."""
    conda = Inside({"python": "3.10.8", "six": "1.0"}, unsure={"numpy": "1.22", "pytorch": "2.1", "abi": "3"})
    image = Inside({"python": "3.10.8", "numpy": "1.23", "torch": "2.1"}, {}, others={"abi": "2 | 3", "openssl": "3"})
    assert told(conda, image) == (["- six 1.0", "~ numpy 1.22 -> 1.23"][::-1], ["pytorch", "torch"])
    assert told(image, conda) == (["~ numpy 1.23 -> 1.22", "+ six 1.0"], ["pytorch", "torch"])
    whole = Inside({**image.versions, "abi": "3"}, {})
    assert told(Inside({"python": "3.10.8"}, unsure={"abi": "3"}), whole) == (["+ numpy 1.23", "+ torch 2.1"], [])


def test_a_lock_for_several_pythons_has_each_of_their_versions() -> None:
    venv = Inside({"numpy": "1.22 | 2.0", "six": "1.0 | 1.1"})
    assert told(venv, Inside({"python": "3.12.1", "numpy": "2.0", "six": "1.2"})) == (["~ six 1.0 | 1.1 -> 1.2"], ["python"])
    assert unlike({"venv": venv.named, "modules": {"numpy": "1.22", "six": "1.2"}}) == ["six"]


def test_methods_are_unlike_where_two_that_have_a_package_have_other_versions() -> None:
    assert unlike({"modules": {"a": "1", "b": "1"}, "conda": {"a": "1"}, "venv": {"b": "2", "c": "3"}}) == ["b"]
