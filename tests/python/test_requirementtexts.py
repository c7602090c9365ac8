"""What the lines of a spec's requirements lead to."""

from __future__ import annotations

from pathlib import Path

import pytest

from ozrepro.project.files import Files
from ozrepro.python.requirementtexts import as_installers_read, group_files, group_problems, texts_of

GROUPS = """
[dependency-groups]
dev = ["idna>=2", {include-group = "More_One"}, "idna>=2"]
More-One = ["toolz"]
loop = [{include-group = "round"}]
round = [{include-group = "loop"}]
wrong = ["a b", 3, "-e .", {other = "x"}]
private = ["a @ git+https://host/a"]
"""


def test_files_that_files_name_are_found_from_their_own_folder_and_each_once(tmp_path: Path) -> None:
    (tmp_path / "reqs" / "sub").mkdir(parents=True)
    (tmp_path / "reqs" / "base.txt").write_text("a\n-r sub/more.txt\n-c ../limits.txt\n")
    (tmp_path / "reqs" / "sub" / "more.txt").write_text("b\n-r ../base.txt\n-r absent.txt\n-r ../../../outside.txt\n")
    (tmp_path / "limits.txt").write_text("a<2\n")
    found = texts_of(tmp_path, Files(), ("six", "-r ./reqs/base.txt", "-c limits.txt"))
    assert list(found) == ["reqs/base.txt", "reqs/sub/more.txt", "reqs/sub/absent.txt", "limits.txt"]
    assert found["limits.txt"] == "a<2\n"
    assert found["reqs/sub/absent.txt"] == ""


def test_a_long_chain_of_files_is_read_to_its_end(tmp_path: Path) -> None:
    for number in range(2000):
        (tmp_path / f"{number}.txt").write_text(f"-r {number + 1}.txt\n")
    (tmp_path / "2000.txt").write_text("six\n-r 0.txt\n")
    assert list(texts_of(tmp_path, Files(), ("-r 0.txt",))) == [f"{number}.txt" for number in range(2001)]


def test_a_group_is_what_it_and_its_includes_list(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(GROUPS)
    assert texts_of(tmp_path, Files(), ("--group dev",)) == {"--group dev": "idna>=2\ntoolz"}
    assert group_files(("--group dev", "six", "--group sub/pyproject.toml:x")) == ["pyproject.toml", "sub/pyproject.toml"]


@pytest.mark.parametrize(
    ("group", "count", "problem"),
    [
        ("loop", 1, "pyproject.toml: dependency-groups.loop: Cyclic dependency group include"),
        ("absent", 1, "Dependency group 'absent' not found; one of: dev, More-One, loop, round, wrong, private"),
        ("wrong", 4, "pyproject.toml: dependency-groups.wrong: 'a b' is not a requirement (Expected semicolon"),
        ("wrong", 4, "Invalid dependency group item: {'other': 'x'}"),
        ("private", 1, "dependency-groups.private: 'git+https://host/a' names no commit, and what it means moves"),
    ],
)
def test_what_is_wrong_with_a_group_is_told_whole(tmp_path: Path, group: str, count: int, problem: str) -> None:
    (tmp_path / "pyproject.toml").write_text(GROUPS)
    found = group_problems(tmp_path, Files(), f"--group {group}")
    assert len(found) == count
    assert any(problem in line for line in found)
    assert group_problems(tmp_path, Files(), "--group sub/pyproject.toml:x")[0].startswith("sub/pyproject.toml: No such file")


def test_installers_are_given_one_entry_a_line() -> None:
    text = "idna \\\r\n  >=3  # why\r\n-e .\nsix==1 --hash=sha256:0 \\\n  --hash=sha256:1\n-r more.txt\n"
    lines = [" ".join(line.split()) for line in as_installers_read(text).splitlines()]
    assert lines == ["idna >=3", "six==1 --hash=sha256:0 --hash=sha256:1", "-r more.txt"]


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ('A = ["x"]\na = ["y"]', "Duplicate dependency group names: a (A, a)"),
        ('a = "x"', "Dependency group 'a' contained a string rather than a list."),
        ("a = 3", "Dependency group 'a' is not a sequence type."),
        (
            "\n".join(f'a{n or ""} = [{{include-group = "a{n + 1}"}}]' for n in range(5000)),
            "includes groups that include others too deeply",
        ),
    ],
)
def test_groups_of_another_form_are_refused(tmp_path: Path, table: str, problem: str) -> None:
    (tmp_path / "pyproject.toml").write_text(f"[dependency-groups]\n{table}\n")
    assert group_problems(tmp_path, Files(), "--group a") == [f"pyproject.toml: dependency-groups.a: {problem}"]
