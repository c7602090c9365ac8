"""A front end that is written against the public API alone."""

from __future__ import annotations

import subprocess

import pytest

import ozrepro
from tests.conftest import Project


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
