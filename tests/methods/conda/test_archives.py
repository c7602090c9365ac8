"""Archives that would put files elsewhere than into their package: refused by name, with nothing put anywhere."""

from __future__ import annotations

import hashlib
import io
import json
import socket
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest

from ozrepro.errors import BuildError
from ozrepro.methods.conda.helper import Helper
from ozrepro.methods.conda.records import LockedRecord
from tests.methods.conda.conftest import fetch, ignore

OUTSIDE = ("../../proof", "share/../../../proof", "/proof-of-ozrepro", "info/../../proof")


def content(listed: list[str]) -> dict[str, bytes]:
    """Return the members of a package that lists these paths."""
    paths = [
        {"_path": path, "path_type": "hardlink", "sha256": hashlib.sha256(b"a").hexdigest(), "size_in_bytes": 1}
        for path in listed
    ]
    index = {"name": "evil", "version": "1.0", "build": "0", "build_number": 0, "depends": [], "subdir": "linux-64"}
    return {
        "info/index.json": json.dumps(index).encode(),
        "info/paths.json": json.dumps({"paths_version": 1, "paths": paths}).encode(),
    }


def tar(members: dict[str, bytes], mode: str) -> bytes:
    """Return a tar file of these members."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as made:  # type: ignore[call-overload]
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            made.addfile(entry, io.BytesIO(data))
    return stream.getvalue()


def zstd(data: bytes) -> bytes:
    """Return data as a Zstandard frame of blocks that are not compressed (RFC 8878, 3.1.1)."""
    pieces = [data[start : start + 0x10000] for start in range(0, len(data), 0x10000)]
    blocks = [struct.pack("<I", len(piece) << 3 | (piece is pieces[-1]))[:3] + piece for piece in pieces]
    return b"\x28\xb5\x2f\xfd\xa0" + struct.pack("<I", len(data)) + b"".join(blocks)


def package(channel: Path, members: dict[str, bytes], suffix: str) -> LockedRecord:
    """Write a package and return its record."""
    path = channel / "linux-64" / f"evil-1.0-0{suffix}"
    path.parent.mkdir(parents=True)
    if suffix == ".tar.bz2":
        path.write_bytes(tar(members, "w:bz2"))
    else:
        inner = [{name: data for name, data in members.items() if name.startswith("info/") == info} for info in (True, False)]
        with zipfile.ZipFile(path, "w") as made:
            made.writestr("metadata.json", '{"conda_pkg_format_version": 2}')
            made.writestr("pkg-evil-1.0-0.tar.zst", zstd(tar(inner[1], "w")))
            made.writestr("info-evil-1.0-0.tar.zst", zstd(tar(inner[0], "w")))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return LockedRecord(
        name="evil",
        version="1.0",
        build="0",
        build_number=0,
        channel="site",
        subdir="linux-64",
        file=path.name,
        size=path.stat().st_size,
        sha256=sha256,
    )


def everything(folder: Path) -> set[str]:
    """Return the files below a folder that a package could have put there."""
    return {str(path) for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")}


@pytest.mark.parametrize("suffix", [".tar.bz2", ".conda"])
def test_a_good_archive_is_installed(helper: Helper, tmp_path: Path, suffix: str) -> None:
    record = package(tmp_path / "channel", {**content(["share/a"]), "share/a": b"a"}, suffix)
    helper.install((record,), {"site": (tmp_path / "channel").as_uri()}, tmp_path / "env", ignore)
    assert (tmp_path / "env" / "share" / "a").read_bytes() == b"a"


@pytest.mark.parametrize("suffix", [".tar.bz2", ".conda"])
@pytest.mark.parametrize("listed", [True, False], ids=["listed", "not listed"])
@pytest.mark.parametrize("path", OUTSIDE)
def test_a_member_that_leaves_its_package_is_refused_by_the_archive_s_name(
    helper: Helper, tmp_path: Path, path: str, listed: bool, suffix: str
) -> None:
    members = {**content(["share/a", *([path] if listed else [])]), "share/a": b"a", path: b"x"}
    record = package(tmp_path / "channel", members, suffix)
    before = everything(tmp_path)
    with pytest.raises(BuildError) as caught:
        helper.install((record,), {"site": (tmp_path / "channel").as_uri()}, tmp_path / "env", ignore)
    assert f"evil-1.0-0{suffix} of the channel site has a file '{path}', which leaves the package" in str(caught.value)
    assert everything(tmp_path) == before
    assert not Path("/proof-of-ozrepro").exists()


@pytest.mark.parametrize("path", OUTSIDE[:3])
def test_a_path_outside_that_an_archive_only_lists_is_refused(helper: Helper, tmp_path: Path, path: str) -> None:
    (tmp_path / "proof").write_bytes(b"x")
    record = package(tmp_path / "channel", {**content(["share/a", path]), "share/a": b"a"}, ".tar.bz2")
    with pytest.raises(BuildError, match="which leaves the package"):
        fetch(helper, (record,), {"site": (tmp_path / "channel").as_uri()})
    assert not (helper.cache / "pkgs" / "evil-1.0-0").exists()


def test_without_a_network_the_hint_is_to_build_where_there_is_one(helper: Helper, tmp_path: Path) -> None:
    record = package(tmp_path / "channel", {**content(["share/a"]), "share/a": b"a"}, ".conda")
    with socket.socket() as taken:  # bound and not listening: whoever connects is refused
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(BuildError, match="cannot be fetched") as caught:
            fetch(helper, (record,), {"site": f"http://127.0.0.1:{taken.getsockname()[1]}"})
    assert caught.value.hint.startswith("build where there is a network, or another address of it")
    assert "--upgrade" not in caught.value.hint
