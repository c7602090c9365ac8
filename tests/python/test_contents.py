"""What wheels do to an environment that is not theirs, and what somebody did to uv's cache: found before any of it runs."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from pathlib import Path

import pytest

from tests.conftest import Project
from tests.wheels import make_wheel


def describe(project: Project, *requirements: str) -> None:
    """Describe and lock a session of these packages."""
    project.spec(f"[venv]\nrequirements = {json.dumps(requirements)}\n")
    project.done("lock", "work")


def refused(project: Project) -> str:
    """Return what a build said that was refused, and left nothing behind."""
    finished = project.ozrepro("build", "work")
    assert finished.returncode == 1, finished.stderr
    assert list((project.store() / "names").iterdir()) == list((project.store() / "gens").iterdir()) == []
    return finished.stderr


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("evil-1.0.data/data/pyvenv.cfg", "home = /usr/bin\ninclude-system-site-packages = true\n"),
        ("evil-1.0.data/data/bin/activate", "echo HIJACK\n"),
        ("evil-1.0.data/scripts/activate.fish", "echo HIJACK\n"),
    ],
)
def test_a_wheel_that_replaces_what_the_environment_has_itself_is_refused_by_name(project: Project, path: str, text: str) -> None:
    make_wheel(project.wheelhouse, "evil", modules={"evil.py": "", path: text})
    describe(project, "evil")
    said = refused(project)
    name = os.path.basename(path)
    assert "evil 1.0 replaces" in said
    assert f"{name}, which is the environment's own" in said
    assert "fetched again" not in said


def test_two_wheels_with_different_files_of_one_name_are_refused(project: Project) -> None:
    make_wheel(project.wheelhouse, "alpha", modules={"alpha.py": "A = 1\n", "both/__init__.py": ""})
    make_wheel(project.wheelhouse, "beta", modules={"beta.py": "", "both/__init__.py": ""})
    make_wheel(project.wheelhouse, "gamma", modules={"gamma.py": "", "alpha.py": "HIJACK = 1\n"})
    describe(project, "alpha", "beta")
    project.done("build", "work")
    project.done("store", "gc", "--yes")
    describe(project, "alpha", "gamma")
    finished = project.ozrepro("build", "work")
    assert finished.returncode == 1
    assert "alpha 1.0 and gamma 1.0 each bring another lib/python3" in finished.stderr
    assert "alpha.py" in finished.stderr


def test_a_file_that_a_wheel_does_not_record_is_recorded_by_uv_and_compared_from_then_on(project: Project) -> None:
    make_wheel(project.wheelhouse, "alpha", unlisted={"alpha.pth": "# nothing\n"})
    describe(project, "alpha")
    project.done("build", "work")
    poison(project.store() / "cache", "alpha.pth", "import os\n")
    assert "fetched again" in project.ozrepro("build", "work", "--rebuild").stderr


def poison(cache: Path, module: str, text: str, *, record: bool = True) -> None:
    """Change a module in every unpacked wheel of uv's cache, with its row in RECORD, as somebody with a hand on the cache may."""
    hit = 0
    for path in cache.rglob(module):
        for listing in path.parent.glob("*.dist-info/RECORD"):
            _replace(path, text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            rows = [line for line in listing.read_text().splitlines() if not line.startswith(f"{module},")]
            if record:
                _replace(listing, "\n".join((*rows, f"{module},sha256={digest},{len(text)}")) + "\n")
            hit += 1
    assert hit


def _replace(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    path.write_text(text)


class TestPoisonedCache:
    POISON = "import os; open(os.environ['HOME'] + '/ran', 'w')\n"

    def assert_found(self, project: Project, **more: str) -> None:
        finished = project.ozrepro("build", "work", "--rebuild", **more)
        assert finished.returncode == 0, finished.stderr
        assert "the packages are fetched again" in finished.stderr
        assert not Path(project.environ["HOME"], "ran").exists()
        assert project.done("run", "work", "--", "python", "-c", "import alpha; print(alpha.VERSION)", **more) == "1.0\n"
        assert "fetched again" not in project.ozrepro("build", "work", "--rebuild", **more).stderr

    @pytest.mark.parametrize("record", [True, False])
    def test_a_changed_module_with_its_record_is_found_before_it_runs(self, built: Project, record: bool) -> None:
        poison(built.store() / "cache", "alpha.py", self.POISON, record=record)
        self.assert_found(built)

    def test_an_added_module_that_runs_at_each_start_is_found(self, built: Project) -> None:
        (archive,) = [path.parent for path in (built.store() / "cache").rglob("alpha.py")]
        (archive / "more.pth").write_text(self.POISON.replace("\n", ""))
        self.assert_found(built)

    def test_an_emptied_digest_in_a_record_does_not_hide_a_changed_file(self, built: Project) -> None:
        poison(built.store() / "cache", "alpha.py", self.POISON)
        for listing in (built.store() / "cache").rglob("alpha-1.0.dist-info/RECORD"):
            rows = [
                line.partition(",")[0] + ",," if line.startswith("alpha.py") else line
                for line in listing.read_text().splitlines()
            ]
            _replace(listing, "\n".join(rows) + "\n")
        self.assert_found(built)

    def test_a_changed_file_is_found_in_a_cache_that_another_project_has_filled(self, small: Project, tmp_path: Path) -> None:
        own = {"OZREPRO_CACHE": str(tmp_path / "cache")}
        small.done("lock", "work", **own)
        small.done("build", "work", **own)
        poison(tmp_path / "cache", "alpha.py", self.POISON)
        (small.store() / "names").rename(tmp_path / "names")
        (small.store() / "names").mkdir()
        self.assert_found(small, **own)

    def test_a_package_that_changes_a_file_of_its_own_as_it_is_imported_is_not_published(self, project: Project) -> None:
        code = "import os\npath = os.path.join(os.path.dirname(__file__), 'alpha.txt')\nos.unlink(path)\nopen(path, 'w').write('2')\n"
        make_wheel(project.wheelhouse, "alpha", modules={"alpha.py": code, "alpha.txt": "1"})
        project.spec('imports = ["alpha"]\n[venv]\nrequirements = ["alpha"]\n')
        project.done("lock", "work")
        failed = project.ozrepro("build", "work")
        assert failed.returncode == 1
        assert "files were changed after they had been installed and checked" in failed.stderr
        assert "site-packages/alpha.txt" in failed.stderr

    def test_scripts_that_name_their_python_have_the_digest_of_their_archive_under_any_path(self, project: Project) -> None:
        script = {"alpha.py": "VERSION = '1.0'\n", "alpha-1.0.data/scripts/tool": "#!python\nprint(1)\n"}
        make_wheel(project.wheelhouse, "alpha", modules=script)
        describe(project, "alpha")
        cache = {"OZREPRO_CACHE": str(project.root.parent / "cache")}
        for store in ("s", "long" * 40):
            place = {"OZREPRO_STORE": str(project.root.parent / store), **cache}
            finished = project.ozrepro("build", "work", **place)
            assert finished.returncode == 0
            assert "fetched again" not in finished.stderr
            assert project.done("run", "work", "--", "tool", **place) == "1\n"
