"""Starts drivers, and looks at what they left behind."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ozrepro
from ozrepro.faststart.ready import stamp
from ozrepro.store import Store, collect, manifest
from ozrepro.store.publish import CARD, Generation, read_generation, verify
from tests.store.driver import key_of, paths_of

if TYPE_CHECKING:
    from collections.abc import Sequence

DRIVER = Path(__file__).with_name("driver.py")
ENVIRON = {
    "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
    "LANG": "C.UTF-8",
    "PYTHONHASHSEED": "0",
    "PYTHONPATH": str(Path(ozrepro.__file__).parents[1]),
}
PATIENCE = 120.0
"""Seconds after which a process counts as wedged. Nothing here takes a tenth of it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a driver ended: status (negative: the signal), what it gave, and what it said."""

    status: int
    generation: str | None
    built: bool
    said: str


def command(folder: Path, *words: str, before: Sequence[str] = ()) -> list[str]:
    """Return the command of a driver on a store; `before` is a wrapper's command."""
    return [*before, sys.executable, str(DRIVER), str(folder), *words]


def start(folder: Path, *words: str, before: Sequence[str] = ()) -> subprocess.Popen[str]:
    """Start a driver on a store."""
    return subprocess.Popen(
        command(folder, *words, before=before), env=ENVIRON, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(driver: subprocess.Popen[str]) -> Outcome:
    """Wait for a driver's end."""
    try:
        output, said = driver.communicate(timeout=PATIENCE)
    except BaseException:
        driver.kill()
        driver.communicate()
        raise
    given: dict[str, Any] = json.loads(output) if output else {"generation": None, "built": False}
    return Outcome(driver.returncode, given["generation"], given["built"], said)


def run(folder: Path, *words: str, before: Sequence[str] = ()) -> Outcome:
    """Run a driver to its end."""
    return finish(start(folder, *words, before=before))


def done(folder: Path, *words: str, before: Sequence[str] = ()) -> Outcome:
    """Run a driver, insist that it got a whole environment."""
    outcome = run(folder, *words, before=before)
    assert outcome.status == 0, outcome.said
    return outcome


def finish_all(drivers: Sequence[subprocess.Popen[str]]) -> list[Outcome]:
    """Wait for the end of many drivers; none outlives an error."""
    try:
        return [finish(driver) for driver in drivers]
    finally:
        for driver in drivers:
            if driver.poll() is None:
                driver.kill()
                driver.communicate()


def hear(driver: subprocess.Popen[str], word: str) -> str:
    """Wait until the driver says a line that begins with `word`, and return that line."""
    assert driver.stderr is not None
    heard: list[str] = []
    for line in driver.stderr:
        if line.startswith(word):
            return line
        heard.append(line)
    raise AssertionError(f"it never said {word!r}: {''.join(heard)}")


def kill_all(driver: subprocess.Popen[str]) -> None:
    """Kill a driver and its children, as a power cut does: none of them acts on the death of another."""
    os.kill(driver.pid, signal.SIGSTOP)
    for pid in (*children_of(driver.pid), driver.pid):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def children_of(pid: int) -> list[int]:
    """Return the ids of a process's children."""
    found: list[int] = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue
        if parent == pid:
            found.append(int(path.parent.name))
    return found


def wait_for_end(pids: Sequence[int]) -> None:
    """Wait until processes that need not be our children have ended."""
    for pid in pids:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            assert select.select([descriptor], [], [], PATIENCE)[0]
        finally:
            os.close(descriptor)


def published(folder: Path, count: int, key: str = "one") -> Generation | None:
    """Return what is published: None or a generation that is whole, by its manifest and by what its build makes."""
    store = Store(folder)
    generation = read_generation(store, key_of(key))
    if generation is None:
        assert not os.path.lexists(store.name(key_of(key))), "the name names nothing whole"
        return None
    assert verify(generation) == []
    if generation.form == "file":
        assert generation.inside == len(paths_of(count))
    else:
        assert manifest.walk(generation.prefix) == paths_of(count)
    return generation


def clean_up(folder: Path) -> None:
    """Remove what a clean-up removes when every name is wanted."""
    store = Store(folder)
    for leftover in collect.plan(store, lambda _key, _section: "a lock", even_with_jobs=True):
        if leftover.remove:
            assert collect.remove(store, leftover)


def entries(folder: Path, *parts: str) -> list[str]:
    """Return the sorted names in a folder of the store."""
    return sorted(os.listdir(folder.joinpath(*parts)))


def adopt(folder: Path) -> None:
    """Make a copied store look as if all in it had been built there, which only somebody who reads the copy's inodes can."""
    for card in folder.glob(f"gens/*/{CARD}"):
        said = json.loads(card.read_bytes())
        said |= {"store": os.path.realpath(folder), "made": stamp(os.lstat(card.with_name("env")))}
        card.write_text(json.dumps(said), encoding="utf-8")


class Pipe:
    """A FIFO that both ends can open at any time: processes write lines or wait for bytes."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        self.descriptor = os.open(path, os.O_RDWR)

    def line(self) -> str:
        """Wait for a line."""
        heard = b""
        while not heard.endswith(b"\n"):
            assert select.select([self.descriptor], [], [], PATIENCE)[0], "nothing was written"
            heard += os.read(self.descriptor, 1)
        return heard.decode().strip()

    def is_empty(self) -> bool:
        """Say whether nothing waits to be read."""
        return not select.select([self.descriptor], [], [], 0)[0]

    def let(self, count: int) -> None:
        """Let `count` readers go on."""
        os.write(self.descriptor, b"." * count)

    def close(self) -> None:
        """Close this end."""
        os.close(self.descriptor)
