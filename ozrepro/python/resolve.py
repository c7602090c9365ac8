"""Finds exact versions and files for requirements: one call of uv, universal over the Python range and the platforms.

uv's PEP 751 output has what a lock needs and more: address, size and sha256 of every file. Only names, sizes and hashes are kept.
"""

from __future__ import annotations

import os
import re
import shlex
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.specifiers import SpecifierSet

from ozrepro.errors import BuildError, CommandFailed
from ozrepro.project.requirement import file_in, group_in, local_project, option_in
from ozrepro.project.toml import dumps, loads
from ozrepro.python import installed as base
from ozrepro.python import local, requirement_hashes
from ozrepro.python.advice import about_python
from ozrepro.python.entries import packages_of, with_addresses
from ozrepro.python.interpreter import markers_of, minors_of, takes
from ozrepro.python.markers import shorten
from ozrepro.python.packages import LockedPackage, distribution_of, sorted_packages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from ozrepro.python.entries import Built
    from ozrepro.python.installed import Distribution
    from ozrepro.python.interpreter import Interpreter
    from ozrepro.python.local import Project
    from ozrepro.python.packages import LockedProject
    from ozrepro.python.requirement_hashes import Hashed
    from ozrepro.python.uv import Uv

_OF_A_FILE = re.compile(r" @ file://[^`]*")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be resolved.

    `root` is the project, which `-r`, `-c` and `-e .` are relative to; `build` names packages that are compiled from their sdist;
    `python` is the range; `platforms` are those the result must serve; `here` is the one that it must serve in any case.
    `outside` are the distributions that the environment finds outside itself: their versions are kept, but of those `overridden`,
    and none of them is in the result. `hashed` are the requirements that name hashes: of these packages no other files are taken.
    `owner` is whose Python it is where no key of the spec sets it, such as `the modules`. `texts` are the requirement files as
    they were read, by their path in the project: uv is handed these, not what is on disk by then. `projects` are the local ones,
    with the requirements of which `limits` go, as keys of `[tool.uv]`. `built` are the wheels named in the place of commits.
    """

    root: Path
    requirements: tuple[str, ...]
    python: str
    platforms: tuple[str, ...]
    here: str
    build: tuple[str, ...] = ()
    outside: Mapping[str, Distribution] = field(default_factory=dict)
    overridden: frozenset[str] = frozenset()
    hashed: tuple[Hashed, ...] = ()
    owner: str = ""
    texts: Mapping[str, str] = field(default_factory=dict)
    projects: tuple[Project, ...] = ()
    limits: Mapping[str, Any] = field(default_factory=dict)
    built: tuple[Built, ...] = ()


@dataclass(frozen=True, slots=True)
class Resolved:
    """What was found: packages, where their files came from (not for the lock), and which Pythons the files cover."""

    packages: tuple[LockedPackage, ...]
    platforms: tuple[str, ...]
    sources: Mapping[str, str]
    covers: Mapping[str, tuple[str, ...]]
    gaps: Mapping[str, tuple[str, ...]]
    """Platform and minor, such as `linux-aarch64 3.12`, to the packages that have no file for it."""

    local: tuple[LockedProject, ...] = ()
    """The local projects that are needed."""


def resolve(
    uv: Uv,
    wanted: Wanted,
    interpreter: Interpreter,
    previous: Sequence[LockedPackage],
    upgrade: Iterable[str] | None,
    say: Callable[[str], None] | None = None,
) -> Resolved:
    """Return exact packages for what is wanted, keeping `previous` versions where they still fit.

    `upgrade` None keeps all, an empty iterable upgrades all, names upgrade these. `say` is told uv's warnings.
    Raises CommandFailed with uv's explanation when nothing fits, BuildError for a source that a lock may not hold.
    """
    if not wanted.requirements and not wanted.projects:
        return Resolved((), wanted.platforms, {}, {item: minors_of(wanted.python) for item in wanted.platforms}, {})
    upgraded = None if upgrade is None else tuple(upgrade)
    narrow = replace(wanted, platforms=tuple(item for item in wanted.platforms if item == wanted.here) or wanted.platforms)
    if uv.indexes.no_index:
        wanted = narrow  # a wheelhouse is filled for one machine; what it really covers is worked out below
    try:
        return _resolve(uv, wanted, interpreter, previous, upgraded, say)
    except CommandFailed as error:
        # uv wants wheels for each system named; a package for Linux alone must not make the lock impossible.
        system = wanted.here.partition("-")[0]
        rest = tuple(platform for platform in wanted.platforms if platform.startswith(f"{system}-"))
        if "not the current one" not in error.what or rest in ((), wanted.platforms):
            raise
        return _resolve(uv, replace(wanted, platforms=rest), interpreter, previous, upgraded, say)


def _resolve(
    uv: Uv,
    wanted: Wanted,
    interpreter: Interpreter,
    previous: Sequence[LockedPackage],
    upgraded: tuple[str, ...] | None,
    say: Callable[[str], None] | None,
) -> Resolved:
    with workspace(wanted) as folder:
        output = folder / "pylock.found.toml"
        if previous and upgraded != ():
            output.write_text(_preferences(previous), encoding="utf-8")
        upgrades = [word for name in upgraded or () for word in ("--upgrade-package", name)]
        outside = _outside_flags(wanted, folder, interpreter.markers)
        more = [*upgrades, *outside, "-o", str(output)]
        compile_lines(uv, folder, wanted, interpreter, "\n".join(_lines(wanted, folder)), more, say)
        entries = loads(output.read_text(encoding="utf-8")).get("packages", [])
    names = {project.metadata.name for project in wanted.projects}
    packages, sources = packages_of((entry for entry in entries if entry["name"] not in names), wanted)
    packages = _with_indexes(uv, wanted, interpreter, packages, sources)
    local.check_indexes(uv.indexes, wanted.root, wanted.projects, packages)
    minors = minors_of(wanted.python)
    kept = _narrowed(packages, wanted)
    if wanted.hashed:
        named = _narrowed([requirement_hashes.allowed(package, wanted.hashed) for package in packages], wanted)
        _refuse_unnamed(kept, named, wanted, interpreter.minor)
        kept = named
    gaps = {
        f"{platform} {minor}": gap for platform in wanted.platforms for minor in minors if (gap := _gap(kept, platform, minor))
    }
    covers = {p: tuple(m for m in minors if f"{p} {m}" not in gaps) for p in wanted.platforms}
    projects = local.needed(entries, wanted.projects, lambda item: narrowed(item, wanted))
    local.check_complete(
        wanted.requirements, wanted.projects, {*wanted.outside, *(item.name for item in kept), *(item.name for item in projects)}
    )
    return Resolved(kept, wanted.platforms, sources, covers, gaps, projects)


def _narrowed(packages: Iterable[LockedPackage], wanted: Wanted) -> tuple[LockedPackage, ...]:
    return sorted_packages([item for package in packages if (item := narrowed(package, wanted)) is not None])


def _refuse_unnamed(found: Sequence[LockedPackage], named: Sequence[LockedPackage], wanted: Wanted, minor: str) -> None:
    """Raise BuildError for a package that has files, for this machine's Python too, and none whose hash is named."""
    here = f"{wanted.here} {minor}" if wanted.here in wanted.platforms else ""
    lacking = set(_gap(named, wanted.here, minor)).difference(_gap(found, wanted.here, minor)) if here else set()
    for before, after in zip(found, named, strict=True):
        if before.files and not after.files:
            raise requirement_hashes.refused(before, wanted.hashed, "")
        if before.name in lacking and before.files != after.files:
            raise requirement_hashes.refused(before, wanted.hashed, here)


@contextmanager
def workspace(wanted: Wanted) -> Iterator[Path]:
    """Give a folder for one resolution: uv takes the limits of a universal resolution only from a pyproject.toml."""
    limits = [marker for platform in wanted.platforms if (marker := _limit(platform, wanted.python))]
    table: dict[str, Any] = {**wanted.limits, "environments": list(dict.fromkeys(limits))}
    if wanted.here in wanted.platforms and not wanted.build:
        table["required-environments"] = [_limit(wanted.here, "", machine=True)]
    with tempfile.TemporaryDirectory(prefix="ozrepro-") as name:
        folder = Path(os.path.realpath(name))
        (folder / "pyproject.toml").write_text(dumps({"tool": {"uv": table}}), encoding="utf-8")
        yield folder


def _limit(platform: str, python: str, *, machine: bool = False) -> str:
    system, _, arch = platform.partition("-")
    parts = [f"sys_platform == '{'darwin' if system == 'macos' else 'linux'}'"]
    if machine:
        parts.append(f"platform_machine == '{arch}'")
    parts += [
        f"python_full_version {item.operator} '{item.version}'"
        for item in sorted(SpecifierSet(python), key=str)
        if item.operator in ("<", "<=") or (item.operator in ("!=", "==") and not item.version.endswith(".*"))
    ]
    return " and ".join(parts)


def compile_lines(
    uv: Uv,
    folder: Path,
    wanted: Wanted,
    interpreter: Interpreter,
    lines: str,
    more: Sequence[str],
    say: Callable[[str], None] | None = None,
) -> str:
    """Run `uv pip compile` over requirements and return what it printed; `say` is told its warnings. Raises CommandFailed."""
    floor = (minors_of(wanted.python) or ("3.10",))[0]
    wheels_only = ["--only-binary", ":all:", *(word for name in wanted.build for word in ("--no-binary", name))]
    arguments = [
        "pip",
        "compile",
        *([] if say else ["--quiet"]),
        "--universal",
        "--no-header",
        "--no-annotate",
        "--python",
        interpreter.path,
    ]
    try:
        done = uv.run(
            [*arguments, "--python-version", floor, *wheels_only, *uv.indexes.flags(), *more, "-"],
            doing="cannot find versions that fit",
            text=lines + "\n",
            cwd=folder,
            # The one call that needs a configuration: that of its own folder.
            variables={"XDG_CONFIG_HOME": str(folder), "UV_NO_CONFIG": "0"},
        )
    except CommandFailed as error:
        raise about_python(with_addresses(error, wanted.built), wanted.python, wanted.owner) from error
    for line in done.errors.splitlines():
        if say is not None and line.startswith("warning: "):
            say(_OF_A_FILE.sub("", line))  # the folder of the stubs is gone when this is read
    return done.output


def _lines(wanted: Wanted, folder: Path) -> list[str]:
    lines: list[str] = []
    for name in (name for name in wanted.texts if not group_in(name)):
        copy = folder / "project" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(wanted.texts[name], encoding="utf-8")
    for text in wanted.requirements:
        if local_project(text) is not None:
            if not wanted.projects:
                raise BuildError(f"{text}: this method installs no local project", hint="use the method venv, modules or conda")
            continue  # their own lines come last
        if file := file_in(text):
            # uv reads requirement files as pip does: a path with a space is quoted for it.
            lines.append(f"{option_in(text)[0]} {shlex.quote(str(folder / 'project' / file))}")
        else:
            lines.append(wanted.texts[text] if group_in(text) else text)
    return [*lines, *local.write_stubs(folder / "local", wanted.projects)]


def _outside_flags(wanted: Wanted, folder: Path, markers: Mapping[str, str]) -> list[str]:
    """Return uv's arguments that hold it to the versions outside the environment and keep these out of the result.

    They are given as empty wheels: no index may have a toolchain's version, and none may be asked offline.
    """
    kept = {name: item for name, item in wanted.outside.items() if name not in wanted.overridden}
    if not kept:
        return []
    stubs, limits = folder / "outside", folder / "outside.txt"
    base.stub_wheels(base.tolerant(kept, markers), stubs)
    limits.write_text(base.constraints(kept, (), stubs), encoding="utf-8")
    return ["-c", str(limits), *(word for name in kept for word in ("--no-emit-package", name))]


def _preferences(previous: Sequence[LockedPackage]) -> str:
    """Return a PEP 751 file that names versions only: uv keeps the versions of an output file that already exists."""
    entries: list[dict[str, Any]] = []
    for package in previous:
        if not package.url:
            marker = {"marker": package.marker} if package.marker else {}
            entries.append({"name": package.name, "version": package.version, **marker})
    return dumps({"lock-version": "1.0", "created-by": "ozrepro", "packages": entries})


def _with_indexes(
    uv: Uv, wanted: Wanted, interpreter: Interpreter, packages: list[LockedPackage], sources: Mapping[str, str]
) -> list[LockedPackage]:
    """Name each package's index: asked from uv only where there is more than one, since its PEP 751 output does not say."""
    pairs = uv.indexes.pairs
    if uv.indexes.no_index or not pairs:
        return packages
    # What a folder of files offers has no web address, so that the one index has all the others.
    fetched = all(source.startswith(("https://", "http://")) for source in sources.values())
    if len(pairs) == 1 and (not uv.indexes.find_links or (fetched and uv.indexes.links_are_local())):
        name = uv.indexes.name_of(pairs[0][1])
        return [package if package.url else replace(package, index=name) for package in packages]
    pins = [
        f"{package.name}=={package.version}" + (f" ; {package.marker}" if package.marker else "")
        for package in packages
        if not package.url
    ]
    plain = replace(wanted, requirements=(), projects=(), limits={})
    with workspace(plain) as folder:
        output = compile_lines(uv, folder, plain, interpreter, "\n".join(pins), ["--no-deps", "--emit-index-annotation"])
    found: dict[tuple[str, str], str] = {}
    pin: tuple[str, str] | None = None
    for line in output.splitlines():
        if "==" in line and not line.startswith((" ", "#")):
            name, _, rest = line.partition("==")
            pin = (name.strip(), rest.split(";")[0].strip().rstrip("\\").strip())
        elif "# from " in line and pin is not None:
            found[pin] = uv.indexes.name_of(line.partition("# from ")[2].strip())
    return [
        package if package.url else replace(package, index=found.get((package.name, package.version), "")) for package in packages
    ]


def narrowed(package: LockedPackage, wanted: Wanted) -> LockedPackage | None:
    """Keep the files that some platform and Python of the lock can take, and the marker only where it decides something."""
    minors = minors_of(wanted.python)
    needed = [
        (platform, minor, package.applies(environment))
        for platform in wanted.platforms
        for minor in minors
        for environment in markers_of(platform, minor)
    ]
    if not any(applies for _, _, applies in needed):
        return None
    marker = shorten(package.marker, [environment for p in wanted.platforms for m in minors for environment in markers_of(p, m)])
    served = dict.fromkeys((platform, minor) for platform, minor, applies in needed if applies)
    files = tuple(file for file in package.files if not file.is_wheel or any(takes(*pair, file.tags()) for pair in served))
    return replace(package, marker=marker, files=files)


def _gap(packages: Iterable[LockedPackage], platform: str, minor: str) -> tuple[str, ...]:
    lacking: list[str] = []
    environments = markers_of(platform, minor)
    alternatives: dict[str, bool] = {}
    for package in packages:
        if any(package.applies(environment) for environment in environments):
            fits = any(not file.is_wheel or takes(platform, minor, file.tags()) for file in package.files)
            alternatives[package.name] = alternatives.get(package.name, True) and fits
    lacking += sorted(name for name, fits in alternatives.items() if not fits)
    return tuple(lacking)


def check_files(packages: Iterable[LockedPackage]) -> list[str]:
    """Return a line for each package whose files a lock cannot take: none at all, or not named after it."""
    return [
        f"{package.name} {package.version} has no file for the platforms of this lock"
        for package in packages
        if not package.files or any(distribution_of(file.name) != package.name for file in package.files)
    ]
