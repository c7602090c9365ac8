# PYTHON_ARGCOMPLETE_OK
"""The command line: arguments, printing, exit codes. The only place that prints or exits.

`start` is the warm path of `ozrepro run`; everything else is loaded only when that path does not apply.
"""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line and exit with its status."""
    words = sys.argv[1:]
    try:
        if "_ARGCOMPLETE" in os.environ:  # a shell asks what may follow; see argcomplete's documentation
            from ozrepro.cli.program import complete

            complete()
        if words[:1] == ["run"]:
            from ozrepro.cli.start import start

            start(words[1:])
        from ozrepro.cli.program import run_program

        status = run_program(words)
    except KeyboardInterrupt:  # while modules were loaded, which takes seconds on a file system that is cold
        tell("interrupted")
        status = 130
    sys.exit(status)


def tell(text: str) -> None:
    """Say a line on standard error without what `Output` needs; where that is closed or read by nobody, nothing."""
    try:
        if sys.stderr is not None:
            sys.stderr.write(f"ozrepro: {text}\n")
    except OSError:
        sys.stderr = None  # the interpreter would try to write it again at its end, and make a status of its own of that
