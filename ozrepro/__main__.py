"""The command `ozrepro`, also as `python -m ozrepro`: the warm path first, then the command line.

Of Python, only `os` and `sys` are imported before what the caller has on PYTHONPATH is put behind.
"""

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
        from ozrepro.faststart.start import start

        start(words)
        from ozrepro.frontends.cli.program import run_program

        status = run_program(words)
    except KeyboardInterrupt:  # while modules were loaded, which takes seconds on a file system that is cold
        from ozrepro.faststart.start import tell

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


if __name__ == "__main__":
    from ozrepro.faststart.ownpath import put_callers_behind

    put_callers_behind([os.getcwd()])  # where Python looks first for all modules
    main()
