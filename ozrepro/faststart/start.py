"""The warm path of `ozrepro run NAME -- CMD…`: no argparse, no lock parsed, one exec, no process left behind."""

from __future__ import annotations

import os
import sys

from ozrepro.environment import installer_in, refuse_install
from ozrepro.faststart.ready import find_ready, find_root
from ozrepro.frontends.cli import tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from ozrepro.environment import Environment


def start(words: list[str]) -> None:
    """Replace this process by the command when the session is locked and built; else return, and the long way explains."""
    parsed = split(words)
    if parsed is None:
        return
    name, method, command = parsed
    root = find_root(name, os.getcwd(), os.environ)
    found = find_ready(root, name, method, os.environ) if root is not None else None
    if found is None:
        return
    for line in found.said:
        tell(f"not taken: {line}")
    execute(found.environment, command, name)


def split(words: list[str]) -> tuple[str, str | None, list[str]] | None:
    """Return name, method and command of the plain form `NAME [--method M] -- CMD…`; None for any other."""
    if "--" not in words:
        return None
    place = words.index("--")
    before, command = words[:place], words[place + 1 :]
    method = None
    if len(before) == 3 and before[1] == "--method":
        method = before.pop()
        before.pop()
    if len(before) != 1 or not before[0].isidentifier() or not command:
        return None
    return before[0], method, command


def execute(environment: Environment, command: list[str], name: str) -> NoReturn:
    """Replace this process by the command in the environment of session `name`.

    Ends with 127 or 126, as a shell does, when it cannot start.
    """
    if environment.inner and (adding := installer_in(command)):
        wrong, hint = refuse_install(adding, name)
        tell(f"{wrong}\n  try: {hint}")
        sys.exit(1)
    variables = environment.variables_for(os.environ)
    words = environment.command(command)
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
        reason = error.strerror if isinstance(error, OSError) else "is no command"
        tell(f"{words[0]!r}: {reason}")
        sys.exit(126)
