"""Builders killed at random instants. OZREPRO_TEST_KILLS sets how many, OZREPRO_TEST_SEED when; both are printed."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.store.running import children_of, clean_up, done, entries, finish, hear, kill_all, published, start, wait_for_end

if TYPE_CHECKING:
    from pathlib import Path

KILLS = int(os.environ.get("OZREPRO_TEST_KILLS", "40"))
SEED = os.environ.get("OZREPRO_TEST_SEED", "2026")
FILES = 120


@pytest.fixture
def another_host() -> tuple[str, ...]:
    """Give the command before which a program sees another host name; skips where there is none."""
    if shutil.which("unshare") is None:
        pytest.skip("unshare is not installed")
    said = ""
    for words in (("--uts",), ("--user", "--map-root-user", "--uts")):
        before = ("unshare", *words, "sh", "-c", 'hostname another-node && exec "$@"', "sh")
        made = subprocess.run([*before, "true"], capture_output=True, text=True, check=False)
        if made.returncode == 0:
            return before
        said = made.stderr.strip()
    pytest.skip(f"no other host name can be given here: {said}")


@dataclass(frozen=True, slots=True)
class Killer:
    """Kills drivers on one store, each with a key of its own, and lets each be run again."""

    folder: Path
    words: tuple[str, ...]
    before: tuple[str, ...]
    span: float
    """Seconds that an undisturbed driver takes from the open store to its end."""

    def round(self, number: int) -> str:
        """Kill one driver, and say what it left: nothing published ("absent"), or all ("whole", "late" where it had ended)."""
        chance = random.Random(f"{SEED} {number}")
        key = f"round {number}"
        words = ("--key", key, "--files", str(FILES), "--installer", *self.words)
        driver = start(self.folder, *words, before=self.before)
        hear(driver, "opened")
        # Random instants are the point here: nothing is waited for.
        time.sleep(chance.uniform(0, self.span))
        children = children_of(driver.pid)
        if number % 2:
            driver.kill()  # its installer goes on writing
        else:
            kill_all(driver)
        status = finish(driver).status
        assert status in (-signal.SIGKILL, 0)
        whole = published(self.folder, FILES, key) is not None
        assert whole or status != 0
        again = done(self.folder, *words)
        generation = published(self.folder, FILES, key)
        assert generation is not None
        assert generation.folder.name == again.generation
        assert again.built != whole
        wait_for_end(children)
        return ("whole" if status != 0 else "late") if whole else "absent"


def span_of(folder: Path, *words: str) -> float:
    """Return the seconds that a driver takes from the open store to its end."""
    times: list[float] = []
    for number in range(3):
        driver = start(folder, "--key", f"measure {number}", "--files", str(FILES), "--installer", *words)
        hear(driver, "opened")
        began = time.monotonic()
        assert finish(driver).status == 0
        times.append(time.monotonic() - began)
    return max(times)


def kill_many(folder: Path, kills: int, *words: str, before: tuple[str, ...] = ()) -> None:
    """Kill that many drivers, two at a time, and check that a clean-up then leaves only what is published."""
    killer = Killer(folder, words, before, span_of(folder, *words) * 1.1)
    with ThreadPoolExecutor(2) as pool:
        left = Counter(pool.map(killer.round, range(kills)))
    name = " ".join((*words, "on another host") if before else words) or "flock"
    counts = f"{left['absent']} absent, {left['whole']} whole, {left['late']} after the end, 0 broken, 0 wedged"
    print(f"\n{kills} kills ({name}, seed {SEED}): {counts}")
    assert sum(left.values()) == kills
    assert left["absent"] > kills / 4, "most came too late to show anything"

    clean_up(folder)
    names = {os.path.basename(os.readlink(folder / "names" / name)) for name in entries(folder, "names")}
    assert len(names) == kills + 3
    # Two kinds stay for a day: what an installer that outlived its builder made again, and where there is no proof of death.
    strays = set(entries(folder, "gens")) - names
    assert before or not [name for name in strays if (folder / "owners" / name).is_symlink()]
    for path in (*(folder / "gens" / name for name in strays), *(folder / "owners").iterdir()):
        os.utime(path, (1, 1), follow_symlinks=False)
    clean_up(folder)
    assert set(entries(folder, "gens")) == names
    assert entries(folder, "trash") == entries(folder, "owners") == []


@pytest.mark.slow
def test_a_killed_builder_leaves_nothing_or_all_and_the_next_run_succeeds(folder: Path) -> None:
    kill_many(folder, KILLS)


@pytest.mark.slow
def test_a_killed_holder_of_a_ticket_leaves_nothing_or_all_and_the_next_run_succeeds(folder: Path) -> None:
    kill_many(folder, KILLS, "--locks", "ticket")


@pytest.mark.slow
def test_the_ticket_of_a_builder_killed_on_another_host_is_waited_out(folder: Path, another_host: tuple[str, ...]) -> None:
    """There is no proof of death for another host: only the silence of a whole lease ends the wait."""
    kill_many(folder, max(KILLS // 4, 8), "--locks", "ticket", "--lease", "1", before=another_host)
