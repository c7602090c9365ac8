"""What a requirement file that another tool wrote is answered with."""

from __future__ import annotations

import pytest

from ozrepro.project.requirement import (
    LocalProject,
    check_requirement,
    check_requirement_file,
    file_in,
    from_root,
    group_in,
    local_project,
)


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


@pytest.mark.parametrize("option", ["-r ", "-r", "--requirement ", "--requirement=", "-c ", "--constraint="])
def test_a_lock_named_as_a_requirement_file_is_answered_with_the_command_that_takes_it(option: str) -> None:
    (problem,) = check_requirement_file(f"{option}../my pylock.toml\n{option}../pylock.dev.toml\n", "reqs")
    command = "remove the line, and take the lock over: ozrepro lock NAME --from pylock.dev.toml"
    assert problem == f"line 2: 'pylock.dev.toml' is a lock (PEP 751) and not a requirement file; {command}"
    assert str(check_requirement(f"{option}locks/pylock.toml")).endswith("--from locks/pylock.toml")


def test_a_file_outside_of_the_project_is_named_by_its_line() -> None:
    lines = "-r ../more.txt\n-r ../../outside.txt\n-c a/../../../outside.txt\n-r /abs.txt\n"
    assert check_requirement_file(lines, "reqs") == [
        f"line {number}: {path!r} leaves the project; copy the file into it"
        for number, path in ((2, "../../outside.txt"), (3, "a/../../../outside.txt"), (4, "/abs.txt"))
    ]


@pytest.mark.parametrize(
    ("text", "folder"),
    [
        ("./my sub", "my sub"),
        (".", ""),
        ("-e ./my sub", "my sub"),
        ('-e "./my sub"', "my sub"),
        ("-e './my sub/'", "my sub"),
        ('--editable="my sub"', "my sub"),
        ("--editable ./käse (1), 2~3@4+5", "käse (1), 2~3@4+5"),
        ("-e ./a-b_c", "a-b_c"),
    ],
)
def test_a_folder_may_have_spaces_and_other_letters_as_pip_reads_them(text: str, folder: str) -> None:
    assert local_project(text) == LocalProject(folder)
    assert check_requirement(text) is None
    extras = text.removesuffix(text[-1]) + "[b,a]" + text[-1] if text.endswith(("'", '"')) else f"{text}[b,a]"
    assert local_project(extras) == LocalProject(folder, ("a", "b"))


@pytest.mark.parametrize(
    ("text", "write"),
    [
        ("./my\\ sub", "write ./my sub"),
        ("-e ./my\\ sub", 'write -e "./my sub"'),
        ("-r my\\ file.txt", 'write -r "my file.txt"'),
        (".\\sub", "write ./sub"),
        ('"./my sub"', "write ./my sub"),
        ("'numpy>=1'", "write numpy>=1"),
        ("sub/my pkg", "is written ./sub/my pkg"),
        ("m @ file:./my sub", "is written ./my sub"),
        ("m @ ./sub", "is written ./sub"),
        ("-e file:./my%20sub", "is written -e ./my sub"),
        ("-e ./a --pre", "write for example -e . or -e ./FOLDER, with extras as in -e .[plot]"),
        ('-e "./a" "./b"', "write for example -e . or -e ./FOLDER, with extras as in -e .[plot]"),
        ("-e './a", "write for example -e . or -e ./FOLDER, with extras as in -e .[plot]"),
        ("./a; python_version > '3'", "a folder of the project has no marker; write ./a"),
        ("-e ./a ; python_version > '3'", "a folder of the project has no marker; write -e ./a"),
    ],
)
def test_a_folder_written_as_pip_does_not_take_it_is_answered_with_the_line(text: str, write: str) -> None:
    assert local_project(text) is None
    assert str(check_requirement(text)).endswith(write)
    (problem,) = check_requirement_file(text)
    assert problem.endswith(write)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("-r ../a b.txt", "-r 'a b.txt'"),
        ('--constraint="x.txt"', "-c env/x.txt"),
        ("-e .", "-e ./env"),
        ("-e ..", "-e ."),
        ("-e '../my sub[x]'", "-e ./my sub[x]"),
        ("../lib", "./lib"),
        ("-e ../../other", "-e ../../other"),
        ("-r ../../other.txt", "-r ../../other.txt"),
        ("-e git+https://host/a/b@1", "-e git+https://host/a/b@1"),
        ("-e ~/a", "-e ~/a"),
        ("-r ~/a", "-r ~/a"),
        ("six", "six"),
    ],
)
def test_a_line_that_counts_from_a_folder_is_one_from_the_root(text: str, line: str) -> None:
    assert from_root(text, "env") == line


def test_a_file_is_named_with_and_without_quotes() -> None:
    names = ("-r a b.txt", "-r 'a b.txt'", '-r"a b.txt"', "--requirement a b.txt")
    assert {file_in(text) for text in names} == {"a b.txt"}
    assert (file_in("-e a"), file_in("-ra\nb"), file_in("--requirements a")) == ("", "", "")
