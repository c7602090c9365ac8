"""The same in the jobs of a real Slurm: its daemons tell who belongs to a step, and end what is left of it."""

from __future__ import annotations

import fcntl
import shlex
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.fake_cluster import BASE_PATH, SiteUnavailable
from tests.fake_cluster.slurm import Slurm
from tests.needs import FUSE
from tests.store.mounted import PYTHON, Packed, variables, wait
from tests.store.test_join import RANK, notes_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fake_cluster.ordinary import Account

pytestmark = [FUSE, pytest.mark.site]

TASKS = """
srun -n4 "$start" sh -c 'readlink /proc/self/ns/mnt /proc/self/ns/user | paste -sd,; exec flock -s "$barrier" true'
"""


@pytest.fixture(scope="module")
def slurm(who: Account | None) -> Iterator[Slurm]:
    """Give a running Slurm of two nodes, whose commands the user can run."""
    if who is None:
        pytest.skip("only root can start Slurm for another user")
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir=who.folder))
    folder.chmod(0o755)
    try:
        with Slurm(folder / "here", nodes=2) as running:
            yield running
    except SiteUnavailable as reason:
        pytest.skip(f"no Slurm: {reason}")


@contextmanager
def job(slurm: Slurm, packed: Packed, script: str) -> Iterator[subprocess.Popen[str]]:
    """Run a script of bash in a job of one whole node; in it `$start`, `$word` and `$barrier` are paths, the last one a lock."""
    paths = {"start": packed.start, "word": packed.env / "word", "barrier": packed.work / "barrier"}
    names = " ".join(f"{name}={shlex.quote(str(path))}" for name, path in paths.items())
    salloc = (str(slurm.bin / "salloc"), "--nodes=1", "--exclusive", "--quiet")
    with subprocess.Popen(
        packed.words(*salloc, "bash", "-c", f"export {names}\n{script}"),
        env=variables(PATH=f"{slurm.bin}:{BASE_PATH}"),
        cwd=packed.work,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    ) as running:
        yield running


@contextmanager
def held(packed: Packed) -> Iterator[None]:
    """Hold the lock that tasks wait for."""
    with open(packed.work / "barrier", "w", encoding="ascii") as barrier:
        fcntl.flock(barrier, fcntl.LOCK_EX)
        yield


def lines_of(running: subprocess.Popen[str], count: int) -> list[str]:
    """Return the next lines that a job prints."""
    assert running.stdout is not None
    lines = [running.stdout.readline().rstrip("\n") for _ in range(count)]
    assert all(lines), lines
    return lines


def nothing_is_left(packed: Packed) -> bool:
    """Say whether neither process, mount nor note is left."""
    return packed.ended() == [] and wait(lambda: not list(notes_of(packed).iterdir()))


def test_four_tasks_of_a_job_share_one_mount_and_two_jobs_share_none(slurm: Slurm, packed: Packed) -> None:
    with job(slurm, packed, TASKS) as one, job(slurm, packed, TASKS) as other:
        with held(packed):
            spaces, others = lines_of(one, 4), lines_of(other, 4)
        assert (len(set(spaces)), len(set(others)), len({*spaces, *others})) == (1, 1, 2)
        assert (one.wait(60), other.wait(60)) == (0, 0)
    assert nothing_is_left(packed)


def test_a_step_s_end_takes_nothing_from_another_step(slurm: Slurm, packed: Packed) -> None:
    script = """
    srun -n1 --overlap "$start" sh -c 'echo first; flock -s "$barrier" cat "$word"' &
    read -r line < <(exec srun -n1 --overlap "$start" echo second) && echo "$line"
    "$start" echo third
    wait
    """
    with job(slurm, packed, script) as running:
        with held(packed):
            assert sorted(lines_of(running, 3)) == ["first", "second", "third"]
            assert wait(lambda: sum("squashfuse_ll" in line for line in packed.leftovers()) == 2)
        assert lines_of(running, 1) == ["a generation"]
        assert running.wait(60) == 0
    assert nothing_is_left(packed)


def test_a_cancelled_job_leaves_nothing(slurm: Slurm, packed: Packed) -> None:
    with held(packed), job(slurm, packed, f'echo "$SLURM_JOB_ID"\n{TASKS}') as running:
        (number,) = lines_of(running, 1)
        lines_of(running, 4)
        ended = subprocess.run(
            packed.words(str(slurm.bin / "scancel"), number), env=variables(), capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, ended.stderr
        running.wait(60)
    assert packed.ended() == []


def test_tasks_of_srun_exchange_a_message_through_memory(slurm: Slurm, packed: Packed) -> None:
    script = packed.work / "rank.py"
    script.write_text(RANK)
    for before in ("", '"$start"'):
        meeting = packed.work / f"meeting {len(before)}"
        words = f"{before} {PYTHON} {shlex.quote(str(script))} {shlex.quote(str(meeting))}"
        with job(
            slurm, packed, f"export line={shlex.quote(words)}; srun -n2 bash -c 'export RANK=$SLURM_PROCID; eval \"exec $line\"'"
        ) as running:
            (said,) = lines_of(running, 1)
        if not before and "Operation not permitted" in said:
            pytest.skip("this machine lets no program read another's memory")
        assert said == "a message of rank 0"
    assert nothing_is_left(packed)
