"""What a session's modules read of a caller: told when locking, followed or refused at each start, in every spelling of it."""

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path

import pytest

from tests.conftest import BIN, Project
from tests.fake_cluster.modulefiles import write
from tests.methods.modules.modular import Modular, calls

READING = [
    'local arch = os.getenv("RSNT_ARCH") or "avx2"',
    'setenv("EBROOTARCH", arch)',
    'if arch == "avx512" then prepend_path("ARCH_LIBS", "/cvmfs/avx512/lib") end',
    'setenv("SCRATCH_DIR", pathJoin(os.getenv("SCRATCH") or "/nowhere", "cache"))',
    'if os.getenv("OMP_NUM_THREADS") == nil then setenv("OMP_NUM_THREADS", "1") end',
    'setenv("CACHE", "/scratch/" .. (os.getenv("USER") or "x") .. "/cache")',
    'prepend_path("PATH", pathJoin(os.getenv("HOME"), "bin"))',
]
WANTED = ("EBROOTARCH", "ARCH_LIBS", "SCRATCH_DIR", "OMP_NUM_THREADS", "CACHE")
CALLER = {"RSNT_ARCH": "avx512", "SCRATCH": "/scratch/me", "USER": "me", "OMP_NUM_THREADS": "8"}
EXPECTED = {
    "EBROOTARCH": "avx512",
    "ARCH_LIBS": "/cvmfs/avx512/lib",
    "SCRATCH_DIR": "/scratch/me/cache",
    "OMP_NUM_THREADS": "8",
    "CACHE": "/scratch/me/cache",
}


def reading(found: Modular, *, named: bool) -> Modular:
    """Describe a session of a Python and a modulefile that reads the caller's variables."""
    write(found.project.root / "modules", "reading/1.0", READING)
    more = 'use = ["modules"]\n' + ('site-variables = ["RSNT_ARCH"]' if named else "")
    found.spec(found.site.names["python"], "reading/1.0", more=more)
    return found


def of(text: str) -> dict[str, str]:
    """Return the variables of interest out of what `env -0` prints."""
    found = dict(entry.partition("=")[::2] for entry in text.split("\0") if entry)
    return {name: found[name] for name in WANTED if name in found}


@pytest.fixture
def locked(empty: Modular) -> Project:
    """Give a project whose modules read variables, locked and built by a caller who has them."""
    project = reading(empty, named=True).project
    project = dataclasses.replace(project, environ={**project.environ, **CALLER})
    project.done("lock")
    project.done("build")
    return project


def test_a_variable_that_decides_is_refused_with_the_line_to_add(empty: Modular) -> None:
    said = reading(empty, named=False).project.ozrepro("lock", **CALLER)
    assert said.returncode == 1
    assert "RSNT_ARCH, read by reading/1.0" in said.stderr
    assert 'try: to lock their values here, add to [modules]: site-variables = ["RSNT_ARCH"]' in said.stderr
    assert not empty.project.lock().exists()


def test_each_outcome_of_a_read_variable_is_locked_and_no_personal_value_is(empty: Modular) -> None:
    project = reading(empty, named=True).project
    said = project.ozrepro("lock", **CALLER)
    assert said.returncode == 0, said.stderr
    for line in (
        "work: the modules set OMP_NUM_THREADS only where the caller has not: its value stays",
        "work: follow variables of who starts the session: SCRATCH_DIR (SCRATCH)",
        "work: locked with the site's variables: RSNT_ARCH 'avx512'",
    ):
        assert line in said.stderr
    text = project.lock().read_bytes()
    assert b"/scratch/me" not in text
    assert project.environ["HOME"].encode() not in text
    project.lock().unlink()
    project.done("lock", RSNT_ARCH="avx512", PROJECT="p", SLURM_JOB_ID="9", USER="you")
    assert project.lock().read_bytes() == text, "a lock does not say who made it"


def test_a_start_follows_the_caller_and_refuses_another_value_of_the_site(locked: Project) -> None:
    assert of(locked.done("run", "work", "--", "env", "-0")) == EXPECTED
    bare = {name: value for name, value in locked.environ.items() if name not in ("SCRATCH", "OMP_NUM_THREADS")}
    found = of(dataclasses.replace(locked, environ=bare).done("run", "work", "--", "env", "-0", USER="you"))
    assert found == {**EXPECTED, "SCRATCH_DIR": "/nowhere/cache", "OMP_NUM_THREADS": "1", "CACHE": "/scratch/you/cache"}
    said = locked.ozrepro("run", "work", "--", "true", RSNT_ARCH="avx2")
    assert (said.returncode, said.stdout) == (3, "")
    assert "RSNT_ARCH is 'avx2', locked is 'avx512'" in said.stderr
    assert locked.ozrepro("lock", "--check", "--here", RSNT_ARCH="avx2").returncode == 3
    unset = {name: value for name, value in locked.environ.items() if name != "RSNT_ARCH"}
    said = dataclasses.replace(locked, environ=unset).ozrepro("run", "work", "--", "true")
    assert (said.returncode, "RSNT_ARCH is not set, locked is 'avx512'" in said.stderr) == (3, True)
    assert "verified" in locked.done("verify", "work", "--level", "1")
    locked.done("lock", RSNT_ARCH="avx2")
    assert 'RSNT_ARCH = "avx2"' in locked.lock().read_text()
    assert of(locked.done("run", "work", "--", "env", "-0", RSNT_ARCH="avx2"))["EBROOTARCH"] == "avx2"


def test_a_shell_an_activation_a_job_s_script_nox_and_a_nested_start_follow_as_a_run_does(locked: Project) -> None:
    again = ("env", "OZREPRO_PLATFORM=site", "ozrepro", "run", "work", "--", "env", "-0")
    assert of(locked.done("run", "work", "--", *again, OZREPRO_PATH=locked.environ["PATH"])) == EXPECTED
    home = f"{locked.environ['HOME']}/bin"
    assert of(locked.done("shell", "work", "--", "env", "-0")) == EXPECTED
    text = 'eval "$(ozrepro activate work --shell bash)" && env -0'
    words = ["bash", "--norc", "--noprofile", "-c", text]
    done = subprocess.run(words, env=locked.environ, cwd=locked.root, capture_output=True, text=True, check=True)
    assert of(done.stdout) == EXPECTED
    locked.done("activate", "work", "--output", "job.sh")
    job = ["bash", "job.sh", "env", "-0"]
    for caller in (locked.environ, {**locked.environ, "SCRATCH": "/other", "USER": "you"}):
        done = subprocess.run(job, env=caller, cwd=locked.root, capture_output=True, text=True, check=True)
        assert of(done.stdout) == of(locked.done("run", "work", "--", "env", "-0", **{k: caller[k] for k in ("SCRATCH", "USER")}))
        assert home in done.stdout
    other = {**locked.environ, "RSNT_ARCH": "avx2"}
    refused = subprocess.run(job, env=other, cwd=locked.root, capture_output=True, text=True, check=False)
    assert (refused.returncode, refused.stdout) == (3, "")
    assert "RSNT_ARCH is avx2, and was avx512 when work was locked" in refused.stderr
    text = "import ozrepro\n@ozrepro.session\ndef work(session):\n    session.run('env')\n"
    (locked.root / "noxfile.py").write_text(text)
    done = subprocess.run([BIN / "nox", "-s", "work"], env=locked.environ, cwd=locked.root, capture_output=True, text=True)
    assert {f"{name}={value}" for name, value in EXPECTED.items()} <= set(done.stdout.splitlines())


def test_names_of_the_settings_are_locked_only_where_a_module_reads_them(empty: Modular) -> None:
    project = reading(empty, named=False).project
    (project.root / "pyproject.toml").write_text('[tool.ozrepro]\nsite-variables = ["RSNT_ARCH", "CLUSTER"]\n')
    project.done("lock", **CALLER, CLUSTER="milan")
    text = project.lock().read_text()
    assert 'RSNT_ARCH = "avx512"' in text
    assert "CLUSTER" not in text


@pytest.mark.parametrize("name", ["USER", "LD_LIBRARY_PATH"])
def test_what_cannot_be_a_site_s_variable_is_a_mistake_of_the_spec(empty: Modular, name: str) -> None:
    empty.spec("python/3.10", more=f'site-variables = ["{name}"]')
    said = empty.project.ozrepro("lock")
    assert said.returncode == 2
    assert "modules.site-variables[0]" in said.stderr


def test_an_rc_file_that_reads_a_variable_of_the_site_gets_it(empty: Modular, tmp_path: Path) -> None:
    folder = tmp_path / "modules"  # Lmod 8.6 reads no Tcl in a folder with a space
    write(folder, "tool/1.0", ['setenv("TOOL", "1")'])
    (folder / "cluster").mkdir()
    (folder / "cluster" / "milan").write_text("#%Module1.0\nsetenv CLUSTER milan\n")
    (folder / "cluster" / ".modulerc").write_text(
        "#%Module1.0\nif {[info exists ::env(MY_CLUSTER)]} { module-version cluster/$::env(MY_CLUSTER) default } else "
        '{ puts stderr "Set MY_CLUSTER to choose a cluster."; exit 1 }\n'
    )
    more = f'use = ["{folder}"]\nsite-variables = ["MY_CLUSTER"]'
    empty.spec(empty.site.names["python"], "tool/1.0", more=more)
    empty.project.done("lock", MY_CLUSTER="milan")
    assert empty.variables(MY_CLUSTER="milan")["TOOL"] == "1"
    assert empty.project.ozrepro("run", "work", "--", "true", MY_CLUSTER="skylake").returncode == 3


def test_a_module_that_reads_nothing_costs_no_load_more(work: Modular) -> None:
    logged, log = work.logged()
    logged.project.done("lock", "--method", "modules", **CALLER)
    assert sorted(calls(log)) == ["is-avail", "load", "load", "spider"]


def test_a_start_without_a_variable_that_the_modules_need_says_where_to_start(empty: Modular) -> None:
    lines = ['if os.getenv("SLURMD_NODENAME") == nil then LmodError("only on a compute node") end', 'setenv("ON", "node")']
    write(empty.project.root / "modules", "node/1.0", lines)
    empty.spec(empty.site.names["python"], "node/1.0", more='use = ["modules"]')
    empty.project.done("lock")
    remedy = "try: start it where SLURMD_NODENAME is set, as inside a job; locking again does not help\n"
    for words in (("build",), ("run", "work", "--", "true"), ("lock", "--check", "--here")):
        refused = empty.project.ozrepro(*words)
        assert (refused.returncode, refused.stderr.endswith(remedy)) == (3, True), refused.stderr
    shown = ("run", "work", "--", "printenv", "ON")
    assert empty.project.done(*shown, SLURMD_NODENAME="n7") == "node\n"
