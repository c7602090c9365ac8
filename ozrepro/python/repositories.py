"""Packages from a commit of a git repository: built once, when they are locked, into a wheel that the lock has the digest of.

uv would build them in each resolution, with whatever the index offers that day. It is given the wheel in the repository's place.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.utils import canonicalize_name, parse_wheel_filename

from ozrepro.errors import BuildError
from ozrepro.project.gitaddress import commits_in, read_commit
from ozrepro.python import compiled, gitclone
from ozrepro.python.entries import Built
from ozrepro.python.local import requirements_of
from ozrepro.store import cache_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ozrepro.project.gitaddress import Commit
    from ozrepro.python.install import Chosen
    from ozrepro.python.interpreter import Interpreter
    from ozrepro.python.layer import LockedLayer
    from ozrepro.python.local import Project
    from ozrepro.python.packages import LockedPackage
    from ozrepro.python.resolve import Wanted
    from ozrepro.python.uv import Uv
    from ozrepro.site import Site

_NEEDS = "needs.json"
"""The file beside a wheel with the locked packages that it was built with, as requirements."""


@dataclass(frozen=True, slots=True)
class Workshop:
    """Where wheels are built: the site, the variables that compilers get, and what else decides them, such as modules."""

    uv: Uv
    site: Site
    say: Callable[[str], None]
    variables: Mapping[str, str] = field(default_factory=dict)
    decides: Mapping[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Where the wheels are kept: beside those that are compiled. Raises StoreError."""
        return cache_of(self.site.settings, "compiled")

    def key(self, commit: Commit, sha256: str) -> str:
        """Return the name of the folder of the wheel that a lock names."""
        return compiled.key({"commit": commit.address, "sha256": sha256, **self.decides})

    def seen_by_git(self) -> dict[str, str]:
        """Return the variables of a build: backends that take the version from git find it."""
        path = self.variables.get("PATH") or self.uv.variables["PATH"]
        return {**self.variables, "PATH": f"{path}:{gitclone.folder_of_git(self.site)}"}


def with_wheels(
    wanted: Wanted, shop: Workshop, interpreter: Interpreter, previous: LockedLayer | None, upgrade: tuple[str, ...] | None
) -> Wanted:
    """Return what is wanted with a wheel in the place of each commit, built now unless the lock's is kept.

    Raises BuildError, CommandFailed: where there is no git, no network, no such commit, and what the build says.
    """
    commits = _commits(wanted)
    if not commits:
        return wanted
    built = _kept(commits, shop, previous) if upgrade is None else ()
    built = built or _build_all(commits, wanted, shop, interpreter, previous, upgrade)
    places = {item.commit.address: item.uri for item in built}
    texts = {name: _replaced(text, places) for name, text in wanted.texts.items()}
    limits = {key: [_replaced(str(item), places) for item in value] for key, value in wanted.limits.items()}
    return replace(
        wanted,
        requirements=tuple(_replaced(text, places) for text in wanted.requirements),
        texts={_replaced(name, places): text for name, text in texts.items()},
        limits=limits,
        projects=tuple(_placed(project, places) for project in wanted.projects),
        built=built,
    )


def _commits(wanted: Wanted) -> tuple[Commit, ...]:
    limits = (str(item) for key, value in wanted.limits.items() for item in value if key != "build-constraint-dependencies")
    texts = [*wanted.requirements, *wanted.texts.values(), *limits]
    for project in wanted.projects:
        wants = [item for item in requirements_of(project.metadata) if project.wants(item)]
        texts += [project.addresses.get(canonicalize_name(item.name), item.url or "") for item in wants]
    return tuple(dict.fromkeys(commit for text in texts for commit in commits_in(text)))


def _replaced(text: str, places: Mapping[str, str]) -> str:
    for commit in sorted(commits_in(text), key=lambda item: -len(item.address)):
        text = text.replace(commit.address, places.get(commit.address, commit.address))
    return text


def _placed(project: Project, places: Mapping[str, str]) -> Project:
    addresses = {name: places.get(address, address) for name, address in project.addresses.items()}
    requires = tuple(_replaced(text, places) for text in project.metadata.requires)
    return replace(project, addresses=addresses, metadata=replace(project.metadata, requires=requires))


def _kept(commits: Sequence[Commit], shop: Workshop, previous: LockedLayer | None) -> tuple[Built, ...]:
    """Return the wheels that the lock names, if all are kept here with what they were built with, and that is still locked."""
    locked = {item.url: item.files[0] for item in previous.packages if item.commit} if previous else {}
    pinned = {line for item in previous.build for line in _pins((item,))} if previous else set()
    found: list[Built] = []
    for commit in commits:
        file = locked.get(commit.address)
        if file is None:
            return ()
        key = shop.key(commit, file.sha256)
        with suppress(OSError, ValueError, RecursionError):
            needs = json.loads((shop.folder / key / _NEEDS).read_text(encoding="utf-8"))
            if compiled.compiled(shop.folder, key) == file and isinstance(needs, list) and pinned.issuperset(map(str, needs)):
                found.append(Built(commit, file, shop.folder / key, tuple(map(str, needs))))
                continue
        return ()
    return tuple(found)


def _build_all(
    commits: Sequence[Commit],
    wanted: Wanted,
    shop: Workshop,
    interpreter: Interpreter,
    previous: LockedLayer | None,
    upgrade: tuple[str, ...] | None,
) -> tuple[Built, ...]:
    """Fetch all, lock what builds them together, and build each."""
    from ozrepro.python import backend
    from ozrepro.python.resolve import resolve

    limits = tuple(map(str, wanted.limits.get("build-constraint-dependencies", ())))
    variables = shop.seen_by_git()
    with tempfile.TemporaryDirectory(prefix="ozrepro-") as name:
        trees: list[Path] = []
        needed: list[str] = []
        for number, commit in enumerate(commits):
            shop.say(f"fetching {commit.repository} at {commit.commit[:12]}")
            trees.append(gitclone.clone(commit, Path(name) / str(number), shop.site, shop.uv))
            asked = Path(name) / f"asked-{number}" / trees[-1].name  # backends leave files behind when they are asked
            shutil.copytree(trees[-1], asked, symlinks=True)
            with backend.opened(shop.uv, asked / commit.folder, interpreter, variables, limits) as own:
                needed += backend.build_requirements(own, editable=False)
        tools = replace(
            wanted,
            requirements=tuple(dict.fromkeys(needed)),
            build=(),
            outside={},
            hashed=(),
            texts={},
            projects=(),
            limits={"constraint-dependencies": [*limits]} if limits else {},
        )
        build = resolve(shop.uv, tools, interpreter, previous.build if previous else (), upgrade).packages
        made = []
        for commit, tree in zip(commits, trees, strict=True):
            shop.say(f"building {tree.name} at {commit.commit[:12]}")
            made.append(_build(commit, tree / commit.folder, shop, interpreter, build))
        return tuple(made)


def _build(commit: Commit, tree: Path, shop: Workshop, interpreter: Interpreter, build: Sequence[LockedPackage]) -> Built:
    """Build a wheel, and publish it under the key that has its own digest in it."""
    needs = _pins(build)
    variables = shop.seen_by_git()
    file = compiled.build_and_keep(
        shop.uv, tree, interpreter, build, variables, shop.folder, lambda made: shop.key(commit, made.sha256)
    )
    place = shop.folder / shop.key(commit, file.sha256)
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=place, prefix=".", delete=False) as note:
        note.write(json.dumps(list(needs)))
    os.replace(note.name, place / _NEEDS)
    return Built(commit, file, place, needs)


def _pins(packages: Iterable[LockedPackage]) -> tuple[str, ...]:
    return tuple(f"{item.name}=={item.version}" + (f" ; {item.marker}" if item.marker else "") for item in packages)


def provided(
    chosen: Sequence[Chosen], shop: Workshop, interpreter: Interpreter, build: Sequence[LockedPackage]
) -> tuple[Chosen, ...]:
    """Return what is installed, the wheels of commits with where they are: as locked and kept here, else built again.

    `build` are the only packages that building may use. Raises BuildError, CommandFailed.
    """
    return tuple(_provided(item, shop, interpreter, build) for item in chosen)


def _provided(item: Chosen, shop: Workshop, interpreter: Interpreter, build: Sequence[LockedPackage]) -> Chosen:
    package, commit = item.package, read_commit(item.package.url)
    if commit is None:
        return item
    key = shop.key(commit, item.file.sha256)
    file = compiled.compiled(shop.folder, key)
    if file is None:
        shop.say(f"building {package.name} {package.version} from {commit.repository} at {commit.commit[:12]}")
        with tempfile.TemporaryDirectory(prefix="ozrepro-") as name:
            tree = gitclone.clone(commit, Path(name), shop.site, shop.uv) / commit.folder
            file = compiled.build_and_keep(shop.uv, tree, interpreter, build, shop.seen_by_git(), shop.folder, lambda _: key)
    named = parse_wheel_filename(file.name)
    if (named[0], str(named[1])) != (package.name, package.version):
        raise BuildError(
            f"the commit gives {named[0]} {named[1]} now, locked is {package.name} {package.version}",
            where=package.url,
            hint="its version comes from tags, and one was moved; ozrepro lock --upgrade takes it over",
        )
    if file.sha256 != item.file.sha256:
        shop.say(f"{package.name} {package.version} was built again: its wheel is not byte for byte the one that was locked")
    return replace(item, file=file, folder=shop.folder / key)
