"""What is said when uv fails, with the real uv."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ozrepro.errors import CommandFailed, StoreError
from ozrepro.methods.reading import load_settings
from ozrepro.python.advice import NotWritten, hint_for, of_the_files
from ozrepro.python.interpreter import running
from ozrepro.python.resolve import Wanted, resolve
from ozrepro.python.uv import Uv, find_uv
from tests.conftest import Project
from tests.threats.helpers import Index, serving
from tests.wheels import make_wheel

HERE = "linux-x86_64"


def wanted(project: Project, *requirements: str, python: str = ">=3.10", owner: str = "") -> Wanted:
    return Wanted(project.root, requirements, python, (HERE,), HERE, owner=owner)


def remount(disk: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(disk)], check=True, capture_output=True)


class TestACacheThatCannotBeWritten:
    @pytest.fixture
    def on_disk(self, project: Project, small_disk: Path) -> Uv:
        make_wheel(project.wheelhouse, "alpha")
        return find_uv(load_settings(project.root, {}), project.environ, small_disk / "cache")

    def test_a_full_disk_is_told_with_what_is_left_and_two_ways_out(
        self, project: Project, on_disk: Uv, small_disk: Path
    ) -> None:
        remount(small_disk, "size=4k")
        (small_disk / "rest").write_bytes(b"x" * 4096)
        with pytest.raises(StoreError) as caught:
            resolve(on_disk, wanted(project, "alpha"), running(), (), None)
        assert caught.value.what.startswith(
            "cannot find versions that fit: No space left on device [errno 28]; left there: 0 MiB and "
        )
        assert "ozrepro store gc; or set OZREPRO_CACHE to a folder elsewhere" in caught.value.hint
        assert caught.value.where.startswith(str(small_disk))

    def test_a_read_only_cache_is_told_with_the_setting_that_moves_it(
        self, project: Project, on_disk: Uv, small_disk: Path
    ) -> None:
        remount(small_disk, "ro")
        with pytest.raises(StoreError) as caught:
            resolve(on_disk, wanted(project, "alpha"), running(), (), None)
        assert caught.value.what == "cannot find versions that fit: Read-only file system [errno 30]"
        assert caught.value.hint == "set OZREPRO_CACHE to a folder of your own"


def test_a_store_that_is_full_is_told_though_the_packages_are_in_the_cache(small: Project, small_disk: Path) -> None:
    modules = {f"alpha/m{number}.py": "x" * 4000 for number in range(500)}
    make_wheel(small.wheelhouse, "alpha", "1.0", requires=("beta>=1",), modules={"alpha/__init__.py": "", **modules})
    cache = {"OZREPRO_CACHE": str(small.root.parent / "cache")}
    small.done("lock", **cache)
    small.done("build", **cache)  # fills the cache
    remount(small_disk, "size=1m")
    own = {"OZREPRO_STORE": str(small_disk / "store"), **cache}
    failed = small.ozrepro("build", **own)
    assert failed.returncode == 1
    assert "cannot install the locked packages: No space left on device [errno 28]; left there: " in failed.stderr
    assert "or set OZREPRO_STORE to a folder elsewhere" in failed.stderr
    assert not list((small_disk / "store" / "gens").iterdir())


@pytest.mark.parametrize("files", range(17, 32, 2))
def test_a_store_without_files_left_is_named_and_not_the_cache(small: Project, small_disk: Path, files: int) -> None:
    small.done("lock")
    remount(small_disk, f"size=64m,nr_inodes={files}")
    failed = small.ozrepro("build", OZREPRO_STORE=str(small_disk / "store"), OZREPRO_CACHE=str(small.root.parent / "cache"))
    assert failed.returncode == 1
    assert f"ozrepro: {small_disk}/" in failed.stderr
    assert "left there: 63 MiB and " in failed.stderr
    assert "or set OZREPRO_STORE to a folder elsewhere" in failed.stderr


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (
            "cause: failed to write to file `/c/uv/a`: Disk quota exceeded (os error 122)",
            NotWritten(122, "/c/uv/a", "OZREPRO_CACHE"),
        ),
        ('cause: Permission denied (os error 13) at path "/c/uv/.tmp"', NotWritten(13, "/c/uv/.tmp", "OZREPRO_CACHE")),
        (
            "cause: failed to copy to `/s/gens/a`: No space left on device (os error 28)",
            NotWritten(28, "/s/gens/a", "OZREPRO_STORE"),
        ),
        ("OSError: [Errno 28] No space left on device: '/c/uv-1f3b/x'", NotWritten(28, "/c/uv-1f3b/x", "OZREPRO_CACHE")),
        ("cause: Permission denied (os error 13)", NotWritten(13, "/c/uv", "OZREPRO_CACHE")),
        ("cause: failed to open file `/wheels/a.whl`: Permission denied (os error 13)", None),
        ("cause: failed at `/opt/python`\n  cause: Permission denied (os error 13)", None),
        ("warning: failed to write `/c/uv/a`: No space left on device (os error 28)", None),
        ("cause: failed to open file `/c/uv/a`: No such file or directory (os error 2)", None),
        ("cause: there is no version of alpha==9", None),
    ],
)
def test_a_full_disk_and_a_forbidden_cache_are_known_by_their_numbers(line: str, found: NotWritten | None) -> None:
    assert of_the_files(f"error: Failed\n  {line}" if line.startswith("cause") else line, "/c/uv") == found


class TestAPythonThatIsTooOld:
    @pytest.fixture
    def demanding(self, project: Project) -> Project:
        make_wheel(project.wheelhouse, "alpha", "7.0", python=">=3.11")
        return project

    @pytest.mark.parametrize(
        ("python", "advice"),
        [(">=3.10", '">=3.11"'), (">=3.10,<3.14", '">=3.11,<3.14"')],
    )
    def test_a_python_that_is_too_old_is_told_with_the_key_of_the_spec(
        self, demanding: Project, uv: Uv, python: str, advice: str
    ) -> None:
        with pytest.raises(CommandFailed) as caught:
            resolve(uv, wanted(demanding, "alpha>=7", python=python), running(), (), None)
        assert caught.value.hint == f"python = {advice} in [venv], or ask for an older version"
        assert "requires-python" not in str(caught.value)
        assert "alpha" in caught.value.what

    def test_a_python_that_is_too_old_is_told_where_an_index_answers_too(self, project: Project) -> None:
        wheel = make_wheel(project.root.parent / "index" / "alpha", "alpha", "7.0", python=">=3.11")
        link = f'<a href="{wheel.name}" data-requires-python="&gt;=3.11">{wheel.name}</a>'
        (wheel.parent / "index.html").write_text(f"<!DOCTYPE html><html><body>{link}</body></html>")
        environ = {key: value for key, value in project.environ.items() if key not in ("PIP_NO_INDEX", "PIP_FIND_LINKS")}
        environ["PIP_INDEX_URL"] = wheel.parent.parent.as_uri()
        uv = find_uv(load_settings(project.root, {}), environ, project.root.parent / "cache")
        with pytest.raises(CommandFailed) as caught:
            resolve(uv, wanted(project, "alpha>=7"), running(), (), None)
        assert caught.value.hint == 'python = ">=3.11" in [venv], or ask for an older version'
        assert "requires-python" not in str(caught.value)

    def test_where_the_python_is_the_modules_an_older_version_is_advised(self, demanding: Project, uv: Uv) -> None:
        with pytest.raises(CommandFailed) as caught:
            resolve(uv, wanted(demanding, "alpha>=7", python=">=3.10,<3.11", owner="the modules"), running(), (), None)
        assert caught.value.hint.startswith("ask for a version older than alpha")
        assert caught.value.hint.endswith(": the Python is that of the modules")
        assert "requires-python" not in str(caught.value)


class TestAnIndexThatDoesNotAnswer:
    """What uv says of it reaches the user, without the password, and no advice is about the requirements."""

    @pytest.fixture
    def refusing(self, project: Project) -> Iterator[Index]:
        """Give an index that wants a login."""
        make_wheel(project.wheelhouse, "alpha")
        with serving(project.wheelhouse, "me:right-secret") as index:
            yield index

    def said(self, project: Project, **indexes: str) -> str:
        environ = {name: value for name, value in project.environ.items() if not name.startswith("PIP_")}
        uv = find_uv(load_settings(project.root, {}), {**environ, "UV_HTTP_RETRIES": "0", **indexes}, project.root / "cache")
        with pytest.raises(CommandFailed) as caught:
            resolve(uv, wanted(project, "alpha"), running(), (), None)
        return str(caught.value)

    @pytest.mark.parametrize("more", [0, 1])
    def test_a_refused_login_is_told(self, project: Project, refusing: Index, more: int) -> None:
        with serving(project.root) as empty:
            others = {"UV_INDEX": empty.url()} if more else {}
            said = self.said(project, UV_DEFAULT_INDEX=refusing.url("me:wrong-secret"), **others)
        assert "authentication credentials (401 Unauthorized)" in said
        assert "try: check the login of the index" in said
        assert "secret" not in said

    def test_a_proxy_that_does_not_answer_is_told(self, project: Project) -> None:
        said = self.said(project, UV_DEFAULT_INDEX="https://packages.example/simple", HTTPS_PROXY="http://me:secret@127.0.0.1:1")
        assert "tunnel error" in said or "Connection refused" in said
        assert "check the proxy variables" in said
        assert "secret" not in said

    def test_an_unknown_failure_of_an_index_gets_no_advice(self) -> None:
        assert hint_for("error: something went wrong in a way that nobody has seen") == ""
        assert hint_for("error: Could not acquire lock\n  cause: No locks available (os error 37)").startswith(
            "set OZREPRO_CACHE"
        )
        assert hint_for("error: No solution found when resolving dependencies").startswith("change the requirements")
