"""An environment as a tree, as one file, and as both: what a start takes, what is shown, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ozrepro.environment import Environment
from ozrepro.faststart.ready import is_absolute
from tests.conftest import Project

if TYPE_CHECKING:
    from collections.abc import Callable

TOOLS = ("squashfuse_ll", "mksquashfs")
pytestmark = pytest.mark.skipif(not all(map(shutil.which, TOOLS)), reason="squashfuse_ll or mksquashfs is not installed")

RUN = ("run", "work", "--", "python", "-c", "import alpha; print(alpha.__file__)")


def environment(project: Project, *, verb: str = "status", **more: str) -> dict[str, Any]:
    """Return what `status` shows of the session's only method."""
    shown = json.loads(project.done(verb, "work", "--json", **more))
    found: dict[str, Any] = shown["sessions"][0]["methods"][0]
    return found


@pytest.fixture
def one(small: Project) -> Project:
    """Give a locked project whose environment was built as one file by an option."""
    small.done("lock", "work")
    assert "venv built (one file of " in small.done("build", "work", "--form", "file", OZREPRO_FORM="tree")
    return small


def test_without_a_setting_a_start_takes_the_file_that_is_built_and_says_what_it_is(one: Project) -> None:
    found = environment(one)
    assert found["form"] == "file"
    assert found["inside"] > 20
    assert f"{found['inside']} inside" in found["environment"]
    generation = Path(found["generation"])
    assert one.done(*RUN) == one.done(*RUN)
    assert one.done(*RUN).startswith(f"{generation}/env/lib/")
    assert "built before (one file of " in one.done("build", "work")
    assert f"{found['inside']} in one file" in one.done("store", "list")
    assert f"verified, one file with {found['inside']} inside OK" in one.done("verify", "work")
    (listed,) = json.loads(one.done("store", "list", "--json"))["environments"]
    assert (listed["form"], listed["inside"]) == ("file", found["inside"])


def test_of_both_forms_the_setting_chooses_and_a_clean_up_keeps_both(one: Project) -> None:
    assert environment(one, OZREPRO_FORM="tree")["environment"] == "not built"
    tree = one.done(*RUN, OZREPRO_FORM="tree")
    file = one.done(*RUN, OZREPRO_FORM="file")
    assert tree != file
    assert environment(one)["form"] == environment(one, OZREPRO_FORM="tree")["form"] == "tree"
    assert environment(one, OZREPRO_FORM="file")["form"] == "file"
    assert one.done(*RUN) == tree
    again = one.ozrepro("build", "work", "--form", "file")
    assert "one file of " in again.stdout
    assert 'a start takes this one with form = "file" in [tool.ozrepro], or OZREPRO_FORM=file' in again.stderr
    assert one.done("store", "gc") == "nothing to remove\n"
    one.done("store", "remove", "work", "--yes")
    assert list((one.store() / "gens").iterdir()) == []


def test_a_rebuild_without_a_setting_keeps_the_form(one: Project) -> None:
    before = environment(one)
    one.done("build", "work", "--rebuild")
    after = environment(one)
    assert (after["form"], after["generation"] != before["generation"]) == ("file", True)


def test_a_file_that_is_built_is_taken_where_there_is_no_room_to_build_one(one: Project) -> None:
    """The search for room is made to end with none: a disk of less than 2 GiB and no memory cannot be had for all places at once."""
    code = (
        "import sys; from ozrepro.store import forms; from ozrepro.__main__ import main;"
        "forms.place = lambda environ: 'no folder of this node has 2 GiB left to build in'; sys.exit(main())"
    )
    words = ("python", "-c", code, "build", "work")
    assert "one file of " in one.run(*words, OZREPRO_FORM="file").stdout
    said = one.run(*words, "--rebuild", OZREPRO_FORM="file")
    assert "the form is tree, not file: no folder of this node has 2 GiB left to build in" in said.stderr
    assert said.returncode == 0


def test_a_wrong_form_is_refused_with_the_choices(small: Project) -> None:
    said = small.ozrepro("build", "work", OZREPRO_FORM="zip")
    assert said.returncode == 2
    assert "OZREPRO_FORM: 'zip' is not known; write one of: tree, file, auto" in said.stderr
    assert small.ozrepro("build", "work", "--form", "zip").returncode == 2


def _keeping_times(path: Path, change: Callable[[Path], None]) -> None:
    found = os.stat(path)
    path.chmod(0o644)
    change(path)
    path.chmod(found.st_mode & 0o777)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    with open(path, "r+b") as stream:
        stream.write(content)


def _half(path: Path) -> None:
    os.truncate(path, os.stat(path).st_size // 2)


def _copied(path: Path) -> None:
    shutil.copy2(path, path.with_name("copy"))
    path.with_name("copy").replace(path)


def _appended(path: Path) -> None:
    path.write_text(path.read_text() + "# more\n")


def _linked(path: Path) -> None:
    path.rmdir()
    path.symlink_to("/tmp")


TAMPERED: tuple[tuple[str, Callable[[Path], object]], ...] = (
    ("env.sqfs", lambda path: _keeping_times(path, _flip)),
    ("env.sqfs", lambda path: _keeping_times(path, _half)),
    ("env.sqfs", _copied),
    ("env.sqfs", lambda path: path.chmod(0o644)),
    ("start", lambda path: _keeping_times(path, _appended)),
    ("start", _copied),
    ("env", _linked),
    ("generation.json", lambda path: path.write_text(path.read_text().replace('"inside"', '"outside"'))),
)


def test_what_was_changed_replaced_copied_or_cut_is_built_again_and_never_used(one: Project) -> None:
    taken = dataclasses.replace(one, environ={**one.environ, "OZREPRO_FORM": "file"})
    looked_at: set[str] = set()
    for name, change in TAMPERED:
        warm = taken.done(*RUN)
        change(Path(warm.split("/env/lib/")[0]) / name)
        for words in (("verify", "work"), ("store", "verify")) if name not in looked_at else ():
            refused = taken.ozrepro(*words)
            assert refused.returncode == 1, (name, words)
            assert "try: ozrepro build" in refused.stderr
        looked_at.add(name)
        # A start reads its record, and of the card nothing.
        again = taken.ozrepro(*(RUN if name != "generation.json" else ("build", "work")))
        assert again.returncode == 0, (name, again.stderr)
        assert "in the store, but cannot be used: " in again.stderr, name
        assert taken.done(*RUN) != warm
    assert "would remove gens/" in taken.done("store", "gc")


def test_a_file_whose_content_has_rotten_is_told_with_its_name(one: Project) -> None:
    """What no clock of the file system shows: the card is made to say what a sound one would."""
    generation = Path(environment(one)["generation"])
    card = json.loads((generation / "generation.json").read_bytes())
    (generation / "generation.json").write_text(json.dumps({**card, "image": "0" * 64}))
    said = one.ozrepro("verify", "work")
    assert said.returncode == 1
    assert "env.sqfs: was changed" in said.stderr
    assert "try: ozrepro build work --rebuild" in said.stderr
    assert f"{generation}/env.sqfs: was changed" in one.ozrepro("store", "verify").stderr


def test_a_record_whose_mount_depends_on_the_folder_of_the_caller_is_not_taken() -> None:
    assert is_absolute(Environment(mount="/store/gens/a/start"))
    assert not is_absolute(Environment(mount="gens/a/start"))
