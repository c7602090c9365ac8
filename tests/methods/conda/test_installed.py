"""What environments hold by their own records, compared at once or while they are made."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import pytest

from ozrepro.errors import BuildError
from ozrepro.methods.conda.installed import comparing, damaged, installed
from ozrepro.store.manifest import Digests

if TYPE_CHECKING:
    from pathlib import Path


def place(prefix: Path, name: str, files: dict[str, bytes], listed: dict[str, bytes] | None = None) -> str:
    """Put a package's files and record into an environment and return its title; `listed` are the contents that it claims."""
    for path, content in files.items():
        (prefix / path).parent.mkdir(parents=True, exist_ok=True)
        (prefix / path).write_bytes(content)
    paths = [
        {"_path": path, "path_type": "hardlink", "sha256": hashlib.sha256(content).hexdigest()}
        for path, content in (listed if listed is not None else files).items()
    ]
    record = {"name": name, "version": "1.0", "build": "0", "sha256": "ab" * 32, "paths_data": {"paths": paths}}
    (prefix / "conda-meta").mkdir(exist_ok=True)
    (prefix / "conda-meta" / f"{name}-1.0-0.json").write_text(json.dumps(record))
    return f"{name}-1.0-0"


def test_a_comparison_finds_what_a_look_at_the_whole_environment_finds(tmp_path: Path) -> None:
    good = place(tmp_path, "good", {"share/good": b"good"})
    place(tmp_path, "late", {"share/late": b"late"}, {"share/late": b"other", "share/gone": b""})
    (tmp_path / "share" / "link").symlink_to("good")
    place(tmp_path, "linked", {}, {"share/link": b"not looked at"})
    with comparing(tmp_path, Digests()) as comparison:
        comparison.look(good)
        comparison.look("nothing-1.0-0")
        packages, wrong = comparison.finish()
    assert packages == installed(tmp_path)
    assert wrong == damaged(tmp_path, packages, Digests())
    assert wrong == {"late-1.0-0": ["share/late: is not the recorded file", "share/gone: No such file or directory"]}


def test_a_package_whose_record_is_written_again_after_the_look_is_compared_again(tmp_path: Path) -> None:
    title = place(tmp_path, "one", {"share/file": b"one"})
    with comparing(tmp_path, Digests()) as comparison:
        comparison.look(title)
        place(tmp_path, "one", {"share/file": b"two"}, {"share/file": b"one", "share/file of another": b"one"})
        packages, wrong = comparison.finish()
    assert [file.path for file in packages[0].files] == ["share/file", "share/file of another"]
    assert wrong[title][0] == "share/file: is not the recorded file"


def test_a_file_changed_after_the_look_is_seen_when_the_environment_is_published(tmp_path: Path) -> None:
    title = place(tmp_path, "one", {"share/file": b"one"})
    digests = Digests()
    with comparing(tmp_path, digests) as comparison:
        comparison.look(title)
        (package,), wrong = comparison.finish()
    assert wrong == {}
    (tmp_path / "share" / "file").write_bytes(b"two")
    digests.expect({file.path: file.sha256 for file in package.files})
    assert digests.unlike(tmp_path, []) == ["share/file: was changed"]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"paths_data": null}', "\x00"])
def test_a_record_that_cannot_be_read_is_named(tmp_path: Path, content: str) -> None:
    title = place(tmp_path, "one", {})
    (tmp_path / "conda-meta" / f"{title}.json").write_text(content)
    with comparing(tmp_path, Digests()) as comparison:
        comparison.look(title)
        with pytest.raises(BuildError, match="is not a record of a package"):
            comparison.finish()
