"""Starts a workload in a candidate, through the launcher, and reads what the probe said: phases from one zero.

The zero is the launcher's clock just before the program is started. All clocks are CLOCK_MONOTONIC, which the processes of a node
share, containers too; ranks on other nodes are placed by the clock of the day, which is good for milliseconds there.
"""

from __future__ import annotations

import functools
import marshal
import os
import re
import shutil
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ozrepro import process
from ozrepro.errors import BuildError, CommandFailed
from ozrepro.faststart.start import executed
from ozrepro.process import Companion, NoAnswer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ozrepro.frontends.bench.candidate import Candidate
    from ozrepro.frontends.bench.workload import Workload

_HERE = Path(__file__).parent
_LINE = re.compile(r"^ozrepro-bench: (\S+) (\S+) (\S+) (\S+)((?: [0-9.e+-]+)+)$", re.MULTILINE)
_PATIENCE = 60.0
"""Seconds that the launcher has to start."""

_TICK = 0.005
"""Half of the step of /proc/uptime, which has hundredths of a second, cut off."""

_READY = (
    "_OZREPRO_READY=${EPOCHREALTIME:-}; "
    '[ -n "$_OZREPRO_READY" ] || read -r _OZREPRO_READY _ </proc/uptime; '
    'export _OZREPRO_READY; exec "$@"'
)
"""What a shell does inside, where something runs before the interpreter: note the time, by bash's clock of the day in
microseconds or the kernel's uptime in hundredths, and become the interpreter. A shell takes about a millisecond."""

_LOOK = """\
import sys, os
said = {"base": sys.base_prefix, "python": "%d.%d.%d" % sys.version_info[:3]}
try:
    import numpy
    try:
        found = numpy.show_config(mode="dicts")["Build Dependencies"]["blas"]
        said["blas"] = "%s %s" % (found["name"], found["version"])
    except (TypeError, KeyError):
        said["blas"] = ", ".join(numpy.__config__.get_info("blas_opt").get("libraries", []))
except Exception:
    pass
for name in said:
    print("ozrepro-look:", name, said[name])
"""


@dataclass(frozen=True, slots=True)
class Started:
    """A start that has ended, of one process or of several at once; see `result.Row` for the fields."""

    phases: Mapping[str, float]
    ready: tuple[float, ...]
    wall: float
    user: float
    system: float
    rss: int
    faults: int
    blocks: int
    status: int
    error: str
    output: str
    errors: str
    late: bool = False
    """Whether it was ended because it took too long."""


def not_started(why: str, status: int = 127, *, late: bool = False) -> Started:
    """Return what is known of a start that never was, or that was ended: its status (127 is a shell's, for no such program)."""
    return Started({}, (), 0.0, 0.0, 0.0, 0, 0, 0, status, why, "", "", late)


@functools.cache
def source() -> str:
    """Return the probe's text, read once: the harness should not ask of a file system between starts."""
    return (_HERE / "probe.py").read_text(encoding="utf-8")


def words_of(candidate: Candidate, workload: Workload, *, gate: str = "", launch: Sequence[str] = ()) -> list[str]:
    """Return the command that runs a workload under the probe in a candidate.

    `launch` are words in front, such as srun's. Where something runs before the interpreter, a shell
    inside notes when the environment is ready.
    """
    texts = (gate, workload.call, workload.script, "\n".join(workload.statements), "\n".join(workload.path))
    words = [candidate.python, "-c", source(), *texts, *workload.arguments]
    if candidate.environment.command(()) or launch:
        words = ["sh", "-c", _READY, "sh", *words]
    return [*launch, *executed(candidate.environment, candidate.environment.command(words))]


class Starter:
    """Starts programs of candidates by one launcher, which stays from start to start and is replaced when it is lost.

    `caller` has the caller's variables, `cwd` is where programs run, and `work` a folder that all of them can see.
    """

    def __init__(self, caller: Mapping[str, str], cwd: Path, work: Path) -> None:
        self.caller, self.cwd, self.work = caller, cwd, work
        self._launcher: Companion | None = None
        self._gates = 0

    def __enter__(self) -> Starter:  # noqa: PYI034 - Self is of Python 3.11
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def renew(self) -> None:
        """End the launcher and start another, ready when this returns: its files are from what is mounted now.

        Raises CommandFailed where it does not start.
        """
        self.close()
        self._launcher = Companion([sys.executable, "-I", "-S", str(_HERE / "launcher.py")], env=dict(os.environ))
        self._launcher.ask(marshal.dumps(([], "", 0)).hex().encode(), _PATIENCE)

    def close(self) -> None:
        """End the launcher and whatever it still runs."""
        if self._launcher is not None:
            self._launcher.close()
            self._launcher = None

    def variables(self, candidate: Candidate) -> dict[str, str]:
        """Return the whole environment of a candidate's programs."""
        return candidate.environment.variables_for(self.caller)

    def program(self, words: Sequence[str], candidate: Candidate) -> list[str]:
        """Return a command with the path of its program. Raises CommandFailed where the candidate has none of this name."""
        return _with_program(words, candidate, self.variables(candidate)["PATH"])

    def start(
        self,
        candidate: Candidate,
        workload: Workload,
        *,
        ranks: int = 1,
        launch: Sequence[str] = (),
        timeout: float | None = None,
    ) -> Started:
        """Start a workload once, or `ranks` times at once, and wait for all ends; a failure of the program is a status.

        With `launch` (srun) one command starts all ranks. Ranks wait for each other when they are ready, in a folder below
        `work`. Raises CommandFailed where nothing could be started.
        """
        gate = self._gate() if ranks > 1 else ""
        words = self.program(words_of(candidate, workload, gate=gate, launch=launch), candidate)
        try:
            answer = self.run([words] * (1 if launch else ranks), candidate, gate, ranks, timeout)
        finally:
            if gate:
                shutil.rmtree(gate, ignore_errors=True)
        return _started(answer, ranks)

    def run(
        self, commands: Sequence[list[str]], candidate: Candidate, gate: str = "", ranks: int = 1, timeout: float | None = None
    ) -> dict[str, Any]:
        """Have the launcher run commands at once, their programs by path; return its answer, as launcher.py has it.

        Where one takes longer than `timeout` seconds all are ended, and the answer says so.
        Raises CommandFailed where one cannot be started.
        """
        variables = self.variables(candidate)
        request = ([(words, variables, str(self.cwd)) for words in commands], gate, ranks)
        line = marshal.dumps(request).hex().encode()
        try:
            try:
                told = self._ask(line, timeout)
            except NoAnswer:
                raise
            except CommandFailed:  # somebody killed the launcher, for which the program can do nothing: once more
                self.close()
                told = self._ask(line, timeout)
        except CommandFailed as error:
            self.close()
            late = isinstance(error, NoAnswer)
            why = f"it took longer than {timeout:.3g} s" if late else f"the benchmark's launcher was lost twice: {error.what}"
            return {"zero": 0.0, "offset": 0.0, "ends": [], "problem": "", "lost": f"was ended: {why}", "late": late}
        except BaseException:
            self.close()
            raise
        answer: dict[str, Any] = marshal.loads(bytes.fromhex(told.decode()))  # noqa: S302 - from the program started above
        if answer["problem"]:
            raise CommandFailed(answer["problem"])
        return answer

    def _ask(self, line: bytes, timeout: float | None) -> bytes:
        if self._launcher is None:
            self.renew()
        assert self._launcher is not None
        return self._launcher.ask(line, timeout)

    def _gate(self) -> str:
        self._gates += 1
        gate = self.work / f"ranks-{os.getpid()}-{self._gates}"
        gate.mkdir(parents=True)
        return str(gate)


def _with_program(words: Sequence[str], candidate: Candidate, path: str) -> list[str]:
    found = words[0] if words[0].startswith("/") else shutil.which(words[0], path=path)
    if found is None:
        raise CommandFailed(f"there is no program {words[0]}", where=candidate.name, hint=f"looked for in {path}")
    return [found, *words[1:]]


def _started(answer: Mapping[str, Any], ranks: int) -> Started:
    ends = answer["ends"]
    if "lost" in answer:
        return not_started(answer["lost"], -9, late=answer["late"])
    output = "\n".join(end["output"].decode("utf-8", "replace") for end in ends)
    errors = "\n".join(end["errors"].decode("utf-8", "replace") for end in ends)
    status = next((end["status"] for end in ends if end["status"]), 0)
    told = [_phases(match, answer["zero"], answer["offset"]) for match in _LINE.finditer(output)]
    whole = [phases for phases in told if len(phases) == 4]
    complete = status == 0 and len(whole) == ranks
    slowest = max(whole or told, key=lambda phases: sum(phases.values()), default={})
    return Started(
        phases=slowest,
        ready=tuple(sum(phases.values()) for phases in whole) if complete else (),
        wall=max(end["wall"] for end in ends),
        user=sum(end["user"] for end in ends),
        system=sum(end["system"] for end in ends),
        rss=max(end["rss"] for end in ends),
        faults=sum(end["faults"] for end in ends),
        blocks=sum(end["blocks"] for end in ends),
        status=status,
        error="" if complete else _why(status, errors, ranks - len(whole), ranks),
        output=own_words(output),
        errors=errors,
    )


def _why(status: int, errors: str, silent: int, ranks: int) -> str:
    """Return in one line why a start failed of which `silent` ranks told no times, never nothing."""
    if status:
        return _last_line(errors) or (f"killed by {_signal_name(-status)}" if status < 0 else "it said nothing on standard error")
    who = f"{silent} of {ranks} ranks" if ranks > 1 else "it"
    return f"{who} ended before it reported its times, as os._exit does"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"  # one of those for real-time


def own_words(output: str) -> str:
    """Return what a measured program printed, without the line of the benchmark's own in it."""
    return _LINE.sub("", output)


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip()[:300] if lines else ""


def _phases(match: re.Match[str], zero: float, offset: float) -> dict[str, float]:
    """Return the seconds of each phase that one rank has reached.

    `zero` is the launcher's monotonic clock, `offset` the clock of the day less that.
    """
    ready, day, boot, node = match[1], float(match[2]), float(match[3]), match[4]
    shift = 0.0 if node == os.uname().nodename else day - offset  # its monotonic clock began at another time
    stamps = [float(text) + shift - zero for text in match[5].split()]
    before = 0.0
    if ready != "-":
        told = float(ready.replace(",", "."))  # bash writes the locale's point
        clock = told - day if told > 1e9 else told + _TICK - boot
        before = min(max(clock + shift - zero, 0.0), stamps[0])
    names = ("interpreter", "imports", "first_call")
    found = {"environment": before}
    last = before
    for name, stamp in zip(names, stamps, strict=False):
        found[name] = stamp - last
        last = stamp
    return found


def look(candidate: Candidate, caller: Mapping[str, str], cwd: Path) -> dict[str, str]:
    """Return where a candidate's base interpreter lives, Python's version and numpy's BLAS: `base`, `python`, `blas`.

    Starts its Python once. Raises CommandFailed where there is none or it takes ten minutes, BuildError where it fails.
    """
    variables = candidate.environment.variables_for(caller)
    words = _with_program(candidate.environment.command([candidate.python, "-c", _LOOK]), candidate, variables["PATH"])
    done = process.run(words, env=variables, cwd=cwd, timeout=600)
    said = [line.split(" ", 2) for line in done.output.splitlines() if line.startswith("ozrepro-look: ")]
    found = {line[1]: line[2] for line in said if len(line) == 3}
    if done.status or "base" not in found:
        raise BuildError(f"its Python does not start: {_last_line(done.errors)}", where=candidate.name)
    return found
