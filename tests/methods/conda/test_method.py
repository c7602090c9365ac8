"""The conda method on a channel of real packages: locked by build and hash, installed without any conda."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ozrepro.faststart import ready
from ozrepro.methods.reading import load_lock
from tests.conftest import BIN, Project
from tests.fake_cluster import Site, SiteUnavailable, tmod
from tests.fake_cluster.channel import Channel
from tests.fake_cluster.server import Server
from tests.fake_cluster.smallpackages import LINES, ODD, compile_mpi
from tests.faststart import strace
from tests.methods.modules.modular import Modular, edit, modular
from tests.methods.venv.test_projects import STATIC, make, tree
from tests.needs import FUSE
from tests.wheels import make_wheel

SHOW = "import numpy, sys; print(numpy.__version__, sys.prefix)"


def conda(project: Project, found: Channel, **more: str) -> Project:
    """Return the project of a user whose channels are the test's."""
    return dataclasses.replace(project, environ={**project.environ, "CONDA_CHANNEL_ALIAS": found.alias, **more})


def describe(project: Project, *dependencies: str, more: str = "", imports: str = "", name: str = "work") -> None:
    """Describe a session of the conda method."""
    wanted = ", ".join(f'"{text}"' for text in dependencies)
    project.spec(f"imports = [{imports}]\n\n[conda]\ndependencies = [{wanted}]\n{more}\n", name)


def publish(folder: Path, **packages: tuple[str, ...]) -> None:
    """Write a channel whose packages, for any platform, are in its index alone: enough to be locked."""
    index = {
        f"{name}-{version}-h0_0.conda": {
            "name": name,
            "version": version,
            "build": "h0_0",
            "build_number": 0,
            "depends": [],
            "subdir": "noarch",
            "noarch": "generic",
            "size": 10,
            "sha256": hashlib.sha256((name + version).encode()).hexdigest(),
            "md5": hashlib.md5((name + version).encode(), usedforsecurity=False).hexdigest(),
        }
        for name, versions in packages.items()
        for version in versions
    }
    for subdir in ("noarch", "linux-64", "osx-arm64"):
        (folder / subdir).mkdir(parents=True, exist_ok=True)
        listed = index if subdir == "noarch" else {}
        whole = {"info": {"subdir": subdir}, "packages": {}, "packages.conda": listed, "repodata_version": 1}
        (folder / subdir / "repodata.json").write_text(json.dumps(whole))


def records(project: Project, name: str = "work") -> dict[str, dict[str, object]]:
    """Return the locked records by name."""
    lock = load_lock(project.root, name)
    assert lock is not None
    (section,) = lock.sections
    return {record["name"]: record for record in section.content["record"]}


@pytest.fixture
def work(project: Project, channel: Channel) -> Project:
    """Give a project with Python, numpy, a tool with an entry point and an activation, described."""
    found = conda(project, channel)
    describe(found, "python=3.10", "numpy=1.22", "noarch-tool", "activates", imports='"numpy", "noarch_tool"')
    return found


@pytest.fixture
def built(work: Project) -> Project:
    """Give it locked and built."""
    work.done("lock")
    work.done("build")
    return work


class TestLocking:
    def test_records_have_all_that_installing_needs_and_no_address(self, work: Project, channel: Channel) -> None:
        work.done("lock")
        numpy = records(work)["numpy"]
        (archive,) = channel.find("numpy", version="1.22.3")
        assert (numpy["sha256"], numpy["size"], numpy["file"]) == (archive.sha256, archive.size, archive.file)
        assert numpy["channel"] == "conda-forge"
        assert numpy["build-number"] == archive.build_number
        text = work.lock().read_text()
        assert "file://" not in text
        assert str(channel.prefix) not in text

    def test_the_same_input_gives_the_same_bytes_and_nothing_to_change_is_not_solved_again(
        self, work: Project, private_channel: Channel
    ) -> None:
        here = conda(work, private_channel)
        here.done("lock")
        first = here.lock().read_bytes()
        here.lock().unlink()
        here.done("lock")
        assert here.lock().read_bytes() == first
        shutil.rmtree(private_channel.prefix)
        assert "unchanged" in here.done("lock"), "the channels are gone, and were not asked"

    def test_an_upgrade_takes_newer_builds_and_else_the_locked_ones_stay(self, work: Project) -> None:
        describe(work, "python=3.10", "numpy=1.22")
        work.done("lock")
        describe(work, "python=3.10", "numpy")
        work.done("lock")
        assert records(work)["numpy"]["version"] == "1.22.3"
        work.done("lock", "--upgrade")
        assert records(work)["numpy"]["version"] != "1.22.3"

    def test_two_locks_differ_by_a_line_a_package(self, work: Project) -> None:
        describe(work, "python=3.10", "numpy=1.22")
        work.done("lock")
        old = records(work)
        shutil.copy(work.lock(), work.root / "before.lock")
        describe(work, "python=3.10", "numpy", "noarch-tool")
        work.done("lock", "--upgrade")
        new = records(work)
        lines = work.done("diff", "work", "before.lock").splitlines()
        assert f"~ numpy 1.22.3 -> {new['numpy']['version']}" in lines
        assert f"+ noarch-tool {new['noarch-tool']['version']}" in lines
        assert len(lines) == sum(old.get(name) != new.get(name) for name in old.keys() | new.keys())
        found = json.loads(work.done("diff", "work", "before.lock", "--json"))["differences"]
        assert {"what": "numpy", "left": "1.22.3", "right": new["numpy"]["version"]} in found

    def test_one_lock_serves_behind_a_mirror(
        self, built: Project, channel: Channel, serve: Callable[[Path], Server], tmp_path: Path
    ) -> None:
        server = serve(channel.prefix)
        mirrored = conda(built, channel, CONDA_CHANNEL_ALIAS=server.url, OZREPRO_STORE=str(tmp_path / "other"))
        mirrored.done("build")
        assert any("numpy" in request for request in server.requests)
        assert "unchanged" in mirrored.done("lock")

    def test_an_environment_file_with_pip_and_variables_is_understood(self, project: Project, channel: Channel) -> None:
        found = conda(project, channel)
        make_wheel(project.wheelhouse, "alpha", requires=("numpy",))
        (project.root / "environment.yml").write_text(
            "name: whatever\nchannels:\n  - conda-forge\n  - nodefaults\ndependencies:\n  - python=3.10\n  - numpy=1.22\n"
            "  - pip:\n    - alpha\nvariables:\n  MY_MODE: 'fast \"and\" $loose'\n"
        )
        found.spec('imports = ["alpha"]\n\n[conda]\nfile = "environment.yml"\n')
        found.done("lock")
        assert '[[conda.linux-64.package]]\nname = "alpha"' in found.lock().read_text()
        code = "import alpha, os; print(alpha.VERSION, os.environ['MY_MODE'])"
        assert found.done("run", "work", "--", "python", "-c", code) == '1.0 fast "and" $loose\n'
        (project.root / "environment.yml").write_text("dependencies: [python=3.10]\n")
        refused = found.ozrepro("run", "work", "--", "true")
        assert refused.returncode == 3
        assert "environment.yml" in refused.stderr

    def test_a_mistake_in_an_environment_file_is_told_with_its_line(self, project: Project, channel: Channel) -> None:
        found = conda(project, channel)
        (project.root / "environment.yml").write_text("dependencies:\n  - python=3.10\n  - pip:\n    - --pre\nchanels: []\n")
        found.spec('[conda]\nfile = "environment.yml"\n')
        said = found.ozrepro("lock")
        assert said.returncode == 2
        assert "environment.yml" in said.stderr
        assert "line 4" in said.stderr
        assert "did you mean 'channels'" in said.stderr

    def test_hashes_and_extras_of_what_pip_adds_are_looked_at(self, project: Project, channel: Channel) -> None:
        found = conda(project, channel)
        make_wheel(project.wheelhouse, "beta")
        file = "dependencies:\n  - python=3.10\n  - pip:\n    - {}\n"
        (found.root / "environment.yml").write_text(file.format("beta[tabel]"))
        found.spec('[conda]\nfile = "environment.yml"\n')
        said = found.ozrepro("lock")
        assert said.returncode == 0, said.stderr
        assert "warning: The package `beta==1.0` does not have an extra named `tabel`" in said.stderr
        (found.root / "environment.yml").write_text(file.format(f"beta==1.0 --hash=sha256:{64 * '0'}"))
        said = found.ozrepro("lock")
        assert said.returncode == 1
        assert "[conda]: no file of beta 1.0 has a hash that is named there" in said.stderr

    def test_a_package_that_pip_would_take_over_conda_s_is_refused_with_the_remedy(
        self, project: Project, channel: Channel
    ) -> None:
        found = conda(project, channel)
        make_wheel(project.wheelhouse, "numpy", "99.0")
        describe(found, "python=3.10", "numpy=1.22", more='pip = ["numpy>=99"]')
        said = found.ozrepro("lock")
        assert said.returncode == 1
        assert "numpy 1.22.3 of the conda packages does not satisfy 'numpy>=99'" in said.stderr
        assert "ask conda for numpy" in said.stderr

    def test_all_mistakes_of_a_spec_are_told_at_once_as_an_invalid_spec(self, project: Project, channel: Channel) -> None:
        found = conda(project, channel)
        describe(found, "python=3.10", "other::pkg", more='channels = ["no channel!"]\nexclude-newer = "soon"\nunknown = 1')
        said = found.ozrepro("lock")
        assert said.returncode == 2
        assert "sessions/work.toml: 3 mistakes:" in said.stderr
        for key in ("conda.channels[0]: ", "conda.exclude-newer: ", "conda.unknown: "):
            assert key in said.stderr

    def test_a_channel_that_a_dependency_names_and_nobody_has_is_told_by_its_name(
        self, project: Project, channel: Channel
    ) -> None:
        found = conda(project, channel)
        describe(found, "python=3.10", "othr::pkg")
        said = found.ozrepro("lock")
        assert said.returncode == 1
        assert "the channel othr is not in channels, and is asked last: othr::pkg names it" in said.stderr
        assert f"in channel '{channel.alias}/othr/'" in said.stderr
        assert "try: check the channel's name" in said.stderr

    def test_each_platform_of_the_spec_has_a_section(self, project: Project, channel: Channel) -> None:
        found = conda(project, channel)
        describe(found, "activates", more='platforms = ["linux-64", "osx-arm64"]')
        found.done("lock")
        lock = load_lock(found.root, "work")
        assert lock is not None
        assert {section.platform: [record["name"] for record in section.content["record"]] for section in lock.sections} == {
            "linux-64": ["activates"],
            "osx-arm64": ["activates"],
        }

    def test_another_dependency_moves_no_package_of_any_platform_and_an_upgrade_moves_those_named(
        self, project: Project, tmp_path: Path
    ) -> None:
        folder = tmp_path / "chan"
        more = f'channels = ["file://{folder}"]\nplatforms = ["linux-64", "osx-arm64"]'

        def versions() -> dict[str, dict[str, str]]:
            lock = load_lock(project.root, "work")
            assert lock is not None
            return {item.platform: {one["name"]: one["version"] for one in item.content["record"]} for item in lock.sections}

        publish(folder, pkg=("1.0",), numpy=("1",), other=("1",))
        describe(project, "pkg", "numpy", more=more)
        project.done("lock")
        publish(folder, pkg=("1.0", "2.0"), numpy=("1", "2"), other=("1",))
        describe(project, "pkg", "numpy", "other", more=more)
        project.done("lock")
        kept = {"pkg": "1.0", "numpy": "1", "other": "1"}
        assert versions() == {"linux-64": kept, "osx-arm64": kept}
        project.done("lock", "work", "--upgrade", "numpy")
        assert versions() == {name: {**kept, "numpy": "2"} for name in ("linux-64", "osx-arm64")}
        said = project.ozrepro("lock", "work", "--upgrade", "nunpy")
        assert said.returncode == 2
        assert "did you mean numpy?" in said.stderr

    def test_conda_packages_that_cannot_be_solved_together_are_explained_by_lock(
        self, project: Project, channel: Channel
    ) -> None:
        found = conda(project, channel)
        describe(found, "python=3.10", "numpy=99")
        said = found.ozrepro("lock")
        assert said.returncode == 1
        assert "numpy" in said.stderr
        assert not found.lock().exists()


class TestNoMethod:
    NOXFILE = "import ozrepro\n\n@ozrepro.session\ndef work(session):\n    session.run('python', '-c', 'pass')\n"

    def check(self, project: Project, *reasons: str) -> None:
        """Insist on exit 4 of build and run with a line a method, and on the same text from nox."""
        text = "\n".join(("no method of session 'work' is available here:", *(f"  {reason}" for reason in reasons)))
        said, ran = (project.ozrepro(*words) for words in (("build",), ("run", "work", "--", "true")))
        assert (said.returncode, ran.returncode) == (4, 4), said.stderr
        assert said.stderr.startswith(f"ozrepro: {text}\n  try: ozrepro "), said.stderr
        assert ran.stderr == said.stderr
        (project.root / "noxfile.py").write_text(self.NOXFILE)
        done = project.run("nox", "-s", "work")
        assert done.returncode == 1
        whole = said.stderr.removeprefix("ozrepro: ").strip()
        assert whole in done.stderr, (whole, done.stderr)

    def test_without_a_lock_build_exits_4_with_each_reason_and_nox_has_the_same_text(
        self, project: Project, channel: Channel
    ) -> None:
        found = conda(project, channel, LMOD_CMD=":")
        found.spec(
            'methods = ["modules", "conda", "container"]\n[modules]\nload = ["gcc/11.3.0"]\n'
            '[conda]\ndependencies = ["python"]\nplatforms = ["osx-arm64"]\n[container]\nimage = "a.sif"\n'
        )
        self.check(
            found,
            "modules: no module system here (Lmod, Environment Modules)",
            "conda: platforms in [conda] has no linux-64",
            "container: no Apptainer here (apptainer or singularity on PATH)",
        )
        assert not found.lock().exists()
        assert found.ozrepro("lock").returncode == 4

    def test_build_with_a_lock_of_another_machine_exits_4_with_each_reason(self, project: Project, channel: Channel) -> None:
        found = conda(project, channel, OZREPRO_PLATFORM="site")
        describe(found, "activates")
        found.done("lock")
        text = found.lock().read_text().replace("conda.linux-64", "conda.linux-aarch64")
        found.spec('methods = ["modules", "conda"]\n[modules]\nload = ["gcc/11.3.0"]\n[conda]\ndependencies = ["activates"]\n')
        found.lock().write_text(text)
        self.check(
            found, "modules: not locked for this platform (linux-64/site)", "conda: not locked for this platform (linux-64)"
        )


class TestVirtualPackages:
    def test_a_gpu_package_locks_with_the_override_and_not_without(self, project: Project, channel: Channel) -> None:
        found = conda(project, channel)
        describe(found, "needs-cuda")
        said = found.ozrepro("lock")
        assert said.returncode == 1
        assert "__cuda" in said.stderr
        assert "CONDA_OVERRIDE_CUDA=" in said.stderr
        found.done("lock", CONDA_OVERRIDE_CUDA="12.4")
        assert 'virtual = ["__cuda=12.4=0"]' in found.lock().read_text()

    def test_a_gpu_package_locks_with_the_spec_s_virtual_packages(self, project: Project, channel: Channel) -> None:
        found = conda(project, channel)
        describe(found, "gpu-thing", more='[conda.virtual-packages]\ncuda = "12.4"')
        found.done("lock")
        assert "cuda" in str(records(found)["gpu-thing"]["build"])

    def test_a_build_for_the_cpu_that_was_taken_silently_is_said(self, project: Project, channel: Channel) -> None:
        found = conda(project, channel)
        describe(found, "gpu-thing")
        said = found.ozrepro("lock")
        assert said.returncode == 0, said.stderr
        assert "CPU builds of gpu-thing: no CUDA driver was detected or declared" in said.stderr

    def test_a_build_for_the_cpu_gives_way_when_a_gpu_is_said_and_the_others_stay(
        self, project: Project, channel: Channel
    ) -> None:
        found = conda(project, channel)
        describe(found, "gpu-thing", "noarch-tool=1.1")
        found.done("lock")
        describe(found, "gpu-thing", "noarch-tool", more='[conda.virtual-packages]\ncuda = "12.4"')
        found.done("lock")
        assert "cuda" in str(records(found)["gpu-thing"]["build"])
        assert records(found)["noarch-tool"]["version"] == "1.1"

    def test_a_record_of_a_node_with_another_driver_is_not_taken(
        self, project: Project, channel: Channel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found = conda(project, channel)
        describe(found, "needs-cuda")
        found.done("lock", CONDA_OVERRIDE_CUDA="12.4")
        found.done("run", "work", "--", "true")
        assert ready.find_ready(str(found.root), "work", None, found.environ) is not None
        # A file stands in for the driver's own: there is no GPU here.
        monkeypatch.setattr(ready, "DRIVER", str(tmp_path / "version"))
        for version in ("535.1", "550.54"):
            (tmp_path / "version").write_text(version)
            assert ready.find_ready(str(found.root), "work", None, found.environ) is None

    def test_a_gpu_lock_is_built_on_a_node_without_gpu(self, project: Project, channel: Channel) -> None:
        found = conda(project, channel)
        describe(found, "needs-cuda")
        found.done("lock", CONDA_OVERRIDE_CUDA="12.4")
        found.done("build")

    def test_a_machine_that_lacks_what_was_locked_is_refused_with_both_versions(self, project: Project, channel: Channel) -> None:
        found = conda(project, channel)
        describe(found, "needs-new-glibc")
        found.done("lock", CONDA_OVERRIDE_GLIBC="9.1")
        said = found.ozrepro("run", "work", "--", "true")
        assert said.returncode == 3
        assert "the C library here is glibc 2." in said.stderr
        assert ">=9" in said.stderr
        assert "run it on a machine that has this; or, to lock for this one: ozrepro lock work" in said.stderr

    def test_where_locking_again_would_change_nothing_the_edit_that_would_is_said(
        self, project: Project, channel: Channel
    ) -> None:
        found = conda(project, channel)
        describe(found, "needs-new-glibc", more='[conda.virtual-packages]\nglibc = "9.1"')
        said = found.ozrepro("lock")
        assert said.returncode == 0
        assert "conda.linux-64 is for another machine: the C library here is glibc 2." in said.stderr
        edit = 'change glibc = "9.1" in [conda.virtual-packages] of sessions/work.toml, then ozrepro lock work'
        for words in (("run", "work", "--", "true"), ("build",), ("lock", "--check", "--here")):
            said = found.ozrepro(*words)
            assert said.returncode == 3
            assert "the C library here is glibc 2." in said.stderr
            assert "the lock needs >=9" in said.stderr
            assert f"or, to lock for this one: {edit}" in said.stderr
        describe(found, "needs-new-glibc")
        with_variable = conda(project, channel, CONDA_OVERRIDE_GLIBC="9.1")
        with_variable.done("lock")
        said = with_variable.ozrepro("build")
        assert said.returncode == 3
        assert "unset CONDA_OVERRIDE_GLIBC, then ozrepro lock work" in said.stderr


class TestRunning:
    def test_nothing_that_a_build_leaves_is_closed_to_its_owner_who_throws_it_away(self, built: Project) -> None:
        folders = [path for path in built.store().rglob("*") if path.is_dir() and not path.is_symlink()]
        assert [path for path in folders if path.stat().st_mode & 0o700 != 0o700] == []
        (python,) = built.prefix().glob("bin/python3.*[0-9]")
        assert python.stat().st_mode & 0o222 == 0

    def test_python_packages_entry_points_and_activation_work(self, built: Project) -> None:
        version, prefix = built.done("run", "work", "--", "python", "-c", SHOW).split(" ", 1)
        assert version == "1.22.3"
        assert prefix.strip() == str(built.prefix())
        said = built.done("run", "work", "--", "noarch-tool", "a b", "$c")
        assert '"words": ["a b", "$c"]' in said
        raw = built.done("run", "work", "--", "env", "-0")
        found = dict(entry.partition("=")[::2] for entry in raw.split("\0") if entry)
        assert found["ACTIVATES_ODD"] == ODD
        assert found["ACTIVATES_LINES"] == LINES
        assert found["ACTIVATES_HOME"] == f"{built.prefix()}/share/activates"
        assert found["CONDA_PREFIX"] == str(built.prefix())
        assert found["PATH"].startswith(f"{built.prefix()}/share/activates/bin:{built.prefix()}/bin:")

    def test_a_conda_session_runs_and_rebuilds_without_network_and_channel(self, work: Project, private_channel: Channel) -> None:
        here = conda(work, private_channel)
        here.done("lock")
        here.done("build")
        shutil.rmtree(private_channel.prefix)
        probe = subprocess.run(["unshare", "-rn", "true"], capture_output=True, check=False)
        cut = ["unshare", "-rn"] if probe.returncode == 0 else []
        done = here.run(*cut, str(BIN / "ozrepro"), "run", "work", "--", "python", "-c", SHOW)
        assert done.returncode == 0, done.stderr
        again = here.run(*cut, str(BIN / "ozrepro"), "build", "--rebuild")
        assert again.returncode == 0, again.stderr

    @pytest.mark.skipif(bool(strace.why_not()), reason=strace.why_not() or "strace works")
    def test_modules_that_come_without_bytecode_are_compiled_once_for_all_environments(self, built: Project) -> None:
        def bytecode() -> Path:
            (path,) = built.prefix().glob("lib/python3*/site-packages/__pycache__/noarch_tool.*.pyc")
            return path

        first, inode = built.prefix(), bytecode().stat().st_ino
        done = built.run("strace", "-f", "-qq", "-s", "500", "-e", "trace=execve", "ozrepro", "build", "--rebuild")
        assert done.returncode == 0, done.stderr
        assert "bin/python" in done.stderr
        assert "compiling.py" not in done.stderr
        assert built.prefix() != first
        assert bytecode().stat().st_ino == inode
        code = "import noarch_tool as tool; print(tool.__cached__, tool.main.__code__.co_filename, sep='\\n')"
        said = built.done("run", "work", "--", "python", "-c", code)
        assert said.splitlines() == [str(bytecode()), str(bytecode().parents[1] / "noarch_tool.py")]
        assert built.done("verify", "work")

    def test_prefixes_in_text_and_in_binaries_are_the_environment_s(self, project: Project, channel: Channel) -> None:
        found = conda(project, channel)
        describe(found, "text-prefix", "binary-prefix")
        found.done("lock")
        for program in ("text-prefix", "binary-prefix"):
            assert str(found.prefix() if found.store().joinpath("names").is_dir() else "") in found.done(
                "run", "work", "--", program
            )

    def test_a_conda_session_writes_nothing_into_the_home(self, built: Project) -> None:
        home = Path(built.environ["HOME"])
        assert sorted(path.name for path in home.rglob("*") if "conda" in str(path) or "rattler" in str(path)) == []

    def test_nox_runs_a_conda_session(self, built: Project) -> None:
        (built.root / "noxfile.py").write_text(
            "import ozrepro\n\n@ozrepro.session\ndef work(session):\n    session.run('noxarch'[:3] and 'python', '-c', 'import numpy')\n"
        )
        done = built.run("nox", "-s", "work")
        assert done.returncode == 0, done.stderr

    def test_verify_level_2_and_diff_find_no_difference_in_a_conda_session(self, built: Project) -> None:
        assert "level 2" in built.done("verify", "work", "--level", "2")
        assert "no difference" in built.done("diff", "work")

    def test_an_edited_file_is_found_and_restored_though_the_cache_was_edited_too(self, built: Project) -> None:
        module = next(built.prefix().glob("lib/python3*/site-packages/numpy/version.py"))
        module.chmod(0o644)
        with open(module, "a", encoding="utf-8") as stream:
            stream.write("# edited\n")
        assert built.ozrepro("verify", "work").returncode == 1
        built.done("build", "--rebuild")
        built.done("verify", "work", "--level", "2")


class TestFailures:
    def test_a_tampered_archive_is_refused_and_the_cache_stays_sound(self, work: Project, private_channel: Channel) -> None:
        here = conda(work, private_channel)
        here.done("lock")
        path = private_channel.path(private_channel.find("noarch-tool")[-1])
        good = path.read_bytes()
        path.write_bytes(good[:-10] + b"0123456789")
        said = here.ozrepro("build")
        assert said.returncode == 1
        assert "noarch-tool" in said.stderr
        assert "sha256" in said.stderr
        assert list((here.store() / "gens").iterdir()) == []
        path.write_bytes(good)
        here.done("build")

    def test_a_truncated_download_is_told_and_the_next_run_succeeds(
        self, work: Project, channel: Channel, serve: Callable[[Path], Server]
    ) -> None:
        server = serve(channel.prefix)
        here = conda(work, channel, CONDA_CHANNEL_ALIAS=server.url)
        here.done("lock")
        server.cut("*/numpy-*", after=1000)
        said = here.ozrepro("build")
        assert said.returncode == 1
        assert "numpy" in said.stderr
        assert list((here.store() / "gens").iterdir()) == []
        server.restore()
        here.done("build")

    def test_a_path_that_is_too_long_for_packaged_scripts_is_refused(self, work: Project, tmp_path: Path) -> None:
        work.done("lock")
        said = work.ozrepro("build", OZREPRO_STORE=str(tmp_path / ("long" * 40)))
        assert said.returncode == 1
        assert "a conda environment's path can have" in said.stderr
        assert "set OZREPRO_STORE to a directory with a shorter path" in said.stderr

    def test_a_vanished_channel_says_so(self, work: Project, channel: Channel, serve: Callable[[Path], Server]) -> None:
        server = serve(channel.prefix)
        here = conda(work, channel, CONDA_CHANNEL_ALIAS=server.url)
        here.done("lock")
        server.stop()
        said = here.ozrepro("build")
        assert said.returncode == 1
        assert "try: " in said.stderr
        assert list((here.store() / "gens").iterdir()) == []

    def test_a_full_disk_is_told_and_the_next_run_succeeds(self, work: Project, small_disk: Path) -> None:
        here = dataclasses.replace(work, environ={**work.environ, "OZREPRO_STORE": str(small_disk / "store")})
        here.done("lock")
        subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
        said = here.ozrepro("build")
        assert said.returncode == 1
        assert "no space left" in said.stderr.lower()
        assert list((small_disk / "store" / "gens").iterdir()) == []
        subprocess.run(["mount", "-o", "remount,size=2g", str(small_disk)], check=True)
        here.done("build")
        here.done("verify", "work", "--level", "2")

    def test_a_build_killed_while_it_links_leaves_nothing_that_is_used(self, work: Project) -> None:
        work.done("lock")
        words = [str(BIN / "ozrepro"), "build"]
        with subprocess.Popen(words, cwd=work.root, env=work.environ, stdout=-1, stderr=-1, start_new_session=True) as process:
            deadline = time.monotonic() + 60
            while not list(work.store().glob("gens/*/env/conda-meta/*.json")):
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < deadline
            os.killpg(process.pid, signal.SIGKILL)
        assert list((work.store() / "names").glob("[!.]*")) == []
        work.done("build")
        work.done("verify", "work", "--level", "2")

    def test_twelve_first_runs_at_once_build_once(self, work: Project) -> None:
        (work.root / "noxfile.py").write_text(
            "import ozrepro\n\n@ozrepro.session\ndef work(session):\n    session.run('python', '-c', 'import numpy')\n"
        )
        words = [str(BIN / "nox"), "-s", "work"]
        running = [subprocess.Popen(words, cwd=work.root, env=work.environ, stdout=-1, stderr=-1, text=True) for _ in range(12)]
        ended = [(*process.communicate(), process.returncode) for process in running]
        assert [status for _, _, status in ended] == [0] * 12, ended
        assert sum("building conda" in errors for _, errors, _ in ended) == 1

    def test_a_hostile_record_is_refused_by_name(self, work: Project) -> None:
        work.done("lock")
        text = work.lock().read_text()
        for old, new, word in (
            ('file = "numpy', 'file = "../numpy', "file"),
            ('subdir = "linux-64"', 'subdir = "../.."', "subdir"),
            ('channel = "conda-forge"', 'channel = "evil"', "channel"),
            ("build-number = 0", "build-number = -1", "build-number"),
        ):
            work.lock().write_text(text.replace(old, new, 1))
            said = work.ozrepro("build")
            assert said.returncode == 3
            assert word in said.stderr
        assert not (work.store() / "gens").exists() or os.listdir(work.store() / "gens") == []


def empty_channel(project: Project) -> str:
    """Make a channel without packages and return its address."""
    folder = project.root.parent / "empty"
    for subdir in ("noarch", "linux-64"):
        (folder / subdir).mkdir(parents=True)
        (folder / subdir / "repodata.json").write_text(
            json.dumps({"info": {"subdir": subdir}, "packages": {}, "packages.conda": {}})
        )
    return folder.as_uri()


class TestOtherTools:
    @pytest.mark.parametrize(("form", "file"), [("conda-explicit", "env.txt"), ("conda-lock", "conda-lock.yml")])
    def test_an_exported_file_is_read_back_and_gives_the_same_packages(self, work: Project, form: str, file: str) -> None:
        work.done("lock")
        before = records(work)
        work.done("export", "work", "--format", form, "--output", file)
        describe(work, "python", name="again")
        work.done("lock", "again", "--from", file)
        assert records(work, "again") == before
        assert work.ozrepro("run", "again", "--", "noarch-tool").returncode == 0

    @pytest.mark.parametrize("form", ["conda-explicit", "conda-lock", "environment.yml"])
    def test_an_exported_file_names_public_addresses_and_not_those_of_this_site(
        self, work: Project, channel: Channel, form: str
    ) -> None:
        work.done("lock")
        text = work.done("export", "work", "--format", form)
        assert channel.alias not in text
        assert "https://conda.anaconda.org/conda-forge" in text or form == "environment.yml"
        assert "nodefaults" not in text, "conda 26.7 takes it for a channel"

    def test_a_channel_that_only_the_settings_know_is_told_when_it_is_exported(self, work: Project, channel: Channel) -> None:
        (work.root / "pyproject.toml").write_text(f'[tool.ozrepro.channels]\nsurvey = "{channel.alias}/conda-forge"\n')
        work.spec('[conda]\nchannels = ["survey"]\ndependencies = ["python"]\n')
        work.done("lock")
        for form in ("conda-explicit", "conda-lock", "environment.yml"):
            said = work.ozrepro("export", "work", "--format", form)
            assert channel.alias not in said.stdout
            assert "the channel survey is https://conda.anaconda.org/survey to others" in said.stderr

    @pytest.mark.parametrize("alias", ["https://packages.example/t/xy-s3cret", "https://me:s3cret@packages.example"])
    def test_an_alias_with_a_secret_is_refused_by_every_command_and_not_shown(self, work: Project, alias: str) -> None:
        work.done("lock")
        for words in (("lock",), ("build",), ("status",), ("export", "work", "--format", "conda-explicit")):
            said = work.ozrepro(*words, CONDA_CHANNEL_ALIAS=alias)
            assert "s3cret" not in said.stdout + said.stderr
            assert "is not a plain address" in said.stderr + said.stdout, (words, said)

    def test_a_package_of_a_channel_that_is_not_listed_is_taken_and_told(self, work: Project) -> None:
        (work.root / "environment.yml").write_text("channels:\n  - other\ndependencies:\n  - conda-forge::noarch-tool\n")
        work.spec('[conda]\nfile = "environment.yml"\n')
        (work.root / "pyproject.toml").write_text(f'[tool.ozrepro.channels]\nother = "{empty_channel(work)}"\n')
        said = work.ozrepro("lock")
        assert said.returncode == 0, said.stderr
        assert "the channel conda-forge is not in channels, and is asked last: conda-forge::noarch-tool names it" in said.stderr
        assert {record["channel"] for record in records(work).values()} == {"conda-forge"}
        work.done("lock", "--check")

    def test_what_another_tool_s_file_cannot_hold_or_bring_is_said(self, project: Project, channel: Channel) -> None:
        found = conda(project, channel)
        make_wheel(project.wheelhouse, "alpha")
        make_wheel(project.wheelhouse, "beta", "2.0")
        (project.root / "environment.yml").write_text(
            "dependencies:\n  - python=3.10\n  - noarch-tool\n  - pip: [alpha, beta]\nvariables:\n  MY_MODE: fast\n"
        )
        found.spec('[conda]\nfile = "environment.yml"\n')
        found.done("lock")
        for form in ("conda-explicit", "conda-lock"):
            said = found.ozrepro("export", "work", "--format", form, "--output", form)
            assert said.stderr == (
                f"ozrepro: work: {form} has no place for 2 packages of pip (alpha, beta) and 1 variable (MY_MODE); "
                "environment.yml holds them\n"
            )
        assert found.ozrepro("export", "work", "--format", "environment.yml").stderr == ""
        found.done("build")
        state = found.prefix() / "conda-meta" / "state"
        state.write_text('{"version": 1, "env_vars": {"MY_MODE": "fast"}}')
        describe(found, "python", "noarch-tool", more='pip = ["beta"]', name="again")
        said = found.ozrepro("lock", "again", "--from", str(found.prefix()))
        assert said.returncode == 0, said.stderr
        assert (
            f"again: not taken over from {found.prefix()}: 1 package of pip (alpha==1.0) and 1 variable (MY_MODE); "
            "packages go into pip of [conda], variables into an environment.yml\n"
        ) in said.stderr, "what the spec names itself is not told"
        assert "noarch" not in said.stderr, "a conda package of Python code is none of pip's"
        entry = (
            "- name: alpha\n  version: '1.0'\n  manager: pip\n  platform: linux-64\n  dependencies: {}\n  url: x\n  hash: {}\n"
        )
        with open(found.root / "conda-lock", "a", encoding="utf-8") as stream:
            stream.write(entry)
        said = found.ozrepro("lock", "again", "--from", "conda-lock")
        assert said.returncode == 0, said.stderr
        assert "not taken over from conda-lock: 1 package of pip (alpha==1.0); packages go" in said.stderr

    @pytest.mark.parametrize("place", ["spec", "my env/environment.yml"])
    def test_the_project_itself_is_installed_as_pip_would(self, work: Project, place: str) -> None:
        make_wheel(work.wheelhouse, "alpha")
        make(work.root, STATIC)
        if place == "spec":
            describe(work, "python=3.10", "noarch-tool", more='pip = ["-e ."]', imports='"fit"')
        else:
            (work.root / "my env").mkdir()
            (work.root / place).write_text("dependencies:\n  - python=3.10\n  - pip:\n      - -r a b.txt\n      - -e ..\n")
            (work.root / "my env" / "a b.txt").write_text("alpha\n")
            work.spec(f'imports = ["fit"]\n[conda]\nfile = "{place}"\n')
        before = tree(work.root)
        work.done("lock")
        lock = load_lock(work.root, "work")
        assert lock is not None
        assert lock.sections[0].content["project"] == {"name": "fit", "extras": []}
        work.done("build")
        assert tree(work.root) == before
        show = "import alpha, fit; print(fit.version, fit.__file__)"
        assert work.done("run", "work", "--", "python", "-c", show).strip() == f"3 {work.root / 'fit' / '__init__.py'}"
        work.done("verify", "work", "--level", "2")

    def test_what_builds_the_project_is_locked_and_built_with(self, work: Project) -> None:
        make_wheel(work.wheelhouse, "alpha")
        make_wheel(work.wheelhouse, "helper-tool")
        make(work.root, STATIC.replace("requires = []", 'requires = ["helper-tool"]'))
        describe(work, "python=3.10", more='pip = ["-e ."]', imports='"fit"')
        work.done("lock")
        lock = load_lock(work.root, "work")
        assert lock is not None
        assert [item["name"] for item in lock.sections[0].content["build"]] == ["helper-tool"]
        assert work.done("lock", "--check") == "work: lock is up to date\n"
        left = "does not hold what is in the project's folder (fit): pip install --no-deps -e ."
        for form in ("conda-explicit", "conda-lock", "environment.yml"):
            assert f"ozrepro: work: {form} {left}\n" in work.ozrepro("export", "work", "--format", form).stderr
        work.done("build")
        assert not list(work.prefix().glob("lib/python3.10/site-packages/helper_tool*"))

    def test_a_check_against_another_tool_s_file_compares_and_writes_nothing(self, work: Project) -> None:
        describe(work, "python=3.10", "noarch-tool=1.1")
        work.done("lock")
        work.done("export", "work", "--format", "conda-explicit", "--output", "env.txt")
        describe(work, "python", "noarch-tool", name="again")
        assert work.ozrepro("lock", "again", "--from", "env.txt", "--check").returncode == 3, "no lock file"
        work.done("lock", "again", "--from", "env.txt")
        before = work.lock("again").read_bytes()
        said = work.done("lock", "again", "--from", "env.txt", "--check")
        assert said == "again: lock is up to date, and is what env.txt gives\n"
        describe(work, "python=3.10", "noarch-tool=1.0")
        work.done("lock")
        work.done("export", "work", "--format", "conda-explicit", "--output", "env.txt")
        refused = work.ozrepro("lock", "again", "--from", "env.txt", "--check")
        assert refused.returncode == 3
        assert "again.lock: is not what env.txt gives:\n  ~ noarch-tool 1.1 -> 1.0\n" in refused.stderr
        assert "try: ozrepro lock again --from env.txt" in refused.stderr
        assert work.lock("again").read_bytes() == before
        assert "unchanged" not in work.done("lock", "again", "--from", "env.txt")

    def test_an_exported_environment_file_gives_the_same_packages(self, work: Project) -> None:
        work.done("lock")
        work.done("export", "work", "--format", "environment.yml", "--output", "environment.yml")
        work.spec('[conda]\nfile = "environment.yml"\n', "again")
        work.done("lock", "again")
        assert records(work, "again") == records(work)

    def test_an_existing_environment_is_locked_as_it_is(self, built: Project) -> None:
        prefix = built.prefix()
        describe(built, "python", name="again")
        built.done("lock", "again", "--from", str(prefix))
        assert records(built, "again") == records(built)

    def test_the_explicit_file_has_what_conda_and_mamba_read(self, work: Project) -> None:
        """Comment lines, `@EXPLICIT`, then one address a line with its hash, packages behind what they need (conda's manual)."""
        work.done("lock")
        lines = work.done("export", "work", "--format", "conda-explicit").splitlines()
        start = lines.index("@EXPLICIT")
        assert all(line.startswith("#") for line in lines[:start])
        assert "# platform: linux-64" in lines[:start]
        found = [line.partition("#") for line in lines[start + 1 :]]
        assert len(found) == len(records(work))
        for address, _, digest in found:
            assert address.startswith("https://conda.anaconda.org/conda-forge/")
            assert digest.startswith("sha256:")
            assert len(digest) == 71
        names = [address.rpartition("/")[2] for address, _, _ in found]
        assert names.index(str(records(work)["python"]["file"])) < names.index(str(records(work)["numpy"]["file"]))

    def test_a_source_that_the_channels_do_not_have_is_refused(self, work: Project, channel: Channel) -> None:
        work.done("lock")
        text = work.done("export", "work", "--format", "conda-explicit")
        (numpy,) = channel.find("numpy", version="1.22.3")
        (work.root / "env.txt").write_text(text.replace(numpy.sha256, "0" * 64))
        describe(work, "python", name="again")
        said = work.ozrepro("lock", "again", "--from", "env.txt")
        assert said.returncode == 1
        assert "numpy" in said.stderr
        (work.root / "odd.txt").write_text("numpy\n")
        said = work.ozrepro("lock", "again", "--from", "odd.txt")
        assert said.returncode == 2


class TestSystemMpi:
    @pytest.fixture
    def modular_mpi(self, project: Project, channel: Channel, private_site: Callable[[], Site]) -> Modular:
        """Give a project on a site whose openmpi module has a library that says whose it is."""
        found = modular(project, private_site())
        root = next(Path(found.site.prefix / "apps" / "software" / "openmpi").glob("4.1.4-*11.3.0"))
        (root / "lib").mkdir(exist_ok=True)
        compile_mpi(root / "lib", "openmpi", "openmpi of the module")
        environ = {**found.project.environ, "CONDA_CHANNEL_ALIAS": channel.alias}
        return dataclasses.replace(found, project=dataclasses.replace(found.project, environ=environ))

    def test_a_module_with_one_way_to_it_is_loaded_beneath(self, modular_mpi: Modular) -> None:
        project = modular_mpi.project
        other = modular_mpi.site.prefix / "apps" / "modulefiles" / "compiler" / "gcc" / "12.2.0" / "openmpi"
        shutil.rmtree(other)
        module = modular_mpi.site.prefix / "apps" / "modulefiles" / "compiler" / "gcc" / "11.3.0" / "openmpi" / "4.1.4.lua"
        edit(module, 'setenv("OMPI_MCA_tmp", pathJoin(os.getenv("SCRATCH") or "/tmp", "x"))')
        edit(module, 'if os.getenv("FABRIC") == "ib" then setenv("UCX", "1") end')
        describe(project, "mpi-user", more='mpi = "openmpi/4.1.4"')
        assert "FABRIC, read by openmpi/4.1.4" in project.ozrepro("lock").stderr
        project = dataclasses.replace(project, environ={**project.environ, "OZREPRO_SITE_VARIABLES": "FABRIC"})
        project.done("lock")
        assert project.done("run", "work", "--", "sh", "-c", "echo $OMPI_MCA_tmp", SCRATCH="/s") == "/s/x\n"
        assert project.ozrepro("run", "work", "--", "true", FABRIC="ib").returncode == 3
        assert str(records(project)["openmpi"]["build"]).startswith("external_")
        assert project.done("run", "work", "--", "mpi-user") == "openmpi of the module\n"
        raw = project.done("run", "work", "--", "env", "-0")
        found = dict(entry.partition("=")[::2] for entry in raw.split("\0") if entry)
        assert found["LOADEDMODULES"] == "gcc/11.3.0:openmpi/4.1.4"
        assert found["PATH"].startswith(f"{project.prefix()}/bin:")
        without = dataclasses.replace(project, environ={**project.environ, "LMOD_CMD": ":"})
        assert without.done("run", "work", "--", "mpi-user") == "openmpi of the module\n"
        project.done("verify", "work", "--level", "2")
        edit(module, 'setenv("EDITED", "1")')
        said = project.ozrepro("run", "work", "--", "mpi-user")
        assert said.returncode == 3
        assert "module openmpi/4.1.4: " in said.stderr

    def test_a_module_of_environment_modules_is_loaded_beneath(self, modular_mpi: Modular, tmp_path: Path) -> None:
        try:
            script = tmod.make("5.5")
        except SiteUnavailable as reason:
            pytest.skip(f"no Environment Modules: {reason}")
        more = {"LMOD_CMD": ":", "MODULES_CMD": script, "MODULEPATH": tmod.make_tree(modular_mpi.site, tmp_path / "tcl")}
        project = dataclasses.replace(modular_mpi.project, environ={**modular_mpi.project.environ, **more})
        describe(project, "mpi-user", more='mpi = ["gcc/11.3.0", "openmpi/4.1.4"]')
        project.done("lock")
        assert 'tool = "tcl 5.5' in project.lock().read_text()
        assert project.done("run", "work", "--", "mpi-user") == "openmpi of the module\n"
        described = project.ozrepro("lock", "--check", "--here", LMOD_CMD=modular_mpi.site.lmod_cmd, OZREPRO_MODULE_TOOL="lmod")
        assert described.returncode == 3
        assert "were locked with Environment Modules 5.5" in described.stderr

    @FUSE
    def test_the_module_s_software_can_be_kept_in_the_environment_s_file(self, modular_mpi: Modular) -> None:
        environ = {**modular_mpi.project.environ, "OZREPRO_FORM": "file"}
        project = dataclasses.replace(modular_mpi.project, environ=environ)
        described = 'mpi = ["gcc/11.3.0", "openmpi/4.1.4"]\n'
        describe(project, "mpi-user", more=described)
        project.done("lock")
        lock = project.lock().read_bytes()
        describe(project, "mpi-user", more=f'{described}keep = "all"')
        assert "of 2 folders: " in project.ozrepro("build").stderr
        apps = modular_mpi.site.prefix / "apps"
        shutil.rmtree(apps / "software" / "openmpi")
        shutil.rmtree(apps / "modulefiles" / "compiler")
        assert project.done("run", "work", "--", "mpi-user") == "openmpi of the module\n"
        assert "the environment's file keeps it as it was" in project.ozrepro("status").stderr
        assert project.lock().read_bytes() == lock
        describe(project, "mpi-user", more=described)
        assert project.ozrepro("run", "work", "--", "mpi-user").returncode == 3

    def test_a_module_with_several_ways_is_refused_until_mpi_names_one_of_them(self, modular_mpi: Modular) -> None:
        project = modular_mpi.project
        describe(project, "mpi-user", more='mpi = "openmpi/4.1.4"')
        said = project.ozrepro("lock")
        assert said.returncode == 2
        assert "openmpi/4.1.4 can be reached in 2 ways: gcc/11.3.0 openmpi/4.1.4; or gcc/12.2.0 openmpi/4.1.4" in said.stderr
        assert "try: write one of them into mpi = […]" in said.stderr
        describe(project, "mpi-user", more='mpi = ["gcc/11.3.0", "openmpi/4.1.4"]')
        project.done("lock")
        assert project.done("run", "work", "--", "mpi-user") == "openmpi of the module\n"
        assert project.done("run", "work", "--", "sh", "-c", "echo $LOADEDMODULES") == "gcc/11.3.0:openmpi/4.1.4\n"
        assert "unchanged" in project.done("lock")
        said = project.ozrepro("export", "work", "--format", "conda-explicit")
        assert "conda-explicit has no place for the modules to be loaded beside it (gcc/11.3.0 openmpi/4.1.4)" in said.stderr
        text = project.lock().read_text()
        assert text.count('"gcc/11.3.0", "openmpi/4.1.4"') == 1
        project.lock().write_text(text.replace('"gcc/11.3.0", "openmpi/4.1.4"', '"gcc/12.2.0", "openmpi/4.1.4"'))
        refused = project.ozrepro("build")
        assert refused.returncode == 3
        assert "mpi" in refused.stderr

    def test_without_the_module_the_method_cannot_serve_and_says_why(self, project: Project, channel: Channel) -> None:
        found = conda(project, channel, LMOD_CMD=":")
        describe(found, "mpi-user", more='mpi = "openmpi/4.1.4"')
        said = found.ozrepro("lock")
        assert said.returncode == 4
        assert "conda: no module system here (Lmod, Environment Modules)" in said.stderr

    def test_a_library_that_the_module_does_not_have_fails_the_build(self, modular_mpi: Modular) -> None:
        project = modular_mpi.project
        shutil.rmtree(modular_mpi.site.prefix / "apps" / "modulefiles" / "compiler" / "gcc" / "12.2.0" / "openmpi")
        for path in (modular_mpi.site.prefix / "apps" / "software" / "openmpi").glob("4.1.4-*/lib/libmpi*"):
            path.unlink()
        describe(project, "mpi-user", more='mpi = "openmpi/4.1.4"')
        project.done("lock")
        said = project.ozrepro("build")
        assert said.returncode == 1
        assert "finds no libmpi.so" in said.stderr
