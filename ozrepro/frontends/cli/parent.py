"""Runs a program as its parent, where something is to be done after its end: for a caller the two are one process.

A signal that another process sends is passed on; one of the terminal reaches the program by itself, which is in the same group.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from ozrepro.process import end_with

if TYPE_CHECKING:
    from collections.abc import Callable

_PASSED = (
    *(signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGTERM),
    *(signal.SIGCONT, signal.SIGTSTP, signal.SIGWINCH, signal.SIGXCPU),
)
_STOPS = (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)
"""By which a shell's job is stopped; SIGSTOP, which no program sees, is sent to this process too by whoever stops all."""

_OF_A_TERMINAL = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGWINCH)


def run_as_parent(execute: Callable[[], object], ended: Callable[[int], None]) -> int:
    """Start a program in a process of its own, wait for its end, and return its status (negative: the signal).

    Signals stay blocked from here on, so that none can end this process before `ended` has done its work: the caller ends as the
    program has, by `end_as`.

    Args:
        execute: replaces the new process by the program; what it raises is that process's end.
        ended: is called with the status.

    """
    for stream in (sys.stdout, sys.stderr):  # both processes would write what is kept
        stream.flush()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (*_PASSED, signal.SIGCHLD))
    # One that is ignored takes the status of children away.
    children = signal.signal(signal.SIGCHLD, lambda *_: None)
    parent = os.getpid()
    program = os.fork()
    if program == 0:
        status = 126
        try:
            signal.signal(signal.SIGCHLD, children)
            if sys.platform == "linux":
                with suppress(ImportError):
                    end_with(parent, signal.SIGKILL)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            execute()
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
        finally:
            with suppress(OSError):
                sys.stderr.flush()
            os._exit(status)
    status = _wait_for(program)
    ended(status)
    return status


def _wait_for(program: int) -> int:
    """Pass signals on to a child until it has ended; return its status."""
    while True:
        number, is_sent = _next_signal()
        if number != signal.SIGCHLD:
            if is_sent:
                os.kill(program, number)
            continue
        changed, status = os.waitpid(program, os.WNOHANG | os.WUNTRACED)
        if changed and os.WIFSTOPPED(status):
            if os.WSTOPSIG(status) in _STOPS:
                os.kill(os.getpid(), signal.SIGSTOP)  # the shell sees its job stopped, and has both go on later
        elif changed:
            return os.waitstatus_to_exitcode(status)


def _next_signal() -> tuple[int, bool]:
    """Wait for a signal; return its number, and whether a process has sent it to this one (sigaction(2), si_code)."""
    if sys.platform == "darwin":
        number = signal.sigwait((*_PASSED, signal.SIGCHLD))
        return number, not (number in _OF_A_TERMINAL and os.isatty(0))
    told = signal.sigwaitinfo((*_PASSED, signal.SIGCHLD))
    return told.si_signo, told.si_code <= 0


def end_as(status: int) -> int:
    """End this process by the signal that ended the program, without a core of its own; return any other status."""
    if status >= 0:
        return status
    number = -status
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    with suppress(ValueError, OSError):  # SIGKILL has no handler
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (number,))
    os.kill(os.getpid(), number)
    return 128 + number
