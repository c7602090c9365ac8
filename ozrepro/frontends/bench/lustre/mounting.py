"""Mounts of this machine: is a folder one, and taking it away."""

from __future__ import annotations

import ctypes
import os
import re

from ozrepro import process
from ozrepro.errors import CommandFailed

__all__ = ["SOURCE", "fusermount", "is_mounted", "unmount"]

SOURCE = "ozrepro-lustre"
"""What a mount of the emulator says is mounted."""

_MOUNTS = "/proc/self/mountinfo"
_DETACH = 2


def fusermount() -> str | None:
    """Return the program that may mount and unmount FUSE file systems for a user, or None."""
    return process.find_program("fusermount3", process.CLEAN_PATH) or process.find_program("fusermount", process.CLEAN_PATH)


def is_mounted(path: str, source: str = "") -> bool:
    """Tell whether something is mounted at `path`, also when whatever served it is dead; such a folder cannot be asked itself.

    With `source`, whether what was mounted there last is called that.
    """
    # The folder's own path must not be resolved: that would ask the dead server. What is above it is on another file system.
    absolute = os.path.abspath(path)
    wanted = os.path.join(os.path.realpath(os.path.dirname(absolute)), os.path.basename(absolute))
    try:
        with open(_MOUNTS, encoding="utf-8", errors="surrogateescape") as stream:
            found = [line for line in stream if _plain(line.split(" ")[4]) == wanted]
    except OSError:
        return False
    # After " - " come the type, and what is mounted (proc_pid_mountinfo(5)).
    return bool(found) and (not source or _plain(found[-1].partition(" - ")[2].split(" ")[1]) == source)


def unmount(path: str) -> None:
    """Take a FUSE mount away, at once for new users, and for good when the last one leaves. Raises CommandFailed."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.umount2(os.fsencode(path), _DETACH) == 0:
        return  # as root, or in a namespace of this process's own
    if os.geteuid() == 0:
        reason = os.strerror(ctypes.get_errno())
        if is_mounted(path):
            raise CommandFailed(f"cannot unmount {path}: {reason}", hint=f"umount -l {path}")
        return
    program = fusermount()
    if program is None:
        raise CommandFailed(f"cannot unmount {path}: there is no fusermount3", hint=f"umount -l {path}, as root")
    done = process.run([program, "-u", "-z", path], env={"PATH": process.CLEAN_PATH}, timeout=30)
    if is_mounted(path):
        done.checked(f"cannot unmount {path}", hint=f"fusermount3 -u -z {path}")


def _plain(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), field)
