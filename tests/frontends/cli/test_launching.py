"""The launchers of a built session, `ozrepro link` and `ozrepro check`, as other tools meet them."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from ozrepro import open_session
from tests.conftest import Project
from tests.faststart import strace
from tests.frontends.test_activation import variables
from tests.wheels import make_wheel

LIMIT = 40
"""Path-taking calls that a launcher may make more than the environment's own Python: the shell's, and those of one `stat`."""

TOOL = "import sys\n\n\ndef main():\n    print(sys.argv[0].rpartition('/')[2], *sys.argv[1:])\n"
SPAWN = """
import multiprocessing, os, subprocess, sys
import alpha

def work(number):
    import alpha
    return number, alpha.__file__, os.environ["OZREPRO_SESSION"]

if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.map(work, [1]) == [(1, alpha.__file__, "work")])
    words = [sys.executable, "-c", "import alpha; print(alpha.__file__)"]
    print(subprocess.run(words, capture_output=True, text=True).stdout == alpha.__file__ + "\\n")
"""


@pytest.fixture
def tooled(project: Project) -> Project:
    """Give a locked and built session with a package that has a console script."""
    entry = {"tool.py": TOOL, "tool-1.0.dist-info/entry_points.txt": "[console_scripts]\nthe-tool = tool:main\n"}
    make_wheel(project.wheelhouse, "tool", "1.0", modules=entry)
    make_wheel(project.wheelhouse, "alpha", "1.0")
    project.spec('[venv]\nrequirements = ["alpha", "tool"]\n')
    project.done("lock", "work")
    project.done("build", "work")
    return project


def launcher(project: Project, name: str = "python") -> Path:
    """Return the path of a launcher."""
    return project.store() / "bin" / "work" / name


def started(project: Project, *words: str | Path, name: str = "python", **more: str) -> subprocess.CompletedProcess[str]:
    """Run a launcher from another folder, in the caller's variables."""
    environ = {"HOME": project.environ["HOME"], "PATH": "/usr/bin:/bin", "PYTHONPATH": "/x", "LANG": "C.UTF-8", **more}
    words = (launcher(project, name), *words)
    return subprocess.run(words, cwd="/", env=environ, capture_output=True, text=True, check=False)


def test_a_build_gives_the_session_s_python_and_scripts_a_path_that_stays(tooled: Project) -> None:
    names = {path.name for path in launcher(tooled).parent.iterdir()}
    assert names >= {"python", "python3", "pip", "the-tool", "ozrepro-check"}
    assert len({path.stat().st_ino for path in launcher(tooled).parent.iterdir()}) == 1
    prefix = tooled.prefix()
    done = started(tooled, "-c", "import alpha, sys; print(sys.prefix, sys.executable)")
    assert done.stdout == f"{prefix} {prefix}/bin/python\n", done.stderr
    assert started(tooled, "a  b", name="the-tool").stdout == "the-tool a  b\n"
    assert started(tooled, name="ozrepro-check").returncode == 0


def test_the_check_prints_the_digest_of_the_section_which_changes_with_the_lock(tooled: Project) -> None:
    digest = started(tooled, "--digest", name="ozrepro-check").stdout
    assert digest == f"{open_session('work', tooled.root, environ=tooled.environ).digest}\n"
    tooled.spec('[venv]\nrequirements = ["alpha"]\n')
    tooled.done("lock", "work")
    assert started(tooled, "--digest", name="ozrepro-check").returncode == 3
    tooled.done("build", "work")
    assert started(tooled, "--digest", name="ozrepro-check").stdout not in ("", digest)


def test_a_launcher_gives_the_variables_of_a_run(tooled: Project) -> None:
    show = "import os, sys; sys.stdout.write('\\0'.join(f'{k}={v}' for k, v in os.environ.items()))"
    more = {"SLURM_JOB_ID": "7", "SECRET": "s", "OMP_NUM_THREADS": "2"}
    expected = variables(tooled.run("ozrepro", "run", "work", "--", "python", "-c", show, **more).stdout)
    assert variables(started(tooled, "-c", show, **more).stdout) == expected
    assert expected["OZREPRO_SESSION"] == "work"


def test_what_is_started_anew_by_sys_executable_is_in_the_session(tooled: Project) -> None:
    program = tooled.root / "spawn.py"
    program.write_text(SPAWN)
    assert started(tooled, program).stdout == "True\nTrue\n"


def test_a_script_s_first_line_may_name_a_launcher(tooled: Project, tmp_path: Path) -> None:
    tooled.done("link", "work", str(tmp_path / "bin"))
    script = tmp_path / "script"
    script.write_text(f"#!{tmp_path}/bin/python\nimport alpha, sys\nprint(sys.argv[1:])\n")
    script.chmod(0o755)
    done = subprocess.run([script, "a  b"], cwd="/", env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False)
    assert done.stdout == "['a  b']\n", done.stderr


@pytest.mark.skipif(bool(strace.why_not()), reason=strace.why_not() or "strace works")
def test_a_launcher_makes_few_path_taking_calls_and_starts_no_python_of_its_own(
    tooled: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    environ = {"HOME": tooled.environ["HOME"], "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
    with_launcher = strace.trace([str(launcher(tooled)), "-c", "pass"], "%file", cwd=tooled.root, env=environ)
    variables = {"PATH": f"{tooled.prefix()}/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}
    bare = strace.trace([str(tooled.prefix() / "bin" / "python"), "-c", "pass"], "%file", cwd=tooled.root, env=variables)
    assert (with_launcher.status, bare.status) == (0, 0), with_launcher.output
    more = len(with_launcher.calls) - len(bare.calls)
    with capsys.disabled():
        print(f"\n  a launcher makes {more} path-taking calls more than the environment's Python")
    assert 0 < more <= LIMIT
    names = [os.path.basename(call.paths[0]) for call in with_launcher.named("execve") if not call.failed]
    assert names == ["python", "stat", "python"]


@pytest.mark.skipif(bool(strace.why_not()), reason=strace.why_not() or "strace works")
def test_a_job_s_script_makes_the_calls_of_two_launchers(tooled: Project, capsys: pytest.CaptureFixture[str]) -> None:
    environ = {"HOME": tooled.environ["HOME"], "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
    scripts = {"job": tooled.root / "job.sh", "bare": tooled.root / "bare.sh"}
    scripts["job"].write_text(".ozrepro/bin/work/ozrepro-check || exit\nexec .ozrepro/bin/work/python -c pass\n")
    scripts["bare"].write_text(f"exec '{tooled.prefix()}/bin/python' -c pass\n")
    traces = {name: strace.trace(["bash", str(path)], "%file", cwd=tooled.root, env=environ) for name, path in scripts.items()}
    assert [trace.status for trace in traces.values()] == [0, 0], traces["job"].output
    more = len(traces["job"].calls) - len(traces["bare"].calls)
    with capsys.disabled():
        print(f"\n  a job's script makes {more} path-taking calls more than one that starts the environment's Python")
    assert 0 < more <= 2 * LIMIT
    names = [os.path.basename(call.paths[0]) for call in traces["job"].named("execve") if not call.failed]
    assert names == ["bash", "ozrepro-check", "stat", "python", "stat", "python"]


def test_a_changed_lock_stops_a_start_and_a_build_lets_it_go_on(tooled: Project) -> None:
    for path in (tooled.lock(), tooled.lock().with_suffix(".toml")):
        content = path.read_text()
        path.write_text(f"{content}# edited\n")
        done = started(tooled, "-V")
        assert (done.returncode, done.stdout) == (3, "")
        assert f"{path} has changed since work was built\n  try: ozrepro build work\n" in done.stderr
        assert started(tooled, name="ozrepro-check").returncode == 3
        path.write_text(content)
        assert started(tooled, "-V").returncode == 0
    make_wheel(tooled.wheelhouse, "beta", "1.0")
    tooled.spec('[venv]\nrequirements = ["alpha", "beta"]\n')
    tooled.done("lock", "work")
    assert started(tooled, "-c", "import beta").returncode == 3
    tooled.done("build", "work")
    assert started(tooled, "-c", "import beta").returncode == 0
    assert not launcher(tooled, "the-tool").exists(), "a script that is not in the environment any more"


def test_any_command_that_builds_renews_launchers_and_makes_none(tooled: Project) -> None:
    (tooled.root / "noxfile.py").write_text(
        "import ozrepro\n\n\n@ozrepro.session\ndef work(session):\n    session.run('python', '-V')\n"
    )
    make_wheel(tooled.wheelhouse, "beta", "1.0")
    makers = (("ozrepro", "run", "work", "--", "true"), ("nox", "-s", "work"), ("ozrepro", "activate", "work"))
    for words, wanted in zip(makers, ('"alpha", "beta"', '"beta", "tool"', '"beta"'), strict=True):
        tooled.spec(f"[venv]\nrequirements = [{wanted}]\n")
        tooled.done("lock", "work")
        assert started(tooled, "-c", "import beta").returncode == 3
        done = tooled.run(*words)
        assert done.returncode == 0, done.stderr
        assert started(tooled, "-c", "import beta").returncode == 0
    tooled.lock().with_suffix(".toml").write_text('# another line\n[venv]\nrequirements = ["beta"]\n')
    assert started(tooled, "-V").returncode == 3
    tooled.done("run", "work", "--", "true")
    assert started(tooled, "-V").returncode == 0, "nothing was built, but the spec is another"
    shutil.rmtree(launcher(tooled).parent)
    tooled.spec('[venv]\nrequirements = ["alpha"]\n')
    tooled.done("lock", "work")
    tooled.done("run", "work", "--", "true")
    assert not launcher(tooled).parent.exists()


def test_an_environment_that_was_removed_or_built_again_is_said(tooled: Project, tmp_path: Path) -> None:
    tooled.done("link", "work", str(tmp_path / "bin"))
    tooled.done("build", "work", "--rebuild")
    assert started(tooled, "-V").returncode == 0
    tooled.done("store", "gc", "--yes")
    assert started(tooled, "-V").returncode == 0, "a clean-up keeps what the lock needs"
    shutil.rmtree(tooled.store() / "names")
    done = subprocess.run([tmp_path / "bin" / "python", "-V"], env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True)
    assert done.returncode == 3
    assert "was removed since work was built\n  try: ozrepro build work\n" in done.stderr
    tooled.done("build", "work")
    assert started(tooled, "-V").returncode == 0


def test_the_probe_of_vs_code_is_answered(tooled: Project) -> None:
    """VS Code's python-environment-tools runs `PATH -c SCRIPT` and reads JSON behind a mark, of a process that ends with 0."""
    mark = "a mark of its own"
    asked = (
        "dict(version=list(sys.version_info), sys_prefix=sys.prefix, executable=sys.executable, is64_bit=sys.maxsize > 1 << 32)"
    )
    done = started(tooled, "-c", f"import json, sys; print({mark!r}); print(json.dumps({asked}))")
    assert (done.returncode, done.stderr) == (0, "")
    seen = json.loads(done.stdout.partition(mark)[2])
    prefix = str(tooled.prefix())
    assert (seen["sys_prefix"], seen["executable"], seen["is64_bit"]) == (prefix, f"{prefix}/bin/python", True)
    # Links are resolved before what they lead to is started.
    real = os.path.realpath(launcher(tooled))
    assert subprocess.run([real, "-c", "import alpha"], env={"PATH": "/usr/bin:/bin"}, check=False).returncode == 0


def test_the_probes_of_pycharm_are_answered(tooled: Project, tmp_path: Path) -> None:
    """It asks for one word, and for the version; then it starts helpers of its own, from a folder of its own."""
    assert started(tooled, "-c", "import sys; print(getattr(sys, '_is_gil_enabled', lambda: True)())").stdout == "True\n"
    for option in ("--version", "-V"):
        assert started(tooled, option).stdout.startswith("Python 3.")
    helpers = tmp_path / "the helpers"
    helpers.mkdir()
    (helpers / "paths.py").write_text("import sys\nprint(*sys.path, sep='\\n')\n")
    (helpers / "packages.py").write_text(
        "from importlib.metadata import distributions\n"
        "for each in distributions():\n    print(each.metadata['Name'], each.version, each.locate_file(''), sep='\\t')\n"
    )
    paths = started(tooled, helpers / "paths.py").stdout.splitlines()
    assert paths[0] == str(helpers)
    (packages,) = (path for path in paths if path.endswith("site-packages"))
    assert packages.startswith(f"{tooled.prefix()}/")
    assert f"alpha\t1.0\t{packages}" in started(tooled, helpers / "packages.py").stdout.splitlines()
    assert started(tooled, "-E", "-s", "-u", "-c", "import sys; print(sys.version)").returncode == 0
    assert "packages cannot be added" in started(tooled, "-m", "pip", "install", "-U", "ipykernel").stderr


class TestSafety:
    def test_what_others_put_there_is_replaced_or_refused(self, tooled: Project, tmp_path: Path) -> None:
        folder = launcher(tooled).parent
        launcher(tooled).unlink()
        launcher(tooled).write_text("#!/bin/sh\necho planted\n")
        launcher(tooled).chmod(0o777)
        (folder / "planted").write_text("")
        tooled.done("build", "work")
        assert started(tooled, "-c", "print(1)").stdout == "1\n"
        assert stat.S_IMODE(launcher(tooled).stat().st_mode) == 0o755
        assert not (folder / "planted").exists()
        shutil.rmtree(folder)
        (tmp_path / "theirs").mkdir()
        folder.symlink_to(tmp_path / "theirs")
        tooled.done("build", "work")
        assert not folder.is_symlink()
        assert list((tmp_path / "theirs").iterdir()) == []
        folder.chmod(0o777)
        said = tooled.ozrepro("build", "work")
        assert said.returncode == 0
        assert "work: no launchers: " in said.stderr
        assert "can be written by everybody" in said.stderr
        assert tooled.ozrepro("link", "work", str(tmp_path / "bin")).returncode == 1

    def test_a_copy_of_the_project_does_not_start_the_original_s(self, tooled: Project, tmp_path: Path) -> None:
        shutil.copytree(tooled.root, tmp_path / "copy", symlinks=True)
        words = [str(tmp_path / "copy" / ".ozrepro" / "bin" / "work" / "python"), "-V"]
        done = subprocess.run(words, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False)
        assert done.returncode == 3
        assert "is a copy of" in done.stderr

    def test_launchers_are_hidden_from_git_where_the_store_is_elsewhere(self, small: Project, tmp_path: Path) -> None:
        small.done("lock", "work")
        small.done("build", "work", OZREPRO_STORE=str(tmp_path / "store"))
        assert (small.store() / ".gitignore").read_text() == "*\n"
        assert started(small, "-c", "import alpha").returncode == 0
        small.done("build", "work")


class TestCheck:
    def test_a_session_that_can_start_is_said_and_nothing_is_built(self, small: Project) -> None:
        said = small.ozrepro("check", "work")
        assert (said.returncode, "ozrepro lock work" in said.stderr) == (3, True)
        small.done("lock", "work")
        said = small.ozrepro("check", "work")
        assert said.returncode == 3
        assert "is not built as it is locked\n  try: ozrepro build work\n" in said.stderr
        small.done("build", "work")
        assert small.done("check", "work") == "work: venv can start here\n"
        small.spec('[venv]\nrequirements = ["beta"]\n')
        assert small.ozrepro("check", "work").returncode == 3

    def test_a_machine_without_the_method_is_said(self, project: Project) -> None:
        project.spec('[container]\nimage = "docker://x/y:1"\n')
        assert project.ozrepro("check", "work", PATH="/nowhere").returncode in (3, 4)
