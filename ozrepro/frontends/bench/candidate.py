"""What is measured: the built methods of one lock, or any other Environment, as candidates with the same payload."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ozrepro.environment import BASE_PATH, Environment
from ozrepro.errors import LockError, NoMethodError, OzreproError
from ozrepro.frontends.bench.forms import compared_forms, forms_of, name_of
from ozrepro.frontends.bench.result import About
from ozrepro.methods import registry
from ozrepro.pipeline import describing
from ozrepro.pipeline.checks import check_section
from ozrepro.pipeline.choice import candidates as candidates_of
from ozrepro.pipeline.choice import choose, unavailable
from ozrepro.pipeline.generations import built_generation, launch_of
from ozrepro.pipeline.session import needs_lock, open_session
from ozrepro.project.lock import lock_file
from ozrepro.site import LOCAL, mount_of
from ozrepro.store.forms import FILE_VARIABLE, IMAGE
from ozrepro.store.kept import folders_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ozrepro.frontends.bench.forms import Variant
    from ozrepro.methods.contract import ImageFacts
    from ozrepro.pipeline.session import Session
    from ozrepro.project.lock import Lock, Section
    from ozrepro.store.forms import Form
    from ozrepro.store.publish import Generation

_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc", "/proc", "/sys", "/dev", "/run")
"""Folders that every node of a cluster has on its own disk: what is read there asks nothing of a shared file system."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One environment to be measured.

    Attributes:
        name: the method's name, or a label.
        environment: how its programs run.
        prefix: the folder that holds it.
        roots: folders of the file system under test: what is asked of paths below them counts.
        files, bytes: of the prefix.
        versions: of the packages inside.
        base: where the base interpreter lives, "" until somebody asked (`starting.look`).
        build_seconds: how long its build took, None where nobody measured it.
        node: the node of the job that it is started on, "" where that is of no concern.
        file: the one file that it is packed into and that each start mounts at `prefix`, "" for a tree and for an image.
        covered: folders elsewhere over which a start mounts what the file keeps of them.
        is_staged: whether `file` is, or will be, a copy on a disk of the node.
        stage_seconds: how long that copying took, None where there is none.

    """

    name: str
    environment: Environment
    prefix: str
    roots: tuple[str, ...]
    files: int = 0
    bytes: int = 0
    versions: Mapping[str, str] = field(default_factory=dict)
    base: str = ""
    mount: str = ""
    build_seconds: float | None = None
    node: str = ""
    file: str = ""
    covered: tuple[str, ...] = ()
    is_staged: bool = False
    stage_seconds: float | None = None

    @property
    def form(self) -> str:
        """Whether it is a `file`, a `staged` one, or a `tree`."""
        return "staged" if self.is_staged else "file" if self.file else "tree"

    @property
    def is_image(self) -> bool:
        """Whether its programs see the files of an image, and variables are set inside by names of their own."""
        return self.environment.is_image

    @property
    def python(self) -> str:
        """The word that starts its Python; images of the distributions have only the one with the number."""
        return "python3" if self.is_image else "python"

    def about(self) -> About:
        """Return what the result says of it."""
        known = (self.name, self.files, self.bytes, self.versions, self.base, self.mount, self.build_seconds, self.form)
        return About(*known, self.stage_seconds)

    def seen(self, found: Mapping[str, str]) -> Candidate:
        """Return the same candidate with what `starting.look` found: an interpreter on a shared file system is asked too."""
        base = found["base"]
        inside = f"{base}, inside the image" if self.is_image else base
        versions = {**self.versions, **{name: found[name] for name in ("python", "blas") if found.get(name)}}
        roots = self.roots if self.is_image else outermost(beside((*self.roots, base, os.path.realpath(base)), self.prefix))
        return replace(self, base=inside, versions=versions, roots=roots)

    def mounted_anew(self, file: str = "") -> Candidate:
        """Return the same candidate, each start of which mounts its file, or a copy of it, whatever a job has mounted already.

        A tree is as it was.
        """
        if not self.file:
            return self
        table = self.environment.as_dict()
        table["variables"] = {**table["variables"], FILE_VARIABLE: file or self.file}
        return replace(self, environment=Environment(**table))

    def moved(self, new: str) -> Candidate:
        """Return the same candidate whose prefix stands at `new`, such as a copy or a mount of another file system."""
        environment = Environment(**_moved(self.environment.as_dict(), self.prefix, new))
        roots = tuple(_moved(list(self.roots), self.prefix, new))
        return replace(self, environment=environment, prefix=new, roots=roots, mount=mount_words(new))


def _moved(value: Any, old: str, new: str) -> Any:
    """Return a value of JSON in which each path below `old` is below `new`, also inside lists of paths and words of options."""
    if isinstance(value, dict):
        return {key: _moved(item, old, new) for key, item in value.items()}
    if isinstance(value, list):
        return [_moved(item, old, new) for item in value]
    if not isinstance(value, str) or old not in value:
        return value
    return re.sub(rf"(?<![^:\"=, ]){re.escape(old)}(?![^/:\"])", lambda _: new, value)


def of_environment(name: str, environment: Environment, prefix: Path, *, files: int = 0, size: int = 0) -> Candidate:
    """Return a candidate for any environment; where `files` is 0, its files are counted."""
    place = str(prefix)
    if not files:
        files, size = tree_size(place)
    return Candidate(name, environment, place, roots_of(environment, place), files, size, mount=mount_words(place))


def roots_of(environment: Environment, prefix: str) -> tuple[str, ...]:
    """Return the folders that an environment takes files from, but those that every node has on its own disk, outermost only.

    They are the prefix, its place with all links resolved, the folder that holds an image's file, and each folder in PATH and in
    variables that hold paths: a module's `bin` or `lib` stands for the folder above it. Where the prefix is on a shared file
    system, folders on a disk of this node are not among them: a container's program may be installed there.
    """
    given = environment.variables_for(os.environ)
    names = (*environment.variables, *environment.following)
    texts = (given["PATH"], *(given[name] for name in names if given.get(name, "").startswith("/")))
    found = {prefix, os.path.realpath(prefix)}
    if environment.is_image:
        found.add(os.path.dirname(os.path.realpath(environment.prefix[-1])))  # the image may be a link to the user's own file
    for folder in dict.fromkeys(part for text in texts for part in text.split(":")):
        if folder in BASE_PATH or not folder.startswith("/") or not os.path.isdir(folder):
            continue
        top = folder
        while os.path.basename(top) in ("bin", "sbin", "lib", "lib64", "site-packages", "share", "include") or (
            os.path.basename(top).startswith("python") and os.path.basename(os.path.dirname(top)).startswith("lib")
        ):
            top = os.path.dirname(top)
        found |= {top, os.path.realpath(top)}
    return outermost(beside(found, prefix))


def beside(folders: Iterable[str], prefix: str, mountinfo: str | None = None) -> tuple[str, ...]:
    """Return those folders that may be asked for as the prefix is: where that is shared, not what is on a disk of this node.

    `mountinfo` is as in `site.mount_of`.
    """
    if mount_words(prefix, mountinfo) in {"", *LOCAL}:
        return tuple(folders)
    return tuple(folder for folder in folders if mount_words(folder, mountinfo) not in LOCAL)


def outermost(folders: Iterable[str]) -> tuple[str, ...]:
    """Return those of some folders that are inside none of the others, without the system's own."""
    kept = sorted({path for path in folders if path != "/" and not _below(path, _SYSTEM)})
    return tuple(path for path in kept if not _below(path, [other for other in kept if other != path]))


def _below(path: str, folders: Iterable[str]) -> bool:
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)


def tree_size(folder: str) -> tuple[int, int]:
    """Return how many files and links are below a folder, and their bytes."""
    files = size = 0
    for base, _, names in os.walk(folder):
        files += len(names)
        size += sum(os.lstat(os.path.join(base, name)).st_size for name in names)
    return files, size


def mount_words(prefix: str, mountinfo: str | None = None) -> str:
    """Return the type of the file system that a folder is on, "" where it is not told."""
    mount = mount_of(Path(prefix), mountinfo)
    return mount.kind if mount is not None else ""


@dataclass(frozen=True, slots=True)
class Found:
    """The session that is measured: its candidates, why others are none, and the sha256 of its lock's bytes.

    `undescribed` has a line for each method that the spec does not describe, none where methods were asked for by name, and one
    where no environment is measured as a file. `unbuilt` has the methods that are locked, current and not built.
    """

    session: Session
    candidates: tuple[Candidate, ...]
    refused: tuple[str, ...]
    lock: str
    undescribed: tuple[str, ...] = ()
    unbuilt: tuple[str, ...] = ()


def find(
    root: Path,
    name: str,
    environ: Mapping[str, str],
    methods: Sequence[str] = (),
    build: Callable[[str, Form], object] | None = None,
    forms: Sequence[str] = (),
    *,
    emulated: bool = False,
) -> Found:
    """Return the session's built methods as candidates; `build` is called with each method and form that is not built.

    Without `methods`, those that the spec describes; one that is not available is given with its
    reason. Each method named must be available. `forms` and `emulated` are as in `compared_forms`.
    Fails as `build` and `run` would: SpecError, UsageError, LockError where the lock is missing or no longer holds, and
    NoMethodError where none, or not the one named, can be measured. Without `build`, one that is not built can be; where a build
    fails and that leaves nothing, its error is raised.
    """
    session = open_session(root, name, environ)
    own = {method: open_session(root, name, environ, method=method) for method in dict.fromkeys(methods)}
    for each in own.values():
        candidates_of(each)  # raises UsageError for a method that the spec does not describe
    lock = _lock_of(session, tuple(own.values()))
    kept: list[Candidate] = []
    refused: dict[str, _Refusal] = {}
    unbuilt: list[str] = []
    compared = compared_forms(session, forms, emulated=emulated)
    for method in own or candidates_of(session):
        each = own.get(method, session)
        section = _section(each, method, lock)
        if isinstance(section, _Refusal):
            refused[method] = section
            continue
        for form in forms_of(method, compared.forms):
            found, label = _candidate(each, section, form, build), name_of(method, form)
            if isinstance(found, Candidate):
                kept.append(found)
            elif found is None:
                unbuilt.append(label)
            else:
                refused[label] = found
    lines = tuple(f"{method}: {item.reason}" for method, item in refused.items())
    if refused and (own or not (kept or unbuilt)):
        nearest = min(refused.values(), key=lambda item: item.steps)
        who = "not every requested method" if kept or unbuilt else "no method"
        raise nearest.error or NoMethodError(name, lines, who=who, hint=nearest.remedy)
    digest = hashlib.sha256(lock_file(session.root, name).read_bytes()).hexdigest()
    undescribed = (*([] if own else _undescribed(session)), compared.left_out)
    return Found(session, tuple(kept), lines, digest, tuple(filter(None, undescribed)), tuple(unbuilt))


def _lock_of(session: Session, asked: Sequence[Session]) -> Lock:
    """Return the lock. Raises LockError where there is none, NoMethodError where no method could be locked either."""
    lock = session.lock()
    if lock is None:
        for each in asked or (session,):
            choose(each, None)  # the advice to lock would be a dead end
        raise needs_lock(session)
    return lock


def _undescribed(session: Session) -> list[str]:
    """Return a line for each method that the spec does not describe."""
    lacking = (method for method in registry.BUILTIN if method not in session.spec.tables)
    return [f"{method}: {session.spec.path.name} has no [{method}]" for method in lacking]


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Why a method cannot be measured, and the command that helps.

    `steps` says how far it is from being measured: 1 for a build that failed or a lock that no longer holds, which is what `run`
    would begin with, 2 for a lock, 3 for what the machine lacks. `error` is that of the lock or the build.
    """

    reason: str
    remedy: str
    steps: int
    error: OzreproError | None = None


def _section(session: Session, method: str, lock: Lock) -> Section | _Refusal:
    """Return the section by which a method can be measured here, or why there is none."""
    section = session.section(method, lock)
    if section is None:
        locked = f"not locked for this platform ({session.key(method)})"
        lacking = unavailable(session.for_looking(), method, None)
        if lacking is not None:
            return _Refusal(f"{locked}: {lacking.what}", f"ozrepro status {session.name}", 3)
        remedy = f"ozrepro lock {session.name} --method {method}"
        return _Refusal(f"{locked}: {remedy}", remedy, 2)
    reason = unavailable(session, method, lock)
    if reason is not None:
        return _Refusal(reason.what, f"ozrepro status {session.name}", 3)
    try:
        check_section(session, section)
    except LockError as error:
        return _Refusal(error.what.replace("\n  ", "; "), error.hint, 1, error)
    return section


def _candidate(
    session: Session, section: Section, variant: Variant, build: Callable[[str, Form], object] | None
) -> Candidate | _Refusal | None:
    """Return a method in a form as a candidate, why it is none, or None where it has to be built and `build` is not given."""
    form: Form = "tree" if variant == "tree" else "file"
    generation = built_generation(session, section, form)
    if generation is None:
        if build is None:
            return None
        try:
            build(section.method, form)
        except OzreproError as error:
            return _Refusal(f"its build failed: {error.title}", error.hint, 1, error)
        generation = built_generation(session, section, form)
        if generation is None:  # the build has said why it took the other form
            return _Refusal("could not be built as one file", f"ozrepro build {session.name} --method {section.method}", 1)
    candidate = _of_generation(session, section, generation, name_of(section.method, variant))
    candidate = replace(candidate, is_staged=variant == "staged")
    facts = describing.image_facts(session, section, generation)
    return _as_built(replace(candidate, versions=_versions(session, section, generation)), generation, facts)


def _of_generation(session: Session, section: Section, generation: Generation, name: str) -> Candidate:
    environment = launch_of(session, section, generation, looking=True).environment
    files, size = generation.card["files"], generation.card["bytes"]
    candidate = of_environment(name, environment, generation.prefix, files=files, size=size)
    if generation.form == "tree":
        return candidate
    # Beside the place of the mount, which is empty until then, lie the file and the program that mounts it.
    folder = str(generation.folder)
    roots = outermost((*candidate.roots, folder, os.path.realpath(folder)))
    mount = f"{candidate.mount}, the file through squashfuse"
    return replace(candidate, roots=roots, file=f"{folder}/{IMAGE}", mount=mount, covered=tuple(folders_of(generation)))


def _versions(session: Session, section: Section, generation: Generation) -> dict[str, str]:
    """Return the version of each package: the lock's, and where it has several for several Pythons, what was built from it."""
    locked = dict(describing.versions(session, section))
    if not any("|" in version for version in locked.values()):
        return locked
    return {
        **{name: version for name, version in locked.items() if "|" not in version},
        **describing.installed(session, section, generation),
    }


def _as_built(candidate: Candidate, generation: Generation, facts: ImageFacts | None) -> Candidate:
    """Return a candidate with what its build has noted: how long it took, and of an image how it is read.

    An image is mostly built while it is locked, and only put into the store by the build.
    """
    seconds = float(generation.card.get("seconds", 0.0))
    if facts is None:
        return replace(candidate, build_seconds=seconds or None)
    known = max(seconds, facts.seconds) if facts.seconds else None
    return replace(candidate, mount=f"{candidate.mount}, the image through {facts.mount}", build_seconds=known)
