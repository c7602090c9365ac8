"""An image file in the store, now and when it was built."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from ozrepro.errors import StoreError
from ozrepro.methods.container import image
from ozrepro.store.manifest import digest_file


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    """Give an environment whose image was built, kept and found good."""
    folder = tmp_path / "an env"
    folder.mkdir()
    path = folder / image.NAME
    path.write_bytes(b"squashfs" * 1000)
    image.keep(image.see(path, digest_file(path), "squashfuse", "apptainer 1.4.5"), folder)
    return folder


def refused(prefix: Path) -> StoreError:
    with pytest.raises(StoreError) as caught:
        image.check(prefix)
    assert caught.value.hint == "ozrepro build {session} --rebuild"
    assert caught.value.where == str(prefix / image.NAME)
    return caught.value


def test_an_image_s_card_is_read_back(prefix: Path) -> None:
    found = image.kept(prefix)
    assert found == image.see(prefix / image.NAME, found.sha256, "squashfuse", "apptainer 1.4.5")
    assert found.size == 8000


def test_an_image_that_nobody_touched_is_not_read(prefix: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image, "digest_file", lambda path: pytest.fail("read gigabytes at a start"))
    image.check(prefix)


def test_an_image_that_was_only_touched_or_copied_back_is_taken(prefix: Path) -> None:
    path = prefix / image.NAME
    os.utime(path, (1, 1))
    image.check(prefix)
    shutil.copyfile(path, prefix / "copy")
    os.replace(prefix / "copy", path)
    image.check(prefix)


def test_an_image_that_was_cut_off_is_refused(prefix: Path) -> None:
    os.truncate(prefix / image.NAME, 7999)
    assert "has 7999 bytes, and 8000 were built: it was replaced or cut off" in refused(prefix).what


def test_an_image_that_was_replaced_by_one_of_the_same_size_is_refused(prefix: Path) -> None:
    path = prefix / image.NAME
    before = path.stat()
    path.unlink()
    path.write_bytes(b"hostile!" * 1000)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert "changed or replaced: it has another sha256" in refused(prefix).what


def test_a_changed_byte_is_found_by_the_time_of_change(prefix: Path) -> None:
    path = prefix / image.NAME
    os.utime(path, (1, 1))
    image.keep(image.see(path, image.kept(prefix).sha256, "", ""), prefix)
    with open(path, "r+b") as stream:
        stream.write(b"X")
    assert "another sha256" in refused(prefix).what


@pytest.mark.parametrize("kind", ["gone", "directory", "dangling", "loop"])
def test_a_file_that_is_no_image_is_refused(prefix: Path, kind: str) -> None:
    path = prefix / image.NAME
    path.unlink()
    if kind == "directory":
        path.mkdir()
    elif kind != "gone":
        path.symlink_to(path if kind == "loop" else prefix / "nothing")
    refused(prefix)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_an_image_that_may_not_be_read_is_refused(prefix: Path) -> None:
    (prefix / image.NAME).chmod(0)
    assert "cannot be read: Permission denied" in refused(prefix).what


def test_an_image_that_may_not_be_read_is_read_to_find_out_why(prefix: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Size and time say nothing of permissions; as root the system grants all, so it is told here what others are."""
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    image.check(prefix)

    def denied(path: Path) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(image, "digest_file", denied)
    assert "cannot be read: Permission denied" in refused(prefix).what


@pytest.mark.parametrize("text", [None, "", "[]", "{}", "5", '{"sha256": "x"}', '{"more": 1}', "\0"])
def test_a_card_that_is_gone_or_damaged_is_refused(prefix: Path, text: str | None) -> None:
    card = prefix / "image.json"
    if text is None:
        card.unlink()
    else:
        card.write_text(text)
    with pytest.raises(StoreError, match="cannot be read") as caught:
        image.check(prefix)
    assert caught.value.where == str(card)


def test_a_card_with_other_values_is_no_proof(prefix: Path) -> None:
    card = prefix / "image.json"
    card.write_text(json.dumps({**json.loads(card.read_text()), "size": "8000"}))
    refused(prefix)


MOUNTS = """\
1000 900 0:50 / / rw,nodev - tmpfs tmpfs rw
1001 1000 0:61 / {installed}/mnt/session/rootfs ro,nosuid,nodev - {kind} {source} ro
1002 1000 0:21 / /proc rw - proc proc rw
"""


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("squashfs", "the kernel"),
        ("fuse.squashfuse_ll", "squashfuse"),
        ("ext4", "extracted (ext4)"),
        ("tmpfs", "extracted (tmpfs)"),
    ],
)
def test_how_an_image_is_read_is_told_by_its_mount(kind: str, said: str) -> None:
    for installed in ("/var/lib/apptainer", "/opt/a\\040b/var/singularity"):
        text = MOUNTS.format(installed=installed, kind=kind, source="/dev/loop0")
        assert image.mount_kind(text, "/mnt/session/rootfs") == said


def test_mounts_of_other_kinds_do_not_tell_how_an_image_is_read() -> None:
    text = MOUNTS.format(installed="/var", kind="squashfs", source="x")
    assert image.mount_kind(text, "/elsewhere") == "not known"
    assert image.mount_kind("1 2 3\n\n - ", "/mnt") == "not known"


def test_a_file_s_digest_is_taken_again_only_when_the_file_is_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, cache = tmp_path / "my image.sif", tmp_path / "cache"
    cache.mkdir()
    file.write_bytes(b"one")
    read: list[str] = []

    def reading(path: str) -> str:
        read.append(path)
        return digest_file(path)

    monkeypatch.setattr(image, "digest_file", reading)
    assert image.digest_of(str(file), cache) == image.digest_of(str(file), cache) == digest_file(file)
    assert len(read) == 1
    file.write_bytes(b"two")
    assert image.digest_of(str(file), cache) == digest_file(file)
    assert len(read) == 2


@pytest.mark.parametrize("text", ["", "[]", '{"state": 1}', "\x00"])
def test_a_damaged_note_of_a_digest_counts_for_nothing(tmp_path: Path, text: str) -> None:
    file = tmp_path / "a.sif"
    file.write_bytes(b"one")
    image.digest_of(str(file), tmp_path)
    (note,) = tmp_path.glob("*.json")
    note.write_text(text)
    assert image.digest_of(str(file), tmp_path) == digest_file(file)


def test_a_digest_is_found_where_nothing_can_be_kept(tmp_path: Path) -> None:
    file = tmp_path / "a.sif"
    file.write_bytes(b"one")
    assert image.digest_of(str(file), tmp_path / "not there") == digest_file(file)
