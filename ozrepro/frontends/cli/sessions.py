"""What several sessions have in common for a command: which they are, and that one's mistake does not stop the others."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ozrepro.errors import OzreproError, UsageError
from ozrepro.faststart.ready import with_python
from ozrepro.methods.reading import load_settings
from ozrepro.pipeline.choice import choose
from ozrepro.pipeline.generations import built_generation
from ozrepro.pipeline.session import Session, open_session
from ozrepro.project.spec import session_names

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ozrepro.frontends.cli.call import Call


def names_of(call: Call) -> list[str]:
    """Return the sessions named, or all of the project. Raises an error for a mistake in the settings."""
    load_settings(call.root, call.environ, method=call.arguments.method)
    return call.arguments.names or session_names(call.root)


def opened(call: Call, name: str) -> Session:
    """Return a session with the method that was asked for. Raises SpecError, UsageError."""
    return open_session(call.root, name, call.environ, method=call.arguments.method)


def looked_at(call: Call, name: str) -> Session:
    """Return a session as `opened` does, for a command that only looks."""
    return opened(call, name).for_looking()


def started_from(call: Call, name: str) -> Path | None:
    """Return the prefix that a start takes whose command has no `--form`, None where none is built for it."""
    environ = with_python(call.arguments.python, os.environ)
    session = open_session(call.root, name, environ, method=call.arguments.method).for_looking()
    section = choose(session, session.lock()).section
    generation = built_generation(session, section) if section is not None else None
    return generation.prefix if generation is not None else None


def try_each(call: Call, names: list[str], act: Callable[[str], int]) -> int:
    """Carry out something for each session and return the highest status; of several, all are tried, whatever one's mistake is.

    Raises UsageError where there is none, and the error of one that is alone.
    """
    if not names:
        raise UsageError("there are no sessions", where=str(call.root / "sessions"), hint="ozrepro init")
    status = 0
    for name in names:
        try:
            status = max(status, act(name))
        except OzreproError as error:
            if len(names) == 1:
                raise
            call.out.say(f"{name}: {error}")
            status = max(status, error.exit_code)
    return status
