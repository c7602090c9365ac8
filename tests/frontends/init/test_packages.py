"""Which packages somebody asked for, what they are imported by, where they came from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ozrepro.frontends.init.packages import import_names, origin, top_level
from ozrepro.python.installed import Distribution


def tops(*items: tuple[str, ...], python: str = "") -> tuple[str, ...]:
    """Return the top level of distributions, each given as its name and what it requires."""
    return top_level({item[0]: Distribution(item[0], "1.0", "/f", item[1:]) for item in items}, python)


class TestTheTopLevel:
    def test_a_package_that_another_requires_is_not_proposed(self) -> None:
        assert tops(("astropy", "numpy>=1.22", "PyERFA"), ("numpy",), ("pyerfa", "numpy"), ("tabulate",)) == (
            "astropy",
            "tabulate",
        )

    def test_a_package_that_only_an_extra_asks_for_is_proposed(self) -> None:
        assert tops(("a", 'b; extra == "all"'), ("b",)) == ("a", "b")

    def test_a_marker_is_decided_for_the_environment_s_own_python(self) -> None:
        items = (("a", 'b; python_version < "3.9"'), ("b",))
        assert tops(*items, python="3.8") == ("a",)
        assert tops(*items, python="3.12") == ("a", "b")

    def test_of_packages_that_require_one_another_the_first_is_proposed(self) -> None:
        assert tops(("a", "b"), ("b", "a"), ("c", "d"), ("d", "c"), ("e", "c")) == ("a", "e")

    def test_a_requirement_that_cannot_be_read_requires_nothing(self) -> None:
        assert tops(("a", "!!", "b; nonsense", 'b; python_version < "x y"'), ("b",)) == ("a", "b")


class TestImports:
    @pytest.mark.parametrize(
        ("name", "files", "expected"),
        [
            ("pyyaml", ("_yaml/__init__.py", "yaml/__init__.py", "yaml/_yaml.cpython-311-x86_64-linux-gnu.so"), ("yaml",)),
            ("matplotlib", ("matplotlib/__init__.py", "mpl_toolkits/axes.py", "pylab.py"), ("matplotlib",)),
            ("python-dateutil", ("dateutil/__init__.py", "tests/test_x.py"), ("dateutil",)),
            ("six", ("six.py", "__pycache__/six.cpython-311.pyc"), ("six",)),
            ("tool", ("../../../bin/tool", "../../../share/x.py"), ()),
            ("odd", ("odd-name/x.py", "class.d/x.txt"), ()),
        ],
    )
    def test_names_to_import_are_told_by_a_distribution_s_files(
        self, tmp_path: Path, name: str, files: tuple[str, ...], expected: tuple[str, ...]
    ) -> None:
        site = tmp_path / "lib" / "python3" / "site-packages"
        info = site / f"{name.replace('-', '_')}-1.0.dist-info"
        listed = (*files, f"{info.name}/METADATA")
        for path in (site / file for file in listed):  # Python 3.12 and newer tell only of files that are there
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        (info / "RECORD").write_text("".join(f"{file},,\n" for file in listed))
        assert import_names(name, str(info)) == expected

    def test_names_to_import_are_told_by_top_level_txt(self, tmp_path: Path) -> None:
        info = tmp_path / "Zope_Thing-1.0.egg-info"
        info.mkdir()
        (info / "top_level.txt").write_text("zope\n_private\ntests\n")
        assert import_names("zope-thing", str(info)) == ("zope",)

    def test_a_distribution_without_metadata_has_no_names_to_import(self, tmp_path: Path) -> None:
        assert import_names("a", str(tmp_path / "a-1.dist-info")) == ()


class TestOrigins:
    @pytest.mark.parametrize(
        ("said", "expected"),
        [
            ({"url": "https://x.org/a-1.whl", "archive_info": {}}, ("https://x.org/a-1.whl", False)),
            ({"url": "file:///a", "dir_info": {"editable": True}}, ("file:///a", True)),
            ({"url": "https://x.org/a", "vcs_info": {"vcs": "git"}}, ("git+https://x.org/a", False)),
            ([], ("", False)),
            ({"url": "x", "dir_info": []}, ("", False)),
        ],
    )
    def test_the_address_that_a_distribution_came_from_is_read(
        self, tmp_path: Path, said: object, expected: tuple[str, bool]
    ) -> None:
        (tmp_path / "direct_url.json").write_text(json.dumps(said))
        assert origin(str(tmp_path)) == expected

    def test_a_distribution_of_an_index_has_no_address(self, tmp_path: Path) -> None:
        assert origin(str(tmp_path)) == ("", False)
