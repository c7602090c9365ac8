"""`lock --from pylock.toml`: the versions and files of another lock, compared by name and hash, wherever they come from."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest

from ozrepro.errors import SpecError
from ozrepro.methods.reading import load_lock
from ozrepro.python.pylock import read_pins
from tests.wheels import make_wheel

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Project

HEAD = 'lock-version = "1.0"\ncreated-by = "x"\n'
FILE = '[{name = "alpha-1.0-py3-none-any.whl", hashes = {sha256 = "%s"}}]' % ("0" * 64)  # noqa: UP031


def content(project: Project, name: str = "again") -> dict[str, Any]:
    """Return the content of the only section of a lock."""
    lock = load_lock(project.root, name)
    assert lock is not None
    (section,) = lock.sections
    return dict(section.content)


@pytest.fixture
def exported(project: Project) -> Project:
    """Give a project with alpha, which needs beta, locked as `work` and exported, and newer wheels since; `again` is described."""
    make_wheel(project.wheelhouse, "alpha", requires=("beta",))
    make_wheel(project.wheelhouse, "beta", "1.5")
    project.spec('[venv]\nrequirements = ["alpha"]\n')
    project.done("lock")
    project.done("export", "work", "--format", "pylock", "--output", "pylock.toml")
    make_wheel(project.wheelhouse, "alpha", "3.0", requires=("beta",))
    make_wheel(project.wheelhouse, "beta", "3.0")
    project.spec('[venv]\nrequirements = ["alpha"]\n', "again")
    return project


def test_an_exported_pylock_gives_the_same_packages_though_there_are_newer_ones(exported: Project) -> None:
    exported.done("lock", "again", "--from", "pylock.toml")
    assert content(exported)["package"] == content(exported, "work")["package"]
    assert exported.ozrepro("lock", "again", "--check", "--from", "pylock.toml").returncode == 0
    exported.done("lock", "again", "--upgrade")
    said = exported.ozrepro("lock", "again", "--check", "--from", "pylock.toml")
    assert said.returncode == 3
    assert "again.lock: is not what pylock.toml gives:\n  ~ alpha 3.0 -> 1.0" in said.stderr


def test_another_file_of_the_same_name_and_version_is_refused(exported: Project) -> None:
    make_wheel(exported.wheelhouse, "beta", "1.5", modules={"beta.py": "OTHER = 1\n"})
    said = exported.ozrepro("lock", "again", "--from", "pylock.toml")
    assert said.returncode == 1
    assert "pylock.toml, beta: no file of beta 1.5 has a hash that is named there" in said.stderr
    assert not exported.lock("again").exists()


def test_what_is_needed_and_not_named_is_refused_and_what_is_named_and_not_needed_is_told(exported: Project) -> None:
    make_wheel(exported.wheelhouse, "gamma")
    exported.spec('[venv]\nrequirements = ["alpha", "gamma"]\n', "again")
    said = exported.ozrepro("lock", "again", "--from", "pylock.toml")
    assert said.returncode == 1
    assert "pylock.toml does not name all packages:\n  gamma 1.0 is needed too, and is not named there" in said.stderr
    exported.spec('[venv]\nrequirements = ["beta"]\n', "again")
    said = exported.ozrepro("lock", "again", "--from", "pylock.toml")
    assert said.returncode == 0, said.stderr
    assert "not taken over from pylock.toml: alpha, which nothing here needs" in said.stderr
    assert [(item["name"], item["version"]) for item in content(exported)["package"]] == [("beta", "1.5")]


def test_a_version_that_the_index_no_longer_has_is_told_by_name(exported: Project) -> None:
    next(exported.wheelhouse.glob("beta-1.5-*.whl")).unlink()
    said = exported.ozrepro("lock", "again", "--from", "pylock.toml")
    assert said.returncode == 1
    assert "beta==1.5" in said.stderr


def test_only_the_table_that_takes_a_file_is_locked_from_it(exported: Project) -> None:
    exported.spec('[venv]\nrequirements = ["alpha"]\n[conda]\ndependencies = ["python"]\n', "again")
    assert exported.done("lock", "again", "--from", "pylock.toml") == "again: sessions/again.lock written (venv)\n"
    shutil.copy(exported.root / "pylock.toml", exported.root / "list.txt")
    exported.spec('[venv]\nrequirements = ["alpha"]\n', "again")
    (exported.root / "list.txt").write_text("@EXPLICIT\nhttps://h/c/noarch/a-1-0.conda\n")
    said = exported.ozrepro("lock", "again", "--from", "list.txt")
    assert said.returncode == 2
    assert "list.txt: is an @EXPLICIT file: --from takes it for [conda], which sessions/again.toml lacks" in said.stderr


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "lock-version: None is not known"),
        ("lock-version = 1\n[", "is not valid TOML"),
        ('lock-version = "9.0"\n', "lock-version: '9.0' is not known"),
        (HEAD, "names no packages"),
        (f"{HEAD}packages = 3\n", "names no packages"),
        (f"{HEAD}packages = [7]\n", r"packages\[0\]: has no name"),
        (f'{HEAD}[[packages]]\nname = "alpha"\nversion = "1.0"\n', "alpha has no files"),
        (f'{HEAD}[[packages]]\nname = "alpha"\nwheels = [{{hashes = {{md5 = "0"}}}}]\n', "alpha has a file without a sha256"),
        (f'{HEAD}[[packages]]\nname = "alpha"\nversion = "1 ; x"\nwheels = {FILE}\n', "has a name, version or marker"),
        (f'{HEAD}[[packages]]\nname = "al\\npha"\nwheels = {FILE}\n', "has a name, version or marker"),
        (f"{HEAD}[[packages]]\nname = 'alpha'\nmarker = \"os_name ~= 'x'\"\nwheels = {FILE}\n", "marker"),
    ],
)
def test_a_pylock_with_mistakes_is_refused_with_all_of_them(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "pylock.toml").write_text(text)
    with pytest.raises(SpecError, match=problem):
        read_pins(str(tmp_path / "pylock.toml"))


def test_what_comes_from_a_folder_or_repository_has_nothing_to_be_compared(tmp_path: Path) -> None:
    entries = '[[packages]]\nname = "own"\ndirectory = {path = "."}\n[[packages]]\nname = "git"\nvcs = {type = "git"}\n'
    (tmp_path / "pylock.toml").write_text(HEAD + entries)
    pins = read_pins(str(tmp_path / "pylock.toml"))
    assert (pins.pinned, pins.unpinned) == ((), ("own", "git"))
