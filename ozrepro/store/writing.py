"""Files that are there whole or not at all, flushed to disk, and folders that are removed."""

from __future__ import annotations

import errno
import os
import shutil
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


def flush(folder: Path) -> None:
    """Flush everything below `folder` to disk: on Lustre and NFS a full quota may show only now.

    uv flushes nothing that it installs. Where the system has no syncfs(2), as macOS, each file and folder is flushed by itself.
    Raises OSError.
    """
    if _sync_file_system(folder):
        return
    for base, _, files in os.walk(folder, onerror=_raise):
        for name in files:
            path = os.path.join(base, name)
            if not os.path.islink(path):
                sync(path)
        sync(base)


def _sync_file_system(folder: Path) -> bool:
    """Flush the file system that holds `folder` by one syncfs(2), which Python lacks; False where the system lacks it too."""
    try:
        import ctypes

        syncfs = ctypes.CDLL(None, use_errno=True).syncfs
    except (ImportError, OSError, AttributeError):
        return False
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        number = ctypes.get_errno() if syncfs(descriptor) else 0
    finally:
        os.close(descriptor)
    if number == errno.ENOSYS:
        return False
    if number:
        raise OSError(number, os.strerror(number), str(folder))
    return True


def sync(path: str | Path) -> None:
    """Flush one file or folder to disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _raise(error: OSError) -> None:
    raise error


def remove_tree(folder: Path) -> None:
    """Remove a folder whose parts may be write-protected; what cannot be removed is left for the next clean-up."""
    for base, folders, _ in os.walk(folder):
        for path in (base, *(os.path.join(base, name) for name in folders)):
            try:
                if not os.path.islink(path):
                    os.chmod(path, 0o700)
            except OSError:
                pass
    shutil.rmtree(folder, ignore_errors=True)
