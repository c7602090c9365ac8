"""Ranks inside an allocation of a real Slurm, and in words."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ozrepro.frontends.bench.host import Place
from ozrepro.frontends.bench.ranks import launch_words
from ozrepro.frontends.bench.result import Result, read_result
from tests.fake_cluster.slurm import Slurm

SCRIPT = """\
import os, sys
from dataclasses import replace
from pathlib import Path
from ozrepro.frontends.bench.candidate import Candidate
from ozrepro.frontends.bench.host import look_at_place
from ozrepro.frontends.bench.plan import Plan
from ozrepro.frontends.bench.result import Keeper
from ozrepro.frontends.bench.run import Setting, measure
from ozrepro.frontends.bench.launch import Starter
from ozrepro.frontends.bench.cache_states import Warm
from ozrepro.frontends.bench.workload import Workload
from ozrepro.environment import Environment
from tests.frontends.bench.values import a_result

folder = Path(sys.argv[1])
plain = Environment(path=(str(Path(sys.executable).parent),))
wrapped = Environment(**{**plain.as_dict(), "prefix": ("/usr/bin/env", "WRAPPED=1")})
pair = [Candidate(name, item, str(folder), ()) for name, item in (("plain", plain), ("wrapped", wrapped))]
blank = a_result(rows=(), counts=(), replay=(), order=(), notes=())
work = (Workload("where", ("import os",), "print(sorted(name for name in os.environ if name == 'SLURM_PROCID'))"),)
with Starter(os.environ, folder, folder / "work") as starter:
    setting = Setting(starter, look_at_place(os.environ), blank, {"warm": Warm()}, counts=False)
    measure(Plan(work, ranks=(1, 2, 4), rounds=2, warmups=1), pair, setting, Keeper(folder / "r.json", print), print)
"""


def _measured(slurm: Slurm, folder: Path) -> Result:
    root = Path(__file__).parents[3]
    environ = {"PATH": f"{slurm.bin}:/usr/bin:/bin", "HOME": str(folder)}
    words = [sys.executable, "-c", SCRIPT, str(folder)]
    done = slurm.run(*words, cwd=root, environ=environ)
    assert done.returncode == 0, done.stdout + done.stderr
    return read_result(folder / "r.json")


@pytest.mark.network
@pytest.mark.slow
def test_srun_starts_the_ranks_of_a_job_and_each_says_its_times(slurm: Slurm, tmp_path: Path) -> None:
    found = _measured(slurm, tmp_path)
    assert found.complete
    assert sorted({(row.candidate, row.ranks, row.status, len(row.ready)) for row in found.rows}) == [
        (name, ranks, 0, ranks) for name in ("plain", "wrapped") for ranks in (1, 2, 4)
    ]
    # What srun takes is part of the environment's phase; a single rank has none, where nothing runs before its interpreter.
    taken = {(row.candidate, row.ranks): row.phases["environment"] for row in found.rows}
    assert taken["plain", 1] == 0
    assert min(taken["plain", 4], taken["wrapped", 4]) > 0
    assert os.listdir(tmp_path / "work") == []


def test_one_rank_or_a_start_outside_a_job_has_no_srun_in_front() -> None:
    assert launch_words(Place(8), 4) == ()
    assert launch_words(Place(8, job="17", srun="/bin/srun", nodes=2), 1) == ()
    assert launch_words(Place(8, job="17", srun="/bin/srun", nodes=2, node="n1"), 1) == ()


def test_a_start_that_is_sent_to_a_node_has_srun_in_front_also_of_one_rank() -> None:
    place = Place(8, job="17", srun="/bin/srun", nodes=4, node="n1")
    assert launch_words(place, 1, "n3")[1:3] == ("--ntasks=1", "--nodes=1")
    assert launch_words(place, 1, "n3")[-2:] == ("--nodelist=n3", "--overlap")
    assert launch_words(place, 4, "n3")[-2:] == ("--nodelist=n3", "--overlap")


def test_ranks_are_spread_over_no_more_nodes_than_there_are() -> None:
    place = Place(8, job="17", srun="/bin/srun", nodes=4)
    assert launch_words(place, 2)[:3] == ("/bin/srun", "--ntasks=2", "--nodes=2")
    assert launch_words(place, 64)[:3] == ("/bin/srun", "--ntasks=64", "--nodes=4")
    assert "--overlap" not in launch_words(place, 64)
    held = replace(place, node="n2")
    assert launch_words(held, 64)[2:] == ("--nodes=1", "--kill-on-bad-exit=1", "--input=none", "--nodelist=n2", "--overlap")
