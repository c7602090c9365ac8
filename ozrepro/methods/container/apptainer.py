"""The site's Apptainer (or Singularity): which it is, the words that run a program in an image, and the words that build one.

Measured with Apptainer 1.4.5 as an ordinary user: variables, arguments and bound paths with spaces, quotes, `$`, commas, colons
and newlines arrive unchanged with `--no-eval` and `--mount` (its value is CSV), and not with `--bind` or without `--no-eval`.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ozrepro import process
from ozrepro.errors import BuildError
from ozrepro.faststart.ready import AMD, DRIVER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

NAMES = ("apptainer", "singularity")
"""The program's names, the one that is preferred first."""

_VERSION = re.compile(r"(apptainer|singularity(?:-ce|-pro)?)(?: version)? (\d+)\.(\d+)(\S*)", re.ASCII)
_OPENING = re.compile(r"(APPTAINER|SINGULARITY)(_BIND|_BINDPATH|_MOUNT|ENV_.*)\Z")
BUNDLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT", "GIT_SSL_CAINFO")
"""The variables that name a file of certificates, to Python and OpenSSL, requests, curl, pip, and git."""

_COMPRESSION = "-comp zstd -Xcompression-level 3"
"""mksquashfs' own gzip takes 75 s for a venv of 519 MB, this 4 s, for 4 % more bytes (2 cores, mksquashfs 4.5.1)."""

_ORDER = "OZREPRO_ORDER"
ORDER_LINE = f'[ -z "${{{_ORDER}-}}" ] || python3 "${_ORDER}" >/dev/null 2>&1 || :'
"""A line for `%test`, which Apptainer runs in the finished image as programs will be, read-only, just before it packs it.

It is the same in every image, and does nothing once the build is over.
"""

_STEPS = ("Fetching", "Extracting", "Running post", "Creating SIF", "Converting", "Copying")
"""How the lines begin that tell how far a build is; all others are for who looks into Apptainer itself."""


@dataclass(frozen=True, slots=True)
class Program:
    """The program: its path, `apptainer` or `singularity`, its version, and the variables that its own module sets."""

    path: str
    kind: str
    version: str
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def variable_prefix(self) -> str:
        """What goes in front of a variable's name so that it is set inside, over what the image says."""
        return "APPTAINERENV_" if self.kind == "apptainer" else "SINGULARITYENV_"

    @property
    def home(self) -> str:
        """The variable that says which folder is the home inside, as its option --home does."""
        return f"{self.kind.upper()}_HOME"

    @property
    def title(self) -> str:
        """Name and version as messages and locks have them."""
        return f"{self.kind} {self.version}"


def find_version(path: str, variables: Mapping[str, str]) -> Program:
    """Return what the program at `path` says that it is. Raises BuildError for one that has no `exec --mount`."""
    said = process.run([path, "--version"], env=variables, timeout=60).checked("asking Apptainer for its version").output
    found = _VERSION.search(said)
    if found is None:
        raise BuildError(f"says {said.strip()[:100]!r} and no version of Apptainer or Singularity", where=path)
    kind = "apptainer" if found[1] == "apptainer" else "singularity"
    version = f"{found[2]}.{found[3]}{found[4]}"
    if kind == "singularity" and (int(found[2]), int(found[3])) < (3, 10):
        raise BuildError(
            f"is Singularity {version}, and ozrepro needs Apptainer 1 or Singularity 3.10: older ones have no --mount",
            where=path,
            hint="ozrepro status, for the other methods",
        )
    return Program(path, kind, version)


@dataclass(frozen=True, slots=True)
class Mount:
    """A path of this machine that is seen inside."""

    source: str
    target: str
    read_only: bool = False

    def word(self) -> str:
        """Return the value of `--mount`: fields in CSV, each quoted, so that any path can be in one."""
        fields = ["type=bind", f"source={self.source}", f"destination={self.target}", *(["ro"] if self.read_only else [])]
        return ",".join('"' + text.replace('"', '""') + '"' for text in fields)


def read_bind(text: str, root: str) -> Mount:
    r"""Return an entry of `bind`: SOURCE[:TARGET[:ro]], in a path, `\:` is a colon and `\$` a dollar. Raises ValueError.

    SOURCE is from the project's root where it is relative; `~` and variables are the caller's.
    """
    parts = [part.replace("\\:", ":") for part in re.split(r"(?<!\\):", text)]
    if len(parts) > 3 or not parts[0] or (len(parts) == 3 and parts[2] not in ("ro", "rw")):
        raise ValueError("is not SOURCE[:TARGET[:ro]]")
    named = "$".join(map(os.path.expandvars, os.path.expanduser(parts[0]).split("\\$")))
    source = os.path.normpath(os.path.join(root, named))
    target = parts[1].replace("\\$", "$") if len(parts) > 1 and parts[1] else source
    if not target.startswith("/"):
        raise ValueError(f"{target!r} is not an absolute path inside")
    return Mount(source, target, read_only=len(parts) == 3 and parts[2] == "ro")


def exec_words(program: Program, image: str, mounts: Iterable[Mount], gpu: str) -> tuple[str, ...]:
    """Return the words in front of a command that run it in an image. `gpu` is nvidia, amd or ""."""
    flags = {"nvidia": ("--nv",), "amd": ("--rocm",)}.get(gpu, ())
    bound = (word for mount in mounts for word in ("--mount", mount.word()))
    return (program.path, "--quiet", "exec", "--no-eval", *flags, *bound, image)


def gpu_here() -> str:
    """Return whose GPU driver this machine has: nvidia, amd, or ""."""
    if os.path.exists(DRIVER):
        return "nvidia"
    return "amd" if os.path.exists(AMD) else ""


def closed_words(program: Program, image: str) -> tuple[str, ...]:
    """Return the words that run a command in an image of which nothing of this machine is a part: to look at it."""
    return (program.path, "--quiet", "exec", "--no-eval", "--contain", "--no-home", "--cleanenv", "--pwd", "/", image)


def alone(program: Program, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables for Apptainer to build an image or look into one: without paths to bind and values to set inside.

    A site sets APPTAINER_BINDPATH for all its users, and a build fails at each folder that the new image does not have.
    """
    return {name: value for name, value in {**environ, **program.variables}.items() if not _OPENING.match(name)}


@dataclass(frozen=True, slots=True)
class Task:
    """An image to be built: the definition's text or a source such as `docker://…`, for which `what` is for messages.

    Attributes:
        source: a definition file's path, or what Apptainer fetches.
        arguments: values for the definition's arguments.
        plain: whether the registry is asked without encryption.
        mounts: what is seen inside while `%post` runs.
        cache: where Apptainer keeps what it downloads, unless the caller has said.
        root: the folder that relative paths of the definition are from.
        order: a sort file of mksquashfs(1), which the build may write until it packs, "" for none; its path has no space.
        script: the program that writes it, for `ORDER_LINE`.

    """

    source: str
    arguments: Mapping[str, str]
    plain: bool
    mounts: tuple[Mount, ...]
    cache: str
    root: Path
    order: str = ""
    script: str = ""


def find_bundle(environ: Mapping[str, str]) -> str:
    """Return the caller's own certificates, which a site needs that looks into encrypted connections, or ""."""
    return next((path for name in BUNDLES if (path := environ.get(name, "")) and os.path.isfile(path)), "")


def build(program: Program, task: Task, image: str, environ: Mapping[str, str], on_step: Callable[[str], None]) -> list[str]:
    """Build an image; return the lines that were printed. On failure raises Failed with them. `on_step` gets each step."""
    variables = alone(program, environ)
    variables.setdefault(f"{program.kind.upper()}_CACHEDIR", task.cache)
    packing = f"{program.kind.upper()}_MKSQUASHFS_ARGS"
    variables.setdefault(packing, _COMPRESSION)
    if task.order and "-sort" not in variables[packing].split():
        variables |= {packing: f"{variables[packing]} -sort {task.order}", _ORDER: task.script}
    words = [program.path, "build", *(["--no-https"] if task.plain else [])]
    for mount in task.mounts:
        words += ["--mount", mount.word()]
    for name, value in task.arguments.items():
        words += ["--build-arg", f"{name}={value}"]
    said: list[str] = []

    def hear(line: str) -> None:
        said.append(line)
        step = re.match(r"INFO:\s+(.*)", re.sub(r"\x1b\[\d+m", "", line))
        if step and step[1].startswith(_STEPS):
            on_step(step[1].rstrip(".").lower())

    done = process.run([*words, image, task.source], env=variables, cwd=task.root, on_line=hear)
    if done.status:
        raise Failed(done.status, said, done.output.splitlines())
    return said


class Failed(Exception):
    """Apptainer could not build: its status and what it said."""

    def __init__(self, status: int, said: Sequence[str], output: Sequence[str]) -> None:
        super().__init__(f"status {status}")
        self.status, self.said, self.output = status, tuple(said), tuple(output)

    def command(self) -> str:
        """Return the command of `%post` that failed, as the shell printed it, or ""."""
        if not any("%post" in line or "%setup" in line for line in self.said[-3:]):
            return ""
        printed = [line[2:] for line in self.said if line.startswith("+ ")]
        return printed[-1] if printed else ""

    def log(self) -> list[str]:
        """Return the end of what was said, from the failing command on: at most 15 lines.

        A command that says what is wrong on its standard output alone is answered by the end of that.
        """
        lines = [line for line in self.said if line.strip()]
        last = max((number for number, line in enumerate(lines) if line.startswith("+ ")), default=-1)
        if last < 0 or not self.command():
            return lines[-8:]
        after = lines[last + 1 :][-15:]
        silent = all("FATAL:" in line for line in after)
        return [*[line for line in self.output if line.strip()][-8:], *after] if silent else after
