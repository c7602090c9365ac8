"""`ozrepro spider` and `ozrepro init` as a user types them, on the real test site."""

from __future__ import annotations

import json
import os
import shlex
import time
from dataclasses import replace
from pathlib import Path

import pexpect
import pytest

from ozrepro.methods.reading import load_spec
from tests.conftest import BIN, Project
from tests.fake_cluster import Site
from tests.frontends.init.test_shell import CHAIN, shell
from tests.methods.modules.modular import Modular, calls, modular
from tests.tables import table_of
from tests.wheels import make_wheel


def aged(project: Project, seconds: float) -> None:
    """Make the indexes of a project's store older than they are."""
    for path in (project.store() / "cache").glob("*/modules/index-*.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "made": time.time() - seconds}))


@pytest.fixture
def anywhere(project: Project, site: Site, tmp_path: Path) -> Project:
    """Give a user of the site who stands in an empty folder."""
    here = tmp_path / "an empty folder"
    here.mkdir()
    return replace(modular(project, site).project, root=here)


class TestSpider:
    def test_spider_lists_all_names_with_their_versions(self, anywhere: Project, site: Site) -> None:
        lines = anywhere.done("spider").splitlines()
        assert lines[0].split() == ["NAME", "VERSIONS"]
        rows = dict(line.split(maxsplit=1) for line in lines[1:])
        assert rows["gcc"] == "11.3.0, 12.2.0"
        assert rows["python"] == f"{site.python_version}, {site.python_version}-bare"

    def test_a_pattern_lists_what_must_be_loaded_first_and_marks_bare_modules(self, anywhere: Project, site: Site) -> None:
        rows = [line.split("  ") for line in anywhere.done("spider", "PYTHON").splitlines()]
        cells = [[cell.strip() for cell in row if cell.strip()] for row in rows]
        assert cells == [
            ["MODULE", "LOAD FIRST", "PACKAGES", "MARKS"],
            [site.names["python"], "gcc/11.3.0", str(len(site.packages["python"]))],
            [site.names["python-bare"], "gcc/11.3.0", "0", "bare"],
            [site.names["python-scientific"], "gcc/11.3.0 openmpi/4.1.4", str(len(site.packages["python-scientific"]))],
        ]

    def test_a_full_name_shows_everything_with_a_line_for_a_spec(self, anywhere: Project, site: Site) -> None:
        name = site.names["python-scientific"]
        said = anywhere.done("spider", name)
        assert f'    load = ["{name}"]\n' in said
        assert "Load first:\n    gcc/11.3.0 openmpi/4.1.4\n" in said
        for package, version in site.packages["python-scientific"].items():
            assert f"    {package} {version}\n" in said

    def test_each_line_for_a_spec_can_be_locked(self, empty: Modular) -> None:
        said = empty.project.done("spider", "hdf5/1.12.2")
        loads = [line.strip() for line in said.splitlines() if line.strip().startswith("load = ")]
        assert loads == ['load = ["gcc/11.3.0", "hdf5/1.12.2"]', 'load = ["gcc/12.2.0", "hdf5/1.12.2"]']
        for number, load in enumerate(loads):
            empty.project.spec(f"[modules]\n{load}\n", f"work{number}")
            shown = json.loads(empty.project.done("status", f"work{number}", "--json"))["sessions"][0]["methods"]
            assert [method["reason"] for method in shown] == [None]

    def test_spider_lists_the_modules_that_have_a_package(self, anywhere: Project, site: Site) -> None:
        lines = anywhere.done("spider", "--provides", "NumPy").splitlines()
        numpy = site.packages["python-scientific"]["numpy"]
        assert lines[0].split() == ["MODULE", "LOAD", "FIRST", "NUMPY"]
        assert [line.split() for line in lines[1:]] == [[site.names["python-scientific"], "gcc/11.3.0", "openmpi/4.1.4", numpy]]
        assert site.names["pyyaml"] in anywhere.done("spider", "yaml", "--provides", "pyyaml")

    def test_spider_prints_json(self, anywhere: Project, site: Site) -> None:
        found = json.loads(anywhere.done("spider", "python-scientific", "--json"))
        assert (found["schema"], found["modulepath"]) == (1, [site.roots["ozstar"]])
        assert abs(found["made"] - time.time()) < 600
        assert found["modules"] == [
            {
                "module": site.names["python-scientific"],
                "name": "python-scientific",
                "version": site.names["python-scientific"].partition("/")[2],
                "bare": False,
                "hidden": False,
                "ways": [
                    {
                        "load_first": ["gcc/11.3.0", "openmpi/4.1.4"],
                        "load": [site.names["python-scientific"]],
                        "packages": dict(site.packages["python-scientific"]),
                    }
                ],
            }
        ]

    def test_spider_lists_hidden_modules_only_when_asked(self, project: Project, site: Site) -> None:
        odd = modular(project, site, "odd").project
        refused = odd.ozrepro("spider", "shy")
        assert refused.returncode == 1
        assert "try: ozrepro spider shy --hidden" in refused.stderr
        assert odd.done("spider", "shy", "--hidden").splitlines()[1].split() == ["shy/.1.0", "-", "0", "hidden"]

    @pytest.mark.parametrize(
        ("words", "said", "hint"),
        [
            (("pyhton",), "there are python/", "ozrepro spider"),
            (("numpy",), "there is such a package", "ozrepro spider --provides numpy"),
            (("--provides", "nunpy"), "there are numpy", "ozrepro spider"),
        ],
    )
    def test_spider_without_a_match_exits_1_with_near_names(
        self, anywhere: Project, words: tuple[str, ...], said: str, hint: str
    ) -> None:
        failed = anywhere.ozrepro("spider", *words)
        assert (failed.returncode, failed.stdout) == (1, "")
        assert said in failed.stderr
        assert f"  try: {hint}\n" in failed.stderr
        empty = anywhere.ozrepro("spider", *words, "--json")
        assert (empty.returncode, json.loads(empty.stdout)["modules"]) == (1, [])

    def test_spider_without_a_module_system_exits_4_with_the_reason(self, empty: Modular) -> None:
        failed = empty.without_lmod().ozrepro("spider")
        assert failed.returncode == 4
        assert "no module system here (Lmod, Environment Modules)\n  try: " in failed.stderr


class TestTheIndex:
    def test_a_second_question_starts_no_lmod_and_says_how_old_the_answer_is(self, mine: Modular) -> None:
        logged, log = mine.logged()
        for path in [mine.site.prefix, *mine.site.prefix.rglob("*")]:
            os.utime(path, (time.time() - 60, time.time() - 60), follow_symlinks=False)
        first = logged.project.ozrepro("spider", "python")
        assert first.returncode == 0
        assert calls(log) == ["spider"]
        aged(logged.project, 190)
        log.write_text("")
        again = logged.project.ozrepro("spider", "python")
        assert again.stdout == first.stdout
        assert again.stderr == "ozrepro: index made 3 minutes ago; --refresh rebuilds it\n"
        assert calls(log) == []
        assert "ozrepro: index made just now; " in logged.project.ozrepro("spider", "--refresh").stderr
        assert calls(log) == ["spider"]

    def test_the_index_of_a_project_is_in_its_store_and_is_used_by_lock(self, work: Modular) -> None:
        work.project.done("spider")
        (kept,) = (work.project.store() / "cache").glob("*/modules")
        assert [path.suffix for path in kept.glob("index-*")] == [".json"]
        assert not (Path(work.project.environ["HOME"]) / ".cache" / "ozrepro").exists()
        logged, log = work.logged()
        logged.project.done("spider")
        assert calls(log) == ["spider"]
        logged.project.done("lock", "work", "--method", "modules")
        assert "spider" not in calls(log)[1:]

    def test_the_index_is_in_the_user_s_cache_outside_a_project(self, anywhere: Project, tmp_path: Path) -> None:
        anywhere.done("spider")
        assert list(anywhere.root.iterdir()) == []
        home = Path(anywhere.environ["HOME"])
        assert len(list((home / ".cache" / "ozrepro" / "modules").glob("index-*.json"))) == 1
        anywhere.done("spider", XDG_CACHE_HOME=str(tmp_path / "xdg"))
        assert len(list((tmp_path / "xdg" / "ozrepro" / "modules").glob("index-*.json"))) == 1

    def test_the_index_is_in_a_chosen_store_that_is_there(self, anywhere: Project, tmp_path: Path) -> None:
        (tmp_path / "store").mkdir()
        anywhere.done("spider", OZREPRO_STORE=str(tmp_path / "store"))
        assert list((tmp_path / "store" / "cache" / "modules").glob("index-*.json"))


@pytest.fixture
def started(anywhere: Project, site: Site, project: Project, tmp_path: Path) -> Project:
    """Give a user who has loaded modules and made an environment on them, as the guide of OzSTAR says, and who wrote a program."""
    make_wheel(project.wheelhouse, "alpha", "1.0", requires=("beta",))
    make_wheel(project.wheelhouse, "beta", "1.5")
    environ = {**anywhere.environ, **shell(site, *CHAIN, **anywhere.environ)}
    user = replace(anywhere, environ={**environ, "PATH": f"{environ['PATH']}:{BIN}"})
    where = tmp_path / "my environment"
    for words in (
        (site.python, "-m", "venv", "--system-site-packages", str(where)),
        (str(where / "bin" / "pip"), "install", "-q", "--find-links", str(project.wheelhouse), "alpha"),
    ):
        done = user.run(*words, PIP_FIND_LINKS="")
        assert done.returncode == 0, done.stderr
    (user.root / "work.py").write_text("import alpha, numpy\nprint('numpy', numpy.__version__)\n")
    return replace(user, environ={**user.environ, "VIRTUAL_ENV": str(where), "PATH": f"{where / 'bin'}:{user.environ['PATH']}"})


class TestInit:
    def test_init_shows_what_it_would_write(self, started: Project) -> None:
        said = started.done("init", "work")
        assert "sessions/work.toml:\n" in said
        assert "noxfile.py:\n" in said
        assert said.endswith("nothing was written yet: ozrepro init work --yes\n")
        assert [path.name for path in started.root.iterdir()] == ["work.py"]

    def test_init_writes_a_spec_of_the_modules_of_the_shell(self, started: Project, site: Site) -> None:
        said = started.done("init", "work", "--yes")
        assert said.endswith("sessions/work.toml, noxfile.py and sessions/spec.schema.json written; next: ozrepro lock work\n")
        found = load_spec(started.root, "work")
        assert found.methods == ("modules", "venv")
        assert found.imports == ("alpha", "numpy", "pandas", "scipy")
        assert table_of(found, "modules").load == (site.names["python-scientific"],)
        assert table_of(found, "modules").venv.system_site_packages
        assert table_of(found, "modules").venv.requirements == ("alpha",)
        assert table_of(found, "venv").requirements == ("alpha", "numpy", "pandas", "scipy")
        text = (started.root / "sessions" / "work.toml").read_text()
        assert str(started.root.parent) not in text
        listed = started.run("nox", "-l")
        assert "* work -> Run the session work." in listed.stdout

    def test_a_spec_written_by_init_can_be_locked_and_run(self, started: Project, site: Site) -> None:
        started.done("init", "work", "--yes")
        started.done("lock", "work", "--method", "modules")
        done = started.run("nox", "-s", "work")
        assert done.returncode == 0, done.stderr
        assert f"numpy {site.packages['python-scientific']['numpy']}\n" in done.stdout + done.stderr

    def test_init_writes_versions_when_asked(self, started: Project) -> None:
        started.done("init", "work", "--yes", "--pin")
        found = load_spec(started.root, "work")
        assert table_of(found, "modules").venv.requirements == ("alpha==1.0",)

    def test_init_overwrites_nothing(self, project: Project) -> None:
        spec = project.spec("# mine\n")
        added = project.ozrepro("init", "work", "--yes")
        assert added.returncode == 0
        assert "sessions/work.toml is there and left as it is" in added.stderr
        assert added.stdout.endswith("noxfile.py written; next: ozrepro lock work\n")
        noxfile = (project.root / "noxfile.py").read_text()
        refused = project.ozrepro("init", "work", "--yes")
        assert refused.returncode == 1
        assert "nothing to write" in refused.stderr
        other = project.done("init", "other", "--yes")
        assert "to add to noxfile.py" in other
        assert "def other(session):" in other
        assert spec.read_text() == "# mine\n"
        assert (project.root / "noxfile.py").read_text() == noxfile

    def test_init_writes_the_schema_that_a_spec_names_and_updates_it_when_asked(self, project: Project) -> None:
        project.done("init", "other", "--yes")
        schema = project.root / "sessions" / "spec.schema.json"
        assert (project.root / "sessions" / "other.toml").read_text().startswith(f"#:schema ./{schema.name}\n")
        current = schema.read_text()
        schema.unlink()
        schema.symlink_to(project.root / "mine")
        assert project.done("init", "--schema") == f"sessions/{schema.name} and sessions/settings.schema.json written\n"
        assert schema.read_text() == current
        assert not (project.root / "mine").exists()

    def test_init_does_not_overwrite_a_dangling_link(self, project: Project, tmp_path: Path) -> None:
        (project.root / "noxfile.py").symlink_to(tmp_path / "elsewhere.py")
        project.done("init", "--yes")
        assert not (tmp_path / "elsewhere.py").exists()

    def test_init_in_an_empty_folder_writes_a_spec_to_fill_in(self, anywhere: Project) -> None:
        anywhere.done("init", "--yes")
        found = load_spec(anywhere.root, "analysis")
        assert found.methods == ("venv",)
        assert table_of(found, "venv").requirements == ()

    def test_init_takes_what_it_can_of_a_file_and_what_it_writes_locks(self, project: Project) -> None:
        make_wheel(project.wheelhouse, "alpha", "1.0")
        (project.root / "requirements.txt").write_text("--extra-index-url https://wheels.example/cu113\nalpha\n")
        said = project.ozrepro("init", "work", "--yes").stderr
        assert "left out: requirements.txt line 1: '--extra-index-url https://wheels.example/cu113'" in said
        text = (project.root / "sessions" / "work.toml").read_text()
        assert "# left out: requirements.txt line 1: " in text
        assert table_of(load_spec(project.root, "work"), "venv").requirements == ("alpha",)
        project.done("lock", "work")
        assert 'name = "alpha"' in (project.root / "sessions" / "work.lock").read_text()

    @pytest.mark.parametrize(
        "files",
        [
            {"pyproject.toml": '[tool.poetry]\nname = "fit"\n[tool.poetry.dependencies]\npython = "^3.10"\nalpha = "^1"\n'},
            {"pyproject.toml": '[project]\nname = "fit"\nrequires-python = ">=3.10"\ndependencies = ["alpha"]\n'},
            {"requirements.txt": "-r more.txt\n--pre\n", "more.txt": "alpha\n"},
        ],
    )
    def test_what_init_writes_of_other_tools_files_locks(self, project: Project, files: dict[str, str]) -> None:
        make_wheel(project.wheelhouse, "alpha", "1.0")
        for name, text in files.items():
            (project.root / name).write_text(text)
        project.done("init", "work", "--yes")
        project.done("lock", "work")
        assert 'name = "alpha"' in (project.root / "sessions" / "work.lock").read_text()

    def test_an_empty_spec_is_never_written_or_locked_without_a_word(self, project: Project) -> None:
        said = project.ozrepro("init", "work", "--yes").stderr
        assert "no packages were found; name them in venv.requirements" in said
        assert "work: venv requires no packages: name some in venv.requirements" in project.ozrepro("lock", "work").stderr
        project.lock().unlink()
        said = project.run("nox", "-s", "work").stderr
        assert "venv requires no packages: name some in venv.requirements" in said

    def test_init_says_what_keeps_its_spec_from_being_locked(self, project: Project) -> None:
        (project.root / "pyproject.toml").write_text(
            '[project]\nname = "a"\nrequires-python = "==3.10.0"\ndependencies = ["six"]\n'
        )
        said = project.ozrepro("init", "work", "--yes").stderr
        assert "[venv] cannot be locked here: no Python ==3.10.0 on PATH" in said

    def test_init_in_a_folder_of_a_project_is_for_that_project(self, project: Project) -> None:
        project.spec("[venv]\n", "first")
        (project.root / "data").mkdir()
        assert "../sessions/second.toml:" in replace(project, root=project.root / "data").done("init", "second", "--yes")
        assert load_spec(project.root, "second").name == "second"

    def test_init_takes_a_folder_that_is_no_project_yet(self, anywhere: Project, tmp_path: Path) -> None:
        (tmp_path / "new").mkdir()
        anywhere.done("--project", str(tmp_path / "new"), "init", "--yes")
        assert load_spec(tmp_path / "new", "analysis").methods == ("venv",)
        assert anywhere.ozrepro("--project", str(tmp_path / "nowhere"), "init").returncode == 2

    @pytest.mark.parametrize("name", ["my+work", "class", "a/b"])
    def test_init_refuses_a_name_that_no_function_can_have(self, anywhere: Project, name: str) -> None:
        refused = anywhere.ozrepro("init", name, "--yes")
        assert refused.returncode == 2
        assert list(anywhere.root.iterdir()) == []

    def test_init_names_a_file_in_the_way(self, anywhere: Project) -> None:
        (anywhere.root / "sessions").write_text("")
        failed = anywhere.ozrepro("init", "--yes")
        assert failed.returncode == 1
        assert "sessions" in failed.stderr
        assert "Traceback" not in failed.stderr

    @pytest.mark.parametrize(("answer", "written"), [("y", True), ("n", False), ("", False), ("\x04", False)])
    def test_init_asks_at_a_terminal(self, anywhere: Project, answer: str, written: bool) -> None:
        environ = {**anywhere.environ, "TERM": "dumb", "LC_ALL": "C.UTF-8"}
        command = shlex.join([str(BIN / "ozrepro"), "init"])
        child = pexpect.spawn(command, cwd=str(anywhere.root), env=environ, encoding="utf-8", timeout=60)
        child.expect_exact("write sessions/analysis.toml, noxfile.py and sessions/spec.schema.json? [y/N] ")
        if answer == "\x04":
            child.sendeof()
        else:
            child.sendline(answer)
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == 0
        assert (anywhere.root / "noxfile.py").exists() is written
