"""Starts of one job on one node share a mount, as long as the job lives and no longer."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import threading
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.needs import FUSE
from tests.store.mounted import AS_ROOT_TOO, PYTHON, Packed, make, variables, wait

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fake_cluster.ordinary import Account

pytestmark = [FUSE, pytest.mark.site]

SPACES = ("sh", "-c", 'readlink /proc/self/ns/mnt /proc/self/ns/user | paste -sd,; exec flock -s "$BARRIER" true')
"""Tells its namespaces, and lives until the others have told theirs: the number of one that has ended is given to the next."""

DAEMON = """\
while read -r count; do
    for ((rank = 0; rank < count; rank++)); do
        (SLURM_TASK_PID=$BASHPID SLURM_LOCALID=$rank exec "$@") &
    done
    wait
    echo done
done
"""
"""Starts as many tasks as each line says, as the daemon of a step does, and lives until its standard input ends."""


class Step:
    """What starts the tasks of a job on this node."""

    def __init__(self, packed: Packed, environ: dict[str, str]) -> None:
        self._barrier = packed.work / "barrier"
        self._barrier.touch()
        self.process = subprocess.Popen(
            packed.words("bash", "-c", DAEMON, "bash", packed.start, *SPACES),
            env={**environ, "BARRIER": str(self._barrier)},
            cwd=packed.work,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            start_new_session=True,
        )

    def run(self, count: int) -> list[str]:
        """Start so many tasks at once, and return what they printed: the namespaces of each, in a line."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        lines: list[str] = []
        with open(self._barrier, encoding="ascii") as barrier:
            fcntl.flock(barrier, fcntl.LOCK_EX)
            self.process.stdin.write(f"{count}\n")
            self.process.stdin.flush()
            while sum(line.startswith("mnt:") for line in lines) < count:
                lines.append(self.process.stdout.readline().rstrip("\n"))
                assert lines[-1] not in ("", "done"), lines
        assert self.process.stdout.readline() == "done\n"
        return lines


@contextmanager
def step(packed: Packed, **more: str) -> Iterator[Step]:
    """Give a step, whose daemon ends with the block."""
    running = Step(packed, variables(**more))
    with running.process:
        try:
            yield running
        finally:
            if running.process.stdin is not None:
                running.process.stdin.close()


def notes_of(packed: Packed) -> Path:
    """Return the folder of the user's notes."""
    return Path(f"/dev/shm/ozrepro-{packed.account.uid if packed.account else os.geteuid()}")


def note_of(packed: Packed, job: str) -> Path:
    """Return the only note of a job."""
    (note,) = notes_of(packed).glob(f"{job}*")
    return note


def kill(number: int) -> None:
    """Kill a process, and wait for its end."""
    os.kill(number, signal.SIGKILL)
    assert wait(lambda: not os.path.exists(f"/proc/{number}/root/"))


@pytest.fixture
def private(packed: Packed) -> Packed:
    """Give an environment of a user whose notes no other process uses."""
    if packed.account is None:
        pytest.skip("the notes of the tests' user are used by others")
    return packed


@AS_ROOT_TOO
def test_32_concurrent_starts_of_a_job_share_one_mount_which_ends_with_it(packed: Packed, job: str) -> None:
    with step(packed, SLURM_JOB_ID=job) as one, step(packed, SLURM_JOB_ID=f"{job}0") as other:
        spaces = set(one.run(32))
        assert len(spaces) == 1
        assert set(one.run(4)) == spaces
        assert set(other.run(4)).isdisjoint(spaces)
        assert len([line for line in packed.leftovers() if "squashfuse_ll" in line]) == 2
        note_of(packed, f"{job}..")
    assert packed.ended() == []
    assert list(notes_of(packed).glob(f"{job}*")) == []


def test_steps_and_restarts_of_a_job_share_none(packed: Packed, job: str) -> None:
    kinds: list[dict[str, str]] = [{"SLURM_STEP_ID": "0"}, {"SLURM_STEP_ID": "1"}, {"SLURM_RESTART_COUNT": "1"}, {}]
    with ExitStack() as stack:
        running = [stack.enter_context(step(packed, SLURM_JOB_ID=job, **more)) for more in kinds]
        spaces = [set(one.run(2)) for one in running]
        assert [len(each) for each in spaces] == [1, 1, 1, 1]
        assert len(set().union(*spaces)) == 4


@pytest.mark.parametrize("name", ["PBS_JOBID", "LSB_JOBID", "FLUX_JOB_ID"])
def test_jobs_of_other_schedulers_share_one_mount(packed: Packed, job: str, name: str) -> None:
    with step(packed, **{name: f"{job}[7].host/x y"}) as running:
        assert len(set(running.run(4))) == 1
    assert packed.ended() == []


@pytest.mark.parametrize("name", ["OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK"])
def test_ranks_of_one_mpirun_without_a_scheduler_share_one_mount(packed: Packed, name: str) -> None:
    with step(packed, **{name: "0"}) as one, step(packed, **{name: "0"}) as other:
        spaces, others = set(one.run(4)), set(other.run(4))
    assert (len(spaces), len(others)) == (1, 1)
    assert spaces.isdisjoint(others)
    assert packed.ended() == []


def test_starts_without_a_job_share_none(packed: Packed) -> None:
    with step(packed) as running:
        assert len(set(running.run(2))) == 2


def test_a_joined_command_sees_what_it_sees_without(packed: Packed, job: str) -> None:
    more = {"SLURM_JOB_ID": job, "IFS": "x", "SHELLOPTS": "noexec", "POSIXLY_CORRECT": "1", "UID": "7", "LD_LIBRARY_PATH": "/no"}
    arguments = ("", "two words", "a\nline", b"\xff")
    before = ("bash", "-c", 'umask 077; exec 8</etc/passwd 9>>/dev/null 10<>/dev/zero <&-\n"$@"\nexit "$?"', "bash")
    ways = ((packed, True), (packed, False), (packed, False), (packed.by_text(), False))
    plain, *started = (way.seen(*arguments, before=before, env=variables(**more), plain=plain) for way, plain in ways)
    for seen in (plain, *started):
        for name in ("pid", "group", "session", "parent"):
            del seen[name]
        # The last word of the command before, which bash sets for each.
        seen["environ"] = [entry for entry in seen["environ"] if not entry.startswith("_=")]
    assert started == [plain] * 3
    assert packed.ended() == []


def test_what_the_first_start_leaves_holds_no_pipe_of_its_caller(packed: Packed, job: str) -> None:
    script = 'for turn in first second; do out=$("$1" echo "$turn" 2>&1); echo "$out"; done'
    done = packed.run("bash", "-c", script, "bash", packed.start, plain=True, env=variables(SLURM_JOB_ID=job))
    assert (done.stdout, done.stderr) == ("first\nsecond\n", "")


def test_ranks_read_each_other_s_memory(packed: Packed, job: str) -> None:
    script = packed.work / "rank.py"
    script.write_text(RANK)
    for words in ([PYTHON, str(script)], [packed.start, PYTHON, str(script)]):
        meeting = packed.work / f"meeting {len(words)}"
        meeting.unlink(missing_ok=True)
        command = ["bash", "-c", 'for rank in 0 1; do RANK=$rank "$@" & done; wait', "bash", *words, str(meeting)]
        done = packed.run(*command, plain=True, env=variables(SLURM_JOB_ID=job))
        if words[0] == PYTHON and "Operation not permitted" in done.stdout:
            pytest.skip("this machine lets no program read another's memory")
        assert (done.stdout, done.stderr) == ("a message of rank 0\n", "")


RANK = """\
import ctypes, os, sys, time
text = b"a message of rank 0"
class Part(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("size", ctypes.c_size_t)]
buffer = ctypes.create_string_buffer(text if os.environ["RANK"] == "0" else len(text) + 1)
if os.environ["RANK"] == "0":
    ctypes.CDLL(None).prctl(0x59616d61, ctypes.c_ulong(-1), 0, 0, 0)
    with open(sys.argv[1] + ".new", "w") as stream:
        stream.write(f"{os.getpid()} {ctypes.addressof(buffer)}")
    os.rename(sys.argv[1] + ".new", sys.argv[1])
    while os.path.exists(sys.argv[1]):
        time.sleep(0.01)
else:
    while not os.path.exists(sys.argv[1]):
        time.sleep(0.01)
    pid, address = map(int, open(sys.argv[1]).read().split())
    libc = ctypes.CDLL(None, use_errno=True)
    mine, other = Part(ctypes.addressof(buffer), len(text)), Part(address, len(text))
    read = libc.process_vm_readv(pid, ctypes.byref(mine), 1, ctypes.byref(other), 1, 0)
    print(buffer.value.decode() if read == len(text) else os.strerror(ctypes.get_errno()))
    os.unlink(sys.argv[1])
"""


def test_a_killed_holder_or_server_is_replaced(packed: Packed, job: str) -> None:
    with step(packed, SLURM_JOB_ID=job) as running:
        running.run(1)
        kill(int(note_of(packed, job).read_text().split()[0]))
        assert len(set(running.run(3))) == 1
        for line in packed.leftovers():
            if "squashfuse_ll" in line:
                kill(int(line.split()[0]))
        assert len(set(running.run(3))) == 1
    assert packed.ended() == []


def test_a_note_of_another_process_is_not_believed(packed: Packed, job: str) -> None:
    with step(packed, SLURM_JOB_ID=job) as running:
        running.run(1)
        note = note_of(packed, job)
        holder, born = note.read_text().split()
        kill(int(holder))
        stat = Path(f"/proc/{running.process.pid}/stat").read_text().rpartition(")")[2].split()[19]
        texts = (
            f"{running.process.pid} {born}\n",
            f"{running.process.pid} {stat}\n",
            "",
            "x\n",
            "1 1\n",
            f"{2**40} 5\n",
            "../.. 3\n",
        )
        for text in texts:
            note.write_text(text)
            assert len(set(running.run(2))) == 1
            assert note.read_text() != text
            kill(int(note.read_text().split()[0]))
    assert packed.ended() == []


def test_notes_of_ended_jobs_are_removed_by_the_next_first_start(packed: Packed, job: str) -> None:
    with step(packed, SLURM_JOB_ID=job) as running:
        running.run(1)
        old = note_of(packed, job)
        kill(int(old.read_text().split()[0]))
        with step(packed, SLURM_JOB_ID=f"9{job}") as other:
            other.run(1)
            assert not old.exists()
            note_of(packed, f"9{job}")


def test_a_first_start_waits_for_another_and_goes_on_when_that_is_killed(private: Packed, job: str) -> None:
    with step(private, SLURM_JOB_ID=f"8{job}") as running:
        running.run(1)
    folder = os.open(notes_of(private), os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    with step(private, SLURM_JOB_ID=job) as running:
        spaces: list[str] = []
        thread = threading.Thread(target=lambda: spaces.extend(running.run(3)))
        thread.start()
        assert wait(lambda: len(_waiting(folder)) == 3)
        assert spaces == []
        os.close(folder)
        thread.join(60)
        assert len(set(spaces)) == 1


def _waiting(folder: int) -> list[str]:
    """Return the kernel's lines of those who wait for a lock of a folder."""
    inode = f":{os.fstat(folder).st_ino} "
    return [line for line in Path("/proc/locks").read_text().splitlines() if "->" in line and inode in line]


@pytest.mark.parametrize("kind", ["a link", "another's", "everybody's", "a file"])
def test_a_folder_of_notes_that_others_can_change_is_not_used(private: Packed, job: str, kind: str) -> None:
    assert private.ended() == []
    notes = notes_of(private)
    aside = notes.with_name(f"{notes.name}.aside")
    if notes.exists():
        notes.rename(aside)
    uid, gid = os.stat(private.work).st_uid, os.stat(private.work).st_gid
    try:
        if kind == "a link":
            notes.symlink_to(private.work)
        elif kind == "a file":
            notes.touch()
        else:
            notes.mkdir()
            notes.chmod(0o777)
        if kind != "another's":
            os.chown(notes, uid, gid, follow_symlinks=False)
        with step(private, SLURM_JOB_ID=job) as running:
            lines = running.run(3)
        told = [line for line in lines if line.startswith("ozrepro: ")]
        assert len(told) == 1, lines
        assert "is not a folder of yours alone" in told[0]
        assert len(set(lines)) == 4
        if notes.is_dir():
            assert list(notes.glob(f"{job}*")) == []
    finally:
        notes.rmdir() if notes.is_dir() and not notes.is_symlink() else notes.unlink()
        if aside.exists():
            aside.rename(notes)
    assert private.ended() == []


def test_a_folder_that_the_holder_does_not_see_is_kept(packed: Packed, job: str) -> None:
    with step(packed, SLURM_JOB_ID=job) as running:
        (space,) = running.run(1)
        script = 'mkdir -p seen; mount -t tmpfs none seen; cd seen; echo here >file; "$1" cat file "$1/../env/word"; "$1" pwd'
        before = ("unshare", "--user", "--map-current-user", "--keep-caps", "--mount", "bash", "-c", script, "bash", packed.start)
        done = packed.run(*before, plain=True, env=variables(SLURM_JOB_ID=job))
        assert "here\n" in done.stdout, done.stderr
        assert running.run(1) == [space]


def test_another_environment_s_start_inside_of_a_job_s_works(packed: Packed, job: str, top: Path, who: Account | None) -> None:
    other = make(top, who, f"another {job}")
    script = 'for turn in 1 2; do "$1" cat "$2"; done'
    with step(other, SLURM_JOB_ID=job) as outside, step(packed, SLURM_JOB_ID=job) as running:
        running.run(1)
        for _ in range(2):  # first where no holder of the other one is, then where one is outside
            words = (packed.start, "bash", "-c", script, "bash", other.start, str(other.env / "word"))
            done = packed.run(*words, plain=True, env=variables(SLURM_JOB_ID=job))
            assert (done.stdout, done.stderr) == (f"another {job}\n" * 2, "")
            assert len(set(outside.run(2))) == 1
    assert packed.ended() == other.ended() == []


def test_a_mount_is_shared_where_proc_hides_what_others_run(private: Packed, job: str) -> None:
    script = 'mount -t proc -o hidepid=2 proc /proc; for rank in 1 2 3; do "$@" & done; wait'
    before = ("unshare", "--mount", "bash", "-ec", script, "bash")
    environ = variables(SLURM_JOB_ID=job, BARRIER=str(private.work / "barrier"))
    with open(private.work / "barrier", "w", encoding="ascii") as barrier:
        fcntl.flock(barrier, fcntl.LOCK_EX)
        with subprocess.Popen(
            [*before, *private.words(private.start, *SPACES)], env=environ, stdout=subprocess.PIPE, encoding="utf-8"
        ) as running:
            assert running.stdout is not None
            lines = [running.stdout.readline() for _ in range(3)]
            fcntl.flock(barrier, fcntl.LOCK_UN)
    assert "mnt:" in lines[0]
    assert len(set(lines)) == 1
    assert private.ended() == []
