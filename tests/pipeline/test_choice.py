"""Which method is taken, and what is said of the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from ozrepro.errors import NoMethodError, UsageError
from ozrepro.methods.reading import load_settings, parse_spec
from ozrepro.pipeline.choice import choose
from ozrepro.pipeline.session import Session
from ozrepro.project.lock import Lock
from ozrepro.site import look_around
from tests.sealed import system_path

BOTH = 'methods = ["modules", "venv"]\n[modules]\nload = ["gcc/11"]\n[venv]\n'


def at(tmp_path: Path, text: str, **environ: str) -> Session:
    spec = parse_spec(tmp_path / "sessions" / "work.toml", text)
    site = look_around(load_settings(tmp_path, environ), {"PATH": system_path(), "LMOD_CMD": ":", **environ})
    return Session(spec, site)


def test_the_first_method_that_can_serve_is_taken_and_the_others_have_their_reasons(tmp_path: Path) -> None:
    choice = choose(at(tmp_path, BOTH), None)
    assert choice.name == "venv"
    assert choice.skipped == ("modules: no module system here (Lmod, Environment Modules)",)


def test_a_container_without_apptainer_is_passed_over(tmp_path: Path) -> None:
    text = 'methods = ["container", "venv"]\n[container]\nimage = "base.sif"\n[venv]\n'
    assert choose(at(tmp_path, text), None).skipped == ("container: no Apptainer here (apptainer or singularity on PATH)",)


def test_a_method_asked_for_is_the_only_candidate(tmp_path: Path) -> None:
    with pytest.raises(NoMethodError) as caught:
        choose(at(tmp_path, BOTH, OZREPRO_METHOD="modules"), None)
    assert caught.value.exit_code == 4
    assert len(caught.value.problems) == 1


def test_a_method_asked_for_that_is_not_described_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="describes no method 'conda'"):
        choose(at(tmp_path, BOTH, OZREPRO_METHOD="conda"), None)


def test_the_project_s_preference_orders_a_spec_without_methods(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.ozrepro]\nmethods = ["venv"]\n')
    session = at(tmp_path, BOTH.partition("\n")[2])
    assert choose(session, None).skipped == ()


def test_with_a_lock_a_method_without_a_section_is_refused_as_not_locked(tmp_path: Path) -> None:
    with pytest.raises(NoMethodError) as caught:
        choose(at(tmp_path, "[venv]\n"), Lock("work"))
    assert caught.value.problems == ("venv: not locked for this platform (any)",)
    assert caught.value.hint == "ozrepro lock work"


def test_without_a_python_of_the_range_the_reason_says_so(tmp_path: Path) -> None:
    with pytest.raises(NoMethodError, match=r"venv: no Python >=4 on PATH"):
        choose(at(tmp_path, '[venv]\npython = ">=4"\n'), None)
