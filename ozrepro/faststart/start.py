"""Starts a locked, built session by the words of `ozrepro run`; every other command is left to the command line.

On this way no argparse, no lock and no TOML is read, one `exec` follows, and no process is left behind.
"""

from __future__ import annotations

import os
import sys

from ozrepro.environment import RECORD
from ozrepro.faststart.ready import JOBS, check_command, find_ready, find_root, with_python

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import NoReturn

    from ozrepro.environment import Environment


def tell(text: str) -> None:
    """Say a line on standard error without what the command line needs; where that is closed or read by nobody, nothing."""
    try:
        if sys.stderr is not None:
            sys.stderr.write(f"ozrepro: {text}\n")
    except OSError:
        sys.stderr = None  # the interpreter would try to write it again at its end, and make a status of its own of that


_QUIET = ("-q", "--quiet")


class Command:
    """A command line of `run` that can start at once: the session's name, the command, and the options."""

    __slots__ = ("method", "name", "project", "python", "quiet", "words")

    def __init__(self, name: str, words: list[str], options: dict[str, str], project: str, *, quiet: bool = False) -> None:
        self.name = name
        self.words = words
        self.method = options.get("--method")
        self.python = options.get("--python")
        self.project = project
        self.quiet = quiet


def start(words: list[str]) -> None:
    """Replace this process by the command when the session is locked and built; else return, and the long way explains.

    It also returns where runs are recorded: what a record holds is not known on this way.
    """
    command = split(words)
    if command is None or os.environ.get(RECORD):
        return
    if command.project:
        root: str | None = os.path.realpath(command.project)
    else:
        root = find_root(command.name, os.getcwd(), os.environ)
    asked = with_python(command.python, os.environ)
    found = find_ready(root, command.name, command.method, asked) if root is not None else None
    if found is None or found.is_recorded or found.environment.refused(command.words):
        return
    for line in () if command.quiet else found.said:
        tell(f"skipping {line}")
    execute(found.environment, command.words, command.name, tells=not command.quiet)


def executed(environment: Environment, words: list[str]) -> list[str]:
    """Return the words to execute for those that an environment gives, which are for people to read.

    bash is given the text of the mount: neither the kernel nor bash opens it then, which are two opens and closes at a server.
    """
    if environment.mount_text and words[:1] == [environment.mount]:
        return ["/bin/bash", "-pc", environment.mount_text, *words]
    return words


def split(words: list[str]) -> Command | None:
    """Return what `[--project P] run [--plain] [-q] [--method M] [--python P] NAME -- CMD…` says, else None.

    Options in any order, `--project=P` and `--method=M` too.
    What argparse would also take, such as an option cut short, goes the long way.
    """
    if "run" not in words or "--" not in words:
        return None
    place, end = words.index("run"), words.index("--")
    top = _taken(words[:place], ("--project",), ())
    ours = _taken(words[place + 1 : end], ("--method", "--python"), ("--plain", *_QUIET))
    command = words[end + 1 :]
    if place > end or top is None or ours is None or top[1] or len(ours[1]) != 1 or not command:
        return None
    name = ours[1][0]
    quiet = any(word in _QUIET for word in words[place + 1 : end])
    if not name.replace("-", "_").isidentifier():
        return None
    return Command(name, command, ours[0], top[0].get("--project", ""), quiet=quiet)


def _taken(words: list[str], options: tuple[str, ...], flags: tuple[str, ...]) -> tuple[dict[str, str], list[str]] | None:
    """Return the values of the options that are given, and the words that are neither; None for any other option."""
    values: dict[str, str] = {}
    rest: list[str] = []
    left = iter(words)
    for word in left:
        name, mark, given = word.partition("=")
        if name in options:
            values[name] = given if mark else next(left, "")
            if not values[name] or values[name].startswith("-"):
                return None
        elif word.startswith("-"):
            if word not in flags:
                return None
        else:
            rest.append(word)
    return values, rest


def execute(
    environment: Environment, command: list[str], name: str, *, tells: bool = False, more: Mapping[str, str] | None = None
) -> NoReturn:
    """Replace this process by the command in the environment of session `name`.

    `more` are variables that the command sees besides. `tells` has it say why a copy on the node is not taken, which the long way
    has said already.
    Ends with 127 or 126, as a shell does, when it cannot start. Raises OzreproError as `check_command`.
    """
    check_command(environment, command, name)
    variables = environment.variables_for(os.environ)
    variables.update({key: value for key, value in environment.inside(more or {}).items() if value is not None})
    words = environment.started(command)
    if any(name in os.environ for name in JOBS):
        from ozrepro.faststart import staged  # what is not in a job need not load it

        words, skipped = staged.started(environment, command, os.environ)
        if skipped and tells:
            tell(f"skipping {skipped}")
    words = executed(environment, words)
    try:
        for stream in filter(None, (sys.stdout, sys.stderr)):  # one that the caller has closed is None
            stream.flush()
    except OSError:
        pass  # nobody reads it, and the command may do its work all the same
    # Python ignores SIGPIPE and SIGXFSZ, and what is ignored stays ignored across exec. `signal` itself loads enum and eight
    # modules more for the names of the same functions: 60 path-taking calls.
    import _signal  # type: ignore[import-not-found]

    _signal.signal(_signal.SIGPIPE, _signal.SIG_DFL)
    _signal.signal(_signal.SIGXFSZ, _signal.SIG_DFL)
    try:
        os.execvpe(words[0], words, variables)
    except FileNotFoundError:
        where = "" if "/" in words[0] else f" in {variables['PATH']}"
        tell(f"{words[0]}: not found{where}")
        sys.exit(127)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not a command"
        tell(f"{words[0]!r}: {reason}")
        sys.exit(126)
