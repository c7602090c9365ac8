"""What a program did, from strace's text: real text of real programs, and the lines that are hard to get from one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ozrepro.errors import OzreproError
from ozrepro.frontends.bench.lustre.model import Client, Totals, requests
from ozrepro.frontends.bench.lustre.trace import Counts, Event, count, read_trace
from tests.frontends.bench.lustre.events import strace
from tests.needs import STRACE


def kinds(text: str, *roots: str, cwd: str = "/") -> list[tuple[str, str]]:
    return [(event.kind, event.path) for event in read_trace(text, roots=roots or ("/fs",), cwd=cwd)]


@STRACE
def test_a_real_program_is_read_event_by_event(tmp_path: Path) -> None:
    tree = tmp_path / "a tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub" / "file.txt").write_text("hello")
    (tree / "link").symlink_to("sub")
    script = (
        "import os, mmap\n"
        "os.stat('sub'); os.listdir('sub'); os.path.exists('nöne'); os.readlink('link')\n"
        "with open('link/file.txt', 'rb', buffering=0) as stream:\n"
        "    stream.read(3); mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ)\n"
    )
    text = strace(tmp_path / "trace", sys.executable, "-I", "-S", "-c", script, cwd=tree)
    found = read_trace(text, roots=(str(tree),))
    below = [(event.kind, event.path.removeprefix(f"{tree}/")) for event in found if event.path != str(tree)]
    assert ("dir", "sub") in below
    assert ("opendir", "sub") in below
    assert ("readdir", "sub") in below
    assert ("missing", "nöne") in below
    assert ("link", "link") in below
    at = below.index(("link", "link/file.txt"))  # asked by one name, opened as another
    assert below[at + 1] == ("open", "sub/file.txt")
    assert ("map", "sub/file.txt") in below
    assert below[-1] == ("close", "sub/file.txt")
    assert Event("stat", f"{tree}/sub/file.txt", size=5) in found
    assert Event("read", f"{tree}/sub/file.txt", size=3) in found
    assert {event.path for event in found if not event.found} == {f"{tree}/nöne"}


@STRACE
def test_counts_of_a_real_program_repeat(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("import json\n")
    root = str(Path(sys.prefix).resolve().parent)
    script = "import os; open(os.devnull); os.path.exists('none')"
    found = []
    for name in ("first", "second"):
        text = strace(tmp_path / name, sys.executable, "-I", "-c", script, cwd=tmp_path)
        found.append(count(read_trace(text, roots=(root, str(tmp_path)))))
    assert found[0] == found[1]
    assert found[0].missing >= 1


def software(root: Path) -> None:
    """Make a folder with four modules, of which one is a link to another, and a link to the folder."""
    real = root / "real"
    (real / "pkg").mkdir(parents=True)
    for name in ("one", "two", "three"):
        (real / "pkg" / f"{name}.py").write_text("NUMBER = 1\n")
    (real / "pkg" / "four.py").symlink_to("one.py")
    (root / "link").symlink_to("real")


def importing(out: Path, path: Path) -> str:
    script = f"import sys; sys.path.insert(0, {str(path)!r}); import pkg.one, pkg.two, pkg.three, pkg.four"
    return strace(out, sys.executable, "-I", "-S", "-B", "-c", script, cwd=out.parent)


@STRACE
def test_software_behind_a_linked_folder_is_counted_once(tmp_path: Path) -> None:
    """As what it is without the link, but for the link's own two lookups, and those only below a root."""
    software(tmp_path)
    direct, through = (importing(tmp_path / f"trace of {name}", tmp_path / name) for name in ("real", "link"))
    whole = str(tmp_path.resolve())
    for roots, more in (((f"{whole}/real/pkg", f"{whole}/link/pkg"), 0), ((whole,), 1)):
        plain, linked = (read_trace(text, roots=roots) for text in (direct, through))
        assert [event for event in linked if event != Event("link", f"{whole}/link")] == list(plain)
        assert count(linked).found == count(plain).found + more
        sent = [Totals.of(requests(events, Client(roots))) for events in (plain, linked)]
        assert sent[1].lookups == sent[0].lookups + 2 * more  # its name, and where it leads
        assert Event("link", f"{whole}/real/pkg/four.py") in linked


def test_a_linked_folder_is_not_followed_out_of_the_roots() -> None:
    text = (
        'openat(AT_FDCWD</>, "/fs/link", O_RDONLY|O_DIRECTORY) = 3</disk/real>\n'
        'stat("/fs/link/a", {st_mode=S_IFREG|0644, st_size=7, ...}) = 0\n'
    )
    assert kinds(text) == [("link", "/fs/link"), ("stat", "/fs/link/a")]
    assert kinds(text, "/fs", "/disk") == [("link", "/fs/link"), ("opendir", "/disk/real"), ("stat", "/disk/real/a")]


def test_a_path_that_goes_up_says_nothing_of_links() -> None:
    text = "".join(f'openat(AT_FDCWD</>, "/fs/l/../{name}", O_RDONLY) = 3</other/{name}>\n' for name in "ab")
    assert kinds(f'{text}access("/fs/a", F_OK) = 0\n', "/fs", "/other")[-1] == ("access", "/fs/a")


def test_only_what_is_below_a_root_counts() -> None:
    text = 'access("/fs/a", R_OK) = 0\naccess("/fs2/a", R_OK) = 0\naccess("/fs", R_OK) = 0\naccess("/fs/../etc/a", R_OK) = 0\n'
    assert kinds(text) == [("access", "/fs/a"), ("access", "/fs")]


def test_a_call_that_another_process_interrupts_is_put_together() -> None:
    text = (
        '11 openat(AT_FDCWD</fs>, "a", O_RDONLY|O_CLOEXEC <unfinished ...>\n'
        '12 access("/fs/b", F_OK)              = -1 ENOENT (No such file or directory)\n'
        "11 <... openat resumed>)               = 3</fs/a>\n"
    )
    assert kinds(text) == [("missing", "/fs/b"), ("open", "/fs/a")]


def test_a_relative_path_in_a_trace_is_resolved_by_its_process() -> None:
    text = (
        '[pid 11] chdir("/fs/deep")          = 0\n'
        '[pid 11] stat("a", {st_mode=S_IFREG|0644, st_size=7, ...}) = 0\n'
        '[pid 12] access("a", F_OK) = 0\n'
        '[pid 12] newfstatat(4</fs/x>, "y", {st_mode=S_IFDIR|0755, st_size=4096, ...}, 0) = 0\n'
    )
    assert kinds(text, cwd="/fs/start") == [
        ("access", "/fs/deep"),
        ("stat", "/fs/deep/a"),
        ("access", "/fs/start/a"),
        ("dir", "/fs/x/y"),
    ]


LOOK = "os.access('here', os.R_OK); os.path.islink('here'); os.access('none', os.R_OK); os.readlink('link')"


@STRACE
@pytest.mark.parametrize(
    "script",
    [
        f"os.chdir('deep')\nif os.fork() == 0:\n    {LOOK}\n    os._exit(0)\nos.wait()",
        f"os.chdir('deep')\nif os.fork() == 0:\n    os.chdir('/')\n    os._exit(0)\nos.wait()\n{LOOK}",
        f"os.chdir('deep')\nsubprocess.run([sys.executable, '-I', '-S', '-c', {f'import os; {LOOK}'!r}], check=True)",
        f"subprocess.run([sys.executable, '-I', '-S', '-c', {f'import os; {LOOK}'!r}], cwd='deep', check=True)",
        f"thread = threading.Thread(target=os.chdir, args=('deep',))\nthread.start(); thread.join()\n{LOOK}",
    ],
    ids=["a child", "a parent", "a program", "a program elsewhere", "a thread"],
)
def test_a_process_is_in_the_folder_that_it_was_started_in(script: str, tmp_path: Path) -> None:
    """A child has its parent's, and what it does then is its own; threads of a process have one together."""
    deep = tmp_path / "deep"
    deep.mkdir()
    (deep / "here").touch()
    (deep / "link").symlink_to("here")
    start = f"import os, subprocess, sys, threading\n{script}"
    text = strace(tmp_path / "trace", sys.executable, "-I", "-c", start, cwd=tmp_path)
    found = read_trace(text, roots=(str(deep),), cwd=str(tmp_path))
    below = [(event.kind, event.path.removeprefix(f"{deep}/")) for event in found if event.path != str(deep)]
    assert below == [("access", "here"), ("stat", "here"), ("missing", "none"), ("link", "link")]


def test_a_child_may_be_seen_before_the_call_that_started_it_has_ended() -> None:
    text = (
        '11 chdir("/fs/deep")          = 0\n'
        "11 vfork( <unfinished ...>\n"
        '12 access("a", F_OK) = 0\n'
        "11 <... vfork resumed>)               = 12\n"
        "11 clone(child_stack=NULL, flags=CLONE_CHILD_SETTID|SIGCHLD) = 13\n"
        "11 clone3({flags=CLONE_VM|CLONE_FS|CLONE_FILES, exit_signal=0} => {parent_tid=[14]}, 88) = 14\n"
        "11 fork() = -1 EAGAIN (Resource temporarily unavailable)\n"
        '11 chdir("/fs/other")          = 0\n'
        '12 access("b", F_OK) = 0\n'
        '13 access("c", F_OK) = 0\n'
        '14 access("d", F_OK) = 0\n'
    )
    assert [path for _, path in kinds(text)] == ["/fs/deep", "/fs/deep/a", "/fs/other", "/fs/deep/b", "/fs/deep/c", "/fs/other/d"]


@STRACE
def test_what_would_stand_below_a_file_is_not_there(tmp_path: Path) -> None:
    """Only the file was looked at, however much of a path goes on behind it."""
    folder = tmp_path / "root" / "folder"
    folder.mkdir(parents=True)
    (folder / "plain").touch()
    script = "import os\nfor end in ('/a', '/a/b/c', '/'):\n    os.path.exists(f'folder/plain{end}')\n"
    script += "try: os.listdir('folder/plain')\nexcept NotADirectoryError: pass\nos.listdir('folder')"
    text = strace(tmp_path / "trace", sys.executable, "-I", "-S", "-c", script, cwd=tmp_path / "root")
    found = read_trace(text, roots=(str(tmp_path / "root"),), cwd=str(tmp_path / "root"))
    assert [event for event in found if "plain" in event.path] == [Event("access", str(folder / "plain"))] * 4


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('stat("/fs/a.zip/b", 0x7ffd) = -1 ENOTDIR (Not a directory)', [("access", "/fs/a.zip")]),
        ('stat("/fs/a.zip/b/c", 0x7ffd) = -1 ENOTDIR (Not a directory)', [("access", "/fs/a.zip")]),
        ('open("/fs/a", O_RDONLY) = -1 EACCES (Permission denied)', [("access", "/fs/a")]),
        ('lstat("/fs/l", {st_mode=S_IFLNK|0777, st_size=3, ...}) = 0', [("access", "/fs/l")]),
        ('readlink("/fs/l", "abc", 4096) = 3', [("link", "/fs/l")]),
        ('readlink("/fs/f", 0x7ffd, 4096) = -1 EINVAL (Invalid argument)', [("access", "/fs/f")]),
        ('execve("/fs/bin/python", ["python"], 0x7ffd /* 3 vars */) = 0', [("exec", "/fs/bin/python")]),
        (
            'statx(AT_FDCWD</fs>, "a", AT_STATX_SYNC_AS_STAT, STATX_ALL, {stx_mask=0x7ff, stx_mode=S_IFREG|0600, stx_size=9, ...}) = 0',
            [("stat", "/fs/a")],
        ),
        ("fstat(3</fs/a>, {st_mode=S_IFREG|0600, st_size=9, ...}) = 0", [("stat", "/fs/a")]),
        ('mkdir("/fs/new", 0777) = 0', [("change", "/fs/new")]),
        ('mkdir("/fs/new", 0777) = -1 EEXIST (File exists)', []),
        ("close(3</fs/a (deleted)>) = 0", [("close", "/fs/a")]),
        ('read(3<pipe:[123]>, "/fs/a", 5) = 5', []),
        ('openat(AT_FDCWD</>, "/fs/caf\\303\\251\\"", O_RDONLY) = 3</fs/caf\\303\\251\\">', [("open", '/fs/café"')]),
        ("mmap(NULL, 8192, PROT_READ, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = 0x7f1", []),
        ("mmap(NULL, 8192, PROT_READ, MAP_PRIVATE, 3</fs/a>, 0x1000) = 0x7f1", [("map", "/fs/a")]),
        ('openat(AT_FDCWD</>, "/fs/a", O_RDONLY) = ? ERESTARTSYS (To be restarted if SA_RESTART is set)', []),
        ("--- SIGCHLD {si_signo=SIGCHLD} ---", []),
        ("+++ exited with 0 +++", []),
        ("<... read resumed>) = 1", []),
        ("", []),
    ],
)
def test_a_line_is_the_event_that_it_tells(line: str, expected: list[tuple[str, str]]) -> None:
    assert kinds(line) == expected


def test_counts_are_of_distinct_paths() -> None:
    events = [
        Event("missing", "/fs/n", found=False),
        Event("missing", "/fs/n", found=False),
        Event("open", "/fs/a"),
        Event("read", "/fs/a", size=10),
        Event("read", "/fs/a", size=4),
        Event("map", "/fs/b", size=100),
        Event("opendir", "/fs"),
    ]
    assert count(events) == Counts({"map": 1, "missing": 2, "open": 1, "opendir": 1, "read": 2}, 3, 1, 1, 2, 14)


def test_a_relative_root_of_a_trace_is_refused() -> None:
    with pytest.raises(OzreproError, match="not absolute"):
        read_trace("", roots=("fs",))
