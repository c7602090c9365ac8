"""A real image, as an ordinary user: its start is a phase of its own, and what it asks of the file system is counted from outside."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ozrepro.frontends.bench.lustre.emulator import Emulator
from ozrepro.frontends.bench.result import Result, read_result
from tests.fake_cluster.containers import Containers
from tests.fake_cluster.fixtures import OrdinaryProject, account, containers, ordinary, user_programs
from tests.wheels import make_wheel

__all__ = ["account", "containers", "ordinary", "user_programs"]

pytestmark = pytest.mark.slow

SCRIPT = """\
import os, sys
from pathlib import Path
from ozrepro.frontends.bench.candidate import find
from ozrepro.frontends.bench.host import look_at_place
from ozrepro.frontends.bench.plan import Plan
from ozrepro.frontends.bench.result import Keeper, Result
from ozrepro.frontends.bench.run import Setting, measure
from ozrepro.frontends.bench.launch import Starter, look
from ozrepro.frontends.bench.cache_states import states_for
from ozrepro.frontends.bench.workload import read_workload

root = Path.cwd()
found = find(root, "work", os.environ)
candidates = [item.seen(look(item, os.environ, root)) for item in found.candidates]
work = found.session.store.folder / "bench"
plan = Plan((read_workload("imports", ("json", "decimal"), root),), ("warm", "cold-client"), (1, 2), 2, 1, 1)
about = Result("work", found.lock, {}, {}, {}, 0, ())
with Starter(os.environ, root, work) as starter:
    setting = Setting(starter, look_at_place(os.environ), about, states_for(plan.states, work))
    measure(plan, candidates, setting, Keeper(root / "r.json", print), print)
"""


@pytest.fixture
def both(ordinary: OrdinaryProject, containers: Containers) -> OrdinaryProject:
    """Give a project with a venv and an image of the same session."""
    shutil.copyfile(containers.base, ordinary.root / "base.sif")
    make_wheel(ordinary.wheelhouse, "alpha", "1.0")
    ordinary.account.give(ordinary.root.parent)
    ordinary.spec('imports = ["json", "decimal"]\n\n[venv]\nrequirements = ["alpha"]\n\n[container]\nimage = "base.sif"\n')
    ordinary.done("lock", "work")
    for method in ("venv", "container"):
        ordinary.done("build", "work", "--method", method)
    return ordinary


@pytest.fixture
def measured(both: OrdinaryProject) -> Result:
    """Give the result of both."""
    done = both.run("python", "-c", SCRIPT)
    assert done.returncode == 0, done.stderr
    return read_result(both.root / "r.json")


def test_an_image_is_measured_as_any_other_environment(measured: Result, ordinary: OrdinaryProject) -> None:
    assert measured.complete
    assert measured.notes == ()
    assert {(row.candidate, row.state, row.ranks) for row in measured.rows} == {
        (name, state, ranks) for name in ("venv", "container") for state in ("warm", "cold-client") for ranks in (1, 2)
    }
    assert [row for row in measured.rows if row.status or len(row.ready) != row.ranks] == []
    # Only in front of the image's interpreter something runs.
    assert {row.candidate for row in measured.rows if row.phases["environment"] > 0} == {"container"}
    about = {item.name: item for item in measured.candidates}
    assert about["container"].base == "/usr, inside the image"
    assert "the image through squashfuse" in about["container"].mount
    assert about["container"].files <= 3
    assert not list(Path(ordinary.store() / "bench").iterdir())


def test_an_image_asks_for_itself_and_apptainers_own_files_and_not_for_modules(measured: Result) -> None:
    rows = {row.candidate: row for row in measured.counts if row.state == "cold-client"}
    later = {row.candidate: row for row in measured.counts if row.state == "warm"}
    assert 1 <= rows["container"].opened < 20
    assert rows["container"].bytes > 1_000_000  # what squashfuse read of the image
    assert later["container"].requests["lookup"] == 0
    assert later["venv"].requests["lookup"] == 0
    assert rows["venv"].opened > 20


def test_a_user_without_rights_has_both_served_by_the_emulator(both: OrdinaryProject) -> None:
    """In namespaces of the user's own, in which Apptainer makes others: modules are asked for one by one, the image is not."""
    reason = Emulator.unavailable(in_place=True)
    if reason:
        pytest.skip(reason)
    words = ("--emulate", "quiet", "--workload", "imports", "--state", "warm,cold-client", "--ranks", "1,2", "--rounds", "1")
    path = both.root.parent / "e.json"  # the image is inside the project's own folder, which is served for that
    both.done("bench", "work", *words, "--json", str(path))
    result = read_result(path)
    assert result.complete
    assert [row for row in result.rows if row.status or len(row.ready) != row.ranks] == []
    cold = {row.candidate: row.requests for row in result.rows if row.state == "cold-client" and row.ranks == 1}
    warm = {row.candidate: row.requests for row in result.rows if row.state == "warm" and row.ranks == 1}
    assert {"venv", "container"} <= set(cold) <= {"venv", "venv as a file", "container"}
    if "venv as a file" in cold:  # its namespaces are made inside those of the emulator
        assert cold["venv as a file"]["lookup"] < cold["venv"]["lookup"]
    assert cold["container"]["bytes"] > 1_000_000
    assert cold["venv"]["lookup"] > cold["container"]["lookup"] > 0
    assert warm["venv"]["lookup"] == warm["container"]["lookup"] == 0
