"""The venv method from a wheelhouse: locked, built, refused, rebuilt."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ozrepro.methods.reading import load_lock
from ozrepro.project.toml import loads
from tests.conftest import Project
from tests.wheels import make_sdist, make_wheel

PYPROJECT = """
[project]
name = "our-own"
version = "0.3"
dependencies = ["beta"]
[project.optional-dependencies]
more = ["alpha"]
[build-system]
requires = ["helper-tool"]
build-backend = "backend"
backend-path = ["."]
"""
EDITABLE = """
import base64, hashlib, os, zipfile


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    import helper_tool

    info = "our_own-0.3.dist-info"
    files = {
        "our_own.pth": os.getcwd() + "\\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\\nName: our-own\\nVersion: 0.3\\nRequires-Dist: beta\\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\\nGenerator: tests\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
    }
    record = ""
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={digest},{len(text.encode())}\\n"
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\\n"
    name = "our_own-0.3-0.editable-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(wheel_directory, name), "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return name
"""


@pytest.fixture
def own(project: Project) -> Project:
    """Give a project that installs itself, with a build backend that needs a package."""
    make_wheel(project.wheelhouse, "alpha")
    make_wheel(project.wheelhouse, "beta")
    make_wheel(project.wheelhouse, "helper-tool", "1.2")
    (project.root / "pyproject.toml").write_text(PYPROJECT)
    (project.root / "backend.py").write_text(EDITABLE)
    (project.root / "our_own_code.py").write_text("WHERE = __file__\n")
    project.spec('imports = ["our_own_code", "alpha"]\n[venv]\nrequirements = ["-e .[more]"]\n')
    return project


class TestTheProjectItself:
    def test_the_project_is_installed_last_and_editable_with_locked_build_tools(self, own: Project) -> None:
        own.done("lock")
        lock = load_lock(own.root, "work")
        assert lock is not None
        content = lock.sections[0].content
        assert content["project"] == {"name": "our-own", "extras": ["more"]}
        assert [item["name"] for item in content["package"]] == ["alpha", "beta"]
        assert [item["name"] for item in content["build"]] == ["helper-tool"]
        assert str(own.root) not in own.lock().read_text()
        own.done("build")
        assert own.done("run", "work", "--", "python", "-c", "import our_own_code; print(our_own_code.WHERE)").strip() == str(
            own.root / "our_own_code.py"
        )

    def test_a_build_requirement_of_the_project_with_another_hash_is_refused(self, own: Project) -> None:
        own.done("lock")
        make_wheel(own.wheelhouse, "helper-tool", "1.2", modules={"helper_tool.py": "EVIL = 1\n"})
        failed = own.ozrepro("build", OZREPRO_CACHE="an empty cache")
        assert failed.returncode == 1
        assert "Hash mismatch for `helper-tool==1.2`" in failed.stderr

    def test_a_change_of_the_project_s_dependencies_makes_the_lock_out_of_date(self, own: Project) -> None:
        own.done("lock")
        own.done("build")
        (own.root / "pyproject.toml").write_text(PYPROJECT.replace('["beta"]', '["beta", "alpha"]'))
        refused = own.ozrepro("run", "work", "--", "true")
        assert refused.returncode == 3
        assert "pyproject.toml changed since venv.any was locked" in refused.stderr

    def test_an_extra_that_the_project_lacks_is_a_mistake_of_the_spec(self, own: Project) -> None:
        own.spec('[venv]\nrequirements = ["-e .[mroe]"]\n')
        failed = own.ozrepro("lock")
        assert failed.returncode == 2
        assert "-e .: our-own has no extra 'mroe'; did you mean 'more'?" in failed.stderr

    def test_an_extra_of_the_project_may_be_spelt_in_another_way(self, own: Project) -> None:
        own.spec('[venv]\nrequirements = ["-e .[MORE]"]\n')
        own.done("lock")


class TestSourceArchives:
    def test_a_package_named_in_build_is_compiled_with_locked_tools(self, project: Project) -> None:
        make_sdist(project.wheelhouse, "gamma")
        make_wheel(project.wheelhouse, "helper-tool", "1.2")
        project.spec('imports = ["gamma"]\n[venv]\nrequirements = ["gamma"]\nbuild = ["gamma"]\n')
        project.done("lock")
        make_wheel(project.wheelhouse, "helper-tool", "1.3")
        project.done("build")
        assert project.done("run", "work", "--", "python", "-c", "import gamma; print(gamma.BUILT_WITH)") == "1.2\n"

    def test_a_compiled_package_is_not_reused_from_a_build_with_other_tools(self, project: Project) -> None:
        make_sdist(project.wheelhouse, "gamma")
        make_wheel(project.wheelhouse, "helper-tool", "1.2")
        project.spec('[venv]\nrequirements = ["gamma"]\nbuild = ["gamma"]\n')
        project.done("lock")
        project.done("build")
        make_wheel(project.wheelhouse, "helper-tool", "1.3")
        project.done("lock", "--upgrade")
        project.done("build")
        assert project.done("run", "work", "--", "python", "-c", "import gamma; print(gamma.BUILT_WITH)") == "1.3\n"

    def test_a_name_in_build_that_nothing_requires_is_refused(self, small: Project) -> None:
        small.spec('[venv]\nrequirements = ["alpha"]\nbuild = ["gamma"]\n')
        failed = small.ozrepro("lock")
        assert failed.returncode == 1
        assert "build names what nothing requires: gamma" in failed.stderr


def test_the_same_spec_and_index_give_the_same_bytes(small: Project) -> None:
    small.done("lock")
    first = small.lock().read_bytes()
    small.lock().unlink()
    small.done("lock")
    assert small.lock().read_bytes() == first


def test_a_lock_with_nothing_to_change_does_not_resolve_again(small: Project) -> None:
    small.done("lock")
    shutil.rmtree(small.wheelhouse)
    assert "unchanged" in small.done("lock")


def test_new_packages_are_not_taken_before_an_upgrade(small: Project) -> None:
    small.done("lock")
    make_wheel(small.wheelhouse, "beta", "9.0")
    small.spec('imports = ["alpha"]\n[venv]\nrequirements = ["alpha", "beta"]\n')
    small.done("lock")
    assert 'version = "1.5"' in small.lock().read_text()
    small.done("lock", "--upgrade", "beta")
    assert 'version = "9.0"' in small.lock().read_text()


def test_a_requirement_file_is_part_of_what_the_lock_answers(small: Project) -> None:
    needs = small.root / "my needs.txt"
    needs.write_text("alpha\n")
    small.spec('[venv]\nrequirements = ["-r my needs.txt"]\n')
    small.done("lock")
    small.done("build")
    small.done("run", "work", "--", "true")
    needs.write_text("alpha\nbeta\n")
    refused = small.ozrepro("run", "work", "--", "true")
    assert refused.returncode == 3
    assert "my needs.txt changed since venv.any was locked" in refused.stderr


def test_a_missing_requirement_file_is_a_mistake_of_the_spec(small: Project) -> None:
    small.spec('[venv]\nrequirements = ["-r gone.txt"]\n')
    refused = small.ozrepro("lock")
    assert refused.returncode == 2
    assert "venv.requirements: gone.txt: No such file or directory" in refused.stderr


def test_a_file_of_a_published_environment_cannot_be_changed_by_accident(built: Project) -> None:
    folder = next((built.prefix() / "lib").glob("python3*/site-packages"))
    assert not (folder / "alpha.py").stat().st_mode & 0o222


def test_an_environment_whose_check_fails_is_not_published(small: Project) -> None:
    small.spec('imports = ["alpha", "nothing_like_it"]\n[venv]\nrequirements = ["alpha"]\n')
    small.done("lock")
    failed = small.ozrepro("build")
    assert failed.returncode == 1
    assert "import nothing_like_it: ModuleNotFoundError" in failed.stderr
    assert list((small.store() / "names").iterdir()) == []
    assert list((small.store() / "gens").iterdir()) == []
    assert list((small.store() / "trash").iterdir()) == []


def test_one_lock_serves_through_another_wheelhouse(built: Project, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    built.wheelhouse.rename(moved)
    shutil.rmtree(built.store() / "cache")
    built.done("build", "--rebuild", PIP_FIND_LINKS=str(moved))


def test_a_rebuild_needs_nothing_but_the_cache(built: Project) -> None:
    shutil.rmtree(built.wheelhouse)
    built.wheelhouse.mkdir()
    failed = built.ozrepro("build", "--rebuild")
    assert failed.returncode in (0, 1)  # uv keeps no copy of a wheelhouse's own files; an index's are kept (test_index.py)
    assert json.loads(built.done("status", "--json"))["sessions"][0]["methods"][0]["environment"].startswith("built")


def test_an_extra_that_a_package_lacks_is_told_when_locking(small: Project) -> None:
    small.spec('[venv]\nrequirements = ["alpha[tabel]"]\n')
    done = small.ozrepro("lock")
    assert done.returncode == 0
    assert "ozrepro: work: warning: The package `alpha==1.0` does not have an extra named `tabel`" in done.stderr


def test_files_that_files_name_and_groups_are_locked_and_decide_whether_the_lock_is_up_to_date(project: Project) -> None:
    """A line goes on behind a backslash, a constraint adds nothing, and each file is compared by a start."""
    for name in ("alpha", "beta", "gamma", "delta"):
        make_wheel(project.wheelhouse, name, "1.0")
        make_wheel(project.wheelhouse, name, "2.0")
    (project.root / "reqs" / "sub").mkdir(parents=True)
    (project.root / "reqs" / "base.txt").write_text("alpha \\\n  >=1\n-r sub/more.txt\n-c ../limits.txt\n")
    (project.root / "reqs" / "sub" / "more.txt").write_text("beta\n-r ../base.txt\n")
    limits = project.root / "limits.txt"
    limits.write_text("beta<2\ndelta<2\n")
    groups = project.root / "pyproject.toml"
    groups.write_text('[dependency-groups]\ndev = [{include-group = "more"}]\nmore = ["gamma<2"]\n')
    project.spec('[venv]\nrequirements = ["-r reqs/base.txt", "--group dev"]\n')
    project.done("lock")
    found = {package["name"]: package["version"] for package in loads(project.lock().read_text())["venv"]["any"]["package"]}
    assert found == {"alpha": "2.0", "beta": "1.0", "gamma": "1.0"}
    project.done("run", "work", "--", "python", "-c", "import alpha, beta, gamma")
    for path in (limits, groups, project.root / "reqs" / "sub" / "more.txt"):
        text = path.read_text()
        path.write_text(text.replace("gamma<2", "gamma") if path == groups else f"{text}alpha<9\n")
        for words in (("lock", "--check"), ("run", "work", "--", "true")):
            assert project.ozrepro(*words).returncode == 3, path
        path.write_text(text)
    project.done("lock", "--check")


def test_a_lock_named_as_a_requirement_file_is_refused_as_what_it_is(project: Project) -> None:
    (project.root / "poetry.lock").write_text('# This file is automatically @generated by Poetry 2.1\n[[package]]\nname = "six"\n')
    project.spec('[venv]\nrequirements = ["-r poetry.lock"]\n')
    refused = project.ozrepro("lock")
    assert refused.returncode == 2
    assert "is a poetry.lock, which -r does not take; remove the line, then poetry export" in refused.stderr
    assert "conda" not in refused.stderr
