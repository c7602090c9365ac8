"""Starts and joins with processes killed at random instants. OZREPRO_TEST_KILLS sets how many, OZREPRO_TEST_SEED when."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.needs import FUSE
from tests.store.mounted import Packed, variables
from tests.store.test_join import notes_of
from tests.store.test_kills import KILLS, SEED

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = [FUSE, pytest.mark.site, pytest.mark.slow]

TASKS = """\
for turn in {1..2}; do
    for rank in {1..3}; do "$@" & done
    wait
done
read -r line
echo "again: $("$@")"
"""
"""Starts tasks at once, again and again, as the daemon of a job's step does, and one that nothing disturbs."""


def kill(numbers: Sequence[int]) -> int:
    """Kill processes; return how many there were."""
    killed = 0
    for number in numbers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)
            killed += 1
    return killed


def test_a_start_that_is_killed_leaves_nothing(packed: Packed) -> None:
    began = time.monotonic()
    assert packed.run("true").returncode == 0
    span = time.monotonic() - began
    ends: Counter[int] = Counter()
    for number in range(KILLS):
        chance = random.Random(f"{SEED} start {number}")
        with packed.popen("cat", str(packed.env / "word"), "-") as process:
            # Random instants are the point here: nothing is waited for.
            time.sleep(chance.uniform(0, span * 1.3))
            process.kill()
            assert process.stdout is not None
            ends[len(process.stdout.read())] += 1
        assert packed.ended() == []
    print(f"\n{KILLS} starts killed (seed {SEED}), {ends[0]} before the command read anything: nothing left")
    assert ends[0]
    assert packed.run("cat", str(packed.env / "word")).stdout == "a generation\n"


def test_a_job_of_which_any_process_is_killed_goes_on_and_leaves_nothing(packed: Packed) -> None:
    killed: Counter[str] = Counter()
    for number in range(KILLS):
        chance = random.Random(f"{SEED} job {number}")
        words = packed.words("bash", "-c", TASKS, "bash", packed.start, "cat", str(packed.env / "word"))
        environ = variables(SLURM_JOB_ID=f"{os.getpid()}{number}")
        with subprocess.Popen(
            words, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding="utf-8"
        ) as daemon:
            time.sleep(chance.uniform(0, 0.3))
            lines = [line for line in packed.leftovers() if line.split()[0] != str(daemon.pid)]
            kinds = {"server": "squashfuse_ll", "holder": 'eval "$life"', "any": ""}
            kind = chance.choice(list(kinds))
            chosen = [line for line in lines if kinds[kind] in line]
            if chosen:
                killed[kind] += kill([int(chance.choice(chosen).split()[0])])
            said, _ = daemon.communicate("\n", timeout=60)
        assert said.endswith("again: a generation\n"), (number, kind, said)
        if number % 10 == 9:
            assert packed.ended() == []
    print(f"\n{KILLS} jobs, killed: {dict(killed)} (seed {SEED}): the next start works, nothing left")
    assert killed
    last = packed.run(
        "bash", "-c", TASKS, "bash", packed.start, "true", plain=True, stdin=subprocess.DEVNULL, env=variables(SLURM_JOB_ID="1")
    )
    assert (last.stdout, last.stderr) == ("again: \n", "")
    assert packed.ended() == []
    assert list(notes_of(packed).iterdir()) == []
