"""The copy of a session's environment on this node, where `ozrepro stage` has put one there for the job: starts take it.

Asked for in a job alone, by one path-taking call; what starts with the file mounted, `start`, looks for its own copy. The same in
the words of a shell: `store/start.sh`, `store/stage.sh` and `frontends/jobscript`.
"""

from __future__ import annotations

import os
import stat

from ozrepro.faststart.ready import JOBS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ozrepro.environment import Environment

FOLDERS = ("JOBFS", "PBS_JOBFS", "TMPDIR")
"""The variables that name a folder of the node for a job; /tmp where none is set."""


def job_name(environ: Mapping[str, str]) -> str:
    """Return how the copies of this job are named apart from another's, "" outside of a job. A restart is another job."""
    number = environ.get("SLURM_JOB_ID", "")
    name = f"{number}.{environ.get('SLURM_RESTART_COUNT', '')}" if number else next(filter(None, map(environ.get, JOBS[1:])), "")
    return "".join(sign if sign.isascii() and (sign.isalnum() or sign == ".") else "_" for sign in name or "")


def folder_of(environ: Mapping[str, str]) -> str:
    """Return the folder of the node in which a job has its copies."""
    return next(filter(None, map(environ.get, FOLDERS)), None) or "/tmp"  # noqa: S108


def copy_of(generation: str, suffix: str, environ: Mapping[str, str]) -> str:
    """Return the path of a generation's copy in a job; `suffix` is `.start` for the link to what starts a tree from it."""
    name = f"ozrepro-{os.geteuid()}-{job_name(environ)}-{os.path.basename(generation)}{suffix}"
    return os.path.join(folder_of(environ), name)


def started(environment: Environment, argv: Sequence[str], environ: Mapping[str, str]) -> tuple[list[str], str]:
    """Return the words that start a command line, as `Environment.started`, from the job's copy where there is one.

    The second value says why a copy that is there is not taken; "" where there is none, or it is.
    """
    words = environment.started(argv)
    if environment.mount or not environment.generation or os.path.basename(argv[0]) in environment.host_programs:
        return words, ""
    if environment.is_image:
        return _from_image(environment, words, environ)
    start = _start_of(environment.generation, environ)
    return ([start, *words], "") if start else (words, "")


def _from_image(environment: Environment, words: list[str], environ: Mapping[str, str]) -> tuple[list[str], str]:
    """Return the words with the copy in the place of the image, which ends the prefix."""
    image = environment.prefix[-1]
    copy = copy_of(environment.generation, os.path.splitext(image)[1], environ)
    try:
        seen, wanted = os.lstat(copy), os.stat(image)
    except OSError:
        return words, ""
    if (seen.st_mode, seen.st_uid, seen.st_nlink) != (stat.S_IFREG | 0o400, os.geteuid(), 1):
        return words, f"{copy}: it is not as it was staged"
    if (seen.st_size, seen.st_mtime_ns) != (wanted.st_size, wanted.st_mtime_ns):
        return words, f"{copy}: it is not as it was staged"
    place = len(environment.prefix) - 1
    return [*words[:place], copy, *words[place + 1 :]], ""


def _start_of(generation: str, environ: Mapping[str, str]) -> str:
    """Return what starts programs of a tree from the copy: a link of this user's into the same store says it."""
    link = copy_of(generation, ".start", environ)
    try:
        target = os.readlink(link)
        is_own = os.lstat(link).st_uid == os.geteuid()
    except OSError:
        return ""
    gens = os.path.dirname(generation)
    name = target[len(gens) + 1 :].partition("/")[0]
    is_of_store = target == os.path.join(gens, name, "start") and os.access(target, os.X_OK)
    return target if is_own and is_of_store else ""
