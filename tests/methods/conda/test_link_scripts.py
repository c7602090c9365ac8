"""Scripts that conda would run when it links a package: found without a download where that is cheap, and named by package."""

from __future__ import annotations

import dataclasses
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ozrepro.methods.conda.helper import Helper
from ozrepro.methods.conda.link_scripts import scripts_in
from ozrepro.methods.conda.records import LockedRecord
from tests.conftest import Project
from tests.methods.conda import packages, test_archives
from tests.methods.conda.conftest import ask, fetch, ignore

SCRIPT = "bin/.evil-post-link.sh"
NAMED = ["evil: its post-link script is not run; what it makes under conda is missing"]


@contextmanager
def ranges(folder: Path, sent: list[int]) -> Iterator[str]:
    """Serve a folder in parts as a channel's server does, and give its address; `sent` gets the bytes of each answer."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = (folder / self.path.lstrip("/")).read_bytes()
            start, end = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers["Range"]).groups()  # type: ignore[union-attr]
            first = int(start) if start else max(0, len(data) - int(end))
            last = min(int(end), len(data) - 1) if start and end else len(data) - 1
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
            self.send_header("Content-Length", str(last - first + 1))
            self.end_headers()
            self.wfile.write(data[first : last + 1])
            sent.append(last - first + 1)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def scripted(channel: Path, suffix: str, size: int) -> LockedRecord:
    """Write a package with a script and `size` bytes that cannot be compressed, and return its record."""
    rest = {SCRIPT: b"", "share/big": os.urandom(size)}
    return test_archives.package(channel, {**test_archives.content([SCRIPT, "share/big"]), **rest}, suffix)


def test_scripts_that_conda_runs_after_a_package_is_linked_and_no_others() -> None:
    names = (".a-b-post-link.sh", ".c-pre-link.sh", ".d-pre-unlink.sh", ".other.sh")
    paths = [*(f"bin/{name}" for name in names), "share/bin/.e-post-link.sh", "bin/.f-post-link.bat"]
    assert scripts_in(paths) == [("a-b", "post-link"), ("c", "pre-link")]


@pytest.mark.parametrize("suffix", [".conda", ".tar.bz2"])
def test_a_local_channel_and_the_cache_tell_of_scripts(helper: Helper, tmp_path: Path, suffix: str) -> None:
    record = test_archives.package(tmp_path / "channel", {**test_archives.content([SCRIPT]), SCRIPT: b"a"}, suffix)
    addresses = {"site": (tmp_path / "channel").as_uri()}
    assert helper.link_scripts([record], addresses, ignore) == NAMED
    fetch(helper, [record], addresses)
    (tmp_path / "channel" / "linux-64" / record.file).unlink()
    assert helper.link_scripts([record], addresses, ignore) == NAMED


def test_of_a_large_archive_elsewhere_only_the_list_is_fetched(helper: Helper, tmp_path: Path) -> None:
    record, sent = scripted(tmp_path / "channel", ".conda", 3 << 20), list[int]()
    with ranges(tmp_path / "channel", sent) as address:
        assert helper.link_scripts([record], {"site": address}, ignore) == NAMED
    assert sum(sent) < 300_000 < (record.size or 0)


def test_what_only_a_download_would_show_is_named_and_not_downloaded(helper: Helper, tmp_path: Path) -> None:
    """A large archive of the older kind, a large one of a server that sends no parts, one that is gone, a damaged one."""
    wanted = {
        "a": (".tar.bz2", 2 << 20),
        "b": (".conda", 2 << 20),
        "c": (".tar.bz2", 10),
        "d": (".tar.bz2", 10),
        "e": (".conda", 9),
    }
    records = [
        dataclasses.replace(scripted(tmp_path / name, suffix, size), channel=name) for name, (suffix, size) in wanted.items()
    ]
    (tmp_path / "c" / "linux-64" / "evil-1.0-0.tar.bz2").unlink()
    (tmp_path / "d" / "linux-64" / "evil-1.0-0.tar.bz2").write_bytes(b"not an archive")
    with packages.serve(tmp_path) as server:
        for record in records:
            lines = helper.link_scripts([record], {record.channel: f"{server.address}/{record.channel}"}, ignore)
            if record.channel == "e":
                assert lines == NAMED, "small, so it is fetched whole"
            else:
                (line,) = lines
                assert line.startswith("not checked for post-link scripts, which only a download would show: evil-1.0-0; ")
        assert not any(path.startswith("/a/") for path in server.asked)


def test_what_was_solved_is_looked_into_where_it_is(helper: Helper, small_channel: Path) -> None:
    answer = ask(helper, small_channel.as_uri(), "alpha", "pure")
    assert helper.link_scripts(answer.records, {"site": small_channel.as_uri()}, ignore) == []


def test_lock_and_build_both_name_the_package(project: Project, tmp_path: Path) -> None:
    channel = tmp_path / "site"
    packages.make_package(channel, "evil", files={SCRIPT: b"#!/bin/sh\nexit 1\n"})
    packages.make_package(channel, "good")
    packages.index(channel)
    project.spec(f'[conda]\nchannels = ["{channel.as_uri()}"]\ndependencies = ["evil", "good"]\n')
    for command in ("lock", "build"):
        said = project.ozrepro(command)
        assert said.returncode == 0, said.stderr
        assert said.stderr.count(NAMED[0]) == 1
        assert "good:" not in said.stderr
