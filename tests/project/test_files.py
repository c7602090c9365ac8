"""Opening a user's file: what is not a file is neither waited for nor read, and each file of a decision is read once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ozrepro.errors import OzreproError, SpecError
from ozrepro.faststart.ready import content_of
from ozrepro.methods.reading import load_lock, load_settings, load_spec
from ozrepro.pipeline.session import open_session
from ozrepro.project.files import SMALL, Files, text_of
from tests.conftest import Project

KINDS = ("pipe", "device", "directory", "huge", "UTF-16", "BOM", "Latin-1")
OF_TEXT = ("UTF-16", "BOM", "Latin-1")


def put(path: Path, kind: str) -> None:
    """Put something that is not a plain UTF-8 file of a sensible size at `path`."""
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "directory":
        path.mkdir()
    elif kind == "huge":
        path.touch()
        os.truncate(path, 1 << 40)  # all holes
    else:
        path.write_bytes({"UTF-16": "a = 1\n".encode("utf-16"), "BOM": b"\xef\xbb\xbfa = 1\n", "Latin-1": b"a = '\xe9'\n"}[kind])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["sessions/work.toml", "sessions/work.lock", "pyproject.toml"])
def test_a_project_file_of_another_kind_is_refused_with_its_name(tmp_path: Path, name: str, kind: str) -> None:
    (tmp_path / "sessions").mkdir()
    (tmp_path / "sessions" / "work.toml").write_text("[venv]\n")
    put(tmp_path / name, kind)
    with pytest.raises(OzreproError) as caught:
        load_lock(tmp_path, "work", open_session(tmp_path, "work", {}).spec.files)
    words = {"pipe": "is a pipe", "directory": "is a directory", "huge": "is larger than", "BOM": "byte order mark"}
    assert name in str(caught.value)
    assert words.get(kind, kind if kind in ("device", "UTF-16") else "UTF-8") in str(caught.value)


TABLES = {
    "requirements.txt": '[venv]\nrequirements = ["-r requirements.txt"]\n',
    "environment.yml": '[conda]\nfile = "environment.yml"\n',
    "work.def": '[container]\ndefinition = "work.def"\n',
    "data.csv": '[container]\ndefinition = "other.def"\n',
}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "BOM"])
@pytest.mark.parametrize("name", TABLES)
def test_a_file_that_a_spec_names_is_refused_with_its_name(tmp_path: Path, name: str, kind: str) -> None:
    if name == "data.csv" and kind in ("huge", "directory", *OF_TEXT):
        pytest.skip("an image may hold any file, and any folder")
    (tmp_path / "sessions").mkdir()
    (tmp_path / "sessions" / "work.toml").write_text(TABLES[name])
    (tmp_path / "other.def").write_text("Bootstrap: scratch\n%files\n    data.csv /data.csv\n")
    put(tmp_path / name, kind)
    session = open_session(tmp_path, "work", {})
    (method,) = session.spec.candidates(())
    with pytest.raises(OzreproError, match=name):
        session.inputs(method).digest  # noqa: B018


@pytest.mark.parametrize("kind", KINDS)
def test_a_lock_to_compare_with_is_refused_with_its_name(small: Project, kind: str) -> None:
    put(small.root / "old.lock", kind)
    done = small.ozrepro("diff", "work", "old.lock")
    assert done.returncode in (2, 3), done.stderr
    assert "old.lock" in done.stderr
    assert "Traceback" not in done.stderr


def bytes_read() -> int:
    """Return the bytes that this process has read so far (proc(5): rchar)."""
    with open("/proc/self/io", "rb") as stream:
        return int(stream.readline().split()[1])


@pytest.mark.parametrize(("kind", "most"), [("huge", SMALL), ("device", 0), ("directory", 0)])
def test_no_more_of_a_file_is_read_than_is_allowed(tmp_path: Path, kind: str, most: int) -> None:
    put(tmp_path / "file", kind)
    before = bytes_read()
    with pytest.raises(OSError, match=r"is larger than 1 MiB|is a device|is a directory"):
        content_of(tmp_path / "file", SMALL)
    assert bytes_read() - before <= most + (256 << 10)  # a buffer more


def test_a_description_of_megabytes_is_refused_by_its_size(tmp_path: Path) -> None:
    (tmp_path / "sessions").mkdir()
    (tmp_path / "sessions" / "work.toml").write_text(f'description = "{"x" * 7_000_000}"\n[venv]\n')
    with pytest.raises(SpecError, match="is larger than 256 KiB"):
        load_spec(tmp_path, "work")


def test_a_file_is_read_once_and_an_edit_is_told(tmp_path: Path) -> None:
    path, files = tmp_path / "a.txt", Files()
    path.write_text("one")
    assert files.text(path) == "one"
    path.write_text("two")
    assert files.text(path) == "one"
    assert files.moved() == [str(path)]
    path.write_text("one")
    assert files.moved() == []
    path.unlink()
    assert files.moved() == [str(path)]


def test_a_file_that_was_not_there_stays_so_for_this_decision(tmp_path: Path) -> None:
    path, files = tmp_path / "a.txt", Files()
    with pytest.raises(FileNotFoundError):
        files.text(path)
    path.write_text("new")
    with pytest.raises(FileNotFoundError):
        files.text(path)
    assert files.moved() == [str(path)]
    files.put(path, b"new")
    assert files.moved() == []


def test_what_this_process_wrote_is_what_was_read(tmp_path: Path) -> None:
    files = Files()
    files.put(tmp_path / "a.txt", b"written")
    (tmp_path / "a.txt").write_text("written")
    assert files.moved() == []
    assert files.text(tmp_path / "a.txt") == text_of(tmp_path / "a.txt")


def test_settings_and_spec_are_of_one_reading(tmp_path: Path) -> None:
    (tmp_path / "sessions").mkdir()
    (tmp_path / "sessions" / "work.toml").write_text("[venv]\n")
    (tmp_path / "pyproject.toml").write_text('[tool.ozrepro]\nplatform = "one"\n')
    session = open_session(tmp_path, "work", {})
    (tmp_path / "pyproject.toml").write_text('[tool.ozrepro]\nplatform = "two"\n')
    assert load_settings(tmp_path, {}, files=session.spec.files).platform == "one"
    assert session.spec.files is session.site.settings.files


def test_a_requirement_file_with_a_byte_order_mark_is_read_as_pip_and_uv_do(small: Project) -> None:
    (small.root / "needs.txt").write_bytes(b"\xef\xbb\xbfalpha\r\n")
    small.spec('[venv]\nrequirements = ["-r needs.txt"]\n')
    small.done("lock")
    assert 'name = "beta"' in small.lock().read_text()


def test_a_definition_with_a_byte_order_mark_is_told_of_it(tmp_path: Path) -> None:
    from ozrepro.methods.container.definition import read_definition

    with pytest.raises(ValueError, match="byte order mark"):
        read_definition("\ufeffBootstrap: scratch\n", {})


def test_a_file_is_parsed_once_until_this_process_has_written_it(tmp_path: Path) -> None:
    path, files, parsed = tmp_path / "file", Files(), list[str]()

    def parse(text: str) -> int:
        parsed.append(text)
        return len(parsed)

    path.write_text("one")
    assert [files.parsed(path, parse), files.parsed(path, parse)] == [1, 1]
    path.write_text("by another process")
    assert files.parsed(path, parse) == 1
    files.put(path, b"by this one")
    assert [files.parsed(path, parse), parsed] == [2, ["one", "by this one"]]
