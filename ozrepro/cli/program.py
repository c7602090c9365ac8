"""Arguments to commands, errors to exit codes."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import ozrepro
from ozrepro.cli.call import Arguments, Call
from ozrepro.cli.output import Output
from ozrepro.errors import OzreproError, UsageError
from ozrepro.ready import find_root, is_trusted
from ozrepro.settings import METHODS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    from ozrepro.cli import building, locking, stores

    top = argparse.ArgumentParser(prog="ozrepro", description="Named, locked Python sessions for supercomputers.")
    top.add_argument("--version", action="version", version=f"ozrepro {ozrepro.__version__}")
    top.add_argument("--project", metavar="DIR", help="the project's folder, instead of the nearest one above")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, summary: str, handler: Callable[[Call], int]) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        made.add_argument("--plain", action="store_true", help="no colours, no progress bars")
        made.set_defaults(handler=handler, as_json=False, method=None)
        return made

    lock = add("lock", "resolve and write the lock", locking.lock)
    _names(lock)
    _method(lock)
    lock.add_argument("--check", action="store_true", help="only compare; exit 3 when the lock does not answer the spec")
    lock.add_argument("--upgrade", nargs="*", metavar="PKG", help="take newer versions, of all packages or of these")
    status = add("status", "show each session's methods, lock and environment", building.status)
    _names(status)
    _json(status)
    verify = add("verify", "check a built environment against its lock", locking.verify)
    verify.add_argument("name", metavar="NAME")
    _method(verify)
    verify.add_argument(
        "--level",
        type=int,
        choices=(0, 1, 2),
        default=0,
        help="0 files' digests; 1 and a real module load; 2 and the packages inside",
    )
    _json(verify)
    diff = add("diff", "show what differs between two locks, two methods, or the lock and this machine", locking.diff)
    diff.add_argument("name", metavar="NAME")
    diff.add_argument(
        "sides",
        metavar="A B",
        nargs="*",
        help="each a lock file, a git revision or a method; one alone is compared with the lock",
    )
    _json(diff)
    build = add("build", "build now from the lock, so that jobs only use it", building.build)
    _names(build)
    _method(build)
    build.add_argument("--rebuild", action="store_true", help="make a new generation even where there is a whole one")
    run = add("run", "run a command in a session's environment", building.run)
    run.add_argument("name", metavar="NAME")
    _method(run)
    run.usage = "ozrepro run [-h] [--plain] [--method {modules,conda,container,venv}] NAME -- CMD …"
    export = add("export", "write the lock in another tool's format", building.export)
    export.add_argument("name", metavar="NAME")
    export.add_argument("--format", required=True, choices=("pylock", "requirements"))
    export.add_argument(
        "--output", metavar="FILE", help="instead of standard output; for pylock a name such as pylock.analysis.toml"
    )
    store = add("store", "list, verify or clean what is built", stores.store)
    actions = store.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, summary in (
        ("list", "list what is built, and which lock uses it"),
        ("verify", "check every file of every environment against its manifest"),
        ("gc", "show what no lock needs; remove it with --yes"),
    ):
        action = actions.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        action.add_argument("--plain", action="store_true", help="no colours, no progress bars")
        _json(action)
        if name == "gc":
            action.add_argument("--yes", action="store_true", help="remove what was shown")
            action.add_argument("--even-with-jobs", action="store_true", help="also while jobs of yours are running")
    return top


def _names(made: argparse.ArgumentParser) -> None:
    made.add_argument("names", metavar="NAME", nargs="*", help="sessions; all of the project without any")


def _method(made: argparse.ArgumentParser) -> None:
    made.add_argument("--method", choices=METHODS, help="this method alone")


def _json(made: argparse.ArgumentParser) -> None:
    made.add_argument("--json", dest="as_json", action="store_true", help="print JSON")


def run_program(words: Sequence[str]) -> int:
    """Carry out a command line and return its exit status."""
    ours, command = _split(words)
    arguments = parser().parse_args(ours, Arguments(words=command))
    out = Output(as_json=arguments.as_json, plain=arguments.plain)
    try:
        status = arguments.handler(Call(arguments, find_project(arguments), out))
        sys.stdout.flush()
        return status
    except OzreproError as error:
        out.say(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        out.say("interrupted")
        return 130
    except BrokenPipeError:
        # The reader of our output has gone (`| head`); Python must not complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the words for us and, for `run`, those behind `--`: argparse would look for options among the command's own."""
    if "run" in words and "--" in words and list(words).index("run") < list(words).index("--"):
        place = list(words).index("--")
        return list(words[:place]), list(words[place + 1 :])
    return list(words), []


def find_project(arguments: Arguments) -> Path:
    """Return the project's folder: the option, `OZREPRO_PROJECT`, or the nearest one above with a `sessions` folder.

    Raises UsageError where there is none.
    """
    given = arguments.project or os.environ.get("OZREPRO_PROJECT")
    if given:
        root = Path(os.path.realpath(given))
        if not (root / "sessions").is_dir():
            raise UsageError("there is no folder 'sessions' in it", where=str(root), hint="name the project's folder")
        return root
    named = getattr(arguments, "name", None) or next(iter(getattr(arguments, "names", ())), None)
    nearest = find_root(named, os.getcwd(), os.environ) if named and named.isidentifier() else None
    if nearest is not None:
        return Path(nearest)
    here = Path(os.path.realpath(os.getcwd()))
    for folder in (here, *here.parents):
        if (folder / "sessions").is_dir() and any((folder / "sessions").glob("*.toml")):
            if not is_trusted(str(folder)):
                raise UsageError(
                    "can be written by everybody: its sessions are not trusted",
                    where=str(folder),
                    hint=f"chmod o-w {str(folder)!r} {str(folder / 'sessions')!r}",
                )
            return folder
    raise UsageError(
        "no sessions/*.toml here or above",
        where=str(here),
        hint="make sessions/NAME.toml, or name the project with --project DIR",
    )
