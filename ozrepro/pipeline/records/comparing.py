"""Whether the lock of a record is the one at hand."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Literal

from ozrepro.errors import LockError
from ozrepro.methods.reading import load_lock
from ozrepro.project.files import Files
from ozrepro.project.lock import lock_file

if TYPE_CHECKING:
    from pathlib import Path

    from ozrepro.pipeline.records.record import Record

State = Literal["same", "section", "changed", "missing", "unreadable"]


def lock_now(record: Record, root: Path) -> State:
    """Return how the lock of the project at `root` is to that of a record.

    Its bytes are the same; they have changed and the section that was used has not; that has changed, or is gone; there is no
    lock of that session; it cannot be read.
    """
    path, files = lock_file(root, record.session), Files()
    try:
        content = files.content(path)
    except FileNotFoundError:
        return "missing"
    except OSError:
        return "unreadable"
    if hashlib.sha256(content).hexdigest() == record.lock.sha256:
        return "same"
    try:
        lock = load_lock(root, record.session, files)
    except LockError:
        return "unreadable"
    digests = {section.digest for section in lock.sections} if lock is not None else set()
    return "section" if record.section in digests else "changed"
