"""Estimates the volume of the unit ball in so many dimensions; where USR1 stops it, it goes on when it is run again.

    python volume.py DIMENSIONS

The state is written into results/DIMENSIONS.part, the result into results/DIMENSIONS.json; it is the same as without a stop.
"""

import json
import os
import signal
import sys
from pathlib import Path

import numpy as np

NOT_DONE = 75
"""The status that asks to be run again, EX_TEMPFAIL of sysexits.h."""

signals = []


def write(path, value):
    """Write a file whole or not at all: a job may be killed at any moment."""
    new = path.with_name(f"{path.name}.new")
    new.write_text(json.dumps(value) + "\n")
    os.replace(new, path)


def main(dimensions):
    """Return the exit status."""
    result = Path("results", f"{dimensions}.json")
    checkpoint = result.with_suffix(".part")
    result.parent.mkdir(exist_ok=True)
    parameters = json.loads(Path("parameters.json").read_text())
    points, restart = parameters["points"], os.environ.get("SLURM_RESTART_COUNT", "0")
    random = np.random.default_rng(dimensions)
    done = inside = 0
    if checkpoint.exists():
        state = json.loads(checkpoint.read_text())
        done, inside, random.bit_generator.state = state["done"], state["inside"], state["random"]
    print(f"{dimensions} dimensions, restart {restart}: begins after batch {done}", flush=True)
    while done < parameters["batches"]:
        if signals:
            write(checkpoint, {"done": done, "inside": inside, "random": random.bit_generator.state})
            print(f"{dimensions} dimensions: stopped after batch {done}", flush=True)
            return NOT_DONE
        at = random.uniform(-1, 1, (points, dimensions))
        inside += int(((at**2).sum(axis=1) <= 1).sum())
        done += 1
    volume = 2**dimensions * inside / (points * done) if done else None
    write(result, {"dimensions": dimensions, "points": points * done, "volume": volume})
    checkpoint.unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, lambda number, frame: signals.append(number))
    sys.exit(main(int(sys.argv[1])))
