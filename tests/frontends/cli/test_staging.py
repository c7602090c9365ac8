"""`ozrepro stage`: one copy a node, which the starts of the job take, in the jobs of a real Slurm and without one."""

from __future__ import annotations

import ctypes
import os
import select
import shlex
import struct
import subprocess
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import BIN, Project
from tests.fake_cluster import SiteUnavailable
from tests.fake_cluster.slurm import Slurm
from tests.needs import FUSE
from tests.store.mounted import wait

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [FUSE, pytest.mark.site]

LOOK = "python -c 'import alpha; print(alpha.__file__)'; grep -c /env.ro, /proc/self/mountinfo; exit 0"
"""Tells where a package is imported from, and how many environments are mounted."""

_CLASS_CONTENT, _ADD, _OPEN, _ALLOW, _AT_FDCWD = 0x4, 0x1, 0x10000, 0x1, -100
"""FAN_CLASS_CONTENT, FAN_MARK_ADD, FAN_OPEN_PERM and FAN_ALLOW of fanotify(7), AT_FDCWD of open(2)."""


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """Give the folder that is a job's disk."""
    folder = tmp_path / "disk of the node"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    """Give a running Slurm of two nodes, each with a disk and a /dev/shm of its own."""
    folder = tmp_path_factory.mktemp("slurm")
    (folder / "jobfs").mkdir()
    try:
        with Slurm(folder / "here", nodes=2, private=(str(folder / "jobfs"), "/dev/shm")) as running:
            yield running
    except SiteUnavailable as reason:
        pytest.skip(f"no Slurm: {reason}")


@contextmanager
def opens_of(path: Path) -> Iterator[list[str]]:
    """List the programs that open a file, in whatever namespace: each waits until it is noted (fanotify(7))."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.fanotify_mark.argtypes = (ctypes.c_int, ctypes.c_uint, ctypes.c_uint64, ctypes.c_int, ctypes.c_char_p)
    watch = libc.fanotify_init(_CLASS_CONTENT, os.O_RDONLY | os.O_CLOEXEC)
    if watch < 0 or libc.fanotify_mark(watch, _ADD, _OPEN, _AT_FDCWD, os.fsencode(path)):
        pytest.skip(f"no fanotify here: {os.strerror(ctypes.get_errno())}")
    seen: list[str] = []
    ending, end = os.pipe()

    def read() -> None:
        while watch in select.select([watch, ending], [], [])[0]:
            events = os.read(watch, 1 << 12)
            while events:
                size, _, _, _, _, descriptor, pid = struct.unpack_from("=IBBHQii", events)
                events = events[size:]
                seen.append(os.path.basename(Path(f"/proc/{pid}/cmdline").read_bytes().partition(b"\0")[0]).decode())
                os.write(watch, struct.pack("=iI", descriptor, _ALLOW))
                os.close(descriptor)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield seen
    finally:
        os.close(end)
        reader.join()
        for descriptor in (watch, ending):
            os.close(descriptor)


def batch(slurm: Slurm, project: Project, script: str) -> tuple[str, str]:
    """Run a script in a job of two whole nodes, two tasks each; return the job's last state and what it printed."""
    said, file = project.root.parent / "said", project.root.parent / "job.sh"
    jobfs = slurm.folder.parent / "jobfs"
    variables = {**project.environ, "PATH": f"{slurm.bin}:{project.environ['PATH']}", "JOBFS": str(jobfs)}
    exports = "\n".join(f"export {name}={shlex.quote(value)}" for name, value in variables.items())
    file.write_text(f"#!/bin/bash\n{exports}\ncd {shlex.quote(str(project.root))}\n{script}\n")

    def asked(name: str, *words: str) -> str:
        command = (str(slurm.bin / name), *words)
        return subprocess.run(command, env=variables, cwd=said.parent, capture_output=True, text=True, check=True).stdout

    options = ("--nodes=2", "--ntasks-per-node=2", "--exclusive", f"--output={said}")
    number = asked("sbatch", "--parsable", *options, str(file)).strip()
    state = ""

    def has_ended() -> bool:
        nonlocal state
        state = asked("scontrol", "--oneliner", "show", "job", number).partition("JobState=")[2].partition(" ")[0]
        return state not in ("PENDING", "RUNNING", "COMPLETING")

    assert wait(has_ended, 120)
    return state, said.read_text()


def left_on(slurm: Slurm) -> list[str]:
    """Wait until the disks of the nodes are empty, and return what stays."""
    jobfs = slurm.folder.parent / "jobfs"

    def left() -> list[str]:
        return [f"{node}: {path.name}" for node in slurm.nodes for path in Path(f"{slurm.root_of(node)}{jobfs}").iterdir()]

    wait(lambda: not left())
    return left()


@pytest.fixture
def one(small: Project) -> Project:
    """Give a project whose environment is built as one file."""
    small.done("lock", "work")
    small.done("build", "work", "--form", "file")
    return small


def test_two_nodes_get_one_copy_each_by_one_read_and_the_job_s_end_leaves_nothing(slurm: Slurm, one: Project) -> None:
    one.done("run", "work", "--", "true")  # what a start looks at inside of the file is noted by now
    script = f"""
    ozrepro stage work || exit
    ozrepro stage work || exit
    srun sh -c 'stat -c %h:%a $JOBFS/*.sqfs'
    srun ozrepro run work -- sh -c {shlex.quote(LOOK)}
    """
    with opens_of(one.prefix().parent / "env.sqfs") as programs:
        state, output = batch(slurm, one, script)
    assert state == "COMPLETED", output
    lines = output.splitlines()
    assert lines[0].startswith("work: staged on 2 nodes ("), output
    assert lines[1].startswith("work: was staged before on 2 nodes (in ")
    assert lines[2:6] == ["1:400"] * 4
    assert (lines[6:].count("1"), len(lines)) == (4, 14)
    assert programs == ["sbcast"]
    assert left_on(slurm) == []


def test_a_node_reads_the_file_where_it_cannot_be_sent_and_a_cancelled_job_leaves_nothing(
    slurm: Slurm, one: Project, tmp_path: Path
) -> None:
    for name in ("with srun", "with both"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "srun").symlink_to(slurm.bin / "srun")
    (tmp_path / "with both" / "sbcast").write_text("#!/bin/sh\necho 'sbcast: error: not here' >&2; exit 1\n")
    (tmp_path / "with both" / "sbcast").chmod(0o755)
    rest = shlex.quote(one.environ["PATH"])
    script = f"""
    before=$PATH
    PATH={shlex.quote(str(tmp_path / "with srun"))}:{rest}
    ozrepro stage work
    srun -n4 ozrepro run work -- python -c 'import alpha; print(alpha.__name__)'
    ozrepro stage --remove work
    ozrepro stage --remove work
    PATH={shlex.quote(str(tmp_path / "with both"))}:{rest}
    ozrepro stage work
    ozrepro stage --remove work
    PATH=$before JOBFS=$JOBFS/sub
    mkdir "$JOBFS"
    ozrepro stage work; echo "status $?"
    srun ozrepro run work -- python -c 'import alpha; print(alpha.__name__)'
    ozrepro stage --remove work
    rmdir "$JOBFS"; JOBFS=${{JOBFS%/*}}
    ozrepro stage work
    scancel "$SLURM_JOB_ID"
    sleep 60
    """
    state, output = batch(slurm, one, script)
    assert state == "CANCELLED", output
    lines = [line for line in output.splitlines() if line.startswith(("work: ", "status "))]
    staged, half = "work: staged on 2 nodes (", "work: staged on 1 node ("
    removed = "work: removed from 2 nodes"
    expected = (staged, removed, "work: is not staged", staged, removed, half, "status 1", "work: removed from 1 node", staged)
    assert len(lines) == len(expected), output
    assert all(line.startswith(begin) for line, begin in zip(lines, expected, strict=True)), output
    assert output.count("alpha\n") == 8
    assert "sbcast: error: not here" in output
    assert "ozrepro: work: n2 has no copy, and starts there read the file itself: " in output
    assert "/sub is not a folder that you can write to" in output
    assert left_on(slurm) == []


def in_job(project: Project, disk: Path, script: str, number: str = "7.server") -> str:
    """Run a script as a job of PBS, whose shell leads a session, and return what it printed; its end leaves nothing."""
    words = ["setsid", "--wait", "bash", "-c", f"{script}\nexit"]  # an only command would take the shell's place
    environ = {**project.environ, "PBS_JOBID": number, "JOBFS": str(disk)}
    done = subprocess.run(
        words, cwd=project.root, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert wait(lambda: not list(disk.iterdir()))
    return done.stdout


def test_a_tree_is_packed_once_and_started_from_the_copy_at_its_own_path(built: Project, disk: Path, tmp_path: Path) -> None:
    look = f"ozrepro run work -- sh -c {shlex.quote(LOOK)}"
    before = built.ozrepro("run", "work", "--", "sh", "-c", LOOK).stdout
    prefix = built.prefix()
    assert before.splitlines()[0].startswith(f"{prefix}/lib/")
    assert before.splitlines()[1] == "0"
    built.done("activate", "work", "--output", "env.sh")
    (built.root / "noxfile.py").write_text(
        "import ozrepro\n\n\n@ozrepro.session\ndef work(session):\n    "
        "session.run('python', '-c', \"print('mounted', open('/proc/self/mountinfo').read().count('/env ro,'))\")\n"
    )
    (tmp_path / "srun").write_text("#!/bin/sh\necho beside it\n")
    (tmp_path / "srun").chmod(0o755)
    said = in_job(
        built,
        disk,
        f"ozrepro stage work; {look}; bash env.sh sh -c {shlex.quote(LOOK)}; source env.sh; python -c ''\n"
        f"OZREPRO_PATH={shlex.quote(str(tmp_path))} {BIN}/ozrepro run work -- srun python; {BIN}/nox -s work",
    )
    packing, staged, *rest = said.splitlines()
    after = [before.splitlines()[0], "1"]
    assert packing == "ozrepro: packing venv.any of work into one file"
    assert staged.startswith("work: staged on 1 node (")
    assert rest[:5] == [*after, *after, "beside it"]
    assert "mounted 1" in rest
    again = in_job(built, disk, f"ozrepro stage work; {look}", "8.server").splitlines()
    assert (len(again), again[1:]) == (3, after)
    assert built.ozrepro("run", "work", "--", "sh", "-c", LOOK).stdout == before
    assert built.done("store", "verify").count("whole") == 2
    assert built.done("store", "gc") == "nothing to remove\n"
    built.done("build", "work", "--rebuild")
    built.done("store", "gc", "--yes")
    assert "the tree that it was packed from is gone" in built.done("store", "gc", "--yes")


def test_a_changed_tree_is_not_packed_and_elsewhere_than_in_a_job_s_script_it_says_where_to_write_it(
    built: Project, disk: Path
) -> None:
    for more, told in (
        ({}, "this is not a job of Slurm"),
        ({"SLURM_JOB_ID": "1", "SLURM_STEP_NUM_TASKS": "4"}, "one of 4 tasks"),
    ):
        refused = built.ozrepro("stage", "work", **more)
        assert (refused.returncode, told in refused.stderr) == (2, True), refused.stderr
        assert "ozrepro stage work" in refused.stderr.splitlines()[-1]
    file = next(path for path in built.prefix().rglob("*.py") if "alpha" in str(path.relative_to(built.prefix())))
    file.chmod(0o644)
    file.write_text("changed = 1\n")
    said = in_job(built, disk, "ozrepro stage work; echo status $?")
    assert "is not as it was built:" in said
    assert "try: ozrepro build work --rebuild" in said
    assert said.endswith("status 1\n")
