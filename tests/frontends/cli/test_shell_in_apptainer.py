"""`ozrepro shell` and `ozrepro activate` of a session in an image, as an ordinary user meets them, with a real Apptainer."""

from __future__ import annotations

import subprocess

import pexpect
import pytest

from tests.fake_cluster.containers import Containers
from tests.fake_cluster.fixtures import OrdinaryProject, account, containers, ordinary, user_programs

__all__ = ["account", "containers", "ordinary", "user_programs"]

HOST_RC = "echo 'of the host'\nPS1='host> '\nexport PATH=/nowhere\n"


@pytest.fixture
def imaged(ordinary: OrdinaryProject, containers: Containers) -> OrdinaryProject:
    """Give a project with a session in the base image, built, and a user with files for the host's shell."""
    ordinary.spec(f'[container]\nimage = "{containers.base}"\n')
    ordinary.done("lock")
    ordinary.done("build")
    for name in (".bashrc", ".profile", ".bash_profile"):
        (ordinary.home / name).write_text(HOST_RC)
    (ordinary.home / ".bash_history").write_text("".join(f"line {number}\n" for number in range(700)))
    ordinary.account.give(ordinary.home)
    return ordinary


def ozrepro(project: OrdinaryProject, *words: str) -> pexpect.spawn[str]:
    """Start `ozrepro` as the user on a terminal of 30 lines of 120 columns."""
    command = project.account.command(project.programs / "ozrepro", *words)
    environ = {**project.environ, "TERM": "dumb"}
    child = pexpect.spawn(
        command[0], command[1:], cwd=project.root, env=environ, encoding="utf-8", timeout=60, dimensions=(30, 120)
    )
    child.delaybeforesend = None
    return child


def say(child: pexpect.spawn[str], line: str, expected: str) -> None:
    """Send a line, wait for a text and then for the prompt."""
    child.sendline(line)
    child.expect_exact(expected)
    child.expect_exact("(work) ")


def test_a_prompt_inside_is_marked_and_the_host_s_files_are_not_read(imaged: OrdinaryProject) -> None:
    child = ozrepro(imaged, "shell", "work")
    child.expect_exact("(work) ")
    assert "of the host" not in str(child.before)
    say(child, "echo in ''$APPTAINER_NAME", "in image.sif")
    say(child, 'python -c \'print("py" + "thon")\'', "python")
    say(child, "stty size", "30 120")
    child.sendline("sh -c \"echo beg''un; exec sleep 600\"")
    child.expect_exact("begun")
    child.sendintr()
    child.expect_exact("(work) ")
    child.sendline("exit 7")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 7
    assert len((imaged.home / ".bash_history").read_text().splitlines()) == 700


def test_commands_come_from_a_pipe_and_programs_pass_their_status(imaged: OrdinaryProject) -> None:
    program, text = imaged.programs / "ozrepro", "echo $APPTAINER_NAME; exit 5\n"
    done = imaged.account.run(program, "shell", "work", environ=imaged.environ, cwd=imaged.root, stdin=text)
    assert (done.stdout, done.returncode) == ("image.sif\n", 5), done.stderr
    done = imaged.ozrepro("shell", "work", "--", "sh", "-c", 'echo "$1"; exit 6', "sh", "a  b")
    assert (done.stdout, done.returncode) == ("a  b\n", 6), done.stderr


def test_a_shell_and_an_ipython_that_the_image_lacks_are_refused(imaged: OrdinaryProject) -> None:
    for words, what in ((("--shell", "fish"), "fish"), (("--ipython",), "ipython")):
        done = imaged.ozrepro("shell", "work", *words)
        assert done.returncode == 1
        assert f"there is no {what} in the image of work" in done.stderr


def test_an_image_is_not_put_into_a_shell_that_is_there(imaged: OrdinaryProject) -> None:
    done = imaged.ozrepro("activate", "work")
    assert (done.stdout, done.returncode) == ("", 2)
    assert "ozrepro shell work, or: ozrepro run work -- COMMAND" in done.stderr


def test_a_job_s_script_runs_its_words_inside_and_refuses_another_image(imaged: OrdinaryProject) -> None:
    imaged.done("activate", "work", "--output", "job env.sh")

    def start(*words: str) -> subprocess.CompletedProcess[str]:
        job = {"HOME": str(imaged.home), "PATH": "/usr/bin:/bin", "SLURM_JOB_ID": "7", "PYTHONPATH": "/x"}
        return imaged.account.run("bash", "job env.sh", *words, environ=job, cwd=imaged.root)

    script = 'echo "$APPTAINER_NAME|$SLURM_JOB_ID|${PYTHONPATH-none}|$PYTHONNOUSERSITE|$HOME|$1"; exit 42'
    done = start("sh", "-c", script, "sh", "a  b$")
    assert (done.stdout, done.returncode) == (f"image.sif|7|none|1|{imaged.home}|a  b$\n", 42), done.stderr
    refused = start("python", "-m", "pip", "install", "six")
    assert refused.returncode == 1
    assert "an image is read-only" in refused.stderr
    imaged.spec(f'{(imaged.root / "sessions" / "work.toml").read_text()}gpu = "nvidia"\n')
    refused = start("true")
    assert refused.returncode == 3
    assert "work.toml has changed" in refused.stderr


def test_launchers_of_an_image_start_their_programs_inside_and_links_follow(imaged: OrdinaryProject) -> None:
    imaged.done("link", "work", "tools")

    def start(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
        job = {"HOME": str(imaged.home), "PATH": "/usr/bin:/bin", "SLURM_JOB_ID": "7", "PYTHONPATH": "/x", **more}
        return imaged.account.run(*words, environ=job, cwd=imaged.root)

    show = (
        "import os, sys; e = os.environ; print(e['APPTAINER_NAME'], e['OZREPRO_SESSION'], e['SLURM_JOB_ID'], 'PYTHONPATH' in e)"
    )
    done = start("tools/python", "-c", f"{show}; sys.exit(42)")
    assert (done.stdout, done.returncode) == ("image.sif work 7 False\n", 42), done.stderr
    again = "import subprocess, sys; print(subprocess.run([sys.executable, '-c', sys.argv[1]]).returncode)"
    assert start(".ozrepro/bin/work/python3", "-c", again, show).stdout == "image.sif work 7 False\n0\n"
    assert start("tools/ozrepro-check").returncode == 0
    assert imaged.done("check", "work") == "work: container can start here\n"
    refused = start("tools/python", "-m", "pip", "install", "six")
    assert (refused.returncode, "an image is read-only" in refused.stderr) == (1, True)
    imaged.spec(f'{(imaged.root / "sessions" / "work.toml").read_text()}gpu = "nvidia"\n')
    assert (start("tools/python", "-V").returncode, start("tools/ozrepro-check").returncode) == (3, 3)
