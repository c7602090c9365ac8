"""Bytecode that is compiled once for each package and Python: what is kept, what is taken, and what is compiled again."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ozrepro import process
from ozrepro.methods.reading import load_settings
from ozrepro.python import bytecode, install, interpreter
from ozrepro.python.interpreter import running
from ozrepro.store.manifest import Digests
from tests.conftest import Project
from tests.faststart import strace

CLEAN = {"PATH": "/usr/bin:/bin"}
MODULES = {
    "alpha/__init__.py": "",
    "alpha/deep/__init__.py": "",
    "alpha/deep/fails.py": "class C:\n    def fail(self):\n        return [1 / 0 for _ in 'a']\n",
    "beta.py": "BETA = 1\n",
    "gamma/other_python.py": "print 'of Python 2'\n",
}
TAG = running().tag


class Pretend:
    """Makes environments that hold sources and a Python, gives them their bytecode, and counts the processes for it."""

    def __init__(self, folder: Path, kept: bytecode.Kept, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.kept = kept
        self.started: list[str] = []
        real: Callable[..., process.Finished] = process.run

        def run(argv: list[str], **more: Any) -> process.Finished:
            self.started += more["text"].split("\n")[:-1]
            return real(argv, **more)

        monkeypatch.setattr("ozrepro.process.run", run)

    def fill(self, name: str, modules: dict[str, str]) -> Path:
        """Return the site-packages of a new environment."""
        prefix = self.folder / name
        site = prefix / "lib" / "python3" / "site-packages"
        (prefix / "bin").mkdir(parents=True)
        (prefix / "bin" / "python").symlink_to(running().path)
        for path, text in modules.items():
            (site / path).parent.mkdir(parents=True, exist_ok=True)
            (site / path).write_text(text)
        return site

    def provide(self, site: Path, **more: Any) -> list[str]:
        """Give a site-packages its bytecode, and return the sources that were compiled for it."""
        before = len(self.started)
        bytecode.provide(site.parents[2], site, more.pop("kept", self.kept), CLEAN, Digests(), **more)
        return sorted(self.started[before:])

    def environment(self, name: str, modules: dict[str, str] = MODULES, **more: Any) -> tuple[Path, list[str]]:
        """Return the site-packages of a new environment with its bytecode, and what was compiled."""
        site = self.fill(name, modules)
        return site, self.provide(site, **more)

    def record(self, module: str) -> Path:
        """Return the folder of the cache that has the bytecode of a module, which tells its source in its first bytes."""
        (found,) = {path.parent for path in self.kept.folder.glob("*/[0-9]*") if module.encode() in path.read_bytes()}
        return found


@pytest.fixture
def pretend(project: Project, monkeypatch: pytest.MonkeyPatch) -> Pretend:
    """Give an empty cache and what makes environments."""
    kept = bytecode.kept_for(load_settings(project.root, {}), running())
    assert kept is not None
    assert kept.linked
    return Pretend(project.root / ".ozrepro" / "gens", kept, monkeypatch)


def compiled(site: Path) -> dict[str, bytes]:
    return {str(path.relative_to(site)): path.read_bytes() for path in sorted(site.rglob("*.pyc"))}


def start(site: Path, code: str) -> str:
    done = subprocess.run(
        [running().path, "-I", "-B", "-v", "-c", f"import sys; sys.path.insert(0, {str(site)!r})\n{code}"],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


class TestASecondEnvironment:
    def test_compiles_nothing_and_has_the_same_files_under_another_name(self, pretend: Pretend) -> None:
        first, begun = pretend.environment("first")
        second, again = pretend.environment("second")
        assert (begun, again) == (sorted(MODULES), [])
        assert compiled(first) == compiled(second)
        assert sorted(compiled(first)) == [
            f"__pycache__/beta.{TAG}.pyc",
            f"alpha/__pycache__/__init__.{TAG}.pyc",
            f"alpha/deep/__pycache__/__init__.{TAG}.pyc",
            f"alpha/deep/__pycache__/fails.{TAG}.pyc",
        ]
        assert all((first / path).samefile(second / path) for path in compiled(first))

    def test_loads_that_bytecode_and_names_its_own_files_in_a_traceback(self, pretend: Pretend) -> None:
        pretend.environment("first")
        second, _ = pretend.environment("second")
        os.utime(second / "alpha" / "deep" / "fails.py", (1, 1))  # as in a copy
        said = start(second, "from alpha.deep.fails import C; C().fail()")
        assert f"matches {second}/alpha/deep/fails.py" in said
        assert f'File "{second}/alpha/deep/fails.py", line 3, in fail' in said
        assert 'File "alpha' not in said

    def test_compiles_the_packages_that_are_new_or_of_another_version(self, pretend: Pretend) -> None:
        pretend.environment("first")
        more = {**MODULES, "beta.py": "BETA = 2\n", "delta.py": ""}
        assert pretend.environment("second", more)[1] == ["beta.py", "delta.py"]
        assert pretend.environment("third", more)[1] == []
        assert pretend.environment("fourth")[1] == []

    def test_of_another_python_compiles_its_own(self, pretend: Pretend) -> None:
        pretend.environment("first")
        other = bytecode.Kept(pretend.kept.folder.with_name("other-python"), TAG, linked=True)
        assert pretend.environment("second", kept=other)[1] == sorted(MODULES)
        assert pretend.environment("third", kept=other)[1] == []

    def test_has_copies_where_the_cache_is_not_the_store_s_own(self, pretend: Pretend) -> None:
        apart = replace(pretend.kept, linked=False)
        first, _ = pretend.environment("first", kept=apart)
        second, again = pretend.environment("second", kept=apart)
        assert again == []
        assert compiled(first) == compiled(second)
        assert {path.stat().st_nlink for site in (first, second) for path in site.rglob("*.pyc")} == {1}

    def test_replaces_bytecode_that_a_wheel_brings(self, pretend: Pretend) -> None:
        brings = {**MODULES, f"__pycache__/beta.{TAG}.pyc": "old"}
        first, _ = pretend.environment("first", brings)
        second, again = pretend.environment("second", brings)
        assert again == []
        assert compiled(first) == compiled(second)
        assert b"old" not in compiled(second).values()

    def test_leaves_alone_what_conda_packages_bring_and_keeps_nothing_that_names_the_prefix(self, pretend: Pretend) -> None:
        path, place = f"__pycache__/beta.{TAG}.pyc", "gamma/place.py"
        expected = [*sorted(MODULES.keys() - {"beta.py"}), place]
        for name in ("first", "second"):
            modules = {**MODULES, path: "brought", place: f"PREFIX = '/store/{name}'\n"}
            site, begun = pretend.environment(name, modules, brought={path}, changing={place})
            assert (site / path).read_text() == "brought"
            assert begun == expected
            expected = [place]


class TestAFileOfAProject:
    def test_that_is_linked_is_compared_with_its_source_at_each_start(self, pretend: Pretend, tmp_path: Path) -> None:
        source = tmp_path / "ours.py"
        source.write_text("print('before')\n")
        site = pretend.fill("first", {"beta.py": ""})
        (site / "ours.py").symlink_to(source)
        assert pretend.provide(site) == ["beta.py", "ours.py"]
        assert "before" in start(site, "import ours")
        source.write_text("print('after the edit')\n")
        assert "after the edit" in start(site, "import ours")
        assert not [path for path in pretend.kept.folder.glob("*/[0-9]*") if b"before" in path.read_bytes()]


DAMAGES = {
    "other bytecode": "printf E | dd of=0 bs=1 seek=30 conv=notrunc",
    "bytecode that was cut": "truncate -s 20 0",
    "no bytecode": "rm 0",
    "a folder": "rm 0 && mkdir 0",
    "a link to other bytecode": "mv 0 x && printf E >> x && ln -s x 0",
    "another digest": "sed -i 2s/^...../00000/ record",
    "a record that was cut": "truncate -s -1 record",
    "no record": "rm record",
    "nothing": "rm *",
    "no folder": 'rm -r "$PWD" && touch "$PWD"',
}


@pytest.mark.parametrize("damage", DAMAGES)
class TestWhatWasChangedInTheCache:
    def test_is_never_used_and_compiled_again_once(self, pretend: Pretend, damage: str) -> None:
        apart = replace(pretend.kept, linked=False)  # or the first environment would change too
        first, _ = pretend.environment("first", kept=apart)
        subprocess.run(["sh", "-c", DAMAGES[damage]], cwd=pretend.record("beta.py"), check=True, capture_output=True)
        second, again = pretend.environment("second", kept=apart)
        third, at_last = pretend.environment("third", kept=apart)
        assert (again, at_last) == (["beta.py"], [])
        assert compiled(first) == compiled(second) == compiled(third)


class TestTheCache:
    def test_one_package_s_folder_in_the_place_of_another_s_is_not_used(self, pretend: Pretend) -> None:
        pretend.environment("first", {"one.py": "A = 1\n", "two.py": "B = 2\n"})
        one, two = pretend.record("one.py"), pretend.record("two.py")
        one.rename(one.with_name("aside"))
        two.rename(one)
        second, again = pretend.environment("second", {"one.py": "A = 1\n"})
        assert again == ["one.py"]
        assert "B" not in start(second, "import one; print(*vars(one))").splitlines()[-1].split()

    def test_that_cannot_be_written_has_all_compiled_and_nothing_said(self, pretend: Pretend) -> None:
        pretend.kept.folder.parent.mkdir(exist_ok=True)
        pretend.kept.folder.write_text("in the way")
        for name in ("first", "second"):
            site, begun = pretend.environment(name)
            assert begun == sorted(MODULES)
            assert len(compiled(site)) == 4

    @pytest.mark.parametrize("name", ["link", "mkdir", "rename"])
    def test_on_a_disk_that_fills_at_any_call_keeps_each_package_whole_or_not_at_all(
        self, pretend: Pretend, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        real, left = getattr(os, name), 0

        def fills(*words: Any, **more: Any) -> object:
            nonlocal left
            left -= 1
            if left < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*words, **more)

        for number in range(5):
            site = pretend.fill(f"{number} calls", MODULES)
            left = number
            with monkeypatch.context() as patched:
                patched.setattr(os, name, fills)
                pretend.provide(site)
            assert len(compiled(site)) == 4
            later, _ = pretend.environment(f"after {number} calls")
            assert compiled(later).keys() == compiled(site).keys()
            assert pretend.environment(f"again after {number} calls")[1] == []
            shutil.rmtree(pretend.kept.folder)

    def test_is_filled_by_many_at_once(self, pretend: Pretend) -> None:
        sites = [pretend.fill(str(number), MODULES) for number in range(6)]
        with ThreadPoolExecutor(max_workers=6) as pool:
            list(pool.map(pretend.provide, sites))
        assert {len(compiled(site)) for site in sites} == {4}
        assert pretend.environment("last")[1] == []
        assert [path.name for path in pretend.kept.folder.iterdir() if path.name.startswith(".")] == []

    def test_loses_what_a_killed_process_left_after_a_day(self, pretend: Pretend) -> None:
        left, fresh = pretend.kept.folder / ".left", pretend.kept.folder / ".fresh"
        for folder in (left, fresh):
            folder.mkdir(parents=True)
        os.utime(left, (1, 1))
        pretend.environment("first")
        assert (left.exists(), fresh.exists()) == (False, True)


class TestItsFolder:
    def test_says_which_python_compiles(self, project: Project) -> None:
        settings, here = load_settings(project.root, {}), running()
        asked = interpreter.ask(here.path)
        assert asked is not None
        names = [kept.folder.name for python in (here, asked) if (kept := bytecode.kept_for(settings, python))]
        assert names == [f"{here.tag}-{here.magic}-{here.version}"] * 2
        other = bytecode.kept_for(settings, replace(here, magic="00000d0a"))
        assert other is not None
        assert other.folder.name not in names

    def test_is_none_for_a_python_that_nobody_asked_or_that_answers_with_a_path(self, project: Project) -> None:
        settings, here = load_settings(project.root, {}), running()
        assert bytecode.kept_for(settings, interpreter.recorded("bin/python", "3.12.4")) is None
        assert bytecode.kept_for(settings, replace(here, tag="../../elsewhere")) is None


@pytest.mark.skipif(bool(strace.why_not()), reason=strace.why_not() or "it works")
def test_another_session_with_the_same_packages_compiles_nothing_and_verifies(built: Project) -> None:
    first = install.site_packages(built.prefix())
    built.spec('imports = ["alpha"]\n\n[venv]\nrequirements = ["alpha", "beta"]\n', "other")
    built.done("lock", "other")
    words = built.run("strace", "-f", "-qq", "-s", "500", "-e", "trace=execve", "ozrepro", "build", "other")
    assert words.returncode == 0, words.stderr
    assert "bin/python" in words.stderr
    assert "compiling.py" not in words.stderr
    assert built.done("verify", "other")
    second = install.site_packages(built.prefix_of("other"))
    assert first != second
    assert compiled(first).keys() == compiled(second).keys()
    assert all((first / path).samefile(second / path) for path in compiled(first))
