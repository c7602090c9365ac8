"""Arguments to commands, errors to exit codes."""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import ozrepro
from ozrepro.errors import OzreproError, UsageError
from ozrepro.faststart.ready import find_root, is_trusted
from ozrepro.frontends.cli.call import INTERRUPTED, Arguments, Call
from ozrepro.frontends.cli.output import Output
from ozrepro.frontends.cli.streams import standard_streams
from ozrepro.process import Ended
from ozrepro.project.checking import one_of_these

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ozrepro.frontends.cli.call import Handler

READER_GONE = 141
"""The status where a pipe's reader has gone (`| head`): 128 and SIGPIPE, as of a program that the signal ends."""

_GROUPS = {
    "discovery": ("init", "spider"),
    "locking": ("lock", "verify", "diff"),
    "adding": ("add",),
    "building": ("status", "build", "run"),
    "exporting": ("export",),
    "shells": ("shell", "activate"),
    "staging": ("stage",),
    "launching": ("link", "check"),
    "kernel": ("kernel",),
    "recording": ("record",),
    "bench": ("bench",),
    "stores": ("store",),
    "doctor": ("doctor",),
}
"""The modules of this folder that have commands, and which. One that is not asked for is not loaded: each costs imports."""


_IN_ORDER = {
    "describe and lock": ("init", "add", "lock"),
    "use": ("nox -s NAME", "run", "shell", "activate", "build", "link", "kernel", "check", "stage", "status"),
    "check and share": ("verify", "diff", "export", "record"),
    "the site and the store": ("spider", "bench", "store", "doctor"),
}
"""The commands as a project comes to need them, which is how the help lists them."""

_EPILOG = """\
example, in a project's folder:
  ozrepro init                           describe what is there in sessions/NAME.toml
  ozrepro lock                           resolve, and write sessions/NAME.lock
  nox -s NAME                            run the noxfile's session NAME in it
  ozrepro run NAME -- python script.py   or a command; either builds it the first time

exit codes:
  0  done
  1  the work failed
  2  wrong usage, or a mistake in a spec or setting
  3  the lock is missing or out of date, or the machine has drifted from it
  4  no method is available
  130, 143, 129, 141  ended by a signal, or by a reader that has gone
run and shell return the status of their command.
"""

_PREPARING = ("init", "add", "lock", "build")
"""The commands that a user begins with, and that jobs do without."""


def parser(command: str = "") -> argparse.ArgumentParser:
    """Return the parser of all commands, or of the group that has `command`."""
    wanted = [module for module, names in _GROUPS.items() if command in names] or list(_GROUPS)
    top = argparse.ArgumentParser(
        prog="ozrepro",
        description="Named, locked Python sessions for supercomputers.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="ozrepro [-h] [--version] [--project DIR] COMMAND ...",
    )
    top.add_argument("--version", action="version", version=f"ozrepro {ozrepro.__version__}")
    top.add_argument("--project", metavar="DIR", help="the project's folder, instead of the nearest one above")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND", prog="ozrepro", help=argparse.SUPPRESS)
    summaries: dict[str, str] = {}

    def add(name: str, summary: str, handler: Handler) -> argparse.ArgumentParser:
        summaries[name] = summary
        made = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        made.add_argument("--plain", action="store_true", help="no colours, no progress bars")
        made.set_defaults(handler=handler, as_json=False, method=None, python=None, form=None, anywhere=False, quiet=False)
        return made

    for module in wanted:
        import_module(f"ozrepro.frontends.cli.{module}").register(add)
    top.description = f"{top.description}\n\n{_listed(summaries)}"
    return top


def _listed(summaries: Mapping[str, str]) -> str:
    """Return the commands with their summaries below the headings of the help, and what nox does."""
    known = {**summaries, "nox -s NAME": "run a session of the noxfile; without a lock, write one first"}
    return "\n\n".join(
        "\n".join((f"{heading}:", *(f"  {name:<13}{known[name]}" for name in names if name in known)))
        for heading, names in _IN_ORDER.items()
    )


def complete() -> None:
    """Answer a shell's question about what may follow in its line, and end."""
    import argcomplete

    argcomplete.autocomplete(parser())


def run_program(words: Sequence[str]) -> int:
    """Carry out a command line and return its exit status."""
    with standard_streams() as streams:
        status = _carry_out(words)
        lost = streams.lost()
        if lost is not None:
            Output().say(str(lost))
            status = status or lost.exit_code
        return READER_GONE if streams.reader_gone() and status != INTERRUPTED else status


def _carry_out(words: Sequence[str]) -> int:
    ours, command = _split(words)
    top = parser(ours[0] if ours else "")
    if not words:
        top.print_help(sys.stderr)
        return UsageError.exit_code
    known = {name for names in _GROUPS.values() for name in names}
    if ours and not ours[0].startswith("-") and ours[0] not in known:
        Output().say(f"there is no command {ours[0]!r}\n  try: {one_of_these(ours[0], sorted(known))}")
        return UsageError.exit_code
    try:
        arguments, unknown = top.parse_known_args(ours, Arguments(words=command))
        if unknown:
            top.error(_misplaced(arguments, ours, unknown) or f"unrecognized arguments: {' '.join(unknown)}")
    except SystemExit as end:  # of --help, --version, and wrong usage, which argparse has told
        return int(end.code or 0)
    out = Output(as_json=arguments.as_json, plain=arguments.plain)
    try:
        call = Call(arguments, find_project(arguments), out)
        if arguments.command in _PREPARING:
            _tell_of_module(out)
        return arguments.handler(call)
    except OzreproError as error:
        out.say(str(error))
        return error.exit_code
    except KeyboardInterrupt as end:
        out.say("interrupted")
        return end.status if isinstance(end, Ended) else INTERRUPTED


def _tell_of_module(out: Output) -> None:
    """Say beforehand that ozrepro cannot start without a module: then it can say nothing any more."""
    if os.environ.get("LD_LIBRARY_PATH"):
        from ozrepro.faststart.ownpython import needs_module

        needs = needs_module(os.environ)
        if needs is not None:
            out.say(f"warning: {needs.what}. {needs.why}\n  try: {needs.command}")


def _split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the words for us and, for `run` and `shell`, those behind `--`: argparse would look for options among them."""
    place = list(words).index("--") if "--" in words else len(words)
    if {"run", "shell"} & set(words[:place]):
        return list(words[:place]), list(words[place + 1 :])
    return list(words), []


def _misplaced(arguments: Arguments, ours: list[str], unknown: list[str]) -> str:
    """Return the advice for a command that stands behind a session's name without `--`, "" where something else is wrong."""
    if arguments.command not in ("run", "shell") or unknown[0].startswith("-"):
        return ""
    import shlex

    name = ours.index(arguments.name, ours.index(arguments.command) + 1)
    place = ours.index(unknown[0], name + 1)
    return f"put -- before the command: {shlex.join(('ozrepro', *ours[:place], '--', *ours[place:], *arguments.words))}"


def find_project(arguments: Arguments) -> Path:
    """Return the project's folder: the option, `OZREPRO_PROJECT`, or the nearest one above with a `sessions` folder.

    Raises UsageError where there is none, but for a command that works anywhere: it gets the current folder.
    """
    given = arguments.project or os.environ.get("OZREPRO_PROJECT")
    if given:
        root = Path(os.path.realpath(given))
        if not (root if arguments.anywhere else root / "sessions").is_dir():
            what = "is not a folder" if arguments.anywhere else "there is no folder 'sessions' in it"
            raise UsageError(what, where=str(root), hint="name the project's folder")
        return root
    named = getattr(arguments, "name", None) or next(iter(getattr(arguments, "names", ())), None)
    nearest = find_root(named, os.getcwd(), os.environ) if named and named.replace("-", "_").isidentifier() else None
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
    if arguments.anywhere:
        return here
    raise UsageError(
        "no sessions/*.toml here or above",
        where=str(here),
        hint="ozrepro init, or name the project with --project DIR",
    )
