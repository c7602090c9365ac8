"""Wheels compiled from locked sdists against what modules offer, each kept by the digest of everything that decides it.

uv's own cache of built wheels forgets the compiler and the libraries: it would hand back an mpi4py that is linked to another MPI.
So a wheel is built from its unpacked source tree, which uv does not keep, into a folder named by its key.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ozrepro import process
from ozrepro.errors import BuildError, without_login
from ozrepro.project.spec import digest_of
from ozrepro.project.toml import loads
from ozrepro.python.build_hashes import constraints
from ozrepro.python.packages import LockedFile
from ozrepro.python.resolve import Wanted, compile_lines, workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ozrepro.python.interpreter import Interpreter
    from ozrepro.python.packages import LockedPackage
    from ozrepro.python.uv import Uv

NOTE = "wheel.json"
"""The file beside a wheel that says what was published: its name, sha256 and size."""

_EPOCH = "1577836800"
"""2020-01-01, which a zip archive can hold: the time of all that a build makes (reproducible-builds.org, SOURCE_DATE_EPOCH)."""

_FOREIGN = re.compile(r"UV_|PIP_|PYTHON|EBPYTHONPREFIXES\Z|VIRTUAL_ENV\Z")
"""Variables of modules that would put other packages before the locked build requirements, or other settings before uv's own."""

_TRANSPORT = re.compile(r"UV_|SSL_|NETRC\Z|NO_COLOR\Z|.*_proxy\Z", re.IGNORECASE)
_ERROR = re.compile(r"(?<!-W)error\b|undefined reference|cannot find -l|command not found", re.IGNORECASE)
_RAN = "The build backend returned an error"
_UNLOCKED = ("no trusted hash", "must be pinned upfront", "Hash mismatch")
_TAIL = 10


def key(identity: Mapping[str, Any]) -> str:
    """Return the name of the folder for what these values decide: modules, interpreter, sdist, build requirements."""
    return digest_of(identity).partition(":")[2][:20]


def compiled(folder: Path, key: str) -> LockedFile | None:
    """Return the wheel that is kept for a key, or None where there is none or it is not the one that was published."""
    return _published(folder / key)


def _published(place: Path) -> LockedFile | None:
    try:
        note = json.loads((place / NOTE).read_text(encoding="utf-8"))
        (wheel,) = place.glob("*.whl")
        found = _describe(wheel)
        return found if {"name": found.name, "sha256": found.sha256, "size": found.size} == note else None
    except (OSError, RecursionError, ValueError):
        return None


def _describe(wheel: Path) -> LockedFile:
    content = wheel.read_bytes()
    return LockedFile(wheel.name, hashlib.sha256(content).hexdigest(), len(content))


def compile_wheel(
    uv: Uv,
    tree: Path,
    interpreter: Interpreter,
    build: Sequence[LockedPackage],
    variables: Mapping[str, str],
    folder: Path,
    key: str,
) -> LockedFile:
    """Return the wheel for a key, compiled from the source tree now unless it is kept already.

    `build` are the only packages that building may use, `variables` those of the loaded modules. Several processes may compile
    the same: the first one to end publishes, and all return that wheel. Raises BuildError with the compiler's words.
    """
    kept = compiled(folder, key)
    if kept is not None:
        return kept
    with tempfile.TemporaryDirectory(prefix="ozrepro-") as name:
        # A copy: backends leave objects behind, and the next compiler would take them for its own.
        copy = Path(name) / tree.name
        shutil.copytree(tree, copy, symlinks=True)
        return build_and_keep(uv, copy, interpreter, build, variables, folder, lambda _: key)


def build_and_keep(
    uv: Uv,
    tree: Path,
    interpreter: Interpreter,
    build: Sequence[LockedPackage],
    variables: Mapping[str, str],
    folder: Path,
    key_of: Callable[[LockedFile], str],
) -> LockedFile:
    """Build a wheel from a tree that may be written to, and publish it under the key that `key_of` has for it.

    The rest is as for `compile_wheel`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".building-", dir=folder) as aside:
        fresh = Path(aside) / "fresh"
        fresh.mkdir()
        build_wheel(uv, tree, interpreter.path, build, variables, fresh)
        wheels = list(fresh.glob("*.whl"))
        if len(wheels) != 1:
            raise BuildError(f"compiling {tree.name} gave {len(wheels) or 'no'} wheels where one was expected")
        made = _describe(wheels[0])
        note = json.dumps({"name": made.name, "sha256": made.sha256, "size": made.size})
        (fresh / NOTE).write_text(f"{note}\n", encoding="utf-8")
        return _publish(fresh, folder / key_of(made), Path(aside) / "damaged") or made


def _publish(fresh: Path, place: Path, damaged: Path) -> LockedFile | None:
    """Move a folder into its place; return the wheel that another process has put there before, or None."""
    for _ in range(100):
        try:
            os.rename(fresh, place)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                raise BuildError(f"cannot be published: {error.strerror}", where=str(place)) from error
        else:
            return None
        first = _published(place)
        if first is not None:
            return first
        _set_aside(place, damaged)
    raise BuildError("cannot be published: something puts damaged files there", where=str(place))


def _set_aside(place: Path, damaged: Path) -> None:
    """Move what is damaged out of the way, and back if it is whole after all: somebody else has repaired it meanwhile."""
    with suppress(OSError):
        os.rename(place, damaged)
        if _published(damaged) is not None:
            os.rename(damaged, place)
    if damaged.is_dir():
        shutil.rmtree(damaged, ignore_errors=True)
    else:
        damaged.unlink(missing_ok=True)


def build_wheel(uv: Uv, tree: Path, python: str, build: Sequence[LockedPackage], variables: Mapping[str, str], out: Path) -> None:
    """Build a wheel from a tree that may be written to into the folder `out`, for the interpreter at `python`.

    `build` and `variables` are as for `compile_wheel`. Raises BuildError with the compiler's words.
    """
    with constraints(uv, build) as locked:
        # Without the first, a backend of uv's own is the running uv and not the locked one; without the second, the tree's
        # [tool.uv.sources] say where its build requirements come from.
        words = ["build", "--wheel", "--force-pep517", "--no-sources", "--no-create-gitignore", *locked, *uv.indexes.flags()]
        words = [uv.path, *words, "--python", python, "--out-dir", str(out), str(tree)]
        environment = building_variables(uv, variables)
        # From the cache first, as Uv.run_cached does; but what the backend has begun is not compiled twice.
        done = process.run([*words, "--offline"], env=environment, cwd=tree.parent)
        if done.status != 0 and _RAN not in done.errors and not environment.get("UV_OFFLINE"):
            done = process.run(words, env=environment, cwd=tree.parent)
    if done.status != 0:
        raise BuildError(_explained(tree.name, done), hint=_hint(done.errors))


def building_variables(uv: Uv, variables: Mapping[str, str]) -> dict[str, str]:
    """Return the modules' variables for a call of uv: PATH is theirs first, and where packages come from stays uv's own.

    Left out is what would put the modules' packages before locked build requirements.
    """
    own = {name: value for name, value in uv.variables.items() if _TRANSPORT.match(name)}
    theirs = {name: value for name, value in variables.items() if not _FOREIGN.match(name)}
    folders = dict.fromkeys(f"{theirs.get('PATH', '')}:{uv.variables.get('PATH', '')}".split(":"))
    fixed = {"PATH": ":".join(filter(None, folders)), "SOURCE_DATE_EPOCH": _EPOCH, "PYTHONHASHSEED": "0"}
    return {**uv.variables, **theirs, **own, **fixed}


def _explained(name: str, done: process.Finished) -> str:
    """Return the log's end, and before it the first and last lines that tell an error, with what follows them.

    The end alone may not have them: after the compiler's words a backend may print a long trace, and uv puts the lines of its two
    streams together as they come.
    """
    lines = [line.rstrip() for line in without_login(done.errors).splitlines() if line.strip()]
    errors = [number for number, line in enumerate(lines) if _ERROR.search(line)]
    shown = {number + after for number in (*errors[:2], *errors[-2:]) for after in range(3)}
    shown |= set(range(len(lines) - _TAIL, len(lines)))
    told: list[str] = []
    for number in sorted(shown & set(range(len(lines)))):
        told += ["…"] if number > 0 and number - 1 not in shown else []
        told.append(lines[number][:500])
    how = f"signal {-done.status}" if done.status < 0 else f"status {done.status}"
    return "\n    ".join((f"cannot compile {name}: uv build ended with {how}", *told))


def _hint(errors: str) -> str:
    if any(words in errors for words in _UNLOCKED):
        return "what it is built with is not what was locked: ozrepro lock"
    if _RAN in errors:
        return "the compiler and each library that it needs must be among the modules: add them to load = […]"
    return "build where there is a network, or set PIP_FIND_LINKS to a wheelhouse that has the locked build requirements"


def install_compiled(
    uv: Uv,
    prefix: Path,
    wheels: Sequence[tuple[LockedPackage, LockedFile]],
    folders: Sequence[Path],
    variables: Mapping[str, str],
) -> None:
    """Install compiled wheels into the environment at `prefix`, each by name, version and hash, from their own folders only.

    `variables` are the modules': their Python may not run without them. Raises CommandFailed.
    """
    if not wheels:
        return
    places = [word for folder in folders for word in ("--find-links", str(folder.absolute()))]
    words = ["pip", "install", "--python", str(prefix / "bin" / "python"), "--no-deps", "--require-hashes", "--no-index", *places]
    words += ["--only-binary", ":all:", "-r", "-"]
    uv.run(
        words,
        doing="cannot install the compiled packages",
        text=install_lines(wheels),
        variables=building_variables(uv, variables),
    )


def install_lines(wheels: Sequence[tuple[LockedPackage, LockedFile]]) -> str:
    """Return the requirement lines that allow these wheels and no other file."""
    return "".join(f"{package.name}=={package.version} --hash=sha256:{file.sha256}\n" for package, file in wheels)


def fetch_address(uv: Uv, package: LockedPackage, interpreter: Interpreter, here: str) -> str:
    """Return the address of a package's locked sdist, asked from the indexes set now, for `backend.unpacked`.

    `here` is the platform's name. Raises BuildError when no index has a file of that sha256 any more.
    """
    sdist = next(file for file in package.files if not file.is_wheel)
    if package.url:
        return package.url
    wanted = Wanted(Path("/"), (), f"=={interpreter.minor}.*", (here,), here, (package.name,))
    with workspace(wanted) as folder:
        output = folder / "pylock.found.toml"
        line = f"{package.name}=={package.version}"
        compile_lines(uv, folder, wanted, interpreter, line, ["--no-deps", "-o", str(output)])
        for entry in loads(output.read_text(encoding="utf-8")).get("packages", []):
            item = entry.get("sdist", {})
            address = str(item.get("url") or (folder / str(item.get("path", ""))).absolute().as_uri())
            if item.get("hashes", {}).get("sha256") == sdist.sha256:
                return address
    raise BuildError(
        f"the indexes set here have {sdist.name} with the locked sha256 no longer", hint="set the index or wheelhouse that has it"
    )
