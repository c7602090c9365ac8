"""Starts the processes that are measured: a program of its own, run as `python -I -S launcher.py`, that imports next to nothing.

A child's peak of memory (ru_maxrss) is at least that of the process that starts it, so a small one must. It reads one request
a line and answers each with a line, both marshalled and in hexadecimal; it ends with its standard input.
"""

import marshal
import os
import resource  # noqa: F401 - os.wait4 imports it, and would at the first start
import sys
import time

_BY_DEFAULT = (13, 25)  # SIGPIPE and SIGXFSZ, which Python ignores and a program that it starts should not
_LARGEST = 1 << 24


def scratch() -> int:
    """Return the descriptor of a file that nothing names, for what a child prints."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("ozrepro-bench")
    path = os.path.join(os.environ.get("TMPDIR") or "/tmp", f"ozrepro-bench-{os.getpid()}-{time.monotonic_ns()}")  # noqa: S108
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    os.unlink(path)
    return descriptor


def content(descriptor: int) -> bytes:
    """Return the end of a file, of at most 16 MiB, and close it."""
    size = os.fstat(descriptor).st_size
    begin = max(0, size - _LARGEST)
    found = os.pread(descriptor, size - begin, begin)
    os.close(descriptor)
    return found


def open_gate(folder: str) -> None:
    """Let the ranks go on that wait for each other in a folder."""
    os.close(os.open(os.path.join(folder, "go"), os.O_WRONLY | os.O_CREAT, 0o600))


def spawn(argv: list[str], env: dict[str, str], cwd: str, files: tuple[int, int], nothing: int) -> int:
    """Start one process and return its id."""
    os.chdir(cwd)
    actions = [(os.POSIX_SPAWN_DUP2, source, target) for target, source in enumerate((nothing, *files))]
    return os.posix_spawn(argv[0], argv, env, file_actions=actions, setsigdef=_BY_DEFAULT)


def wait(numbers: dict[int, int], zero: float, gate: str, count: int) -> dict[int, dict[str, object]]:
    """Wait for all children; return of each, by its number, the seconds to its end and what it used.

    The gate is opened when `count` ranks have come to it, or when a child has ended before and they would wait in vain.
    """
    ends: dict[int, dict[str, object]] = {}
    while numbers:
        pid, status, used = os.wait4(-1, os.WNOHANG if gate else 0)
        if pid:
            ends[numbers.pop(pid)] = {
                "wall": time.monotonic() - zero,
                "status": os.waitstatus_to_exitcode(status),
                "user": used.ru_utime,
                "system": used.ru_stime,
                "rss": used.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
                "faults": used.ru_majflt,
                "blocks": used.ru_inblock,
            }
        if gate and (pid or len(os.listdir(gate)) >= count):
            open_gate(gate)
            gate = ""
        elif not pid:
            time.sleep(0.001)
    return ends


def perform(runs: list[tuple[list[str], dict[str, str], str]], gate: str, count: int) -> dict[str, object]:
    """Start all processes at once, wait for their ends, and return what is known of them."""
    nothing = os.open(os.devnull, os.O_RDWR)
    files = [(scratch(), scratch()) for _ in runs]
    numbers: dict[int, int] = {}
    problem = ""
    zero = time.monotonic()
    for number, (argv, env, cwd) in enumerate(runs):
        try:
            numbers[spawn(argv, env, cwd, files[number], nothing)] = number
        except OSError as error:
            problem = f"cannot start {argv[0]}: {error.strerror}"
            break
    if problem and gate:
        open_gate(gate)
        gate = ""
    ends = wait(numbers, zero, gate, count)
    for number, (out, err) in enumerate(files):
        said = {"output": content(out), "errors": content(err)}
        if number in ends:
            ends[number].update(said)
    os.close(nothing)
    return {
        "zero": zero,
        "offset": time.time() - time.monotonic(),
        "problem": problem,
        "ends": [ends[key] for key in sorted(ends)],
    }


def main() -> None:
    """Answer requests until there are no more."""
    for line in sys.stdin.buffer:
        answer = perform(*marshal.loads(bytes.fromhex(line.decode())))  # noqa: S302 - from the process that started this one
        sys.stdout.buffer.write(marshal.dumps(answer).hex().encode() + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
