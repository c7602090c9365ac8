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
    _keep_apart()
    try:
        if "_ARGCOMPLETE" in os.environ:  # a shell asks what may follow; see argcomplete's documentation
            from ozrepro.frontends.cli.program import complete

            complete()
        if words[:1] == ["run"]:
            from ozrepro.faststart.start import start

            start(words[1:])
        from ozrepro.frontends.cli.program import run_program

        status = run_program(words)
    except KeyboardInterrupt:  # while modules were loaded, which takes seconds on a file system that is cold
        tell("interrupted")
        status = 130
    sys.exit(status)


def _keep_apart() -> None:
    """Keep the caller's Python packages and warnings from this process: they are meant for what it starts."""
    site = sys.modules.get("site")
    if os.environ.get("PYTHONPATH") or (site is not None and site.ENABLE_USER_SITE):
        from ozrepro.faststart.ownpath import put_callers_behind

        put_callers_behind()
    if sys.warnoptions:  # PYTHONWARNINGS=error would make an error of a library's note to its developers
        import warnings

        warnings.resetwarnings()
        warnings.simplefilter("ignore")


def tell(text: str) -> None:
    """Say a line on standard error without what `Output` needs; where that is closed or read by nobody, nothing."""
    try:
        if sys.stderr is not None:
            sys.stderr.write(f"ozrepro: {text}\n")
    except OSError:
        sys.stderr = None  # the interpreter would try to write it again at its end, and make a status of its own of that
