"""The one function that starts processes."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ozrepro.errors import CommandFailed
from ozrepro.process import Companion, find_program, is_inside, run

PLAIN = {"PATH": "/usr/bin:/bin"}


def test_output_errors_and_status_come_back() -> None:
    done = run(
        [sys.executable, "-c", "import sys; print(input()); print('e', file=sys.stderr); sys.exit(3)"], env=PLAIN, text="in\n"
    )
    assert (done.status, done.output, done.errors) == (3, "in\n", "e\n")


def test_each_line_of_standard_error_is_told_as_it_comes() -> None:
    seen: list[str] = []
    run(["/bin/sh", "-c", "echo one >&2; echo two >&2"], env=PLAIN, on_line=seen.append)
    assert seen == ["one", "two"]


def test_only_the_given_environment_is_passed() -> None:
    assert run(["/usr/bin/env"], env={"A": "1"}).output == "A=1\n"


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(CommandFailed, match="cannot start /nowhere/uv: No such file"):
        run(["/nowhere/uv"], env=PLAIN)


def test_a_failure_says_what_was_done_and_the_end_of_what_was_said() -> None:
    with pytest.raises(CommandFailed, match=r"cannot build: sh ended with status 4\n    sorry\n  try: again"):
        run(["/bin/sh", "-c", "echo sorry >&2; exit 4"], env=PLAIN).checked("cannot build", hint="again")


def test_a_program_that_runs_too_long_is_killed_with_all_its_children() -> None:
    with pytest.raises(CommandFailed, match="longer than"):
        run(["/bin/sh", "-c", "sleep 1000 & wait"], env=PLAIN, timeout=0.2)


def test_a_program_that_runs_too_long_may_clean_up_before_it_is_killed(tmp_path: Path) -> None:
    # As a container's starter does, which takes the mount of its image away.
    script = f"trap 'echo cleaned >{tmp_path}/left; exit 0' TERM; echo up >&2; while :; do sleep 0.01; done"
    with pytest.raises(CommandFailed, match="longer than"):
        run(["/bin/sh", "-c", script], env=PLAIN, timeout=0.2)
    assert (tmp_path / "left").read_text() == "cleaned\n"


def test_a_program_that_ignores_termination_is_killed() -> None:
    with pytest.raises(CommandFailed, match="longer than"):
        run(["/bin/sh", "-c", "trap '' TERM; while :; do sleep 0.01; done"], env=PLAIN, timeout=0.2)


TWICE = """\
import signal
from ozrepro.process import run
signal.signal(signal.SIGINT, signal.default_int_handler)
script = "trap 'echo asked >&2' TERM; echo $$ >&2; while :; do sleep 0.01; done"
run(["/bin/sh", "-c", script], env={"PATH": "/usr/bin:/bin"}, on_line=lambda line: print(line, flush=True))
"""


def test_a_second_interrupt_ends_the_patience_with_a_program_and_not_the_killing() -> None:
    with subprocess.Popen([sys.executable, "-c", TWICE], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as caller:
        assert caller.stdout is not None
        watched = os.pidfd_open(int(caller.stdout.readline()))
        for _ in range(2):
            caller.send_signal(signal.SIGINT)
            caller.stdout.readline()  # that it was asked to end; then the end of all
        caller.communicate(timeout=60)
    ended, _, _ = select.select([watched], [], [], 30)
    os.close(watched)
    assert ended


def test_an_interrupt_kills_the_whole_group(tmp_path: Path) -> None:
    # The grandchild holds the write end of a pipe: when it is dead, the read end sees the end of the file.
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    inner = f"exec 3>'{fifo}'; echo up >&2; sleep 1000"
    code = f"from ozrepro.process import run; run(['/bin/sh', '-c', {inner!r}], env={PLAIN!r}, on_line=lambda line: print(line, flush=True))"
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert child.stdout is not None
    reading = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    with open(reading, encoding="utf-8") as stream, child:
        assert child.stdout.readline() == "up\n"
        os.set_blocking(reading, True)
        child.send_signal(signal.SIGINT)
        assert stream.read() == ""
    assert child.returncode != 0


ECHO = "import sys\nfor line in sys.stdin:\n    print(line.strip()[::-1], flush=True)"


def test_a_companion_answers_each_line_however_long() -> None:
    with Companion([sys.executable, "-c", ECHO], env=PLAIN) as companion:
        assert companion.ask(b"abc") == b"cba"
        assert companion.ask(b"x" * 300_000 + b"y") == b"y" + b"x" * 300_000


def test_a_companion_that_ends_says_why() -> None:
    with Companion([sys.executable, "-c", "import sys; input(); sys.exit('no more')"], env=PLAIN) as companion:
        with pytest.raises(CommandFailed, match="ended without an answer: no more"):
            companion.ask(b"x")
        with pytest.raises(CommandFailed, match="ended without an answer"):
            companion.ask(b"x")


def test_a_companion_that_says_nothing_is_given_up() -> None:
    with (
        Companion(["/bin/sleep", "1000"], env=PLAIN) as companion,
        pytest.raises(CommandFailed, match=r"no answer within 0.05 s"),
    ):
        companion.ask(b"x", 0.05)


def test_what_a_companion_started_ends_with_it(tmp_path: Path) -> None:
    # The grandchild ignores the first signal and holds the write end of a pipe: when it is dead, the read end sees the end.
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    inner = f"trap '' TERM; exec 3>'{fifo}'; echo up; while :; do /bin/sleep 1000; done"
    reading = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    companion = Companion(["/bin/sh", "-c", f'/bin/sh -c "{inner}" & wait'], env=PLAIN)
    assert companion.ask(b"") == b"up"
    with open(reading, "rb") as stream:
        os.set_blocking(reading, True)
        companion.close(patience=0.1)
        assert stream.read() == b""


def test_what_lies_in_a_folder_is_known_by_links_and_by_another_path_of_the_same_file_system(tmp_path: Path) -> None:
    program = tmp_path / "project" / "bin" / "python3"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    (tmp_path / "link").symlink_to(program)
    assert is_inside(tmp_path / "link", tmp_path / "project")
    assert is_inside(f"/proc/self/root{program}", tmp_path / "project")
    assert not is_inside(program, tmp_path / "proj")
    assert not is_inside(tmp_path / "project", program.parent)
    assert find_program("python3", str(program.parent)) == str(program)
    assert find_program("python3", str(program.parent), outside=str(tmp_path / "project")) is None
