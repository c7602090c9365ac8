"""Installing locked files with the real uv, and the checks that follow."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from ozrepro.errors import BuildError, CommandFailed, StoreError
from ozrepro.python import install
from ozrepro.python.interpreter import running
from ozrepro.python.packages import LockedFile, LockedPackage
from ozrepro.python.uv import Uv
from ozrepro.store import manifest
from ozrepro.store.publish import take_whole
from tests.conftest import Project
from tests.wheels import make_wheel


def locked(wheel: Path, *, marker: str = "") -> LockedPackage:
    name, version = wheel.name.split("-")[:2]
    sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
    return LockedPackage(name, version, (LockedFile(wheel.name, sha256, wheel.stat().st_size),), marker)


@pytest.fixture
def prefix(project: Project, uv: Uv) -> Path:
    """Give an empty venv."""
    folder = project.root / "env"
    install.make_venv(uv, running(), folder)
    return folder


def quiet(step: str, done: int, total: int) -> None:
    pass


def put(uv: Uv, prefix: Path, *packages: LockedPackage) -> tuple[install.Chosen, ...]:
    chosen = install.choose_files(packages, running())
    install.install(uv, prefix, chosen, (), quiet)
    return chosen


def _alpha(project: Project, harm: str = "") -> Path:
    modules = {"alpha/__init__.py": "A = 1\n", "alpha/more.py": "B = 1\n", "alpha/harm.py": harm}
    return make_wheel(project.wheelhouse, "alpha", modules=modules)


def _harm(folder: Path) -> None:
    (folder / "alpha" / "more.py").unlink()
    (folder / "alpha" / "__init__.py").unlink()
    (folder / "alpha" / "__init__.py").write_text("A = 2\n")


def check(uv: Uv, prefix: Path, chosen: tuple[install.Chosen, ...], *imports: str) -> None:
    install.check(prefix, install.Expected(chosen, "", imports, running().markers), {"PATH": "/usr/bin:/bin"})


class TestChoosing:
    def test_the_best_wheel_for_this_python_is_taken(self) -> None:
        minor = running().minor.replace(".", "")
        files = tuple(
            LockedFile(f"alpha-1-{tag}.whl", "0" * 64)
            for tag in ("py3-none-any", f"cp{minor}-cp{minor}-linux_x86_64", "cp38-cp38-linux_x86_64")
        )
        chosen = install.choose_files([LockedPackage("alpha", "1", files)], running())
        assert chosen[0].file == files[1]

    def test_a_package_whose_marker_does_not_apply_is_left_out(self) -> None:
        package = LockedPackage("alpha", "1", (LockedFile("alpha-1-py3-none-any.whl", "0" * 64),), "sys_platform == 'win32'")
        assert install.choose_files([package], running()) == ()

    def test_all_packages_without_a_file_for_this_python_are_named(self) -> None:
        packages = [
            LockedPackage(name, "1", (LockedFile(f"{name}-1-cp38-cp38-win_amd64.whl", "0" * 64),)) for name in ("alpha", "beta")
        ]
        with pytest.raises(BuildError, match=r"(?s)alpha 1 has no file.*beta 1 has no file"):
            install.choose_files(packages, running())


class TestInstalling:
    def test_locked_files_are_installed_and_pass_the_checks(self, project: Project, uv: Uv, prefix: Path) -> None:
        chosen = put(uv, prefix, locked(make_wheel(project.wheelhouse, "alpha")))
        check(uv, prefix, chosen, "alpha")
        assert install.distributions(install.site_packages(prefix)) == {"alpha": "1.0"}

    def test_a_file_with_another_hash_is_refused_and_nothing_is_installed(self, project: Project, uv: Uv, prefix: Path) -> None:
        package = locked(make_wheel(project.wheelhouse, "alpha"))
        make_wheel(project.wheelhouse, "alpha", modules={"alpha.py": "EVIL = 1\n"})
        with pytest.raises(CommandFailed, match="Hash mismatch"):
            put(uv, prefix, package)
        assert install.distributions(install.site_packages(prefix)) == {}

    def test_a_file_that_no_index_has_is_named_with_what_to_set(self, project: Project, uv: Uv, prefix: Path) -> None:
        package = locked(make_wheel(project.wheelhouse / "elsewhere", "alpha"))
        with pytest.raises(CommandFailed, match=r"(?s)alpha.*PIP_FIND_LINKS"):
            put(uv, prefix, package)


class TestChecking:
    def test_a_missing_distribution_is_found(self, project: Project, uv: Uv, prefix: Path) -> None:
        put(uv, prefix, locked(make_wheel(project.wheelhouse, "alpha")))
        both = install.choose_files([locked(make_wheel(project.wheelhouse, n)) for n in ("alpha", "beta")], running())
        with pytest.raises(BuildError, match=r"beta 1\.0 is not installed"):
            check(uv, prefix, both)

    def test_a_distribution_that_is_not_locked_is_found(self, project: Project, uv: Uv, prefix: Path) -> None:
        put(uv, prefix, locked(make_wheel(project.wheelhouse, "alpha")))
        with pytest.raises(BuildError, match=r"alpha 1\.0 is installed but not locked"):
            check(uv, prefix, ())

    def test_a_changed_file_and_a_missing_file_are_found_before_any_module_runs(
        self, project: Project, uv: Uv, prefix: Path
    ) -> None:
        chosen, folder = put(uv, prefix, locked(_alpha(project))), install.site_packages(prefix)
        _harm(folder)
        with pytest.raises(BuildError) as caught:
            install.check_contents(uv, prefix, (), install.archives(chosen, ()), manifest.Digests())
        assert "alpha/__init__.py: is not the recorded file" in str(caught.value)
        assert "alpha/more.py: No such file" in str(caught.value)

    def test_a_file_that_is_changed_or_gone_after_the_imports_were_tried_is_found_as_it_is_published(
        self, project: Project, uv: Uv, prefix: Path
    ) -> None:
        before, digests = manifest.take(prefix), manifest.Digests()
        harm = (
            "import os\nfolder = os.path.dirname(__file__)\n"
            "for name in ('__init__.py', 'more.py'):\n    os.unlink(os.path.join(folder, name))\n"
            "open(os.path.join(folder, '__init__.py'), 'w').write('A = 2')\n"
        )
        chosen = put(uv, prefix, locked(_alpha(project, harm)))
        install.check_contents(uv, prefix, before, install.archives(chosen, ()), digests)
        wanted = install.Expected(chosen, "", ("alpha.harm",), running().markers)
        install.check(prefix, wanted, {"PATH": "/usr/bin:/bin"}, digests)
        with pytest.raises(StoreError) as caught:
            take_whole(prefix, digests)
        said = str(caught.value)
        assert "files were changed after they had been installed and checked" in said
        assert "site-packages/alpha/__init__.py: was changed" in said
        assert "site-packages/alpha/more.py: No such file" in said

    def test_a_requirement_that_is_not_met_is_found(self, project: Project, uv: Uv, prefix: Path) -> None:
        chosen = put(uv, prefix, locked(make_wheel(project.wheelhouse, "alpha", requires=("beta>2",))))
        with pytest.raises(BuildError, match="beta"):
            check(uv, prefix, chosen)

    def test_an_import_that_fails_is_found_whatever_it_raises(self, project: Project, uv: Uv, prefix: Path) -> None:
        modules = {"alpha.py": "raise SystemExit(0)\n", "beta.py": "import nothing_like_it\n"}
        chosen = put(uv, prefix, locked(make_wheel(project.wheelhouse, "alpha", modules=modules)))
        with pytest.raises(BuildError) as caught:
            check(uv, prefix, chosen, "alpha", "beta")
        assert "import alpha: SystemExit" in str(caught.value)
        assert "import beta: ModuleNotFoundError: No module named 'nothing_like_it'" in str(caught.value)

    def test_bytecode_shipped_by_a_wheel_may_be_replaced(self, project: Project, uv: Uv, prefix: Path) -> None:
        tag = running().minor.replace(".", "")
        modules = {"alpha/__init__.py": "A = 1\n", f"alpha/__pycache__/__init__.cpython-{tag}.pyc": "not bytecode"}
        chosen = put(uv, prefix, locked(make_wheel(project.wheelhouse, "alpha", modules=modules)))
        check(uv, prefix, chosen, "alpha")
