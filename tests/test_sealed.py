"""No test meets the cluster of the machine that it runs on, and each is of one kind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ozrepro.methods.container.apptainer import NAMES
from tests.conftest import BIN, Project
from tests.sealed import CLUSTER_PROGRAMS, seal, sealed_path

KINDS = ("unit", "integration", "docs", "threats", "site")


@pytest.fixture
def login_node(tmp_path: Path) -> str:
    """Give a PATH of a folder as /usr/bin is on a login node, where no program of the cluster works, and of a clean folder."""
    programs, clean = tmp_path / "usr bin", tmp_path / "clean"
    programs.mkdir()
    clean.mkdir()
    (clean / "true").symlink_to("/bin/true")
    for name in ("sh", "env", "git"):
        if found := shutil.which(name):
            (programs / name).symlink_to(found)
    for name in CLUSTER_PROGRAMS:
        (programs / name).write_text(f"#!/bin/sh\necho {name}: refused >&2\nexit 1\n")
        (programs / name).chmod(0o755)
    return f"{programs}:{clean}"


def test_programs_and_variables_of_a_cluster_are_out_of_sight(login_node: str) -> None:
    variables = (
        "SLURM_JOB_ID",
        "LMOD_CMD",
        "__LMOD_REF_COUNT_PATH",
        "_LMFILES_",
        "LOADEDMODULES",
        "CONDA_PREFIX",
        "OZREPRO_STORE",
    )
    environ = {"PATH": login_node, "HOME": "/home/me", "OZREPRO_TEST_KILLS": "1", **dict.fromkeys(variables, "x")}
    seal(environ)
    assert not set(variables) & set(environ)
    assert {"HOME", "OZREPRO_TEST_KILLS"} < set(environ)
    for name in ("squeue", "sinfo", "module", "conda", *NAMES):
        assert shutil.which(name, path=login_node)
        assert shutil.which(name, path=environ["PATH"]) is None
    assert shutil.which("sh", path=environ["PATH"])
    assert environ["PATH"].split(":")[1] == login_node.split(":")[1], "a folder without them stays as it is"


def test_a_clean_up_of_the_store_does_not_ask_the_scheduler_of_the_machine(built: Project, login_node: str) -> None:
    built.lock().unlink()

    def clean_up(path: str) -> str:
        done = built.ozrepro("store", "gc", PATH=f"{BIN}:{path}")
        return done.stdout + done.stderr

    assert "squeue does not answer" in clean_up(login_node)
    assert "squeue" not in clean_up(sealed_path(login_node))


def test_this_process_sees_no_cluster() -> None:
    assert not [name for name in CLUSTER_PROGRAMS if shutil.which(name)]
    assert not [name for name in os.environ if name.startswith(("SLURM_", "LMOD_", "CONDA_"))]


def test_what_tests_start_is_ended_by_signals_also_under_nohup_and_in_the_background() -> None:
    ask = "import signal; print([signal.getsignal(number) is signal.SIG_IGN for number in (signal.SIGINT, signal.SIGHUP)])"
    start = (
        f"import subprocess, sys; from tests.sealed import hear_signals; hear_signals(); exec({ask!r}, {{}}); sys.stdout.flush()"
    )
    start += f"; subprocess.run([sys.executable, '-c', {ask!r}], check=True)"
    words = ["/bin/sh", "-c", "trap '' INT HUP; exec \"$@\"", "sh", sys.executable, "-c", start]
    done = subprocess.run(words, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[False, False]"] * 2


def test_each_test_is_of_one_kind(request: pytest.FixtureRequest) -> None:
    for item in request.session.items:
        kinds = [name for name in KINDS if item.get_closest_marker(name)]
        assert len(kinds) == 1, (item.nodeid, kinds)
        if item.get_closest_marker("quick"):
            assert kinds != ["site"], item.nodeid
