"""What is there before the first start: a folder, candidates that start, and the setting of a plan."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from ozrepro.environment import Environment
from ozrepro.errors import NoMethodError
from ozrepro.frontends.bench.cache_states import FreshCopy, FreshNode, Warm
from ozrepro.frontends.bench.candidate import Candidate, Found, find
from ozrepro.frontends.bench.lustre.profile import QUIET
from ozrepro.frontends.bench.nodes import Nodes
from ozrepro.frontends.bench.plan import Plan
from ozrepro.frontends.bench.prepare import looked_at, setting_for, work_folder
from ozrepro.frontends.bench.workload import Workload
from ozrepro.store.writing import remove_tree
from tests.conftest import Project

EMPTY = (Workload("empty"),)


@pytest.fixture
def found(built: Project) -> Found:
    """Give a session with one built method."""
    return find(built.root, "work", built.environ)


def test_the_folder_to_work_in_is_on_the_file_system_under_test_and_goes_with_all_in_it(found: Found) -> None:
    with work_folder(found, apart=False) as work:
        assert work.parent == found.session.store.folder
        (work / "kept" / "deep").mkdir(parents=True)
        (work / "kept").chmod(0o555)
    assert not work.exists()


def test_the_folder_to_work_in_is_elsewhere_where_the_store_cannot_be_written(
    found: Found, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with work_folder(found, apart=True) as work:
        assert work.parent == tmp_path
    remove_tree(found.session.store.folder)
    with work_folder(found, apart=False) as work:
        assert work.parent == tmp_path


def test_a_candidate_whose_python_does_not_start_is_refused_and_told(found: Found) -> None:
    said: list[str] = []
    broken = Candidate("broken", Environment(base=("/nowhere",)), found.candidates[0].prefix, ())
    seen = looked_at(replace(found, candidates=(*found.candidates, broken)), os.environ, said.append)
    assert [item.name for item in seen.candidates] == ["venv"]
    assert seen.candidates[0].base
    assert seen.candidates[0].versions["python"]
    [line] = seen.refused
    assert said == [f"not measured: {line}"]
    with pytest.raises(NoMethodError, match=r"\n  broken: there is no program python\n  try: ozrepro verify work"):
        looked_at(replace(found, candidates=(broken,)), os.environ, said.append)


def test_a_setting_has_the_states_of_the_plan_and_the_head_of_the_result(found: Found, tmp_path: Path) -> None:
    with setting_for(found, Plan(EMPTY, ("warm", "cold-client"), seed=7), tmp_path, {}, QUIET) as setting:
        assert {word: type(state) for word, state in setting.states.items()} == {"warm": Warm, "cold-client": FreshCopy}
        about = setting.about
    assert (about.session, about.lock, about.seed, about.profile) == ("work", found.lock, 7, QUIET.as_dict())
    *absent, form = about.refused
    assert absent == [f"{name}: work.toml has no [{name}]" for name in ("modules", "conda", "container")]
    assert form.startswith("environments as a file: ")
    assert about.notes == ()


def test_too_few_fresh_nodes_for_all_rounds_are_noted(found: Found, tmp_path: Path) -> None:
    plan = Plan(EMPTY, ("cold-client",), nodes=Nodes("n1", ("n2", "n3")))
    with setting_for(found, plan, tmp_path, {}, QUIET) as setting:
        assert isinstance(setting.states["cold-client"], FreshNode)
        assert setting.place.node == "n1"
        assert "2 fresh nodes give 2 rounds" in setting.about.notes[0]
