"""The contract of a method: eight verbs over the method's own types, and what a method may also be able to do.

A method is a folder that imports nothing of another's, of nox or of printing. It is known by its name alone, to `registry`.
Reasons, problems and remedies are values; a sentence of them is made by a front end.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar, runtime_checkable

from ozrepro.project.spec import digest_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from ozrepro.environment import Environment
    from ozrepro.errors import Remedy
    from ozrepro.methods.comparing import Inside
    from ozrepro.methods.components import Component
    from ozrepro.methods.keeping import Kept
    from ozrepro.methods.packagelist import PackageList
    from ozrepro.methods.target import Target
    from ozrepro.project.checking import Checker
    from ozrepro.project.lock import Section
    from ozrepro.project.spec import Spec
    from ozrepro.site import Scope, Site
    from ozrepro.store.manifest import Digests

    Say = Callable[[str], None]
    """Takes a line about what is going on."""

    Progress = Callable[[str, int, int], None]
    """Takes a step, how much of it is done, and how much there is; 0 and 0 where nobody knows."""

Fact = Literal["cpu", "libc", "driver", "model"]
"""A fact of a machine that `faststart` compares: see `ready.facts_here`."""

Table = TypeVar("Table")
Locked = TypeVar("Locked")


@dataclass(frozen=True, slots=True)
class Traits:
    """What the pipeline must know of a method before it asks it anything.

    Attributes:
        scope: for which machines one section serves.
        builds_to_lock: whether locking builds, so that `--accept` can take what was built here.
        takes: the kinds of other tools' files and environments that it locks, `lock --from`, as `project.sources` calls them.
        is_image: whether programs see another root file system than the machine's.
        chooses_python: whether one section serves several Pythons, so that a caller may ask for one of them.
        facts: names of the machine's facts that decide whether it is available or what it gives here: see Fact.

    """

    scope: Scope
    builds_to_lock: bool = False
    takes: tuple[str, ...] = ()
    is_image: bool = False
    facts: tuple[Fact, ...] = ()
    chooses_python: bool = False


@dataclass(frozen=True, slots=True)
class Subject(Generic[Table]):
    """A session as one method sees it: its table of the spec, the whole spec, and this machine."""

    table: Table
    spec: Spec
    site: Site


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a resolution starts from.

    Attributes:
        values: all that decides it, as JSON can hold it; its digest tells whether a section answers the spec.
        files: the files of the project whose content every start compares.
        unchecked: what else the values cover and no start compares, as that would take too long; paths from the project's root.
        passed: the caller's variables that the table lets through.

    """

    values: Mapping[str, object]
    files: tuple[Path, ...] = ()
    unchecked: tuple[str, ...] = ()
    passed: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """The digest of the values, `sha256:…`."""
        return digest_of(self.values)


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a method is not available here. `remedy` is what the user may do about it, where that is not locking or looking."""

    what: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Origin:
    """The section of the same lock that another one was made from."""

    section: str
    digest: str


@dataclass(frozen=True, slots=True)
class Request(Generic[Table, Locked]):
    """A resolution that is asked for.

    Attributes:
        subject: the session.
        digest: of the inputs, as they were when the resolution began.
        old: the method's own sections that can be read, by platform: what still fits stays.
        sections: all sections of the lock as it is now, of this command's own making where it has made one.
        upgrade: the packages that may move; None where only those that must, () where all.
        source: another tool's file or environment whose packages are taken, "" where none is given.
        accept: whether to take what was built on this machine.
        say: takes a line of what is going on.

    """

    subject: Subject[Table]
    digest: str
    old: Mapping[str, Locked]
    sections: tuple[Section, ...]
    upgrade: tuple[str, ...] | None
    source: str
    accept: bool
    say: Say


@dataclass(frozen=True, slots=True)
class Plan:
    """How a section becomes an environment on this machine.

    `identity` is all that decides what the build gives, as JSON can hold it; its digest is the store's key. `build` fills the
    target's prefix, checks it, and returns the digests taken meanwhile.
    """

    identity: Mapping[str, object]
    build: Callable[[Target, Say, Progress], Digests]


@dataclass(frozen=True, slots=True)
class ShellParts:
    """What only a shell can take besides the environment: functions and aliases by name, and commands that set limits."""

    functions: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    limits: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Launch:
    """How programs are run in a built environment, the fewest paths that every start compares, and what only a shell can take."""

    environment: Environment
    watched: tuple[str, ...] = ()
    shell: ShellParts = ShellParts()


class Method(Protocol[Table, Locked]):
    """One way to provide an environment. `Table` is its table of the spec, `Locked` its section of the lock, read and checked."""

    name: str
    traits: Traits

    def read_table(self, checker: Checker, value: object) -> Table:
        """Return the method's table of a spec; what is wrong in it is noted in `checker`. Starts and opens nothing."""

    def read_section(self, checker: Checker, section: Section, site: Site) -> Locked:
        """Return a section's content for this machine; what is wrong is noted: the lock may come from a stranger."""

    def inputs(self, subject: Subject[Table]) -> Inputs:
        """Return what a resolution starts from. Raises SpecError for a file that is missing or cannot be taken."""

    def unavailable(self, subject: Subject[Table], locked: Locked | None) -> Reason | None:
        """Return why the method is not available here, or None. With a section only what running needs is asked for."""

    def mismatches(self, subject: Subject[Table], locked: Locked) -> Sequence[str]:
        """Return what a section that claims to answer the spec holds and the spec does not ask for: it was edited."""

    def resolve(self, request: Request[Table, Locked]) -> Sequence[Section]:
        """Return the sections of all platforms, this machine's first. It alone solves, or asks the network for versions."""

    def plan(self, locked: Locked, site: Site) -> Plan:
        """Return what decides a build of the section on this machine, and the build. Raises BuildError."""

    def environment(self, locked: Locked, target: Target) -> Launch:
        """Return how programs run in the environment that was built at the target."""


@runtime_checkable
class Drifts(Protocol):
    """A method whose sections name what the machine has and may lose."""

    def drift(self, locked: Any, site: Site) -> Sequence[str]:
        """Return what the section names and this machine no longer has as it was. Starts nothing."""

    def compare_with_site(self, subject: Subject[Any], locked: Any) -> Sequence[str]:
        """Ask the site's own tools what the section's requests come to now; return what differs. Raises BuildError."""


@runtime_checkable
class Keeps(Protocol):
    """A method whose environments use software of the machine, which their file can hold too."""

    def kept(self, subject: Subject[Any], locked: Any) -> Kept | None:
        """Return what the spec asks to be kept, None for nothing. Looks at nothing of the machine."""

    def without(self, locked: Any, is_kept: Callable[[str], bool]) -> Any:
        """Return a section that names only what the machine itself must still have."""


@runtime_checkable
class Remedies(Protocol):
    """A method with drift that locking again does not accept."""

    def remedy(self, subject: Subject[Any], locked: Any) -> Remedy | None:
        """Return what to do about such drift; None where locking again accepts all of it."""


@runtime_checkable
class FollowsCaller(Protocol):
    """A method that takes something from the caller's files or variables when it locks, and from the lock alone afterwards."""

    def said_otherwise(self, subject: Subject[Any], locked: Any) -> Sequence[str]:
        """Return what it took from there and is different there now: locking again takes it over."""


@runtime_checkable
class Warns(Protocol):
    """A method whose sections may be what was asked for, and not what was meant."""

    def warnings(self, subject: Subject[Any], locked: Any) -> Sequence[str]:
        """Return what a user should know of a section for as long as it is true, each with the line to write."""


@runtime_checkable
class Details(Protocol):
    """A method whose sections say more than versions of packages."""

    def details(self, locked: Any) -> Mapping[str, object]:
        """Return what else `status --json` says of the section, by key."""


@runtime_checkable
class Describes(Protocol):
    """A method that can say which packages its sections and environments have."""

    def versions(self, locked: Any) -> Mapping[str, str]:
        """Return the version of each package that the section names, and Python's own where it is one."""

    def installed(self, target: Target) -> Mapping[str, str]:
        """Return name and version of each package in a built environment, as its files tell."""

    def inside(self, locked: Any, target: Target) -> Inside:
        """Return what programs of a built environment find, as its files tell; nothing is started."""

    def problems(self, locked: Any, target: Target) -> Sequence[str]:
        """Compare a built environment's packages with the section; nothing is started, nothing imported."""


@runtime_checkable
class Foretells(Protocol):
    """A method whose sections name other packages than Python's, or tell as much as an environment does."""

    def foretold(self, locked: Any) -> Inside:
        """Return what programs will find, as far as the section alone tells."""


@runtime_checkable
class ListsComponents(Protocol):
    """A method whose sections can be written as an inventory of software."""

    def components(self, locked: Any) -> Sequence[Component]:
        """Return what the section names, in its order: no path of this machine, and no address that is not in the lock."""


@dataclass(frozen=True, slots=True)
class ExportRequest(Generic[Table, Locked]):
    """A lock to be written in another tool's format: the method's sections by platform, and this machine's key among them."""

    subject: Subject[Table]
    sections: Mapping[str, Locked]
    here: str
    say: Say


@dataclass(frozen=True, slots=True)
class Format:
    """A format of another tool: the method whose sections it holds, and the function that writes it."""

    method: str
    write: Callable[[ExportRequest[Any, Any]], str]


@runtime_checkable
class Exports(Protocol):
    """A method whose sections other tools can read."""

    def formats(self) -> Mapping[str, Callable[[ExportRequest[Any, Any]], str]]:
        """Return the formats by their names, such as `pylock`."""


@dataclass(frozen=True, slots=True)
class ImageRequest(Generic[Table, Locked]):
    """A definition of an image that is asked for.

    Attributes:
        subject: the session.
        locked: the section that the image is made from.
        platform: the section's key in the lock.
        base: the image that it is made on, `docker.io/…` or a file `….sif`; "" for the usual one.
        title: what the definition's comment and messages call the section.
        say: takes a line of what is left out.

    """

    subject: Subject[Table]
    locked: Locked
    platform: str
    base: str
    title: str
    say: Say


@dataclass(frozen=True, slots=True)
class ImageSources:
    """A definition as it is built at a site: this site's addresses, folders that are read meanwhile, pip's configuration."""

    lines: tuple[str, ...]
    folders: tuple[str, ...]
    pip: str


@runtime_checkable
class DefinesImage(Protocol):
    """A method whose sections can be put into an image."""

    def definition(self, request: ImageRequest[Any, Any]) -> Sequence[str]:
        """Return the lines of the definition. Raises BuildError for what no image can have."""

    def unlike_definition(self, request: ImageRequest[Any, Any], lines: Sequence[str]) -> Sequence[str]:
        """Return what a definition installs otherwise than the section that it says it was made from. Asks no index."""

    def usual_base(self, python: str) -> str:
        """Return the image that a definition is made on where the spec names none; `python` is such as `3.12`."""

    def at_site(self, lines: Sequence[str], site: Site) -> ImageSources:
        """Return a definition of this method's with what it takes to build it here: public addresses become this site's."""


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What is known of a built image: its file, its sha256, what reads it, and the seconds that it took, 0 if not measured."""

    path: Path
    sha256: str
    mount: str
    seconds: float


@runtime_checkable
class BuildsImage(Protocol):
    """A method whose environments are image files."""

    def image_facts(self, target: Target) -> ImageFacts:
        """Return what was noted when the image at the target was built. Raises StoreError where it is gone or damaged."""


@runtime_checkable
class Derives(Protocol):
    """A method whose sections may be made from another method's of the same lock."""

    def sources(self, table: Any) -> Sequence[str]:
        """Return the names of the methods that must be locked before this one."""

    def origin(self, locked: Any) -> Origin | None:
        """Return the section that this one was made from, or None."""


@runtime_checkable
class NamesPackages(Protocol):
    """A method whose table of the spec names packages."""

    def package_list(self, table: Any) -> PackageList | Reason:
        """Return where its packages are named, or why none can be added there."""


AnyMethod = Method[Any, Any]
