"""Hashes of requirement files, with the real uv and a wheelhouse."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from ozrepro.errors import BuildError
from ozrepro.project.checking import Checker
from ozrepro.project.requirement import check_requirement_file
from ozrepro.python.interpreter import running
from ozrepro.python.packages import LockedPackage
from ozrepro.python.requirement_hashes import check_hashes, hashed_in
from ozrepro.python.resolve import Wanted, resolve
from ozrepro.python.uv import Uv
from tests.conftest import Project
from tests.wheels import make_wheel

HERE = "linux-x86_64"
ZEROS = "sha256:" + 64 * "0"


def digest(path: Path) -> str:
    return "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()


def locked(project: Project, uv: Uv, text: str) -> tuple[LockedPackage, ...]:
    (project.root / "needs.txt").write_text(text)
    hashed = tuple(hashed_in("needs.txt", text))
    return resolve(
        uv,
        Wanted(project.root, ("-r needs.txt",), ">=3.10", (HERE,), HERE, hashed=hashed, texts={"needs.txt": text}),
        running(),
        (),
        None,
    ).packages


def test_a_package_none_of_whose_files_has_a_named_hash_is_refused(project: Project, uv: Uv) -> None:
    make_wheel(project.wheelhouse, "alpha")
    with pytest.raises(BuildError, match=r"needs\.txt, line 2: no file of alpha 1\.0 has a hash") as caught:
        locked(project, uv, f"# pinned\nalpha==1.0 --hash={ZEROS}\n")
    assert "pip-compile --generate-hashes" in caught.value.hint


def test_only_the_files_whose_hash_is_named_are_locked(project: Project, uv: Uv) -> None:
    minor = running().minor.replace(".", "")
    make_wheel(project.wheelhouse, "alpha", tag=f"cp{minor}-cp{minor}-manylinux2014_x86_64")
    pure = make_wheel(project.wheelhouse, "alpha")
    make_wheel(project.wheelhouse, "beta")
    text = f"alpha==1.0 \\\n    --hash={ZEROS} \\\n    --hash={digest(pure).upper().replace('SHA', 'sha')}\n    # via us\nbeta\n"
    found = locked(project, uv, text)
    assert [[file.name for file in item.files] for item in found] == [[pure.name], ["beta-1.0-py3-none-any.whl"]]


def test_hashes_of_files_for_another_python_alone_are_refused_with_the_python(project: Project, uv: Uv) -> None:
    minor = running().minor
    other = make_wheel(project.wheelhouse, "alpha", tag="cp310-cp310-manylinux2014_x86_64")
    make_wheel(project.wheelhouse, "alpha", tag="cp39-abi3-manylinux2014_x86_64")
    if minor == "3.10":
        pytest.skip("the other Python is this one")
    with pytest.raises(BuildError, match=f"no file of alpha 1.0 for {HERE} {minor} has a hash"):
        locked(project, uv, f"alpha==1.0 --hash={digest(other)}\n")


def test_hashes_of_another_version_say_nothing(project: Project, uv: Uv) -> None:
    make_wheel(project.wheelhouse, "alpha")
    text = f"alpha==1.0 ; python_version >= '3.9'\nalpha==0.9 ; python_version < '3.9' --hash={ZEROS}\n"
    assert [item.version for item in locked(project, uv, text)] == ["1.0"]


def test_a_lock_with_a_file_that_no_hash_names_is_refused(project: Project, uv: Uv) -> None:
    make_wheel(project.wheelhouse, "alpha")
    packages = locked(project, uv, "alpha==1.0\n")
    checker = Checker("work.lock")
    check_hashes(checker, ("venv", "any"), packages, hashed_in("needs.txt", f"alpha==1.0 --hash={ZEROS}\n"))
    assert any("none of the hashes" in mistake for mistake in checker.mistakes)
    assert len(checker.mistakes) == 1


@pytest.mark.parametrize(
    ("word", "said"),
    [
        (f"sha512:{128 * 'a'}", "line 1: .*a lock holds sha256 alone"),
        ("sha256:abc", "line 1: .*64 hexadecimal digits"),
        ("md5:abc", "line 1: .*a lock holds sha256 alone"),
    ],
)
def test_a_hash_that_cannot_be_compared_is_a_mistake_of_the_file(word: str, said: str) -> None:
    (mistake,) = check_requirement_file(f"alpha==1.0 --hash={word}\n")
    assert re.search(said, mistake)


def test_hashes_of_another_kind_may_stand_beside_a_sha256() -> None:
    assert check_requirement_file(f"alpha==1.0 --hash=sha512:{128 * 'a'} --hash={ZEROS}\n") == []


class TestTheCommand:
    def test_a_wrong_hash_in_a_requirement_file_stops_the_lock(self, small: Project) -> None:
        (small.root / "r.txt").write_text(f"alpha==1.0 --hash={ZEROS}\n")
        small.spec('[venv]\nrequirements = ["-r r.txt"]\n')
        failed = small.ozrepro("lock")
        assert failed.returncode == 1
        assert "r.txt, line 1: no file of alpha 1.0 has a hash that is named there" in failed.stderr
        assert not small.lock().exists()

    def test_a_right_hash_in_a_requirement_file_is_locked_and_built(self, small: Project) -> None:
        wheel = small.wheelhouse / "alpha-1.0-py3-none-any.whl"
        (small.root / "r.txt").write_text(f"alpha==1.0 --hash={ZEROS} --hash={digest(wheel)}\n")
        small.spec('[venv]\nrequirements = ["-r r.txt"]\n')
        small.done("lock")
        small.done("build")
