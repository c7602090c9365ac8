"""The command that writes a lock, or a recorded run, in another tool's format."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ozrepro.errors import OzreproError, UsageError
from ozrepro.frontends.cli.call import take_method, take_name
from ozrepro.frontends.cli.sessions import looked_at
from ozrepro.pipeline import exporting
from ozrepro.pipeline.exporting import CYCLONEDX, RO_CRATE
from ozrepro.pipeline.session import needs_lock

if TYPE_CHECKING:
    from ozrepro.frontends.cli.call import Add, Call


def register(add: Add) -> None:
    """Add the command."""
    made = add("export", "write the lock in another tool's format, or a run as a research object", export)
    take_name(made, "?", "the session; for ro-crate it is the record's")
    take_method(made)
    # Not by argparse's choices: the methods that have the formats are loaded by this command alone.
    option = made.add_argument("--format", required=True, metavar="FORMAT", help="such as pylock; an unknown one lists all")
    option.completer = lambda **_: exporting.formats()  # type: ignore[attr-defined]
    output = "instead of standard output; for pylock a name such as pylock.analysis.toml, for ro-crate a new folder"
    made.add_argument("--output", metavar="FILE", help=output)
    record = "for ro-crate: the record of a run, its id, or a result that names it"
    made.add_argument("--record", metavar="FILE", help=record)
    for name, words in (
        ("input", "for ro-crate: files that the run has read"),
        ("result", "for ro-crate: files that it has written"),
    ):
        made.add_argument(f"--{name}", metavar="PATH", nargs="+", action="extend", default=[], dest=f"{name}s", help=words)


def export(call: Call) -> int:
    """Write a lock, or a recorded run."""
    arguments = call.arguments
    if arguments.format == RO_CRATE:
        return _export_run(call)
    _check_options(call)
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


def _check_options(call: Call) -> None:
    """Raise UsageError for a missing session, and for options that the format does not take."""
    arguments = call.arguments
    if not arguments.name:
        raise UsageError("no session given", hint=f"ozrepro export NAME --format {arguments.format}")
    of_runs = {"--record": arguments.record, "--input": arguments.inputs, "--result": arguments.results}
    given = [name for name, value in of_runs.items() if value]
    if given:
        raise UsageError(f"{', '.join(given)}: only for --format {RO_CRATE}", hint=f"--format {RO_CRATE}, or leave it out")
    if arguments.method and arguments.format != CYCLONEDX:
        what = f"--method has no effect on {arguments.format}, which holds sections of one method"
        raise UsageError(what, hint=f"leave it out; --format {CYCLONEDX} takes it")


def _export_run(call: Call) -> int:
    """Write a recorded run as a crate: its metadata alone, or a folder with the files too."""
    from ozrepro.methods.reading import load_settings
    from ozrepro.pipeline.publishing import Wanted, publish
    from ozrepro.pipeline.records.reading import the_record

    arguments = call.arguments
    if not arguments.record:
        raise UsageError(f"{RO_CRATE} is of a run: no record given", hint=f"ozrepro export --format {RO_CRATE} --record FILE")
    if arguments.method:
        raise UsageError(f"--method has no effect on {RO_CRATE}: the record says which it was", hint="leave it out")
    record = the_record(arguments.record, load_settings(call.root, call.environ).record)
    if arguments.name and arguments.name != record.session:
        what = f"is of the session {record.session}, not of {arguments.name}"
        raise UsageError(what, where=arguments.record, hint="leave the session out")
    output = Path(arguments.output) if arguments.output is not None else None
    inputs, results = tuple(arguments.inputs), tuple(arguments.results)
    text = publish(Wanted(call.root, call.environ, record, inputs, results, output), call.out.say)
    if output is None:
        sys.stdout.write(text)
    else:
        call.out.line(f"{output}: crate of the run {record.id} written")
    return 0


def _write(output: str, text: str) -> None:
    try:
        Path(output).write_text(text, encoding="utf-8")
    except OSError as error:
        hint = "--output FILE, in a folder that is there and that you may write to"
        raise OzreproError(f"cannot be written: {error.strerror}", where=output, hint=hint) from error
