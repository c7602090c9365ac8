"""Runs inside a candidate, as the text of `python -c`, and says when it got how far. See ozrepro/frontends/bench/launch.py."""

# Python 3.6 and later, with nothing imported that an interpreter has not got in memory at this point: what the probe asks of
# the file system would be taken for the candidate's own. The clock's first reading comes before all else.
import time

_stamps = [time.monotonic()]
import os  # noqa: E402
import sys  # noqa: E402


def _run(call: str, script: str, statements: "list[str]", folders: "list[str]", arguments: "list[str]") -> None:
    """Import, make the first call, and note the time after each."""
    sys.path[:0] = folders
    names = {"__name__": "__probe__"}  # type: dict[str, object]
    for statement in statements:
        exec(statement, names)
    _stamps.append(time.monotonic())
    if script:
        main = type(sys)("__main__")  # a module of its own, so that pickle and dataclasses find the script's names
        main.__file__ = script
        sys.modules["__main__"] = main
        sys.argv = [script] + arguments
        with open(script, "rb") as stream:
            text = stream.read()
        try:
            exec(compile(text, script, "exec"), main.__dict__)
        except SystemExit:
            _stamps.append(time.monotonic())
            raise
    elif call:
        eval(call, names)
    _stamps.append(time.monotonic())


def _tell() -> None:
    """Print one line: when the environment was ready, clocks to compare with those of another node, the node, the stamps."""
    now = time.monotonic()
    boot = time.clock_gettime(7) - now if sys.platform == "linux" else 0.0  # CLOCK_BOOTTIME, of /proc/uptime
    words = [os.environ.get("_OZREPRO_READY") or "-", repr(time.time() - now), repr(boot), os.uname()[1]]
    text = "\nozrepro-bench: " + " ".join(words + [repr(stamp) for stamp in _stamps]) + "\n"
    os.write(1, text.encode("utf-8", "replace"))


def _wait(gate: str) -> None:
    """Wait until all ranks are ready, as MPI_Init does: who ends early would leave the others more of the machine."""
    name = "%s-%d" % (os.uname()[1], os.getpid())
    os.close(os.open(os.path.join(gate, name), os.O_WRONLY | os.O_CREAT, 0o600))
    while not os.path.exists(os.path.join(gate, "go")):
        time.sleep(0.01)


def _main(gate: str, call: str, script: str, statements: str, folders: str, *arguments: str) -> None:
    try:
        _run(call, script, statements.splitlines(), folders.splitlines(), list(arguments))
    finally:
        _tell()
    if gate:
        _wait(gate)


_main(*sys.argv[1:])
