"""Runs a program whose every flock(2) fails with one errno, as on a mount without flock.

Usage: noflock.py ENOSYS PROGRAM WORD… A seccomp filter of one process and its children; needs no privilege (seccomp(2), PR_SET_NO_NEW_PRIVS).
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys

# The architecture as the kernel's audit code (linux/audit.h) and its numbers of system calls.
_CALLS = {"x86_64": (0xC000003E, {"flock": 73, "mount": 165}), "aarch64": (0xC00000B7, {"flock": 32, "mount": 40})}

_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06  # BPF_LD|BPF_W|BPF_ABS, BPF_JMP|BPF_JEQ|BPF_K, BPF_RET|BPF_K
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_SET_NO_NEW_PRIVS, _SET_SECCOMP, _MODE_FILTER = 38, 22, 2


def why_not() -> str:
    """Say why this machine cannot filter system calls so; "" when it can."""
    if sys.platform != "linux" or platform.machine() not in _CALLS:
        return f"no seccomp filter written for {sys.platform} on {platform.machine()}"
    return ""


def forbid(call: str, number: int) -> None:
    """Let every such system call, `flock` or `mount`, of this process and of its children fail with errno `number`."""
    architecture, calls = _CALLS[platform.machine()]
    program = b"".join(
        struct.pack("=HBBI", *instruction)
        for instruction in (
            (_LOAD, 0, 0, 4),  # seccomp_data.arch
            (_JUMP_IF_EQUAL, 0, 3, architecture),
            (_LOAD, 0, 0, 0),  # seccomp_data.nr
            (_JUMP_IF_EQUAL, 0, 1, calls[call]),
            (_RETURN, 0, 0, _ERRNO | number),
            (_RETURN, 0, 0, _ALLOW),
        )
    )
    instructions = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("@HP", len(program) // 8, ctypes.addressof(instructions))
    filter_program = ctypes.create_string_buffer(header, len(header))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    if prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 or prctl(_SET_SECCOMP, _MODE_FILTER, filter_program, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


if __name__ == "__main__":
    forbid("flock", int(sys.argv[1]) if sys.argv[1].isdigit() else getattr(errno, sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])
