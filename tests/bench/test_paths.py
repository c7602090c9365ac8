"""What the benchmark itself asks of the file system before its first measurement."""

from __future__ import annotations

import sys

import pytest

from tests.conftest import Project
from tests.warm import strace

SCRIPT = """\
import os
from pathlib import Path
from ozrepro.bench.candidate import find
from ozrepro.bench.plan import Plan, look_at_place
from ozrepro.bench.result import Keeper, Result
from ozrepro.bench.run import Setting, measure
from ozrepro.bench.starting import Starter
from ozrepro.bench.states import states_for
from ozrepro.bench.workload import read_workload

root = Path.cwd()
found = find(root, "work", os.environ)
work = found.session.store.folder / "bench"
plan = Plan((read_workload("empty", (), root, work),), rounds=1, warmups=0)
about = Result("work", found.lock, {}, {}, {}, 0, ())
with Starter(os.environ, root, work) as starter:
    setting = Setting(starter, look_at_place(os.environ), about, states_for(plan.states, work, os.environ), counts=False)
    measure(plan, found.candidates, setting, Keeper(root / "r.json", lambda line: None), lambda line: None)
"""


def test_fewer_than_500_paths_are_opened_before_the_first_measurement(built: Project) -> None:
    # The command line adds its own; together they must stay below 700.
    reason = strace.why_not()
    if reason:
        pytest.skip(reason)
    done = strace.trace([sys.executable, "-c", SCRIPT], "%file,execve", cwd=built.root, env=built.environ)
    assert done.status == 0, done.output
    first = next(place for place, call in enumerate(done.calls) if call.name == "execve" and '"-c"' in call.text and place)
    opened = [call for call in done.calls[:first] if call.name in ("open", "openat") and not call.failed]
    assert 100 < len(opened) < 500
    assert "ozrepro-bench" not in done.output
