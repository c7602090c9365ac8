"""Measuring a plan, and all that can end it early."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ozrepro.environment import Environment
from ozrepro.errors import OzreproError, UsageError
from ozrepro.frontends.bench.cache_states import FreshCopy, State, Warm
from ozrepro.frontends.bench.candidate import Candidate
from ozrepro.frontends.bench.host import Place
from ozrepro.frontends.bench.launch import Starter
from ozrepro.frontends.bench.plan import Plan, order
from ozrepro.frontends.bench.result import Result, read_result
from ozrepro.frontends.bench.run import INTERRUPTED, RUNNING, Setting, measure
from ozrepro.frontends.bench.workload import Workload, of_imports
from tests.frontends.bench.lustre.test_counters import client
from tests.frontends.bench.values import a_result

EMPTY = Workload("empty")
PLACE = Place(2)
needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
BLANK = a_result(rows=(), counts=(), replay=(), order=(), notes=(), complete=False)


@pytest.fixture
def setting(starter: Starter, tmp_path: Path) -> Setting:
    """Give a setting that counts nothing."""
    states: dict[str, State] = {"warm": Warm(), "cold-client": FreshCopy(tmp_path / "work")}
    return Setting(starter, PLACE, BLANK, states, counts=False)


def ignore(_: object) -> None:
    """Take a result or a line and do nothing."""


def test_every_candidate_is_started_once_a_round_in_the_order_drawn(setting: Setting, here: Candidate) -> None:
    pair = (here, replace(here, name="again"))
    plan = Plan((EMPTY, of_imports("imports", ("own",))), rounds=3, warmups=1, seed=4)
    found = measure(plan, pair, setting, ignore, ignore)
    assert found.complete
    assert found.why == ""
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", found.began)
    taken = [(row.workload, row.round, row.candidate) for row in found.rows]
    drawn = {name: order(f"4 warm {name} 1", ["here", "again"], 3) for name in ("empty", "imports")}
    assert taken == [
        (name, number, who) for number in (1, 2, 3) for name in ("empty", "imports") for who in drawn[name][number - 1]
    ]
    assert list(found.order) == [drawn[name][number] for number in (0, 1, 2) for name in ("empty", "imports")]
    assert all(row.status == 0 and len(row.ready) == 1 and row.rss > 0 for row in found.rows)


def test_the_result_is_told_after_every_round_and_at_the_end(setting: Setting, here: Candidate) -> None:
    told: list[Result] = []
    measure(Plan((EMPTY,), rounds=3, warmups=0), (here,), setting, told.append, ignore)
    assert [len(result.rows) for result in told] == [0, 1, 2, 3, 3]
    assert [result.why for result in told] == [RUNNING] * 4 + [""]
    assert [result.complete for result in told] == [False] * 4 + [True]


def test_warm_ups_are_started_and_not_in_the_result(setting: Setting, here: Candidate, tmp_path: Path) -> None:
    log = tmp_path / "log"
    counting = Workload("counting", (), f"open({str(log)!r}, 'a').write('x')")
    found = measure(Plan((counting,), rounds=3, warmups=2), (here,), setting, ignore, ignore)
    assert len(found.rows) == 3
    assert log.read_text() == "x" * (1 + 2 + 3)  # one before counting


def test_the_load_is_said_before_the_first_round(setting: Setting, here: Candidate) -> None:
    said: list[str] = []
    rows: list[int] = []

    def hear(line: str) -> None:
        said.append(line)
        rows.append(0)

    measure(Plan((EMPTY,), rounds=1), (here,), setting, lambda result: rows.append(len(result.rows)), hear)
    assert "4 processes, at most 1 at once" in said[0]
    assert rows.index(1) > said.index(said[0])


def test_states_and_ranks_are_measured_and_named(setting: Setting, here: Candidate, tmp_path: Path) -> None:
    plan = Plan((of_imports("imports", ("own",)),), ("warm", "cold-client"), (1, 2), rounds=1, cold_rounds=2, warmups=0)
    found = measure(plan, (here,), setting, ignore, ignore)
    assert [(row.state, row.ranks, row.round) for row in found.rows] == [
        *(("warm", 1, 1), ("warm", 2, 1)),
        *(("cold-client", ranks, number) for number in (1, 2) for ranks in (1, 2)),
    ]
    assert [len(row.ready) for row in found.rows] == [row.ranks for row in found.rows]
    assert list(found.states) == ["warm", "cold-client"]
    assert "servers" in found.states["cold-client"]["leaves"]
    assert list((tmp_path / "work").iterdir()) == []


def test_a_program_that_never_worked_is_recorded_once_and_not_started_again(setting: Setting, here: Candidate) -> None:
    said: list[str] = []
    plan = Plan((Workload("bad", ("import not_there",)), EMPTY), rounds=3)
    found = measure(plan, (here,), setting, ignore, said.append)
    bad = [row for row in found.rows if row.workload == "bad"]
    assert [(row.status, row.round, row.error) for row in bad] == [
        (1, 1, "ModuleNotFoundError: No module named 'not_there'"),
    ]
    assert sum(row.workload == "empty" for row in found.rows) == 3
    assert any("is not started again" in line for line in said)
    assert any("here, bad: ended with 1" in note for note in found.notes)
    assert found.complete


def test_a_program_that_tells_no_times_is_a_failure(setting: Setting, here: Candidate) -> None:
    told: list[str] = []
    found = measure(Plan((Workload("quiet", ("import os",), "os._exit(0)"),), rounds=3), (here,), setting, ignore, told.append)
    assert [(row.status, row.last) for row in found.rows] == [(0, None)]
    assert any("is not started again: it ended before it reported its times" in line for line in told)


@needs_strace
def test_a_program_that_leaves_another_running_is_measured_within_its_budget(
    setting: Setting, here: Candidate, tmp_path: Path
) -> None:
    """Strace waits for the other as well, longer than there is time."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    daemon = f"import os, time; os.fork() or (os.setsid(), open({str(fifo)!r}).read(), os._exit(0))"
    leaves = Workload("leaves", ("import os",), f"exec({daemon!r})")
    setting.starter.caller = {**setting.starter.caller, "PATH": "/usr/bin:/bin"}
    plan = Plan((leaves,), rounds=1, warmups=0, budget_seconds=6)
    found = measure(plan, (here,), replace(setting, counts=True), ignore, ignore)
    with open(fifo, "w"):
        pass  # those that wait for it end now
    assert [row.status for row in found.rows] == [0]
    assert any("counting: strace was ended: it took longer than" in note for note in found.notes)


def test_a_program_that_fails_now_and_then_goes_on_and_each_failure_is_a_row(
    setting: Setting, here: Candidate, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    log.write_text("")
    fourth = f"open({str(log)!r}, 'a').write('x') and (len(open({str(log)!r}).read()) != 4 or exit(7))"
    found = measure(Plan((Workload("now and then", (), fourth),), rounds=5, warmups=1), (here,), setting, ignore, ignore)
    assert [row.status for row in found.rows] == [0, 7, 0, 0, 0]
    assert found.rows[1].ready == ()


def test_a_candidate_without_python_is_recorded(setting: Setting, here: Candidate) -> None:
    nothing = Candidate("nothing", Environment(base=("/nowhere",)), here.prefix, ())
    found = measure(Plan((EMPTY,), rounds=2, warmups=0), (here, nothing), setting, ignore, ignore)
    assert [(row.candidate, row.status) for row in found.rows if row.candidate == "nothing"] == [("nothing", 127)]
    assert sum(row.candidate == "here" for row in found.rows) == 2


def test_a_spent_budget_ends_the_rounds_and_says_so(setting: Setting, here: Candidate) -> None:
    found = measure(Plan((EMPTY,), rounds=5000, warmups=0, budget_seconds=1.0), (here,), setting, ignore, ignore)
    assert not found.complete
    assert 0 < len(found.rows) < 5000
    assert found.why == f"the time budget of 1 s ended the warm rounds after {len(found.rows)} of 5000"


def test_a_long_warm_part_leaves_time_for_the_cold_one(setting: Setting, here: Candidate) -> None:
    plan = Plan((EMPTY,), ("warm", "cold-client"), rounds=5000, cold_rounds=5000, warmups=0, budget_seconds=2.0)
    found = measure(plan, (here,), setting, ignore, ignore)
    assert {row.state for row in found.rows} == {"warm", "cold-client"}
    assert found.why.count("the time budget of 2 s") == 2


def test_a_start_that_the_budget_ends_is_no_crash(setting: Setting, here: Candidate) -> None:
    hangs = Workload("hangs", ("import time",), "time.sleep(1000)")
    found = measure(Plan((hangs,), rounds=2, warmups=0, budget_seconds=0.5), (here,), setting, ignore, ignore)
    assert found.rows == ()
    assert "time budget" in found.why


def test_a_start_that_takes_too_long_is_a_row(setting: Setting, here: Candidate) -> None:
    hangs = Workload("hangs", ("import time",), "time.sleep(1000)")
    found = measure(Plan((hangs,), rounds=2, warmups=0, timeout_seconds=0.5), (here,), setting, ignore, ignore)
    assert [(row.status, row.round) for row in found.rows] == [(-9, 1)]


def test_a_state_that_cannot_be_brought_about_keeps_what_there_is(setting: Setting, here: Candidate, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    states = {**setting.states, "cold-client": FreshCopy(tmp_path / "file")}
    plan = Plan((EMPTY,), ("warm", "cold-client"), rounds=2, warmups=0)
    found = measure(plan, (here,), replace(setting, states=states), ignore, ignore)
    assert [row.state for row in found.rows] == ["warm", "warm"]
    assert not found.complete
    assert found.failed
    assert "cold-client could not be brought about" in found.why


def _gone() -> None:
    raise OzreproError("the emulator has ended: it was killed")


def test_a_start_that_fails_since_its_file_system_has_gone_is_no_methods_failure(setting: Setting, here: Candidate) -> None:
    told: list[str] = []
    plan = Plan((Workload("fails", (), "1 / 0"),), rounds=2)
    found = measure(plan, (here,), replace(setting, check=_gone), ignore, told.append)
    assert (found.rows, found.complete, found.failed) == ((), False, True)
    assert found.why == "it could not go on: the emulator has ended: it was killed"
    assert told == [found.why]


def test_two_candidates_of_one_name_and_none_are_refused(setting: Setting, here: Candidate) -> None:
    with pytest.raises(UsageError, match="two candidates are called here"):
        measure(Plan((EMPTY,)), (here, here), setting, ignore, ignore)
    with pytest.raises(UsageError, match="nothing to measure"):
        measure(Plan((EMPTY,)), (), setting, ignore, ignore)


def test_many_ranks_on_a_login_node_are_refused_before_anything_starts(setting: Setting, here: Candidate) -> None:
    told: list[Result] = []
    with pytest.raises(UsageError, match="too many for a login node"):
        measure(Plan((EMPTY,), ranks=(1, 64)), (here,), replace(setting, place=Place(2, scheduler=True)), told.append, ignore)
    assert told == []


SCRIPT = """\
import sys
from dataclasses import replace
from pathlib import Path
from ozrepro.frontends.bench.candidate import Candidate
from ozrepro.frontends.bench.host import Place
from ozrepro.frontends.bench.plan import Plan
from ozrepro.frontends.bench.result import Keeper
from ozrepro.frontends.bench.run import Setting, measure
from ozrepro.frontends.bench.launch import Starter
from ozrepro.frontends.bench.cache_states import Warm
from ozrepro.frontends.bench.workload import Workload
from ozrepro.environment import Environment
from tests.frontends.bench.test_run import BLANK

folder = Path(sys.argv[1])
here = Candidate("here", Environment(path=(str(Path(sys.executable).parent),)), str(folder), ())
keep = Keeper(folder / "r.json", print)

def told(result):
    keep(result)
    print(len(result.rows), flush=True)

with Starter({}, folder, folder) as starter:
    setting = Setting(starter, Place(2), BLANK, {"warm": Warm()}, counts=False)
    found = measure(Plan((Workload("empty"),), rounds=5000, warmups=0), (here,), setting, told, lambda line: None)
print(found.why)
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 0), (signal.SIGKILL, -9)])
def test_an_interrupted_run_keeps_what_it_has(tmp_path: Path, number: int, status: int) -> None:
    root = Path(__file__).parents[3]
    words = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    with subprocess.Popen(words, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while process.stdout.readline() != "3\n":
            assert process.poll() is None
        process.send_signal(number)
        rest = process.stdout.read().splitlines()
        assert process.wait() == status
    found = read_result(tmp_path / "r.json")
    assert len(found.rows) >= 3
    assert not found.complete
    assert found.why == (INTERRUPTED if status == 0 else RUNNING)
    assert status or rest[-1] == INTERRUPTED


@needs_strace
def test_counting_is_a_run_of_its_own(setting: Setting, here: Candidate) -> None:
    from ozrepro.frontends.bench.lustre.profile import QUIET

    starter = setting.starter
    starter.caller = {**starter.caller, "PATH": "/usr/bin:/bin"}
    plan = Plan((of_imports("imports", ("own", "absent_or_not")[:1]),), rounds=1, warmups=0)
    wanted = replace(setting, counts=True, profiles=(QUIET,), points=((1, 1), (2, 4)))
    found = measure(plan, (here,), wanted, ignore, ignore)
    cold, warm = found.counts
    assert (cold.candidate, cold.workload, cold.state, warm.state) == ("here", "imports", "cold-client", "warm")
    assert cold.opened >= 1
    assert cold.read >= 1
    assert sum(cold.requests.values()) > sum(warm.requests.values())
    assert [(item.nodes, item.ranks, item.preset) for item in found.replay] == [(1, 1, "quiet"), (2, 4, "quiet")]
    assert len(found.rows) == 1


@needs_strace
def test_each_workload_that_is_counted_is_replayed(setting: Setting, here: Candidate) -> None:
    """One whose counting fails has none, and a note says so: it ends with 3 where somebody traces it."""
    from ozrepro.frontends.bench.lustre.profile import QUIET

    setting.starter.caller = {**setting.starter.caller, "PATH": "/usr/bin:/bin"}
    traced = "any(line.startswith('TracerPid:') and line.split()[1] != '0' for line in open('/proc/self/status')) and exit(3)"
    shy = Workload("shy", (), traced)
    plan = Plan((of_imports("imports", ("own",)), shy, EMPTY), rounds=1, warmups=0)
    wanted = replace(setting, counts=True, profiles=(QUIET,), points=((1, 1), (2, 4)))
    found = measure(plan, (here,), wanted, ignore, ignore)
    assert [(item.workload, item.nodes) for item in found.replay] == [
        (name, nodes) for name in ("imports", "empty") for nodes in (1, 2)
    ]
    assert [row.status for row in found.rows] == [0, 0, 0]
    [note] = [note for note in found.notes if "shy" in note]
    assert note.startswith("nothing was counted of here, shy, so that the model says nothing of many nodes: ")
    assert note.endswith("counting: strace ended with status 3")


@needs_strace
def test_what_a_lustre_client_counts_meanwhile_stands_beside_the_prediction(
    setting: Setting, here: Candidate, tmp_path: Path
) -> None:
    """Files as a client has them; every start adds 7 closes, of which those of the traced one are kept, and of no other."""
    client(tmp_path, close=100, intent_lock=20)
    (path,) = tmp_path.glob("proc/fs/lustre/mdc/*/md_stats")
    seven = f"open({str(path)!r}, 'r+').write(re.sub('close +([0-9]+)', lambda m: f'close {{int(m[1]) + 7}}', open({str(path)!r}).read()))"
    setting.starter.caller = {**setting.starter.caller, "PATH": "/usr/bin:/bin"}
    wanted = replace(setting, counts=True, counters_root=tmp_path)
    plan = Plan((Workload("closes", ("import re",), seven),), rounds=2, warmups=1)
    found = measure(plan, (here,), wanted, ignore, ignore)
    assert [row.status for row in found.rows] == [0, 0]
    assert {counted.state: counted.client for counted in found.counts} == {"cold-client": None, "warm": {"close": 7}}
    nowhere = measure(plan, (here,), replace(wanted, counters_root=tmp_path / "nowhere"), ignore, ignore)
    assert [counted.client for counted in nowhere.counts] == [None, None]


@needs_strace
def test_a_trace_for_which_there_is_no_room_is_not_taken_for_a_whole_one(
    setting: Setting, here: Candidate, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Strace goes on where its file cannot grow, and ends as if all were well."""
    subprocess.run(["mount", "-o", "remount,size=4096", str(small_disk)], check=True)
    monkeypatch.setattr("tempfile.tempdir", str(small_disk))
    setting.starter.caller = {**setting.starter.caller, "PATH": "/usr/bin:/bin"}
    plan = Plan((of_imports("imports", ("own",)),), rounds=1, warmups=0)
    found = measure(plan, (here,), replace(setting, counts=True), ignore, ignore)
    assert found.counts == ()
    assert any(f"what strace wrote is incomplete: is there room in {small_disk}?" in note for note in found.notes)


def test_without_strace_the_result_says_what_is_missing(setting: Setting, here: Candidate) -> None:
    setting.starter.caller = {"PATH": "/nowhere"}
    found = measure(Plan((EMPTY,), rounds=1, warmups=0), (here,), replace(setting, counts=True), ignore, ignore)
    assert found.counts == ()
    assert any("strace is not here" in note for note in found.notes)
    assert found.complete
