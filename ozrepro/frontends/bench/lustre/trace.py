"""What a program did to the files below some folders, read from strace's text.

Written for `strace -f -y -e trace=CALLS -o FILE PROGRAM`. `-y` names the file of each descriptor, which is how a read is known to
belong to a path. Times are not looked at: tracing changes them.
"""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ozrepro.errors import OzreproError
from ozrepro.frontends.bench.lustre.links import above, learn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from ozrepro.frontends.bench.lustre.links import Links

__all__ = ["CALLS", "Counts", "Event", "count", "read_trace"]

CALLS = (
    "%file,?fork,?vfork,?clone,?clone3,?fstat,?fchdir,?read,?pread64,?readv,?preadv,?preadv2,?mmap,?getdents64,?getdents,?close"
)
"""What strace is to trace. A question mark lets a call be absent, as some are on other processors than x86-64."""

_LINE = re.compile(r"(?:\[pid +(\d+)\] +|(\d+) +)?(.*)", re.DOTALL)
_CALL = re.compile(r"(\w+)\((.*)\) += (-?\d+|0x[0-9a-f]+|\?)(?:<(.*)>)?(?: (E\w+)\b.*)?$", re.DOTALL)
_RESUMED = re.compile(r"<\.\.\. \w+ resumed>(.*)", re.DOTALL)
_UNFINISHED = " <unfinished ...>"
_DIRECTORY = re.compile(r"(AT_FDCWD|\d+)(?:<(.*?)>)?(?:, |$)")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_MODE = re.compile(r"stx?_mode=S_IF(\w+)")
_SIZE = re.compile(r"stx?_size=(\d+)")
_MAPPED = re.compile(r"[^,]+, (\d+), [^,]+, [^,]+, \d+<(.*)>, (0x[0-9a-f]+|\d+)$")
_ESCAPE = re.compile(r"\\([0-7]{1,3}|x[0-9a-f]{2}|.)")
_LETTERS = {"n": 10, "t": 9, "r": 13, "f": 12, "v": 11, "a": 7, "b": 8}

_OPENING = frozenset({"open", "openat", "openat2", "creat"})
_ASKING = frozenset({"stat", "lstat", "newfstatat", "fstatat64", "statx", "fstat"})
_READING = frozenset({"read", "pread64", "readv", "preadv", "preadv2"})
_LISTING = frozenset({"getdents64", "getdents"})
_STARTING = frozenset({"fork", "vfork", "clone", "clone3"})
_CHANGING = re.compile(
    r"(mk|rm)dir|unlink|rename|link(at)?$|symlink|mknod|truncate|f?ch(mod|own)|lchown|utime|l?(set|remove)xattr"
)
_BELOW_FILE = "below a file"
"""The kind of an event, inside this module, whose path goes on where a file stands: only that file was looked at."""

_OF_THE_LINK = frozenset({"link", "access", "missing", "change", _BELOW_FILE})
"""Kinds of events whose path may be a link itself, and not what it leads to."""

_BY_DESCRIPTOR = frozenset({"fstat", "fchdir", "close"}) | _READING | _LISTING


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that a program did to a path.

    `kind` is one of: stat (a regular file, whose size was asked for), dir (stat of a directory), link (a symbolic link was read
    or followed), access (the path was only looked for), missing (it was looked for, whatever for, and is not there), open,
    exec, opendir, close, readdir, read, map (into memory), change (created, renamed, removed). `found` tells whether the path
    is there. `size` is in bytes: the file's for stat, those returned for read, the end of the mapped part for map, else 0.
    """

    kind: str
    path: str
    found: bool = True
    size: int = 0


@dataclass(frozen=True, slots=True)
class Counts:
    """What a program did to the files of a trace: the same number at each run, on any machine."""

    calls: Mapping[str, int]
    """System calls by the kind of their event."""
    found: int
    """Distinct paths that were looked for and are there."""
    missing: int
    """Distinct paths that were looked for and are not there."""
    opened: int
    """Distinct files that were opened or executed, without directories."""
    read: int
    """Distinct files of which something was read or mapped."""
    bytes: int
    """Bytes that reads returned; what is mapped is not among them."""


def count(events: Iterable[Event]) -> Counts:
    """Count events by kind, and the distinct paths behind them. A link that an open followed is not a call of its own."""
    calls: Counter[str] = Counter()
    paths: dict[str, set[str]] = {name: set() for name in ("found", "missing", "opened", "read")}
    size = 0
    for event in events:
        calls[event.kind] += 1
        paths["found" if event.found else "missing"].add(event.path)
        if event.kind in {"open", "exec"}:
            paths["opened"].add(event.path)
        if event.kind in {"read", "map"}:
            paths["read"].add(event.path)
        if event.kind == "read":
            size += event.size
    found, missing, opened, read = (len(paths[name]) for name in ("found", "missing", "opened", "read"))
    return Counts(dict(sorted(calls.items())), found, missing, opened, read, size)


def read_trace(text: str, *, roots: tuple[str, ...], cwd: str = "/") -> tuple[Event, ...]:
    """Return what was done to paths at or below `roots`, in order.

    `roots` are absolute; `cwd` is the folder that the program was started in, for relative paths of calls that do not name
    theirs. A path through a folder that is a symbolic link is told as where it leads, if that is below a root too, and the link
    itself once, before the first path through it. Lines that are no system call are passed over, as are calls that a signal
    ended. Raises OzreproError when a root is relative.
    """
    for root in roots:
        if not root.startswith("/"):
            raise OzreproError(f"the root {root!r} of a trace is not absolute", hint="give the folder's full path")
    tops = tuple(posixpath.normpath(root) for root in roots)

    def inside(path: str) -> bool:
        return any(path == top or path.startswith(top.rstrip("/") + "/") for top in tops)

    lines = tuple(_whole_lines(text))
    reader = _Reader(cwd, _started(lines))
    events = [event for pid, line in lines for event in reader.events(pid, line)]
    links = learn(reader.opened, reader.folders_opened)
    straight = _straight(events, links, frozenset(reader.opened.values()), inside)
    return _without_below_file([event for event in straight if inside(event.path)], frozenset(tops))


def _straight(events: Iterable[Event], links: Links, led: frozenset[str], inside: Callable[[str], bool]) -> Iterator[Event]:
    """Yield events with their paths as the links to folders lead them, and each such link once. `led`: what opens led to."""
    told: set[str] = set()
    for event in events:
        path, passed = links.follow(event.path, last=event.kind not in _OF_THE_LINK)
        if event.kind == "link":
            told.add(path)
        if path == event.path or (inside(event.path) and not inside(path)):
            yield event
            continue
        for link in passed:
            if link not in told:
                told.add(link)
                yield Event("link", link)
        # What looked like a link of its own is none where it is what was opened.
        if event.kind != "link" or path not in led:
            yield replace(event, path=path)


def _without_below_file(events: Sequence[Event], tops: frozenset[str]) -> tuple[Event, ...]:
    """Return events in which a path that goes on behind a file is that of the file: the first that is known for no folder."""
    if not any(event.kind == _BELOW_FILE for event in events):
        return tuple(events)
    folders = {part for top in tops for part in (top, *above(top))}
    folders.update(event.path for event in events if event.kind in {"dir", "opendir", "readdir"})
    folders.update(part for event in events if event.found for part in above(event.path))

    def looked_at(path: str) -> str:
        return next((part for part in above(path)[::-1] if part not in folders), path)

    return tuple(Event("access", looked_at(event.path)) if event.kind == _BELOW_FILE else event for event in events)


def _whole_lines(text: str) -> Iterator[tuple[str, str]]:
    """Yield process and call of each line; a call that another interrupted is put together at the place where it ended."""
    begun: dict[str, str] = {}
    for raw in text.split("\n"):
        matched = _LINE.fullmatch(raw)
        assert matched is not None
        pid, line = matched[1] or matched[2] or "", matched[3].rstrip()
        if line.endswith(_UNFINISHED):
            begun[pid] = line.removesuffix(_UNFINISHED)
            continue
        resumed = _RESUMED.fullmatch(line)
        if resumed is not None:
            line = begun.pop(pid, "") + resumed[1]
        yield pid, line


def _started(lines: Iterable[tuple[str, str]]) -> dict[str, tuple[str, bool]]:
    """Return for each process that another started, or thread, that other, and whether both have one folder for ever."""
    found = {}
    for pid, line in lines:
        if line.startswith(("fork(", "vfork(", "clone(", "clone3(")):
            matched = _CALL.fullmatch(line)
            if matched is not None and matched[3] != "?" and matched[5] is None:
                found[matched[3]] = (pid, "CLONE_FS" in matched[2])
    return found


class _Reader:
    """Turns calls into events; remembers each process's folder, which older calls leave unsaid.

    `started` has for each process the one that started it: its first calls may stand before the end of the call that did.
    `opened` has for each path that was opened by its name where that led, `folders_opened` those of them that are folders.
    """

    def __init__(self, cwd: str, started: Mapping[str, tuple[str, bool]]) -> None:
        self.start = cwd
        self.started = started
        self.folders: dict[str, list[str]] = {}
        self.opened: dict[str, str] = {}
        self.folders_opened: set[str] = set()

    def events(self, pid: str, line: str) -> Iterator[Event]:
        matched = _CALL.fullmatch(line)
        if matched is None or matched[3] == "?":
            return
        name, arguments, result, target, error = matched.groups()
        if name == "mmap":
            yield from _mapping(arguments, error)
            return
        if name in _STARTING:
            if error is None:
                self._folder(result)  # as it is now: the one that started it may go elsewhere
            return
        path = self._path(pid, name, arguments)
        if path is None:
            return
        if error is not None:
            yield from _failed(name, path, error)
        elif name in {"chdir", "fchdir"}:
            self._folder(pid)[0] = path
            yield Event("access", path)
        else:
            resolved = posixpath.normpath(_plain(target.removesuffix(" (deleted)"))) if target else path
            if name in _OPENING and target:
                self._learn(path, resolved, arguments)
            yield from _succeeded(name, path, arguments, int(result, 0), resolved)

    def _learn(self, path: str, resolved: str, arguments: str) -> None:
        if "/.." in arguments or '"..' in arguments:  # behind a link it is another folder than the one that is written before
            path = resolved
        self.opened[path] = resolved
        if "O_DIRECTORY" in arguments:
            self.folders_opened.add(path)

    def _path(self, pid: str, name: str, arguments: str) -> str | None:
        directory = _DIRECTORY.match(arguments)
        if directory is not None and directory[1] == "AT_FDCWD" and directory[2]:
            self._folder(pid)[0] = _plain(directory[2])
        if name in _BY_DESCRIPTOR:
            return _of_descriptor(directory)
        quoted = _QUOTED.search(arguments)
        if quoted is None:
            return None
        asked = _plain(quoted[1])
        if not asked:
            return _of_descriptor(directory)
        if directory is not None and directory[1] != "AT_FDCWD" and directory[2]:
            return posixpath.normpath(posixpath.join(_plain(directory[2]), asked))
        return posixpath.normpath(posixpath.join(self._folder(pid)[0], asked))

    def _folder(self, pid: str) -> list[str]:
        """Return the folder of a process, as the only item of a list that all have together who go elsewhere together."""
        if pid not in self.folders:
            self.folders[pid] = [self.start]
            if pid in self.started:
                parent, together = self.started[pid]
                folder = self._folder(parent)
                self.folders[pid] = folder if together else folder.copy()
        return self.folders[pid]


def _of_descriptor(matched: re.Match[str] | None) -> str | None:
    # A pipe or a socket is named without a slash.
    if matched is None or not matched[2] or not matched[2].startswith("/"):
        return None
    return posixpath.normpath(_plain(matched[2].removesuffix(" (deleted)")))


def _failed(name: str, path: str, error: str) -> Iterator[Event]:
    if name in _BY_DESCRIPTOR or _CHANGING.match(name):
        return
    if error == "ENOENT":
        yield Event("missing", path, found=False)
    elif error == "ENOTDIR":
        yield Event(_BELOW_FILE, path, found=False)
    else:
        yield Event("access", path)


def _succeeded(name: str, path: str, arguments: str, result: int, resolved: str) -> Iterator[Event]:
    if name in _OPENING:
        if resolved != path:
            yield Event("link", path)
        yield Event("opendir" if "O_DIRECTORY" in arguments else "open", resolved)
    elif name in _ASKING:
        yield _asked(path, arguments)
    elif name in _READING:
        yield Event("read", path, size=result)
    elif name in _LISTING:
        yield Event("readdir", path)
    elif _CHANGING.match(name):
        yield Event("change", path)
    elif name == "close":
        yield Event("close", path)
    else:
        yield Event({"execve": "exec", "execveat": "exec", "readlink": "link", "readlinkat": "link"}.get(name, "access"), path)


def _asked(path: str, arguments: str) -> Event:
    mode, size = _MODE.search(arguments), _SIZE.search(arguments)
    kind = {"REG": "stat", "DIR": "dir"}.get(mode[1], "access") if mode else "access"
    return Event(kind, path, size=int(size[1]) if size and kind == "stat" else 0)


def _mapping(arguments: str, error: str | None) -> Iterator[Event]:
    matched = _MAPPED.fullmatch(arguments)
    if error is None and matched is not None and matched[2].startswith("/"):
        end = int(matched[1]) + int(matched[3], 0)
        yield Event("map", posixpath.normpath(_plain(matched[2].removesuffix(" (deleted)"))), size=end)


def _plain(text: str) -> str:
    """Return what strace escaped, as the path that the program meant."""
    if "\\" not in text:
        return text
    raw = text.encode("utf-8", "surrogateescape").decode("latin-1")
    return _ESCAPE.sub(_char, raw).encode("latin-1").decode("utf-8", "surrogateescape")


def _char(matched: re.Match[str]) -> str:
    word = matched[1]
    if word[0] in "01234567":
        return chr(int(word, 8) & 0xFF)
    if word[0] == "x" and len(word) > 1:
        return chr(int(word[1:], 16))
    return chr(_LETTERS.get(word, ord(word)))
