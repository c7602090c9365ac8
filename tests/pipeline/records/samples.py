"""Records as runs leave them, for tests of what reads them."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from ozrepro.pipeline.records.record import LockFile, Record, line_of, new_id, time_text

START = dt.datetime(2026, 11, 29, 15, 55, 0, 123000, dt.timezone.utc)


def sample(number: int = 0, *, session: str = "fit", command: tuple[str, ...] = ("python", "fit.py")) -> Record:
    """Return the record of a run that started `number` seconds after START."""
    now = START + dt.timedelta(seconds=number)
    return Record(
        schema=1,
        id=new_id(now),
        by="run",
        session=session,
        method="venv",
        section=f"sha256:{'1' * 64}",
        lock=LockFile(f"sessions/{session}.lock", "2" * 64),
        command=command,
        start=time_text(now),
    )


def keep(folder: Path, *records: Record) -> Path:
    """Write records into a folder, a file each, and return it."""
    folder.mkdir(exist_ok=True)
    for record in records:
        (folder / f"{record.id}.json").write_bytes(line_of(record))
    return folder
