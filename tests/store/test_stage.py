"""A copy of an environment's file on a node of a job: starts take it as it was staged and no other, and it ends with the job."""

from __future__ import annotations

import hashlib
import os
import random
import shlex
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import pytest

from ozrepro.store import staging
from tests.needs import FUSE
from tests.store.mounted import Packed, variables, wait
from tests.store.test_kills import KILLS, SEED

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [FUSE, pytest.mark.site]

STAGE = Path(staging.__file__).with_name("stage.sh").read_text(encoding="utf-8")


@dataclass
class Node:
    """A node's disk in a job, and the processes that hold copies there."""

    packed: Packed
    disk: Path
    job: str
    source: Path
    stack: ExitStack
    sha256: str = field(init=False)
    steps: Iterator[int] = field(default_factory=count)
    """Each start is a step of its own, and so has a mount of its own."""

    def __post_init__(self) -> None:
        self.sha256 = hashlib.sha256(self.source.read_bytes()).hexdigest()

    @property
    def uid(self) -> int:
        """Whose copies they are."""
        return self.packed.account.uid if self.packed.account else os.geteuid()

    @property
    def copy(self) -> Path:
        """The path of the copy."""
        return self.disk / f"ozrepro-{self.uid}-{self.job}.-{self.packed.folder.name}.sqfs"

    @property
    def environ(self) -> dict[str, str]:
        """The variables of the job's starts."""
        return variables(SLURM_JOB_ID=self.job, TMPDIR=str(self.disk))

    def words(self, *watched: str, sha256: str = "", start: str = "") -> list[str | bytes]:
        """Return the words that put the copy there and hold it."""
        words = (
            "copy",
            str(self.uid),
            self.copy.name,
            str(self.source),
            sha256 or self.sha256,
            f"{self.copy.name}.0.sent",
            start,
            *watched,
        )
        return self.packed.words("bash", "-p", "-c", STAGE, "stage", *words)

    def stage(self, *watched: str, sha256: str = "", start: str = "") -> subprocess.Popen[str]:
        """Start what puts the copy there and holds it."""
        process = subprocess.Popen(
            self.words(*watched, sha256=sha256, start=start),
            env=self.environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )

        self.stack.enter_context(process)
        self.stack.callback(process.terminate)
        return process

    def staged(self, *watched: str, **more: str) -> subprocess.Popen[str]:
        """Put the copy there, and return the process that holds it."""
        process = self.stage(*watched, **more)
        assert said(process) == "ready"
        go(process)
        assert said(process) == "staged"
        return process

    def served(self) -> tuple[str, str]:
        """Return which file a start of the job mounts, and what it says."""
        look = f"tr '\\0' '\\n' </proc/$(pgrep -u {self.uid} -n squashfuse_ll)/cmdline | grep -F sqfs"
        environ = {**self.environ, "SLURM_STEP_ID": str(next(self.steps))}
        done = self.packed.run("sh", "-c", f"cat {shlex.quote(str(self.packed.env / 'word'))}; {look}", env=environ)
        word, _, path = done.stdout.rstrip("\n").partition("\n")
        assert word == "a generation", done.stderr
        return path, done.stderr


def line_of(process: subprocess.Popen[str]) -> str:
    """Return the next line of a process."""
    assert process.stdout is not None
    return process.stdout.readline()


def go(process: subprocess.Popen[str]) -> None:
    """Let a process that is ready give the copy its name."""
    assert process.stdin is not None
    os.write(process.stdin.fileno(), b"go\n")


def said(process: subprocess.Popen[str]) -> str:
    """Return the first word of the next line of a process."""
    return line_of(process).partition("\t")[0]


@pytest.fixture
def node(packed: Packed, request: pytest.FixtureRequest) -> Iterator[Node]:
    """Give a node whose disk is empty, in a job of this test's own."""
    disk = packed.folder.parent / f"disk {abs(hash(request.node.nodeid))}"
    disk.mkdir()
    if packed.account is not None:
        packed.account.give(disk)
    with ExitStack() as stack:
        yield Node(packed, disk, f"{os.getpid()}{abs(hash(request.node.nodeid)) % 10**6}", packed.folder / "env.sqfs", stack)
    shutil.rmtree(disk)


@pytest.fixture
def large(node: Node) -> Node:
    """Give the same node, and a file that takes a moment to copy."""
    path = node.packed.work / "large.sqfs"
    path.write_bytes(random.Random(7).randbytes(4 << 20))
    path.chmod(0o444)
    return Node(node.packed, node.disk, node.job, path, node.stack)


def test_a_start_takes_the_copy_while_it_is_there_and_the_file_itself_afterwards(node: Node) -> None:
    assert node.served() == (str(node.packed.folder / "env.sqfs"), "")
    holder = node.staged()
    assert node.served() == (str(node.copy), "")
    assert (node.copy.stat().st_uid, node.copy.stat().st_mode & 0o7777) == (node.uid, 0o400)
    holder.terminate()
    holder.wait(20)
    assert list(node.disk.iterdir()) == []
    assert node.served() == (str(node.packed.folder / "env.sqfs"), "")


def _tampered(copy: Path) -> None:
    copy.chmod(0o600)
    content = copy.read_bytes()
    copy.write_bytes(content[:-1] + b"x")
    copy.chmod(0o400)


def _truncated(copy: Path) -> None:
    before = copy.stat()
    os.truncate(copy, before.st_size // 2)
    os.utime(copy, ns=(before.st_atime_ns, before.st_mtime_ns))


def _replaced(copy: Path) -> None:
    content = copy.read_bytes()
    copy.unlink()
    copy.write_bytes(content)
    copy.chmod(0o400)


def _linked(copy: Path) -> None:
    copy.rename(copy.with_name("elsewhere"))
    copy.symlink_to("elsewhere")


def _named_twice(copy: Path) -> None:
    os.link(copy, copy.with_name("elsewhere"))


def _foreign(copy: Path) -> None:
    owner = copy.stat()
    os.chown(copy, 65534 if owner.st_uid != 65534 else 1, -1)


def _open_to_others(copy: Path) -> None:
    copy.chmod(0o644)


@pytest.mark.parametrize(
    "change",
    [_tampered, _truncated, _replaced, _linked, _named_twice, _foreign, _open_to_others],
    ids=lambda change: change.__name__,
)
def test_a_copy_that_is_not_as_it_was_staged_is_not_taken_and_is_copied_again(node: Node, change: Callable[[Path], None]) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    node.staged()
    change(node.copy)
    path, told = node.served()
    assert path == str(node.packed.folder / "env.sqfs")
    assert told == f"ozrepro: skipping {node.copy}: it is not as it was staged\n"
    again = node.stage()
    assert said(again) == "replaced"
    assert said(again) == "ready"
    again.terminate()
    again.wait(20)
    assert not os.path.lexists(node.copy)


def test_what_cannot_be_removed_is_not_taken_for_a_copy(node: Node) -> None:
    node.copy.mkdir()
    one = node.stage()
    assert line_of(one).endswith(f"{node.copy} cannot be removed, and is not what was staged\n")
    one.wait(20)
    path, told = node.served()
    assert (path, "skipping" in told) == (str(node.packed.folder / "env.sqfs"), True)
    node.copy.rmdir()
    assert list(node.disk.iterdir()) == []


def test_of_several_at_once_one_reads_and_the_others_wait_for_it(large: Node) -> None:
    def answered(process: subprocess.Popen[str]) -> list[str]:
        words = [said(process)]
        if words == ["ready"]:
            go(process)
            words.append(said(process))
        return words

    with ThreadPoolExecutor(4) as pool:
        words = list(pool.map(answered, [large.stage() for _ in range(4)]))
    assert sorted(words) == [["known"], ["known"], ["known"], ["ready", "staged"]]
    assert [path.name for path in large.disk.iterdir()] == [large.copy.name]


def test_the_end_of_standard_input_before_the_word_leaves_nothing(large: Node) -> None:
    one = large.stage()
    assert wait((large.disk / f"{large.copy.name}.part").exists)
    assert one.stdin is not None
    one.stdin.close()
    assert one.wait(20) == 1
    two = large.stage()
    assert said(two) == "ready"
    assert two.stdin is not None
    two.stdin.close()
    assert two.wait(20) == 1
    assert list(large.disk.iterdir()) == []


def test_a_file_with_another_digest_is_not_staged(node: Node) -> None:
    one = node.stage(sha256="0" * 64)
    assert "is not as it was built: it has another sha256" in line_of(one)
    one.wait(20)
    assert list(node.disk.iterdir()) == []


def test_what_was_sent_is_taken_when_it_is_whole_and_copied_otherwise(node: Node) -> None:
    sent = node.disk / f"{node.copy.name}.0.sent"
    for content in (node.source.read_bytes(), node.source.read_bytes()[:-10]):
        sent.write_bytes(content)
        os.chown(sent, node.uid, -1)
        inode = sent.stat().st_ino
        holder = node.staged()
        assert (node.copy.stat().st_ino == inode) is (len(content) == node.source.stat().st_size)
        assert node.served() == (str(node.copy), "")
        assert [path.name for path in node.disk.iterdir()] == [node.copy.name]
        holder.terminate()
        holder.wait(20)
        assert list(node.disk.iterdir()) == []


def test_a_full_disk_is_told_and_nothing_stays(large: Node) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make a small disk")
    script = 'mount -t tmpfs -o size=1m,mode=1777 none "$1" && { "${@:2}"; ls -A "$1"; }'
    words = large.words()
    done = subprocess.run(
        ["unshare", "--mount", "bash", "-c", script, "bash", str(large.disk), *words],
        env=large.environ,
        stdin=open_pipe(large.stack),
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert done.stdout.startswith("failed\t"), done
    assert "No space left on device" in done.stdout
    assert done.stdout.count("\n") == 1


def open_pipe(stack: ExitStack) -> int:
    """Return the end of a pipe that can be read and never has anything."""
    reading, writing = os.pipe()
    for each in (reading, writing):
        stack.callback(os.close, each)
    return reading


def test_the_copy_ends_with_the_process_that_is_watched(node: Node) -> None:
    with subprocess.Popen(node.packed.words("cat"), stdin=subprocess.PIPE) as job:
        assert job.stdin is not None
        since = Path(f"/proc/{job.pid}/stat").read_text().rpartition(")")[2].split()[19]
        holder = node.staged(str(job.pid), since, start="/a/start")
        assert os.readlink(node.copy.with_suffix(".start")) == "/a/start"
        job.stdin.close()
    holder.wait(20)
    assert list(node.disk.iterdir()) == []


def test_what_ended_jobs_left_is_removed_by_the_next_and_what_is_held_stays(node: Node) -> None:
    left = Node(node.packed, node.disk, f"{node.job}1", node.source, node.stack)
    held = Node(node.packed, node.disk, f"{node.job}2", node.source, node.stack)
    killed = left.staged(start="/a/start")
    held.staged()
    killed.kill()
    killed.wait()
    assert left.copy.exists()
    other = node.disk / f"ozrepro-{node.uid + 1}-1-a generation.sqfs"
    other.touch()
    node.staged()
    assert {path.name for path in node.disk.iterdir()} == {node.copy.name, held.copy.name, other.name}


def test_a_copy_whose_holder_was_killed_is_taken_over(node: Node) -> None:
    killed = node.staged()
    killed.kill()
    killed.wait()
    inode = node.copy.stat().st_ino
    holder = node.staged()
    assert node.copy.stat().st_ino == inode
    holder.terminate()
    holder.wait(20)
    assert list(node.disk.iterdir()) == []


def test_a_folder_that_everybody_can_change_is_refused(node: Node) -> None:
    node.disk.chmod(0o777)
    one = node.stage()
    assert "can be changed by everybody" in line_of(one)
    one.wait(20)
    assert list(node.disk.iterdir()) == []


def test_staging_that_is_killed_leaves_nothing_that_is_used_broken_and_no_process(large: Node) -> None:
    """Of the kills, half end who asked for the copy, so that its pipe closes, half the process on the node."""

    def let_go(process: subprocess.Popen[str]) -> None:
        if said(process) == "ready":
            with suppress(BrokenPipeError, ValueError):  # it, or this side of its pipe, has ended meanwhile
                go(process)

    content = large.source.read_bytes()
    began = time.monotonic()
    large.staged().terminate()
    span = time.monotonic() - began
    found: Counter[str] = Counter()
    for number in range(KILLS):
        chance = random.Random(f"{SEED} stage {number}")
        with subprocess.Popen(large.packed.words("cat"), stdin=subprocess.PIPE) as job:
            since = Path(f"/proc/{job.pid}/stat").read_text().rpartition(")")[2].split()[19]
            process = large.stage(str(job.pid), since)
            asking = Thread(target=let_go, args=(process,))
            asking.start()
            assert process.stdin is not None
            # Random instants are the point here: nothing is waited for.
            time.sleep(chance.uniform(0, span * 1.5))
            if number % 2:
                process.kill()
            else:
                process.stdin.close()
            asking.join(20)
            if os.path.lexists(large.copy):
                assert large.copy.read_bytes() == content
                found["whole"] += 1
            assert job.stdin is not None
            job.stdin.close()
        process.wait(20)
        assert wait(lambda: not running(large))
    print(f"\n{KILLS} kills (seed {SEED}), {found['whole']} with a whole copy: none broken, no process left")
    holder = large.staged()
    assert large.copy.read_bytes() == content
    holder.terminate()
    holder.wait(20)
    assert list(large.disk.iterdir()) == []


def running(node: Node) -> list[str]:
    """Return the processes that have to do with the node's copy."""
    left = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if node.copy.name.encode() in (process / "cmdline").read_bytes() and int(process.name) != os.getpid():
                left.append(process.name)
        except OSError:
            continue
    return left
