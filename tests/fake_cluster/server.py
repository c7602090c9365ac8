"""A web server on the loopback for a made channel, which can be told to fail as real ones do.

    with Server(channel.prefix) as server:
        server.cut("*/numpy-*.conda", after=1000)
        ...  # f"{server.url}/conda-forge"

Two servers of one folder are mirrors; one that was stopped has vanished.
"""

from __future__ import annotations

import contextlib
import fnmatch
import functools
import os
import threading
import time
from dataclasses import dataclass
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from typing_extensions import Self


@dataclass
class Fault:
    """What goes wrong with the addresses that match a pattern."""

    pattern: str
    status: int = 0
    """The answer instead of the file, when not 0."""
    after: int | None = None
    """How many bytes come before the connection breaks; the promised length is the whole one."""
    body: bytes | None = None
    """Other content instead of the file's."""
    seconds: float = 0
    """How long the answer is waited for."""
    times: int | None = None
    """How many more answers are faulty; None is all."""


class Server:
    """Serves a folder at 127.0.0.1 from threads of its own until it is stopped."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self.requests: list[str] = []
        """What was asked for, as `GET /conda-forge/noarch/repodata.json.zst`."""
        self.stopped = False
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        self._http = _Quiet(("127.0.0.1", 0), functools.partial(_Handler, self, directory=str(self.folder)))
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Vanish: from now on connections are refused, and open ones are closed at the next request."""
        self.stopped = True
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def fail(self, pattern: str = "*", status: int = 404, times: int | None = None) -> None:
        """Answer with an error: 404 for what is gone, 503 for a server that is ill."""
        self._add(Fault(pattern, status=status, times=times))

    def cut(self, pattern: str, after: int, times: int | None = None) -> None:
        """Break the connection after so many bytes of a file."""
        self._add(Fault(pattern, after=after, times=times))

    def change(self, pattern: str, body: bytes, times: int | None = None) -> None:
        """Send other content than the file's."""
        self._add(Fault(pattern, body=body, times=times))

    def slow(self, pattern: str, seconds: float, times: int | None = None) -> None:
        """Let wait for an answer."""
        self._add(Fault(pattern, seconds=seconds, times=times))

    def restore(self) -> None:
        """Serve everything as it is again."""
        with self._lock:
            self._faults.clear()

    def asked(self, pattern: str = "*") -> list[str]:
        """Return the addresses that were really fetched and match a pattern."""
        with self._lock:
            found = [line.removeprefix("GET ") for line in self.requests if line.startswith("GET ")]
        return [path for path in found if fnmatch.fnmatchcase(path, pattern)]

    def note(self, method: str, path: str) -> Fault | None:
        """Record a request and return the first fault that is meant for it."""
        with self._lock:
            self.requests.append(f"{method} {path}")
            for fault in self._faults:
                if fault.times != 0 and fnmatch.fnmatchcase(path, fault.pattern):
                    fault.times = None if fault.times is None else fault.times - (method == "GET")
                    return fault
        return None

    def _add(self, fault: Fault) -> None:
        with self._lock:
            self._faults.append(fault)


class _Quiet(ThreadingHTTPServer):
    """Says nothing when a client goes away."""

    daemon_threads = True
    request_queue_size = 128
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """Leave it: the tests look at what the client says."""


class _Handler(SimpleHTTPRequestHandler):
    """Serves files, or the faults that the server was told."""

    protocol_version = "HTTP/1.1"

    _code = 0

    def __init__(self, owner: Server, *words: Any, **more: Any) -> None:
        self.owner = owner
        super().__init__(*words, **more)

    def send_response(self, code: int, message: str | None = None) -> None:
        """Keep the status, for the headers that belong to it."""
        super().send_response(code, message)
        self._code = int(code)

    def end_headers(self) -> None:
        """Let clients ask each time whether a file changed, and say with "it did not" what the standard library leaves out."""
        self.send_header("Cache-Control", "no-cache")
        if self._code == HTTPStatus.NOT_MODIFIED:
            self.send_header("Last-Modified", self.date_time_string(os.path.getmtime(self.translate_path(self.path))))
        super().end_headers()

    def do_GET(self) -> None:
        """Send a file, or what is to go wrong with it."""
        fault = self._fault("GET")
        if fault is None:
            super().do_GET()
        elif fault.status:
            self.send_error(fault.status)
        else:
            self._send_otherwise(fault)

    def do_HEAD(self) -> None:
        """Send what a file's headers would be."""
        fault = self._fault("HEAD")
        if fault is not None and fault.status:
            self.send_error(fault.status)
        else:
            super().do_HEAD()

    def _fault(self, method: str) -> Fault | None:
        if self.owner.stopped:
            raise ConnectionAbortedError("the server was stopped")
        fault = self.owner.note(method, self.path)
        if fault is not None and fault.seconds:
            time.sleep(fault.seconds)
        return fault if fault is not None and (fault.status, fault.after, fault.body) != (0, None, None) else None

    def _send_otherwise(self, fault: Fault) -> None:
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        body = path.read_bytes() if fault.body is None else fault.body
        self.send_response(200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(body[: fault.after])
        self.close_connection = fault.after is not None

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Print nothing."""
