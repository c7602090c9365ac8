"""The scripts that start a shell inside an image, run by this machine's own `sh`: they look for programs where they run."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pexpect
import pytest

from ozrepro.frontends.imageshell import ipython_words, shell_words
from tests.frontends.test_activation import SHELLS

APPTAINER = {"PS1": "Apptainer> ", "PROMPT_COMMAND": 'PS1="Apptainer> "; unset PROMPT_COMMAND'}
"""What Apptainer 1.4.5 sets for a shell."""

LACKING_BASH = ("sh", "env", "cat")


@pytest.fixture
def inside(tmp_path: Path) -> dict[str, str]:
    """Give the variables of an image's program, with a home whose files would change any shell that reads them."""
    for name in (".bashrc", ".bash_profile", ".profile", ".zshrc", ".zshenv"):
        (tmp_path / name).write_text("echo read; exit 1\n")
    (tmp_path / ".bash_history").write_text("".join(f"line {number}\n" for number in range(700)))
    return {**APPTAINER, "HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "TERM": "dumb", "LANG": "C.UTF-8"}


@pytest.fixture
def without_bash(inside: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """Give the same for an image that has `sh` and no bash."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in LACKING_BASH:
        (folder / name).symlink_to(str(shutil.which(name)))
    return {**inside, "PATH": str(folder)}


def at_prompt(chosen: str, environ: dict[str, str]) -> pexpect.spawn[str]:
    """Start a shell on a terminal."""
    words = shell_words("work", chosen, at_prompt=True)
    child = pexpect.spawn("/bin/sh", words[1:], env=environ, encoding="utf-8", timeout=30)
    child.delaybeforesend = None
    child.expect_exact("(work) ")
    return child


def ended(child: pexpect.spawn[str]) -> int | None:
    """Wait for the end and return the status."""
    child.expect(pexpect.EOF)
    child.close()
    return child.exitstatus


@pytest.mark.parametrize("chosen", ["", *SHELLS])
def test_the_prompt_of_a_shell_in_an_image_stays_marked(inside: dict[str, str], chosen: str) -> None:
    child = at_prompt(chosen, inside)
    child.sendline("echo on''ce")
    child.expect_exact("once")
    child.expect_exact("(work) ")
    child.sendline("exit 7")
    assert ended(child) == 7
    assert "Apptainer>" not in (child.before or "")
    history = Path(inside["HOME"], ".bash_history").read_text()
    assert len(history.splitlines()) == 700


def test_a_shell_in_an_image_is_bash_where_the_image_has_it(inside: dict[str, str], without_bash: dict[str, str]) -> None:
    for environ, name in ((inside, "bash"), (without_bash, "sh")):
        child = at_prompt("", environ)
        child.sendline("echo 'this is' $0")
        child.expect(r"this is \S*\b\w+\r")
        assert str(child.after).rstrip().endswith((f" {name}", f"/{name}"))
        child.sendline("exit 0")
        assert ended(child) == 0


@pytest.mark.parametrize("chosen", ["", *SHELLS])
def test_a_shell_in_an_image_takes_commands_from_a_pipe(inside: dict[str, str], chosen: str) -> None:
    words = shell_words("work", chosen, at_prompt=False)
    done = subprocess.run(
        words, env=inside, input="cat /dev/null; echo said\nexit 3\n", capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr, done.returncode) == ("said\n", "", 3)


@pytest.mark.parametrize("chosen", ["bash", "zsh", "fish"])
def test_a_shell_that_the_image_lacks_is_refused(without_bash: dict[str, str], chosen: str) -> None:
    words = shell_words("work", chosen, at_prompt=False)
    done = subprocess.run(words, env=without_bash, stdin=-3, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"ozrepro: there is no {chosen} in the image of work\n  try: ozrepro shell work")


def test_ipython_that_the_image_lacks_is_told_and_one_that_it_has_is_started(without_bash: dict[str, str]) -> None:
    done = subprocess.run(ipython_words("work"), env=without_bash, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "there is no ipython in the image of work" in done.stderr
    assert "ozrepro lock work" in done.stderr
    program = Path(without_bash["PATH"], "ipython")
    program.write_text("#!/bin/sh\necho started; exit 4\n")
    program.chmod(0o755)
    done = subprocess.run(ipython_words("work"), env=without_bash, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("started\n", 4)
