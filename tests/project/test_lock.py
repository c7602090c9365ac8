"""The lock file: stable, whole, and refused with its reason when it cannot be trusted."""

from __future__ import annotations

import re
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ozrepro.errors import LockError
from ozrepro.methods.reading import load_lock, read_text
from ozrepro.methods.registry import BUILTIN as METHODS
from ozrepro.project.lock import Lock, Section, lock_file, save_lock, write_text
from tests.conftest import Project

DIGEST = "sha256:" + "0" * 64
_TEXT = st.text(st.characters(codec="utf-8"), max_size=10)
_CONTENT = st.dictionaries(
    _TEXT.filter(lambda key: key != "spec"),
    st.one_of(
        _TEXT, st.integers(0, 2**40), st.lists(_TEXT, max_size=3), st.lists(st.dictionaries(_TEXT, _TEXT, max_size=3), max_size=3)
    ),
    max_size=4,
)
_PLATFORMS = st.sampled_from(["any", "linux-64", "linux-64/v3", "linux-64/milan", "osx-arm64"])
_SECTIONS = st.builds(Section, st.sampled_from(METHODS), _PLATFORMS, st.just(DIGEST), _CONTENT)


def lock_of(*sections: Section) -> Lock:
    return Lock("analysis", (), METHODS).with_sections(sections)


@given(st.lists(_SECTIONS, max_size=4))
def test_a_lock_written_is_read_back_the_same(sections: list[Section]) -> None:
    lock = lock_of(*sections)
    text = write_text(lock)
    assert read_text(text, "analysis", "x.lock") == lock
    assert write_text(read_text(text, "analysis", "x.lock")) == text


@given(st.lists(_SECTIONS, max_size=5, unique_by=lambda item: (item.method, item.platform)), st.randoms())
def test_the_order_in_which_sections_come_does_not_matter(sections: list[Section], random: Any) -> None:
    mixed = list(sections)
    random.shuffle(mixed)
    assert write_text(lock_of(*mixed)) == write_text(lock_of(*sections))


@given(st.lists(_SECTIONS, max_size=3), _SECTIONS)
def test_locking_one_section_leaves_the_bytes_of_the_others(sections: list[Section], new: Section) -> None:
    before, after = lock_of(*sections), lock_of(*sections).with_sections([new])
    for section in before.sections:
        if (section.method, section.platform) != (new.method, new.platform):
            assert section in after.sections


CONFLICT = 'schema = 1\n<<<<<<< HEAD\nsession = "analysis"\n=======\nsession = "x"\n>>>>>>> other\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (CONFLICT, "line 2 is a merge conflict marker"),
        ("schema = ", "is damaged"),
        ('session = "analysis"\n', "not an ozrepro lock"),
        ('schema = true\nsession = "analysis"\n', "not an ozrepro lock"),
        ('schema = 2\nsession = "analysis"\n', "has schema 2; this ozrepro reads up to 1\n  try: pip install --upgrade ozrepro"),
        ('schema = 1\nsession = "other"\n', "is the lock of 'other', not of 'analysis'"),
        ('schema = 1\nsession = "analysis"\nextra = 1\n', "extra: unknown key"),
        ('schema = 1\nsession = "analysis"\nvenv = 1\n', "venv: is not a table"),
        ('schema = 1\nsession = "analysis"\n[venv.any]\nspec = "x"\n', "line 4, venv.any.spec: is not a sha256 digest"),
        (f'schema = 1\nsession = "analysis"\n[venv."../x"]\nspec = "{DIGEST}"\n', "is not a platform name"),
    ],
)
def test_each_way_to_be_unreadable_has_its_own_message(text: str, said: str) -> None:
    with pytest.raises(LockError) as caught:
        read_text(text, "analysis", "sessions/analysis.lock")
    assert said in str(caught.value)
    assert caught.value.exit_code == 3
    assert caught.value.hint


@given(st.text(st.characters(codec="utf-8")))
def test_any_text_is_a_lock_or_a_lock_error(text: str) -> None:
    with pytest.raises(LockError):
        read_text(text, "analysis", "x")


class TestSaving:
    def test_the_file_is_written_whole_and_only_when_it_changes(self, tmp_path: Path) -> None:
        (tmp_path / "sessions").mkdir()
        lock = lock_of(Section("venv", "any", DIGEST, {"python": ">=3.10"}))
        assert save_lock(tmp_path, lock)
        before = lock_file(tmp_path, "analysis").stat()
        assert not save_lock(tmp_path, lock)
        assert lock_file(tmp_path, "analysis").stat().st_ino == before.st_ino
        assert load_lock(tmp_path, "analysis") == lock
        assert stat.S_IMODE(before.st_mode) & 0o022 == 0
        assert [path.name for path in (tmp_path / "sessions").iterdir()] == ["analysis.lock"]

    def test_a_failing_write_leaves_the_old_lock_and_no_other_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "sessions").mkdir()
        old = lock_of(Section("venv", "any", DIGEST, {"python": ">=3.10"}))
        save_lock(tmp_path, old)

        def full(descriptor: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.fsync", full)
        with pytest.raises(LockError, match="No space left"):
            save_lock(tmp_path, lock_of(Section("venv", "any", DIGEST, {"python": ">=3.12"})))
        assert load_lock(tmp_path, "analysis") == old
        assert [path.name for path in (tmp_path / "sessions").iterdir()] == ["analysis.lock"]

    def test_a_lock_in_a_folder_that_cannot_be_written_is_an_error_that_names_it(self, tmp_path: Path) -> None:
        with pytest.raises(LockError, match="cannot be written: No such file or directory"):
            save_lock(tmp_path, lock_of(Section("venv", "any", DIGEST, {"python": ">=3.12"})))

    def test_a_missing_lock_file_is_no_lock(self, tmp_path: Path) -> None:
        assert load_lock(tmp_path, "analysis") is None

    def test_a_lock_file_that_is_not_text_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "sessions").mkdir()
        lock_file(tmp_path, "analysis").write_bytes(b"\xff\xfe")
        with pytest.raises(LockError, match="cannot be read"):
            load_lock(tmp_path, "analysis")


FOREIGN = {
    "1979-05-27T07:32:00Z": "is a date and time",
    "1979-05-27": "is a date",
    "07:32:00": "is a time",
    "1.5": "is a number",
    "inf": "is a number",
    "nan": "is a number",
    "[1, [1979-05-27]]": "is a date",
    "{ a = { b = 1e3 } }": "is a number",
}


@pytest.mark.parametrize(("value", "said"), FOREIGN.items())
@pytest.mark.parametrize("section", ["venv.any", "conda.linux-64", "container.linux-64", 'modules."linux-64/v3"'])
def test_a_value_of_a_kind_that_no_lock_has_is_refused_with_its_key(section: str, value: str, said: str) -> None:
    text = f'schema = 1\nsession = "analysis"\n[{section}]\nspec = "{DIGEST}"\nwhen = {value}\n'
    with pytest.raises(LockError, match="is damaged") as caught:
        read_text(text, "analysis", "a.lock")
    key = f"{section.replace(chr(34), '')}.when"
    assert re.search(rf"{re.escape(key)}\S*: {said}, and a lock holds none", caught.value.what)
    assert "git checkout -- a.lock" in caught.value.hint, "to lock again does not overwrite it"


def test_each_value_of_a_wrong_type_in_a_lock_is_told() -> None:
    text = f'schema = 1\nsession = "analysis"\n[venv.any]\nspec = "{DIGEST}"\na = 1.5\nb = [07:32:00]\n'
    with pytest.raises(LockError) as caught:
        read_text(text, "analysis", "a.lock")
    assert len(caught.value.what.splitlines()) == 3


@pytest.mark.parametrize("words", [("status", "work"), ("lock", "work"), ("store", "gc"), ("run", "work", "--", "true")])
def test_commands_agree_on_a_lock_with_a_date_and_none_ends_in_a_traceback(built: Project, words: tuple[str, ...]) -> None:
    with built.lock().open("a") as stream:
        stream.write(f'\n[conda.linux-64]\nspec = "{DIGEST}"\nwhen = 1979-05-27T00:00:00Z\n')
    before = built.lock().read_bytes()
    done = built.ozrepro(*words)
    assert "Traceback" not in done.stderr
    assert "conda.linux-64.when: is a date and time" in done.stdout + done.stderr
    assert built.lock().read_bytes() == before
    assert built.prefix().exists(), "a clean-up removes nothing where it cannot read who needs what"


def test_a_section_is_read_once_and_a_copy_with_other_content_by_itself() -> None:
    section, read = Section("venv", "any", DIGEST, {"a": 1}), list[int]()

    def count() -> int:
        read.append(1)
        return len(read)

    assert [section.once(count), section.once(count)] == [1, 1]
    other = replace(section, content={"a": 2})
    assert other.once(count) == 2
    assert section == Section("venv", "any", DIGEST, {"a": 1})
