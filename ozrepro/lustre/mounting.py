"""Mounts of this machine: is a folder one, and taking it away."""

from __future__ import annotations

import ctypes
import os
import re

from ozrepro import process
from ozrepro.errors import CommandFailed

__all__ = ["fusermount", "is_mounted", "unmount"]

_MOUNTS = "/proc/self/mountinfo"
_DETACH = 2


def fusermount() -> str | None:
    """Return the program that may mount and unmount FUSE file systems for a user, or None."""
    return process.find_program("fusermount3", process.CLEAN_PATH) or process.find_program("fusermount", process.CLEAN_PATH)


def is_mounted(path: str) -> bool:
    """Tell whether something is mounted at `path`, also when whatever served it is dead; such a folder cannot be asked itself."""
    # The folder's own path must not be resolved: that would ask the dead server. What is above it is on another file system.
    absolute = os.path.abspath(path)
    wanted = os.path.join(os.path.realpath(os.path.dirname(absolute)), os.path.basename(absolute))
    try:
        with open(_MOUNTS, encoding="utf-8", errors="surrogateescape") as stream:
            return any(_plain(line.split(" ")[4]) == wanted for line in stream)
    except OSError:
        return False


def unmount(path: str) -> None:
    """Take a FUSE mount away, at once for new users, and for good when the last one leaves. Raises CommandFailed."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.umount2(os.fsencode(path), _DETACH) != 0 and is_mounted(path):
            raise CommandFailed(f"cannot unmount {path}: {os.strerror(ctypes.get_errno())}", hint=f"umount -l {path}")
        return
    program = fusermount()
    if program is None:
        raise CommandFailed(f"cannot unmount {path}: there is no fusermount3", hint=f"umount -l {path}, as root")
    done = process.run([program, "-u", "-z", path], env={"PATH": process.CLEAN_PATH}, timeout=30)
    if is_mounted(path):
        done.checked(f"cannot unmount {path}", hint=f"fusermount3 -u -z {path}")


def _plain(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), field)
