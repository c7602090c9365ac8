"""Where a start looks for the copy on the node of a job, and which it takes."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from ozrepro.environment import Environment
from ozrepro.faststart import staged
from ozrepro.frontends.activation import Active
from ozrepro.frontends.jobscript import job_script
from ozrepro.frontends.launcherscript import Programs, launcher_script

WORDS = ("python", "-c", "pass")


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({}, ""),
        ({"SLURM_JOB_ID": ""}, ""),
        ({"SLURM_JOB_ID": "7"}, "7."),
        ({"SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": "2", "PBS_JOBID": "1"}, "7.2"),
        ({"PBS_JOBID": "7[3].server/x"}, "7_3_.server_x"),
        ({"PBS_JOBID": "", "LSB_JOBID": "8"}, "8"),
        ({"FLUX_JOB_ID": "ƒ9"}, "_9"),
    ],
)
def test_a_job_s_copies_are_named_by_its_number(environ: dict[str, str], name: str) -> None:
    assert staged.job_name(environ) == name


def test_the_folder_of_the_job_comes_first() -> None:
    environ = {"TMPDIR": "/three", "PBS_JOBFS": "/two", "JOBFS": "/one"}
    for name, folder in (("JOBFS", "/one"), ("PBS_JOBFS", "/two"), ("TMPDIR", "/three")):
        assert staged.folder_of(environ) == folder
        environ[name] = ""
    assert staged.folder_of(environ) == "/tmp"


def launched(
    environment: Environment, words: Sequence[str], top: Path, environ: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run the launcher of the first of the words with the others."""
    folder, programs = top / "the launchers", Programs((words[0],), "python", has_pip=False)
    folder.mkdir(exist_ok=True)
    launcher = folder / words[0]
    launcher.write_text(launcher_script("work", environment, [], programs, folder))
    launcher.chmod(0o755)
    return subprocess.run([launcher, *words[1:]], env=environ, capture_output=True, text=True, check=True)


class Image:
    """An image in a store, its copy on a node, and the environment of a start."""

    def __init__(self, top: Path) -> None:
        self.environ = {"PATH": "/usr/bin:/bin", "SLURM_JOB_ID": "7", "JOBFS": str(top / "a disk")}
        self.generation = top / "gens" / "a generation"
        self.image = self.generation / "env" / "image.sif"
        program = top / "the program"
        program.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
        program.chmod(0o755)
        self.environment = Environment(
            prefix=(str(program), "exec", str(self.image)), generation=str(self.generation), container_env_prefix="XENV_"
        )
        self.image.parent.mkdir(parents=True)
        self.image.write_text("content")
        (top / "a disk").mkdir()
        self.copy = Path(staged.copy_of(str(self.generation), ".sif", self.environ))
        self.copy.write_text("content")
        os.utime(self.copy, ns=(0, self.image.stat().st_mtime_ns))
        self.copy.chmod(0o400)

    def taken(self, *words: str) -> tuple[str, str]:
        """Return the image of a start, by Python, a job's script and a launcher, which must agree; and what is said."""
        started, said = staged.started(self.environment, words or WORDS, self.environ)
        script = self.generation.parent / "job.sh"
        script.write_text(job_script(Active("work", self.environment), []))
        done = subprocess.run(
            ["bash", str(script), *(words or WORDS)], env=self.environ, capture_output=True, text=True, check=True
        )
        for printed in (done, launched(self.environment, words or WORDS, script.parent, self.environ)):
            assert printed.stdout.splitlines() == started[1:]
            assert printed.stderr == (f"ozrepro: skipping {said}\n" if said else "")
        return started[2], said


@pytest.fixture
def image(tmp_path: Path) -> Image:
    """Give an image with a copy as it was staged."""
    return Image(tmp_path)


def test_the_copy_of_an_image_takes_its_place_in_a_job(image: Image) -> None:
    assert image.taken() == (str(image.copy), "")
    image.environ["SLURM_RESTART_COUNT"] = "1"
    assert image.taken() == (str(image.image), "")
    del image.environ["SLURM_JOB_ID"]
    assert image.taken() == (str(image.image), "")


def test_a_program_of_the_machine_starts_beside_the_image(image: Image) -> None:
    assert staged.started(image.environment, ("squeue",), image.environ) == (["squeue"], "")


@pytest.mark.parametrize("change", ["cut", "touched", "opened", "linked", "named twice"])
def test_a_copy_that_is_not_as_it_was_staged_is_not_taken(image: Image, change: str) -> None:
    copy, aside = image.copy, image.copy.with_name("aside")
    before = copy.stat().st_mtime_ns
    if change == "cut":
        copy.chmod(0o600)
        copy.write_text("conten")
        os.utime(copy, ns=(0, before))
        copy.chmod(0o400)
    elif change == "touched":
        os.utime(copy, ns=(0, before + 1))
    elif change == "opened":
        copy.chmod(0o600)
    elif change == "linked":
        copy.rename(aside)
        copy.symlink_to(aside)
    else:
        os.link(copy, aside)
    assert image.taken() == (str(image.image), f"{copy}: it is not as it was staged")


def tree(top: Path, target: str) -> tuple[Environment, dict[str, str]]:
    """Return the environment of a tree whose copy's link leads to `target`, in a store, and the variables of a job."""
    gens = top / "gens"
    (gens / "packed").mkdir(parents=True)
    start = gens / "packed" / "start"
    start.write_text('#!/bin/sh\necho mounted\nexec "$@"\n')
    start.chmod(0o755)
    (top / "elsewhere").write_text(start.read_text())
    (top / "elsewhere").chmod(0o755)
    environ = {"PATH": "/usr/bin:/bin", "SLURM_JOB_ID": "7", "TMPDIR": str(top)}
    Path(staged.copy_of(str(gens / "tree"), ".start", environ)).symlink_to(target.format(top=top))
    return Environment(generation=str(gens / "tree")), environ


@pytest.mark.parametrize(
    ("target", "is_taken"),
    [("{top}/gens/packed/start", True), ("{top}/elsewhere", False), ("{top}/gens/gone/start", False), ("start", False)],
)
def test_a_tree_is_started_from_a_copy_by_a_program_of_its_own_store_alone(tmp_path: Path, target: str, is_taken: bool) -> None:
    environment, environ = tree(tmp_path, target)
    words, _ = staged.started(environment, ("echo", "done"), environ)
    assert words == [*([target.format(top=tmp_path)] if is_taken else []), "echo", "done"]
    assert launched(environment, ("echo", "done"), tmp_path, environ).stdout == ("mounted\n" if is_taken else "") + "done\n"
    script = tmp_path / "job.sh"
    script.write_text(job_script(Active("work", environment), []))
    for sourced in (False, True):
        line = f"{'. ' if sourced else 'bash '}{shlex.quote(str(script))} {'&& ' if sourced else ''}echo done"
        done = subprocess.run(["bash", "-c", line], env=environ, capture_output=True, text=True, check=True)
        assert done.stdout == ("mounted\n" if is_taken and not sourced else "") + "done\n"
        assert done.stderr == ""
