"""What a command sees that is started with an environment's file mounted, and what is left of it."""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ozrepro.frontends.bench.lustre.emulator import Emulator
from ozrepro.frontends.bench.lustre.model import METADATA, QUIET
from ozrepro.store import forms
from ozrepro.store.forms import IMAGE, MARKER, START, why_no_mount
from ozrepro.store.publish import CARD
from tests.needs import FUSE, STRACE
from tests.store import noflock
from tests.store.mounted import AS_ROOT_TOO, Packed, make, tools, variables, wait

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.fake_cluster.ordinary import Account

pytestmark = [FUSE, pytest.mark.site]


@pytest.fixture
def broken(top: Path, who: Account | None) -> Iterator[Packed]:
    """Give an environment that a test may break."""
    made = make(top, who, "a broken one")
    yield made
    shutil.rmtree(made.folder)


HOSTILE = {
    b"LD_LIBRARY_PATH": b"/nowhere:/lib",
    b"BASH_ENV": b"/etc/passwd",
    b"ENV": b"/etc/passwd",
    b"BASH_FUNC_printf%%": b"() { echo taken; }",
    b"BASH_FUNC_exec%%": b"() { echo taken; }",
    b"SHELLOPTS": b"errexit:noexec:nounset:noglob:xtrace",
    b"BASHOPTS": b"failglob:nullglob",
    b"IFS": b"/:0",
    b"CDPATH": b"/usr:/",
    b"GLOBIGNORE": b"*",
    b"POSIXLY_CORRECT": b"1",
    b"PS4": b"$(touch /tmp/taken)",
    b"UID": b"7",
    b"EUID": b"7",
    b"PPID": b"1",
    b"GROUPS": b"7",
    b"PWD": b"/usr",
    b"OLDPWD": b"/lib",
    b"SHLVL": b"3",
    b"_": b"/bin/x",
    b"RANDOM": b"4",
    b"LINES": b"1",
    b"HOSTNAME": b"elsewhere",
    b"word": b"taken",
    b"settings": b"taken",
    b"caller": b"taken",
    b"turn": b"9",
    b"inside": b"/usr",
    b"job": b"taken",
    b"a.name": b"more = and\nlines",
    b"not utf-8 \xff": b"\xfe",
    b"empty": b"",
}


@AS_ROOT_TOO
@pytest.mark.parametrize(
    "before",
    [
        (),
        ("exec <&-",),
        ("exec >&-",),
        ("exec <&- >&- 2>&-",),
        ("exec 8</etc/passwd 9>>/dev/null 10<>/dev/zero 11<&8 63<&8 255<&8",),
        ("umask 027; ulimit -n 100 -c 0; ulimit -t 90",),
        ("trap '' INT PIPE TERM HUP USR1",),
        ("renice -n 19 $$ >/dev/null",),
        ("mkdir -p deleted; cd deleted; rmdir ../deleted",),
        ("mkdir -p 'a folder\n'; cd 'a folder\n'",),
    ],
    ids=lambda lines: lines[0].replace("\n", " ") if lines else "plain",
)
def test_a_command_sees_what_it_sees_without(packed: Packed, before: tuple[str, ...]) -> None:
    words = ("bash", "-c", f'{before[0]}\nexec "$@"', "bash") if before else ()
    arguments = ("", "two words", "a\nline", b"\xff\xfe", "-n", "--", "*", "$HOME", "a\"b'c", "x=y")
    # bash itself complains of a working directory that is gone, and here without descriptors to do so.
    plain, started = (
        packed.seen(*arguments, before=words, plain=plain, said=None if "deleted" in str(before) else "")
        for plain in (True, False)
    )
    by_text = packed.by_text().seen(*arguments, before=words, said=None if "deleted" in str(before) else "")
    for seen in (plain, started, by_text):
        del seen["pid"], seen["group"], seen["session"]
    assert started == by_text == plain
    assert started["child"] is None


@AS_ROOT_TOO
def test_a_caller_s_variables_disturb_nothing_and_reach_the_command(packed: Packed) -> None:
    environ = {b"PATH": b"/usr/bin:/bin", **HOSTILE}
    plain = packed.seen(plain=True, env=environ)
    for way in (packed, packed.by_text()):
        started = way.seen(env=environ)
        assert started["environ"] == plain["environ"]
        assert started["ids"] == plain["ids"]
    assert not os.path.exists("/tmp/taken")


@pytest.mark.parametrize("name", ["LD_PRELOAD", "LD_AUDIT"])
def test_a_caller_s_libraries_reach_the_command(packed: Packed, name: str) -> None:
    library = "libSegFault.so" if name == "LD_PRELOAD" else "/nowhere/audit.so"
    started = packed.seen(env=variables(**{name: library}), said=None)
    assert f"{name}={library}" in started["environ"]


@AS_ROOT_TOO
def test_the_process_is_the_command(packed: Packed) -> None:
    with packed.popen("sh", "-c", 'echo "$$"; read -r line; echo "$line"') as process:
        said, _ = process.communicate(b"from stdin\n", timeout=60)
    assert said.decode().split("\n") == [str(process.pid), "from stdin", ""]


def test_its_exit_status_is_the_command_s(packed: Packed) -> None:
    statuses = "0 1 2 3 4 7 77 126 127 128 130 137 143 254 255"
    script = f'for status in {statuses}; do "$1" bash -c "exit $status"; [ "$?" = "$status" ] || echo "$status"; done'
    done = packed.run("bash", "-c", script, "bash", packed.start, plain=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGSEGV, signal.SIGHUP])
def test_a_signal_ends_it_as_the_command(packed: Packed, number: signal.Signals) -> None:
    assert packed.run("sh", "-c", f"kill -{int(number)} $$; read -r line").returncode == -number
    assert packed.run("sh", "-c", f'"$0" sh -c "kill -{int(number)} \\$\\$"; exit $?', packed.start, plain=True).returncode == (
        128 + number
    )
    assert packed.ended() == []


def test_a_handler_is_called_and_the_mount_stays(packed: Packed) -> None:
    script = f"trap 'cat \"{packed.env}/word\"; exit 5' INT TERM; echo ready; while :; do read -r line; done"
    for number in (signal.SIGINT, signal.SIGTERM):
        with packed.popen("bash", "-c", script, start_new_session=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            os.killpg(process.pid, number)  # as a terminal does it: all of the group, and so who serves the mount
            assert process.stdout.read() == b"a generation\n"
            assert process.wait(60) == 5
    assert packed.ended() == []


def test_a_signal_to_every_process_of_a_step_leaves_the_mount(packed: Packed) -> None:
    """As Slurm sends what `--signal` names: to all that its step's cgroup holds, whoever started it."""
    names = ("INT", "QUIT", "HUP", "TERM", "TSTP", "TTIN", "TTOU", "ABRT", "ALRM", "USR1", "USR2", "XCPU")
    script = f'for name in {" ".join(names)}; do trap "echo $name" $name; done; echo ready; until [ "$line" ]; do read -r line || [ $? -gt 128 ] || exit; done'
    with packed.popen("bash", "-c", f"{script}; cat '{packed.env}/word'", start_new_session=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        before = packed.leftovers()
        assert any("squashfuse" in line for line in before)
        for name in names:
            for line in packed.leftovers():
                os.kill(int(line.split()[0]), signal.Signals[f"SIG{name}"])
            assert process.stdout.readline() == f"{name}\n".encode()
        assert packed.leftovers() == before
        process.stdin.write(b"end\n")
        process.stdin.flush()
        assert process.stdout.read() == b"a generation\n"
    assert packed.ended() == []


@AS_ROOT_TOO
def test_what_a_killed_command_leaves_is_nothing(packed: Packed) -> None:
    with packed.popen("cat") as process:
        assert wait(lambda: len(packed.leftovers()) >= 2)
        process.kill()
        assert process.wait(60) == -signal.SIGKILL
    assert packed.ended() == []


def group_ended(group: int) -> bool:
    """Kill all of a process group, and say whether all have ended."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return True
    return False


def test_a_child_in_the_background_keeps_the_mount(packed: Packed) -> None:
    script = f"(setsid sh -c 'echo apart; read -r line; cat \"{packed.env}/word\"' <&3 >&4 &) 3<&0 4>&1; echo gone; exit 3"
    with packed.popen("sh", "-c", script, start_new_session=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert {process.stdout.readline(), process.stdout.readline()} == {b"apart\n", b"gone\n"}
        assert process.wait(60) == 3
        assert wait(lambda: group_ended(process.pid))
        process.stdin.write(b"\n")
        process.stdin.flush()
        assert process.stdout.read() == b"a generation\n"
    assert packed.ended() == []


def test_a_folder_inside_is_one_to_stand_in(packed: Packed) -> None:
    assert packed.run("cat", "word", cwd=packed.env).stdout == "a generation\n"
    script = 'cd "$1/env/a folder" && "$1/start" sh -c "pwd; cat ../word"'
    assert packed.run("bash", "-c", script, "bash", str(packed.folder)).stdout == f"{packed.env}/a folder\na generation\n"


def test_a_start_in_a_start_and_of_another_environment(packed: Packed, top: Path, who: Account | None) -> None:
    other = make(top, who, "another=one")
    script = 'cat "$1/env/word" "$2/env/word" && exit 6'
    done = packed.run(
        packed.start, other.start, packed.start, "bash", "-c", script, "bash", str(packed.folder), str(other.folder)
    )
    assert (done.stdout, done.stderr, done.returncode) == ("a generation\nanother=one\n", "", 6)
    assert packed.run(other.start, str(other.env / "bin" / "hello"), "you").stdout == "hello you\n"
    assert packed.ended() == other.ended() == []


def test_relative_names_and_a_path_s_programs_are_those_of_the_caller(packed: Packed) -> None:
    script = packed.work / "a program"
    script.write_text("#!/bin/sh\necho mine\n")
    script.chmod(0o755)
    assert packed.run("./a program").stdout == "mine\n"
    assert packed.run("a program", env={"PATH": f"{packed.work}:/usr/bin"}).stdout == "mine\n"
    assert packed.run("hello", "you", env={"PATH": f"{packed.env}/bin:/usr/bin:/bin"}).stdout == "hello you\n"
    done = packed.run("no such program")
    assert (done.returncode, done.stderr) == (127, "ozrepro: no such program: not found\n")
    relative = subprocess.run(
        packed.words("./start", "cat", "env/word"), cwd=packed.folder, env=variables(), capture_output=True, check=False
    )
    assert relative.stdout == b"a generation\n"


def test_fork_spawn_and_threads_work(packed: Packed) -> None:
    script = packed.work / "many.py"
    script.write_text(
        "import multiprocessing, os, threading\n"
        "def read(path):\n    with open(path) as stream:\n        return stream.read(), os.getuid()\n"
        "if __name__ == '__main__':\n"
        f"    path = {str(packed.env / 'word')!r}\n"
        "    for kind in ('fork', 'spawn', 'forkserver'):\n"
        "        with multiprocessing.get_context(kind).Pool(2) as pool:\n"
        "            print(kind, set(pool.map(read, [path] * 4)) == {('a generation\\n', os.getuid())})\n"
    )
    done = packed.run(str(packed.env / "bin" / "python"), str(script))
    assert (done.stdout, done.stderr) == ("fork True\nspawn True\nforkserver True\n", "")
    assert packed.ended() == []


@pytest.mark.parametrize(
    "words",
    [
        ("strace", "-f", "-o", "/dev/null"),
        ("gdb", "-q", "-batch", "-ex", "run", "-ex", "quit", "--args"),
        ("perf", "stat", "-o", "/dev/null"),
        ("taskset", "1"),
        ("timeout", "50"),
        ("nohup",),
    ],
    ids=lambda words: str(words[0]),
)
def test_programs_that_start_or_watch_others_work_inside(packed: Packed, words: tuple[str, ...]) -> None:
    if shutil.which(words[0]) is None:
        pytest.skip(f"{words[0]} is not installed")
    plain = packed.run(*words, "cat", "/etc/hostname", plain=True)
    if plain.returncode:
        pytest.skip(f"{words[0]} does not work here: {plain.stderr}")
    done = packed.run(*words, "cat", str(packed.env / "word"))
    assert "a generation\n" in done.stdout, done.stderr


@AS_ROOT_TOO
def test_what_a_program_writes_is_the_user_s(packed: Packed) -> None:
    written = packed.work / "written"
    assert packed.run("sh", "-c", 'id -u; id -g; echo x > "$1"; chmod 640 "$1"', "sh", str(written)).stdout.split() == [
        str(packed.account.uid if packed.account else os.geteuid()),
        str(packed.account.gid if packed.account else os.getegid()),
    ]
    assert (written.stat().st_uid, written.stat().st_gid) == (
        (packed.account.uid, packed.account.gid) if packed.account else (os.geteuid(), os.getegid())
    )


def test_a_group_s_files_stay_readable(packed: Packed) -> None:
    if packed.account is None or os.geteuid() != 0:
        pytest.skip("only root can give an ordinary user another group")
    secret = packed.work / "of a group"
    secret.write_text("shared")
    os.chown(secret, 0, 54321)
    secret.chmod(0o640)
    who = ["setpriv", f"--reuid={packed.account.uid}", f"--regid={packed.account.gid}", "--groups=54321"]
    done = subprocess.run([*who, packed.start, "cat", str(secret)], env=variables(), capture_output=True, check=False)
    assert done.stdout == b"shared", done.stderr


def refused(done: subprocess.CompletedProcess[str], status: int, words: str) -> None:
    """Insist on a refusal with a status, words, and the next command."""
    assert done.returncode == status, done
    assert done.stdout == ""
    assert words in done.stderr
    assert done.stderr.splitlines()[-1].startswith("  try: ")


def test_a_missing_image_and_a_linked_folder_are_refused(broken: Packed) -> None:
    image = broken.folder / IMAGE
    image.rename(image.with_name("away"))
    refused(broken.run("true"), 3, "is not as it was built")
    image.symlink_to("away")
    broken.env.rmdir()
    broken.env.symlink_to("/usr")
    refused(broken.run("true"), 3, "is not as it was built")
    assert broken.ended() == []


def _swapped(image: Path, content: bytes) -> None:
    """Put another file in its place, of the same size and times."""
    found = os.stat(image)
    other = image.with_name("other")
    other.write_bytes(content)
    other.chmod(0o444)
    os.utime(other, ns=(found.st_atime_ns, found.st_mtime_ns))
    other.replace(image)


def _rewritten(image: Path, content: bytes) -> None:
    """Write other bytes into it, and give it its times and its mode back."""
    found = os.stat(image)
    image.chmod(0o644)
    with open(image, "r+b") as stream:
        stream.write(content)
        stream.truncate()
    image.chmod(found.st_mode & 0o777)
    os.utime(image, ns=(found.st_atime_ns, found.st_mtime_ns))


def _another_kind(image: Path, make: Callable[[Path], object]) -> None:
    image.unlink()
    make(image)


def _linked(image: Path) -> None:
    image.rename(image.with_name("away"))
    image.symlink_to("away")


REPLACED: dict[str, Callable[[Path], object]] = {
    "another file": lambda image: _swapped(image, image.read_bytes()),
    "other bytes": lambda image: _rewritten(image, image.read_bytes()[::-1]),
    "half of it": lambda image: _rewritten(image, image.read_bytes()[: image.stat().st_size // 2]),
    "a link to it": _linked,
    "a second name": lambda image: os.link(image, image.with_name("more")),
    "another mode": lambda image: image.chmod(0o666),
    "a pipe": lambda image: _another_kind(image, os.mkfifo),
    "a folder": lambda image: _another_kind(image, Path.mkdir),
    "a folder that everybody can write to": lambda image: image.parent.chmod(0o777),
    "no card": lambda image: image.with_name(CARD).unlink(),
    "half a card": lambda image: os.truncate(image.with_name(CARD), 12),
    "a card's text in another field": lambda image: image.with_name(CARD).write_text(
        json.dumps({"x": {"made": json.loads(image.with_name(CARD).read_text())["made"]}}, indent=1)
    ),
}


@pytest.mark.parametrize("way", REPLACED)
def test_a_file_that_is_not_the_published_one_is_never_mounted(broken: Packed, way: str, job: str) -> None:
    """By the program alone, as a job script starts it, which asks nothing of Python."""
    by_text = broken.by_text()
    assert [each.run("true").returncode for each in (broken, by_text)] == [0, 0]
    REPLACED[way](broken.folder / IMAGE)
    for environ in (variables(), variables(SLURM_JOB_ID=job)):
        for each in (broken, *(() if "card" in way else (by_text,))):  # it knows what the card said
            refused(each.run("cat", str(broken.env / "word"), env=environ), 3, "is not as it was ")
    assert broken.ended() == []


def test_a_text_that_is_not_the_published_one_is_not_passed_on(broken: Packed) -> None:
    start = broken.folder / START
    start.chmod(0o755)
    start.write_text(start.read_text() + "\n")
    assert broken.by_text().front == [str(start)]


@pytest.mark.skipif(bool(Emulator.unavailable()), reason=Emulator.unavailable() or "it works")
@pytest.mark.parametrize("who", ["root"], indirect=True, scope="module")
def test_a_start_asks_a_metadata_server_for_three_names_and_one_file(packed: Packed, job: str, tmp_path: Path) -> None:
    """The folder, the mount's place and the file. A launcher's text is not opened, and of a job only the first start asks."""
    mount = tmp_path / "lustre"
    seen = dataclasses.replace(packed.by_text(), folder=mount / packed.folder.name)
    asked: list[dict[str, int]] = []

    def count(words: Sequence[str], **more: str) -> None:
        done = seen.run(*words, plain=True, env=variables(**more))
        assert (done.returncode, done.stderr) == (0, "")
        totals = emulator.totals().as_dict()
        asked.append({kind: totals[kind] - sum(before[kind] for before in asked) for kind in METADATA})

    words = [*seen.front, "test", "-f", str(seen.env / "word")]
    with Emulator(packed.folder.parent, [mount], dataclasses.replace(QUIET, mds_us=0, ost_us=0)) as emulator:
        count(words)
        count(words)
        count(["sh", "-c", '"$@" && "$@" && "$@"', "sh", *words], SLURM_JOB_ID=job)
    again = dict.fromkeys(METADATA, 0) | {"open": 1, "close": 1}
    assert asked == [again | {"lookup": 3}, again, again]


def test_no_command_is_a_wrong_usage(packed: Packed) -> None:
    refused(packed.run(), 2, "no command")


def _changed(content: bytes, kind: str) -> bytes:
    """Return the bytes of an image that somebody damaged or made to do harm."""
    if kind == "empty":
        return b""
    if kind == "garbage":
        return os.urandom(len(content))
    if kind == "cut in the superblock":
        return content[:60]
    if kind == "cut in the data":
        return content[:200]
    if kind == "cut in the tables":
        return content[: len(content) // 2]
    at, value = {
        "a root that is elsewhere": (32, b"\xff" * 8),
        "a root beyond the table": (32, b"\x00\x00\xff\x00\x00\x00\x00\x00"),
        "tables that lie in one another": (64, content[72:80]),
        "a table of itself": (72, content[96:104]),
        "a block size of nothing": (12, b"\0" * 4),
        "a block size without end": (12, b"\xff" * 4),
        "fragments without end": (16, b"\xff" * 4),
        "an unknown compression": (20, b"\x63\x00"),
        "another version": (28, b"\x09\x00"),
    }[kind]
    return content[:at] + value + content[at + len(value) :]


@pytest.mark.parametrize(
    "kind",
    [
        *("empty", "garbage", "cut in the superblock", "cut in the data", "cut in the tables", "a root that is elsewhere"),
        *("a root beyond the table", "tables that lie in one another", "a table of itself", "a block size of nothing"),
        *("a block size without end", "fragments without end", "an unknown compression", "another version"),
    ],
)
def test_a_damaged_or_hostile_image_harms_nothing_but_the_command(broken: Packed, kind: str) -> None:
    image = broken.folder / IMAGE
    content = image.read_bytes()
    image.chmod(0o644)
    image.write_bytes(_changed(content, kind))
    broken.publish()
    done = broken.run("cat", str(broken.env / "word"))
    if not done.stdout:
        assert done.returncode != 0
        assert done.stderr
    if kind in ("empty", "garbage", "another version") or "superblock" in kind:
        refused(done, 3, "is damaged")
    assert broken.ended() == []


def in_namespace(packed: Packed, script: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Start words in the environment where a script has changed the machine, in namespaces of its own."""
    before = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-ec", f'{script}\nexec "$@"', "sh")
    return packed.run(*before, packed.start, *words, plain=True)


@AS_ROOT_TOO
def test_a_machine_that_cannot_mount_is_named(packed: Packed) -> None:
    refused(in_namespace(packed, "mount -t tmpfs none /dev", "true"), 4, "/dev/fuse cannot be opened")
    refused(in_namespace(packed, "echo 0 >/proc/sys/user/max_user_namespaces", "true"), 4, "max_user_namespaces")
    refused(in_namespace(packed, "mount --bind /dev/null /usr/bin/squashfuse_ll", "true"), 4, "no squashfuse_ll")
    assert packed.ended() == []


OLD = "unshare: unrecognized option '--map-user=0'"
UBUNTU = "unshare: write failed /proc/self/uid_map: Operation not permitted"
FOREIGN = "mount: /a/path: permission denied.\n       dmesg(1) may have more information after failed mount system call."
APPARMOR = "AppArmor lets no user mount (kernel.apparmor_restrict_unprivileged_userns = 1; unshare: Operation not permitted)"


@pytest.mark.parametrize(
    ("name", "said", "knob", "told"),
    [
        ("unshare", OLD, "", "/unshare has no --map-user; ask the centre for util-linux 2.36"),
        ("unshare", UBUNTU, "1", f"{APPARMOR}; ask the centre for 0, or for a profile of "),
        (
            "unshare",
            UBUNTU,
            "0",
            "no user can mount a file (unshare: Operation not permitted); ask the centre for user namespaces",
        ),
        ("mount", FOREIGN, "", "no user can mount a file (mount: permission denied); ask the centre for user namespaces"),
        (
            "squashfuse",
            "squashfuse_ll: no zstd",
            "",
            "/squashfuse does not read what /usr/bin/mksquashfs has packed; ask the centre",
        ),
        ("mksquashfs", "mksquashfs: no zstd", "", "a file cannot be mounted here: cannot pack"),
    ],
)
def test_why_no_file_can_be_mounted_is_told_before_anything_is_built(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, said: str, knob: str, told: str
) -> None:
    """Programs of other machines: their words, and the kernel's setting."""
    program = tmp_path / name
    program.write_text(f"#!/bin/sh\nprintf '%s\\n' {shlex.quote(said)} >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(forms, "_knob", lambda _name: knob)
    assert told in why_no_mount(dataclasses.replace(tools(), **{name: str(program)}))


def test_a_machine_that_can_mount_a_file_is_asked_by_mounting_one() -> None:
    assert why_no_mount(tools()) == ""


@pytest.mark.skipif(bool(noflock.why_not()), reason=noflock.why_not() or "it works")
def test_a_filter_that_forbids_mounts_is_named_as_what_it_is() -> None:
    """As those of containers: user namespaces can be made, and nothing be mounted in them."""
    code = (
        "import errno; from tests.store.mounted import tools; from tests.store.noflock import forbid;"
        "from ozrepro.store.forms import why_no_mount; forbid('mount', errno.EPERM); print(why_no_mount(tools()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "lets no user mount (unshare: Operation not permitted, by a seccomp filter); ask whoever runs it" in done.stdout, (
        done.stderr
    )


@STRACE
def test_a_server_that_is_killed_before_it_serves_is_told(packed: Packed) -> None:
    killed = ("strace", "-f", "-qq", "-o", os.devnull, "-e", "trace=chdir", "-e", "inject=chdir:signal=KILL:when=1")
    refused(packed.run(*killed, packed.start, "true", plain=True), 3, "is damaged, or ")
    assert packed.ended() == []


def test_no_limit_of_descriptors_leaves_a_start_waiting(packed: Packed) -> None:
    """The pipe by which the mount is announced may be what fails: it starts or says why, and leaves nothing."""
    script = """
    for ((most = 5; most < 24; most++)); do
        said=$( (ulimit -n "$most" && exec "$@") 2>&1 ) && [ "$said" = "a generation" ] || [ -n "$said" ] || echo "$most: silent"
    done
    """
    done = packed.run("bash", "-c", script, "bash", packed.start, "cat", str(packed.env / "word"), plain=True)
    assert (done.returncode, done.stdout) == (0, "")
    assert packed.ended() == []


DEVICES = ("zero c 666 0 0 1 5", "disk b 666 0 0 254 0", "own m 4755 0 0")


def test_devices_and_setuid_programs_of_an_image_have_no_effect(broken: Packed) -> None:
    tree = broken.work / "hostile"
    tree.mkdir()
    (tree / MARKER).touch()
    (tree / "loop").symlink_to(".")
    (tree / "word").symlink_to("/etc/shadow")
    shutil.copy("/usr/bin/id", tree / "own")
    image = broken.folder / IMAGE
    image.unlink()
    pseudo = [word for line in DEVICES for word in ("-p", line)]
    subprocess.run([tools().mksquashfs, tree, image, "-quiet", "-no-progress", *pseudo], check=True, capture_output=True)
    broken.publish()
    script = 'cd "$1"; stat -c %a own; ./own -u; for name in zero disk word; do head -c 1 $name && echo read $name; done; ls loop/loop/own'
    done = broken.run("bash", "-c", script, "bash", str(broken.env))
    uid = broken.account.uid if broken.account else os.geteuid()
    assert done.stdout.splitlines() == ["4755", str(uid), "loop/loop/own"]
    assert done.stderr.count("Permission denied") == 3
    shutil.rmtree(tree)
