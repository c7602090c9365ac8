"""Runs a program under strace and gives back its system calls."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

STRACE = shutil.which("strace")
_CALL = re.compile(r"(\d+) +([a-z_0-9]+)\((.*)")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True)
class SystemCall:
    """One system call: who made it, its name, and its arguments and result as strace prints them."""

    pid: int
    name: str
    text: str

    @property
    def paths(self) -> list[str]:
        """The strings among the arguments; for a call of strace's class %file the first ones are its paths."""
        return _QUOTED.findall(self.text)

    @property
    def failed(self) -> bool:
        """Whether the call returned an error."""
        return " = -1 " in self.text


@dataclass(frozen=True, slots=True)
class Traced:
    """A program that has ended: its status, what it printed, and its system calls, in order."""

    status: int
    output: str
    calls: tuple[SystemCall, ...]

    def named(self, *names: str) -> list[SystemCall]:
        """Return the calls of these names."""
        return [call for call in self.calls if call.name in names]


def why_not() -> str:
    """Say why nothing can be traced on this machine; "" when it can."""
    if STRACE is None:
        return "strace is not installed"
    done = subprocess.run([STRACE, "-o", os.devnull, "true"], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else f"strace may not trace here: {done.stderr.strip()}"


def trace(
    command: Sequence[str], select: str, *, cwd: Path, env: Mapping[str, str], options: Sequence[str] = (), text: str = ""
) -> Traced:
    """Run a program and its children under `strace -f -e trace=SELECT`, with more `options` of strace's; `text` goes to its input.

    `select` is strace's own word: `%file` means every call that takes a path, and fstat where the C library makes it
    a newfstatat with an empty one.
    """
    assert STRACE is not None
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "calls"
        words = [
            STRACE,
            "-f",
            "-qq",
            "-s",
            "4096",
            "-e",
            f"trace={select}",
            "-e",
            "signal=none",
            "-o",
            str(log),
            *options,
            *command,
        ]
        done = subprocess.run(words, cwd=cwd, env=dict(env), capture_output=True, text=True, check=False, input=text or None)
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    # A call that another process interrupts is printed in two parts; the first one is counted.
    found = (_CALL.match(line) for line in lines)
    calls = tuple(SystemCall(int(match[1]), match[2], match[3]) for match in found if match)
    return Traced(done.returncode, done.stdout + done.stderr, calls)
