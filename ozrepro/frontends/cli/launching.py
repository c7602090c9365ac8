"""The commands for other tools: link, check."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ozrepro import open_session
from ozrepro.errors import CommandFailed, LockError, NoMethodError
from ozrepro.frontends.cli.call import take_method, take_name
from ozrepro.frontends.cli.sessions import looked_at
from ozrepro.frontends.launchers import keep_launchers, link_launchers, write_launchers
from ozrepro.pipeline.checks import check_section
from ozrepro.pipeline.choice import chosen_section
from ozrepro.pipeline.generations import built_generation
from ozrepro.process import run

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ozrepro import Built
    from ozrepro.frontends.cli.call import Add, Call


def register(add: Add) -> None:
    """Add the commands of this module."""
    made = add("link", "give other tools a folder with the session's python and scripts", link)
    take_name(made)
    made.add_argument("folder", metavar="DIR", help="where the links are made; it may have other files, with other names")
    made = add("check", "say whether a session can start here as it is locked and built", check)
    take_name(made)
    take_method(made)


def link(call: Call) -> int:
    """Write the launchers of a session, and links to them in a folder."""
    name = call.arguments.name
    launchers = keep_launchers(call.root, name, lambda: ready_or_built(call, name), os.environ)
    target = Path(os.path.abspath(call.arguments.folder))
    link_launchers(launchers, target)
    call.out.line(f"{target}: {len(launchers.names)} programs of {name}; ozrepro build {name} keeps them up to date")
    return 0


def ready_or_built(call: Call, name: str) -> Built:
    """Return a session as an earlier start has left it, built now where it is not."""
    session = open_session(name, call.root, environ=call.environ)
    built = session.ready()
    if built is None:
        with call.out.progress() as progress:
            built = session.build(call.out.say, progress)
    return built


def keep_after_build(call: Call, name: str) -> None:
    """Write the launchers after a build, but for one by an option whose environment is not what a start takes."""
    asked = call.arguments
    if (asked.method or asked.python or asked.form) and open_session(name, call.root, environ=os.environ).ready() is None:
        return
    write_launchers(call.root, name, os.environ, call.out.say)


def check(call: Call) -> int:
    """Say whether a session can start here; raise the reason why not."""
    name, method = call.arguments.name, call.arguments.method
    built = open_session(name, call.root, method=method, environ=call.environ).ready()
    if built is None:
        _explain(call, name)
        with call.out.progress() as progress:
            built = open_session(name, call.root, method=method, environ=call.environ).build(call.out.say, progress)
    if not built.environment.is_seen_outside:
        _try(name, built, os.environ)
    call.out.line(f"{name}: {built.method} can start here")
    return 0


def _explain(call: Call, name: str) -> None:
    """Raise the error of a session that is not locked, not as it was locked, or not built. Builds nothing."""
    session = looked_at(call, name)
    section = chosen_section(session)
    check_section(session, section)
    if built_generation(session, section) is None:
        raise LockError("is not built as it is locked", where=f"session {name!r}", hint=f"ozrepro build {name}")


def _try(name: str, built: Built, environ: Mapping[str, str]) -> None:
    """Start nothing in an image or a file that is mounted: whether that can be done is known by doing it."""
    words, variables = built.environment.command(["true"]), built.environment.variables_for(environ)
    try:
        run(words, env=variables, timeout=300).checked(f"starting {name}")
    except CommandFailed as error:
        raise NoMethodError(name, [f"{built.method}: {error.what}"]) from error
