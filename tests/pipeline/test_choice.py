"""Which method is taken, and what is said of the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from ozrepro.errors import NoMethodError, UsageError
from ozrepro.methods.reading import load_settings, parse_spec
from ozrepro.pipeline.choice import choose
from ozrepro.pipeline.session import Session
from ozrepro.project.lock import Lock, Section
from ozrepro.site import look_around
from tests.sealed import system_path

BOTH = 'methods = ["modules", "venv"]\n[modules]\nload = ["gcc/11"]\n[venv]\n'


def at(tmp_path: Path, text: str, **environ: str) -> Session:
    spec = parse_spec(tmp_path / "sessions" / "work.toml", text)
    site = look_around(load_settings(tmp_path, environ), {"PATH": system_path(), "LMOD_CMD": ":", **environ})
    return Session(spec, site)


def test_a_method_that_was_never_locked_is_passed_over_without_a_word(tmp_path: Path) -> None:
    session = at(tmp_path, BOTH)
    covers = {session.site.platform: ["3.10", "3.11", "3.12", "3.13", "3.14"]}
    lock = Lock("work", (Section("venv", "any", "sha256:0", {"python": ">=3.10", "covers": covers}),))
    choice = choose(session, lock)
    assert (choice.name, choice.skipped) == ("venv", ())


def test_a_first_lock_without_a_method_says_why(tmp_path: Path) -> None:
    choice = choose(at(tmp_path, BOTH), None)
    assert choice.name == "venv"
    assert choice.skipped == ("modules: no module system here (Lmod, Environment Modules)",)


def test_a_method_that_was_locked_for_another_machine_is_said_to_be_skipped(tmp_path: Path) -> None:
    session = at(tmp_path, BOTH, OZREPRO_PLATFORM="here")
    sections = (Section("modules", "linux-64/there", "sha256:0", {}), Section("venv", "any", "sha256:0", {"python": ">=3.10"}))
    covers = {session.site.platform: ["3.10", "3.11", "3.12", "3.13", "3.14"]}
    sections[1].content["covers"] = covers  # type: ignore[index]
    choice = choose(session, Lock("work", sections))
    assert (choice.name, choice.skipped) == ("venv", ("modules: not locked for this platform (linux-64/here)",))


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
