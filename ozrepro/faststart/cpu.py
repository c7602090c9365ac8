"""This machine's CPU as far as binaries care: the x86-64 level. On the warm path of sessions with modules: imports nothing."""

from __future__ import annotations

_CPUINFO = "/proc/cpuinfo"
_FIRST = 1 << 14
"""Bytes of /proc/cpuinfo that are read: the first processor's part, which is 2 kB; a node's whole file may be 400 kB."""

_X86_LEVELS = {
    "v2": ("cx16", "lahf_lm", "popcnt", "pni", "sse4_1", "sse4_2", "ssse3"),
    "v3": ("abm", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe", "xsave"),
    "v4": ("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"),
}
"""The flags of /proc/cpuinfo that each x86-64 level asks for (x86-64 psABI, table 3.1; Linux names)."""


def cpu_level(flags: frozenset[str]) -> str | None:
    """Return the highest x86-64 level whose flags, and those of the levels below, are all there."""
    level = None
    for name, wanted in _X86_LEVELS.items():
        if not flags.issuperset(wanted):
            break
        level = name
    return level


def cpu_flags() -> frozenset[str]:
    """Return the flags of the first processor, empty where the system tells none."""
    try:
        with open(_CPUINFO, "rb", buffering=0) as stream:
            text = stream.read(_FIRST).decode("ascii", "replace")
    except OSError:
        return frozenset()
    for line in text.split("\n"):
        if line.startswith("flags"):
            return frozenset(line.partition(":")[2].split())
    return frozenset()
