"""Packs an environment into one SquashFS file: light compression, blocks in the order in which a start reads them."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ozrepro import process
from ozrepro.store.forms import IMAGE, MARKER, START, start_script
from ozrepro.store.manifest import digest_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from ozrepro.store.forms import Tools

COMPRESSION = ("-comp", "zstd", "-Xcompression-level", "3", "-b", "128K")
"""519 MB of the astronomy stack on 2 cores: zstd 3 takes 3.8 s for 159 MB, lz4 1.6 s for 223 MB, gzip 75 s for 153 MB. Blocks of
128 KiB read 67 MB at a start in 16 requests, those of 32 KiB 73 MB in 18."""

_HIGHEST, _LOWEST = 32767, -32767
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
    """An environment's file, as its card tells it: sha256 and bytes, and the files and bytes inside."""

    sha256: str
    size: int
    files: int
    bytes: int


def sort_lines(opened: Iterable[str]) -> list[str]:
    """Return the lines of a sort file for paths in the order in which they are opened; what it cannot name is left out."""
    paths = [path for path in dict.fromkeys(opened) if path and not set(path) & set("\n\t \\\"'#")]
    step = max(1, (_HIGHEST - 1) // max(1, len(paths)))
    return [f"{path} {max(1, _HIGHEST - place * step)}" for place, path in enumerate(paths)]


def pack(prefix: Path, folder: Path, tools: Tools, opened: Sequence[str]) -> tuple[str, int]:
    """Write `env.sqfs` and `start` into a generation's folder; return sha256 and bytes of the first.

    The same files give the same bytes: owners and the time of the file system are fixed, entries are in the order of their
    names, and blocks in that of `opened`, whatever the number of threads. Raises CommandFailed, OSError.
    """
    (prefix / MARKER).touch(mode=0o444)
    image = folder / IMAGE
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", errors="surrogateescape", prefix="ozrepro-", suffix=".sort"
    ) as stream:
        stream.write("".join(f"{line}\n" for line in sort_lines(opened)))
        stream.flush()
        words = [tools.mksquashfs, str(prefix), str(image), *COMPRESSION, "-all-root", "-no-xattrs", "-mkfs-time", "0"]
        words += ["-noappend", "-no-progress", "-quiet", "-sort", stream.name]
        done = process.run(words, env={"PATH": process.CLEAN_PATH})
    done.checked("cannot pack the environment", hint="the same command again, or OZREPRO_FORM=tree")
    image.chmod(0o444)
    start = folder / START
    start.write_bytes(start_script(tools))
    start.chmod(0o555)
    return digest_file(image), os.stat(image).st_size
