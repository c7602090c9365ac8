"""Puts a copy of one file on each node of a job and takes it away: by `stage.sh`, which holds the copy until the job ends."""

from __future__ import annotations

import os
import secrets
import shlex
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ozrepro import process
from ozrepro.errors import CommandFailed
from ozrepro.faststart.staged import copy_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_HOLDER = Path(__file__).with_name("stage.sh")

_PATIENCE = 1200.0
"""Seconds between two answers: a node may have to read some GiB from a busy file system."""

_IN_BACKGROUND = '"$@" <&0 &'
"""Has bash start words in the background, so that they outlive what has asked for them."""

_BEYOND_A_JOB = ("SLURM_", "SRUN_", "SALLOC_", "SBATCH_", "SLURMD_")
"""Beginnings of the variables by which srun takes its options from the step or job that it is called in."""


@dataclass(frozen=True, slots=True)
class Source:
    """What is copied: a file, its sha256, and the generation whose starts take it.

    `start` is the program that starts the generation's commands from it, where only the link to it on the node says so; else "".
    """

    path: Path
    sha256: str
    generation: Path
    start: str = ""

    def copy(self, environ: Mapping[str, str]) -> Path:
        """Return the path of its copy on this node."""
        return Path(copy_of(str(self.generation), self.path.suffix, environ))


@dataclass(frozen=True, slots=True)
class Nodes:
    """The nodes that are reached: how many, the words in front of a command that starts it on each, and how a file is sent."""

    count: int
    launch: Sequence[str]
    send: Sequence[str]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a node has said: `staged`, `known` where it had the copy, `removed`, `replaced`, `failed`; its name; a path or why."""

    word: str
    node: str
    text: str


def nodes_of(environ: Mapping[str, str]) -> Nodes:
    """Return the nodes of the job: all of one of Slurm, else this one. Starts nothing."""
    path, job = environ.get("PATH", ""), environ.get("SLURM_JOB_ID", "")
    srun, sbcast = (process.find_program(name, path) for name in ("srun", "sbcast"))
    if not job or srun is None:
        return Nodes(1, (), ())
    count = environ.get("SLURM_JOB_NUM_NODES") or environ.get("SLURM_NNODES") or "1"
    launch = [srun, f"--jobid={job}", f"--nodes={count}", f"--ntasks={count}", "--ntasks-per-node=1", "--overlap", "--quiet"]
    launch += ["--mpi=none", "--cpu-bind=none", "--gres=none", "--job-name=ozrepro-stage", "--chdir=/", "--kill-on-bad-exit=0"]
    number = int(count) if count.isdecimal() else 1
    return Nodes(number, launch, (sbcast, "--force") if sbcast is not None and number > 1 else ())


def stage(source: Source, nodes: Nodes, environ: Mapping[str, str], say: Callable[[str], None]) -> list[Answer]:
    """Put the copy on the nodes, and leave there what holds it. Return what each node said. Raises CommandFailed.

    On the way out of an error, or where this process is killed, the nodes remove what they have of it.
    """
    copy = source.copy(environ)
    sent = f"{copy}.{secrets.token_hex(8)}.sent"  # nobody else can have put a link there
    if nodes.send and not os.path.lexists(copy):
        _send(source, sent, nodes, environ, say)
    watched = () if nodes.launch else _leader()
    given = (str(source.path), source.sha256, os.path.basename(sent), source.start)
    words = _words("copy", source, *given, *watched, environ=environ)
    companion = process.Companion(
        ["/bin/bash", "-p", "-c", _IN_BACKGROUND, "stage", *nodes.launch, *words], env=_variables(environ)
    )
    answers: list[Answer] = []
    try:
        ready = _heard(companion, nodes.count, answers, ("ready", "known", "failed"))
        if ready:
            companion.send(b"go")
            _heard(companion, ready, answers, ("staged", "failed"))
    except BaseException:
        companion.close(patience=5)
        raise
    companion.leave()
    return answers


def remove(source: Source, nodes: Nodes, environ: Mapping[str, str]) -> list[Answer]:
    """Remove the copies from the nodes: what holds them ends by itself. Raises CommandFailed."""
    words = _words("remove", source, environ=environ)
    done = process.run([*nodes.launch, *words], env=_variables(environ)).checked("removing the copies")
    return [answer for line in done.output.splitlines() if (answer := _read(line)) is not None]


def _words(doing: str, source: Source, *more: str, environ: Mapping[str, str]) -> list[str]:
    text = _HOLDER.read_text(encoding="utf-8")
    return ["/bin/bash", "-p", "-c", text, "stage", doing, str(os.geteuid()), source.copy(environ).name, *more]


def _variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables for srun: none that are options of it."""
    return {name: value for name, value in environ.items() if name == "SLURM_CONF" or not name.startswith(_BEYOND_A_JOB)}


def _send(source: Source, sent: str, nodes: Nodes, environ: Mapping[str, str], say: Callable[[str], None]) -> None:
    """Have Slurm send the file to all nodes; where it cannot, each node reads it by itself."""
    try:
        done = process.run([*nodes.send, str(source.path), sent], env=dict(environ))
        done.checked("sending it to the nodes")
    except CommandFailed as error:
        say(f"{error.what}\n  each node reads {shlex.quote(str(source.path))} by itself")


def _leader() -> tuple[str, ...]:
    """Return the number of this session's leader, the job's shell, and when it began; of the parent where that is gone."""
    for number in (os.getsid(0), os.getppid()):
        with suppress(OSError, IndexError):
            fields = Path(f"/proc/{number}/stat").read_text(encoding="latin-1").rpartition(")")[2].split()
            return str(number), fields[19]
    return ()


def _heard(companion: process.Companion, count: int, answers: list[Answer], last: Sequence[str]) -> int:
    """Take what nodes say until `count` of them have said one of `last`; return how many of these said the first."""
    ready = 0
    while count > 0:
        answer = _read(companion.hear(_PATIENCE).decode("utf-8", "replace"))
        if answer is None:
            continue  # what a site's own scripts print at the start of a task
        if answer.word in last:
            count -= 1
            ready += answer.word == last[0]
        if answer.word != "ready":
            answers.append(answer)
    return ready


def _read(line: str) -> Answer | None:
    fields = line.rstrip("\n").split("\t", 2)
    return Answer(*fields) if len(fields) == 3 else None
