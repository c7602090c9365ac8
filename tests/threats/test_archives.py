"""Source archives from an index: the only ones that ozrepro unpacks itself, to ask what building them needs."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ozrepro.errors import BuildError
from ozrepro.python import backend
from tests.needs import UNPACKS
from tests.threats.helpers import inside, make_project
from tests.wheels import make_sdist, make_wheel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Member = tuple[tarfile.TarInfo, bytes]


def member(name: str, content: bytes = b"", *, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644) -> Member:
    """Return one entry of an archive."""
    found = tarfile.TarInfo(name)
    found.type, found.linkname, found.mode, found.size = kind, link, mode, len(content)
    return found, content


def archive(*members: Member) -> bytes:
    """Return an sdist with these entries after a good one."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for entry, content in (member("evil-1.0/PKG-INFO", b"Name: evil\n"), *members):
            tar.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def _bomb() -> bytes:
    """Return a small archive whose one entry claims two thousand million bytes."""
    header = tarfile.TarInfo("evil-1.0/zeros")
    header.size = 2_000_000_000
    return gzip.compress(header.tobuf() + b"\0" * 1024)


ARCHIVES: dict[str, Callable[[], bytes]] = {
    "above": lambda: archive(member("../proof", b"x")),
    "far above": lambda: archive(member("evil-1.0/../../../../../../../../proof", b"x")),
    "link out": lambda: archive(member("evil-1.0/out", kind=tarfile.SYMTYPE, link="../../..")),
    "link out and through": lambda: archive(
        member("evil-1.0/out", kind=tarfile.SYMTYPE, link="/tmp"), member("evil-1.0/out/proof", b"x")
    ),
    "absolute link": lambda: archive(member("evil-1.0/passwd", kind=tarfile.SYMTYPE, link="/etc/passwd")),
    "hard link out": lambda: archive(member("evil-1.0/passwd", kind=tarfile.LNKTYPE, link="/etc/passwd")),
    "hard link above": lambda: archive(member("evil-1.0/x", kind=tarfile.LNKTYPE, link="../../sdist.tar.gz")),
    "device": lambda: archive(member("evil-1.0/zero", kind=tarfile.CHRTYPE)),
    "pipe": lambda: archive(member("evil-1.0/pipe", kind=tarfile.FIFOTYPE)),
    "two top folders": lambda: archive(member("other-1.0/setup.py", b"x")),
    "bomb": _bomb,
    "no archive": lambda: b"<html>not here</html>",
    "empty": lambda: b"",
    "cut off": lambda: archive(member("evil-1.0/data", bytes(range(256)) * 400))[:-300],
    "no gzip": lambda: gzip.decompress(archive())[:700],
    "nothing inside": lambda: gzip.compress(b"\0" * 10240),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_a_hostile_archive_is_refused_and_writes_nothing_outside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    temporary = tmp_path / "a" / "b" / "temporary"
    temporary.mkdir(parents=True)
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    path = tmp_path / "evil-1.0.tar.gz"
    path.write_bytes(ARCHIVES[name]())
    before = sorted(tmp_path.rglob("*"))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    with (
        pytest.raises(BuildError, match=r"evil-1\.0\.tar\.gz|cannot unpack archives safely"),
        backend.unpacked(path.as_uri(), sha256),
    ):
        pass
    assert sorted(tmp_path.rglob("*")) == before
    assert not Path("/tmp/proof").exists()


def test_an_absolute_name_in_an_archive_stays_inside_the_target(tmp_path: Path) -> None:
    path = tmp_path / "evil-1.0.tar.gz"
    path.write_bytes(archive(member(f"{tmp_path}/proof", b"x"), member("evil-1.0/run", b"x", mode=0o6777)))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    try:
        with backend.unpacked(path.as_uri(), sha256) as tree:
            assert (tree / "run").stat().st_mode & 0o7022 == 0
    except BuildError:
        pass
    assert not (tmp_path / "proof").exists()


def test_another_archive_than_the_index_says_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "evil-1.0.tar.gz"
    path.write_bytes(archive())
    with pytest.raises(BuildError, match="sha256"), backend.unpacked(path.as_uri(), "0" * 64):
        pass


@pytest.mark.parametrize("address", ["ftp://127.0.0.1/x-1.0.tar.gz", "git+https://127.0.0.1/x-1.0.tar.gz", "x-1.0.tar.gz"])
def test_addresses_of_other_schemes_are_not_fetched(address: str) -> None:
    with pytest.raises(BuildError, match="cannot fetch"), backend.unpacked(address, "0" * 64):
        pass


@contextmanager
def answering(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[int]:
    """Serve on a loopback port with one function."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        def log_message(self, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@UNPACKS
def test_a_login_is_not_carried_on_to_another_host(tmp_path: Path) -> None:
    """An index may send its visitor to a file server; the index's password is not for that."""
    content = archive()
    seen: list[tuple[str, str]] = []

    def files(request: BaseHTTPRequestHandler) -> None:
        seen.append(("files", request.headers.get("Authorization", "")))
        request.send_response(200)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)

    with answering(files) as port:

        def index(request: BaseHTTPRequestHandler) -> None:
            seen.append(("index", request.headers.get("Authorization", "")))
            request.send_response(302)
            request.send_header("Location", f"http://localhost:{port}/evil-1.0.tar.gz")
            request.send_header("Content-Length", "0")
            request.end_headers()

        with answering(index) as first:
            address = f"http://user:word@127.0.0.1:{first}/evil-1.0.tar.gz"
            with backend.unpacked(address, hashlib.sha256(content).hexdigest()) as tree:
                assert (tree / "PKG-INFO").is_file()
    assert [place for place, _ in seen] == ["index", "files"]
    assert seen[0][1].startswith("Basic ")
    assert seen[1][1] == ""


def test_no_failing_fetch_tells_the_login(tmp_path: Path) -> None:
    def refuse(request: BaseHTTPRequestHandler) -> None:
        request.send_response(403)
        request.send_header("Content-Length", "0")
        request.end_headers()

    with answering(refuse) as port:
        addresses = [
            f"http://user:canary@127.0.0.1:{port}/evil-1.0.tar.gz?key=canary",
            "http://user:canary@127.0.0.1:9/evil-1.0.tar.gz",
        ]
        for address in addresses:
            with pytest.raises(BuildError) as caught, backend.unpacked(address, "0" * 64):
                pass
            assert "canary" not in str(caught.value)
            assert "evil-1.0.tar.gz" in str(caught.value)


@pytest.mark.parametrize(
    "content", ["[build-system]\nrequires = 'x'\n", "[build-system]\nbackend-path = 3\n", "a = " + "[" * 9000, "build-system = 1"]
)
def test_a_hostile_pyproject_in_an_archive_is_no_traceback(tmp_path: Path, content: str) -> None:
    project = make_project(tmp_path)
    make_wheel(project.wheelhouse, "helper-tool")
    path = make_sdist(project.wheelhouse, "gamma")
    stream = io.BytesIO()
    with tarfile.open(path) as old, tarfile.open(fileobj=stream, mode="w:gz") as new:
        for entry in old.getmembers():
            data = (old.extractfile(entry) or io.BytesIO()).read()
            if entry.name.endswith("pyproject.toml"):
                data = content.encode()
            entry.size = len(data)
            new.addfile(entry, io.BytesIO(data))
    path.write_bytes(stream.getvalue())
    project.spec('[venv]\nrequirements = ["gamma"]\nbuild = ["gamma"]\n')
    inside(project, "lock", "work").refused(statuses=(1,))
    assert not project.lock().exists()
