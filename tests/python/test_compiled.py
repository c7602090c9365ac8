"""Wheels compiled with the real compiler against the real libraries of modules, kept, published by one of many, installed."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import stat
import subprocess
import zipfile
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from ozrepro.errors import BuildError, CommandFailed
from ozrepro.methods.reading import load_settings
from ozrepro.python import backend, compiled
from ozrepro.python.install import distributions, make_venv, site_packages
from ozrepro.python.interpreter import Interpreter, running
from ozrepro.python.packages import LockedFile, LockedPackage
from ozrepro.python.resolve import Wanted, resolve
from ozrepro.python.uv import Uv, find_uv
from tests import wheels
from tests.conftest import Project
from tests.fake_cluster import Site
from tests.fake_cluster.fixtures import site
from tests.fake_cluster.flavour import make_sdist
from tests.needs import UNPACKS
from tests.python.test_installed import loaded, module_python

__all__ = ["site"]

HERE = "linux-x86_64"
CLEAN = {"PATH": "/usr/bin:/bin"}


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def package(path: Path) -> LockedPackage:
    """Return a wheel or an sdist as it is locked."""
    name, version = path.name.removesuffix(".tar.gz").split("-")[:2]
    return LockedPackage(name.replace("_", "-"), version, (LockedFile(path.name, digest(path), path.stat().st_size),))


class TestKeeping:
    def test_the_key_of_a_compiled_wheel_does_not_depend_on_the_order_of_its_inputs(self) -> None:
        one = compiled.key({"modules": "sha256:a", "python": {"path": "/p", "version": "3.10"}, "build": ["b"]})
        assert one == compiled.key({"build": ["b"], "python": {"version": "3.10", "path": "/p"}, "modules": "sha256:a"})
        assert one != compiled.key({"modules": "sha256:b", "python": {"path": "/p", "version": "3.10"}, "build": ["b"]})
        assert len(one) == 20
        assert set(one) <= set("0123456789abcdef")

    def publish(self, folder: Path) -> Path:
        wheel = wheels.make_wheel(folder / "k", "alpha")
        note = {"name": wheel.name, "sha256": digest(wheel), "size": wheel.stat().st_size}
        (folder / "k" / compiled.NOTE).write_text(json.dumps(note))
        return wheel

    def test_a_published_wheel_is_found_by_its_key(self, tmp_path: Path) -> None:
        wheel = self.publish(tmp_path)
        assert compiled.compiled(tmp_path, "k") == LockedFile(wheel.name, digest(wheel), wheel.stat().st_size)

    @pytest.mark.parametrize("damage", ["missing", "changed", "second", "renamed", "no note", "odd note", "empty note"])
    def test_a_wheel_that_is_not_whole_is_not_found(self, tmp_path: Path, damage: str) -> None:
        wheel = self.publish(tmp_path)
        note = wheel.with_name(compiled.NOTE)
        if damage == "missing":
            wheel.unlink()
        elif damage == "changed":
            wheel.write_bytes(wheel.read_bytes() + b"\0")
        elif damage == "second":
            wheels.make_wheel(wheel.parent, "beta")
        elif damage == "renamed":
            wheel.rename(wheel.with_name("alpha-2.0-py3-none-any.whl"))
        elif damage == "no note":
            note.unlink()
        else:
            note.write_bytes(b"\xff[1]" if damage == "odd note" else b"")
        assert compiled.compiled(tmp_path, "k") is None
        assert compiled.compiled(tmp_path, "other") is None


@pytest.fixture
def gamma(project: Project, tmp_path: Path) -> tuple[Path, LockedPackage]:
    """Give a source tree whose backend asks for helper-tool, and the locked wheel of that."""
    helper = wheels.make_wheel(project.wheelhouse, "helper-tool")
    sdist = wheels.make_sdist(project.wheelhouse, "gamma")
    with backend.unpacked(sdist.as_uri(), digest(sdist)) as tree:
        tree.rename(tmp_path / "gamma-1.0")
    return tmp_path / "gamma-1.0", package(helper)


def make_gamma(uv: Uv, gamma: tuple[Path, LockedPackage], folder: Path, variables: Mapping[str, str] = CLEAN) -> LockedFile:
    return compiled.compile_wheel(uv, gamma[0], running(), [gamma[1]], variables, folder, "k")


def edit(tree: Path, old: str, new: str) -> None:
    """Change the backend of a tree."""
    path = tree / "backend.py"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@UNPACKS
class TestCompiling:
    def test_a_wheel_is_built_once_kept_whole_and_readable_and_leaves_nothing_else(
        self, uv: Uv, gamma: tuple[Path, LockedPackage], tmp_path: Path
    ) -> None:
        folder, before = tmp_path / "kept here", sorted(gamma[0].rglob("*"))
        made = make_gamma(uv, gamma, folder)
        assert compiled.compiled(folder, "k") == made
        assert sorted(path.name for path in folder.rglob("*")) == ["gamma-1.0-py3-none-any.whl", "k", compiled.NOTE]
        assert sorted(gamma[0].rglob("*")) == before
        assert all(stat.S_IMODE(path.stat().st_mode) & 0o444 == 0o444 for path in folder.rglob("*"))
        edit(gamma[0], "import helper_tool", "raise SystemExit(1)")
        assert make_gamma(uv, gamma, folder) == made

    def test_a_damaged_wheel_is_compiled_again(self, uv: Uv, gamma: tuple[Path, LockedPackage], tmp_path: Path) -> None:
        made = make_gamma(uv, gamma, tmp_path / "kept")
        (tmp_path / "kept" / "k" / made.name).write_bytes(b"damaged")
        again = make_gamma(uv, gamma, tmp_path / "kept")
        assert again.name == made.name
        assert compiled.compiled(tmp_path / "kept", "k") == again
        assert [path.name for path in (tmp_path / "kept").iterdir()] == ["k"]

    def test_the_wheel_of_the_process_that_was_first_is_taken(
        self, uv: Uv, gamma: tuple[Path, LockedPackage], tmp_path: Path
    ) -> None:
        first = make_gamma(uv, gamma, tmp_path / "first")
        there = tmp_path / "first" / "k"
        # The backend itself stands for the other process: it publishes while this one compiles.
        publish = f"__import__('shutil').copytree({str(there)!r}, {str(tmp_path / 'kept' / 'k')!r})"
        edit(gamma[0], "    import helper_tool\n", f"    import helper_tool\n    {publish}\n    helper_tool.VERSION = 'second'\n")
        assert make_gamma(uv, gamma, tmp_path / "kept") == first
        assert compiled.compiled(tmp_path / "kept", "k") == first

    def test_a_build_requirement_that_is_not_locked_is_refused(
        self, uv: Uv, gamma: tuple[Path, LockedPackage], tmp_path: Path
    ) -> None:
        for build in ([], [replace(gamma[1], name="other")]):
            with pytest.raises(BuildError, match=r"(?s)cannot compile gamma-1\.0.*helper-tool.*ozrepro lock"):
                compiled.compile_wheel(uv, gamma[0], running(), build, CLEAN, tmp_path / "kept", "k")
        assert list((tmp_path / "kept").iterdir()) == []

    def test_a_build_requirement_with_another_hash_is_refused(
        self, uv: Uv, gamma: tuple[Path, LockedPackage], tmp_path: Path
    ) -> None:
        other = replace(gamma[1], files=(replace(gamma[1].files[0], sha256="0" * 64),))
        with pytest.raises(BuildError, match=r"(?s)gamma-1\.0.*Hash mismatch"):
            compiled.compile_wheel(uv, gamma[0], running(), [other], CLEAN, tmp_path / "kept", "k")

    def test_neither_the_modules_packages_nor_their_settings_of_uv_take_part(
        self, uv: Uv, gamma: tuple[Path, LockedPackage], tmp_path: Path
    ) -> None:
        (tmp_path / "modules").mkdir()
        (tmp_path / "modules" / "helper_tool.py").write_text("VERSION = 'of the modules'\n")
        variables = {
            **CLEAN,
            "PYTHONPATH": str(tmp_path / "modules"),
            "UV_FIND_LINKS": "/nowhere",
            "UV_NO_BUILD": "1",
            "CC": "mine",
        }
        edit(gamma[0], "BUILT_WITH = {helper_tool.VERSION!r}", "BUILT_WITH = {[helper_tool.VERSION, os.environ.get('CC')]!r}")
        made = make_gamma(uv, gamma, tmp_path / "kept", variables)
        with zipfile.ZipFile(tmp_path / "kept" / "k" / made.name) as archive:
            assert archive.read("gamma.py") == b"BUILT_WITH = ['1.0', 'mine']\n"

    def test_a_failing_compilation_runs_once_and_shows_its_first_error(
        self, uv: Uv, gamma: tuple[Path, LockedPackage], tmp_path: Path
    ) -> None:
        noise = "    print('x.c:1: fatal error: mpi.h: No such file')\n    [print('line', n) for n in range(99)]\n    raise OSError('end')\n"
        begun = f"    open({str(tmp_path / 'begun')!r}, 'a').write('begun;')\n"
        edit(gamma[0], "    import helper_tool\n", begun + noise)
        with pytest.raises(BuildError) as caught:
            make_gamma(uv, gamma, tmp_path / "kept")
        assert "cannot compile gamma-1.0" in str(caught.value)
        assert "fatal error: mpi.h" in str(caught.value)
        assert "OSError: end" in str(caught.value)
        assert "line 50" not in str(caught.value)
        assert "load = […]" in caught.value.hint
        assert (tmp_path / "begun").read_text() == "begun;"


@UNPACKS
class TestInstalling:
    def test_a_compiled_wheel_is_installed_from_its_own_folder_by_hash(
        self, uv: Uv, gamma: tuple[Path, LockedPackage], tmp_path: Path
    ) -> None:
        made = make_gamma(uv, gamma, tmp_path / "kept here")
        make_venv(uv, running(), tmp_path / "env")
        locked = LockedPackage("gamma", "1.0", (LockedFile("gamma-1.0.tar.gz", "0" * 64),))
        compiled.install_compiled(uv, tmp_path / "env", [(locked, made)], [tmp_path / "kept here" / "k"], CLEAN)
        assert distributions(site_packages(tmp_path / "env")) == {"gamma": "1.0"}

    def test_another_file_in_a_compiled_wheel_s_place_is_refused(
        self, uv: Uv, gamma: tuple[Path, LockedPackage], tmp_path: Path
    ) -> None:
        place = tmp_path / "kept" / "k"
        made = make_gamma(uv, gamma, tmp_path / "kept")
        wheels.make_wheel(place, "gamma", modules={"gamma.py": "OTHER = 1\n"})
        make_venv(uv, running(), tmp_path / "env")
        with pytest.raises(CommandFailed, match="Hash mismatch"):
            compiled.install_compiled(uv, tmp_path / "env", [(LockedPackage("gamma", "1.0", ()), made)], [place], CLEAN)
        assert distributions(site_packages(tmp_path / "env")) == {}

    def test_what_uv_keeps_of_one_wheel_is_never_given_for_another_of_the_same_name(
        self, uv: Uv, gamma: tuple[Path, LockedPackage], tmp_path: Path
    ) -> None:
        place = tmp_path / "kept" / "k"
        made = make_gamma(uv, gamma, tmp_path / "kept")
        contents = []
        for name in ("one", "two"):
            make_venv(uv, running(), tmp_path / name)
            compiled.install_compiled(uv, tmp_path / name, [(LockedPackage("gamma", "1.0", ()), made)], [place], CLEAN)
            contents.append((site_packages(tmp_path / name) / "gamma.py").read_text())
            made = package(wheels.make_wheel(place, "gamma", modules={"gamma.py": "OTHER = 1\n"})).files[0]
        assert contents == ["BUILT_WITH = '1.0'\n", "OTHER = 1\n"]

    def test_each_wheel_has_its_line_and_no_wheel_is_no_call(self, uv: Uv, tmp_path: Path) -> None:
        pairs = [(LockedPackage("alpha", "1.0", ()), LockedFile("alpha-1.0-py3-none-any.whl", "a" * 64))]
        assert compiled.install_lines(pairs) == f"alpha==1.0 --hash=sha256:{'a' * 64}\n"
        compiled.install_compiled(uv, tmp_path / "no venv", [], [], CLEAN)


class TestFetching:
    @UNPACKS
    def test_the_address_of_the_locked_sdist_gives_its_tree(self, project: Project, uv: Uv) -> None:
        sdist = wheels.make_sdist(project.wheelhouse, "gamma")
        wheels.make_wheel(project.wheelhouse, "gamma")
        address = compiled.fetch_address(uv, package(sdist), running(), HERE)
        assert address == sdist.as_uri()
        with backend.unpacked(address, digest(sdist)) as tree:
            assert tree.name == "gamma-1.0"

    def test_an_sdist_of_a_direct_address_is_fetched_from_there(self, project: Project, uv: Uv) -> None:
        sdist = replace(package(wheels.make_sdist(project.root, "gamma")), url="https://host/gamma-1.0.tar.gz")
        assert compiled.fetch_address(uv, sdist, running(), HERE) == "https://host/gamma-1.0.tar.gz"

    def test_an_sdist_that_the_indexes_have_with_another_hash_is_named(self, project: Project, uv: Uv) -> None:
        locked = package(wheels.make_sdist(project.wheelhouse, "gamma"))
        other = replace(locked, files=(replace(locked.files[0], sha256="0" * 64),))
        with pytest.raises(BuildError, match=r"gamma-1\.0\.tar\.gz with the locked sha256 no longer"):
            compiled.fetch_address(uv, other, running(), HERE)


@dataclass(frozen=True)
class Workshop:
    """A uv with the machine's own indexes, a module's Python, the locked setuptools, and the source tree of `flavoured`."""

    uv: Uv
    python: Interpreter
    build: tuple[LockedPackage, ...]
    tree: Path

    def make(self, variables: Mapping[str, str], folder: Path, key: str) -> LockedFile:
        """Compile `flavoured`."""
        return compiled.compile_wheel(self.uv, self.tree, self.python, self.build, variables, folder, key)


@pytest.fixture(scope="module")
def workshop(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """Give what `flavoured` is compiled with."""
    root = tmp_path_factory.mktemp("workshop")
    uv = find_uv(load_settings(root, {}), os.environ, root / "cache")
    python = module_python(site)
    found = resolve(uv, Wanted(root, ("setuptools>=70.1",), f"=={python.minor}.*", (HERE,), HERE), python, (), None)
    sdist = make_sdist(root)
    with backend.unpacked(sdist.as_uri(), digest(sdist)) as tree:
        tree.rename(root / tree.name)
    return Workshop(uv, python, found.packages, root / "flavoured-1.0")


def flavoured(site: Site, version: str) -> dict[str, str]:
    return loaded(site, "gcc", "python", f"libflavour/{version}")


def make_at_once(workshop: Workshop, variables: dict[str, str], folder: Path) -> LockedFile:
    return workshop.make(variables, folder, "k")


@pytest.mark.network
class TestRealLibraries:
    def test_one_source_gives_a_wheel_for_each_library_linked_to_it(self, site: Site, workshop: Workshop, tmp_path: Path) -> None:
        made: dict[str, LockedFile] = {}
        for version in ("1.0", "2.0"):
            variables = flavoured(site, version)
            made[version] = workshop.make(variables, tmp_path, version)
            prefix = tmp_path / f"env {version}"
            make_venv(workshop.uv, workshop.python, prefix)
            locked = LockedPackage("flavoured", "1.0", ())
            compiled.install_compiled(workshop.uv, prefix, [(locked, made[version])], [tmp_path / version], variables)
            program = "import flavoured; print(flavoured.built(), flavoured.linked())"
            command = [str(prefix / "bin" / "python"), "-c", program]
            said = subprocess.run(command, env=variables, capture_output=True, text=True, check=True).stdout
            assert said.split() == [version, version]
            (library,) = site_packages(prefix).glob("flavoured*.so")
            read = subprocess.run(["readelf", "-d", str(library)], capture_output=True, text=True, check=True).stdout
            assert f"[libflavour.so.{version[0]}]" in read
        assert made["1.0"].sha256 != made["2.0"].sha256

    def test_the_same_inputs_give_the_same_bytes_without_debugging_information(
        self, site: Site, workshop: Workshop, tmp_path: Path
    ) -> None:
        """With it the compiler writes down the temporary folder. Not set by default: a CFLAGS of any kind turns off `-O2` of configure."""
        variables = {**flavoured(site, "1.0"), "CFLAGS": "-g0"}
        one, two = (workshop.make(variables, tmp_path / name, "k") for name in ("one", "two"))
        assert one == two

    @pytest.mark.slow
    def test_twelve_compilations_at_once_publish_one_wheel(self, site: Site, workshop: Workshop, tmp_path: Path) -> None:
        variables = flavoured(site, "2.0")
        with ProcessPoolExecutor(12, mp_context=multiprocessing.get_context("spawn")) as pool:
            waiting = [pool.submit(make_at_once, workshop, variables, tmp_path / "kept") for _ in range(12)]
            made = {task.result() for task in waiting}
        assert made == {compiled.compiled(tmp_path / "kept", "k")}
        assert [path.name for path in (tmp_path / "kept").iterdir()] == ["k"]

    def test_the_compiler_s_words_and_the_modules_are_named_where_a_library_is_missing(
        self, site: Site, workshop: Workshop, tmp_path: Path
    ) -> None:
        with pytest.raises(BuildError) as caught:
            workshop.make(loaded(site, "gcc", "python"), tmp_path / "kept", "k")
        assert "cannot compile flavoured-1.0" in str(caught.value)
        assert "fatal error: flavour.h: No such file or directory" in str(caught.value)
        assert "load = […]" in caught.value.hint
        assert list((tmp_path / "kept").iterdir()) == []

    def test_what_was_built_once_is_built_again_without_a_network(self, site: Site, workshop: Workshop, tmp_path: Path) -> None:
        workshop.make(flavoured(site, "1.0"), tmp_path / "one", "k")
        offline = replace(workshop, uv=replace(workshop.uv, variables={**workshop.uv.variables, "UV_OFFLINE": "1"}))
        assert offline.make(flavoured(site, "1.0"), tmp_path / "two", "k").is_wheel
