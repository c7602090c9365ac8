"""What a venv finds outside itself: listed, resolved against with the real uv, and checked."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ozrepro.errors import CommandFailed
from ozrepro.methods.reading import load_settings
from ozrepro.modulesystem.lmod_output import read
from ozrepro.project.toml import loads
from ozrepro.python.install import make_venv
from ozrepro.python.installed import Distribution, constraints, demanded, distributions, search_path, stub_wheels, tolerant, unmet
from ozrepro.python.interpreter import Interpreter, ask, running
from ozrepro.python.resolve import Wanted, compile_lines, workspace
from ozrepro.python.uv import Uv, find_uv
from tests.conftest import Project
from tests.fake_cluster import Site
from tests.fake_cluster.fixtures import site
from tests.wheels import make_wheel

__all__ = ["site"]

HERE = "linux-x86_64"
MARKERS = running().markers
CLEAN = {"PATH": "/usr/bin:/bin"}


def loaded(site: Site, *names: str) -> dict[str, str]:
    """Return the variables that these modules give, as a real load has them."""
    said = site.lmod("load", *(site.names.get(name, name) for name in names), shell="bash")
    found = read(said.stdout, said.stderr)
    assert said.returncode == 0, said.stderr
    return {name: value for name, value in {**site.environ(), **found.values}.items() if name not in found.deleted}


def module_python(site: Site) -> Interpreter:
    """Return the Python behind the site's modules."""
    found = ask(site.python)
    assert found is not None
    return found


def put(folder: Path, entry: str, files: Mapping[str, bytes | str]) -> None:
    """Write a distribution's metadata, as bytes where it is to be broken."""
    for name, content in files.items():
        path = folder / entry / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def listed(found: Mapping[str, Distribution]) -> dict[str, str]:
    return {name: item.version for name, item in found.items()}


class TestSearchPath:
    def test_the_search_path_holds_each_existing_folder_once_in_order(self, tmp_path: Path) -> None:
        noisy, plain = tmp_path / "noisy", tmp_path / "pl ain ü"
        for folder in (noisy, plain):
            folder.mkdir()
        (noisy / "sitecustomize.py").write_text(
            "import atexit, sys\nprint('noise', end='')\natexit.register(print, 'more')\nsys.stdout = sys.stderr\n"
        )
        (tmp_path / "file.zip").write_text("")
        entries = [noisy, "", tmp_path / "gone", plain, tmp_path / "file.zip", noisy]
        found = search_path(sys.executable, {**CLEAN, "PYTHONPATH": ":".join(map(str, entries))})
        assert found[:2] == (str(noisy), str(plain))
        assert len(set(found)) == len(found)
        assert all(os.path.isdir(folder) for folder in found)

    def test_an_interpreter_that_fails_is_named(self) -> None:
        with pytest.raises(CommandFailed, match="cannot ask /bin/false"):
            search_path("/bin/false", CLEAN)


class TestDistributions:
    def test_wheels_eggs_and_distutils_files_are_found_with_what_they_require(self, tmp_path: Path) -> None:
        put(
            tmp_path,
            "Al_pha-1.0.dist-info",
            {"METADATA": "Name: Al.pha\nVersion: 1.0\nRequires-Dist: beta >1\nProvides-Extra: x\n"},
        )
        put(tmp_path, "beta.egg-info", {"PKG-INFO": "Name: beta\nVersion: 2.0\n", "requires.txt": "six\n\n[fast]\nomega>1\n"})
        (tmp_path / "gamma-3.egg-info").write_text("Name: gamma\nVersion: 3\n")
        egg = tmp_path / "delta-4-py3.egg"
        put(egg, "EGG-INFO", {"PKG-INFO": "Name: delta\nVersion: 4\n"})
        found = distributions([str(tmp_path), str(egg)])
        assert listed(found) == {"al-pha": "1.0", "beta": "2.0", "gamma": "3", "delta": "4"}
        assert found["al-pha"] == Distribution("al-pha", "1.0", str(tmp_path), ("beta >1",), ("x",))
        assert found["beta"].requires == ("six", 'omega>1; extra == "fast"')
        assert found["delta"].folder == str(egg)

    def test_the_first_folder_on_the_path_counts(self, tmp_path: Path) -> None:
        for version in ("1", "2"):
            put(tmp_path / version, f"alpha-{version}.dist-info", {"METADATA": f"Name: alpha\nVersion: {version}\n"})
        folders = [str(tmp_path / name) for name in ("gone", "2", "1")]
        assert listed(distributions(folders)) == {"alpha": "2"}

    def test_what_no_requirement_could_name_is_left_out(self, tmp_path: Path) -> None:
        put(tmp_path, "alpha-x.dist-info", {"METADATA": "Name: alpha\nVersion: 2022a-foss\n"})
        put(tmp_path, "beta-1.dist-info", {"METADATA": "Version: 1\n"})
        put(tmp_path, "gamma-1.dist-info", {"METADATA": "Name: ga mma\nVersion: 1\n"})
        put(tmp_path, "~elta-1.dist-info", {"METADATA": "Name: delta\nVersion: 1\n"})
        (tmp_path / "empty-1.dist-info").mkdir()
        assert distributions([str(tmp_path)]) == {}

    def test_an_author_in_another_encoding_does_not_hide_a_distribution(self, tmp_path: Path) -> None:
        put(tmp_path, "alpha.egg-info", {"PKG-INFO": "Name: alpha\nAuthor: Jürgen\nVersion: 1.0\n".encode("latin-1")})
        assert listed(distributions([str(tmp_path)])) == {"alpha": "1.0"}

    @settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        st.binary(max_size=40) | st.text("NameVrsio: 1.\n\r\x00\x0c \t>=;[]", max_size=60).map(str.encode), st.binary(max_size=20)
    )
    def test_no_metadata_of_a_distribution_raises(self, tmp_path: Path, content: bytes, requires: bytes) -> None:
        put(tmp_path, "a.dist-info", {"METADATA": b"Name: a\nVersion: 1\n" + content})
        put(tmp_path, "b.egg-info", {"PKG-INFO": content, "requires.txt": requires})
        put(tmp_path, "c.egg-info", {"PKG-INFO": b"Name: c\nVersion: 1\n", "requires.txt": requires})
        found = distributions([str(tmp_path)])
        stub_wheels(found, tmp_path / "stubs")
        unmet(found, found, MARKERS)


def base(*items: Distribution) -> dict[str, Distribution]:
    return {item.name: item for item in items}


NUMPY = Distribution("numpy", "1.22.3", "/m")
BETA = Distribution("beta", "1.5+foss", "/m")


class TestStubs:
    def test_a_stub_has_the_metadata_that_decides_a_resolution_and_always_the_same_bytes(self, tmp_path: Path) -> None:
        item = Distribution(
            "al-pha", "1!2.0rc1+foss.1", "/m", ("beta>1 ; extra=='x'", "b[", "c @ https://host/c.whl", "d\nName: e"), ("x", "?")
        )
        for name in ("one", "two"):
            stub_wheels(base(item), tmp_path / name)
        (one,), (two,) = (list((tmp_path / name).iterdir()) for name in ("one", "two"))
        assert one.name == "al_pha-1!2.0rc1+foss.1-py3-none-any.whl"
        assert one.read_bytes() == two.read_bytes()
        with zipfile.ZipFile(one) as archive:
            lines = archive.read("al_pha-1!2.0rc1+foss.1.dist-info/METADATA").decode().splitlines()
        assert lines == [
            "Metadata-Version: 2.1",
            "Name: al-pha",
            "Version: 1!2.0rc1+foss.1",
            "Provides-Extra: x",
            'Requires-Dist: beta>1; extra == "x"',
        ]

    def test_constraints_name_versions_or_the_stubs_and_leave_out_what_is_overridden(self, tmp_path: Path) -> None:
        assert constraints(base(NUMPY, BETA), {"numpy"}) == "beta==1.5+foss\n"
        folder = tmp_path / "with space"
        stub_wheels(base(NUMPY, BETA), folder)
        lines = constraints(base(NUMPY, BETA), (), folder).splitlines()
        assert lines[0] == f"beta @ {folder.as_uri()}/beta-1.5%2Bfoss-py3-none-any.whl"
        assert lines[1] == f"numpy @ {folder.as_uri()}/numpy-1.22.3-py3-none-any.whl"


class TestDemanded:
    @pytest.mark.parametrize(
        ("line", "words"),
        [
            ("numpy>=1.26", "numpy 1.22.3 of the modules does not satisfy 'numpy>=1.26'"),
            ("NumPy == 1.22.3", None),
            ("numpy", None),
            ("numpy>=1.26; python_version < '3'", None),
            ("numpy>=1.26; sys_platform == 'linux'", "does not satisfy"),
            ("numpy @ https://host/numpy-1.22.3-py3-none-any.whl", "is not the file that 'numpy @ https://host"),
            ("-r numpy>=1.26", None),
            ("beta==1.5", None),
            ("beta>1.5", "beta 1.5+foss of the modules does not satisfy 'beta>1.5'"),
            ("other>=2", None),
        ],
    )
    def test_the_base_is_kept_unless_the_spec_s_own_lines_want_another_version(self, line: str, words: str | None) -> None:
        found = demanded([line], base(NUMPY, BETA), MARKERS)
        assert (not found) if words is None else words in next(iter(found.values()))

    def test_a_prerelease_of_the_base_is_taken(self) -> None:
        assert demanded(["numpy>=1.20"], base(Distribution("numpy", "2.0rc1", "/m")), MARKERS) == {}


class TestUnmet:
    def test_only_requirements_that_apply_and_that_neither_base_nor_venv_meets_are_told(self) -> None:
        requires = ("beta>2", "numpy<2", "gone", "gone", "never; sys_platform == 'win32'", "extra-only; extra == 'x'", "b[")
        alpha = Distribution("alpha", "1.0", "/v", requires)
        other = Distribution("other", "1.0", "/m", ("numpy>5",))
        found = base(alpha, Distribution("beta", "1.5", "/v"), NUMPY, other)
        assert unmet(found, ["alpha", "absent"], MARKERS) == [
            "alpha 1.0 requires beta>2, and beta 1.5 is there",
            "alpha 1.0 requires gone, and it is not there",
        ]


def lock(uv: Uv, project: Project, found: Mapping[str, Distribution], *lines: str, overridden: tuple[str, ...] = ()) -> list[str]:
    """Resolve against a base as the modules method does, and return what the lock would hold."""
    wanted = Wanted(project.root, (), f"=={running().minor}.*", (HERE,), HERE)
    with workspace(wanted) as folder:
        stub_wheels(found, folder / "stubs")
        limits, output = folder / "base.txt", folder / "pylock.found.toml"
        limits.write_text(constraints(found, overridden, folder / "stubs"))
        omitted = [word for name in found if name not in overridden for word in ("--no-emit-package", name)]
        compile_lines(uv, folder, wanted, running(), "\n".join(lines), ["-c", str(limits), *omitted, "-o", str(output)])
        packages = loads(output.read_text()).get("packages", [])
    return [f"{item['name']} {item['version']}" for item in packages]


class TestResolving:
    @pytest.fixture
    def three(self, project: Project) -> None:
        """Fill the wheelhouse with two alphas, of which the newest wants more than the base has."""
        make_wheel(project.wheelhouse, "alpha", "1.0", requires=("beta<2", "omega"))
        make_wheel(project.wheelhouse, "alpha", "2.0", requires=("beta>=2",))
        make_wheel(project.wheelhouse, "omega")

    @pytest.mark.usefixtures("three")
    def test_a_version_that_fits_a_base_which_no_index_has_is_taken_and_the_base_is_not_locked(
        self, project: Project, uv: Uv
    ) -> None:
        assert lock(uv, project, base(BETA, NUMPY), "alpha") == ["alpha 1.0", "omega 1.0"]

    @pytest.mark.usefixtures("three")
    def test_a_base_version_that_the_spec_does_not_accept_is_locked_by_the_venv(self, project: Project, uv: Uv) -> None:
        make_wheel(project.wheelhouse, "beta", "2.5")
        assert lock(uv, project, base(BETA), "alpha", "beta>=2", overridden=("beta",)) == ["alpha 2.0", "beta 2.5"]

    @pytest.mark.usefixtures("three")
    def test_what_the_wheelhouse_says_of_the_base_s_version_does_not_count(self, project: Project, uv: Uv) -> None:
        minor = running().minor.replace(".", "")
        make_wheel(project.wheelhouse, "beta", "1.5", requires=("gone",), tag=f"cp{minor}-cp{minor}-manylinux2014_x86_64")
        assert lock(uv, project, base(Distribution("beta", "1.5", "/m")), "alpha") == ["alpha 1.0", "omega 1.0"]

    def test_an_index_s_own_file_of_the_base_s_version_does_not_count(self, project: Project) -> None:
        wheels = [
            make_wheel(project.root / "files", "alpha", requires=("beta<2",)),
            make_wheel(project.root / "files", "beta", "1.5", requires=("gone",)),
            make_wheel(project.root / "files", "beta", "1.9"),
        ]
        for wheel in wheels:
            page = project.root / "simple" / wheel.name.split("-")[0] / "index.html"
            page.parent.mkdir(parents=True, exist_ok=True)
            sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
            with page.open("a") as stream:
                stream.write(f'<a href="../../files/{wheel.name}#sha256={sha256}">{wheel.name}</a>\n')
        environ = {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": (project.root / "simple").as_uri()}
        uv = find_uv(load_settings(project.root, {}), environ, project.root.parent / "cache")
        assert lock(uv, project, base(Distribution("beta", "1.5", "/m")), "alpha") == ["alpha 1.0"]

    def test_an_extra_of_a_base_distribution_brings_what_it_requires(self, project: Project, uv: Uv) -> None:
        make_wheel(project.wheelhouse, "omega")
        alpha = Distribution("alpha", "1.0", "/m", ("beta", "omega>=1; extra == 'fast'"), ("fast",))
        assert lock(uv, project, base(alpha, BETA), "alpha[fast]") == ["omega 1.0"]
        assert lock(uv, project, base(alpha, BETA), "alpha") == []

    def test_what_the_base_itself_lacks_comes_into_the_lock(self, project: Project, uv: Uv) -> None:
        make_wheel(project.wheelhouse, "omega")
        assert lock(uv, project, base(Distribution("alpha", "1.0", "/m", ("omega",))), "alpha") == ["omega 1.0"]

    def test_prereleases_and_epochs_of_the_base_need_no_consent(self, project: Project, uv: Uv) -> None:
        make_wheel(project.wheelhouse, "alpha", requires=("beta>=1!1",))
        assert lock(uv, project, base(Distribution("beta", "1!1.5rc1", "/m")), "alpha") == ["alpha 1.0"]

    def test_a_base_that_contradicts_itself_can_be_resolved_against_without_its_contradictions(
        self, project: Project, uv: Uv
    ) -> None:
        make_wheel(project.wheelhouse, "gamma", requires=("alpha",))
        alpha = Distribution("alpha", "1.0", "/m", ("beta>2", "beta<9"))
        with pytest.raises(CommandFailed, match="beta"):
            lock(uv, project, base(alpha, BETA), "gamma")
        found = tolerant(base(alpha, BETA), MARKERS)
        assert found["alpha"].requires == ("beta<9",)
        assert lock(uv, project, found, "gamma") == ["gamma 1.0"]

    @pytest.mark.usefixtures("three")
    def test_versions_alone_suffice_where_the_wheelhouse_has_them(self, project: Project, uv: Uv) -> None:
        make_wheel(project.wheelhouse, "beta", "1.5")
        make_wheel(project.wheelhouse, "beta", "1.9")
        wanted = Wanted(project.root, (), f"=={running().minor}.*", (HERE,), HERE)
        with workspace(wanted) as folder:
            (folder / "base.txt").write_text(constraints(base(Distribution("beta", "1.5", "/m")), ()))
            said = compile_lines(uv, folder, wanted, running(), "alpha", ["-c", str(folder / "base.txt")])
        assert [line.partition(" ;")[0] for line in said.splitlines()] == ["alpha==1.0", "beta==1.5", "omega==1.0"]


class TestRealModules:
    @pytest.mark.parametrize("system", [False, True])
    def test_a_venv_finds_the_modules_packages_and_their_python_s_own_only_when_asked_to(
        self, site: Site, project: Project, uv: Uv, system: bool
    ) -> None:
        variables = loaded(site, "gcc", "openmpi", "python-scientific", "pyyaml")
        make_venv(uv, module_python(site), project.root / "env", system_site_packages=system)
        python = str(project.root / "env" / "bin" / "python")
        found = distributions(search_path(python, variables))
        for name, version in site.packages["python-scientific"].items():
            assert found[name].version == version
        assert found["pyyaml"].version == site.packages["pyyaml"]["pyyaml"]
        assert found["pandas"].requires
        assert ("six" in found) is system
        alone = distributions(search_path(python, CLEAN))
        assert "numpy" not in alone
        assert "pyyaml" not in alone
        seen = "import numpy; print(numpy.__version__, numpy.__file__)"
        said = subprocess.run([python, "-c", seen], env=variables, capture_output=True, text=True, check=True).stdout.split()
        assert said[0] == found["numpy"].version
        assert said[1].startswith(f"{found['numpy'].folder}/")

    def test_a_package_is_resolved_to_what_the_modules_numpy_allows(self, site: Site, project: Project, uv: Uv) -> None:
        variables = loaded(site, "gcc", "openmpi", "python-scientific")
        make_venv(uv, module_python(site), project.root / "env")
        found = distributions(search_path(str(project.root / "env" / "bin" / "python"), variables))
        numpy = found["numpy"].version
        make_wheel(project.wheelhouse, "alpha", "1.0", requires=("numpy",))
        make_wheel(project.wheelhouse, "alpha", "2.0", requires=(f"numpy>{numpy}",))
        make_wheel(project.wheelhouse, "numpy", "99.0")
        assert demanded(["alpha", f"numpy=={numpy}"], found, module_python(site).markers) == {}
        assert lock(uv, project, found, "alpha") == ["alpha 1.0"]
