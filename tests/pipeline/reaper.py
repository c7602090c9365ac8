"""Starts a build, sends a signal to some of its processes some time after it began, and ends when none of them is left.

As a subreaper (prctl(2)) it becomes the parent of all that a killed process leaves, however it has detached itself: a process that
stays keeps this one from ending. Arguments: seconds, the signal, who gets it (parent, child, others, all), and the command.
Prints the command's status.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time

from tests.store.running import PATIENCE, children_of

_SUBREAPER = 36  # linux/prctl.h


def victims(whom: str, parent: int) -> list[int]:
    """Return the processes that are to get the signal, those that start others first."""
    children = children_of(parent)
    others = [pid for child in children for pid in children_of(child)]
    return {"parent": [parent], "child": children, "others": others, "all": [parent, *children, *others]}[whom]


def main() -> None:
    """Do it."""
    seconds, number, whom, *words = sys.argv[1:]
    assert ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0) == 0
    signal.alarm(int(PATIENCE))
    build = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert build.stderr is not None
    for line in build.stderr:
        if b": building " in line:
            break
    reader = threading.Thread(target=build.stderr.read, daemon=True)
    reader.start()
    time.sleep(float(seconds))  # random instants are the point here: nothing is waited for
    for pid in victims(whom, build.pid):
        try:
            os.kill(pid, getattr(signal, number))
        except ProcessLookupError:
            continue
    sys.stdout.write(f"{build.wait()}\n")
    while True:
        try:
            os.wait()
        except ChildProcessError:
            break


if __name__ == "__main__":
    main()
