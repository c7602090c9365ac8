"""The command that writes a lock in another tool's format."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ozrepro.errors import OzreproError, UsageError
from ozrepro.frontends.cli.call import take_method, take_name
from ozrepro.frontends.cli.sessions import looked_at
from ozrepro.pipeline import exporting
from ozrepro.pipeline.exporting import CYCLONEDX
from ozrepro.pipeline.session import needs_lock

if TYPE_CHECKING:
    from ozrepro.frontends.cli.call import Add, Call


def register(add: Add) -> None:
    """Add the command."""
    made = add("export", "write the lock in another tool's format", export)
    take_name(made)
    take_method(made)
    # Not by argparse's choices: the methods that have the formats are loaded by this command alone.
    option = made.add_argument("--format", required=True, metavar="FORMAT", help="such as pylock; an unknown one lists all")
    option.completer = lambda **_: exporting.formats()  # type: ignore[attr-defined]
    output = "instead of standard output; for pylock a name such as pylock.analysis.toml"
    made.add_argument("--output", metavar="FILE", help=output)


def export(call: Call) -> int:
    """Write the lock in another tool's format."""
    arguments = call.arguments
    if arguments.method and arguments.format != CYCLONEDX:
        what = f"--method has no effect on {arguments.format}, which holds sections of one method"
        raise UsageError(what, hint=f"leave it out; --format {CYCLONEDX} takes it")
    session = looked_at(call, arguments.name)
    lock = session.lock()
    if lock is None:
        raise needs_lock(session)
    if arguments.format == "pylock" and arguments.output is not None:
        from packaging.pylock import is_valid_pylock_path

        if not is_valid_pylock_path(Path(arguments.output)):
            raise UsageError(
                f"{arguments.output!r} is not a name that installers take for a pylock",
                hint=f"--output pylock.{session.name}.toml (PEP 751)",
            )
    text = exporting.export(session, lock, arguments.format, call.out.say)
    if arguments.output is None:
        sys.stdout.write(text)
    else:
        _write(arguments.output, text)
    return 0


def _write(output: str, text: str) -> None:
    try:
        Path(output).write_text(text, encoding="utf-8")
    except OSError as error:
        hint = "--output FILE, in a folder that is there and that you may write to"
        raise OzreproError(f"cannot be written: {error.strerror}", where=output, hint=hint) from error
