"""A front end that is written against the public API alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import ozrepro
from tests.conftest import Project
from tests.methods.container.standin import boxed


def test_a_front_end_builds_a_session_and_runs_a_program_in_it(small: Project) -> None:
    session = ozrepro.open_session("work", project=small.root, environ=small.environ)
    assert (session.state.locked, session.state.built) == (False, False)
    assert session.state.reason
    small.done("lock", "work")
    with pytest.raises(ozrepro.BuildError, match="is not built"):
        _ = session.environment
    assert (session.state.method, session.state.locked, session.state.built) == ("venv", True, False)
    steps: list[str] = []
    session.build(steps.append)
    assert session.state == ozrepro.State("venv", locked=True, built=True)
    assert session.digest.startswith("sha256:")
    assert session.packages() == {"alpha": "1.0", "beta": "1.5"}
    variables = session.environment.variables_for(small.environ)
    argv = session.argv(["python", "-c", "import alpha; print(alpha.VERSION)"])
    shown = subprocess.run(argv, env=variables, capture_output=True, text=True, check=True)
    assert shown.stdout == "1.0\n"
    again = ozrepro.open_session("work", project=small.root, environ=small.environ)
    assert again.environment == session.environment, "a later process finds it built"


def test_a_front_end_is_told_what_is_wrong_by_errors_of_one_class(small: Project) -> None:
    session = ozrepro.open_session("absent", project=small.root, environ=small.environ)
    with pytest.raises(ozrepro.OzreproError):
        _ = session.state


def test_a_front_end_finds_what_an_earlier_start_has_built_and_is_told_all_of_it(small: Project) -> None:
    def opened() -> ozrepro.Session:
        return ozrepro.open_session("work", project=small.root, environ=small.environ)

    small.done("lock", "work")
    assert opened().ready() is None
    made = opened().build()
    found = opened().ready()
    assert found is not None
    assert (made.is_new, found.is_new, opened().build().is_new) == (True, False, False)
    assert (found.environment, found.method, found.prefix) == (made.environment, "venv", made.prefix)
    assert (found.bytes, found.files, found.inputs, found.watched) == (made.bytes, made.files, made.inputs, made.watched)
    assert found.files > 10
    assert opened().build(rebuild=True).prefix != made.prefix


def test_a_front_end_s_command_lines_follow_the_rules_of_launchers_and_installers(project: Project) -> None:
    found = boxed(project)
    session = ozrepro.open_session("work", project=found.root, environ=found.environ)
    prefix = list(session.environment.prefix)
    assert session.argv(["python", Path("x.py")]) == [*prefix, "python", "x.py"]
    assert session.argv(["sbatch", "job.sh"]) == ["sbatch", "job.sh"]
    assert session.argv(["srun", *prefix, "python"]) == ["srun", *prefix, "python"]
    with pytest.raises(ozrepro.OzreproError) as caught:
        session.argv(["srun", "python"], "shell: {launcher} … mine")
    assert caught.value.hint == "shell: srun … mine"
    with pytest.raises(ozrepro.OzreproError, match="cannot add to an image"):
        session.argv(["pip", "install", "six"])


def test_opening_a_built_session_loads_nothing_of_the_pipeline(built: Project) -> None:
    code = (
        "import sys, ozrepro; found = ozrepro.open_session('work').ready(); "
        "print(found.method, [name for name in sys.modules if name.startswith(('ozrepro.methods', 'ozrepro.store'))])"
    )
    done = built.run(sys.executable, "-c", code)
    assert (done.stdout, done.stderr) == ("venv []\n", "")
