"""`ozrepro shell` and `ozrepro activate` as a user at a terminal meets them, on real modules, in each installed shell."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pexpect
import pytest

from tests.conftest import BIN, Project
from tests.fake_cluster import Site
from tests.frontends.test_activation import MIDDLE, SHELLS, variables
from tests.methods.modules.modular import Modular, modular
from tests.python.test_unreachable_index import user_settings
from tests.wheels import make_wheel

IN_A_SHELL = pytest.mark.parametrize("shell", SHELLS)
RC = {
    "bash": (
        ".bashrc",
        "export PATH=/evil/bin:$PATH PYTHONPATH=/evil\nPS1='mine$ '\nalias python='echo aliased'\nset -o notify\n",
    ),
    "zsh": (".zshrc", "export PATH=/evil/bin:$PATH PYTHONPATH=/evil\nPS1='mine%% '\nalias python='echo aliased'\nunsetopt zle\n"),
    "fish": (".config/fish/config.fish", "set -gx PATH /evil/bin $PATH\nset -gx PYTHONPATH /evil\nalias python 'echo aliased'\n"),
}


def terminal(project: Project, *words: str, **more: str) -> pexpect.spawn[str]:
    """Start a program on a terminal of 30 lines of 120 columns."""
    environ = {**project.environ, "TERM": "dumb", **more}
    child = pexpect.spawn(
        words[0], list(words[1:]), cwd=project.root, env=environ, encoding="utf-8", timeout=60, dimensions=(30, 120)
    )
    child.delaybeforesend = None
    return child


def ozrepro(project: Project, *words: str, **more: str) -> pexpect.spawn[str]:
    """Start `ozrepro` on a terminal."""
    return terminal(project, str(BIN / "ozrepro"), *words, **more)


def say(child: pexpect.spawn[str], line: str, *expected: str) -> str:
    """Send a line, wait for each text and then for the prompt; return what came before the last text."""
    child.sendline(line)
    before = ""
    for text in expected:
        child.expect_exact(text)
        before = child.before or ""
    child.expect_exact("(work) ")
    return before


def run_variables(project: Project) -> dict[str, str]:
    """Return what a program of `ozrepro run` gets, byte for byte."""
    words = [str(BIN / "ozrepro"), "run", "work", "--", "env", "-0"]
    done = subprocess.run(words, cwd=project.root, env=project.environ, capture_output=True, check=True)
    return variables(done.stdout.decode("utf-8", "surrogateescape"))


def left(project: Project) -> list[str]:
    """Return what is left of ours in the folder for temporary files; fish keeps a folder of its own there."""
    return [name for name in os.listdir(project.environ["TMPDIR"]) if not name.startswith("fish.")]


def ended(child: pexpect.spawn[str]) -> int | None:
    """Wait for the end and return the status."""
    child.expect(pexpect.EOF)
    child.close()
    return child.exitstatus


@pytest.fixture
def at_prompt(toolchain: Modular) -> Project:
    """Give a built project whose user has files that would take python away, and a folder for temporary files."""
    home = Path(toolchain.project.environ["HOME"])
    for file, text in RC.values():
        path = home / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (home / "tmp").mkdir()
    return replace(toolchain.project, environ={**toolchain.project.environ, "TMPDIR": str(home / "tmp")})


@IN_A_SHELL
class TestShell:
    def test_the_environment_is_the_session_s_whatever_the_user_s_files_do(self, at_prompt: Project, shell: str) -> None:
        child = ozrepro(at_prompt, "shell", "work", "--shell", shell)
        child.expect_exact("(work) ")
        where = at_prompt.root / "seen"
        say(child, f"/usr/bin/env -0 > '{where}'")
        say(child, 'python -c \'import alpha, numpy; print("py" + "thon " + numpy.__version__)\'', "python 1.")
        child.sendline("exit 7")
        assert ended(child) == 7
        found = variables(where.read_text())
        expected = run_variables(at_prompt)
        names = {*expected} - {"TERM"}
        assert {name: found.get(name) for name in names} == {name: expected[name] for name in names}
        assert "PYTHONPATH" not in found or "/evil" not in found["PYTHONPATH"]
        assert left(at_prompt) == []

    def test_terminal_size_job_control_and_modules_work_in_a_shell(self, at_prompt: Project, shell: str) -> None:
        child = ozrepro(at_prompt, "shell", "work", "--shell", shell)
        child.expect_exact("(work) ")
        say(child, "stty size", "30 120")
        child.setwinsize(40, 100)
        for _ in range(50):  # the signal reaches the inner terminal a moment later
            child.sendline("stty size")
            if child.expect_exact(["40 100", "30 120"]) == 0:
                break
        child.expect_exact("(work) ")
        if shell != "fish":  # its aliases and job control are other words
            say(child, "sleep 60 &")
            say(child, "jobs | sed s/sleep/SLEEPS/", "SLEEPS 60")
            say(child, "kill %1; wait; echo wai''ted", "waited")
        say(child, "module list 2>&1 | cat", "gcc/11.3.0", "python-scientific")
        say(
            child,
            "module load libflavour/1.0; echo $LOADEDMODULES | tr : '\\n' | tail -1 | sed s/^/last=/",
            "last=libflavour/1.0",
        )
        say(child, 'module purge; echo "left=$LOADEDMODULES."', "left=.")
        child.sendeof()
        assert ended(child) is not None

    def test_a_shell_without_a_terminal_takes_commands_from_a_pipe(self, at_prompt: Project, shell: str) -> None:
        words = [str(BIN / "ozrepro"), "shell", "work", "--shell", shell]
        done = subprocess.run(
            words, cwd=at_prompt.root, env=at_prompt.environ, input="python -c 'import alpha; print(alpha.VERSION)'\nexit 3\n",
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (done.stdout, done.returncode) == ("1.0\n", 3), done.stderr


def test_a_shell_that_loses_its_terminal_leaves_nothing_behind(at_prompt: Project) -> None:
    child = ozrepro(at_prompt, "shell", "work", "--shell", "bash")
    child.expect_exact("(work) ")
    assert left(at_prompt) != []
    child.kill(signal.SIGHUP)
    ended(child)
    assert left(at_prompt) == []


def test_shell_runs_a_program_and_returns_its_status(at_prompt: Project) -> None:
    done = at_prompt.ozrepro("shell", "work", "--", "sh", "-c", "echo $LOADEDMODULES; exit 5")
    assert done.returncode == 5
    assert "python-scientific" in done.stdout


def test_ipython_that_is_not_there_says_how_to_add_it(at_prompt: Project) -> None:
    done = at_prompt.ozrepro("shell", "work", "--ipython")
    assert done.returncode == 1
    assert 'add "ipython" to requirements in sessions/work.toml' in done.stderr


def test_no_session_is_started_inside_another(at_prompt: Project) -> None:
    for words in (("shell", "work"), ("activate", "work")):
        done = at_prompt.ozrepro(*words, _OZREPRO_SESSION="other")
        assert done.returncode == 2
        assert done.stdout == ""
        assert "'other' is active in this shell" in done.stderr


@IN_A_SHELL
def test_activate_and_deactivate_give_back_the_caller_exactly(project: Project, site: Site, shell: str) -> None:
    """With functions, an alias and a limit of modules, and values that would run if they were not quoted."""
    found = modular(project, site, "ozstar", "odd")
    found.spec(found.site.names["python"], "conda/latest", "conda-like/1.0", "odd-values/1.0")
    found.project.done("lock")
    found.project.done("build")
    odd = {"MINE": "$(touch executed) `id` 'a' \"b\"\nc\\", "PYTHONPATH": "/mine", "EBROOTPYTHON": "the caller's"}
    environ = {**found.project.environ, **odd}
    activate = f"'{BIN / 'ozrepro'}' activate work --shell {shell}"
    text = f"{activate} | source" if shell == "fish" else f'eval "$({activate})"'
    inner = "/usr/bin/env -0" if shell == "fish" else "(conda activate x; greet you; /usr/bin/env -0)"
    script = f"/usr/bin/env -0; echo '{MIDDLE}'\n{text}\n{inner}; echo '{MIDDLE}'\nozrepro_deactivate\n/usr/bin/env -0\n"
    done = _pipe(shell, script, environ, found.project.root)
    before, during, after = done.split(f"{MIDDLE}\n")
    assert variables(before) == variables(after)
    if shell != "fish":
        greeting, _, during = during.partition("\n")
        assert greeting == "hello you"
        assert variables(during).pop("CONDA_DEFAULT_ENV") == "x"
    expected = run_variables(replace(found.project, environ=environ))
    active = variables(during)
    assert {name: active.get(name) for name in expected} == expected
    assert not (found.project.root / "executed").exists()


def _pipe(shell: str, script: str, environ: Mapping[str, str], cwd: Path) -> str:
    flags = {"bash": ["--norc", "--noprofile"], "zsh": ["-f"], "fish": ["--no-config"]}[shell]
    program = shutil.which(shell)
    assert program is not None
    done = subprocess.run([program, *flags], input=script.encode(), env=environ, cwd=cwd, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""
    return done.stdout.decode("utf-8", "surrogateescape")


def test_a_job_s_script_needs_no_python_and_refuses_a_changed_lock_and_module(mine: Modular, tmp_path: Path) -> None:
    project = mine.project
    project.done("lock", "--method", "modules")
    script = tmp_path / "job env.sh"
    assert "for jobs" in project.done("activate", "work", "--output", str(script))
    path = "/usr/bin:/bin"
    settings = {name: value for name, value in project.environ.items() if name.startswith("OZREPRO_")}
    job = {"HOME": project.environ["HOME"], "PATH": path, "SLURM_JOB_ID": "7", "PYTHONPATH": "/x", **settings}
    done = subprocess.run(["bash", str(script), "/usr/bin/env", "-0"], env=job, capture_output=True, check=True)
    expected = run_variables(replace(project, environ={**project.environ, "SLURM_JOB_ID": "7"}))
    found = variables(done.stdout.decode())
    assert found.pop("_OZREPRO_SESSION") == "work"
    assert found == {name: value for name, value in expected.items() if name != "LANG"}

    module = next(Path(file) for files in mine.site.index().values() for file in files if file.endswith("gcc/11.3.0.lua"))
    for damaged in (module, project.lock()):
        content = damaged.read_text()
        damaged.write_text(content + "\n-- edited\n" if damaged == module else content + "\n# edited\n")
        refused = subprocess.run(["bash", str(script), "true"], env=job, capture_output=True, text=True, check=False)
        assert refused.returncode == 3
        assert f"{damaged} has changed" in refused.stderr
        damaged.write_text(content)
    assert subprocess.run(["bash", str(script), "true"], env=job, check=False).returncode == 0


def test_sixty_four_runs_at_once_succeed(toolchain: Modular) -> None:
    project = toolchain.project
    words = [str(BIN / "ozrepro"), "run", "work", "--", "sh", "-c", "echo $LOADEDMODULES"]
    running = [subprocess.Popen(words, cwd=project.root, env=project.environ, stdout=-1, stderr=-1, text=True) for _ in range(64)]
    ends = [(*process.communicate(), process.returncode) for process in running]
    assert {(errors, status) for _, errors, status in ends} == {("", 0)}
    assert len({out for out, _, _ in ends}) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_reaches_the_command_of_a_run(toolchain: Modular, number: signal.Signals) -> None:
    project = toolchain.project
    script = f'trap "echo got; exit 9" {number.name[3:]}; echo ready; while :; do sleep 0.05; done'
    words = [str(BIN / "ozrepro"), "run", "work", "--", "sh", "-c", script]
    with subprocess.Popen(words, cwd=project.root, env=project.environ, stdout=-1, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.stdout.readline() == "got\n"
        assert process.wait(20) == 9


@pytest.mark.network
@pytest.mark.slow
def test_the_guide_s_example_for_jobs_works(project: Project, site: Site) -> None:
    """The guide's page on modules: a shell, IPython, a package of the toolchain and one of one's own, a script; again tomorrow."""
    make_wheel(project.wheelhouse, "alpha", "1.0")
    found = modular(project, site)
    settings = user_settings()
    links = " ".join(filter(None, (settings.get("PIP_FIND_LINKS"), str(project.wheelhouse))))
    environ = {name: value for name, value in found.project.environ.items() if not name.startswith(("PIP_", "OZREPRO_"))}
    (project.root / "pyproject.toml").write_text('[tool.ozrepro]\nplatform = "site"\n')
    shutil.copytree(project.wheelhouse, project.root.parent / "house")
    links = links.replace(str(project.wheelhouse), str(project.root.parent / "house"))
    project = Project(project.root, {**environ, **settings, "PIP_FIND_LINKS": links})
    more = '[modules.venv]\nsystem-site-packages = true\nrequirements = ["ipython", "alpha"]\n'
    Modular(project, site).spec(found.scientific, more=more)
    locked = project.ozrepro("lock")
    if locked.returncode != 0 and ("Request failed" in locked.stderr or "dns error" in locked.stderr):
        pytest.skip("no package index can be reached")
    assert locked.returncode == 0, locked.stderr
    project.done("build")
    (project.root / "script.py").write_text("import scipy, alpha\nprint('from the', 'script', scipy.__version__)\n")
    for shell in SHELLS:
        _play(ozrepro(project, "shell", "work", "--shell", shell))
        # Tomorrow: a login shell in which nothing was loaded, and nothing of today's variables is left.
        login = {name: project.environ[name] for name in ("HOME", "LANG")}
        child = terminal(Project(project.root, login), "/bin/bash", "--norc", "-l", PATH="/usr/bin:/bin")
        child.expect("[$#] ")
        child.sendline(f"'{BIN / 'ozrepro'}' shell work --shell {shell}; exit")
        _play(child)


def _play(child: pexpect.spawn[str]) -> None:
    child.expect_exact("(work) ")
    child.sendline("ipython --simple-prompt --no-confirm-exit")
    child.expect_exact("In [1]:")
    child.sendline("import scipy, alpha; print('imported', 'both')")
    child.expect_exact("imported both")
    child.expect_exact("In [2]:")
    child.sendeof()
    child.expect_exact("(work) ")
    say(child, "python script.py", "from the script")
    child.sendline("exit")
    assert ended(child) == 0


def test_a_run_starts_while_all_locks_of_its_store_are_held(toolchain: Modular) -> None:
    locks = sorted((toolchain.project.store() / "locks").iterdir())
    assert locks
    with ExitStack() as held:
        for path in locks:
            fcntl.flock(held.enter_context(path.open("rb")), fcntl.LOCK_EX | fcntl.LOCK_NB)
        toolchain.project.done("run", "work", "--", "true")
    assert sorted((toolchain.project.store() / "locks").iterdir()) == locks
