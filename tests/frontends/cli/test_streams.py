"""Outputs of commands that are closed, full, or read by nobody: real descriptors, and never a traceback."""

from __future__ import annotations

import os
import subprocess

import pytest

from ozrepro.store.writing import remove_tree
from tests.conftest import BIN, Project

pytestmark = pytest.mark.slow

COMMANDS = (
    *("--help", "bench --help", "status", "status --json", "diff work", "verify work", "store list"),
    *("export work --format requirements", "activate work --shell bash"),
)


def _shell(project: Project, line: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a line of bash; its status is that of the first of a pipe that failed."""
    done = project.run("bash", "-o", "pipefail", "-c", line, **more)
    assert "Traceback" not in done.stderr, done.stderr
    assert "Exception ignored" not in done.stderr, done.stderr
    return done


def test_an_output_that_is_closed_or_cannot_be_written_to_changes_no_status(built: Project) -> None:
    """Nobody wanted to read it; `</dev/null 1<&0` is a descriptor for reading alone."""
    for command in COMMANDS:
        for closed in (">&-", "</dev/null 1<&0", ">&- 2>&-", "<&- >&- 2>&-"):
            done = _shell(built, f"ozrepro {command} {closed}")
            assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), (command, closed)


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_device_is_an_error_that_is_told(built: Project, unbuffered: str) -> None:
    """With what happened, where, and what to try."""
    for command in COMMANDS:
        done = _shell(built, f"ozrepro {command} >/dev/full", PYTHONUNBUFFERED=unbuffered)
        assert done.returncode == 1, command
        assert done.stderr.startswith("ozrepro: standard output: cannot be written: No space left on device"), command
        assert "\n  try: the same command with >FILE where there is room" in done.stderr


def test_an_error_keeps_its_status_where_the_output_is_full(small: Project) -> None:
    """Of two sessions one is locked, which is printed, and one is not."""
    small.spec('[venv]\nrequirements = ["no-such-thing"]\n', "other")
    plain = _shell(small, "ozrepro lock")
    full = _shell(small, "ozrepro lock >/dev/full")
    assert (plain.returncode, full.returncode) == (1, 1)
    assert "no-such-thing" in full.stderr
    assert "standard output: cannot be written" in full.stderr


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_has_gone_is_a_status_of_its_own(built: Project, unbuffered: str) -> None:
    """That of a program which SIGPIPE ends, and nothing said."""
    for command in COMMANDS:
        read, write = os.pipe()
        os.close(read)
        words = [str(BIN / "ozrepro"), *command.split()]
        environ = {**built.environ, "PYTHONUNBUFFERED": unbuffered}
        done = subprocess.run(words, cwd=built.root, env=environ, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
        os.close(write)
        assert (done.returncode, done.stderr) == (141, ""), command


@pytest.mark.parametrize("where", ["&-", "/dev/full"])
def test_without_a_standard_error_the_work_is_done_and_nothing_goes_to_standard_output(built: Project, where: str) -> None:
    """A build says what it does on standard error."""
    built.done("store", "gc", "--yes")
    environments = built.store() / "gens"
    for old in environments.iterdir():
        remove_tree(old)
    done = _shell(built, f"ozrepro build work 2>{where}")
    assert done.returncode == 0, done.stdout
    assert done.stdout.startswith("work: venv built (")
    wrong = _shell(built, f"ozrepro status nix 2>{where}")
    assert (wrong.returncode, wrong.stdout) == (2, "")


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&-", ">/dev/full 2>/dev/full"])
def test_a_warm_start_needs_no_output(built: Project, closed: str) -> None:
    """Nor does one whose command is not found, of which there would be something to say."""
    built.done("run", "work", "--", "true")
    assert _shell(built, f"ozrepro run work -- sh -c 'exit 5' {closed}").returncode == 5
    assert _shell(built, f"ozrepro run work -- no-such-command {closed}").returncode == 127
