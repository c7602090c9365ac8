"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def _open_closed(path: str, flags: int) -> int:
    return os.open(path, flags, 0o664)  # also where the umask lets everybody write


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all, flushed to disk."""
    # Random, not the pid: on a shared file system another node's process may have the same.
    temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}")
    try:
        with open(temporary, "wb", opener=_open_closed) as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
