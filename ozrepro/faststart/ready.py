"""The warm path: whether a session is locked and built, and how its environment looks.

Everything here runs at each start of a locked, built session, on Lustre, in every rank. It reads the bytes of the spec and
of the lock, one small JSON record in the store, and a few `stat`s; it parses no lock, takes no file lock, writes nothing and
imports nothing heavy. Any doubt is answered by None: the caller then goes the long way, which explains or repairs.
"""

from __future__ import annotations

import errno
import os
import stat
import sys

from ozrepro.environment import LAUNCHERS, RECORD, SAYS_WHERE, Environment, asked_method

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

SCHEMA = 13
JOBS = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "FLUX_JOB_ID")
"""The variables that name a job to a start."""
STORE_NAME = ".ozrepro"
LARGEST = 8 << 20
"""Bytes of a file of the project, or of a record, that are read; the long way says of a larger file that it is refused."""


def sha256_of(content: bytes = b"") -> Any:
    """Return hashlib's sha256 over bytes. The import waits until the caller's own modules have been put behind Python's."""
    from hashlib import sha256

    return sha256(content)


class _Scanning:
    """What the scanner of `json` asks its decoder for; another version may ask for more, and gets None."""

    strict = True
    parse_float = float
    parse_int = int
    object_hook = object_pairs_hook = parse_constant = memo = None

    def __getattr__(self, name: str) -> None:
        return None


def parsed(content: bytes) -> Any:
    """Return the value that a text of JSON holds. Raises ValueError.

    By the scanner that `json` uses, and without `json`, which loads `re` and what that needs: 70 path-taking calls. A text that
    the scanner does not take whole is left to `json`, as is every one where there is no such scanner.
    """
    text = content.decode()
    try:
        from _json import make_scanner

        value, end = make_scanner(_Scanning())(text, 0)  # type: ignore[arg-type]
        if end == len(text):
            return value
    except (ImportError, StopIteration, SystemError, AttributeError, TypeError):
        pass
    import json

    return json.loads(text)


class Ready:
    """A built session as its ready-record tells it.

    Attributes:
        environment: how to run a program.
        method: the method that was taken.
        generation: the folder of the environment in the store.
        key: the name by which the store knows it.
        section: the digest of what is locked.
        said: a line for each method that was refused before it.
        shell: functions, aliases and limits for an interactive shell.
        watched: the files and folders whose change makes the record void.
        inputs: the files of the project, besides the spec and the lock, whose content does.
        bytes, files: how large the environment's files are together, and how many there are.
        inside: of an environment that is one file, how many are inside; else 0.
        is_recorded: whether the project's settings ask for a record of each run.

    """

    __slots__ = (
        *("bytes", "environment", "files", "generation", "inputs", "inside", "is_recorded", "key", "method", "said"),
        *("section", "shell", "watched"),
    )

    def __init__(self, environment: Environment, generation: str, record: Mapping[str, Any]) -> None:
        self.environment = environment
        self.method: str = record["method"]
        self.generation = generation
        self.key: str = record["key"]
        self.section: str = record["section"]
        self.said: tuple[str, ...] = tuple(record["said"])
        self.shell: Mapping[str, Any] = record["shell"]
        self.watched: tuple[str, ...] = tuple(row[0] for row in record["stats"])
        self.inputs: tuple[str, ...] = tuple(row[0] for row in record["digests"])
        self.bytes: int = record["bytes"]
        self.files: int = record["files"]
        self.inside: int = record["inside"]
        self.is_recorded: bool = record["recorded"]


def content_of(path: str | os.PathLike[str], largest: int = LARGEST) -> bytes:
    """Return the bytes of a regular file of at most `largest` bytes. Raises OSError, whose `strerror` says what is wrong.

    This is how every file of a user is opened: a pipe would wait for its writer and a device has no end, so neither is read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, f"is {_kind(mode)}, not a file", os.fspath(path))
        stream = open(descriptor, "rb", closefd=False)  # noqa: SIM115 - the descriptor is what is closed
        content = stream.read(largest + 1)
    finally:
        os.close(descriptor)
    if len(content) > largest:
        size = f"{largest >> 20} MiB" if largest >> 20 else f"{largest >> 10} KiB"
        raise OSError(errno.EFBIG, f"is larger than {size}", os.fspath(path))
    return content


def _kind(mode: int) -> str:
    return "a directory" if stat.S_ISDIR(mode) else "a pipe" if stat.S_ISFIFO(mode) else "a device"


def spec_path(root: str, name: str) -> str:
    """Return the path of a session's spec."""
    return os.path.join(root, "sessions", name + ".toml")


def lock_path(root: str, name: str) -> str:
    """Return the path of a session's lock."""
    return os.path.join(root, "sessions", name + ".lock")


def find_root(name: str, start: str, environ: Mapping[str, str]) -> str | None:
    """Return the nearest folder above `start` that has `sessions/NAME.toml`, or None.

    `OZREPRO_PROJECT` names the folder instead of the search. A folder that anybody may write to, such as /tmp, is never taken.
    """
    given = environ.get("OZREPRO_PROJECT")
    if given:
        return os.path.realpath(given)
    folder = os.path.realpath(start)
    while True:
        if os.path.isfile(spec_path(folder, name)):
            return folder if is_trusted(folder) else None
        parent = os.path.dirname(folder)
        if parent == folder:
            return None
        folder = parent


def is_trusted(root: str) -> bool:
    """Say that not everybody may put a session into the project at `root`."""
    return not (os.stat(root).st_mode | os.stat(os.path.join(root, "sessions")).st_mode) & 0o002


def tool_table(content: bytes) -> tuple[bytes, dict[str, Any]]:
    """Return the bytes of a pyproject.toml that hold `[tool.ozrepro]` and the table itself; both empty where it has none.

    The file is parsed only when it names the table: tomllib costs 30 path-taking calls. A file that is not TOML gives an
    empty table here; the long way reports it.
    """
    if b"tool.ozrepro" not in content and b"ozrepro]" not in content:
        return b"", {}
    from ozrepro.faststart.tomlfile import TOMLDecodeError, loads

    try:
        table = loads(content.decode()).get("tool", {}).get("ozrepro", {})
    except (TOMLDecodeError, UnicodeDecodeError, AttributeError):
        return content, {}
    return content, table if isinstance(table, dict) else {}


def store_folder(root: str, table: Mapping[str, Any], environ: Mapping[str, str]) -> str:
    """Return the store's folder: variable beats file beats `.ozrepro` of the project."""
    chosen = environ.get("OZREPRO_STORE") or table.get("store")
    if not isinstance(chosen, str) or not chosen:
        chosen = STORE_NAME
    # A NUL, which TOML can hold, has expanduser raise.
    return os.path.join(root, os.path.expandvars(os.path.expanduser(chosen.replace("\0", ""))))


_SEARCHED = ("LD_LIBRARY_PATH", "LD_PRELOAD", "LD_AUDIT", "PYTHONPATH", "PYTHONHOME")
"""Variables whose folders and files run in every program, if they are named."""

DRIVER = "/sys/module/nvidia/version"
"""Says the version of NVIDIA's kernel driver, where it is loaded."""

AMD = "/dev/kfd"
"""The device of AMD's compute driver."""


def question(root: str, name: str, method: str | None, environ: Mapping[str, str]) -> tuple[str, str] | None:
    """Return the digest of all that decides a session's environment, and the store's folder; None without a spec or lock."""
    try:
        spec, lock = content_of(spec_path(root, name)), content_of(lock_path(root, name))
        try:
            project = content_of(os.path.join(root, "pyproject.toml"))
        except FileNotFoundError:
            project = b""
    except OSError:
        return None
    return question_of((spec, lock, project), root, name, method, environ)


def question_of(
    files: tuple[bytes, bytes, bytes], root: str, name: str, method: str | None, environ: Mapping[str, str]
) -> tuple[str, str]:
    """Return the digest and the store's folder for what was read of the spec, the lock and pyproject.toml.

    The digest covers the bytes of spec, lock and settings, every `OZREPRO_…` setting but those of records, the machine, and the
    interpreter that ozrepro runs on (an environment prefers it).
    """
    spec, lock, project = files
    settings, table = tool_table(project)
    names = (key for key in environ if key.startswith("OZREPRO_") and key not in SAYS_WHERE and not key.startswith(RECORD))
    ours = sorted(f"{key}={environ[key]}" for key in names)
    base = getattr(sys, "_base_executable", None) or sys.executable
    asked = method or asked_method(environ)  # as in the settings, which a start does not read
    parts = (
        f"{SCHEMA} {name} {asked}".encode(errors="surrogateescape"),
        root.encode(errors="surrogateescape"),
        spec,
        lock,
        settings,
        "\0".join(ours).encode(errors="surrogateescape"),
        f"{os.uname().machine} {sys.version} {base}".encode(),
    )
    digest = sha256_of()
    for part in parts:
        digest.update(b"%d:" % len(part))
        digest.update(part)
    return digest.hexdigest()[:32], store_folder(root, table, environ)


def facts_here(names: Iterable[str]) -> dict[str, str]:
    """Return the facts of this machine by their names: those that an environment depends on and another node may not share.

    `cpu` is the processor's level: clusters of one site share stores and module names, not binaries. `libc` and `driver` are the
    C library's version and that of the GPU's driver: another node of the same store may have older ones, or none. `model` is the
    processor's own kind, which packages may be built for.
    """
    return {name: FACTS[name]() for name in names}


def digest_on(digest: str, facts: Mapping[str, str]) -> str:
    """Return the digest of a question where a machine has other facts than the one that asked it first."""
    text = "\0".join((digest, *(f"{name}={facts[name]}" for name in sorted(facts))))
    named: str = sha256_of(text.encode()).hexdigest()[:32]
    return named


def _cpu() -> str:
    from ozrepro.faststart.cpu import cpu_flags, cpu_level

    return cpu_level(cpu_flags()) or ""


def _libc() -> str:
    return (os.confstr("CS_GNU_LIBC_VERSION") or "") if "CS_GNU_LIBC_VERSION" in os.confstr_names else ""


def _driver() -> str:
    try:
        with open(DRIVER, "rb") as stream:
            return stream.read(100).decode(errors="replace").strip()
    except OSError:
        return "amd" if os.path.exists(AMD) else ""


_MODEL = (b"vendor_id", b"cpu family", b"model\t", b"CPU implementer", b"CPU part")
"""Beginnings of the lines of /proc/cpuinfo that tell one kind of processor from another, on x86-64 and on ARM."""


def _model() -> str:
    try:
        with open("/proc/cpuinfo", "rb", buffering=0) as stream:
            first = stream.read(1 << 12).split(b"\n\n")[0]
    except OSError:
        return ""
    lines = (line for line in first.split(b"\n") if line.startswith(_MODEL))
    return " ".join(line.partition(b":")[2].strip().decode(errors="replace") for line in lines)


FACTS = {"cpu": _cpu, "libc": _libc, "driver": _driver, "model": _model}
"""The facts that a start can compare, by name, and how each is asked for."""


def with_python(python: str | None, environ: Mapping[str, str]) -> Mapping[str, str]:
    """Return the caller's variables where an option asks for a Python: it beats the variable."""
    return {**environ, "OZREPRO_PYTHON": python} if python else environ


def find_ready(root: str, name: str, method: str | None, environ: Mapping[str, str]) -> Ready | None:
    """Return the built session if its record in the store still holds, else None."""
    asked = question(root, name, method, environ)
    return None if asked is None else read_ready(asked[1], asked[0], environ)


def stamp(found: os.stat_result) -> list[int]:
    """Return what binds a record to a file or folder of this machine: its inode and ctime, which no copy can bring along.

    A clone, an archive and `cp -a` choose content, modes and mtime; both of these the kernel gives (inode(7)).
    """
    return [found.st_ino, found.st_ctime_ns]


def read_ready(store: str, digest: str, environ: Mapping[str, str], *, again: bool = False) -> Ready | None:
    """Return what the record `digest` of `store` says, or None where it is absent, foreign, or no longer true for the caller."""
    try:
        folders = [os.stat(store), *(os.lstat(os.path.join(store, name)) for name in ("ready", "names", "gens"))]
        if not all(map(_is_private, folders)):
            return None
        descriptor = os.open(os.path.join(store, "ready", digest), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as stream:
            if not _is_private(os.fstat(descriptor)):
                return None
            content = stream.read(LARGEST)
        record = parsed(content) if len(content) < LARGEST else {}
        if record["schema"] != SCHEMA:
            return None
        if record["facts"] and (here := facts_here(record["facts"])) != record["facts"]:
            # A node of another kind shares the store: what was written there has a name of its own.
            return read_ready(store, digest_on(digest, here), environ, again=True) if not again else None
        if os.readlink(os.path.join(store, "names", record["key"])) != record["link"]:
            return None
        generation = os.path.join(store, "gens", os.path.basename(record["link"]))
        found = os.lstat(generation)
        if not _is_private(found) or not stat.S_ISDIR(found.st_mode) or record["made"] != stamp(found):
            return None
        if not (_same_stat(record["stats"]) and _same_content(record["digests"])):
            return None
        environment = Environment.from_dict(record["environment"])
        usable = is_absolute(environment) and not environment.unexpected(environ)
        return Ready(environment, generation, record) if usable else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _is_private(found: os.stat_result) -> bool:
    return found.st_uid in (os.geteuid(), 0) and not found.st_mode & 0o002 and not stat.S_ISLNK(found.st_mode)


def is_absolute(environment: Environment) -> bool:
    """Say that a program does not depend on the folder it is started in: a relative path is taken from wherever that is."""
    searched = [environment.variables[name] for name in _SEARCHED if name in environment.variables]
    entries = (*environment.path, *environment.base, *environment.prefix[:1], environment.mount or "/")
    paths = [entry for entry in entries if isinstance(entry, str)]  # what follows the caller begins with a variable
    return all(path.startswith("/") for path in paths) and not any(
        "/" in part and not part.startswith("/") for value in searched for part in value.split(":")
    )


def _same_stat(rows: Iterable[tuple[Any, ...]]) -> bool:
    for path, size, mtime, *own in rows:
        found = os.stat(path)
        if (
            found.st_size != size
            or found.st_mtime_ns != mtime
            or (own and own != [found.st_ino, found.st_mode, found.st_ctime_ns][: len(own)])
        ):
            return False
    return True


def _same_content(digests: Iterable[tuple[str, str]]) -> bool:
    return all(sha256_of(content_of(path)).hexdigest() == digest for path, digest in digests)


def check_command(environment: Environment, argv: Sequence[str], session: str, example: str = "") -> None:
    """Raise OzreproError for a command line that is not started in a session's environment: see `Environment.refused`.

    `example` shows how a launcher is told to start its program there, with `{launcher}` for its name; that of the command line
    where it is empty.
    """
    words = environment.refused(argv)
    if not words:
        return
    from ozrepro.errors import OzreproError

    if words in LAUNCHERS:
        outside = "outside the image" if environment.is_image else f"without {environment.command(())[0]}"
        what = f"{words} would start its program {outside}"
        hint = (example or f"{{launcher}} … ozrepro run {session} -- python …").replace("{launcher}", words)
    elif environment.is_image:
        astray = ", and packages would land in ~/.local" if "pip" in words else ""
        what = f"{words} cannot add to an image: it is read-only{astray}"
        hint = f"add the package to %post of the definition, then: ozrepro lock {session}"
    else:
        what, hint = f"{words} cannot add to a locked environment", f"ozrepro add {session} PKG"
    raise OzreproError(what, where=f"session {session!r}", hint=hint)
