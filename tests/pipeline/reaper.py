"""Starts a build, sends a signal to some of its processes, and ends when none of them is left.

As a subreaper (prctl(2)) it becomes the parent of all that a killed process leaves, however it has detached itself: a process that
stays keeps this one from ending. Arguments: the seconds since it began, or -1 for as soon as it has started a program; the signal;
who gets it (parent, child, others, all); the command.
Prints how many got it while the command ran, the command's status, and those of the processes that it left to end by themselves.
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
    while float(seconds) < 0 and not victims("others", build.pid) and build.poll() is None:
        time.sleep(0.001)
    time.sleep(max(0.0, float(seconds)))  # random instants are the point here: nothing is waited for
    sent = 0
    for pid in victims(whom, build.pid) if build.poll() is None else ():
        try:
            os.kill(pid, getattr(signal, number))
        except ProcessLookupError:
            continue
        sent += 1
    sys.stdout.write(f"{sent}\n{build.wait()}\n")
    while True:
        try:
            sys.stdout.write(f"{os.waitstatus_to_exitcode(os.wait()[1])}\n")
        except ChildProcessError:
            break


if __name__ == "__main__":
    main()
