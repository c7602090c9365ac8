"""The command `ozrepro`, also as `python -m ozrepro`: the warm path first, then the command line."""

import os
import sys

from ozrepro.faststart.start import keep_apart, start, tell


def main() -> None:
    """Run the command line and exit with its status."""
    words = sys.argv[1:]
    keep_apart()
    try:
        if "_ARGCOMPLETE" in os.environ:  # a shell asks what may follow; see argcomplete's documentation
            from ozrepro.frontends.cli.program import complete

            complete()
        start(words)
        from ozrepro.frontends.cli.program import run_program

        status = run_program(words)
    except KeyboardInterrupt:  # while modules were loaded, which takes seconds on a file system that is cold
        tell("interrupted")
        status = 130
    sys.exit(status)


if __name__ == "__main__":
    from ozrepro.faststart.ownpath import put_callers_behind

    put_callers_behind([os.getcwd()])  # where Python looks first for all modules
    main()
