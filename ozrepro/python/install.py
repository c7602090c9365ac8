"""Installs locked packages into an environment with uv, each file by its hash, and checks what came of it."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from ozrepro import process
from ozrepro.errors import BuildError
from ozrepro.python import bytecode, contents, linked
from ozrepro.python import installed as base
from ozrepro.python.build_hashes import constraints
from ozrepro.store import manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from ozrepro.python.interpreter import Interpreter
    from ozrepro.python.packages import LockedFile, LockedPackage
    from ozrepro.python.uv import Progress, Uv


@dataclass(frozen=True, slots=True)
class Chosen:
    """The one file of a locked package that this interpreter takes; `folder` has it where it was built on this machine."""

    package: LockedPackage
    file: LockedFile
    folder: Path | None = None

    def line(self, *, no_index: bool = False) -> str:
        """Return the requirement that allows this file and no other; without an index a direct address is not asked either."""
        direct = self.package.url and not no_index and self.folder is None
        what = f"{self.package.name} @ {self.package.url}" if direct else f"{self.package.name}=={self.package.version}"
        return f"{what} --hash=sha256:{self.file.sha256}"


def choose_files(packages: Iterable[LockedPackage], interpreter: Interpreter) -> tuple[Chosen, ...]:
    """Return the file of each package that applies to the interpreter. Raises BuildError listing all that have none."""
    rank = {tag: number for number, tag in enumerate(interpreter.tags())}
    chosen: list[Chosen] = []
    lacking: list[str] = []
    for package in packages:
        if not package.applies(interpreter.markers):
            continue
        ranked = [
            (min((rank[tag] for tag in file.tags() if tag in rank), default=-1), file) for file in package.files if file.is_wheel
        ]
        fitting = sorted((number, file.name, file) for number, file in ranked if number >= 0)
        sdists = [file for file in package.files if not file.is_wheel]
        if fitting:
            chosen.append(Chosen(package, fitting[0][2]))
        elif sdists:
            chosen.append(Chosen(package, sdists[0]))
        else:
            lacking.append(f"{package.name} {package.version} has no file for Python {interpreter.version} on this machine")
    if lacking:
        raise BuildError(
            "\n  ".join(("the lock does not serve this Python:", *lacking)), hint="use a Python that it covers: ozrepro status"
        )
    return tuple(chosen)


def make_venv(uv: Uv, interpreter: Interpreter, prefix: Path, *, system_site_packages: bool = False) -> None:
    """Make an empty virtual environment at `prefix`. Raises CommandFailed."""
    flags = ["--system-site-packages"] if system_site_packages else []
    uv.run(
        ["venv", "--quiet", "--no-project", "--clear", "--python", interpreter.path, *flags, str(prefix)],
        doing="cannot make a virtual environment",
    )


def forget(uv: Uv, chosen: Sequence[Chosen], build: Sequence[LockedPackage] = ()) -> None:
    """Remove these packages from uv's cache, and what was noted of their files. Raises CommandFailed."""
    for name in archives(chosen, build).values():
        with suppress(OSError):
            (uv.notes / name).unlink()
    for variables in ({}, _own_cache(uv, build) if any(not item.file.is_wheel for item in chosen) else {}):
        words = ["cache", "clean", "--quiet", *(item.package.name for item in chosen)]
        uv.run(words, doing="cannot clean the package cache", variables=variables)


def archives(chosen: Iterable[Chosen], build: Sequence[LockedPackage]) -> dict[str, str]:
    """Return by package what its files come from: the sha256 of its wheel, or of its source archive and all that builds it."""
    return {
        item.package.name: item.file.sha256 if item.file.is_wheel else f"{item.file.sha256}-{_built_with(build)}"
        for item in chosen
    }


def check_contents(
    uv: Uv, prefix: Path, before: Sequence[manifest.Entry], archives: Mapping[str, str], digests: manifest.Digests
) -> list[manifest.Entry]:
    """Check that what was installed is what the archives hold; see `contents.check`, which says what it returns and raises."""
    found = contents.check(prefix, site_packages(prefix), before, archives, uv.notes, digests)
    linked.note(uv, prefix, found.wheels, archives, digests)
    return found.entries


def fill_twice(
    uv: Uv,
    chosen: Sequence[Chosen],
    build: Sequence[LockedPackage],
    fill: Callable[[], manifest.Digests],
    say: Callable[[str], None],
) -> manifest.Digests:
    """Return what `fill` returns; where files are not those of their archives, after the cache has forgotten these packages."""
    try:
        return fill()
    except contents.NotAsRecordedError as error:
        say(f"{error.what.splitlines()[-1].strip()}: the packages are fetched again")
        forget(uv, chosen, build)
        return fill()


def install(
    uv: Uv,
    prefix: Path,
    chosen: Sequence[Chosen],
    build: Sequence[LockedPackage],
    progress: Progress,
) -> None:
    """Install the chosen files, and nothing else, into the environment at `prefix`.

    Hashes are checked by uv, from the index, a wheelhouse and the cache alike. `build` are the only packages that building an
    sdist may use. Raises CommandFailed.
    """
    if not chosen:
        return
    wheels = [item for item in chosen if item.file.is_wheel and item.folder is None]
    built = [item for item in chosen if item.folder is not None]
    sdists = [item for item in chosen if not item.file.is_wheel]
    common = ["pip", "install", "--python", str(prefix / "bin" / "python"), "--no-deps", "--require-hashes"]
    common += ["--only-binary", ":all:", *uv.indexes.flags()]
    doing = "cannot install the locked packages"
    if wheels:
        words, known = [*common, "-r", "-"], not any(_is_new(uv, item.file) for item in wheels)
        uv.run_cached(words, doing=doing, text=_lines(uv, wheels), progress=progress, total=len(wheels), known=known)
    if built:
        places = [word for item in built for word in ("--find-links", str(item.folder))]
        words = [*common, *places, *([] if uv.indexes.no_index else ["--no-index"]), "-r", "-"]
        uv.run_cached(words, doing=doing, text=_lines(uv, built), progress=progress)
    if sdists:
        named = [word for item in sdists for word in ("--no-binary", item.package.name)]
        with constraints(uv, build) as flags:
            words = [*common, *named, *flags, "-r", "-"]
            uv.run_cached(words, doing=doing, text=_lines(uv, sdists), variables=_own_cache(uv, build), progress=progress)


def _is_new(uv: Uv, file: LockedFile) -> bool:
    """Say whether a wheel must be fetched: nothing was installed from it yet, and no folder of this machine offers it."""
    return not (uv.notes / file.sha256).exists() and not uv.indexes.offers_here(file.name)


def _lines(uv: Uv, chosen: Iterable[Chosen]) -> str:
    return "".join(f"{item.line(no_index=uv.indexes.no_index)}\n" for item in chosen)


def _own_cache(uv: Uv, build: Sequence[LockedPackage]) -> dict[str, str]:
    """Return the cache of a set of build requirements: uv hands back a wheel built before, whatever it was built with."""
    return {"UV_CACHE_DIR": f"{uv.variables['UV_CACHE_DIR']}-{_built_with(build)}"}


def _built_with(build: Sequence[LockedPackage]) -> str:
    text = "".join(sorted(file.sha256 for package in build for file in package.files))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def version_of(prefix: Path) -> str:
    """Return the version of a venv's Python, as pyvenv.cfg tells it (uv writes `version_info`). Raises BuildError."""
    try:
        lines = (prefix / "pyvenv.cfg").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise BuildError(f"cannot be read: {error.strerror}", where=str(prefix / "pyvenv.cfg")) from error
    values = {key.strip(): value.strip() for key, _, value in (line.partition("=") for line in lines)}
    return values.get("version_info") or values.get("version", "")


def site_packages(prefix: Path) -> Path:
    """Return an environment's own site-packages. Raises BuildError where there is none."""
    found = sorted((prefix / "lib").glob("python3*/site-packages"))
    if len(found) != 1:
        raise BuildError("has no single site-packages", where=str(prefix))
    return found[0]


@dataclass(frozen=True, slots=True)
class Expected:
    """What a fresh environment must hold and be able to do.

    `projects` are the names of the local projects; `markers` are the interpreter's; `outside` are the
    distributions that programs find outside the environment's own site-packages; `overridden` those that may be otherwise than
    others require.
    """

    chosen: Sequence[Chosen]
    projects: Sequence[str]
    imports: Sequence[str]
    markers: Mapping[str, str]
    outside: Mapping[str, base.Distribution] = field(default_factory=dict)
    overridden: Sequence[str] = ()


def check(
    prefix: Path,
    wanted: Expected,
    variables: Mapping[str, str],
    digests: manifest.Digests | None = None,
    kept: bytecode.Kept | None = None,
    entries: Sequence[manifest.Entry] | None = None,
) -> manifest.Digests:
    """Give a fresh environment its bytecode and check it: distributions as locked, requirements met, imports that work.

    uv's exit status is not enough: after a failed install a whole package may be absent while every record looks right.
    `variables` is the environment that programs will get; `digests` are those that are known; `kept` is where bytecode is kept;
    `entries` are what is in the environment, where that is known.
    Returns the digests with those that it took. Raises BuildError with all that is wrong, CommandFailed, OSError.
    """
    folder, digests = site_packages(prefix), digests if digests is not None else manifest.Digests()
    wrong = list(check_distributions(folder, wanted.chosen, wanted.projects))
    if not wrong:
        # Before the imports: what they write would be bytecode of this environment alone, and no file runs before it is compared.
        bytecode.provide(prefix, folder, kept, variables, digests, entries=entries)
        wrong = check_requirements(folder, wanted) + check_imports(prefix, wanted.imports, variables)
    if wrong:
        raise BuildError(
            "\n  ".join(("the new environment did not pass its checks:", *wrong[:30])),
            hint="change requirements or imports in the spec, then: ozrepro lock",
        )
    return digests


def differences(prefix: Path, wanted: Expected, digests: manifest.Digests) -> list[str]:
    """Return what the files of an environment have otherwise than was locked or recorded. Starts nothing, imports nothing."""
    folder = site_packages(prefix)
    wrong = list(check_distributions(folder, wanted.chosen, wanted.projects))
    return [*(wrong or check_requirements(folder, wanted)), *_records(prefix, folder, digests)]


def _records(prefix: Path, folder: Path, digests: manifest.Digests) -> list[str]:
    return list(contents.check_records(prefix, contents.read_wheels(prefix, folder), digests))


def check_requirements(folder: Path, wanted: Expected) -> list[str]:
    """Return a line for each requirement of a distribution in `folder` that no visible one meets."""
    own = base.distributions([str(folder)])
    return base.unmet({**wanted.outside, **own}, own, wanted.markers, wanted.overridden)


def distributions(folder: Path) -> dict[str, str]:
    """Return name and version of each distribution in a site-packages, as its folders' names tell (PEP 427)."""
    found: dict[str, str] = {}
    for entry in os.scandir(folder):
        if entry.name.endswith(".dist-info"):
            name, _, version = entry.name.removesuffix(".dist-info").partition("-")
            found[canonicalize_name(name)] = version
    return found


def check_distributions(folder: Path, chosen: Sequence[Chosen], projects: Iterable[str]) -> Iterator[str]:
    """Yield each difference between the distributions installed and those locked."""
    wanted: dict[str, str] = {canonicalize_name(item.package.name): item.package.version for item in chosen}
    found = distributions(folder)
    for project in projects:
        wanted[project] = found.get(project, "any")
    for name in sorted(wanted.keys() | found.keys()):
        if name not in found:
            yield f"{name} {wanted[name]} is not installed"
        elif name not in wanted:
            yield f"{name} {found[name]} is installed but not locked"
        elif not _same_version(wanted[name], found[name]):
            yield f"{name} is {found[name]}, locked is {wanted[name]}"


def _same_version(left: str, right: str) -> bool:
    try:
        return Version(left) == Version(right)
    except InvalidVersion:
        return left == right


def check_imports(prefix: Path, imports: Sequence[str], variables: Mapping[str, str]) -> list[str]:
    """Really import each name, in the environment that programs will get, and return a line for each that fails."""
    if not imports:
        return []
    code = (
        "import gc,importlib,os,sys\n"
        "gc.disable()\n"
        "for name in sys.argv[1:]:\n"
        "    try:\n        importlib.import_module(name)\n"
        "    except BaseException as error:\n"
        "        print(f'import {name}: {type(error).__name__}: {error}', file=sys.__stdout__)\n"
        "sys.__stdout__.flush()\n"
        "os._exit(0)\n"
    )
    # No collector and no tidying up at the end: both together are a fifth of the time.
    # A package that creates caches beside itself or prints on import must not disturb the check.
    done = process.run(
        [str(prefix / "bin" / "python"), "-c", code, *imports],
        env=variables,
        cwd=prefix,
        timeout=600,
    )
    failed = [line for line in done.output.splitlines() if line.startswith("import ")]
    if done.status != 0 and not failed:
        failed = [f"importing {', '.join(imports)} ended with status {done.status}: {done.errors.strip()[-300:]}"]
    return failed
