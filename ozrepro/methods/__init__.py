"""The methods: one file each, behind one contract, and the rules by which one is chosen.

Called by the workflow. A method knows nothing of nox, of printing, or of other methods.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

from ozrepro.errors import NoMethodError, UsageError
from ozrepro.methods import registry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from ozrepro.environment import Environment
    from ozrepro.methods.comparing import Inside
    from ozrepro.project.lock import Lock, Section
    from ozrepro.project.spec import Spec
    from ozrepro.site import Site
    from ozrepro.store.manifest import Digests

    Say = Callable[[str], None]
    Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Change:
    """How to lock again: the lock as it is now, and which packages may move (None: only those that must; empty: all).

    `sections` are the lock's, of all methods and platforms, with those that this command has made already. `source` names another
    tool's file or environment whose packages are taken, "" where none is given. `accept` takes what was built on this machine.
    """

    sections: tuple[Section, ...] = ()
    upgrade: tuple[str, ...] | None = None
    source: str = ""
    accept: bool = False

    def section(self, method: str, platform: str) -> Section | None:
        """Return the section whose packages stay where they still fit, or None."""
        return next((item for item in self.sections if (item.method, item.platform) == (method, platform)), None)


class Method(Protocol):
    """One way to provide an environment."""

    def platform(self, site: Site) -> str:
        """Return the key under which this machine's section stands in the lock."""

    def digest(self, spec: Spec, site: Site) -> str:
        """Return the digest of all that a resolution of this method starts from."""

    def inputs(self, spec: Spec) -> list[Path]:
        """Return the files beside the spec that the digest covers."""

    def large(self, spec: Spec) -> list[str]:
        """Return what else the digest covers, by its path from the project: no start compares it, as that would take too long."""

    def check(self, section: Section, where: str, session: str) -> None:
        """Raise LockError, with all mistakes, where a section's content cannot be read: it may come from a stranger."""

    def unavailable(self, spec: Spec, site: Site, section: Section | None) -> str | None:
        """Return why the method cannot serve here, or None. With a section only what running needs is asked for."""

    def resolve(self, spec: Spec, site: Site, change: Change, say: Say) -> Sequence[Section]:
        """Return exact versions and digests, this machine's section first, others where a method can resolve for them too.

        The only verb that solves or asks the network for versions.
        """

    def drift(self, section: Section, site: Site) -> list[str]:
        """Return what the lock names and this machine no longer has as it was, one line each."""

    def mend(self, section: Section, spec: Spec, site: Site) -> str:
        """Return what to do about drift that locking again does not accept, "" where it does or there is none."""

    def recheck(self, section: Section, spec: Spec, site: Site) -> list[str]:
        """Ask the site's own tools what the section's requests come to now; return what differs, one line each.

        Raises BuildError where they are not here.
        """

    def saved_otherwise(self, section: Section, spec: Spec, site: Site) -> list[str]:
        """Return what only locking takes from the caller's own files and is another there now, one line each."""

    def watched(self, section: Section, site: Site, prefix: Path) -> list[str]:
        """Return the paths whose size and time of change every start compares, the fewest that tell."""

    def identity(self, section: Section, site: Site) -> Mapping[str, Any]:
        """Return all that decides what a build of the section gives on this machine; its digest is the store's key."""

    def build(self, section: Section, site: Site, prefix: Path, say: Say, progress: Progress) -> Digests:
        """Make the environment at `prefix` from the lock, check it, and return the digests taken meanwhile."""

    def environment(self, section: Section, site: Site, prefix: Path) -> Environment:
        """Return how to run a program in the environment built at `prefix`."""

    def shell(self, section: Section, site: Site) -> Mapping[str, Any]:
        """Return what only a shell can take besides the environment: `functions` and `aliases` by name, `limits`; or nothing."""

    def versions(self, section: Section) -> dict[str, str]:
        """Return the version of each package that the section names, and Python's own where it is one, from the lock alone."""

    def contents(self, prefix: Path) -> dict[str, str]:
        """Return name and version of each package inside."""

    def inside(self, section: Section, site: Site, prefix: Path) -> Inside:
        """Return what programs of a built environment find, as its files tell; nothing is started."""

    def problems(self, section: Section, site: Site, prefix: Path) -> list[str]:
        """Check the packages inside a built environment against the lock; return what is wrong, one line each.

        Nothing that a lock names is started, nothing is imported, and none of a lock's variables is set for anybody.
        """


@dataclass(frozen=True, slots=True)
class Choice:
    """The chosen method, its section if there is a lock, and one line for each method that was refused before it."""

    name: str
    section: Section | None
    refused: tuple[str, ...]


def load_method(name: str) -> Method:
    """Return the method of a name. Raises UsageError as `registry.load`."""
    return cast("Method", registry.load(name))


def refusal(name: str, spec: Spec, site: Site, lock: Lock | None) -> str | None:
    """Return why a method cannot serve the session here, or None."""
    method = load_method(name)
    section = None
    if lock is not None:
        section = lock.section(name, method.platform(site))
        if section is None:
            return f"not locked here ({method.platform(site)})"
    return method.unavailable(spec, site, section)


def candidates(spec: Spec, site: Site) -> tuple[str, ...]:
    """Return the methods to try, in order. Raises UsageError when the one asked for is not described."""
    asked = site.settings.method
    if asked is None:
        return spec.candidates(site.settings.methods)
    if asked not in spec.tables:
        described = ", ".join(spec.tables)
        raise UsageError(
            f"session {spec.name!r} describes no method {asked!r}", where=str(spec.path), hint=f"one of: {described}"
        )
    return (asked,)


def choose(spec: Spec, site: Site, lock: Lock | None) -> Choice:
    """Return the first method that can serve. Raises NoMethodError with every reason, UsageError as `candidates`."""
    refused: list[str] = []
    for name in candidates(spec, site):
        reason = refusal(name, spec, site, lock)
        if reason is None:
            section = lock.section(name, load_method(name).platform(site)) if lock is not None else None
            return Choice(name, section, tuple(refused))
        refused.append(f"{name}: {reason}")
    hint = f"ozrepro lock {spec.name}" if any("not locked" in line for line in refused) else f"ozrepro status {spec.name}"
    raise NoMethodError(spec.name, refused, hint=hint)
