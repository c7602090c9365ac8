"""What the tests of hostile input share: a locked project, commands run inside this process, and a small package index."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import sys
import threading
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock
from urllib.parse import quote, unquote

from ozrepro.faststart import start
from ozrepro.frontends.cli import program
from tests.conftest import BIN, Project
from tests.sealed import system_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MARK = "was executed"
"""What hostile code prints or writes when it runs."""


def make_project(folder: Path) -> Project:
    """Make an empty project as the fixture of that name does, for tests that share one."""
    home, root = folder / "home", folder / "a project"
    for path in (home, root / "sessions", folder / "wheel house"):
        path.mkdir(parents=True)
    environ = {
        "HOME": str(home),
        "PATH": f"{BIN}:{system_path()}",
        "LANG": "C.UTF-8",
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_FIND_LINKS": str(folder / "wheel house"),
        "PIP_NO_INDEX": "1",
    }
    return Project(root, environ)


@dataclass(frozen=True)
class Said:
    """How a command ended and what it printed."""

    status: int
    output: str
    errors: str

    def refused(self, *words: str, statuses: tuple[int, ...] = (3,)) -> None:
        """Insist on a refusal that has these words, one of these exit statuses, and nothing a terminal would obey."""
        text = self.errors
        assert self.status in statuses, (self.status, text[-3000:])
        assert text.startswith("ozrepro: "), text
        assert "Traceback" not in text, text[-3000:]
        assert len(text) < 20_000, f"{len(text)} characters of message"
        assert [char for char in text if char not in "\n\t" and not char.isprintable()] == []
        for word in words:
            assert word in text, (word, text[-3000:])


class Executed(AssertionError):
    """A program was started that must not be."""


def inside(project: Project, *words: str, **more: str) -> Said:
    """Carry out `ozrepro` in this process, which saves its start; any exception that is not an OzreproError comes out."""

    def execute(*args: object) -> None:
        raise Executed(f"{words} went as far as starting a program: {args[0]!r}")

    output, errors = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(os, "environ", {**project.environ, **more}),
        mock.patch.object(os, "execvpe", execute),
        redirect_stdout(output),
        redirect_stderr(errors),
        _folder(project.root),
    ):
        if words[0] == "run":
            start.start(list(words[1:]))
        status = program.run_program(words)
    return Said(status, output.getvalue(), errors.getvalue())


@contextmanager
def _folder(path: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(path)
    try:
        yield
    finally:
        os.chdir(before)


def outside(project: Project, *words: str, **more: str) -> Said:
    """Run `ozrepro` as a process of its own."""
    done = project.ozrepro(*words, **more)
    return Said(done.returncode, done.stdout, done.stderr)


def own_modules(project: Project, store: Path | None = None) -> Path:
    """Return the site-packages of the only published environment of a store."""
    names = [path for path in ((store or project.store()) / "names").iterdir() if not path.name.startswith(".")]
    assert len(names) == 1
    return next((names[0].resolve() / "env" / "lib").glob("python3*/site-packages"))


def plant(folder: Path, name: str, proof: Path, *, says: str = "") -> Path:
    """Put a program into `folder` that leaves its name in `proof` when it is run, and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    proof.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n: > '{proof}/{name}'\ncat <<'END'\n{says}\nEND\n", encoding="utf-8")
    path.chmod(0o755)
    return path


BACKEND = """
import base64, hashlib, os, zipfile


def get_requires_for_build_editable(config_settings=None):
    return []


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    import helper_tool

    info = "own-1.dist-info"
    files = {
        "own.pth": os.getcwd() + "\\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\\nName: own\\nVersion: 1\\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\\nGenerator: tests\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
    }
    record = ""
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={digest},{len(text.encode())}\\n"
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\\n"
    name = "own-1-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(wheel_directory, name), "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return name
"""


def add_own_package(project: Project) -> None:
    """Make the project itself installable by `-e .`, with a build backend of its own that needs the wheel `helper-tool`."""
    (project.root / "pyproject.toml").write_text(
        '[project]\nname = "own"\nversion = "1"\n\n'
        '[build-system]\nrequires = ["helper-tool"]\nbuild-backend = "own_backend"\nbackend-path = ["."]\n',
        encoding="utf-8",
    )
    (project.root / "own_backend.py").write_text(BACKEND, encoding="utf-8")


@dataclass
class Index:
    """A package index on a loopback port (PEP 503), with a login where one is set. `asked` are the paths that were asked for.

    `query` is what its links to files end in, as signed ones do.
    """

    folder: Path
    login: str = ""
    asked: list[str] = field(default_factory=list)
    port: int = 0
    query: str = ""

    def url(self, login: str = "") -> str:
        """Return the index's address, with the login in it where one is given."""
        user, _, password = login.partition(":")
        head = f"{quote(user, safe='')}:{quote(password, safe='')}@" if login else ""
        return f"http://{head}127.0.0.1:{self.port}/simple/"

    def answer(self, path: str, header: str) -> tuple[int, bytes]:
        """Return status and content for one request."""
        self.asked.append(path)
        if self.login and header != f"Basic {base64.b64encode(self.login.encode()).decode()}":
            return 401, b"no"
        parts = [unquote(part) for part in path.split("?")[0].strip("/").split("/")]
        wheels = sorted(self.folder.glob("*.whl"))
        if parts[:1] == ["files"]:
            found = [wheel for wheel in wheels if wheel.name == parts[-1]]
            return (200, found[0].read_bytes()) if found else (404, b"none")
        own = [wheel for wheel in wheels if len(parts) == 2 and wheel.name.split("-")[0].replace("_", "-") == parts[1]]
        query = f"?{self.query}" if self.query else ""
        links = (
            f'<a href="/files/{wheel.name}{query}#sha256={hashlib.sha256(wheel.read_bytes()).hexdigest()}">{wheel.name}</a>'
            for wheel in own
        )
        return (200, f"<!DOCTYPE html><html><body>{''.join(links)}</body></html>".encode()) if own else (404, b"none")


@contextmanager
def serving(folder: Path, login: str = "") -> Iterator[Index]:
    """Serve the wheels of a folder as a package index on a loopback port."""
    index = Index(folder, login)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, content = index.answer(self.path, self.headers.get("Authorization", ""))
            self.send_response(status)
            if status == 401:
                self.send_header("WWW-Authenticate", 'Basic realm="packages"')
            self.send_header("Content-Type", "application/octet-stream" if "/files/" in self.path else "text/html")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        do_HEAD = do_GET

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    index.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield index
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def session_environment(project: Project, variables: Mapping[str, str], session: str = "work") -> dict[str, str]:
    """Return what `ozrepro run SESSION -- env` prints, read back."""
    done = project.ozrepro("run", session, "--", "/usr/bin/env", "-0", **variables)
    assert done.returncode == 0, done.stderr
    return dict(line.split("=", 1) for line in done.stdout.split("\0") if line)


PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
