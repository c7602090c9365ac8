"""A folder whose programs start in a session's environment: paths that stay, for tools that ask for an interpreter.

All of them are one script, which looks at its own name: hard links, since tools that resolve a symbolic link would start it by
another name.
"""

from __future__ import annotations

import json
import os
import stat
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ozrepro import open_session
from ozrepro.environment import HOST_PROGRAMS, SAYS_WHERE
from ozrepro.errors import CommandFailed, LockError, OzreproError, UsageError
from ozrepro.faststart.ready import content_of
from ozrepro.frontends.launcherscript import CHECK, Programs, launcher_script
from ozrepro.frontends.startscript import compared, compared_folder
from ozrepro.process import run
from ozrepro.project.lock import lock_file
from ozrepro.store import Store, failed
from ozrepro.store.claim import claim, closed_to_others
from ozrepro.store.writing import write_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ozrepro import Built, Environment
    from ozrepro.frontends.startscript import Compared

    Find = Callable[[], Built]

_PROBE = r"""
import json, re, shutil, sys
from importlib import metadata
sys.path[:1] = []
names = {"pip", "python", "python3", "python%d.%d" % sys.version_info[:2]}
for each in metadata.distributions():
    names.update(point.name for point in each.entry_points if point.group in ("console_scripts", "gui_scripts"))
    names.update(re.findall(r"^(?:\.\./)+bin/([^/,\n]+),", each.read_text("RECORD") or "", re.M))
print("\n" + json.dumps([name for name in sorted(names) if shutil.which(name)]))
"""
"""Asks an environment's own Python for its console scripts: also inside an image, and of a toolchain."""

_ABANDONED = 24 * 3600.0
"""Seconds after which a file that a killed build has left is removed."""


@dataclass(frozen=True, slots=True)
class Launchers:
    """The folder of a session's launchers.

    Attributes:
        folder: where they are.
        names: the programs, sorted.

    """

    folder: Path
    names: tuple[str, ...]


def launchers_folder(root: Path, name: str) -> Path:
    """Return the folder of the launchers of a session, which stays whatever is locked and built."""
    return root / ".ozrepro" / "bin" / name


def keep_launchers(root: Path, name: str, find: Find, environ: Mapping[str, str]) -> Launchers:
    """Write the launchers of a built session where they are not there as they should be.

    Args:
        root: the project's folder.
        name: the session's name.
        find: gives the built session as it is now.
        environ: the caller's variables.

    Raises StoreError for a folder that others may write to or that a repository brings, LockError where a file changes meanwhile.

    """
    built = find()
    files = _compared(root, name, built)
    programs = replace(programs_of(built.environment, environ), digest=built.digest)
    # What was compared is what the environment was found for: an edit in between has the second look find another, or refuse.
    second = find()
    if (second.environment, second.watched) != (built.environment, built.watched):
        raise LockError(f"files of {name} changed while its launchers were written", hint="the same command again")
    folder = launchers_folder(root, name)
    text = launcher_script(name, built.environment, files, programs, folder).encode("utf-8", "surrogateescape")
    names = tuple(sorted({*programs.names, "python", "python3", "pip", CHECK}))
    try:
        with closed_to_others():
            _open(root, folder)
            _replace(folder, names, text)
    except OSError as error:
        raise failed("write the launchers", folder, error) from error
    return Launchers(folder, names)


def write_launchers(root: Path, name: str, environ: Mapping[str, str], say: Callable[[str], None]) -> None:
    """Write the launchers after a build, of what a start without an option takes. What hinders is said, no error.

    Args:
        root: the project's folder.
        name: the session's name.
        environ: the caller's variables.
        say: takes a line of what is going on.

    """
    session = open_session(name, root, environ=environ)
    try:
        keep_launchers(root, name, lambda: session.ready() or session.build(say), environ)
    except OzreproError as error:
        say(f"{name}: no launchers: {error}")


def renew_launchers(root: Path, name: str, environ: Mapping[str, str], say: Callable[[str], None], *, is_new: bool) -> None:
    """Write launchers again that an earlier `ozrepro build` has left, after a build by a command that keeps none by itself.

    Where there are none, or they start what the lock says now, or what was built is not what they would start, nothing is done.

    Args:
        root: the project's folder.
        name: the session's name.
        environ: the caller's variables.
        say: takes a line of what is going on.
        is_new: whether an environment was built now.

    """
    try:
        text = content_of(launchers_folder(root, name) / CHECK)
        lock = lock_file(root, name)
        is_current = all(compared(path).value.encode() in text for path in (lock, lock.with_suffix(".toml")))
    except OSError:
        return
    if (is_new or not is_current) and open_session(name, root, environ=environ).ready() is not None:
        write_launchers(root, name, environ, say)


def _compared(root: Path, name: str, built: Built) -> list[Compared]:
    lock = lock_file(root, name)
    paths = (lock, lock.with_suffix(".toml"), *map(Path, (*built.inputs, *built.watched)))
    # By the name in the store: what is built again, or removed, is another folder.
    generation = built.prefix.parent
    published = generation.parents[1] / "names" / str(built.environment.variables[SAYS_WHERE[2]])
    return [compared_folder(published), *(compared(path) for path in dict.fromkeys(paths) if path.is_file())]


def programs_of(environment: Environment, environ: Mapping[str, str]) -> Programs:
    """Return the programs of an environment: its Python by each of its names, and its console scripts.

    Starts its Python. Where it has none that could be asked, only the names that every launcher has are known.
    """
    variables = environment.variables_for(environ)
    for python in ("python3", "python"):
        try:
            done = run(environment.started([python, "-c", _PROBE]), env=variables, cwd="/", timeout=300)
            listed = json.loads(done.output.rstrip().rpartition("\n")[2])
        except (CommandFailed, ValueError):
            continue
        if done.status == 0 and isinstance(listed, list):
            names = tuple(each for each in map(str, listed) if _can_be_launched(each))
            return Programs(names, "python" if "python" in names else "python3", has_pip="pip" in names)
    return Programs((), "python", has_pip=False)


def _can_be_launched(name: str) -> bool:
    return name.isprintable() and name[:1] not in (".", "-") and "/" not in name and name not in (*HOST_PROGRAMS, CHECK)


def _open(root: Path, folder: Path) -> None:
    """Make the folder, and check that no other user and no repository has put it there. Raises StoreError, OSError."""
    base = root / ".ozrepro"
    Store(base, root=root).check()
    claim(base, "OZREPRO_STORE")
    for path in (folder.parent, folder):
        with suppress(FileExistsError):
            path.mkdir(mode=0o755)
        if path.is_symlink():
            path.unlink()
            path.mkdir(mode=0o755)
        Store(path, root=root).check()


def _replace(folder: Path, names: Iterable[str], text: bytes) -> None:
    """Let each name in a folder be the script, each at once, and remove all others. Raises OSError."""
    wanted = set(names)
    if not _is_kept(folder, wanted, text):
        whole = folder / f".launcher.{os.urandom(4).hex()}"
        write_whole(whole, text)
        whole.chmod(0o755)
        try:
            for name in sorted(wanted):
                _put(whole, folder / name)
        finally:
            whole.unlink(missing_ok=True)
    for path in folder.iterdir():
        if path.name not in wanted and (not path.name.startswith(".") or time.time() - path.lstat().st_mtime > _ABANDONED):
            with suppress(OSError):  # a folder is nothing that was ever put here
                path.unlink()


def _put(whole: Path, path: Path) -> None:
    temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}"[-255:])
    try:
        try:
            os.link(whole, temporary)
        except OSError:  # a file system without hard links
            write_whole(temporary, whole.read_bytes())
            temporary.chmod(0o755)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _is_kept(folder: Path, names: Iterable[str], text: bytes) -> bool:
    """Say whether each name is the script already, a file of this user's that others cannot write."""
    try:
        states = [os.lstat(folder / name) for name in names]
        first = states[0]
        is_safe = stat.S_ISREG(first.st_mode) and stat.S_IMODE(first.st_mode) == 0o755 and first.st_uid == os.geteuid()
        is_one = all((state.st_dev, state.st_ino) == (first.st_dev, first.st_ino) for state in states)
        return is_safe and is_one and (folder / "python").read_bytes() == text
    except OSError:
        return False


def link_launchers(launchers: Launchers, target: Path) -> None:
    """Make a link to each launcher in a folder, and remove those of launchers that are there no more.

    Raises UsageError where a file of another's has the name, or everybody may write to the folder.
    """
    try:
        target.mkdir(mode=0o755, parents=True, exist_ok=True)
        if target.stat().st_mode & stat.S_IWOTH:
            raise UsageError("can be written by everybody", where=str(target), hint="name a folder of your own")
        others = [name for name in launchers.names if os.path.lexists(target / name) and not _is_link(launchers, target / name)]
        if others:
            more = f" and {len(others) - 3} more" if len(others) > 3 else ""
            what = f"has files of its own named {', '.join(others[:3])}{more}"
            raise UsageError(what, where=str(target), hint="name a folder of its own, such as DIR/bin")
        for name in launchers.names:
            if not os.path.lexists(target / name):
                os.symlink(launchers.folder / name, target / name)
        for path in target.iterdir():
            if path.name not in launchers.names and _is_link(launchers, path):
                path.unlink()
    except OSError as error:
        raise failed("link the launchers", target, error) from error


def _is_link(launchers: Launchers, path: Path) -> bool:
    return path.is_symlink() and Path(os.readlink(path)).parent == launchers.folder
