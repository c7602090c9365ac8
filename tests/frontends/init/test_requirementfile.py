"""Requirement files read line by line: whole where a spec can take the file, else what it can take of it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from ozrepro.frontends.init.requirementfile import read_file
from ozrepro.project.requirement import check_requirement, entries_of


def write(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / name.replace("_in_", "/").replace("__", ".")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


def test_nested_files_are_followed_and_each_is_named_whole_where_it_can_be(tmp_path: Path) -> None:
    write(tmp_path, a__txt="-r sub/b.txt\n--requirement=sub/c.txt\nsix\n--no-index\n", sub_in_b__txt="-r d.txt\nnumpy\n--pre\n",
          sub_in_c__txt="scipy\n", sub_in_d__txt="pandas\n")  # fmt: skip
    taken = read_file(tmp_path, "a.txt")
    assert taken.requirements == ["-r sub/d.txt", "numpy", "-r sub/c.txt", "six"]
    assert sorted(taken.named) == ["numpy", "pandas", "scipy", "six"]
    assert [line.partition(":")[0] for line in taken.left] == ["sub/b.txt line 3", "a.txt line 4"]
    assert all(check_requirement(line) is None for line in taken.requirements)


def test_a_file_that_names_itself_one_outside_and_one_that_is_missing_are_said(tmp_path: Path) -> None:
    write(tmp_path, a__txt="-r a.txt\n-r ../b.txt\n-r none.txt\n-c also.txt\nsix\n--pre\n")
    taken = read_file(tmp_path, "a.txt")
    assert taken.requirements == ["six"]
    assert len(taken.left) == 5


def test_a_file_that_names_nothing_is_said(tmp_path: Path) -> None:
    write(tmp_path, a__txt="# later\n")
    taken = read_file(tmp_path, "a.txt")
    assert (taken.requirements, taken.left) == ([], ["a.txt: it names nothing"])


def test_constraints_are_taken_whole_or_not_at_all(tmp_path: Path) -> None:
    write(tmp_path, a__txt="-c good.txt\n-cbad.txt\nsix\n--pre\n", good__txt="six<2\n", bad__txt="--pre\nsix<1\n")
    taken = read_file(tmp_path, "a.txt")
    assert taken.requirements == ["-c good.txt", "six"]
    assert "the constraints of bad.txt" in taken.left[0]


def test_what_is_said_holds_no_login_and_hashes_that_are_lost_are_said(tmp_path: Path) -> None:
    write(tmp_path, a__txt=f"--index-url https://me:secret@h/simple?token=abc\nsix==1 --hash=sha256:{'0' * 64}\n")
    taken = read_file(tmp_path, "a.txt")
    assert taken.requirements == ["six==1"]
    assert "secret" not in str(taken.left)
    assert "abc" not in str(taken.left)
    assert "--hash" in taken.left[-1]


def test_a_local_project_of_another_folder_is_left_to_the_user(tmp_path: Path) -> None:
    write(tmp_path, a__txt="-r sub/b.txt\n", sub_in_b__txt="-e ./lib\n--pre\n")
    assert "counts from another folder" in read_file(tmp_path, "a.txt").left[0]


LINES = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        ["six", "-e .", "-e ./sub[x]", "--pre", "-r ../x", "-cno.txt", "x @ https://u:p@h/x.whl", "six==1 --hash=sha256:0", "\\"]
    ),
)


@given(lines=st.lists(LINES, max_size=6))
def test_each_line_of_any_file_is_taken_as_a_spec_takes_it_or_said(lines: list[str]) -> None:
    text = "\n".join(lines)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "a.txt").write_text(text, newline="")
        taken = read_file(Path(folder), "a.txt")
    assert all(check_requirement(line) is None for line in taken.requirements)
    if taken.requirements != ["-r a.txt"]:
        assert len(taken.requirements) + len(taken.left) >= len(list(entries_of(text)))
