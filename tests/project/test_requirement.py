"""What a requirement file that another tool wrote is answered with."""

from __future__ import annotations

import pytest

from ozrepro.project.requirement import check_requirement, check_requirement_file, group_in


def test_a_list_of_conda_packages_is_named_once_with_a_pin_that_an_index_can_have() -> None:
    text = "# platform: linux-64\n_libgcc_mutex=0.1=main\njpeg=9e=h5eee18b_1\nnumpy=1.24.3=py311h08b1b3b_1\n"
    assert check_requirement_file(text) == [
        "line 2: this is a list of conda packages (3 lines): name them in dependencies of [conda], or write numpy==1.24.3"
    ]


def test_a_conda_package_among_requirements_is_named_by_its_line() -> None:
    (mistake,) = check_requirement_file("six==1.16.0\nnumpy=1.24.3\n")
    assert mistake.startswith("line 2: 'numpy=1.24.3' is a conda package")
    assert mistake.endswith("write numpy==1.24.3")


def test_a_conda_package_that_no_index_can_have_gets_no_pin() -> None:
    assert check_requirement_file("_libgcc_mutex=0.1=main\n") == [
        "line 1: '_libgcc_mutex=0.1=main' is a conda package: name it in dependencies of [conda]"
    ]


def test_the_path_of_the_machine_that_built_a_package_is_answered_with_the_line_to_write() -> None:
    (mistake,) = check_requirement_file("six @ file:///home/conda/feedstock_root/build_artifacts/six_1620240208055/work\n")
    assert "path of the machine that wrote it; write six==VERSION (pip list --format=freeze)" in mistake


def test_versions_of_an_index_are_not_taken_for_conda_packages() -> None:
    lines = ("a==1", "a ===1.0", "a>=1,<2", "a<=1", "a!=1", "a~=1.0", "a[x]==1", 'a; python_version >= "3.10"', "a")
    assert check_requirement_file("\n".join(lines)) == []


@pytest.mark.parametrize(
    ("text", "group"),
    [
        ("--group dev", ("pyproject.toml", "dev")),
        ("--group=dev-2", ("pyproject.toml", "dev-2")),
        ("--group sub/pyproject.toml:dev", ("sub/pyproject.toml", "dev")),
        ("--group ../pyproject.toml:dev", None),
        ("--group /abs/pyproject.toml:dev", None),
        ("--group", None),
        ("--group a b", None),
        ("--groups dev", None),
    ],
)
def test_a_group_of_dependencies_is_named_as_pip_names_it(text: str, group: tuple[str, str] | None) -> None:
    assert group_in(text) == group
    assert (check_requirement(text) is None) is (group is not None)


def test_a_group_within_a_requirement_file_is_an_option_that_the_spec_takes() -> None:
    (problem,) = check_requirement_file("--group dev\n")
    assert problem == "line 1: '--group dev' is an installer's option; name groups in the spec, and indexes in the settings"
