"""How a built environment lies in the store: a tree, or one file that each start mounts at the path where it was built.

What this machine has for it, where such an environment is built, and how its files are looked at. Knows no method.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shlex
import stat
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ozrepro import process
from ozrepro.errors import CommandFailed, StoreError
from ozrepro.faststart.ready import content_of
from ozrepro.site import LOCAL, NETWORKED, mount_of
from ozrepro.store.kept import FOLDER
from ozrepro.store.writing import remove_tree

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ozrepro.store.publish import Generation

Form = Literal["tree", "file"]

IMAGE = "env.sqfs"
START = "start"
FILE_VARIABLE = "_OZMOUNT_FILE"
"""Names a copy of the image to `start`, which mounts it for this start alone, also where a job has a mount to join."""
MARKER = ".ozrepro-file"
"""A file of a packed environment alone: where it is seen, the environment is mounted."""

COMPRESSION = ("-comp", "zstd", "-Xcompression-level", "3", "-b", "128K")
"""519 MB of the astronomy stack on 2 cores: zstd 3 takes 3.8 s for 159 MB, lz4 1.6 s for 223 MB, gzip 75 s for 153 MB. Blocks of
128 KiB read 67 MB at a start in 16 requests, those of 32 KiB 73 MB in 18."""

FULL = re.compile(r"os error (28|122)\b|No space left on device|Disk quota exceeded")
"""How programs say that a disk is full: errno 28 and 122."""

ROOM = 2 << 30
"""Bytes that a folder must have left to build in; the astronomy stack with its bytecode takes 0.5 GiB, one with PyTorch 6."""
ENTRIES = 100_000
"""Files that it must have left."""

_ROOM = "ozrepro-build-"
_START = Path(__file__).with_name("start.sh")


@dataclass(frozen=True, slots=True)
class Tools:
    """The programs that pack and mount, by their paths."""

    squashfuse: str
    mksquashfs: str
    unshare: str
    nsenter: str
    mount: str


_NAMES = {"squashfuse": "squashfuse_ll", "mksquashfs": "mksquashfs", "unshare": "unshare", "nsenter": "nsenter", "mount": "mount"}


def find_tools(path: str, apptainer: str | None) -> Tools | str:
    """Return this machine's tools, or which are not here. Starts nothing.

    `path` is a PATH; Apptainer brings its own squashfuse_ll, and may bring mksquashfs, in `libexec/apptainer/bin`.
    """
    more = f"{Path(os.path.realpath(apptainer)).parents[1]}/libexec/apptainer/bin" if apptainer else ""
    # First what the system has: a caller's PATH may lead into a module, which another node may not have.
    searched = ":".join(filter(None, (process.CLEAN_PATH, "/usr/sbin:/sbin", path, more)))
    found = {key: process.find_program(name, searched) for key, name in _NAMES.items()}
    absent = [_NAMES[key] for key, program in found.items() if program is None]
    if absent:
        return f"no {' and no '.join(absent)} here; ask the centre for squashfuse and squashfs-tools"
    return Tools(**{key: str(program) for key, program in found.items()})


def why_no_mount(tools: Tools) -> str:
    """Return why a user cannot mount a file here, "" where one can. Mounts one of nothing as a start does, in some 50 ms."""
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "/dev/fuse cannot be opened; ask the centre for FUSE"
    environ = {"PATH": process.CLEAN_PATH}
    try:
        with tempfile.TemporaryDirectory(prefix="ozrepro-mount-") as name:
            prefix, image, start = (Path(name, each) for each in ("env", "empty", START))
            prefix.mkdir()
            (prefix / MARKER).touch()
            process.run([tools.mksquashfs, str(prefix), str(image), *COMPRESSION, "-quiet"], env=environ).checked("cannot pack")
            (prefix / MARKER).unlink()  # where it is seen, all is mounted
            start.write_bytes(start_script(tools))
            # By its shell: a folder of temporary files may let no program run.
            words = ["/bin/bash", "-p", str(start), "true"]
            done = process.run(words, env={**environ, FILE_VARIABLE: str(image)}, timeout=20)
    except (CommandFailed, OSError) as error:
        return f"a file cannot be mounted here: {error.what if isinstance(error, CommandFailed) else error}"
    return "" if done.status == 0 else _refusal(done.errors or f"status {done.status}", tools)


def _refusal(said: str, tools: Tools) -> str:
    """Return why a mount was refused and what to ask for, from what `start` and the programs that it runs have said."""
    if "--map-user" in said:  # which came with util-linux 2.36
        return f"{tools.unshare} has no --map-user; ask the centre for util-linux 2.36"
    first = said.strip().splitlines()[0]
    if "is damaged" in first:
        return f"{tools.squashfuse} does not read what {tools.mksquashfs} has packed; ask the centre for a newer squashfuse"
    if first.startswith("ozrepro: "):
        return f"{first.removeprefix('ozrepro: ')}; ask the centre for user namespaces and FUSE"
    cause = f"{first.partition(': ')[0]}: {first.rpartition(': ')[2].strip('.')}"
    if _knob("kernel/apparmor_restrict_unprivileged_userns") == "1":
        knob = "kernel.apparmor_restrict_unprivileged_userns = 1"
        return f"AppArmor lets no user mount ({knob}; {cause}); ask the centre for 0, or for a profile of {tools.unshare}"
    if "\nSeccomp:\t2\n" in _text("/proc/self/status"):
        return f"this container or service lets no user mount ({cause}, by a seccomp filter); ask whoever runs it"
    return f"no user can mount a file ({cause}); ask the centre for user namespaces (sysctl user.max_user_namespaces)"


def _knob(name: str) -> str:
    return _text(f"/proc/sys/{name}").strip()


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def choose(setting: str, store: Path, path: str, apptainer: str | None) -> tuple[Tools | None, str]:
    """Return the tools where the setting asks for a file and this machine can, else None; and what is to be said of it.

    `auto` asks for one where the store lies on a file system of a cluster, in which each small file costs its servers a request.
    """
    if setting == "auto":
        mount = mount_of(store)
        if mount is None or mount.kind not in NETWORKED:
            return None, ""
    elif setting != "file":
        return None, ""
    tools = find_tools(path, apptainer)
    why = tools if isinstance(tools, str) else why_no_mount(tools)
    if isinstance(tools, str) or why:
        return None, f"the form is tree, not file: {why}"
    return tools, ""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an environment is built before it is packed: a folder of this node, None for memory; and how that is said."""

    folder: Path | None
    words: str


def place(environ: Mapping[str, str]) -> Place | str:
    """Return where to build on this node, or why that is nowhere: the job's own disk, then TMPDIR, /tmp, and memory.

    Memory comes last: what lies there counts against a job's limit.
    """
    for name in dict.fromkeys(filter(None, (environ.get("JOBFS"), environ.get("PBS_JOBFS"), environ.get("TMPDIR"), "/tmp"))):  # noqa: S108
        folder = Path(name)
        if folder.is_absolute() and _can_be_built_in(folder):
            return Place(folder, str(folder))
    if _free_memory() > 2 * ROOM:
        return Place(None, "memory")
    return f"no folder of this node has {ROOM >> 30} GiB left to build in"


def _can_be_built_in(folder: Path) -> bool:
    """Say whether a folder lies on this node, has room and lets programs run, and none of its entries can be swapped."""
    try:
        flags, mode = os.statvfs(folder).f_flag, os.stat(folder).st_mode
    except OSError:
        return False
    mount = mount_of(folder)
    is_local = mount is not None and mount.kind in LOCAL
    is_safe = not mode & stat.S_IWOTH or bool(mode & stat.S_ISVTX)
    is_open = not flags & os.ST_NOEXEC and os.access(folder, os.W_OK | os.X_OK)
    return is_local and is_safe and is_open and has_room(folder)


def has_room(folder: Path, part: int = 1) -> bool:
    """Say whether a file system has the bytes and files left that a build takes, or that `part` of them. Raises OSError."""
    room = os.statvfs(folder)
    has_files = room.f_files == 0 or room.f_favail >= ENTRIES // part
    return has_files and room.f_bavail * room.f_frsize >= ROOM // part


def _free_memory() -> int:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable")) << 10
    except (OSError, ValueError, StopIteration):
        return 0


def start_script(tools: Tools, over: Path | None = None) -> bytes:
    """Return the text of the program that starts commands with an environment's file mounted: over the tree `over` it is of."""
    text = _START.read_text(encoding="utf-8").replace("@MARKER@", MARKER).replace("@KEPT@", FOLDER)
    text = text.replace("@OVER@", shlex.quote(str(over)) if over else "")
    for field in fields(Tools):
        text = text.replace(f"@{field.name.upper()}@", shlex.quote(getattr(tools, field.name)))
    return text.encode()


def start_text(generation: Generation) -> str:
    """Return the text of a generation's `start` for bash, "" where that is not as it was published. Raises OSError.

    With the inode and time of the file, which the program would read in the card.
    """
    content = content_of(generation.folder / START)
    if hashlib.sha256(content).hexdigest() != generation.card["start"]:
        return ""
    made = f"""$'\\n "made": {json.dumps(generation.card["made"])}'"""
    return content.decode().replace("\nknown=\n", f"\nknown={made}\n")


@contextmanager
def room(place: Place) -> Iterator[Path | None]:
    """Give a folder of this node to build in, removed afterwards; None for memory. What killed builders left is removed too.

    Whoever builds there holds a lock on the folder, which the kernel takes back when that process ends. Raises OSError.
    """
    if place.folder is None:
        yield None
        return
    for left in place.folder.glob(f"{_ROOM}*"):
        held = _hold(left)
        if held is not None:
            remove_tree(left)
            os.close(held)
    folder, held = _new_room(place.folder)
    try:
        (folder / "generation").mkdir(mode=0o755)
        yield folder / "generation"
    finally:
        remove_tree(folder)
        os.close(held)


def _new_room(parent: Path) -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_ROOM, dir=parent))
        held = _hold(folder)
        if held is not None and folder.exists():
            return folder, held
        if held is not None:  # another builder took it for one that was left
            os.close(held)


def _hold(folder: Path) -> int | None:
    """Return a descriptor that holds a folder of this user's, None where a process holds it or it is another user's."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if os.fstat(descriptor).st_uid == os.geteuid():
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
    except OSError:
        pass
    os.close(descriptor)
    return None


@contextmanager
def seen(generation: Generation, *, published: bool = True) -> Iterator[Path]:
    """Give a path by which this process reads the files of an environment, as long as the block lasts.

    One file is mounted in a namespace of a companion's, whose root the kernel shows to its user (proc(5), `/proc/PID/root`). One
    that is not `published` has no card yet, with which a start would compare its file. Raises StoreError.
    """
    if generation.form == "tree":
        yield generation.prefix
        return
    try:
        more = {} if published else {FILE_VARIABLE: f"{generation.folder}/./{IMAGE}"}
        with process.Companion([str(generation.folder / START), "cat"], env={"PATH": process.CLEAN_PATH, **more}) as companion:
            companion.ask(b"", timeout=60)
            yield Path(f"/proc/{companion.pid}/root{os.path.abspath(generation.prefix)}")
    except CommandFailed as error:
        raise StoreError(
            f"cannot be mounted: {error.what}", where=str(generation.folder / IMAGE), hint="ozrepro doctor"
        ) from error
