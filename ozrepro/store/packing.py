"""Packs an environment into one SquashFS file: light compression, blocks in the order in which a start reads them."""

from __future__ import annotations

import errno
import inspect
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ozrepro import process
from ozrepro.errors import CommandFailed
from ozrepro.store import kept
from ozrepro.store.forms import COMPRESSION, IMAGE, MARKER, START, start_script
from ozrepro.store.manifest import digest_file, scan

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from ozrepro.store.forms import Tools
    from ozrepro.store.kept import Survey

_TIME = 315532800
"""1980-01-01, in seconds since 1970: the first that archives can tell."""

_HIGHEST = 32767
"""The priorities of a sort file of mksquashfs(1): the highest comes first, and 0 is that of files which it does not name."""

TRACER = """\
import os, sys
names, sink, prefix = sys.argv[2].split(","), sys.argv[1], os.path.join(sys.argv[3], "")
seen = {}
def note(path):
    if isinstance(path, str) and path.startswith(prefix):
        seen.setdefault(path[len(prefix):])
for module in list(sys.modules.values()):
    for attribute in ("__cached__", "__file__"):
        note(getattr(module, attribute, None))
sys.addaudithook(lambda event, arguments: note(arguments[0]) if event == "open" else None)
for name in filter(None, names):
    __import__(name)
with open("/proc/self/maps") as stream:
    for line in stream:
        note(line.rstrip("\\n").split(maxsplit=5)[-1])
with open(sink, "w", encoding="utf-8", errors="surrogateescape") as stream:
    stream.write("\\0".join(seen))
"""
"""Run by an environment's Python: what a start opens, in order. By Python's own audit events (PEP 578), and for libraries, which
the loader opens, by the kernel's list of what is mapped (proc(5)). Arguments: the file to write, the imports, the prefix."""


@dataclass(frozen=True, slots=True)
class Packed:
    """An environment's file, as its card tells it: sha256 and bytes, the files and bytes inside, and what is kept.

    Attributes:
        sha256: of the file.
        size: its bytes.
        files: how many files and links are inside.
        bytes: how large these are.
        kept: what it keeps of the machine's software: `folders`, each path with its place; `covered`, the files that these make
            needless; `files`, `bytes`; `private`, whether its user alone may read it. Empty where it keeps none.

    """

    sha256: str
    size: int
    files: int
    bytes: int
    kept: Mapping[str, Any] = field(default_factory=dict)


def sort_lines(opened: Iterable[str]) -> list[str]:
    """Return the lines of a sort file for paths in the order in which they are opened; what it cannot name is left out."""
    paths = [path for path in dict.fromkeys(opened) if path and not set(path) & set("\n\t \\\"'#")]
    step = max(1, (_HIGHEST - 1) // max(1, len(paths)))
    return [f"{path} {max(1, _HIGHEST - place * step)}" for place, path in enumerate(paths)]


def order_script(sink: str, imports: Sequence[str], prefix: str) -> str:
    """Return a Python program, which needs no ozrepro, that writes a sort file of what imports open below a prefix."""
    lines = (
        "from __future__ import annotations",
        "import signal, sys",
        "signal.alarm(600)",  # in seconds: imports that never end keep no build waiting
        f"sys.argv[1:] = {[sink, ','.join(imports), prefix]!r}",
        TRACER,
        f"_HIGHEST = {_HIGHEST}",
        inspect.getsource(sort_lines),
        "lines = sort_lines(seen)",
        'with open(sink, "w", encoding="utf-8", errors="surrogateescape") as stream:',
        '    stream.writelines(f"{line}\\n" for line in lines)',
    )
    return "\n".join(lines) + "\n"


def settle_times(prefix: Path) -> int:
    """Give all in a prefix one time, so that the same files give the same bytes; return how many files, links and folders it has.

    Sources of bytecode that is valid for the date of its source alone keep theirs. A file with several names counts once.
    """
    dated: set[str] = set()
    inodes = {"": os.stat(prefix).st_ino}
    for path, entry in scan(prefix):
        inodes[path] = entry.inode()
        folder, name = os.path.split(path)
        if name.endswith(".pyc") and os.path.basename(folder) == "__pycache__" and entry.is_file(follow_symlinks=False):
            with open(entry.path, "rb", buffering=0) as stream:
                flags = stream.read(8)[4:]  # PEP 552
            if flags == bytes(4):
                dated.add(os.path.join(os.path.dirname(folder), f"{name.partition('.')[0]}.py"))
    kept = {inodes[path] for path in dated if path in inodes}  # a file may have several names
    for path, inode in inodes.items():
        if inode not in kept:
            os.utime(prefix / path, (_TIME, _TIME), follow_symlinks=False)
    return len({*inodes.values()})


def _count(prefix: Path) -> int:
    """Return how many files, links and folders a prefix has, itself one of them. A file with several names counts once."""
    return len({os.stat(prefix).st_ino, *(entry.inode() for _, entry in scan(prefix))})


def _check_count(image: Path, count: int) -> None:
    """Raise CommandFailed where an image does not hold as much as was there: mksquashfs takes a folder that fails for its end."""
    with open(image, "rb", buffering=0) as stream:
        head = stream.read(8)  # of the superblock: a magic number, and how many inodes there are
    if head[:4] != b"hsqs" or int.from_bytes(head[4:], "little") != count:
        raise CommandFailed("the environment's file does not hold all of it", where=str(image), hint="the same command again")


def pack(
    prefix: Path, folder: Path, tools: Tools, opened: Sequence[str], processors: int = 0, *, software: Survey | None = None
) -> tuple[str, int]:
    """Write `env.sqfs` and `start` into a generation's folder; return sha256 and bytes of the first.

    The same files give the same bytes: owners are fixed, so are times but those of the machine's `software`, entries are in the
    order of their names, and blocks in that of `opened`, whatever the number of `processors` (0: all). Its lists for mksquashfs
    lie beside the prefix. Raises CommandFailed, OSError, also for a full disk.
    """
    (prefix / MARKER).touch(mode=0o444)
    if software is not None:
        kept.prepare(prefix, software)
    count = settle_times(prefix)
    order = prefix.with_name("order")
    words = _words(tools, prefix, order, opened)
    words += ["-processors", str(processors)] if processors else []
    if software is not None:
        count += software.inodes - len(software.sources)
        words += kept.options(prefix.parent, software)
        words = kept.packing_words(tools.unshare, tools.mount, prefix, software, words)
    return _pack(words, folder, count, start_script(tools), private=software is not None and software.private)


def pack_tree(prefix: Path, folder: Path, tools: Tools, opened: Sequence[str]) -> tuple[str, int]:
    """Write `env.sqfs`, which has the tree as it is, and `start`, which mounts it over the tree. Else as `pack`."""
    order = folder / "order"
    words = _words(tools, prefix, order, opened)
    words += ["-p", f"{MARKER} d 555 0 0"]  # a folder, since nothing is put into the tree
    count = len({os.stat(prefix).st_ino, *(entry.inode() for _, entry in scan(prefix))}) + 1
    try:
        return _pack(words, folder, count, start_script(tools, prefix))
    finally:
        order.unlink(missing_ok=True)


def _words(tools: Tools, prefix: Path, order: Path, opened: Sequence[str]) -> list[str]:
    """Return the words that pack a prefix into the image of the current folder, and write the sort file that they name."""
    order.write_bytes(os.fsencode("".join(f"{line}\n" for line in sort_lines(opened))))
    words = [tools.mksquashfs, str(prefix), IMAGE, *COMPRESSION, "-all-root", "-no-xattrs", "-mkfs-time", str(_TIME)]
    return [*words, "-noappend", "-no-progress", "-quiet", "-exit-on-error", "-sort", str(order)]


def _pack(words: Sequence[str], folder: Path, count: int, script: bytes, *, private: object = False) -> tuple[str, int]:
    image = folder / IMAGE
    image.touch(mode=0o600)  # mksquashfs fills it: nobody else reads what is not for everybody meanwhile
    done = process.run(words, env={"PATH": process.CLEAN_PATH}, cwd=folder)
    if done.status != 0:
        for number in (errno.ENOSPC, errno.EDQUOT):
            if os.strerror(number) in done.errors:
                raise OSError(number, os.strerror(number), str(image))
    done.checked("cannot pack the environment", hint="the same command again, or OZREPRO_FORM=tree")
    _check_count(image, count)
    image.chmod(0o400 if private else 0o444)
    start = folder / START
    start.write_bytes(script)
    start.chmod(0o555)
    return digest_file(image), os.stat(image).st_size
