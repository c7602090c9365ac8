"""The command for the nodes of a job: stage."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ozrepro.errors import BuildError, CommandFailed, OzreproError, UsageError
from ozrepro.faststart.ready import find_ready
from ozrepro.faststart.staged import job_name
from ozrepro.frontends.cli.call import take_method, take_name, take_python, take_quiet
from ozrepro.frontends.cli.sessions import opened
from ozrepro.pipeline import staging
from ozrepro.pipeline.choice import choose
from ozrepro.pipeline.generations import built_generation
from ozrepro.pipeline.preparing import prepare
from ozrepro.pipeline.session import needs_lock
from ozrepro.project.formatting import size_words
from ozrepro.store.publish import read_generation
from ozrepro.store.staging import nodes_of, remove, stage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ozrepro.frontends.cli.call import Add, Call
    from ozrepro.methods.contract import Progress
    from ozrepro.pipeline.session import Session
    from ozrepro.project.lock import Section
    from ozrepro.store.publish import Generation
    from ozrepro.store.staging import Answer, Nodes, Source


def register(add: Add) -> None:
    """Add the commands of this module."""
    made = add("stage", "copy an environment to the disk of each node of this job", stage_session)
    take_name(made)
    take_method(made)
    take_python(made)
    take_quiet(made)
    made.add_argument("--remove", action="store_true", help="remove the copies before the job ends")


def stage_session(call: Call) -> int:
    """Put one copy of a session's environment on each node of the job, or remove the copies."""
    name, nodes = call.arguments.name, _nodes(call, os.environ)
    if call.arguments.remove:
        return _remove(call, nodes)
    session = opened(call, name)
    with call.out.progress() as progress:
        section, generation, skipped = _built(call, session, progress)
        source = staging.source_of(session, section, generation, call.out.say, progress)
        progress("copying to the nodes", 0, 0)
        try:
            answers = stage(source, nodes, os.environ, call.out.say)
        except CommandFailed as error:
            raise OzreproError(
                f"cannot be staged: {error.what}", where=f"session {name!r}", hint="the same command again"
            ) from error
    for line in () if call.arguments.quiet else skipped:
        call.out.say(f"{name}: skipping {line}")
    return _tell(call, source, answers)


def _built(call: Call, session: Session, progress: Progress) -> tuple[Section, Generation, tuple[str, ...]]:
    """Return the section in use, its environment, and why methods were skipped: as an earlier start has left it, else built."""
    ready = find_ready(str(session.root), session.name, call.arguments.method, call.environ)
    known = read_generation(session.store, ready.key) if ready is not None else None
    if ready is not None and known is not None:
        method, generation, skipped = ready.method, known, ready.said
    else:
        built = prepare(session, call.out.say, progress)
        method, generation, skipped = built.method, built.generation, built.skipped
    section = session.section(method, session.lock())
    assert section is not None, "it was built from one"
    return section, generation, skipped


def _nodes(call: Call, environ: Mapping[str, str]) -> Nodes:
    """Return the nodes of the job. Raises UsageError outside of one, and where each of several tasks would do the same."""
    name = call.arguments.name
    if not job_name(environ):
        raise UsageError(
            "copies are for the starts of a job, and this is not a job of Slurm, PBS, LSF or Flux",
            hint=f"in the job's script, before what it starts: ozrepro stage {name}",
        )
    tasks = environ.get("SLURM_STEP_NUM_TASKS", "1")
    if environ.get("SLURM_JOB_ID") and tasks != "1":
        what = f"this is one of {tasks} tasks, and one command reaches all nodes of a job"
        raise UsageError(what, hint=f"in the job's script, before srun: ozrepro stage {name}")
    nodes = nodes_of(environ)
    if environ.get("SLURM_JOB_ID") and not nodes.launch:
        call.out.say("srun is not on PATH: this node alone is reached")
    return nodes


def _tell(call: Call, source: Source, answers: Sequence[Answer]) -> int:
    """Say what came of it; 1 where a node has no copy."""
    name = call.arguments.name
    for answer in answers:
        if answer.word == "failed":
            call.out.say(f"{name}: {answer.node} has no copy, and starts there read the file itself: {answer.text}")
        elif answer.word == "replaced":
            call.out.say(f"{name}: {answer.node}: {answer.text} was not as it was staged, and is copied again")
    new, known = ([answer for answer in answers if answer.word == word] for word in ("staged", "known"))
    places = dict.fromkeys(os.path.dirname(answer.text) for answer in (*new, *known))
    if new:
        size = size_words(source.path.stat().st_size)
        call.out.line(f"{name}: staged on {_counted(new)} ({size} in {', '.join(places)})")
    elif known:
        call.out.line(f"{name}: was staged before on {_counted(known)} (in {', '.join(places)})")
    return 1 if any(answer.word == "failed" for answer in answers) else 0


def _counted(answers: Sequence[Answer]) -> str:
    count = len({answer.node for answer in answers})
    return f"{count} node{'s' if count != 1 else ''}"


def _remove(call: Call, nodes: Nodes) -> int:
    name = call.arguments.name
    session = opened(call, name).for_looking()
    lock = session.lock()
    if lock is None:
        raise needs_lock(session)
    section = choose(session, lock).section
    generation = built_generation(session, section) if section is not None else None
    if section is None or generation is None:
        raise BuildError("is not built as it is locked", where=f"session {name!r}", hint=f"ozrepro build {name}")
    answers = remove(staging.known_as(session, section, generation), nodes, os.environ)
    call.out.line(f"{name}: removed from {_counted(answers)}" if answers else f"{name}: is not staged")
    return 0
