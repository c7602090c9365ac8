"""What is in a published environment, and that each change of it is named."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ozrepro.errors import StoreError
from ozrepro.store import manifest
from ozrepro.store.manifest import Digests, Entry, differences, digest_file, from_bytes, take, to_bytes, walk
from ozrepro.store.publish import Generation, Recipe, examine, provide, read_generation, verify
from tests.store.driver import ODD_NAME, fill, key_of, paths_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from ozrepro.store import Store

FILES = 12


@pytest.fixture
def generation(store: Store) -> Generation:
    """Give a published generation."""
    recipe = Recipe(key_of("one"), {"session": "test"}, lambda prefix: fill(prefix, FILES))
    return provide(store, recipe, print)[0]


def writable(path: Path) -> Path:
    """Make a published file or folder and its folder writable, as one who tampers must."""
    path.parent.chmod(0o755)
    if not path.is_symlink() and path.exists():
        path.chmod(path.stat().st_mode | 0o200)
    return path


def change_a_byte(prefix: Path) -> None:
    content = bytearray((prefix / "lib/d1/e1/f1").read_bytes())
    content[3] ^= 1
    writable(prefix / "lib/d1/e1/f1").write_bytes(content)


def retarget(prefix: Path) -> None:
    writable(prefix / "bin/link").unlink()
    (prefix / "bin/link").symlink_to("/bin/true")


def link_to_file(prefix: Path) -> None:
    writable(prefix / "bin/link").unlink()
    shutil.copy(prefix / "bin/tool", prefix / "bin/link")


def file_to_folder(prefix: Path) -> None:
    writable(prefix / "lib/d1/e1/f1").unlink()
    (prefix / "lib/d1/e1/f1").mkdir()


def planted_fifo(prefix: Path) -> None:
    os.mkfifo(writable(prefix / "bin" / "fifo"))


TAMPERINGS: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "changed byte": (change_a_byte, ["lib/d1/e1/f1: was changed"]),
    "added file": (lambda prefix: writable(prefix / "lib/new").write_bytes(b""), ["lib/new: was added"]),
    "added link": (lambda prefix: writable(prefix / "lib/new").symlink_to("/"), ["lib/new: was added"]),
    "removed file": (lambda prefix: writable(prefix / "lib/d1/e1/f1").unlink(), ["lib/d1/e1/f1: is gone"]),
    "not executable": (lambda prefix: (prefix / "bin/tool").chmod(0o444), ["bin/tool: its mode was changed"]),
    "executable": (lambda prefix: (prefix / "lib/d1/e1/f1").chmod(0o555), ["lib/d1/e1/f1: its mode was changed"]),
    "file for everybody": (lambda prefix: (prefix / "bin/tool").chmod(0o757), ["bin/tool: can be written by everybody"]),
    "folder for everybody": (lambda prefix: (prefix / "lib/d1").chmod(0o777), ["lib/d1: can be written by everybody"]),
    "whole for everybody": (lambda prefix: prefix.chmod(0o777), [".: can be written by everybody"]),
    "retargeted link": (retarget, ["bin/link: was changed"]),
    "link made a file": (link_to_file, ["bin/link: was changed"]),
    "file made a folder": (file_to_folder, ["lib/d1/e1/f1: is gone"]),
    "folder removed": (lambda prefix: shutil.rmtree(prefix / "bin"), ["bin/link: is gone", "bin/tool: is gone"]),
}


def test_a_published_environment_is_whole_its_files_cannot_be_written_and_its_folders_can_be_removed(
    generation: Generation,
) -> None:
    assert verify(generation) == []
    assert walk(generation.prefix) == paths_of(FILES)
    assert generation.card["files"] == len(paths_of(FILES))
    for base, _, files in os.walk(generation.prefix):
        assert os.stat(base).st_mode & 0o777 == 0o755, base
        for path in (os.path.join(base, name) for name in files):
            assert os.path.islink(path) or os.stat(path).st_mode & 0o222 == 0, path
    assert os.stat(generation.prefix / "bin" / "tool").st_mode & 0o777 == 0o555


@pytest.mark.parametrize("name", TAMPERINGS)
def test_each_tampering_with_an_environment_is_named(generation: Generation, name: str) -> None:
    tamper, words = TAMPERINGS[name]
    for base, _, _ in os.walk(generation.prefix):
        os.chmod(base, 0o755)
    tamper(generation.prefix)
    assert verify(generation) == words


def test_a_changed_file_with_an_odd_name_is_named_in_one_printable_line(generation: Generation) -> None:
    writable(generation.prefix / ODD_NAME).write_bytes(b"changed")
    (line,) = verify(generation)
    assert line == 'lib/new\\nline "quoted" and \\udcff no text: was changed'
    assert line.isprintable()
    line.encode()


def test_an_entry_that_is_neither_file_nor_link_is_named(generation: Generation) -> None:
    planted_fifo(generation.prefix)
    (line,) = verify(generation)
    assert "bin/fifo: is neither a file nor a link" in line


def test_a_changed_manifest_is_named(generation: Generation) -> None:
    path = generation.folder / "manifest.jsonl"
    path.write_bytes(path.read_bytes().replace(b"lib/d1/e1/f1", b"lib/d1/e1/f2"))
    assert verify(generation) == ["manifest.jsonl: was changed"]
    path.unlink()
    assert verify(generation) == ["manifest.jsonl: cannot be read: No such file or directory"]


def test_an_environment_that_was_exchanged_for_a_link_to_a_like_one_is_named(generation: Generation) -> None:
    generation.prefix.rename(generation.folder / "elsewhere")
    generation.prefix.symlink_to("elsewhere")
    assert verify(generation) == ["env: is a link"]


def test_a_folder_that_cannot_be_read_is_an_error_and_never_left_out(generation: Generation) -> None:
    """os.walk leaves such a folder out; root reads everything, so another user must look."""
    (generation.prefix / "lib/d1").chmod(0)
    if os.geteuid() != 0:
        (line,) = verify(generation)
        assert line.startswith("env: cannot be read whole: ")
        assert "lib/d1" in line
        with pytest.raises(PermissionError):
            walk(generation.prefix)
        (generation.prefix / "lib/d1").chmod(0o755)
        return
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:  # pragma: no cover
        answer = "nothing raised"
        try:
            os.chdir(generation.prefix)
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            walk(Path())
        except PermissionError as error:
            answer = f"{error.strerror}: {error.filename}"
        except BaseException as error:  # noqa: BLE001
            answer = repr(error)
        os.write(write, answer.encode())
        os._exit(0)
    os.close(write)
    os.waitpid(pid, 0)
    with open(read, "rb") as stream:
        answer = stream.read().decode()
    assert answer == "Permission denied: lib/d1"


def names() -> st.SearchStrategy[str]:
    """Any path of files that Linux allows, as Python reads it."""
    one = st.binary(min_size=1, max_size=30).map(lambda name: name.replace(b"\0", b"\n").replace(b"/", b'"'))
    fine = one.filter(lambda name: name not in (b".", b".."))
    return st.lists(fine, min_size=1, max_size=3).map(lambda parts: os.fsdecode(b"/".join(parts)))


ENTRIES = st.lists(
    st.builds(
        Entry,
        names(),
        st.one_of(st.just("0" * 64), names().map("-> {}".format)),
        st.integers(0, 2**63),
        executable=st.booleans(),
    )
)


@given(ENTRIES)
def test_any_manifest_is_read_as_it_was_written(entries: list[Entry]) -> None:
    content = to_bytes(entries)
    assert from_bytes(content) == entries
    assert content.count(b"\n") == len(entries)
    assert content.isascii()


@given(ENTRIES, ENTRIES)
def test_manifests_differ_exactly_where_their_trees_do(one: list[Entry], other: list[Entry]) -> None:
    assert list(differences(one, one)) == []
    told = list(differences(one, other))
    assert bool(told) == (
        {entry.path: (entry.digest, entry.executable) for entry in one}
        != {entry.path: (entry.digest, entry.executable) for entry in other}
    )
    assert all(line.isprintable() for line in told)


@pytest.mark.parametrize("content", [b"{", b"[]\n", b'["a", 1, 2]\n', b"\xff\n", b"null\n"])
def test_a_damaged_manifest_is_a_value_error_or_type_error(content: bytes) -> None:
    with pytest.raises((ValueError, TypeError)):
        from_bytes(content)


def test_real_files_with_any_names_are_taken_and_compared(tmp_path: Path) -> None:
    odd = [b"new\nline", b'"quoted"', b"\xff\xfe", "é ☉".encode(), b"back\\slash", b" ", b"-> x", b"tab\t", b"\xed\xa0\x80"]
    for name in odd:
        (tmp_path / os.fsdecode(name)).write_bytes(name)
    taken = take(tmp_path)
    assert {os.fsencode(entry.path) for entry in taken} == set(odd)
    assert from_bytes(to_bytes(taken)) == taken == take(tmp_path)


def test_one_processor_and_many_take_the_same_manifest(generation: Generation, tmp_path: Path) -> None:
    words = (
        "import os, sys, pathlib; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
        "from ozrepro.store.manifest import take, to_bytes; sys.stdout.buffer.write(to_bytes(take(pathlib.Path(sys.argv[1]))))"
    )
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system has no sched_setaffinity")
    alone = subprocess.run([sys.executable, "-c", words, str(generation.prefix)], capture_output=True, check=True).stdout
    assert alone == to_bytes(take(generation.prefix)) == (generation.folder / "manifest.jsonl").read_bytes()


def test_a_build_that_makes_a_fifo_is_refused_and_leaves_nothing(store: Store) -> None:
    def build(prefix: Path) -> None:
        prefix.mkdir()
        os.mkfifo(prefix / "fifo")

    with pytest.raises(StoreError, match="fifo: is neither a file nor a link"):
        provide(store, Recipe(key_of("one"), {}, build), print)
    for part in ("names", "gens", "owners", "trash"):
        assert os.listdir(store.folder / part) == []


def test_a_file_that_a_second_look_finds_writable_is_exposed(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "file").chmod(0o666)
    (tmp_path / "link").symlink_to("file")
    assert manifest.exposed(tmp_path) == ["file"]


@pytest.mark.parametrize("size", [0, 1, 2**20 - 1, 2**20, 2**20 + 1, 3 * 2**20])
def test_files_of_any_size_are_read_to_their_end(tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    (tmp_path / "file").write_bytes(content)
    wanted = hashlib.sha256(content).hexdigest()
    assert digest_file(tmp_path / "file") == Digests().read(str(tmp_path / "file")) == wanted


def test_what_is_no_regular_file_has_no_digest_and_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "broken").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "fifo")
    assert [Digests().read(str(tmp_path / name)) for name in ("link", "broken", "loop", "fifo", ".")] == [None] * 5
    for path in ("absent", "loop/file"):
        with pytest.raises(OSError, match=path):
            Digests().read(str(tmp_path / path))


def test_folders_and_files_are_protected_and_no_file_twice(tmp_path: Path) -> None:
    folder = tmp_path / "env" / "inner"
    folder.mkdir(parents=True)
    folder.chmod(0o700)
    (folder / "program").touch()
    (folder / "program").chmod(0o4750)
    (folder / "link").symlink_to("program")
    take(tmp_path / "env", protect=True)
    modes = [os.stat(path).st_mode & 0o7777 for path in (tmp_path / "env", folder, folder / "program")]
    assert modes == [0o755, 0o755, 0o550]
    before = os.stat(folder / "program").st_ctime_ns
    take(tmp_path / "env", protect=True)
    assert os.stat(folder / "program").st_ctime_ns == before


def changed(prefix: Path) -> None:
    (prefix / "bin" / "tool").write_bytes(b"changed after it was checked")


def removed(prefix: Path) -> None:
    (prefix / "bin" / "tool").unlink()


@pytest.mark.parametrize("harm", [changed, removed])
def test_a_file_that_is_no_longer_as_it_was_checked_is_not_published(store: Store, harm: Callable[[Path], None]) -> None:
    def build(prefix: Path) -> Digests:
        fill(prefix, FILES)
        digests = Digests()
        digests.expect({"bin/tool": digests.read(str(prefix / "bin" / "tool")) or ""})
        harm(prefix)
        return digests

    with pytest.raises(StoreError, match=r"changed after they had been installed(?s:.*)bin/tool: "):
        provide(store, Recipe(key_of("one"), {}, build), print)
    for part in ("names", "gens", "owners", "trash"):
        assert os.listdir(store.folder / part) == []


def test_expected_files_may_be_reached_by_a_link_to_their_folder_or_have_no_known_digest(store: Store) -> None:
    def build(prefix: Path) -> Digests:
        fill(prefix, FILES)
        (prefix / "bin64").symlink_to("bin")
        digests = Digests()
        tool = digests.read(str(prefix / "bin" / "tool")) or ""
        digests.expect({"bin/tool": tool, "bin64/tool": tool, "bin/link": "0" * 64, "lib/d1": "", "lib/d1/e1/f1": ""})
        return digests

    assert verify(provide(store, Recipe(key_of("one"), {}, build), print)[0]) == []


@pytest.mark.parametrize("changed", ["lib/site-packages", "conda-meta"])
def test_an_installation_into_a_published_environment_is_noticed_by_the_next_start(store: Store, changed: str) -> None:
    """Its folders can be written, and an installer puts its packages beside those that are there."""

    def build(prefix: Path) -> None:
        for path in ("lib/site-packages/six-1.dist-info/METADATA", "lib/other/x", "conda-meta/six.json"):
            (prefix / path).parent.mkdir(parents=True, exist_ok=True)
            (prefix / path).write_text("x")

    made = provide(store, Recipe(key_of("one"), {"session": "test"}, build), print)[0]
    assert [os.path.relpath(path, made.prefix) for path in made.gates] == ["conda-meta", "lib/site-packages"]
    (made.prefix / "lib" / "other" / "cache").write_text("a program's own")
    assert read_generation(store, key_of("one")) is not None
    place = made.prefix / changed
    (place / "added").write_text("x")
    assert (
        examine(store, key_of("one"))
        == f"packages were put into {place.relative_to(made.prefix)} or taken out since it was built"
    )
    assert len(verify(made)) == 2
