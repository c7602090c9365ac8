"""Builds an environment that becomes one file: by a process in whose namespace a folder of the node covers the store's.

So prefixes and first lines of scripts are those of the store, and its file system sees the packed file alone. The process opens
the session again: nothing but values crosses to it, and a build's threads and mounts end with it.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ozrepro import errors, process
from ozrepro.errors import CommandFailed, LockError, OzreproError, StoreError
from ozrepro.faststart import ownpath
from ozrepro.methods.target import Target
from ozrepro.pipeline.checks import check_drift
from ozrepro.pipeline.generations import kept_by
from ozrepro.pipeline.session import Session, method_of, naming, open_session
from ozrepro.process import end_with, ended_by_signals
from ozrepro.site import namespace
from ozrepro.store import FULL, kept, manifest
from ozrepro.store.claim import closed_to_others
from ozrepro.store.forms import FULL as SAID_FULL
from ozrepro.store.forms import IMAGE, Tools, has_room, room
from ozrepro.store.kept import Survey
from ozrepro.store.packing import TRACER, Packed, pack
from ozrepro.store.publish import PREFIX, take_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from ozrepro.environment import Environment
    from ozrepro.methods.contract import Progress, Say
    from ozrepro.project.lock import Section
    from ozrepro.store.forms import Place

_STARTING = ("LD_LIBRARY_PATH", "PYTHONHOME")
"""What ozrepro's own Python may need to start; the caller's other variables are the session's, and reach it as a value."""


@dataclass(frozen=True, slots=True)
class Job:
    """What is built: the session, its method, the digest of its section, and where; `local` is "" for memory.

    `parent` is the process that waits for it, `place` how the folder of the node is called.
    """

    parent: int
    root: str
    name: str
    method: str
    section: str
    folder: str
    local: str
    place: str
    environ: Mapping[str, str]
    tools: Mapping[str, str]


def build(session: Session, section: Section, folder: Path, place: Place, tools: Tools, say: Say, progress: Progress) -> Packed:
    """Build a section into the file of a generation's folder, and return what it holds.

    Raises what the method's build raises, CommandFailed where the process ends without an answer, StoreError where the place has
    no room left, OSError where the store has none.
    """
    with _in(place.words, place.folder), room(place) as local:
        environ = dict(session.site.environ)
        if local is not None:  # what killed programs leave in it goes with the rest
            environ["TMPDIR"] = str(local.with_name("tmp"))
            os.mkdir(environ["TMPDIR"], 0o700)
        job = Job(
            os.getpid(),
            str(session.root),
            session.name,
            section.method,
            section.digest,
            str(folder),
            str(local or ""),
            place.words,
            environ,
            asdict(tools),
        )
        answer = _answer(job, say, progress)
    if "failed" in answer:
        number, words, name = answer["failed"]
        raise OSError(number, words, name)
    if "refused" in answer:
        raise _error(answer["refused"])
    (folder / PREFIX).mkdir(mode=0o755)
    return Packed(**answer["done"])


def _answer(job: Job, say: Say, progress: Progress) -> Mapping[str, Any]:
    """Have a process do the job, and return its answer. Raises CommandFailed where there is none."""
    variables = {name: os.environ[name] for name in _STARTING if name in os.environ}
    spaces: list[str] = []
    try:
        done = process.run(
            ownpath.helper("ozrepro.pipeline.apart"),
            env={"PATH": process.CLEAN_PATH, "PYTHONUTF8": "1", "PYTHONDONTWRITEBYTECODE": "1", **variables},
            cwd="/",
            text=json.dumps(asdict(job)),
            on_line=_listener(say, progress, spaces.append),
        )
        return _read(job, done)
    except BaseException:
        # An installer that outlives its parent would go on in the store itself, once the folder that is covered is removed.
        for each in spaces:
            namespace.end_all(each)
        raise


def _read(job: Job, done: process.Finished) -> Mapping[str, Any]:
    """Return the answer of the process that did the job. Raises CommandFailed where there is none."""
    try:
        answer: Mapping[str, Any] = json.loads(done.output.rpartition("\n")[2])
    except ValueError:
        said = [line for line in done.errors.strip().splitlines() if not line.startswith('{"')][-12:]
        how = f"signal {-done.status}" if done.status < 0 else f"status {done.status}"
        what = f"the build of {job.name} in {job.place} ended with {how}"
        raise CommandFailed("\n    ".join((what, *said)), hint="the same command again, or OZREPRO_FORM=tree") from None
    return answer


@contextmanager
def _in(place: str, folder: Path | None) -> Iterator[None]:
    """Have what fails because the folder of the node is full say so, whichever program met it."""
    try:
        yield
    except (OzreproError, OSError) as error:
        is_said = error.errno in FULL if isinstance(error, OSError) else bool(SAID_FULL.search(error.what))
        if not is_said or folder is None or has_room(folder, 2):  # the cache may be what is full
            raise
        said = error.what if isinstance(error, OzreproError) else f"{error.filename}: {error.strerror}"
        hint = "TMPDIR=DIR, a folder of this node with more room, or OZREPRO_FORM=tree"
        raise StoreError("has no room left to build in:", problems=[said], where=place, hint=hint) from error


def _error(told: Mapping[str, Any]) -> OzreproError:
    """Return an error of the process as it was raised there."""
    kind = getattr(errors, told["kind"], OzreproError)
    error = OzreproError(told["title"], problems=told["problems"], where=told["where"], hint=told["hint"])
    if isinstance(kind, type) and issubclass(kind, OzreproError):
        error.__class__ = kind
    return error


def _listener(say: Say, progress: Progress, lives_in: Callable[[str], object]) -> Callable[[str], None]:
    def on_line(line: str) -> None:
        if not line.startswith('{"'):
            return
        try:
            told = json.loads(line)
        except ValueError:
            return
        if "space" in told:
            lives_in(str(told["space"]))
        elif "say" in told:
            say(str(told["say"]))
        elif "progress" in told:
            step, done, total = told["progress"]
            progress(str(step), int(done), int(total))

    return on_line


def _tell(**told: object) -> None:
    sys.stderr.write(f"{json.dumps(told)}\n")
    sys.stderr.flush()


def perform(job: Job) -> Packed:
    """Do the job in a namespace of this process's own. Raises OzreproError, OSError."""
    folder = Path(job.folder)
    beneath = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    namespace.enter()
    _tell(space=namespace.space())
    namespace.cover(folder, Path(job.local) if job.local else None)
    namespace.give_up_rights()
    end_with(job.parent)
    os.environ.clear()
    os.environ.update(job.environ)
    session = open_session(Path(job.root), job.name, job.environ, method=job.method)
    section = session.section(job.method, session.lock())
    if section is None or section.digest != job.section:
        raise LockError(f"the lock changed while {job.name} was being built", hint="the same command again")
    prefix = folder / PREFIX
    target = Target(prefix, session.site)
    software = _software(session, section)
    for line in software.lines() if software is not None else ():
        _tell(say=f"{session.name}: {line}")
    with naming(session), _in(job.place, folder):
        plan = method_of(section).plan(session.read(section), session.site)
        digests = plan.build(target, lambda line: _tell(say=line), lambda *step: _tell(progress=step))
        entries = take_whole(prefix, digests)
        _tell(progress=("packing into one file", 0, 0))
        opened = _opened(session, section, target, software or Survey())
    known = {entry.path for entry in entries}
    for path in known.symmetric_difference(manifest.walk(prefix)):
        os.unlink(prefix / path)  # the imports have written it there; what they have removed cannot be: it raises
    # Beneath the cover: what mksquashfs, a program of its own, opens by this process's descriptor.
    outside = Path(f"/proc/{os.getpid()}/fd/{beneath}")
    try:
        order = [path for path in opened if path in known or path.startswith(f"{kept.FOLDER}/")]
        sha256, size = pack(prefix, outside, Tools(**job.tools), order, software=software)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(folder / IMAGE)) from error
    packed = Packed(sha256, size, len(entries), sum(entry.size for entry in entries))
    return packed if software is None else _with_software(packed, session, section, software)


def _software(session: Session, section: Section) -> Survey | None:
    """Return what the spec wants kept of the machine's software as it is now, None for nothing.

    Raises DriftError where that is not what is locked, BuildError where it cannot be kept.
    """
    wanted = kept_by(session, section)
    if wanted is None:
        return None
    check_drift(session, section, whole=True)
    home = session.site.environ.get("HOME", "")
    outside = [session.root, session.store.folder, *([Path(home)] if home else [])]
    return kept.survey(wanted.folders, wanted.named, outside, wanted.asked)


def _with_software(packed: Packed, session: Session, section: Section, software: Survey) -> Packed:
    """Return what was packed with what it keeps, compared with the lock once more."""
    wanted = kept_by(session, section)
    assert wanted is not None
    folders = software.folders
    covered = wanted.covered(lambda path: bool(kept.place_of(path, folders)))
    check_drift(session, section, whole=True)
    more = {"files": software.files, "bytes": software.bytes, "private": bool(software.private)}
    return replace(
        packed,
        files=packed.files + software.files,
        bytes=packed.bytes + software.bytes,
        kept={"folders": folders, "covered": covered, **more},
    )


def _opened(session: Session, section: Section, target: Target, software: Survey) -> Sequence[str]:
    """Return what a start with the session's imports opens, in order, by its place below the prefix.

    What it opens of software that is neither kept nor the system's is said. Nothing is returned where that cannot be seen.
    """
    environment = method_of(section).environment(session.read(section), target).environment
    paths = traced(session, environment, target.prefix.with_name("opened"))
    if not paths:
        return ()
    places = {str(target.prefix): "", **{path: f"/{place}" for path, place in software.folders.items()}}
    # Python looks for files that are not there too, and mksquashfs takes no order of these.
    existing = (path for path in map(os.path.normpath, (f"/{path}" for path in paths)) if os.path.lexists(path))
    found = {path: kept.place_of(path, places) for path in existing}
    if software.sources:
        beyond = _beyond((path for path, place in found.items() if not place), session)
        if beyond:
            more = f" and {len(beyond) - 1} more" if len(beyond) > 1 else ""
            _tell(say=f"{session.name}: a start also opens what is not kept: {beyond[0]}{more}")
    return [place.removeprefix("/") for place in found.values() if place]


def traced(session: Session, environment: Environment, sink: Path, below: str = "/") -> list[str]:
    """Return the paths below a folder that a start with the session's imports opens, in order, from that folder.

    They are written into the file `sink` on the way; nothing is returned where they cannot be seen.
    """
    words = environment.command(["python", "-c", TRACER, str(sink), ",".join(session.spec.imports), below])
    try:
        process.run(words, env=environment.variables_for(session.site.environ), cwd="/", timeout=600)
        return sink.read_text(encoding="utf-8", errors="surrogateescape").split("\0")
    except (CommandFailed, FileNotFoundError):
        return []  # an environment without Python, or one whose imports fail here


def _beyond(paths: Iterable[str], session: Session) -> list[str]:
    """Return those of the paths that are software of the machine's that not each node has."""
    own = (*filter(None, (session.site.environ.get("HOME", ""),)), str(session.root), tempfile.gettempdir())
    own = (*own, *map(os.path.realpath, own))
    return [path for path in paths if not (kept.is_system(path) or path.startswith(tuple(f"{name}/" for name in own)))]


def main() -> None:
    """Do the job that standard input names; the last line of standard output is the answer."""
    answer: dict[str, object]
    try:
        with ended_by_signals(), closed_to_others():
            answer = {"done": asdict(perform(Job(**json.load(sys.stdin))))}
    except OzreproError as error:
        told = {"kind": type(error).__name__, "title": error.title, "problems": error.problems}
        answer = {"refused": {**told, "where": error.where, "hint": str(error.hint)}}
    except OSError as error:
        answer = {"failed": [error.errno, error.strerror or str(error), error.filename and str(error.filename)]}
    sys.stdout.write(f"\n{json.dumps(answer)}")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
