"""A mount namespace of this process's own, in which it puts folders over others and nobody else sees it.

Root's or a user's: where only a user namespace gives the right to mount, this process gets one in which it keeps its own name and
group. What is mounted in it is gone with the last process in it, however that ends (mount_namespaces(7), user_namespaces(7)).
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from ozrepro.errors import OzreproError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["cover", "end_all", "enter", "give_up_rights", "may_mount", "space"]

_NEWUSER, _NEWNS = 0x10000000, 0x00020000  # linux/sched.h
_BIND, _RECURSIVE, _PRIVATE = 0x1000, 0x4000, 0x40000  # linux/mount.h
_SAFE = 2 | 4
"""MS_NOSUID and MS_NODEV."""
_SYS_ADMIN = 21  # linux/capability.h
_VERSION = 0x20080522
_DUMPABLE, _AMBIENT, _IS_SET, _RAISE, _LOWER = 4, 47, 1, 2, 3  # linux/prctl.h


def enter() -> None:
    """Give this process a mount namespace of its own. Raises OzreproError where the system does not allow it.

    To be called before any thread is started: a process of several cannot have a user namespace of its own.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() != 0 or libc.unshare(_NEWNS) != 0:
        _enter_as_user(libc)
    if libc.mount(b"none", b"/", None, _RECURSIVE | _PRIVATE, None) != 0:
        raise _refused(os.strerror(ctypes.get_errno()))


def _enter_as_user(libc: ctypes.CDLL) -> None:
    user, group = os.geteuid(), os.getegid()
    _wait_for_ended_threads()
    if libc.unshare(_NEWUSER | _NEWNS) != 0:
        number = ctypes.get_errno()
        raise _refused("this process has threads already" if number == errno.EINVAL else os.strerror(number))
    # Without "deny" only root may say which groups there are.
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        try:
            # In bytes: a codec would be imported now, perhaps from below a home that is closed to this user.
            with open(f"/proc/self/{name}", "wb", buffering=0) as stream:
                stream.write(text.encode())
        except OSError as error:  # AppArmor may allow a user namespace, and nothing in it
            raise _refused(f"/proc/self/{name}: {error.strerror}") from error


def cover(folder: Path, source: Path | None) -> None:
    """Put the folder `source` over another one in this process's own namespace, or memory where it is None. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if source is not None:
        failed = libc.mount(os.fsencode(source), os.fsencode(folder), None, _BIND, None)
    else:
        failed = libc.mount(b"ozrepro", os.fsencode(folder), b"tmpfs", _SAFE, b"mode=755")
    if failed:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(folder))


def space() -> str:
    """Return the name of this process's mount namespace."""
    return os.readlink("/proc/self/ns/mnt")


def end_all(name: str, patience: float = 10.0) -> None:
    """Kill the processes of a mount namespace, not this one's, and wait until they have ended, `patience` seconds at most."""
    end = time.monotonic() + patience
    while name != space() and (left := list(_processes_of(name))) and time.monotonic() < end:
        for number in left:
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        time.sleep(0.01)


def _processes_of(name: str) -> Iterator[int]:
    for entry in os.listdir("/proc"):
        with suppress(OSError):  # it has ended, or is another user's
            if entry.isdecimal() and os.readlink(f"/proc/{entry}/ns/mnt") == name:
                yield int(entry)


def give_up_rights() -> None:
    """Give up what a user namespace gave it, once all is mounted: its programs cannot look at it otherwise (ptrace(2))."""
    if os.geteuid() != 0:
        libc = ctypes.CDLL(None)
        libc.capset((ctypes.c_uint32 * 2)(_VERSION, 0), (ctypes.c_uint32 * 6)())
        libc.prctl(_DUMPABLE, 1, 0, 0, 0)


def _wait_for_ended_threads(patience: float = 1.0) -> None:
    """Wait until threads that have ended are gone: for a moment after its end, also when joined, the kernel counts one."""
    end = time.monotonic() + patience
    while len(os.listdir("/proc/self/task")) > 1 and time.monotonic() < end:
        time.sleep(0.001)


def _refused(reason: str) -> OzreproError:
    return OzreproError(
        f"folders cannot be served in their own place: {reason}",
        hint="as root, or where users may make user namespaces: "
        "sysctl user.max_user_namespaces kernel.apparmor_restrict_unprivileged_userns",
    )


@contextmanager
def may_mount() -> Iterator[None]:
    """Let programs that are started meanwhile by this thread, or by one that it starts, mount file systems in this namespace.

    A user's programs lose that right otherwise, as those that are measured should. Does nothing where there is none to give, or
    where they have it anyway.
    """
    libc = ctypes.CDLL(None)
    has = os.geteuid() == 0 or libc.prctl(_AMBIENT, _IS_SET, _SYS_ADMIN, 0, 0) == 1
    given = not has and _make_inheritable(libc) and libc.prctl(_AMBIENT, _RAISE, _SYS_ADMIN, 0, 0) == 0
    try:
        yield
    finally:
        if given:
            libc.prctl(_AMBIENT, _LOWER, _SYS_ADMIN, 0, 0)


def _make_inheritable(libc: ctypes.CDLL) -> bool:
    """Add the right to mount to those that a program may inherit; say whether this process has it (capset(2))."""
    head = (ctypes.c_uint32 * 2)(_VERSION, 0)
    data = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable: first the lower 32, then the upper ones
    if libc.capget(head, data) != 0 or not data[1] & 1 << _SYS_ADMIN:
        return False
    data[2] |= 1 << _SYS_ADMIN
    return bool(libc.capset(head, data) == 0)
