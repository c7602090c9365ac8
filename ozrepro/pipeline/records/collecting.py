"""What is known of a run when it starts: its session, lock, project and command, the job, and the kind of machine."""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import pwd
import re
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING

from ozrepro.environment import SAYS_WHERE
from ozrepro.errors import CommandFailed
from ozrepro.faststart.ready import facts_here
from ozrepro.pipeline.records.masking import masked, places_of
from ozrepro.pipeline.records.record import SCHEMA, Git, Job, LockFile, Machine, Record, new_id, time_text
from ozrepro.pipeline.records.revision import state_of
from ozrepro.pipeline.session import needs_lock
from ozrepro.site.scheduler import job_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ozrepro.environment import Environment
    from ozrepro.pipeline.records.masking import Places
    from ozrepro.pipeline.session import Session

_NUMBER = re.compile(r"[A-Za-z0-9][\w.@\[\]:-]{0,99}\Z", re.ASCII)
_THREADS = re.compile(r"[0-9]{1,6}(,[0-9]{1,6}){0,9}\Z", re.ASCII)
_ALWAYS = ("noxfile.py", "pyproject.toml")
_LOOKED_AT = 50
"""Words of a command that are looked at as files: a script and what it is given, not each of a thousand frames."""


@dataclass(frozen=True, slots=True)
class Run:
    """A run that starts: the front end, the command as it was given, the method that was taken, how programs run in it."""

    by: str
    command: tuple[str, ...]
    method: str
    environment: Environment


def describe(session: Session, run: Run, say: Callable[[str], None]) -> Record:
    """Return the record of a run that starts now. Raises LockError where the lock is gone or cannot be read."""
    environ, root = session.site.environ, session.root
    lock = session.lock()
    section = session.section(run.method, lock)
    if section is None:
        raise needs_lock(session)
    places, lock_path = places_of(environ), os.path.relpath(session.lock_path, root)
    git = _state(session, run.command, (*_ALWAYS, os.path.relpath(session.spec.path, root), lock_path), say)
    now = dt.datetime.now(dt.timezone.utc)  # of the start, which git may have put off
    wanted = session.site.settings.record_with
    return Record(
        schema=SCHEMA,
        id=new_id(now),
        by=run.by,
        session=session.name,
        method=run.method,
        section=section.digest,
        lock=LockFile(lock_path, hashlib.sha256(session.files.content(session.lock_path)).hexdigest()),
        command=tuple(map(places.out_of, masked(run.command))),
        start=time_text(now),
        form="" if run.environment.is_image else "file" if run.environment.mount else "tree",
        key=run.environment.variables.get(SAYS_WHERE[2], ""),
        git=git,
        folder=_folder(str(root), places),
        job=_job(environ),
        machine=_machine(environ),
        ozrepro=_version(),
        host=os.uname().nodename if "host" in wanted else "",
        user=_user(environ) if "user" in wanted else "",
    )


def _state(session: Session, command: Sequence[str], always: Sequence[str], say: Callable[[str], None]) -> Git | None:
    root = str(session.root)
    words = [word for word in command[:_LOOKED_AT] if word and not word.startswith("-")]
    with suppress(OSError):  # of a working folder that was removed
        named = [os.path.relpath(os.path.realpath(word), root) for word in words]
        always = (*always, *(path for path in named if path.split("/")[0] != ".."))
    try:
        return state_of(session.root, always, session.site.environ)
    except CommandFailed as error:
        say(f"the record has no revision: {' '.join(error.what.split())[:300]}")
        return None


def _folder(root: str, places: Places) -> str:
    """Return the working folder, relative to the project where it lies in it; "" where it was removed."""
    try:
        here = os.path.realpath(os.getcwd())
    except OSError:
        return ""
    path = os.path.relpath(here, root)
    return places.out_of(here) if path.split("/")[0] == ".." else path


def _job(environ: Mapping[str, str]) -> Job | None:
    job = job_of(environ)
    if job is None or not _NUMBER.match(job.number):
        return None
    restarts = environ.get("SLURM_RESTART_COUNT", "")
    return Job(
        job.scheduler,
        job.number,
        _matching(_NUMBER, environ.get("SLURM_ARRAY_JOB_ID", "")),
        _matching(_NUMBER, environ.get("SLURM_ARRAY_TASK_ID", "")),
        int(restarts) if restarts.isascii() and restarts.isdigit() and len(restarts) < 10 else None,
    )


def _matching(pattern: re.Pattern[str], text: str) -> str:
    """Return a variable's value if it has the form that it should have: nothing else of a variable gets into a record."""
    return text if pattern.match(text) else ""


def _machine(environ: Mapping[str, str]) -> Machine:
    facts, system = facts_here(("cpu", "libc", "driver")), os.uname()
    # Not of macOS, which has no such call.
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 0
    return Machine(
        cpu=facts["cpu"] or system.machine,
        cpus=processors,
        omp=_matching(_THREADS, environ.get("OMP_NUM_THREADS", "")),
        kernel=system.release,
        libc=facts["libc"],
        driver=facts["driver"],
    )


def _version() -> str:
    try:
        return metadata.version("ozrepro")
    except metadata.PackageNotFoundError:  # of a copy of the package that nothing has installed
        return ""


def _user(environ: Mapping[str, str]) -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return environ.get("USER", "")
