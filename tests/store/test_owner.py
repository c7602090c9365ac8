"""Who is proved dead: judged against real processes, by what Slurm says only where Slurm's own words are needed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from dataclasses import astuple, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ozrepro.store import owner
from ozrepro.store.owner import Owner, is_alive, is_dead, myself, read_owner

if TYPE_CHECKING:
    from collections.abc import Iterator

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of boots and starts")


def of_process(pid: int) -> Owner:
    """Return the record that a process would write of itself."""
    start = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    return replace(myself(), pid=str(pid), start=start, job="", restart="")


@pytest.fixture
def living() -> Iterator[subprocess.Popen[bytes]]:
    """Give a process that lives until its input is closed."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        yield process


@linux
def test_a_living_process_is_alive(living: subprocess.Popen[bytes]) -> None:
    record = of_process(living.pid)
    assert is_alive(record)
    assert not is_dead(record)
    assert is_alive(myself())


@linux
def test_a_process_that_ended_is_dead(living: subprocess.Popen[bytes]) -> None:
    record = of_process(living.pid)
    living.communicate()
    assert is_dead(record)
    assert not is_alive(record)


@linux
def test_a_zombie_is_dead() -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        record = of_process(process.pid)
        assert process.stdin is not None
        process.stdin.close()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert Path(f"/proc/{process.pid}/stat").exists()
        assert is_dead(record)


@linux
def test_a_process_id_used_again_by_a_later_process_is_dead(living: subprocess.Popen[bytes]) -> None:
    record = of_process(living.pid)
    assert is_dead(replace(record, start=str(int(record.start) - 1)))


@linux
def test_a_process_of_an_earlier_boot_of_this_host_is_dead(living: subprocess.Popen[bytes]) -> None:
    assert is_dead(replace(of_process(living.pid), boot="0b5e1a2c-0000-4000-8000-000000000000"))


@linux
@pytest.mark.parametrize("change", [{"host": "another-node"}, {"pidns": "pid:[1]"}, {"boot": ""}])
def test_where_nothing_can_be_proved_a_process_counts_as_alive(change: dict[str, str]) -> None:
    gone = replace(myself(), pid="999999999", **change)
    assert not is_dead(gone)
    assert not is_alive(gone)


@linux
@pytest.mark.parametrize("pid", ["", "none", "²", "-1", "9" * 30, "9" * 5000])
def test_what_cannot_be_a_process_id_of_this_host_is_dead(pid: str) -> None:
    assert is_dead(replace(myself(), pid=pid))


@linux
def test_a_living_process_of_another_user_is_not_dead_where_the_system_hides_it() -> None:
    """Mount /proc as many login nodes do (hidepid=2), become another user there, and judge a process of root."""
    if os.geteuid() != 0 or shutil.which("unshare") is None or shutil.which("setpriv") is None:
        pytest.skip("only root may mount /proc and become another user")
    words = (
        "import sys; from ozrepro.store.owner import is_alive, is_dead, read_owner\n"
        "try: open(f'/proc/{sys.argv[2]}/stat'); print('not hidden')\n"
        "except FileNotFoundError: found = read_owner(sys.argv[1]); print(is_dead(found), is_alive(found))"
    )
    script = 'mount -t proc -o hidepid=2 proc /proc && exec setpriv --reuid 65534 --regid 65534 --clear-groups "$@"'
    prepare = ["unshare", "--mount", "sh", "-c", script, "sh"]
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    if python is None or subprocess.run([*prepare, python, "-c", ""], capture_output=True, check=False).returncode != 0:
        pytest.skip("no /proc of its own can be mounted here")
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        record = of_process(process.pid).record()
        # The other user may not be able to read the folder of the tested interpreter: the modules come on standard input.
        folder = Path(owner.__file__).parents[2]
        packed = subprocess.run(["tar", "-C", str(folder), "-c", "ozrepro"], capture_output=True, check=True).stdout
        unpack = 'cd "$(mktemp -d)" && tar x && "$@"; status=$?; rm -r "$PWD"; exit $status'
        made = subprocess.run(
            [*prepare, "sh", "-c", unpack, "sh", python, "-c", words, record, str(process.pid)],
            input=packed,
            capture_output=True,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONDONTWRITEBYTECODE": "1"},
            check=False,
        )
        assert made.stdout.decode() == "False False\n", made.stderr.decode()


SLURM = """#!/bin/sh
# A stand-in for what only Slurm itself can be brought to say.
echo "$@" >> "$0.asked"
printf '%s' "$ANSWER"
case "$ANSWER" in *error*) printf '%s\\n' "$ANSWER" >&2; exit 1;; esac
"""


@pytest.mark.parametrize(
    ("answer", "dead"),
    [
        ("77 RUNNING 0\n", False),
        ("77 SUSPENDED 0\n", False),
        ("77 COMPLETING 0\n", False),
        ("77 PENDING 0\n", False),
        ("77 PENDING 2\n", True),
        ("77 RUNNING 2\n", True),
        ("77 COMPLETED 0\n", True),
        ("77 NODE_FAIL 0\n", True),
        ("77 CANCELLED\n", True),
        ("slurm_load_jobs error: Invalid job id specified\n", True),
        ("slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n", False),
        ("", False),
        ("77\n", False),
        ("78 COMPLETED 0\n79 COMPLETED 0\n", False),
        ("78 COMPLETED 0\n77 RUNNING 0\n", False),
        ("78 RUNNING 0\n77 FAILED 0\n", True),
    ],
)
def test_a_job_is_over_only_where_slurm_says_so_of_this_very_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, dead: bool
) -> None:
    squeue = tmp_path / "squeue"
    squeue.write_text(SLURM)
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("ANSWER", answer)
    elsewhere = replace(myself(), host="another-node", job="77", restart="1")
    assert is_dead(elsewhere) is dead
    assert "-j 77" in (tmp_path / "squeue.asked").read_text()
    assert not is_dead(elsewhere, ask_scheduler=False)


def test_without_slurm_a_job_counts_as_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not is_dead(replace(myself(), host="another-node", job="77"))


ANY_TEXT = st.text(st.characters(exclude_categories=()) | st.sampled_from(": %\n\0/\udcff"), max_size=40).map(
    lambda text: text.encode(errors="surrogatepass").decode(errors="surrogateescape")
)


@given(st.tuples(*[ANY_TEXT] * 8))
def test_any_record_is_read_as_it_was_written(values: tuple[str, ...]) -> None:
    written = Owner(*values)
    record = written.record()
    assert read_owner(record) == written
    assert record.isascii()
    assert record.isprintable()
    assert " " not in record
    assert "/" not in record


@given(st.text())
def test_any_other_text_is_no_record_or_one_that_can_be_judged(text: str) -> None:
    found = read_owner(text)
    assert found is None or isinstance(is_dead(found, ask_scheduler=False), bool)


@given(st.tuples(*[st.sampled_from(["", "0", "1", "-1", "x", "²", "99999999999999999999", "a:b"])] * 4))
def test_any_record_of_this_host_can_be_judged(values: tuple[str, ...]) -> None:
    pid, start, job, restart = values
    mine = myself()
    assert isinstance(is_dead(replace(mine, pid=pid, start=start, job=job, restart=restart), ask_scheduler=False), bool)


def test_a_process_s_own_record_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "2")
    mine = myself()
    assert mine.describe() == f"process {os.getpid()} on {socket.gethostname()}, Slurm job 4711"
    assert mine.restart == "2"
    assert mine.token != myself().token
    assert len(mine.record()) < 255
    assert read_owner(mine.record()) == mine
    assert read_owner("2" + mine.record()[1:]) is None
    assert len(astuple(mine)) == 8
