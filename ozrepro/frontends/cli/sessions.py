"""What several sessions have in common for a command: which they are, and that one's mistake does not stop the others."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ozrepro.errors import OzreproError, UsageError
from ozrepro.methods.reading import load_settings
from ozrepro.pipeline.session import Session, open_session
from ozrepro.project.spec import session_names

if TYPE_CHECKING:
    from collections.abc import Callable

    from ozrepro.frontends.cli.call import Call


def names_of(call: Call) -> list[str]:
    """Return the sessions named, or all of the project. Raises an error for a mistake in the settings."""
    load_settings(call.root, os.environ, method=call.arguments.method)
    return call.arguments.names or session_names(call.root)


def opened(call: Call, name: str) -> Session:
    """Return a session with the method that was asked for. Raises SpecError, UsageError."""
    return open_session(call.root, name, os.environ, method=call.arguments.method)


def looked_at(call: Call, name: str) -> Session:
    """Return a session as `opened` does, for a command that only looks."""
    return opened(call, name).for_looking()


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
