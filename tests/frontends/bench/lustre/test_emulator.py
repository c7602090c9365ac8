"""The emulator on real mounts: what programs see, what is counted, and that no mount is ever left behind."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ozrepro.errors import OzreproError
from ozrepro.frontends.bench.lustre.emulator import Emulator
from ozrepro.frontends.bench.lustre.model import QUIET, Profile, Totals
from ozrepro.frontends.bench.lustre.mounting import is_mounted, unmount

REASON = Emulator.unavailable()
pytestmark = pytest.mark.skipif(bool(REASON), reason=REASON)

FAST = replace(QUIET, name="fast", mds_us=0, ost_us=0)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Give a small folder with a file, a large file, a link and a program."""
    root = tmp_path / "the source"
    (root / "sub").mkdir(parents=True)
    (root / "sub" / "small.txt").write_text("hello")
    (root / "large").write_bytes(bytes(range(256)) * (9 << 12))  # 9 MiB
    (root / "link").symlink_to("sub/small.txt")
    (root / "program").write_text("#!/bin/sh\necho ran\n")
    (root / "program").chmod(0o755)
    return root


@pytest.fixture
def mounts(tmp_path: Path) -> tuple[Path, Path]:
    """Give two places for mounts, which nothing may be left at."""
    return tmp_path / "node one", tmp_path / "node2"


@pytest.fixture(autouse=True)
def nothing_left(mounts: tuple[Path, Path]) -> Iterator[None]:
    """Fail a test that leaves a mount, and take it away."""
    yield
    left = [mount for mount in mounts if is_mounted(str(mount))]
    for mount in left:
        unmount(str(mount))
    assert left == []


def emulator(tree: Path, *mounts: Path, profile: Profile = FAST) -> Emulator:
    return Emulator(tree, mounts, profile)


def gone(mount: Path) -> None:
    """Wait until nothing is mounted at a place."""
    with open("/proc/self/mountinfo", encoding="utf-8") as stream:
        poll = select.poll()
        poll.register(stream, select.POLLERR | select.POLLPRI)
        while is_mounted(str(mount)):
            assert poll.poll(30_000), f"{mount} is still mounted"
            stream.seek(0)
            stream.read()


def run(code: str) -> None:
    """Do something with a mount in a process of its own, for whose end all its closes have been asked for."""
    subprocess.run([sys.executable, "-I", "-S", "-c", f"import os\n{code}"], check=True)


def test_a_mount_shows_the_folder_and_cannot_be_written(tree: Path, mounts: tuple[Path, Path]) -> None:
    with emulator(tree, mounts[0]):
        here = mounts[0]
        assert sorted(path.name for path in here.iterdir()) == ["large", "link", "program", "sub"]
        numbers = {entry.name: entry.inode() for entry in os.scandir(here)}
        assert numbers == {name: os.lstat(folder / name).st_ino for folder in (here, tree) for name in numbers}
        assert (here / "link").read_text() == "hello"
        assert (here / "large").read_bytes() == (tree / "large").read_bytes()
        assert (here / "sub").stat().st_mtime_ns == (tree / "sub").stat().st_mtime_ns
        assert subprocess.run([here / "program"], capture_output=True, text=True, check=True).stdout == "ran\n"
        assert os.statvfs(here).f_bsize == os.statvfs(tree).f_bsize
        with pytest.raises(OSError, match="Read-only file system"):
            (here / "new").write_text("")
    assert not is_mounted(str(mounts[0]))


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("os.stat('sub/small.txt')", Totals(lookups=2, glimpses=1)),
        ("os.path.exists('none')", Totals(misses=1)),
        ("os.path.exists('none'); os.path.exists('none')", Totals(misses=2)),
        ("os.listdir('.'); os.path.exists('none'); os.path.exists('none')", Totals(readdirs=1, misses=1)),
        ("os.path.exists('none/a'); os.path.exists('none/b')", Totals(misses=2)),
        ("os.listdir('sub'); os.listdir('sub')", Totals(lookups=1, opens=2, closes=2, readdirs=1)),
        ("os.readlink('link'); os.readlink('link')", Totals(lookups=2)),
        ("open('sub/small.txt').read()", Totals(lookups=2, opens=1, closes=1, glimpses=1, enqueues=1, reads=1, bytes=5)),
        ("f = open('sub/small.txt'); os.close(os.dup(f.fileno()))", Totals(lookups=2, opens=1, closes=1, glimpses=1)),
        (
            "open('large', 'rb').read()",
            Totals(lookups=1, opens=1, closes=1, glimpses=1, enqueues=1, reads=3, bytes=9 << 20),
        ),
        ("[open('large').close() for _ in range(7)]", Totals(lookups=1, opens=5, closes=4, glimpses=1)),
    ],
)
def test_each_act_costs_its_requests(code: str, expected: Totals, tree: Path, mounts: tuple[Path, Path]) -> None:
    with emulator(tree, mounts[0]) as running:
        # The folder is entered first and left last, so that nothing but the act is counted.
        run(f"os.chdir({str(mounts[0])!r})\n{code}")
        assert running.totals() == expected


def test_a_program_is_opened_and_closed_though_nobody_flushes_it(tree: Path, mounts: tuple[Path, Path]) -> None:
    with emulator(tree, mounts[0]) as running:
        subprocess.run([mounts[0] / "program"], check=True, capture_output=True)
        totals = running.totals()
        assert totals.opens == totals.closes >= 1


def test_processes_of_a_node_share_its_cache_and_nodes_do_not(tree: Path, mounts: tuple[Path, Path]) -> None:
    with emulator(tree, *mounts) as running:
        expected = []
        for mount, lookups in ((mounts[0], 2), (mounts[0], 2), (mounts[1], 4)):
            run(f"open({str(mount / 'sub/small.txt')!r}).read()")
            expected.append((lookups, running.totals().lookups))
        assert all(want == got for want, got in expected), expected
        assert (running.totals().opens, running.totals().reads) == (3, 2)


def test_after_a_remount_clients_are_cold(tree: Path, mounts: tuple[Path, Path]) -> None:
    with emulator(tree, mounts[0]) as running:
        act = f"os.stat({str(mounts[0] / 'sub')!r})"
        run(act)
        assert running.totals().lookups == 1
        run(act)
        assert running.totals().lookups == 1
        running.remount()
        assert running.totals() == Totals()
        run(act)
        assert running.totals().lookups == 1


def test_a_node_with_all_its_requests_under_way_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    from ozrepro.frontends.bench.lustre import emulated

    ledger = emulated.Ledger(replace(QUIET, mds_us=10**9, in_flight=2), 2)
    asleep, awake = threading.Semaphore(0), threading.Event()

    def sleep(seconds: float) -> None:
        asleep.release()
        awake.wait()

    monkeypatch.setattr("ozrepro.frontends.bench.lustre.emulated.time.sleep", sleep)
    threads = [threading.Thread(target=ledger.pay, args=(node, [("open", 0)])) for node in (0, 0, 0, 1)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        asleep.acquire()
    assert ledger.totals(0).opens == 3
    awake.set()
    for thread in threads:
        thread.join()
    assert ledger.totals(0).opens == 4


def test_a_killed_emulator_leaves_no_mount_and_says_so(tree: Path, mounts: tuple[Path, Path]) -> None:
    with emulator(tree, *mounts) as running:
        os.kill(running._pid, signal.SIGKILL)
        with pytest.raises(OzreproError, match="the emulator has ended"):
            running.totals()
    assert not any(is_mounted(str(mount)) for mount in mounts)


def test_totals_are_asked_for_only_while_the_emulator_runs(tree: Path, mounts: tuple[Path, Path]) -> None:
    with pytest.raises(OzreproError, match="not running"):
        emulator(tree, mounts[0]).totals()


def test_a_mount_in_use_is_removed_with_the_emulator(tree: Path, mounts: tuple[Path, Path]) -> None:
    with emulator(tree, mounts[0]), open(mounts[0] / "large", "rb") as stream:
        assert stream.read(1) == b"\0"
        unmount(str(mounts[0]))
        assert not is_mounted(str(mounts[0]))


def test_folders_in_their_own_place_are_one_node_and_are_what_they_were_afterwards(tree: Path, tmp_path: Path) -> None:
    """In a namespace, as for the benchmark: whoever is not in it sees nothing of it."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "way").symlink_to(tree / "sub")
    script = f"""
import os
from ozrepro.errors import OzreproError
from ozrepro.frontends.bench.lustre.emulator import Emulator
from ozrepro.frontends.bench.lustre.model import Totals
from ozrepro.site.namespace import enter
from tests.frontends.bench.lustre.test_emulator import FAST, run
enter()
reason = Emulator.unavailable(in_place=True)
assert not reason, reason
tree, other = {str(tree)!r}, {str(other)!r}
with Emulator.over([tree, other], FAST) as running:
    for _ in range(2):
        run(f"assert open({{other + '/way/small.txt'!r}}).read() == 'hello'")
    print(running.totals() == Totals(lookups=4, opens=2, closes=2, glimpses=1, enqueues=1, reads=1, bytes=5))
    try:
        open(tree + "/new", "w")
    except OSError as error:
        print(error.strerror)
    running.remount()
    print(running.totals() == Totals())
open(tree + "/new", "w").close()
for folders, said in (([], "nothing to emulate"), ([tree + "/none"], "no such directory")):
    try:
        Emulator.over(folders, FAST).__enter__()
    except OzreproError as error:
        print(said in str(error))
"""
    root = Path(__file__).parents[4]
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=False)
    if "cannot be served in their own place" in done.stderr:
        pytest.skip(done.stderr.splitlines()[-2])
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["True", "Read-only file system", "True", "True", "True"]
    assert (tree / "new").exists()
    assert not is_mounted(str(tree))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may make a device")
def test_a_device_that_may_not_be_opened_is_told_before_anything_is_mounted() -> None:
    code = "from ozrepro.frontends.bench.lustre.emulator import Emulator; print(Emulator.unavailable(in_place=True))"
    make = "mount -t tmpfs none /dev && mknod /dev/null c 1 3 && chmod 666 /dev/null && mknod -m 600 /dev/fuse c 10 229"
    words = ["unshare", "-m", "sh", "-c", f'{make} && exec setpriv --reuid=65534 --clear-groups "$@"', "sh"]
    root = Path(__file__).parents[4]
    done = subprocess.run([*words, sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert done.stdout == "the emulator may not open /dev/fuse: chmod 666 /dev/fuse, as root\n"


def test_a_killed_caller_leaves_no_mount(tree: Path, mounts: tuple[Path, Path]) -> None:
    script = (
        "import sys, threading\n"
        "from ozrepro.frontends.bench.lustre.emulator import Emulator\n"
        "from ozrepro.frontends.bench.lustre.model import QUIET\n"
        f"with Emulator({str(tree)!r}, [{str(mounts[0])!r}], QUIET):\n"
        "    print('ready', flush=True)\n"
        "    threading.Event().wait()\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as caller:
        assert caller.stdout is not None
        assert caller.stdout.readline() == "ready\n"
        assert is_mounted(str(mounts[0]))
        caller.kill()
    gone(mounts[0])


@pytest.mark.parametrize("at", ["started", "ready"])
def test_an_interrupt_before_all_is_mounted_leaves_neither_mount_nor_process(
    at: str, tree: Path, mounts: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    running = emulator(tree, *mounts)
    answer = running._answer
    asked: list[str] = []

    def interrupted(word: str) -> str:
        asked.append(word)
        if asked.count(at) == 1 and word == at:
            raise KeyboardInterrupt
        return answer(word)

    monkeypatch.setattr(running, "_answer", interrupted)
    before = set(threading.enumerate())
    with pytest.raises(KeyboardInterrupt), running:
        pytest.fail("it was entered")
    assert set(threading.enumerate()) <= before, "the thread that waits for the process is still there"
    assert not any(is_mounted(str(mount)) for mount in mounts)


def test_an_error_or_an_interrupt_inside_leaves_no_mount(tree: Path, mounts: tuple[Path, Path]) -> None:
    with pytest.raises(KeyboardInterrupt), emulator(tree, mounts[0]):
        raise KeyboardInterrupt
    assert not is_mounted(str(mounts[0]))


def test_the_command_ends_with_its_mounts(tree: Path, mounts: tuple[Path, Path]) -> None:
    mounts[0].mkdir()
    words = [sys.executable, "-m", "ozrepro.frontends.bench.lustre.emulator", str(tree), str(mounts[0])]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        assert [running.stderr.readline() for _ in range(2)] == [f"started {running.pid}\n", "ready 1\n"]
        run(f"os.stat({str(mounts[0] / 'sub')!r})")
        unmount(str(mounts[0]))
        assert running.wait(60) == 0


def test_a_folder_that_cannot_be_mounted_is_an_error_with_the_reason(
    tree: Path, mounts: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "a file").write_text("")
    for source, mount, said in (
        (tree, tree / "sub", "inside the folder"),
        (tmp_path / "none", mounts[0], "no such directory"),
        (tree, tree.parent / "a file", "cannot make the folder"),
    ):
        with pytest.raises(OzreproError, match=said), emulator(source, mount):
            pass
    with pytest.raises(OzreproError, match="at least one"), emulator(tree):
        pass
    with emulator(tree, mounts[0]), pytest.raises(OzreproError, match="something is mounted"), emulator(tree, mounts[0]):
        pass
