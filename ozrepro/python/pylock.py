"""A pylock.toml (PEP 751) that `lock --from` is given: the versions and files that a resolution must come to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from ozrepro.errors import BuildError, SpecError
from ozrepro.project import sources
from ozrepro.project.checking import MOST, shown
from ozrepro.project.gitaddress import Commit
from ozrepro.project.requirement import is_decidable
from ozrepro.project.toml import TOMLDecodeError, loads
from ozrepro.python.requirement_hashes import Hashed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ozrepro.python.resolve import Resolved, Wanted

_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Pins:
    """What a file names, none where `source` is "". `unpinned` are the packages that it takes from a folder or repository.

    `commits` are the addresses of those that are from a commit of a repository.
    """

    source: str = ""
    pinned: tuple[Hashed, ...] = ()
    unpinned: tuple[str, ...] = ()
    commits: frozenset[str] = frozenset()

    def limit(self, wanted: Wanted) -> Wanted:
        """Return what is wanted, held to the versions and hashes of the file, but for what the environment finds outside."""
        held = [item for item in self.pinned if item.requirement.name not in wanted.outside or self._overrides(item, wanted)]
        lines = [str(item.requirement) for item in held if item.requirement.specifier]
        key = "constraint-dependencies"
        limits = {**wanted.limits, key: [*wanted.limits.get(key, ()), *lines]} if lines else wanted.limits
        return replace(wanted, hashed=(*wanted.hashed, *held), limits=limits)

    def _overrides(self, item: Hashed, wanted: Wanted) -> bool:
        return item.requirement.name in wanted.overridden

    def check(self, resolved: Resolved, wanted: Wanted, say: Callable[[str], None]) -> None:
        """Say what of the file is not taken. Raises BuildError where something is needed that it does not name."""
        if not self.source:
            return
        named = {item.requirement.name for item in self.pinned} | set(self.unpinned)
        more = [
            f"{item.name} {item.version} is needed too, and is not named there"
            for item in resolved.packages
            if item.name not in named
        ]
        if more:
            hint = (
                "export it for the same requirements, platforms and Pythons; ozrepro lock without --from takes what there is now"
            )
            raise BuildError(f"{self.source} does not name all packages:", problems=more, hint=hint)
        local = {item.name for item in resolved.local}
        locked = {item.name for item in resolved.packages}
        same = {item.name for item in resolved.packages if item.url in self.commits}
        outside = [f"{name} {wanted.outside[name].version}" for name in sorted(named & wanted.outside.keys() - locked)]
        for names, why in (
            (outside, "the environment below has"),
            (sorted(named - locked - local - wanted.outside.keys()), "nothing here needs"),
            (sorted((set(self.unpinned) & locked) - same), "it takes from a folder or repository"),
        ):
            if names:
                several = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
                say(f"not taken over from {self.source}: {several}, which {why}")


def read_pins(source: str) -> Pins:
    """Return what the pylock.toml at a path names; nothing for "". Raises SpecError with every mistake, UsageError."""
    if not source:
        return Pins()
    try:
        table = loads(sources.read(source))
    except TOMLDecodeError as error:
        raise SpecError(source, [f"is not valid TOML: {error}"]) from error
    entries = table.get("packages")
    mistakes: list[str] = []
    pinned: list[Hashed] = []
    unpinned: list[str] = []
    commits: set[str] = set()
    if not str(table.get("lock-version", "")).startswith("1."):
        mistakes.append(f"lock-version: {shown(table.get('lock-version'))} is not known: version 1 is read")
    for number, entry in enumerate(entries if isinstance(entries, list) else []):
        try:
            _read(entry, source, pinned, unpinned)
            commits.update(_commit(entry))
        except ValueError as error:
            mistakes.append(f"packages[{number}]: {error}")
    if not (pinned or unpinned or mistakes):
        mistakes.append("names no packages")
    if mistakes:
        raise SpecError(source, [*mistakes[:MOST], *(["… and more"] if len(mistakes) > MOST else [])])
    return Pins(source, tuple(pinned), tuple(unpinned), frozenset(commits))


def _read(entry: Any, source: str, pinned: list[Hashed], unpinned: list[str]) -> None:
    """Add what one entry names. Raises ValueError saying what is wrong with it."""
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise ValueError("has no name")  # noqa: TRY004  # of a file, as all the others
    name, version, marker = canonicalize_name(entry["name"]), entry.get("version", ""), entry.get("marker", "")
    if "vcs" in entry or "directory" in entry:
        unpinned.append(name)
        return
    version = f"=={version}" if version and "archive" not in entry else ""
    try:
        requirement = Requirement(f"{name}{version}" + (f" ; {marker}" if marker else ""))
    except InvalidRequirement as error:
        raise ValueError(f"{shown(entry['name'])} has a name, version or marker that cannot be read: {error}") from error
    if requirement.marker is not None and not is_decidable(requirement.marker):
        raise ValueError(f"{name} has a marker of extras or groups: export the file for those that are wanted")
    digests = [_digest(item) for item in _files(entry)]
    if not digests or not all(digests):
        raise ValueError(f"{name} has {'a file without a sha256' if digests else 'no files'}, so nothing can be compared")
    pinned.append(Hashed(f"{source}, {name}", requirement, frozenset(digests)))


def _commit(entry: Mapping[str, Any]) -> Iterator[str]:
    """Yield the address of the commit that an entry is from (PEP 751, `packages.vcs`)."""
    vcs = entry.get("vcs")
    if isinstance(vcs, dict) and vcs.get("type") == "git":
        yield Commit(str(vcs.get("url", "")), str(vcs.get("commit-id", "")), str(vcs.get("subdirectory", ""))).address


def _files(entry: Mapping[str, Any]) -> Iterator[Any]:
    wheels = entry.get("wheels")
    yield from wheels if isinstance(wheels, list) else ()
    for key in ("sdist", "archive"):
        if key in entry:
            yield entry[key]


def _digest(item: Any) -> str:
    hashes = item.get("hashes") if isinstance(item, dict) else None
    sha256 = hashes.get("sha256") if isinstance(hashes, dict) else None
    return sha256.lower() if isinstance(sha256, str) else ""
