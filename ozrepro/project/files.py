"""The files of a project: opened so that none can hang or fill a process, and read once for one decision.

Spec, lock, settings and the files that a spec names go through `Files`. What is parsed, digested and certified is then one
reading, and `moved` tells before a certificate is written whether the project has changed meanwhile.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from ozrepro.faststart.ready import LARGEST, content_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any, TypeVar

    Parsed = TypeVar("Parsed")

SMALL = 1 << 20
"""Bytes of a file that a person writes, such as a spec: reading a larger one would take seconds and gigabytes."""

_OTHER_TEXT = ((b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16"))


def text_of(path: Path, largest: int = LARGEST) -> str:
    """Return a file's text. Raises OSError as `content_of`, and for what is not UTF-8; its `strerror` says which."""
    return _text(path, content_of(path, largest))


def _text(path: Path, content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        other = next((name for mark, name in _OTHER_TEXT if content.startswith(mark)), "")
        reason = f"is {other} text; save it as UTF-8" if other else f"is not UTF-8 text: {error.reason} at byte {error.start}"
        raise OSError(errno.EILSEQ, reason, str(path)) from error


class Files:
    """Reads each file once. A file that cannot be read stays so, until another `Files` is asked."""

    __slots__ = ("_known", "_parsed")

    def __init__(self) -> None:
        self._known: dict[str, bytes | OSError] = {}
        self._parsed: dict[str, tuple[bytes, Any]] = {}

    def content(self, path: Path, largest: int = LARGEST) -> bytes:
        """Return a file's bytes as they were when it was first asked for. Raises OSError as `content_of`."""
        key = os.path.abspath(path)
        if key not in self._known:
            self._known[key] = _look(path, largest)
        known = self._known[key]
        if isinstance(known, OSError):
            raise known
        return known

    def text(self, path: Path, largest: int = LARGEST) -> str:
        """Return a file's text, of the same reading. Raises OSError as `text_of`."""
        return _text(path, self.content(path, largest))

    def parsed(self, path: Path, parse: Callable[[str], Parsed]) -> Parsed:
        """Return what `parse` makes of a file's text, made once of one reading. Raises as `text`, and as `parse`."""
        key, content = os.path.abspath(path), self.content(path)
        known = self._parsed.get(key)
        if known is None or known[0] is not content:
            known = self._parsed[key] = (content, parse(_text(path, content)))
        value: Parsed = known[1]
        return value

    def put(self, path: Path, content: bytes) -> None:
        """Note that the file has this content now: this process has written it."""
        self._known[os.path.abspath(path)] = content

    def moved(self, paths: Iterable[Path] | None = None, *, written: Mapping[str, bytes] | None = None) -> list[str]:
        """Return the paths of the files that are not on disk as they were read: of all, or of those among `paths`.

        A file that has the content of `written` is none of them: another process has written the same.
        """
        asked = set(self._known) if paths is None else {os.path.abspath(path) for path in paths}
        found = {path: _look(Path(path), LARGEST) for path in self._known if path in asked}
        done = written or {}
        return [path for path, now in found.items() if not _same(self._known[path], now) and now != done.get(path)]


def _look(path: Path, largest: int) -> bytes | OSError:
    try:
        return content_of(path, largest)
    except OSError as error:
        return error.with_traceback(None)


def _same(known: bytes | OSError, now: bytes | OSError) -> bool:
    if isinstance(known, OSError):
        return isinstance(now, OSError) and (known.errno == now.errno or known.errno == errno.EFBIG)
    return known == now
