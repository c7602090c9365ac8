"""Fresh nodes of a job: their choice, and whole runs under a real Slurm, whose nodes are all this machine.

So what is proved is where each start went, never that a node's caches were cold.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ozrepro.errors import UsageError
from ozrepro.frontends.bench.host import Place
from ozrepro.frontends.bench.nodes import next_node, nodes_of_job, own_node
from ozrepro.frontends.bench.result import read_result
from tests.conftest import BIN, Project
from tests.fake_cluster.slurm import Slurm

NODES = tuple(f"n{number}" for number in range(1, 8))


def taken(names: list[str], nodes: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return which candidate went to which node, one start after another."""
    touched: dict[str, set[str]] = {}
    found = []
    for name in names:
        node = next_node(nodes, touched, name)
        touched.setdefault(name, set()).add(node)
        found.append((name, node))
    return found


@given(st.lists(st.permutations(["a", "b", "c"]), max_size=len(NODES)))
def test_no_candidate_meets_a_node_twice_and_each_has_as_many_starts_as_there_are_nodes(blocks: list[list[str]]) -> None:
    found = taken([name for block in blocks for name in block], NODES)
    assert len(set(found)) == len(found)
    assert all(node in NODES for _, node in found)


@given(st.permutations(["a", "a", "a", "b", "b", "c", "c"]))
def test_each_node_is_used_once_where_nodes_are_enough(names: list[str]) -> None:
    assert sorted(node for _, node in taken(names, NODES)) == sorted(NODES)


@given(st.lists(st.permutations(["a", "b", "c"]), min_size=1, max_size=len(NODES)))
def test_no_node_is_used_much_more_than_another(blocks: list[list[str]]) -> None:
    used = Counter(node for _, node in taken([name for block in blocks for name in block], NODES))
    assert max(used.values()) - min(used[node] for node in NODES) <= 2


def test_a_candidate_that_has_been_everywhere_has_no_node() -> None:
    assert next_node(("n1",), {"a": {"n1"}}, "a") == ""


@pytest.mark.parametrize(
    ("told", "host", "own"),
    [
        ("n3", "n5", "n3"),
        ("", "n5", "n5"),
        ("", "n5.cluster.example", "n5"),
        ("", "login1", "n1"),
        ("node-of-another-job", "login1", "n1"),
    ],
)
def test_the_node_set_aside_is_this_one_by_slurms_word_then_by_its_name(told: str, host: str, own: str) -> None:
    assert own_node(NODES, told, host) == own


def test_without_the_commands_of_slurm_it_is_said_which_are_needed() -> None:
    with pytest.raises(UsageError, match="srun and scontrol on PATH"):
        nodes_of_job(Place(2, job="17", srun="/bin/srun", nodes=4), {"PATH": "/nowhere", "SLURM_JOB_NODELIST": "n[1-4]"})


SCRIPT = """\
import os, sys
from dataclasses import replace
from pathlib import Path
from ozrepro.frontends.bench.candidate import Candidate
from ozrepro.frontends.bench.nodes import nodes_of_job
from ozrepro.frontends.bench.host import look_at_place
from ozrepro.frontends.bench.plan import Plan
from ozrepro.frontends.bench.result import Keeper
from ozrepro.frontends.bench.run import Setting, measure
from ozrepro.frontends.bench.launch import Starter
from ozrepro.frontends.bench.cache_states import states_for
from ozrepro.frontends.bench.workload import Workload
from ozrepro.environment import Environment
from tests.frontends.bench.values import a_result

folder = Path(sys.argv[1])
candidates = [
    Candidate(name, Environment(path=(str(Path(sys.executable).parent),), variables={"WHO": name}), str(folder), ())
    for name in ("one", "two")
]
blank = a_result(rows=(), counts=(), replay=(), order=(), notes=())
call = f"open({str(folder / 'log')!r}, 'a').write(os.environ['WHO'] + ' ' + os.environ.get('SLURMD_NODENAME', '-') + chr(10))"
place = look_at_place(os.environ)
nodes = nodes_of_job(place, os.environ)
plan = Plan((Workload("where", ("import os",), call),), ("warm", "cold-client"), (2,), 1, 7, 0, seed=5, nodes=nodes)
states = states_for(plan.states, folder / "work", plan.nodes_drawn())
with Starter(os.environ, folder, folder / "work") as starter:
    setting = Setting(starter, replace(place, node=nodes.own), blank, states, counts=False)
    measure(plan, candidates, setting, Keeper(folder / "r.json", print), print)
"""


@pytest.mark.network
@pytest.mark.slow
def test_each_start_of_a_candidate_goes_to_a_node_that_it_has_not_touched(slurm: Slurm, tmp_path: Path) -> None:
    """Two ranks each: those of a warm start stay on the node that is set aside, those of a cold one on one fresh node."""
    environ = {"PATH": f"{slurm.bin}:/usr/bin:/bin", "HOME": str(tmp_path)}
    done = slurm.run(sys.executable, "-c", SCRIPT, str(tmp_path), cwd=Path(__file__).parents[3], environ=environ)
    assert done.returncode == 0, done.stdout + done.stderr
    found = read_result(tmp_path / "r.json")
    assert found.complete, found.why
    assert found.plan["fresh_nodes"] == 3
    cold = [row for row in found.rows if row.state == "cold-client"]
    assert [row.node for row in found.rows if row.state == "warm"] == ["", ""]
    assert all((row.status, len(row.ready)) == (0, 2) for row in found.rows)
    for name in ("one", "two"):
        assert sorted(row.node for row in cold if row.candidate == name) == ["n2", "n3", "n4"]
    # Where each rank says that it was: one start before counting without srun, then a warm round, then the nodes of the rows.
    said = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
    assert said[:2] == [["one", "-"], ["two", "-"]]
    assert sorted(said[2:6]) == [["one", "n1"], ["one", "n1"], ["two", "n1"], ["two", "n1"]]
    assert said[6:] == [[row.candidate, row.node] for row in cold for _ in range(2)]
    assert "what methods share" in found.states["cold-client"]["leaves"]


@pytest.mark.network
@pytest.mark.slow
def test_the_command_sends_cold_starts_away_from_the_node_that_it_runs_on(slurm: Slurm, built: Project) -> None:
    """As in a batch script: it runs on a node of the job, whose processors its own step has."""
    environ = {**built.environ, "PATH": f"{slurm.bin}:{built.environ['PATH']}"}
    options = [
        *("--rounds", "6", "--budget", "60", "--state", "warm,cold-client", "--fresh-nodes"),
        *("--ranks", "1,2", "--workload", "empty", "--json", "r.json"),
    ]
    words = ("srun", "--nodes=1", "--ntasks=1", "--nodelist=n2", str(BIN / "ozrepro"), "bench", "work", *options)
    done = slurm.run(*words, cwd=built.root, environ=environ)
    assert done.returncode == 0, done.stdout + done.stderr
    line = "cold-client: 3 fresh nodes give 1 round of 2 kinds of start; 6 rounds would need a job of 13 nodes"
    assert line in done.stderr
    assert line in " ".join(done.stdout.split())
    found = read_result(built.root / "r.json")
    assert found.complete, found.why
    assert all((row.status, len(row.ready)) == (0, row.ranks) for row in found.rows)
    assert [(row.ranks, row.node) for row in found.rows if row.state == "warm"] == [(1, ""), (2, "")] * 6
    cold = [row for row in found.rows if row.state == "cold-client"]
    assert [row.ranks for row in cold] == [1, 2]
    assert len({row.node for row in cold} & {"n1", "n3", "n4"}) == 2
    assert all(row.phases["environment"] > 0 for row in cold)  # a venv has nothing before its interpreter: this is srun


@pytest.mark.network
@pytest.mark.slow
@pytest.mark.parametrize(
    ("nodes", "ranks", "said"),
    [
        (1, "1", "has one node, which has touched the environments and is not fresh\n  try: salloc --nodes=8"),
        (2, "1,2", "a round has 2 kinds of start, workloads times --ranks"),
    ],
)
def test_a_job_of_too_few_nodes_is_told_before_anything_starts(
    slurm: Slurm, built: Project, nodes: int, ranks: str, said: str
) -> None:
    environ = {**built.environ, "PATH": f"{slurm.bin}:{built.environ['PATH']}"}
    words = f"bench work --state cold-client --fresh-nodes --workload empty --ranks {ranks}".split()
    done = slurm.run(str(BIN / "ozrepro"), *words, cwd=built.root, environ=environ, nodes=nodes)
    assert done.returncode == 2, done.stdout + done.stderr
    assert said in done.stderr
    assert "processes, at most" not in done.stderr
