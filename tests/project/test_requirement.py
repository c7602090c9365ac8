"""What a requirement file that another tool wrote is answered with."""

from __future__ import annotations

from ozrepro.project.requirement import check_requirement, check_requirement_file


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


def test_a_dependency_group_is_refused_in_the_description_and_in_a_file_with_what_to_write() -> None:
    problem = "'--group dev' names a dependency group, which is not read; write its packages into the requirements"
    assert check_requirement("--group dev") == problem
    assert check_requirement_file("--group dev\n") == [f"line 1: {problem}"]
