"""Real, tiny conda packages and channels, made on the spot, and a server for them that can be told to misbehave."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_INDEX = (
    "import asyncio, os, sys\nfrom rattler.index import index_fs\nasyncio.run(index_fs(sys.argv[1], force=True))\nos._exit(0)\n"
)


def make_package(
    channel: Path,
    name: str,
    version: str = "1.0",
    *,
    build: str = "0",
    build_number: int = 0,
    depends: tuple[str, ...] = (),
    constrains: tuple[str, ...] = (),
    files: dict[str, bytes] | None = None,
    subdir: str = "linux-64",
    noarch: str = "",
    timestamp: int = 1700000000000,
    claimed: dict[str, bytes] | None = None,
) -> Path:
    """Write a `.tar.bz2` package and return its path; `files` maps paths in the environment to contents.

    `claimed` are other contents of which the package's list has the digests.
    """
    (channel / subdir).mkdir(parents=True, exist_ok=True)
    content = files if files is not None else {f"share/{name}.txt": f"{name} {version}\n".encode()}
    index: dict[str, Any] = {
        "name": name,
        "version": version,
        "build": build,
        "build_number": build_number,
        "depends": list(depends),
        "constrains": list(constrains),
        "subdir": subdir,
        "license": "MIT",
        "timestamp": timestamp,
        **({"noarch": noarch} if noarch else {}),
    }
    listed = [
        {"_path": path, "path_type": "hardlink", "sha256": hashlib.sha256(data).hexdigest(), "size_in_bytes": len(data)}
        for path, data in {**content, **(claimed or {})}.items()
    ]
    inside = {
        "info/index.json": json.dumps(index).encode(),
        "info/paths.json": json.dumps({"paths_version": 1, "paths": listed}).encode(),
        "info/files": "".join(f"{path}\n" for path in content).encode(),
        **content,
    }
    archive = channel / subdir / f"{name}-{version}-{build}.tar.bz2"
    with tarfile.open(archive, "w:bz2") as tar:
        for path, data in inside.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return archive


def index(channel: Path) -> None:
    """Write the channel's index, in a process of its own: rattler may crash at an interpreter's end."""
    (channel / "noarch").mkdir(parents=True, exist_ok=True)
    (channel / "linux-64").mkdir(exist_ok=True)
    done = subprocess.run([sys.executable, "-c", _INDEX, str(channel)], capture_output=True, text=True, check=False)
    assert (channel / "noarch" / "repodata.json").exists(), done.stderr
    for path in channel.glob("*/repodata*"):
        if path.name == "repodata.json":
            _forget_when_indexed(path)
        else:
            path.unlink()


def _forget_when_indexed(path: Path) -> None:
    """Leave only the packages' own dates: what is made here would else be as new as the test."""
    table = json.loads(path.read_text())
    for entry in table.get("packages", {}).values():
        entry.pop("indexed_timestamp", None)
    path.write_text(json.dumps(table))


@dataclass
class Server:
    """A channel over http. What `cut`, `gone` and `other` name, by file, comes short, not at all, or with another content."""

    address: str = ""
    cut: dict[str, int] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    other: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)


@contextmanager
def serve(folder: Path) -> Iterator[Server]:
    """Give a server of the folder on the loopback interface."""
    server = Server()

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(folder))

        def do_GET(self) -> None:
            name = os.path.basename(self.path)
            server.asked.append(self.path)
            if name in server.gone:
                self.send_error(404)
            elif name in server.cut and server.cut[name] > 0:
                server.cut[name] -= 1
                data = Path(self.translate_path(self.path)).read_bytes()
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data[: len(data) // 2])
            elif name in server.other:
                self.send_response(200)
                self.send_header("Content-Length", str(len(server.other[name])))
                self.end_headers()
                self.wfile.write(server.other[name])
            else:
                super().do_GET()

        def log_message(self, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        server.address = f"http://127.0.0.1:{listening.server_address[1]}"
        thread = threading.Thread(target=listening.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            listening.shutdown()
            thread.join()
