"""Each file-system call of the store fails once: with an error, by the death of the process, or by an interrupt just after it.

strace runs an undisturbed build once and tells which of its system calls touch the store; then one build is run for each such
call and fault (`strace -e inject`). A call is known by its name and by how many of that name the process has made before,
which is the same in each run: one processor, no threads, no children, no random hashing.
OZREPRO_TEST_FAULTS=full takes every point; otherwise some are taken of each kind of call and fault.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from ozrepro.store.writing import remove_tree
from tests.store.running import ENVIRON, PATIENCE, adopt, clean_up, command, done, entries, hear, published, start

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.store.running import Pipe

FULL = os.environ.get("OZREPRO_TEST_FAULTS") == "full"
FAULTS = ("ENOSPC", "EIO", "SIGKILL", "SIGINT")
MORE_FAULTS = ("EDQUOT", "ESTALE")
FILES = 4
CALL = re.compile(r"([a-z_0-9]+)\((.*)")


@dataclass(frozen=True, slots=True, order=True)
class Point:
    """The `ordinal`-th call of that name fails."""

    call: str
    fault: str
    ordinal: int
    place: str = field(default="", compare=False)
    """The store's folder that the call touches."""

    @property
    def injection(self) -> str:
        """The point in strace's words."""
        how = f"signal={self.fault}" if self.fault.startswith("SIG") else f"error={self.fault}"
        return f"inject={self.call}:{how}:when={self.ordinal}"


@dataclass(frozen=True, slots=True)
class Sweep:
    """One way of building, the state of the store that it starts from, and which calls are to fail."""

    template: Path
    """A store to be copied for each run; it need not exist."""
    words: tuple[str, ...]
    touches: str
    """What a call's arguments hold, after the store's path, to count."""
    keeps: bool
    """Whether something whole is published before and so at any time."""

    @property
    def arguments(self) -> tuple[str, ...]:
        """The driver's words."""
        return ("--files", str(FILES), "--one-processor", "--unchecked", *self.words)

    def fresh(self, name: str) -> Path:
        """Return a store of its own for one run."""
        folder = self.template.with_name(name)
        if self.template.exists():
            shutil.copytree(self.template, folder, symlinks=True)
            adopt(folder)
        return folder

    def traced(self, folder: Path, *words: str) -> tuple[int, list[str]]:
        """Run a driver under strace and return its status, and the lines of the trace and of what it said."""
        log = folder.with_suffix(".trace")
        # Only the main thread is followed: in ticket mode another one gives signs of life, at no fixed time.
        tracer = ("strace", "-qq", "-y", "-o", str(log), *words)
        finished = subprocess.run(
            command(folder, *self.arguments, before=tracer), env=ENVIRON, capture_output=True, timeout=PATIENCE, check=False
        )
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        log.unlink()
        return finished.returncode, lines + finished.stderr.decode(errors="replace").splitlines()

    def points(self, faults: tuple[str, ...]) -> list[Point]:
        """Run an undisturbed build and return every fault of every call that touches the store."""
        done(self.fresh("first"), *self.arguments)  # so that no module is compiled in the runs that count
        folder = self.fresh("clean")
        status, lines = self.traced(folder, "-e", "trace=%file,%desc")
        assert status == 0, lines
        counts: Counter[str] = Counter()
        found: list[Point] = []
        for match in filter(None, map(CALL.match, lines)):
            counts[match[1]] += 1
            if f"{folder}{self.touches}" in match[2]:
                place = match[2].partition(f"{folder}/")[2].partition("/")[0]
                found += [Point(match[1], fault, counts[match[1]], place) for fault in faults]
        return sorted(found)

    def check(self, point: Point) -> str:
        """Let one call fail; check what is left, that a plain run then succeeds, and that a clean-up leaves nothing else."""
        folder = self.fresh(f"{point.call} {point.ordinal} {point.fault}")
        before = entries(folder, "names") if self.keeps else []
        status, lines = self.traced(folder, "-e", f"trace={point.call}", "-e", point.injection)
        if point.fault.startswith("SIG"):
            # An interrupt inside a callback, such as a finalizer's, is lost: Python has nowhere to raise it.
            assert status == -signal.Signals[point.fault] or (status == 0 and point.fault == "SIGINT"), (point, status, lines)
        else:
            assert any("(INJECTED)" in line for line in lines), (point, lines)
            assert status in (0, 1), (point, status)
            # What could not be stored is never published; most other calls may fail without harm.
            assert status == 1 or point.place != "gens" or point.call not in ("write", "fsync", "syncfs"), point
        left = published(folder, FILES)
        assert left is not None or status != 0, point
        if self.keeps:
            assert left is not None, point
            assert before[0] in entries(folder, "names"), point

        again = done(folder, "--files", str(FILES), *(word for word in self.words if word != "--rebuild"))
        generation = published(folder, FILES)
        assert generation is not None, point
        assert again.built == (left is None), point
        clean_up(folder)
        assert entries(folder, "gens") == [generation.folder.name], point
        assert entries(folder, "trash") == entries(folder, "owners") == [], point
        remove_tree(folder)
        return "absent" if left is None else "whole"

    def run(self, title: str, share: int, floor: int) -> set[str]:
        """Let calls fail, `share` of the points unless all are asked for; print how many, and return the kinds of calls.

        There must be `floor` calls in all, so that the number cannot fall unseen.
        """
        points = self.points(FAULTS + MORE_FAULTS if FULL else FAULTS)
        taken = points if FULL else spread(points, share)
        with ThreadPoolExecutor(2) as pool:
            left = Counter(pool.map(self.check, taken))
        calls = {(point.call, point.ordinal) for point in points}
        kinds = {point.call for point in points}
        print(
            f"\n{title}: {len(taken)} of {len(points)} points ({len(calls)} calls of {len(kinds)} kinds): "
            f"{left['absent']} absent, {left['whole']} whole, 0 broken, 0 wedged"
        )
        assert len(calls) >= floor
        assert len(taken) == (len(points) if FULL else min(share, len(points)))
        return kinds


def place_of(lines: list[str], what: str) -> int:
    """Return the index of the first line that matches."""
    return next(number for number, line in enumerate(lines) if re.search(what, line))


def spread(points: list[Point], share: int) -> list[Point]:
    """Return `share` of the points: first one of each kind of call and fault, then others at equal distances."""
    first = {(point.call, point.fault): point for point in reversed(points)}
    taken = sorted(first.values())
    others = [point for point in points if point not in first.values()]
    wanted = min(share - len(taken), len(others))
    return taken[:share] + [others[place * len(others) // wanted] for place in range(wanted)]


def why_not() -> str:
    """Say why no call can be made to fail here; "" when it can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    words = ["strace", "-qq", "-o", os.devnull, "-e", "trace=mkdir", "-e", "inject=mkdir:error=EIO:when=99", "true"]
    made = subprocess.run(words, capture_output=True, text=True, check=False)
    return "" if made.returncode == 0 else f"strace cannot inject faults here: {made.stderr.strip()}"


@pytest.fixture
def sweep(tmp_path: Path) -> Callable[..., Sweep]:
    """Give what makes a sweep; skips where strace cannot inject faults."""
    reason = why_not()
    if reason:
        pytest.skip(reason)

    def make(*words: str, touches: str = "", keeps: bool = False) -> Sweep:
        return Sweep(tmp_path / "template", words, touches, keeps)

    return make


@pytest.mark.slow
def test_no_failing_call_of_a_build_leaves_something_broken_or_wedged(sweep: Callable[..., Sweep]) -> None:
    kinds = sweep().run("build", share=84, floor=220)
    assert kinds >= {"close", "flock", "fsync", "getdents64", "openat", "syncfs", "write"}


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("mksquashfs") is None or shutil.which("squashfuse_ll") is None, reason="cannot make files")
def test_no_failing_call_of_a_build_as_one_file_leaves_something_broken(sweep: Callable[..., Sweep]) -> None:
    kinds = sweep("--packed", touches="/gens").run("one file", share=30, floor=25)
    assert kinds >= {"chmod", "fsync", "mkdir", "openat", "syncfs", "write"}


@pytest.mark.slow
def test_no_failing_call_around_a_ticket_leaves_something_broken_or_wedged(sweep: Callable[..., Sweep]) -> None:
    sweep("--locks", "ticket", touches="/locks").run("ticket", share=20, floor=14)


@pytest.mark.slow
def test_no_failing_call_of_a_replacement_takes_the_published_environment_away(sweep: Callable[..., Sweep]) -> None:
    way = sweep("--rebuild", touches="/names", keeps=True)
    done(way.template, "--files", str(FILES))
    way.run("replacement", share=36, floor=12)


@pytest.mark.slow
def test_no_failing_call_while_a_dead_builders_generation_is_removed_does_harm(
    sweep: Callable[..., Sweep], log: Pipe, gate: Pipe
) -> None:
    way = sweep(touches="/trash")
    builder = start(way.template, "--files", str(FILES), "--log", str(log.path), "--gate", str(gate.path))
    hear(builder, "building")
    log.line()
    builder.kill()
    builder.communicate()
    assert len(entries(way.template, "gens")) == 1
    way.run("removal", share=12, floor=16)


def test_what_is_published_stays_where_nobody_can_tell_whether_it_is(sweep: Callable[..., Sweep]) -> None:
    """The name is made, an interrupt comes, and from then on no link can be read: the environment may be in use already."""
    way = sweep()
    folder = way.fresh("clean")
    status, lines = way.traced(folder, "-e", "trace=%file,%desc")
    assert status == 0
    name = place_of(lines, rf'^symlink(at)?\(.*"{re.escape(str(folder))}/names/')
    kind = lines[name].partition("(")[0]
    reading = next(line.partition("(")[0] for line in lines if line.startswith("readlink") and str(folder) in line)
    made = sum(line.startswith(f"{kind}(") for line in lines[: name + 1])
    read = sum(line.startswith(f"{reading}(") for line in lines[:name])

    folder = way.fresh("interrupted")
    words = ("-e", f"trace={kind},{reading}", "-e", f"inject={kind}:signal=SIGINT:when={made}")
    status, lines = way.traced(folder, *words, "-e", f"inject={reading}:error=EIO:when={read + 1}+")
    # Where the interrupt was lost in a callback, the run ends with an error, since it cannot read the name either.
    assert status in (-signal.SIGINT, 1), lines
    assert any("(INJECTED)" in line for line in lines), "nobody asked whether it is published"
    assert published(folder, FILES) is not None
