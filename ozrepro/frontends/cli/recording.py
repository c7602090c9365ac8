"""The command for records of runs, record; and how `run` keeps one."""

from __future__ import annotations

import os
import shlex
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from ozrepro.errors import UsageError, visible
from ozrepro.faststart.ready import check_command
from ozrepro.faststart.start import execute
from ozrepro.frontends.cli.call import take_json
from ozrepro.frontends.cli.parent import end_as, run_as_parent
from ozrepro.methods.reading import load_settings
from ozrepro.pipeline.records.comparing import lock_now
from ozrepro.pipeline.records.reading import read_records, the_record
from ozrepro.pipeline.records.record import as_table

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from ozrepro import Environment, Session
    from ozrepro.frontends.cli.call import Add, Call
    from ozrepro.pipeline.records.record import Record

_LONGEST = 2000
"""Characters of a value that a person is shown; `--json` has all."""

_COMMAND = 60


def register(add: Add) -> None:
    """Add the command of this module."""
    made = add("record", "list and show the records of runs", record)
    made.set_defaults(anywhere=True)
    actions = made.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, summary in (
        ("list", "list the runs that are recorded"),
        ("show", "show a run, by its id or by a result that names it"),
    ):
        action = actions.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        action.add_argument("--plain", action="store_true", help="no colours, no progress bars")
        take_json(action)
        words = "the folder or file of records, instead of that of the settings"
        if name == "list":
            action.add_argument("records", metavar="PATH", nargs="?", help=words)
        else:
            action.add_argument("--records", metavar="PATH", help=words)
            what = "an id or its beginning, a file with one record, or a result (PNG, JSON, text) that names its record"
            action.add_argument("what", metavar="RUN", help=what)


def take_record(parser: argparse.ArgumentParser) -> None:
    """Let a command keep a record of what it runs."""
    words = "wait for the command, and keep a record of it: a line in FILE, or a file in a folder (DIR/)"
    parser.add_argument("--record", metavar="FILE", help=words)


def execute_recorded(
    session: Session, environment: Environment, command: list[str], path: str | None, say: Callable[[str], None]
) -> int:
    """Replace this process by a command; with a path for its record wait for the command, and end as it has.

    Where the settings alone ask for records, the start is noted: what is replaced sees no end. Ends and raises as `execute`.
    """
    check_command(environment, command, session.name)
    recording = session.record(command, by="run", say=say, path=path or "")
    more = recording.variables if recording is not None else {}

    def start() -> None:
        execute(environment, command, session.name, more=more)

    if recording is None or path is None:
        execute(environment, command, session.name, more=more)

    def ended(status: int) -> None:
        recording.end(status if status >= 0 else 128 - status, "" if status >= 0 else _signal_name(-status))

    return end_as(run_as_parent(start, ended))


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"SIG{number}"


def record(call: Call) -> int:
    """Carry out one of the actions on records."""
    return {"list": _list, "show": _show}[call.arguments.action](call)


def _records(call: Call) -> Path | None:
    """Return the folder or file of records: of the option, else of the settings. Raises SpecError, UsageError."""
    given = call.arguments.records
    return Path(given) if given is not None else load_settings(call.root, os.environ).record


def _list(call: Call) -> int:
    path = _records(call)
    if path is None:
        hint = 'ozrepro record list DIR, or record = "DIR" in [tool.ozrepro] of pyproject.toml'
        raise UsageError("no folder of records is set", hint=hint)
    if call.arguments.records is None and not os.path.lexists(path):
        call.out.value({"schema": 1, "records": [], "damaged": []})
        call.out.line(f"no records yet in {path}")
        return 0
    listing = read_records(path)
    call.out.value({"schema": 1, "records": [as_table(item) for item in listing.records], "damaged": list(listing.damaged)})
    rows = [
        (item.id, item.session, _line(item.method, _COMMAND), _status(item), _line(shlex.join(item.command), _COMMAND))
        for item in listing.records
    ]
    if rows:
        call.out.table(("ID", "SESSION", "METHOD", "STATUS", "COMMAND"), rows)
    else:
        call.out.line(f"no records in {path}")
    for line in listing.damaged:
        call.out.say(_line(line))
    return 1 if listing.damaged else 0


def _show(call: Call) -> int:
    item = the_record(call.arguments.what, _records(call))
    lock = lock_now(item, call.root)
    call.out.value({"schema": 1, "record": as_table(item), "lock": lock})
    rows = [(name, _line(text)) for name, text in _rows(item, lock) if text]
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        call.out.line(f"{name.ljust(width)}  {text}")
    return 0


def _line(text: str, most: int = _LONGEST) -> str:
    """Return a foreign text as it can be shown on one line, cut where it is long."""
    shown = visible(text if len(text) <= most else f"{text[:most]}…")
    return shown.replace("\n", "\\n").replace("\t", "\\t")


def _status(item: Record) -> str:
    """Return how a run ended, in a word or two."""
    if item.signal:
        return _line(item.signal, _COMMAND)
    if item.status is not None:
        return str(item.status)
    return "skipped" if item.end else "no end"


_LOCKS = {
    "same": "as it is now",
    "section": "has changed since; the section is the same",
    "changed": "has changed since, and so has the section",
    "missing": "is not in this project",
    "unreadable": "is there and cannot be read",
}


def _rows(item: Record, lock: str) -> Iterator[tuple[str, str]]:
    """Yield the names and values of a record as a person is shown them."""
    yield "record", item.id
    yield "session", f"{item.session}, by {'nox' if item.by == 'nox' else f'ozrepro {item.by}'}"
    yield "method", f"{item.method}{', one file' if item.form == 'file' else ''}"
    yield "environment", item.key
    yield "section", item.section
    differs = f"; what differs: ozrepro diff {item.session} {item.git.revision}" if item.git and lock == "changed" else ""
    yield "lock", f"{item.lock.path}: {_LOCKS[lock]}{differs}"
    yield "lock sha256", item.lock.sha256
    if item.git is not None:
        more = f" and {item.git.more} more" if item.git.more else ""
        dirty = f", and changes in {', '.join(item.git.dirty)}{more}" if item.git.dirty else ""
        yield "revision", f"{item.git.revision}{dirty}"
    yield "command", shlex.join(item.command)
    yield "folder", item.folder
    yield "start", item.start
    yield "end", f"{item.end} ({item.seconds:.1f} s)" if item.end and item.seconds is not None else _without_end(item)
    yield "status", _status(item) if item.end else ""
    if item.job is not None:
        part = f", task {item.job.index} of array {item.job.array}" if item.job.array else ""
        restarts = f", restarted {item.job.restarts} times" if item.job.restarts else ""
        yield "job", f"{item.job.scheduler} {item.job.id}{part}{restarts}"
    machine = item.machine
    threads = f"OMP_NUM_THREADS={machine.omp}" if machine.omp else ""
    driver = f"GPU driver {machine.driver}" if machine.driver else ""
    cpus = f"{machine.cpus} processor{'s' if machine.cpus != 1 else ''}" if machine.cpus else ""
    kernel = f"kernel {machine.kernel}" if machine.kernel else ""
    yield "machine", ", ".join(filter(None, (machine.cpu, cpus, threads, kernel, machine.libc, driver)))
    yield "host", item.host
    yield "user", item.user
    yield "ozrepro", item.ozrepro


def _without_end(item: Record) -> str:
    """Return what is known of a run whose end is not."""
    replaced = ", or was started without --record, which notes no end" if item.by == "run" else ""
    return f"not known: it still runs, or was killed{replaced}"
