"""Local projects with a build backend of their own: what is asked of it, what is led where, and what is refused."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ozrepro.methods.reading import load_lock
from tests.conftest import Project
from tests.wheels import make_wheel

BACKEND = """
import base64, hashlib, os, pathlib, zipfile

NAME = pathlib.Path("NAME").read_text() if os.path.exists("NAME") else "fit"
REQUIRES = pathlib.Path("requires.txt").read_text().split() if os.path.exists("requires.txt") else []
METADATA = f"Metadata-Version: 2.1\\nName: {NAME}\\nVersion: 3\\n" + "".join(f"Requires-Dist: {item}\\n" for item in REQUIRES)


def get_requires_for_build_wheel(config_settings=None):
    open("egg-info", "w").close()
    return []


def prepare_metadata_for_build_wheel(folder, config_settings=None):
    info = pathlib.Path(folder, f"{NAME}-3.dist-info")
    info.mkdir()
    (info / "METADATA").write_text(METADATA)
    return info.name


def build_editable(folder, config_settings=None, metadata_directory=None):
    open(f"{NAME}/_version.py", "w").write("version = 3\\n")
    info = f"{NAME}-3.dist-info"
    files = {
        f"{NAME}.pth": os.getcwd() + "\\n",
        f"{info}/METADATA": METADATA,
        f"{info}/WHEEL": "Wheel-Version: 1.0\\nGenerator: tests\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
    }
    record = ""
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={digest},{len(text.encode())}\\n"
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\\n"
    with zipfile.ZipFile(os.path.join(folder, f"{NAME}-3-py3-none-any.whl"), "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return f"{NAME}-3-py3-none-any.whl"
"""
SYSTEM = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
STATIC = f'[project]\nname = "fit"\ndynamic = ["version"]\ndependencies = ["alpha"]\n{SYSTEM}'


def make(folder: Path, pyproject: str, name: str = "fit") -> None:
    """Write a project whose backend leaves files wherever it is asked anything."""
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text(f"from {name}._version import version\n")
    (folder / "backend.py").write_text(BACKEND)
    (folder / "NAME").write_text(name)
    (folder / "pyproject.toml").write_text(pyproject)


def names(project: Project) -> list[str]:
    lock = load_lock(project.root, "work")
    assert lock is not None
    return [item["name"] for item in lock.sections[0].content["package"]]


@pytest.fixture
def fit(project: Project) -> Project:
    """Give a project whose version only its backend can tell, and a session of it."""
    for name in ("alpha", "beta", "gamma"):
        make_wheel(project.wheelhouse, name)
    make(project.root, STATIC)
    project.spec('imports = ["fit"]\n[venv]\nrequirements = ["-e ."]\n')
    return project


def tree(folder: Path) -> list[str]:
    left_out = ("sessions", ".ozrepro", ".git")
    paths = (path.relative_to(folder) for path in folder.rglob("*") if "__pycache__" not in path.parts)
    return sorted(str(path) for path in paths if path.parts[0] not in left_out)


class TestADynamicVersion:
    def test_the_static_dependencies_are_locked_and_nothing_is_written_beside_the_code(self, fit: Project) -> None:
        before = tree(fit.root)
        fit.done("lock")
        assert names(fit) == ["alpha"]
        fit.done("build")
        assert tree(fit.root) == before
        assert fit.done("run", "work", "--", "python", "-B", "-c", "import fit; print(fit.version, fit.__file__)").split() == [
            "3",
            *str(fit.root / "fit" / "__init__.py").split(),
        ]
        fit.done("verify", "work")

    @pytest.mark.parametrize("form", ["requirements", "pylock"])
    def test_an_export_says_that_it_does_not_hold_the_project(self, fit: Project, form: str) -> None:
        fit.done("lock")
        said = fit.ozrepro("export", "work", "--format", form)
        assert said.stderr == f"ozrepro: work: {form} does not hold what is in the project's folder (fit): pip install --no-deps -e .\n"
        assert "fit" not in said.stdout

    def test_no_path_of_the_copy_is_left_in_the_environment(self, fit: Project) -> None:
        fit.done("lock")
        fit.done("build")
        texts = [path.read_bytes() for path in fit.prefix().rglob("*") if path.is_file() and not path.is_symlink()]
        assert not any(b"/ozrepro-" in text for text in texts)


@pytest.mark.parametrize(
    "text",
    [
        'tool = 5\n[project]\nname = "fit"\n',
        '[project]\nname = "../fit"\n',
        '[project]\nname = "fit"\ndynamic = 5\n',
        '[project]\nname = "fit"\ndependencies = 5\n',
        '[project]\nname = "fit"\nrequires-python = ">=3\\nRequires-Dist: evil"\n',
        '[project]\nname = "fit"\noptional-dependencies = 5\n',
        '[project]\nname = "fit"\n[tool]\nuv = 5\n',
        '[project]\nname = "fit"\n[tool.uv]\nsources = 5\nworkspace = 5\nconstraint-dependencies = 5\n',
        '[project]\nname = "fit"\n[tool.uv]\nbuild-constraint-dependencies = 5\n',
        '[project]\nname = "fit"\n[tool.uv]\nconstraint-dependencies = [5]\n',
        '[project]\nname = "fit"\n[tool.uv.workspace]\nmembers = ["a**", "\\u0000", "/", 5, "**/"]\n',
        '[project]\nname = "fit"\ndependencies = ["a"]\n[tool.uv.sources]\na = { path = "\\u0000" }\n',
        '[project]\nname = "fit"\ndependencies = ["a"]\n[tool.uv.sources]\na = { path = 5 }\n',
        '[project]\nname = "fit"\ndependencies = ["a"]\n[tool.uv.sources]\na = { git = 5, rev = 5 }\n',
        '[tool.poetry]\nname = 5\ndependencies = { a = { path = 5 } }\n',
        '[tool.setuptools.dynamic]\ndependencies = { file = ["\\u0000", "../x", 5] }\n',
    ],
)
def test_any_pyproject_is_locked_or_refused_without_a_traceback(fit: Project, text: str) -> None:
    (fit.root / "pyproject.toml").write_text(f"{text}\n{SYSTEM}")
    done = fit.ozrepro("lock")
    assert done.returncode in (0, 1, 2)
    assert "Traceback" not in done.stderr or "cannot ask backend" in done.stderr
    assert "internal error" not in done.stderr


class TestWhatOnlyTheBackendTells:
    def test_dynamic_dependencies_are_asked_of_it(self, fit: Project) -> None:
        (fit.root / "pyproject.toml").write_text(STATIC.replace('dependencies = ["alpha"]\n', "").replace('"version"', '"dependencies"'))
        (fit.root / "requires.txt").write_text("beta\n")
        before = tree(fit.root)
        fit.done("lock")
        assert names(fit) == ["beta"]
        assert tree(fit.root) == before

    def test_a_project_without_a_project_table_is_asked(self, fit: Project) -> None:
        (fit.root / "pyproject.toml").write_text(SYSTEM)
        (fit.root / "requires.txt").write_text("gamma\n")
        fit.done("lock")
        assert names(fit) == ["gamma"]
        fit.done("build")

    def test_looking_commands_do_not_ask_it(self, fit: Project) -> None:
        (fit.root / "pyproject.toml").write_text(SYSTEM)
        fit.done("lock")
        (fit.root / "backend.py").write_text("open('/dev/null/asked')\n")
        for words in (("status",), ("lock", "--check"), ("diff", "work")):
            assert fit.ozrepro(*words).returncode == 0, words


class TestOtherProjectsOfTheFolder:
    @pytest.mark.parametrize(
        "source", ['{ path = "libs/lib", editable = true }', '{ path = "libs/lib" }', "{ workspace = true }"], ids=["editable", "path", "workspace"]
    )
    def test_a_source_of_uv_is_installed_from_where_it_says(self, fit: Project, source: str) -> None:
        more = f'[tool.uv.sources]\nlib = {source}\n[tool.uv.workspace]\nmembers = ["libs/*"]\n'
        (fit.root / "pyproject.toml").write_text(STATIC.replace('["alpha"]', '["lib>=1"]') + more)
        make(fit.root / "libs" / "lib", STATIC.replace('"fit"', '"lib"').replace("alpha", "beta"), "lib")
        fit.done("lock")
        assert names(fit) == ["beta"]
        fit.done("build")
        show = "import fit, lib; print(lib.__file__)"
        assert fit.done("run", "work", "--", "python", "-c", show).strip() == str(fit.root / "libs/lib/lib/__init__.py")
        (fit.root / "libs/lib/pyproject.toml").write_text(STATIC.replace('"fit"', '"lib"').replace("alpha", "gamma"))
        assert fit.ozrepro("lock", "--check").returncode == 3

    @pytest.mark.parametrize("line", ["-e ./libs/lib", "./libs/lib", "-e libs/lib", "./my libs/lib", "-e './my libs/lib'", "-r 'r s.txt'"])
    def test_one_that_the_spec_asks_for_is_installed_editable(self, fit: Project, line: str) -> None:
        folder = "libs/lib" if "my libs" not in line else "my libs/lib"
        make(fit.root / folder, STATIC.replace('"fit"', '"lib"').replace("alpha", "beta"), "lib")
        (fit.root / "r s.txt").write_text('gamma\n--requirement="more files/x y.txt"\n.\n')
        (fit.root / "more files").mkdir()
        (fit.root / "more files" / "x y.txt").write_text('-e "./libs/lib"  # ours\n')
        fit.spec(f'imports = ["lib"]\n[venv]\nrequirements = ["{line}"]\n')
        fit.done("lock")
        assert names(fit) == (["alpha", "beta", "gamma"] if line.startswith("-r") else ["beta"])
        show = "import lib; print(lib.__file__)"
        assert fit.done("run", "work", "--", "python", "-c", show).strip() == str(fit.root / folder / "lib" / "__init__.py")
        assert "unchanged" in fit.done("lock")

    def test_one_that_is_a_link_out_of_the_project_is_refused(self, fit: Project) -> None:
        make(fit.root.parent / "lib", STATIC.replace('"fit"', '"lib"'), "lib")
        (fit.root / "lib").symlink_to(fit.root.parent / "lib")
        fit.spec('[venv]\nrequirements = ["-e ./lib"]\n')
        refused = fit.ozrepro("lock")
        assert refused.returncode == 2
        assert "leads out of the project" in refused.stderr

    def test_one_that_git_ignores_is_refused(self, fit: Project) -> None:
        make(fit.root / "lib", STATIC.replace('"fit"', '"lib"'), "lib")
        (fit.root / ".gitignore").write_text("lib\n")
        for words in (["init", "-q"], ["add", "-A"]):
            subprocess.run(["git", *words], cwd=fit.root, check=True, capture_output=True)
        fit.spec('[venv]\nrequirements = ["-e ./lib"]\n')
        refused = fit.ozrepro("lock")
        assert refused.returncode == 2
        assert "is ignored by git or a repository of its own" in refused.stderr

    def test_one_that_is_not_there_is_refused(self, fit: Project) -> None:
        fit.spec('[venv]\nrequirements = ["-e ./libs/lib"]\n')
        refused = fit.ozrepro("lock")
        assert refused.returncode == 2
        assert "has neither a pyproject.toml nor a setup.py" in refused.stderr

    @pytest.mark.parametrize(
        ("source", "told"),
        [
            ('{ path = "../lib" }', "'../lib' is outside the project; move it in: path = 'lib'"),
            ('{ path = "lib" }', "'lib' has neither a pyproject.toml nor a setup.py"),
            ('{ path = "lib-1-py3-none-any.whl" }', "put it into a wheelhouse"),
            ("{ workspace = true }", "is no member of [tool.uv.workspace]"),
            ('{ git = "https://example.org/lib", branch = "main" }', 'write the full commit: rev = "…"'),
            ('{ git = "https://example.org/lib" }', 'write the full commit: rev = "…"'),
            ('{ url = "http://example.org/lib-1-py3-none-any.whl" }', "is not an https address"),
            ('[{ path = "a", marker = "python_version < \'3.12\'" }, { path = "b" }]', "has several sources"),
        ],
    )
    def test_one_that_is_not_followed_is_refused_by_name(self, fit: Project, source: str, told: str) -> None:
        (fit.root / "pyproject.toml").write_text(STATIC.replace("alpha", "lib") + f"[tool.uv.sources]\nlib = {source}\n")
        refused = fit.ozrepro("lock")
        assert refused.returncode == 2
        assert "tool.uv.sources.lib: " in refused.stderr
        assert told in refused.stderr
        assert not fit.lock().exists()

    def test_an_index_that_is_not_set_is_refused_with_the_line_to_write(self, fit: Project) -> None:
        (fit.root / "pyproject.toml").write_text(STATIC + '[tool.uv.sources]\nalpha = { index = "torch" }\n')
        refused = fit.ozrepro("lock")
        assert refused.returncode == 2
        assert 'write into [tool.ozrepro.indexes]: torch = "https://…"' in refused.stderr


class TestLimitsOfUv:
    @pytest.mark.parametrize(
        ("limit", "taken"),
        [
            ('constraint-dependencies = ["alpha<2"]', "1.0"),
            ('override-dependencies = ["alpha==1.0"]', "1.0"),
        ],
    )
    def test_they_count_and_are_part_of_the_digest(self, fit: Project, limit: str, taken: str) -> None:
        make_wheel(fit.wheelhouse, "alpha", "2.0")
        fit.done("lock")
        (fit.root / "pyproject.toml").write_text(f"{STATIC}[tool.uv]\n{limit}\n")
        assert fit.ozrepro("lock", "--check").returncode == 3
        fit.done("lock")
        lock = load_lock(fit.root, "work")
        assert lock is not None
        assert lock.sections[0].content["package"][0]["version"] == taken

    @pytest.mark.parametrize("limit", ['override-dependencies = ["beta==1.0"]', 'exclude-dependencies = ["beta"]'])
    def test_what_they_override_is_not_missed_by_the_checks_of_a_build(self, fit: Project, limit: str) -> None:
        make_wheel(fit.wheelhouse, "alpha", requires=("beta>=2",))
        (fit.root / "pyproject.toml").write_text(f"{STATIC}[tool.uv]\n{limit}\n")
        fit.done("lock")
        fit.done("build")
        fit.done("verify", "work", "--level", "2")
        assert ("beta" in names(fit)) == limit.startswith("override")
        assert "unchanged" in fit.done("lock")

    def test_what_the_spec_asks_for_is_not_left_out_of_a_lock(self, fit: Project) -> None:
        (fit.root / "pyproject.toml").write_text(f'{STATIC}[tool.uv]\nexclude-dependencies = ["beta"]\n')
        fit.spec('[venv]\nrequirements = ["-e .", "beta"]\n')
        refused = fit.ozrepro("lock")
        assert refused.returncode == 1
        assert "asked for, and not in the answer of uv: beta" in refused.stderr
        assert not fit.lock().exists()

    def test_those_of_a_build_count_for_what_builds_the_project(self, fit: Project) -> None:
        for version in ("1.0", "2.0"):
            make_wheel(fit.wheelhouse, "helper-tool", version)
        limit = '[tool.uv]\nbuild-constraint-dependencies = ["helper-tool<2"]\n'
        (fit.root / "pyproject.toml").write_text(STATIC.replace("requires = []", 'requires = ["helper-tool"]') + limit)
        fit.done("lock")
        lock = load_lock(fit.root, "work")
        assert lock is not None
        assert [item["version"] for item in lock.sections[0].content["build"]] == ["1.0"]

    def test_of_a_project_that_is_no_package_the_dependencies_are_installed(self, fit: Project) -> None:
        (fit.root / "pyproject.toml").write_text('[project]\nname = "fit"\ndependencies = ["alpha"]\n[tool.uv]\npackage = false\n')
        fit.spec('imports = ["alpha"]\n[venv]\nrequirements = ["-e ."]\n')
        fit.done("lock")
        fit.done("build")
        lock = load_lock(fit.root, "work")
        assert lock is not None
        assert "project" not in lock.sections[0].content
        assert "unchanged" in fit.done("lock")

    def test_what_does_not_count_is_named(self, fit: Project) -> None:
        more = '[tool.uv]\nprerelease = "allow"\n[dependency-groups]\ndev = ["beta"]\n'
        (fit.root / "pyproject.toml").write_text(STATIC + more)
        assert "pyproject.toml: not followed: [tool.uv] prerelease, [dependency-groups] dev" in fit.ozrepro("lock").stderr


def test_in_a_part_of_a_repository_its_history_is_the_backend_s_too(project: Project) -> None:
    top = project.root.parent / "mono"
    make(top / "sub", STATIC)
    (top / "sub" / "sessions").mkdir()
    (top / "other.txt").write_text("1\n")
    asks = "import subprocess\nSAID = subprocess.check_output(['git', 'describe', '--tags', '--dirty', '--always'], text=True)\n"
    (top / "sub" / "backend.py").write_text(asks + BACKEND.replace("version = 3", "version = {SAID!r}").replace('"version =', 'f"version ='))
    for words in (["init", "-q"], ["add", "-A"], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x"], ["tag", "v7"]):
        subprocess.run(["git", *words], cwd=top, check=True, capture_output=True)
    make_wheel(project.wheelhouse, "alpha")
    sub = Project(top / "sub", project.environ)
    sub.spec('[venv]\nrequirements = ["-e ."]\n')
    sub.done("lock")
    assert sub.done("run", "work", "--", "python", "-c", "import fit; print(fit.version)").strip() == "v7"
