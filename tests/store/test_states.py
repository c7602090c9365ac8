"""Which files of a cache are still as they were compared: by their inode, size and times, and never after a change."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ozrepro.store import manifest, states
from ozrepro.store.manifest import Digests


class Cache:
    """A package unpacked in a cache, and environments linked from it."""

    FILES = ("alpha.py", "deep/b e.txt", "deep/line\nfeed")

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "uv" / "archive" / "x"
        self.note = folder / states.FOLDER / "digest"
        for name in self.FILES:
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            (self.root / name).write_text(f"content of {name}")
        self._count = 0

    def build(self, between: Callable[[], None] = lambda: None) -> dict[str, str]:
        """Make an environment, and return the digest of each file that was known before any was read, by path."""
        self._count += 1
        prefix, digests = self.folder / str(self._count), Digests()
        prefix.mkdir()
        states.recall(self.note, digests, os.stat(self.folder).st_dev)
        between()
        for name in self.FILES:
            (prefix / name).parent.mkdir(exist_ok=True)
            os.link(self.root / name, prefix / name)
        known = {name: digest for name in self.FILES if (digest := digests.known(os.lstat(prefix / name)))}
        digests.settle()
        digests.noted.append(states.Noted(self.note, str(self.root), {name: name for name in self.FILES}))
        manifest.take(prefix, digests, protect=True)
        states.write_all(digests)
        return known

    def digests(self, *names: str) -> dict[str, str]:
        return {name: manifest.digest_file(self.root / name) for name in names}


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    """Give a cache from which one environment was built."""
    built = Cache(tmp_path)
    assert built.build() == {}
    return built


def test_files_that_were_only_linked_since_are_known_again_and_again(cache: Cache) -> None:
    for _ in range(3):
        assert cache.build() == cache.digests("alpha.py", "deep/b e.txt")


def test_a_file_whose_name_a_note_cannot_hold_is_read_each_time(cache: Cache) -> None:
    assert "deep/line\nfeed" not in cache.build()


def _write(path: Path) -> None:
    path.chmod(0o644)
    with open(path, "r+b") as stream:
        stream.write(b"C")


def _write_and_put_the_time_back(path: Path) -> None:
    before = path.stat()
    _write(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    path.chmod(before.st_mode)


def _replace(path: Path) -> None:
    before, content = path.stat(), path.read_bytes()
    path.unlink()
    path.write_bytes(content.swapcase())
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _link_elsewhere(path: Path) -> None:
    os.link(path, path.with_name("another name"))


@pytest.mark.parametrize("harm", [_write, _write_and_put_the_time_back, _replace, Path.unlink, _link_elsewhere])
def test_a_file_that_anybody_touched_is_read(cache: Cache, harm: Callable[[Path], None]) -> None:
    cache.build()
    path = cache.root / "alpha.py"
    harm(path)
    path.exists() or path.write_text("new")
    assert cache.build() == cache.digests("deep/b e.txt")
    assert cache.build() == cache.digests("alpha.py", "deep/b e.txt")


def test_a_file_that_is_written_between_the_looks_is_read(cache: Cache) -> None:
    assert cache.build(lambda: _write(cache.root / "alpha.py")) == cache.digests("deep/b e.txt")


def test_files_of_a_removed_environment_are_read_once(cache: Cache) -> None:
    (cache.folder / "1" / "alpha.py").unlink()
    assert cache.build() == cache.digests("deep/b e.txt")
    assert cache.build() == cache.digests("alpha.py", "deep/b e.txt")


def test_what_was_changed_since_it_was_looked_at_is_not_noted_though_its_time_may_be_the_same(cache: Cache) -> None:
    path, digests = cache.root / "alpha.py", Digests()
    os.utime(path)
    for name in cache.FILES:
        found = digests.looked[name] = os.lstat(cache.root / name)
        digests.of(str(cache.root / name), found)
    path.chmod(0o600)
    digests.clock = path.stat().st_ctime_ns
    digests.noted.append(states.Noted(cache.note, str(cache.root), {name: name for name in cache.FILES}))
    states.write_all(digests)
    assert "alpha.py" not in cache.build()


def test_where_only_seconds_are_kept_what_was_changed_in_the_last_two_is_not_noted(cache: Cache) -> None:
    cache.note.unlink()
    second = 1_000_000_000
    state = list(os.lstat(cache.root / "alpha.py"))
    for before, noted in ((1, False), (2, True)):
        digests = Digests()
        found = digests.looked["alpha.py"] = os.stat_result(state, {"st_mtime_ns": second, "st_ctime_ns": 5 * second})
        digests.of(str(cache.root / "alpha.py"), found)
        digests.clock = (5 + before) * second
        digests.noted.append(states.Noted(cache.note, str(cache.root), {"alpha.py": "alpha.py"}))
        states.write_all(digests)
        assert cache.note.exists() is noted


@pytest.mark.parametrize(
    "harm",
    [
        lambda note: note.unlink(),
        lambda note: note.write_bytes(b""),
        lambda note: note.write_bytes(note.read_bytes()[:-20]),
        lambda note: note.write_bytes(note.read_bytes().replace(b"\talpha.py", b"\talphb.py")),
        lambda note: (note.unlink(), note.mkdir()),
        lambda note: note.write_bytes(b"\xff" * 300),
        lambda note: note.rename(note.with_name("another")).rename(note.with_name("third")),
    ],
)
def test_of_a_note_that_is_gone_or_damaged_nothing_is_believed(cache: Cache, harm: Callable[[Path], object]) -> None:
    harm(cache.note)
    assert cache.build() == {}


def test_the_note_of_another_archive_is_not_believed(cache: Cache) -> None:
    cache.note = cache.note.rename(cache.note.with_name("another"))
    assert cache.build() == {}


def test_on_another_file_system_nothing_is_looked_at(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    digests = Digests()
    monkeypatch.setattr(os, "lstat", lambda path: pytest.fail(str(path)))
    states.recall(cache.note, digests, os.stat("/proc").st_dev)
    assert digests.roots == {}


def test_a_cache_that_cannot_be_written_to_has_no_notes(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    (tmp_path / states.FOLDER).write_text("in the way")
    assert cache.build() == cache.build() == {}
