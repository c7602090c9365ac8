"""What a program in a session sees of where it is, by every way in, and that a session is started from within one as from outside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import BIN, Project

SHOW = 'echo "$OZREPRO_SESSION $OZREPRO_METHOD $OZREPRO_KEY"'
NOXFILE = f"""\
import ozrepro


@ozrepro.session
def work(session):
    session.run("sh", "-c", '{SHOW}', external=True)
    session.run("sh", "-c", '{SHOW}', external=True, include_outer_env=False)
"""


@pytest.fixture
def where(built: Project) -> str:
    """Give the line that a program in the built session should print."""
    (found,) = json.loads(built.done("store", "list", "--json"))["environments"]
    return f"work venv {found['key']}\n"


def bash(project: Project, text: str) -> str:
    """Return what a line of bash prints in the project."""
    done = subprocess.run(
        ["bash", "--norc", "--noprofile", "-c", text], cwd=project.root, env=project.environ, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_program_sees_where_it_is_by_every_way_in(built: Project, where: str, tmp_path: Path) -> None:
    assert built.done("run", "work", "--", "sh", "-c", SHOW) == where
    assert built.done("shell", "work", "--", "sh", "-c", SHOW) == where
    assert bash(built, f'eval "$(ozrepro activate work --shell bash)"; {SHOW}') == where
    assert bash(built, f'eval "$(ozrepro activate work --shell bash)"; ozrepro_deactivate; {SHOW}') == "  \n"
    script = tmp_path / "job.sh"
    built.done("activate", "work", "--output", str(script))
    assert bash(built, f"bash {script} sh -c '{SHOW}'") == where
    (built.root / "noxfile.py").write_text(NOXFILE, encoding="utf-8")
    done = built.run("nox", "-s", "work")
    assert done.stdout == where + where, done.stderr


def test_a_start_from_within_takes_the_same_record(built: Project, where: str) -> None:
    built.done("run", "work", "--", "true")
    ready = built.store() / "ready"
    before = sorted(os.listdir(ready))
    inner = [str(BIN / "ozrepro"), "run", "work", "--", "sh", "-c", SHOW]
    done = built.run("ozrepro", "run", "work", "--", *inner)
    assert (done.returncode, done.stdout, done.stderr) == (0, where, "")
    assert sorted(os.listdir(ready)) == before


def test_the_method_of_the_outer_session_does_not_choose_that_of_an_inner_one(built: Project) -> None:
    (built.root / "sessions" / "other.toml").write_text('[container]\nimage = "no.sif"\n', encoding="utf-8")
    inner = [str(BIN / "ozrepro"), "lock", "other"]
    # What a session sees: the machine's own folders, with an Apptainer where they have one.
    outside = built.run(*inner, PATH=f"{BIN}:/usr/local/bin:/usr/bin:/bin")
    inside = built.run("ozrepro", "run", "work", "--", *inner)
    assert (inside.returncode, inside.stderr) == (outside.returncode, outside.stderr)
    assert "describes no method" not in inside.stderr
    asked = built.run("ozrepro", "run", "work", "--", "env", "OZREPRO_METHOD=modules", *inner)
    assert "describes no method 'modules'" in asked.stderr
    asked = built.run("ozrepro", "run", "work", "--method", "venv", "--", *inner, OZREPRO_METHOD="modules")
    assert "describes no method 'modules'" in asked.stderr, (
        "what the caller of the outer session asked for holds in the inner one"
    )


def test_a_setting_of_the_caller_holds_within_a_session(built: Project, tmp_path: Path) -> None:
    code = "import os; print(os.environ['OZREPRO_STORE'])"
    store = str(tmp_path / "store")
    done = built.run("ozrepro", "run", "work", "--", "python", "-c", code, OZREPRO_STORE=store)
    assert done.stdout == f"{store}\n"
    assert sys.platform != "linux" or Path(store).is_dir()
