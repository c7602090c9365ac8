"""The store's own folders: made safely, refused where somebody else could have put something in."""

from __future__ import annotations

import errno
import grp
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from ozrepro.errors import StoreError
from ozrepro.store import Store, failed, shown
from ozrepro.store.publish import Recipe, provide, read_generation
from ozrepro.store.writing import write_whole
from tests.store.driver import fill, key_of
from tests.store.running import done, entries, run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FOLDERS = ("names", "gens", "owners", "locks", "trash", "ready", "projects")
NOBODY = 65534
KEY = key_of("one")
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files to another user")


def recipe() -> Recipe:
    return Recipe(KEY, {"session": "test"}, lambda prefix: fill(prefix, 6))


def refuses(store: Store, path: Path, words: str) -> str:
    """Insist that opening and checking the store are both refused, with the path and a next command."""
    hint = ""
    for attempt in (store.open, store.check):
        with pytest.raises(StoreError) as caught:
            attempt()
        assert caught.value.where == str(path)
        assert words in caught.value.what
        hint = caught.value.hint
        assert hint
    return hint


def test_a_new_store_has_its_folders_for_its_owner_alone_to_write_whatever_the_umask(folder: Path) -> None:
    before = os.umask(0)
    try:
        Store(folder).open()
    finally:
        os.umask(before)
    for path in (folder, *(folder / name for name in FOLDERS)):
        assert os.stat(path).st_mode & 0o777 == 0o755
    assert (folder / ".gitignore").read_text() == "*\n"
    Store(folder).open().check()


@pytest.mark.parametrize("mode", [0o750, 0o2770, 0o710, 0o700])
def test_the_group_may_read_what_is_built_where_it_may_read_the_store_and_never_write(folder: Path, mode: int) -> None:
    folder.mkdir()
    folder.chmod(mode)
    before = os.umask(0o077)
    try:
        Store(folder).open()
        generation = provide(Store(folder), recipe(), print)[0]
    finally:
        os.umask(before)
    for path in (*(folder / name for name in FOLDERS), generation.folder):
        assert os.stat(path).st_mode & 0o777 == 0o700 | mode & 0o050
    for name in ("manifest.jsonl", "generation.json"):
        assert os.stat(generation.folder / name).st_mode & 0o777 == 0o600 | mode & 0o040
    assert os.stat(generation.prefix / "bin" / "tool").st_mode & 0o077 == 0o055
    assert os.stat(generation.prefix / "lib/d1/e1/f1").st_mode & 0o077 == 0o040


def test_folders_that_the_group_was_kept_out_of_are_opened_by_the_next_use(store: Store) -> None:
    store.folder.chmod(0o750)
    (store.folder / "names").chmod(0o700)
    store.open()
    assert os.stat(store.folder / "names").st_mode & 0o777 == 0o750


def test_an_empty_gitignore_of_a_killed_process_is_written_again(store: Store) -> None:
    (store.folder / ".gitignore").write_bytes(b"")
    store.open()
    assert (store.folder / ".gitignore").read_text() == "*\n"


def test_looking_into_a_store_that_does_not_exist_makes_nothing(folder: Path) -> None:
    Store(folder).check()
    assert read_generation(Store(folder), KEY) is None
    assert not folder.exists()


@pytest.mark.parametrize("name", ["", *FOLDERS])
def test_a_store_that_everybody_may_write_to_is_refused(store: Store, name: str) -> None:
    path = store.folder / name if name else store.folder
    path.chmod(0o777)
    hint = refuses(store, path, "can be written by everybody")
    subprocess.run(["sh", "-c", hint], check=True)
    store.open()


@root_only
@pytest.mark.parametrize("name", ["", *FOLDERS])
def test_a_store_of_another_user_is_refused(store: Store, name: str) -> None:
    path = store.folder / name if name else store.folder
    os.chown(path, NOBODY, NOBODY)
    refuses(store, path, f"belongs to another user (uid {NOBODY})")


@root_only
def test_a_store_of_another_user_is_taken_where_its_group_is_named_and_is_ours(folder: Path) -> None:
    ours = grp.getgrgid(os.getegid()).gr_name
    Store(folder).open()
    os.chown(folder, NOBODY, os.getegid())
    Store(folder, group=ours).open()
    for group in ("", "no such group", grp.getgrgid(NOBODY).gr_name):
        refuses(Store(folder, group=group), folder, "belongs to another user")
    os.chown(folder, NOBODY, NOBODY)
    refuses(Store(folder, group=grp.getgrgid(NOBODY).gr_name), folder, "belongs to another user")


def plant_link(path: Path) -> None:
    path.with_name("elsewhere").mkdir()
    path.symlink_to("elsewhere")


def plant_dangling_link(path: Path) -> None:
    path.symlink_to("/nonexistent/elsewhere")


PLANTED: list[Callable[[Path], object]] = [plant_link, plant_dangling_link, os.mkfifo, lambda path: path.write_bytes(b"")]
WHAT = ["link", "dangling link", "fifo", "file"]


@pytest.mark.parametrize("plant", PLANTED, ids=WHAT)
@pytest.mark.parametrize("name", FOLDERS)
def test_something_planted_for_a_folder_of_the_store_is_refused(store: Store, name: str, plant: Callable[[Path], object]) -> None:
    path = store.folder / name
    path.rmdir()
    plant(path)
    hint = refuses(store, path, "is not a directory: somebody may have planted it")
    subprocess.run(["sh", "-c", hint], check=True)
    store.open()


@pytest.mark.parametrize("plant", PLANTED[1:], ids=WHAT[1:])
def test_something_planted_for_the_store_itself_is_refused(folder: Path, plant: Callable[[Path], object]) -> None:
    plant(folder)
    with pytest.raises(StoreError, match="cannot prepare the store") as caught:
        Store(folder).open()
    assert str(folder) in str(caught.value)


def test_a_store_behind_a_link_of_its_user_is_taken(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    folder.symlink_to("scratch")
    generation, built = provide(Store(folder).open(), recipe(), print)
    assert built
    assert generation.folder.is_dir()
    assert entries(tmp_path / "scratch", "names") == [KEY]


@pytest.mark.parametrize("plant", [os.mkfifo, os.mkdir, lambda path: path.write_bytes(b"")], ids=["fifo", "folder", "file"])
def test_something_planted_for_a_name_is_refused_before_anything_is_built(store: Store, plant: Callable[[Path], object]) -> None:
    path = store.name(KEY)
    plant(path)
    assert read_generation(store, KEY) is None
    outcome = run(store.folder)
    assert outcome.status == 1
    assert f"{path}: is not a symlink: somebody may have planted it" in outcome.said
    assert "building" not in outcome.said
    hint = outcome.said.rpartition("try: ")[2]
    subprocess.run(["sh", "-c", hint], check=True)
    assert done(store.folder).built


@pytest.mark.parametrize("target", ["..", ".", "/", "../gens", "/etc", "../../elsewhere", "../gens/../../elsewhere"])
def test_a_name_never_leads_out_of_the_generations(store: Store, target: str) -> None:
    outside = store.folder.with_name("elsewhere")
    outside.mkdir()
    (outside / "generation.json").write_text(f'{{"schema": 1, "key": "{KEY}"}}')
    store.name(KEY).symlink_to(target)
    assert read_generation(store, KEY) is None
    generation, built = provide(store, recipe(), print)
    assert built
    assert generation.folder.parent == store.folder / "gens"


def test_a_planted_folder_for_a_ticket_is_refused_and_nobody_waits_for_it(folder: Path) -> None:
    store = Store(folder, locks="ticket").open()
    ticket = folder / "locks" / f"{KEY}.ticket"
    ticket.mkdir()
    with pytest.raises(StoreError, match="is not a ticket: somebody may have planted it") as caught:
        provide(store, recipe(), print)
    assert caught.value.where == str(ticket)


@pytest.mark.parametrize("suffix", ["flock", "holder", "failed"])
@pytest.mark.parametrize(
    "plant", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/etc/passwd")], ids=["fifo", "folder", "link"]
)
def test_files_planted_beside_the_turns_stop_no_build(store: Store, suffix: str, plant: Callable[[Path], object]) -> None:
    plant(store.folder / "locks" / f"{KEY}.{suffix}")
    assert provide(store, recipe(), print)[1]


@pytest.mark.parametrize(
    ("free", "files", "told"),
    [
        (0, 500, "; left there: 0 MiB and 500 files"),
        (1 << 20, 3, "; left there: 4096 MiB and 3 files"),
        (768, 500, "; it takes more than the 3 MiB and 500 files that are left there"),
        (1 << 20, 500, ""),
    ],
)
def test_a_failed_operation_names_the_cause_the_place_and_figures_that_agree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, files: int, told: str
) -> None:
    monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result((4096, 4096, 9, 9, free, 9, 9, files, 0, 255)))
    error = failed("build", tmp_path, OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "file")))
    assert error.what == f"cannot build: No space left on device [errno 28]{told}"
    assert error.where == str(tmp_path / "file")
    assert "quota" in error.hint
    error = failed("build", tmp_path / "not" / "there", OSError(errno.EIO, "Input/output error"))
    assert error.where == str(tmp_path / "not" / "there")
    assert "quota" not in error.hint


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_a_store_in_a_closed_folder_is_refused_with_a_folder_of_the_user_s_own(tmp_path: Path, number: int) -> None:
    error = failed("build", tmp_path, OSError(number, os.strerror(number)))
    assert error.what == f"cannot build: {os.strerror(number)} [errno {number}]"
    assert error.hint == "set OZREPRO_STORE to a folder of your own"


@pytest.mark.parametrize("name", ["a\nb", "\udcff", "a\tb", "\x1b[31m"])
def test_a_failed_operation_on_an_oddly_named_file_can_be_printed(tmp_path: Path, name: str) -> None:
    error = failed("build", tmp_path, OSError(errno.EIO, "Input/output error", str(tmp_path / name)))
    assert error.where.isprintable()
    error.where.encode()
    assert shown("plain name é") == "plain name é"


def test_a_file_is_written_whole_or_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_whole(path, b"one")
    write_whole(path, b"two")
    assert path.read_bytes() == b"two"
    assert os.listdir(tmp_path) == ["file"]
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_whole(tmp_path / "folder", b"three")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def expose(generation: Path) -> None:
    generation.chmod(0o777)


def exchange_for_a_link(generation: Path) -> None:
    generation.rename(generation.with_name("elsewhere"))
    generation.symlink_to("elsewhere")


def give_away(generation: Path) -> None:
    os.chown(generation, NOBODY, NOBODY)


@pytest.mark.parametrize("tamper", [expose, exchange_for_a_link, pytest.param(give_away, marks=root_only)])
def test_a_generation_that_somebody_else_could_have_made_is_never_used(store: Store, tamper: Callable[[Path], None]) -> None:
    old = provide(store, recipe(), print)[0]
    tamper(old.folder)
    assert read_generation(store, KEY) is None
    new, built = provide(store, recipe(), print)
    assert built
    assert new.folder != old.folder
