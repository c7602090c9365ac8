"""Many processes that record runs at once, into one folder or file: `python -m tests.pipeline.records.writers PATH WRITERS EACH`."""

from __future__ import annotations

import os
import sys

from ozrepro.pipeline.records.writing import Place, begin, place_of
from tests.pipeline.records.samples import sample


def write(place: Place, number: int) -> None:
    """Record a run from its start to its end."""
    said: list[str] = []
    recording = begin(sample(number, command=("fit", str(number), "x" * (number % 7 * 1000))), place, said.append)
    assert recording is not None, said
    recording.end(number % 256)
    assert not said


def main(path: str, writers: int, each: int) -> None:
    """Have so many processes record so many runs each, all beginning at the same time; fail where one does."""
    waiting, start = os.pipe()
    pids = []
    for writer in range(writers):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                os.close(start)
                os.read(waiting, 1)  # which ends when nobody can write any more: all are there
                for number in range(each):
                    write(place_of(path), writer * each + number)
                status = 0
            finally:
                os._exit(status)
        pids.append(pid)
    os.close(start)
    statuses = [os.waitpid(pid, 0)[1] for pid in pids]
    sys.exit(any(statuses))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
