"""The modules method on the real test site: locked by what modules resolved to, run without Lmod."""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from ozrepro.environment import BASE_PATH, is_inherited, says_where
from ozrepro.faststart.cpu import cpu_flags, cpu_level
from ozrepro.methods.reading import load_lock
from ozrepro.modulesystem.lmod_output import read
from tests.conftest import BIN, Project
from tests.fake_cluster import Site
from tests.fake_cluster.modulefiles import write
from tests.methods.modules.modular import Modular, calls, edit, modular, quoted
from tests.wheels import make_wheel

EDITABLE = """
import os, zipfile


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    info = "own-1.0.dist-info"
    files = {
        "own.pth": os.getcwd() + "\\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\\nName: own\\nVersion: 1.0\\nRequires-Dist: numpy\\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\\nGenerator: own\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\\n" for name in files) + f"{info}/RECORD,,\\n"
    with zipfile.ZipFile(os.path.join(wheel_directory, "own-1.0-py3-none-any.whl"), "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return "own-1.0-py3-none-any.whl"
"""
WHERE = "import numpy, alpha; print(numpy.__version__, numpy.__file__, alpha.__file__, sep='\\n')"


class TestLocking:
    def test_the_parents_are_found_said_and_locked_with_all_modules(self, work: Modular) -> None:
        said = work.project.ozrepro("lock", "work", "--method", "modules")
        assert said.returncode == 0, said.stderr
        assert f"loads gcc/11.3.0 openmpi/4.1.4 first: {work.scientific} needs them" in said.stderr
        text = work.project.lock().read_text()
        assert 'parents = ["gcc/11.3.0", "openmpi/4.1.4"]' in text
        assert text.count("requested = ") == 4
        assert text.count("requested = true") == 1
        assert f'    {{ name = "{work.scientific}", file = "' in text

    def test_the_packages_of_the_modules_are_locked_and_not_installed_again(self, toolchain: Modular) -> None:
        lock = load_lock(toolchain.project.root, "work")
        assert lock is not None
        (section,) = lock.sections
        provides = section.content["provides"]
        site = toolchain.site.packages
        assert provides["numpy"] == site["python-scientific"]["numpy"]
        assert provides["six"] == site["python"]["six"], "system-site-packages shows the interpreter's own"
        assert [item["name"] for item in section.content["package"]] == ["alpha"]
        assert set(os.listdir(next(toolchain.project.prefix().glob("lib/python3*/site-packages")))) >= {"alpha.py"}
        said = toolchain.project.done("run", "work", "--", "python", "-c", WHERE).splitlines()
        assert said[0] == site["python-scientific"]["numpy"]
        assert said[1].startswith(str(toolchain.site.prefix))
        assert said[2].startswith(str(toolchain.project.prefix()))

    def test_a_rebuild_links_the_bytecode_of_the_first_build(self, toolchain: Modular) -> None:
        project = toolchain.project
        (first,) = project.prefix().glob("lib/python3*/site-packages/__pycache__/alpha.*.pyc")
        inode = first.stat().st_ino
        project.done("build", "--rebuild")
        (second,) = project.prefix().glob("lib/python3*/site-packages/__pycache__/alpha.*.pyc")
        assert second != first
        assert second.stat().st_ino == inode
        assert project.done("verify", "work")

    def test_the_same_input_gives_the_same_bytes(self, work: Modular) -> None:
        work.project.done("lock", "--method", "modules")
        first = work.project.lock().read_bytes()
        work.project.lock().unlink()
        work.project.done("lock", "--method", "modules")
        assert work.project.lock().read_bytes() == first
        assert "unchanged" in work.project.done("lock", "--method", "modules")

    def test_no_home_project_host_or_user_stands_in_the_lock(self, mine: Modular) -> None:
        """A modulefile of the project that names its own folder and the caller's home."""
        own = mine.project.root / "modules" / "own"
        own.mkdir(parents=True)
        (own / "1.0.lua").write_text(
            f'setenv("OWN_ROOT", "{own}")\nprepend_path("OWN_PATH", "{own}/x")\n'
            'setenv("OWN_CACHE", pathJoin(os.getenv("HOME"), "cache"))\n'
        )
        mine.spec(mine.scientific, "own/1.0", more='use = ["modules"]')
        mine.project.done("lock")
        text = mine.project.lock().read_text()
        for secret in (str(mine.project.root), mine.project.environ["HOME"], os.uname().nodename):
            assert secret not in text
        assert 'OWN_ROOT = "<project>/modules/own"' in text
        found = mine.variables()
        assert found["OWN_ROOT"] == str(own)
        assert found["OWN_PATH"] == f"{own}/x"
        assert found["OWN_CACHE"] == f"{mine.project.environ['HOME']}/cache"
        assert mine.variables(HOME="/elsewhere")["OWN_CACHE"] == "/elsewhere/cache"

    def test_a_script_of_the_home_that_a_module_sources_is_not_named_even_in_base64(self, mine: Modular) -> None:
        own = mine.project.root / "modules" / "own"
        own.mkdir(parents=True)
        script = Path(mine.project.environ["HOME"]) / "env.sh"
        script.write_text("export FROM_SCRIPT=1\n")
        (own / "1.0.lua").write_text(f'source_sh("bash", "{script}")\n')
        mine.spec(mine.scientific, "own/1.0", more='use = ["modules"]')
        mine.project.done("lock")
        text = mine.project.lock().read_text()
        assert base64.b64encode(str(script).encode()).decode()[:40] not in text
        assert mine.variables()["FROM_SCRIPT"] == "1"

    def test_a_resolution_asks_lmod_four_times_at_the_most_and_the_index_is_kept(self, work: Modular) -> None:
        logged, log = work.logged()
        logged.project.done("lock", "--method", "modules")
        assert sorted(calls(log)) == ["is-avail", "load", "load", "spider"]
        log.write_text("")
        logged.project.lock().unlink()
        logged.project.done("lock", "--method", "modules")
        assert sorted(calls(log)) == ["is-avail", "load", "load"]

    def test_a_version_that_the_spec_demands_is_installed_over_the_modules_and_said(self, work: Modular) -> None:
        make_wheel(work.project.wheelhouse, "numpy", "99.0", modules={"numpy/__init__.py": "__version__ = '99.0'\n"})
        more = '[modules.venv]\nrequirements = ["alpha", "numpy>=99"]\n'
        work.spec(work.scientific, imports=("numpy",), more=more)
        said = work.project.ozrepro("lock")
        assert said.returncode == 0, said.stderr
        has = work.site.packages["python-scientific"]["numpy"]
        assert f"numpy {has} of the modules does not satisfy 'numpy>=99'" in said.stderr
        found = work.project.done("run", "work", "--", "python", "-c", WHERE).splitlines()
        assert found[0] == "99.0"
        assert found[1].startswith(str(work.project.prefix()))

    def test_a_requirement_file_with_hashes_over_several_lines_demands_a_version(self, work: Modular) -> None:
        wheel = make_wheel(work.project.wheelhouse, "numpy", "99.0", modules={"numpy.py": "__version__ = '99.0'\n"})
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        (work.project.root / "needs.txt").write_text(f"numpy==99.0 \\\n    --hash=sha256:{digest}\n")
        work.spec(work.scientific, more='[modules.venv]\nrequirements = ["-r needs.txt"]\n')
        said = work.project.ozrepro("lock")
        assert said.returncode == 0, said.stderr
        assert "of the modules does not satisfy 'numpy==99.0': another version is installed over it" in said.stderr
        (work.project.root / "needs.txt").write_text(f"numpy==99.0 \\\n    --hash=sha256:{64 * '0'}\n")
        said = work.project.ozrepro("lock")
        assert said.returncode == 1
        assert "needs.txt, line 1: no file of numpy 99.0 has a hash that is named there" in said.stderr

    def test_an_older_package_that_fits_the_modules_is_taken_before_a_newer_one(self, work: Modular) -> None:
        make_wheel(work.project.wheelhouse, "alpha", "2.0", requires=("numpy>=99",))
        work.project.done("lock", "--method", "modules")
        assert 'version = "1.0"' in work.project.lock().read_text()

    def test_without_system_site_packages_the_interpreter_s_own_packages_are_not_seen(self, work: Modular) -> None:
        make_wheel(work.project.wheelhouse, "six", "1.99", modules={"six.py": "VERSION = '1.99'\n"})
        work.spec(work.scientific, more='[modules.venv]\nrequirements = ["alpha", "six"]\n')
        said = work.project.ozrepro("lock")
        assert said.returncode == 0, said.stderr
        has = work.site.packages["python"]["six"]
        assert f"the modules' Python has six {has}, which system-site-packages = true in [modules.venv] would show" in said.stderr
        found = work.project.done("run", "work", "--", "python", "-c", "import six; print(six.VERSION)")
        assert found == "1.99\n"
        assert '"six"' not in work.project.lock().read_text().partition("provides]")[2].partition("[[")[0]

    def test_a_bare_python_with_system_site_packages_is_warned_of(self, empty: Modular) -> None:
        empty.spec(empty.site.names["python-bare"], more="[modules.venv]\nsystem-site-packages = true\n")
        said = empty.project.ozrepro("lock")
        assert said.returncode == 0, said.stderr
        assert f"warning: {empty.site.names['python-bare']} has hardly any packages" in said.stderr

    def test_modules_without_python_are_refused_and_the_system_s_is_not_taken(self, empty: Modular) -> None:
        empty.spec("gcc/11.3.0")
        said = empty.project.ozrepro("lock")
        assert said.returncode == 1
        assert "the modules gcc/11.3.0 bring no Python" in said.stderr

    def test_lmod_s_own_message_comes_through(self, project: Project, site: Site) -> None:
        found = modular(project, site, "ozstar", "odd")
        for name, words in {
            "failing/1.0": "the licence server is away",
            "needy/1.0": "base-lib/1.0",
            "dangling/1.0": "not-there/1.0",
        }.items():
            found.spec(site.names["python"], name)
            said = found.project.ozrepro("lock")
            assert said.returncode == 1
            assert words in said.stderr
            assert not found.project.lock().exists()

    def test_the_project_itself_is_installed_on_top(self, empty: Modular) -> None:
        root = empty.project.root
        (root / "pyproject.toml").write_text(
            '[project]\nname = "own"\nversion = "1.0"\ndependencies = ["numpy"]\n\n'
            '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        )
        (root / "own.py").write_text("VERSION = '1.0'\n")
        (root / "backend.py").write_text(EDITABLE)
        more = '[modules.venv]\nsystem-site-packages = true\nrequirements = ["-e ."]\n'
        empty.spec(empty.scientific, imports=("own",), more=more)
        empty.project.done("lock")
        assert 'name = "own"' in empty.project.lock().read_text()
        found = empty.project.done("run", "work", "--", "python", "-c", "import numpy, own; print(own.__file__)")
        assert found.strip() == str(root / "own.py")

    def test_caches_stay_out_of_git_s_sight(self, work: Modular) -> None:
        subprocess.run(["git", "init", "-q", str(work.project.root)], check=True)
        work.project.done("lock", "--method", "modules")
        seen = work.project.run("git", "status", "--porcelain", "--untracked-files=all").stdout
        assert ".ozrepro" not in seen


class TestRefusals:
    def test_a_loose_name_is_a_mistake_of_the_spec(self, work: Modular) -> None:
        name = work.site.names["python"]
        work.spec(name.rpartition(".")[0])
        said = work.project.ozrepro("lock")
        assert said.returncode == 2
        assert "sessions/work.toml" in said.stderr
        assert name in said.stderr

    def test_two_ways_to_a_module_are_a_mistake_of_the_spec_that_names_them(self, work: Modular) -> None:
        work.spec("hdf5/1.12.2", work.scientific)
        work.project.done("lock")  # the bundle decides the way
        work.spec("hdf5/1.12.2")
        said = work.project.ozrepro("lock")
        assert said.returncode == 2
        assert "hdf5/1.12.2 can be reached in 2 ways: gcc/11.3.0 openmpi/4.1.4 hdf5/1.12.2; or gcc/12.2.0" in said.stderr

    def test_modules_of_one_family_are_refused(self, empty: Modular) -> None:
        empty.spec(empty.scientific, "intel-compilers/2022.1.0")
        said = empty.project.ozrepro("lock")
        assert said.returncode == 1
        assert "intel-compilers/2022.1.0" in said.stderr
        assert not empty.project.lock().exists()

    def test_another_version_of_a_found_parent_is_a_mistake_of_the_spec(self, empty: Modular) -> None:
        empty.spec("gcc/12.2.0", empty.scientific)
        said = empty.project.ozrepro("lock")
        assert said.returncode == 2
        wanted = f"gcc/12.2.0 and gcc/11.3.0 cannot be loaded together; gcc/11.3.0 is loaded for {empty.scientific}\n"
        assert f"modules.load: {wanted}" in said.stderr
        assert "swap" not in said.stderr

    def test_parents_without_a_version_are_not_versions_of_one_module(self, empty: Modular) -> None:
        first, second, last = (empty.project.root / name for name in ("first", "second", "last"))
        for folder in (first, second, last / "survey"):
            folder.mkdir(parents=True)
        (first / "one.lua").write_text(f'prepend_path("MODULEPATH", "{second}")\n')
        (second / "two.lua").write_text(f'prepend_path("MODULEPATH", "{last}")\n')
        (last / "survey" / "1.0.lua").write_text('setenv("SURVEY", "1")\n')
        empty.spec(empty.site.names["python"], "survey/1.0", more='use = ["first"]')
        empty.project.done("lock")
        assert 'parents = ["gcc/11.3.0", "one", "two"]' in empty.project.lock().read_text()

    def test_the_bare_namesake_never_answers_for_the_full_python(self, empty: Modular) -> None:
        empty.spec(empty.scientific, empty.site.names["python-bare"])
        said = empty.project.ozrepro("lock")
        assert said.returncode == 1
        bare, full = empty.site.names["python-bare"], empty.site.names["python"]
        assert f"{bare} and {full} cannot be loaded together" in said.stderr or f"{full} and {bare} cannot" in said.stderr
        assert "LMOD_DISABLE" not in said.stderr

    def test_two_versions_of_one_module_are_a_mistake_of_the_spec(self, empty: Modular) -> None:
        empty.spec("gcc/11.3.0", "gcc/12.2.0", empty.site.names["python"])
        said = empty.project.ozrepro("lock")
        assert said.returncode == 2
        assert "gcc/11.3.0 and gcc/12.2.0 cannot be loaded together" in said.stderr
        assert "swap" not in said.stderr

    def test_a_locked_parent_is_never_looked_up_in_directories_of_the_lock(self, toolchain: Modular) -> None:
        """A lock from somebody else that names a module of its own as a parent, and where to find it."""
        evil = toolchain.project.root / "more" / "evil"
        evil.mkdir(parents=True)
        (evil / "1.0.lua").write_text(f"io.open('{toolchain.project.root}/executed', 'w')\n")
        text = toolchain.project.lock().read_text()
        text = text.replace('load = ["gcc', 'load = ["evil/1.0", "gcc').replace('parents = ["gcc', 'parents = ["evil/1.0", "gcc')
        text = text.replace('modulepath = ["', 'modulepath = ["<project>/more", "')
        text = text.replace(
            "module = [\n",
            f'module = [\n    {{ name = "evil/1.0", file = "{evil}/1.0.lua", sha256 = "{_digest(evil / "1.0.lua")}" }},\n',
        )
        toolchain.project.lock().write_text(text)
        for words in (("verify", "work", "--level", "1"), ("status", "work"), ("lock", "work", "--method", "modules")):
            toolchain.project.ozrepro(*words)
        assert not (toolchain.project.root / "executed").exists()


class TestFallback:
    def test_a_machine_without_lmod_falls_through_to_the_venv_and_says_so(self, work: Modular) -> None:
        make_wheel(work.project.wheelhouse, "numpy", "2.0")
        (work.project.root / "noxfile.py").write_text(
            "import ozrepro\n\n@ozrepro.session\ndef work(session):\n    session.run('python', '-c', 'import alpha')\n"
        )
        project = Project(work.project.root, {k: v for k, v in work.project.environ.items() if k != "MODULEPATH"})
        done = project.run("nox", "-s", "work", LMOD_CMD=":")
        assert done.returncode == 0, done.stderr
        lines = [line for line in done.stderr.splitlines() if "skipping " in line]
        assert len(lines) == 1
        assert (
            lines[0].endswith("skipping modules: no module system here (Lmod, Environment Modules)")
            or "MODULEPATH is empty" in lines[0]
        )

    def test_an_absent_module_is_a_refusal_with_what_there_is(self, mine: Modular) -> None:
        make_wheel(mine.project.wheelhouse, "numpy", "2.0")
        Path(_file_of(mine, mine.site.names["python"])).unlink()
        mine.project.spec(
            'methods = ["modules", "venv"]\n\n[modules]\n'
            f"load = [{quoted(mine.site.names['python'])}]\n\n[venv]\nrequirements = ['alpha']\n"
        )
        said = mine.project.ozrepro("lock")
        assert said.returncode == 0, said.stderr
        assert "not locked: modules: there is no module" in said.stderr
        assert mine.site.names["python-bare"] in said.stderr

    def test_a_locked_module_that_is_gone_is_told_by_lock_too_with_the_ways_out(self, mine: Modular) -> None:
        make_wheel(mine.project.wheelhouse, "numpy", "2.0")
        mine.project.done("lock")
        Path(_file_of(mine, mine.scientific)).unlink()
        path = mine.project.root / "sessions" / "work.toml"
        for requirement in ('["alpha"]', '["alpha>=1"]'):
            path.write_text(path.read_text().replace('["alpha"]', requirement))
            said = mine.project.ozrepro("lock")
            assert said.returncode == 3
            assert "(venv)" in said.stdout
            assert (
                "work.lock: still has a section of modules that no longer holds here:\n  modules.linux-64/site: " in said.stderr
            )
            assert "try: name another module in the spec, or take modules out of the spec's methods" in said.stderr
            assert said.stderr.endswith("until then: --method venv\n")
        mine.project.done("run", "work", "--method", "venv", "--", "true")
        path.write_text(path.read_text().replace('methods = ["modules", "venv"]', 'methods = ["venv"]'))
        mine.project.done("lock")
        mine.project.done("run", "work", "--", "true")

    def test_where_there_is_no_lmod_a_section_that_holds_stays_and_an_old_one_is_told(self, work: Modular) -> None:
        make_wheel(work.project.wheelhouse, "numpy", "2.0")
        work.project.done("lock")
        other = work.without_lmod()
        other.done("lock")
        other.spec(
            (other.root / "sessions" / "work.toml").read_text().replace('"alpha"]\nmethods', '"alpha", "alpha.x"]\nmethods')
        )
        said = other.ozrepro("lock")
        assert said.returncode == 3
        assert "try: lock it where modules is available, or take modules out of the spec's methods" in said.stderr
        assert other.ozrepro("lock", "--check").returncode == 3

    def test_a_module_that_comes_into_an_empty_directory_is_locked_at_the_next_try(self, empty: Modular) -> None:
        folder = empty.project.root / "modules" / "survey"
        folder.mkdir(parents=True)
        os.utime(folder, (1e9, 1e9))
        os.utime(folder.parent, (1e9, 1e9))
        empty.spec(empty.site.names["python"], "survey/1.0", more='use = ["modules"]')
        said = empty.project.ozrepro("lock")
        assert said.returncode == 4
        assert "there is no module 'survey/1.0' here" in said.stderr
        (folder / "1.0.lua").write_text('setenv("SURVEY", "1")\n')
        empty.project.done("lock")

    def test_no_module_is_called_absent_by_a_kept_index_that_does_not_know_of_its_directory(self, mine: Modular) -> None:
        """A modulefile that is edited in place leads to a new tree: no directory that was watched has changed."""
        gcc, more = Path(_file_of(mine, "gcc/11.3.0")), mine.project.root.parent / "more"
        os.utime(gcc.parent, (1e9, 1e9))
        mine.spec(mine.site.names["python"], "survey/1.0")
        assert mine.project.ozrepro("lock").returncode == 4
        (more / "survey").mkdir(parents=True)
        (more / "survey" / "1.0.lua").write_text('setenv("SURVEY", "1")\n')
        edit(gcc, f'prepend_path("MODULEPATH", "{more}")')
        mine.project.done("lock")

    def test_a_module_that_vanished_after_locking_is_drift_and_never_a_reason_to_fall_back(self, mine: Modular) -> None:
        make_wheel(mine.project.wheelhouse, "numpy", "2.0")
        mine.project.done("lock")
        mine.project.done("build")
        Path(_file_of(mine, mine.site.names["python"])).unlink()
        said = mine.project.ozrepro("run", "work", "--", "true")
        assert said.returncode == 3
        assert f"module {mine.site.names['python']}: " in said.stderr
        assert ".lua is gone" in said.stderr
        assert "try: ozrepro diff work" in said.stderr


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _file_of(found: Modular, name: str) -> str:
    """Return the modulefile of a name."""
    files = (pair for files in found.site.index().values() for pair in files.items())
    return next(str(file) for file, entry in files if entry["fullName"] == name)


class TestDrift:
    def test_an_edited_modulefile_is_refused_named_and_accepted_by_locking_again(self, mine: Modular) -> None:
        mine.project.done("lock", "--method", "modules")
        assert mine.project.done("run", "work", "--", "sh", "-c", "echo $EDITED") == "\n"
        edit(_file_of(mine, "gcc/11.3.0"), 'setenv("EDITED", "yes")')
        refused = mine.project.ozrepro("run", "work", "--", "true")
        assert refused.returncode == 3
        assert "module gcc/11.3.0: " in refused.stderr
        assert "gcc/11.3.0.lua was changed" in refused.stderr
        assert "ozrepro diff work, then ozrepro lock work" in refused.stderr
        assert mine.project.ozrepro("lock", "--check", "--here", "--method", "modules").returncode == 3
        assert "gcc/11.3.0.lua was changed" in mine.project.done("diff", "work")
        status = mine.project.done("status", "work", "--plain").splitlines()[1]
        assert status.startswith("work     modules  drifted")
        assert "gcc/11.3.0.lua was changed" in status
        mine.project.done("lock", "--method", "modules")
        assert mine.project.done("run", "work", "--", "sh", "-c", "echo $EDITED") == "yes\n"

    def test_an_edited_script_behind_source_sh_is_found_by_a_real_load(
        self, project: Project, private_site: Callable[[], Site]
    ) -> None:
        found = modular(project, private_site(), "ozstar", "odd")
        found.spec(found.site.names["python"], "sourced/1.0")
        project = found.project
        project.done("lock")
        project.done("build")
        project.done("verify", "work", "--level", "1")
        edit(found.site.prefix / "odd" / "software" / "sourced" / "env.sh", "export SOURCED_LATER=1")
        assert project.ozrepro("verify", "work").returncode == 0
        said = project.ozrepro("verify", "work", "--level", "1")
        assert said.returncode == 3
        assert "SOURCED_LATER" in said.stderr
        assert "ozrepro lock work" in said.stderr
        project.done("lock")
        project.done("build")
        assert "verified" in project.done("verify", "work", "--level", "1")

    def test_without_lmod_a_real_load_cannot_be_compared_and_nothing_is_said_to_differ(self, toolchain: Modular) -> None:
        said = toolchain.without_lmod().ozrepro("verify", "work", "--level", "1")
        assert said.returncode == 1
        assert "a real load cannot be compared" in said.stderr
        assert "where modules can be loaded" in said.stderr

    def test_other_module_directories_are_found_by_a_real_load(self, toolchain: Modular) -> None:
        more = f"{toolchain.project.environ['MODULEPATH']}:{toolchain.site.roots['odd']}"
        said = toolchain.project.ozrepro("verify", "work", "--level", "1", MODULEPATH=more)
        assert said.returncode == 3
        assert "the module directories are " in said.stderr

    def test_a_user_s_modulerc_changes_nothing_and_is_named_when_locking(self, work: Modular) -> None:
        work.project.done("lock", "--method", "modules")
        before = work.project.lock().read_bytes()
        rc = Path(work.project.environ["HOME"]) / ".modulerc.lua"
        rc.write_text(f'hide_version("{work.scientific}")\nmodule_alias("{work.site.names["python"]}", "python/none")\n')
        work.project.lock().unlink()
        said = work.project.ozrepro("lock", "--method", "modules")
        assert said.returncode == 0, said.stderr
        assert "~/.modulerc.lua is not followed" in said.stderr
        assert work.project.lock().read_bytes() == before

    def test_a_new_rc_file_of_the_site_is_found_by_a_real_load(self, mine: Modular) -> None:
        mine.project.done("lock", "--method", "modules")
        mine.project.done("build")
        rc = Path(_file_of(mine, "gcc/11.3.0")).parent / ".modulerc.lua"
        rc.write_text('module_version("gcc/12.2.0", "default")\n')
        said = mine.project.ozrepro("verify", "work", "--level", "1")
        assert said.returncode == 3
        assert f"{rc} is new" in said.stderr

    def test_a_package_that_was_replaced_in_the_modules_is_drift(self, mine: Modular, tmp_path: Path) -> None:
        """A second folder that a module puts into PYTHONPATH: its package is rebuilt under the same module name."""
        folder = tmp_path / "bundle"
        info = folder / "gamma-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: gamma\nVersion: 1.0\n")
        edit(_file_of(mine, mine.scientific), f'prepend_path("PYTHONPATH", "{folder}")')
        mine.project.done("lock", "--method", "modules")
        mine.project.done("build")
        mine.project.done("run", "work", "--", "true")
        info.rename(folder / "gamma-1.1.dist-info")
        (folder / "gamma-1.1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: gamma\nVersion: 1.1\n")
        said = mine.project.ozrepro("run", "work", "--", "true")
        assert said.returncode == 3
        assert "the modules now have gamma 1.1, locked is 1.0" in said.stderr

    def test_a_lock_of_another_machine_is_told_from_drift(self, mine: Modular) -> None:
        mine.project.done("lock", "--method", "modules")
        (mine.site.prefix).rename(mine.site.prefix.with_name("moved"))
        said = mine.project.ozrepro("run", "work", "--", "true")
        assert said.returncode == 3
        assert "files is here" in said.stderr or "is gone" in said.stderr

    def test_without_a_name_the_platform_is_the_cpu_s_level(self, work: Modular) -> None:
        work.project.done("lock", "--method", "modules", OZREPRO_PLATFORM="")
        lock = load_lock(work.project.root, "work")
        assert lock is not None
        assert lock.sections[0].platform == f"linux-64/{cpu_level(cpu_flags()) or os.uname().machine}"

    def test_a_lock_of_another_platform_is_not_used(self, toolchain: Modular) -> None:
        said = toolchain.project.ozrepro("run", "work", "--", "true", OZREPRO_PLATFORM="milan")
        assert said.returncode == 4
        assert "modules: not locked for this platform (linux-64/milan)" in said.stderr


class TestRunning:
    def test_nothing_that_a_build_leaves_is_closed_to_its_owner(self, toolchain: Modular) -> None:
        folders = [path for path in toolchain.project.store().rglob("*") if path.is_dir() and not path.is_symlink()]
        assert [path for path in folders if path.stat().st_mode & 0o700 != 0o700] == []

    def test_a_second_start_needs_no_lmod_no_module_directories_and_no_network(self, toolchain: Modular) -> None:
        logged, log = toolchain.logged()
        for words in (("run", "work", "--", "python", "-c", WHERE),):
            assert logged.project.ozrepro(*words).returncode == 0
            gone = {k: v for k, v in toolchain.project.environ.items() if k not in ("LMOD_CMD", "MODULEPATH")}
            assert Project(toolchain.project.root, gone).ozrepro(*words).returncode == 0
        assert calls(log) == []
        probe = subprocess.run(["unshare", "-rn", "true"], capture_output=True, check=False)
        if probe.returncode == 0:
            done = toolchain.project.run("unshare", "-rn", str(BIN / "ozrepro"), "run", "work", "--", "python", "-c", WHERE)
            assert done.returncode == 0, done.stderr

    def test_a_build_from_the_lock_needs_no_lmod(self, work: Modular) -> None:
        work.project.done("lock", "--method", "modules")
        logged, log = work.logged()
        logged.project.done("build", LMOD_CMD=":")
        logged.project.done("build", "--rebuild")
        assert calls(log) == []

    def test_the_environment_is_that_of_a_real_load(self, toolchain: Modular) -> None:
        _compare(toolchain, "run", "work")

    def test_modules_loaded_in_the_caller_s_shell_change_nothing(self, toolchain: Modular) -> None:
        clean = toolchain.variables()
        site = toolchain.site
        dirty = read(site.lmod("load", "gcc/12.2.0", "openmpi/4.1.4", "hdf5/1.12.2", shell="bash").stdout).values
        more = {**dirty, "PYTHONPATH": "/mine", "LD_LIBRARY_PATH": "/mine/lib", "CC": "mycc", "VIRTUAL_ENV": "/other"}
        more["PATH"] = f"{toolchain.project.environ['PATH']}:{dirty['PATH']}"
        assert toolchain.variables(**more) == clean
        toolchain.project.lock().unlink()
        toolchain.project.done("lock", "--method", "modules", **more)
        assert toolchain.variables() == clean

    def test_a_site_s_pip_require_virtualenv_stays_in_force(self, toolchain: Modular) -> None:
        found = toolchain.variables(PIP_REQUIRE_VIRTUALENV="true", PIP_USER="1")
        assert found["PIP_REQUIRE_VIRTUALENV"] == "true"
        assert "PIP_USER" not in found
        assert found["PYTHONNOUSERSITE"] == "1"

    def test_the_python_of_a_modules_session_is_the_toolchain_s(self, toolchain: Modular) -> None:
        code = "import sys; print(sys.base_prefix, sys.prefix)"
        base, prefix = toolchain.project.done("run", "work", "--", "python", "-c", code).split(" ", 1)
        assert base == str(Path(toolchain.site.python).parent.parent)
        assert prefix.strip() == str(toolchain.project.prefix())

    def test_nox_runs_a_session_with_the_programs_of_the_modules(self, toolchain: Modular) -> None:
        (toolchain.project.root / "noxfile.py").write_text(
            "import ozrepro\n\n@ozrepro.session\ndef work(session):\n"
            "    session.run('python', '-c', 'import numpy; print(numpy.__version__)')\n"
            "    session.run('f2py', '-v')\n"
        )
        done = toolchain.project.run("nox", "-s", "work", "--error-on-external-run")
        assert done.returncode == 0, done.stderr
        assert toolchain.site.packages["python-scientific"]["numpy"] in done.stdout

    def test_verify_level_2_passes_on_a_modules_session(self, toolchain: Modular) -> None:
        assert "level 2" in toolchain.project.done("verify", "work", "--level", "2")

    def test_status_and_diff_describe_a_modules_session(self, toolchain: Modular) -> None:
        said = toolchain.project.done("status", "work")
        assert "modules  locked  built" in said
        assert "no difference" in toolchain.project.done("diff", "work")


def _compare(found: Modular, *words: str) -> None:
    """Insist that a program gets what a real load gives to the base of a locked run, but for what the venv adds."""
    lock = load_lock(found.project.root, "work")
    assert lock is not None
    load = lock.sections[0].content["load"]
    base = {name: value for name, value in found.project.environ.items() if is_inherited(name)}
    base |= {"PATH": ":".join(BASE_PATH), "MODULEPATH": found.project.environ["MODULEPATH"]}
    loaded = read(found.site.lmod("load", *load, strict=True, environ=base, shell="bash").stdout)
    expected = {**base, **loaded.values}
    prefix = str(found.project.prefix())
    expected |= {"PATH": f"{prefix}/bin:{expected['PATH']}", "VIRTUAL_ENV": prefix, "PYTHONNOUSERSITE": "1"}
    actual = found.variables(*words)
    own = ("LANG", "PWD", "SHLVL", "OLDPWD", "_", "LC_CTYPE", *says_where("", "", ""))
    for name in sorted((expected.keys() | actual.keys()) - set(own)):
        assert actual.get(name) == expected.get(name), name


def test_the_easybuild_tree_runs_as_it_loads(project: Project, site: Site) -> None:
    """33 modules as EasyBuild writes them; their software is empty, so Python comes from the other tree's module."""
    found = modular(project, site, "easybuild", "ozstar")
    found.spec(site.names["scipy-bundle"], "gcc/11.3.0", site.names["python"])
    project = found.project
    project.done("lock")
    lock = load_lock(project.root, "work")
    assert lock is not None
    assert len(lock.sections[0].content["module"]) == 35
    project.done("build")
    _compare(found, "run", "work")


def test_twelve_first_runs_at_once_lock_alike_and_build_once(work: Modular) -> None:
    (work.project.root / "noxfile.py").write_text(
        "import ozrepro\n\n@ozrepro.session\ndef work(session):\n    session.run('python', '-c', 'import numpy, alpha')\n"
    )
    words = [str(BIN / "nox"), "-s", "work"]
    project = work.project
    running = [subprocess.Popen(words, cwd=project.root, env=project.environ, stdout=-1, stderr=-1, text=True) for _ in range(12)]
    ended = [(*process.communicate(), process.returncode) for process in running]
    assert [status for _, _, status in ended] == [0] * 12, ended
    assert sum("building modules" in errors for _, errors, _ in ended) == 1
    assert len(list((project.store() / "gens").iterdir())) == 1


class TestEffects:
    def test_a_command_for_the_shell_is_refused_until_it_is_accepted_and_never_run(self, mine: Modular) -> None:
        root = mine.project.root
        ran = root / "ran"
        write(root / "modules", "pipe/3.0", [f'execute{{cmd="touch {ran}; export KEPT=1", modeA={{"load"}}}}'])
        mine.spec(mine.scientific, "pipe/3.0", more='use = ["modules"]')
        said = mine.project.ozrepro("lock")
        assert said.returncode == 1
        assert f"pipe/3.0: touch {ran}" in said.stderr
        assert 'add to [modules] accept-effects, to lock without them: "pipe/3.0"' in said.stderr
        assert not mine.project.lock().exists()
        mine.spec(mine.scientific, "pipe/3.0", more='use = ["modules"]\naccept-effects = ["pipe/3.0"]')
        said = mine.project.ozrepro("lock")
        assert said.returncode == 0, said.stderr
        assert "pipe/3.0 has the shell run" in said.stderr
        assert "<project>/ran" in mine.project.lock().read_text()
        assert mine.variables()["KEPT"] == "1"
        assert not ran.exists()


def test_a_pylock_is_taken_for_what_the_toolchain_lacks_and_its_own_versions_stay(work: Modular) -> None:
    project = work.project
    make_wheel(project.wheelhouse, "numpy", "99.0")
    project.spec('[venv]\nrequirements = ["alpha"]\n', "plain")
    project.done("lock", "plain")
    project.done("export", "plain", "--format", "pylock", "--output", "pylock.toml")
    make_wheel(project.wheelhouse, "alpha", "3.0", requires=("numpy",))
    load = f"[modules]\nload = [{quoted(work.scientific)}]\n"
    project.spec(f'{load}[modules.venv]\nsystem-site-packages = true\nrequirements = ["alpha"]\n', "again")
    said = project.ozrepro("lock", "again", "--from", "pylock.toml")
    assert said.returncode == 0, said.stderr
    assert "not taken over from pylock.toml: numpy 1.22.3, which the environment below has" in said.stderr
    lock = load_lock(project.root, "again")
    assert lock is not None
    assert [(item["name"], item["version"]) for item in lock.sections[0].content["package"]] == [("alpha", "1.0")]
