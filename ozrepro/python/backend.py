"""What a source tree needs to be built: its declared build requirements and those that its build backend asks for.

uv resolves build requirements on its own and would take any version of them. To lock them they must be known, and PEP 517
lets a backend add some at run time, so the backend is asked, in an environment of its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from packaging.requirements import InvalidRequirement, Requirement

from ozrepro import process
from ozrepro.errors import BuildError
from ozrepro.project.checking import shown
from ozrepro.project.gitaddress import read_commit
from ozrepro.project.requirement import check_address
from ozrepro.project.toml import TOMLDecodeError, loads
from ozrepro.python.advice import hint_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ozrepro.python.interpreter import Interpreter
    from ozrepro.python.uv import Uv

MAXIMUM = 1 << 30
"""Bytes that an unpacked sdist may have; a larger one is refused as an archive bomb."""

_LEGACY = ("setuptools>=40.8.0", "wheel")
"""What PEP 517 says to use for a tree without a [build-system] table (wheel for setuptools before 70.1)."""

_ASK = """
import importlib, json, os, sys, zipfile
name, paths, hook, folder = json.loads(sys.argv[1])
target = os.path.abspath(sys.argv[2])  # backends change the arguments, and the current folder
sys.path[:0] = [os.path.abspath(path) for path in paths]
module, _, inner = name.partition(":")
backend = importlib.import_module(module)
for part in filter(None, inner.split(".")):
    backend = getattr(backend, part)
if hook == "metadata":
    prepare = getattr(backend, "prepare_metadata_for_build_wheel", None)
    if prepare:
        with open(os.path.join(folder, prepare(folder), "METADATA"), encoding="utf-8") as stream:
            answer = stream.read()
    else:
        with zipfile.ZipFile(os.path.join(folder, backend.build_wheel(folder))) as wheel:
            place = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
            answer = wheel.read(place).decode("utf-8")
else:
    ask = getattr(backend, hook, None)
    answer = list(ask(None)) if ask else []
with open(target, "w", encoding="utf-8") as stream:
    json.dump(answer, stream)
"""


@dataclass(frozen=True, slots=True)
class Backend:
    """A source tree's build backend in an environment of its own, `prefix`, with what the tree declares; see `opened`."""

    uv: Uv
    tree: Path
    prefix: Path
    variables: Mapping[str, str]
    limits: tuple[str, ...]
    declared: tuple[str, ...]
    name: str
    paths: list[str]

    def install(self, requirements: Sequence[str]) -> None:
        """Install requirements into its environment, from wheels alone. Raises CommandFailed."""
        if not requirements:
            return
        limits = self.prefix.parent / "limits.txt"
        limits.write_text("\n".join(self.limits) + "\n", encoding="utf-8")
        words = ["pip", "install", "--quiet", "--python", str(self.prefix / "bin" / "python"), "--only-binary", ":all:"]
        words += [*self.uv.indexes.flags(), "-c", str(limits), "-r", "-"]
        doing = f"cannot install the build requirements of {self.tree.name}"
        self.uv.run(words, doing=doing, text="\n".join(requirements) + "\n")

    def ask(self, hook: str) -> Any:
        """Return what a hook answers, [] where the backend has none. Raises BuildError, CommandFailed with its words."""
        python, home = self.prefix / "bin" / "python", self.prefix.parent
        answer, folder = home / "answer.json", home / "out"
        folder.mkdir(exist_ok=True)
        path = self.variables.get("PATH", self.uv.variables["PATH"])
        own = {**self.variables, "PATH": f"{self.prefix}/bin:{path}", "HOME": str(home), "VIRTUAL_ENV": str(self.prefix)}
        words = [str(python), "-c", _ASK, json.dumps([self.name, self.paths, hook, str(folder)]), str(answer)]
        done = process.run(words, env=own, cwd=self.tree, timeout=600)
        doing = "what the project requires" if hook == "metadata" else f"what it needs to build {self.tree.name}"
        done.checked(f"cannot ask {self.name} {doing}", hint=hint_for(done.errors))
        try:
            return json.loads(answer.read_text(encoding="utf-8"))
        except (OSError, RecursionError, ValueError) as error:
            raise BuildError(f"{self.name} does not say {doing}: {error}") from error


@contextmanager
def opened(
    uv: Uv, tree: Path, interpreter: Interpreter, variables: Mapping[str, str], limits: tuple[str, ...] = ()
) -> Iterator[Backend]:
    """Give the backend of a source tree. Raises BuildError, CommandFailed.

    `variables` are those in which it will be built, such as the compilers' of loaded modules; `limits` are constraints of what it
    is built with.
    """
    declared, name, paths = read_build_system(tree)
    with tempfile.TemporaryDirectory(prefix="ozrepro-") as folder:
        prefix = Path(folder) / "env"
        uv.run(
            ["venv", "--quiet", "--no-project", "--python", interpreter.path, str(prefix)],
            doing="cannot make a build environment",
        )
        backend = Backend(uv, tree, prefix, variables, limits, declared, name, paths)
        backend.install(declared)
        yield backend


def build_requirements(backend: Backend, *, editable: bool) -> tuple[str, ...]:
    """Return all requirements for building the source tree, declared and asked for. Raises BuildError, CommandFailed."""
    asked = backend.ask(f"get_requires_for_build_{'editable' if editable else 'wheel'}")
    return tuple(dict.fromkeys((*backend.declared, *_requirements(asked, backend.tree.name))))


def metadata(backend: Backend) -> str:
    """Return the core metadata of the source tree, as its backend makes it. Raises BuildError, CommandFailed."""
    backend.install(_requirements(backend.ask("get_requires_for_build_wheel"), backend.tree.name))
    return str(backend.ask("metadata"))


def _requirements(values: object, tree: str) -> tuple[str, ...]:
    """Return requirements that a source tree states. Raises BuildError: they become lines for uv, which has options there too."""
    found = [str(item) for item in values] if isinstance(values, list) else [str(values)]
    for text in found:
        try:
            address = Requirement(text).url
        except (InvalidRequirement, RecursionError):
            raise BuildError(f"{tree} asks for {shown(text)} to be built, which is not a requirement") from None
        problem = check_address(address) if address else None
        if address and read_commit(address) is not None:
            problem = "what builds packages must be a wheel"
        if problem or "\n" in text:
            raise BuildError(f"{tree} asks for {shown(text)} to be built: {problem or 'it has more than one line'}")
    return tuple(found)


def read_build_system(tree: Path) -> tuple[tuple[str, ...], str, list[str]]:
    """Return a source tree's declared build requirements, its backend, and the backend's paths (PEP 517, PEP 518)."""
    try:
        table = loads((tree / "pyproject.toml").read_text(encoding="utf-8")).get("build-system")
    except FileNotFoundError:
        table = None
    except (TOMLDecodeError, UnicodeDecodeError) as error:
        raise BuildError(f"cannot be read: {error}", where=str(tree / "pyproject.toml")) from error
    if not isinstance(table, dict):
        return _LEGACY, "setuptools.build_meta:__legacy__", []
    requires = _requirements(table.get("requires", []), tree.name)
    paths = table.get("backend-path", [])
    if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
        raise BuildError("build-system.backend-path: is not an array of strings", where=str(tree / "pyproject.toml"))
    return requires, str(table.get("build-backend") or "setuptools.build_meta:__legacy__"), paths


@contextmanager
def unpacked(address: str, sha256: str, cert: str = "") -> Iterator[Path]:
    """Give the source tree of an sdist, fetched from `address`, its hash checked before it is unpacked. Raises BuildError."""
    name = unquote(urlsplit(address).path.rpartition("/")[2])
    content = _fetch(address, cert)
    if hashlib.sha256(content).hexdigest() != sha256:
        raise BuildError(f"{name} has another sha256 than the index says", hint="contact the index's administrator")
    if not name.endswith(".tar.gz"):
        raise BuildError(
            f"{name} is not a .tar.gz: its build requirements cannot be read", hint="ask its authors for an sdist (PEP 625)"
        )
    import tarfile
    import zlib

    with tempfile.TemporaryDirectory(prefix="ozrepro-") as folder:
        archive = Path(folder) / "sdist.tar.gz"
        archive.write_bytes(content)
        inside = Path(folder) / "tree"
        inside.mkdir()
        try:
            _unpack(archive, inside, name)
        except (EOFError, OSError, ValueError, tarfile.TarError, zlib.error) as error:
            raise BuildError(f"{name} is not a safe archive: {error}") from error
        trees = [path for path in inside.iterdir() if path.is_dir()]
        if len(trees) != 1:
            raise BuildError(f"{name} has no single top folder")
        yield trees[0]


def _unpack(archive: Path, folder: Path, name: str) -> None:
    import tarfile

    with tarfile.open(archive) as tar:
        size = 0
        for member in tar:  # one after the other: a claim of too much ends before anything is read for it
            size += member.size
            if size > MAXIMUM:
                raise BuildError(f"{name} unpacks to more than {MAXIMUM >> 20} MiB")
        if not hasattr(tarfile, "data_filter"):
            raise BuildError("this Python cannot unpack archives safely", hint="use Python 3.10.12, 3.11.4 or newer")
        tar.extractall(folder, filter="data")


def _fetch(address: str, cert: str) -> bytes:
    parts = urlsplit(address)
    if parts.scheme == "file":
        return Path(unquote(parts.path)).read_bytes()
    if parts.scheme not in ("https", "http"):
        raise BuildError(f"cannot fetch a {parts.scheme or 'local'} address")
    import ssl
    import urllib.request  # loads the whole of http and email, which a lock without a compiled package does not need

    context = ssl.create_default_context(cafile=cert or None)
    request = urllib.request.Request(address.split("#", maxsplit=1)[0])
    if parts.username:
        import base64

        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        plain = address.replace(f"{parts.netloc.rpartition('@')[0]}@", "", 1).split("#")[0]
        request = urllib.request.Request(plain)
        # An index may redirect to a file server of somebody else: a plain header would go there too.
        request.add_unredirected_header("Authorization", f"Basic {base64.b64encode(login.encode()).decode()}")
    host = parts.hostname or ""
    try:
        with urllib.request.urlopen(request, context=context, timeout=float(os.environ.get("UV_HTTP_TIMEOUT", "60"))) as answer:
            content: bytes = answer.read(MAXIMUM + 1)
    except OSError as error:  # URLError is one
        raise BuildError(f"cannot fetch {parts.path.rpartition('/')[2]} from {host}: {error}") from error
    return content
