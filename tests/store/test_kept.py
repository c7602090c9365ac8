"""Software of the machine in an environment's file: what is counted and left out, and where a start finds it, whatever the site did."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ozrepro.errors import BuildError, CommandFailed
from ozrepro.store import kept
from ozrepro.store.packing import pack
from tests.needs import FUSE
from tests.store.mounted import Packed, tools, variables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fake_cluster.ordinary import Account

KEPT = ("python/latest", "gcc/11", "lone/2")
ELSE = ("python/3.11", "gcc/12", "other/1")
LOOK = "import json, os, sys; print(json.dumps([[open(f'{p}/bin/word').read(), os.path.realpath(p)] for p in sys.argv[1:]]))"


def software(top: Path) -> Path:
    """Return a tree of software that is reached by a link, with several versions of some, and a link to one of them."""
    tree = top / "a site" / "software"
    for name in ("python/3.10", *KEPT[1:], *ELSE):
        (tree / name / "bin").mkdir(parents=True)
        (tree / name / "bin" / "word").write_text(name)
    (tree / "python" / "latest").symlink_to("3.10")
    (top / "apps").symlink_to("a site")
    return top / "apps" / "software"


@pytest.fixture
def tree(top: Path) -> Iterator[Path]:
    """Give such a tree."""
    yield software(top)
    shutil.rmtree(top / "a site")
    (top / "apps").unlink()


@pytest.fixture
def packed(top: Path, who: Account | None, tree: Path) -> Iterator[Packed]:
    """Give an environment that keeps some of the tree, by the names that modules have for it."""
    folder = top / "one that keeps"
    (folder / "env").mkdir(parents=True)
    survey = kept.survey([str(tree / name) for name in KEPT], (), (), "keep")
    pack(folder / "env", folder, tools(), [], software=survey)
    shutil.rmtree(folder / "env")
    (folder / "env").mkdir()
    (top / "some work").mkdir(exist_ok=True)
    made = Packed(folder, top / "some work", who)
    made.publish()
    yield made
    shutil.rmtree(folder)


def seen(packed: Packed, tree: Path, *names: str) -> list[tuple[str, str]]:
    """Return the words below these folders, as a program of the environment reads them, and the folders' real paths."""
    said = packed.run("/usr/bin/python3", "-c", LOOK, *(str(tree / name) for name in names))
    assert (said.returncode, said.stderr) == (0, "")
    return [(word, path) for word, path in json.loads(said.stdout)]


@FUSE
def test_what_is_kept_is_read_from_the_file_and_all_else_from_the_machine(packed: Packed, tree: Path) -> None:
    real = tree.resolve()
    for name in ("python/3.10", "gcc/11", *ELSE):
        (real / name / "bin" / "word").write_text("changed")
    assert seen(packed, tree, *KEPT) == [
        (name.replace("latest", "3.10"), str(real / name).replace("latest", "3.10")) for name in KEPT
    ]
    assert seen(packed, tree, *ELSE) == [("changed", str(real / name)) for name in ELSE]
    assert packed.ended() == []


@FUSE
def test_what_the_site_removes_or_renames_is_still_at_its_path_beside_what_is_left(packed: Packed, tree: Path) -> None:
    real = tree.resolve()
    for name in ("python/3.10", "gcc/11", "lone"):
        shutil.rmtree(real / name)
    words = [word for word, _ in seen(packed, tree, *KEPT, "python/3.10", *ELSE)]
    assert words == ["python/3.10", *KEPT[1:], "python/3.10", *ELSE]
    refused = packed.run("touch", str(real / "lone" / "new"))
    assert "Read-only file system" in refused.stderr
    assert not (real / "lone").exists()
    shutil.rmtree(real / "gcc")
    assert seen(packed, tree, "gcc/11", "other/1") == [
        ("gcc/11", str(real / "gcc" / "11")),
        ("other/1", str(real / ".ozrepro-site" / "other" / "1")),
    ]
    assert packed.ended() == []


@FUSE
def test_a_link_that_leads_to_another_version_now_hides_neither(packed: Packed, tree: Path) -> None:
    real = tree.resolve() / "python"
    (real / "latest").unlink()
    (real / "latest").symlink_to("3.11")
    assert [word for word, _ in seen(packed, tree, "python/latest", "python/3.10", "python/3.11")] == [
        "python/3.10",
        "python/3.10",
        "python/3.11",
    ]


@FUSE
def test_software_whose_whole_tree_is_gone_is_still_at_its_paths(packed: Packed, tree: Path) -> None:
    before = tree.parent.parent / "away"
    tree.resolve().parent.rename(before)
    try:
        assert seen(packed, tree.parent.parent / "a site" / "software", "gcc/11")[0][0] == "gcc/11"
    finally:
        before.rename(tree.parent.parent / "a site")


@FUSE
def test_the_starts_of_a_job_share_what_is_kept_and_another_environment_sees_it_too(packed: Packed, tree: Path) -> None:
    shutil.rmtree(tree.resolve() / "lone")
    word, start = tree / "lone/2/bin/word", packed.start
    one = f'"{start}" sh -c \'cat "{word}"; readlink /proc/self/ns/mnt; cat "/proc/$$/root{word}"\''
    said = packed.run("bash", "-c", f"{one}; {one}", plain=True, env=variables(PBS_JOBID=f"7.{packed.folder.parent.name}"))
    assert (said.returncode, said.stderr) == (0, "")
    first, second = said.stdout[: len(said.stdout) // 2], said.stdout[len(said.stdout) // 2 :]
    assert first == second
    assert first.count("lone/2") == 2
    nested = packed.run(start, "cat", str(word))
    assert (nested.stdout, nested.stderr) == ("lone/2", "")


def test_the_survey_counts_what_is_packed_and_says_what_is_not(tree: Path, tmp_path: Path, who: Account | None) -> None:
    real = tree.resolve()
    (real / "gcc" / "11" / "out").symlink_to(real / "other" / "1" / "bin")
    (real / "gcc" / "11" / "in").symlink_to("../11/bin")
    os.link(real / "gcc" / "11" / "bin" / "word", real / "gcc" / "11" / "again")
    (real / "gcc" / "11" / "again").chmod(0o4750)
    found = kept.survey(
        [str(tree / "gcc/11"), "/usr/lib", "/opt", str(tree / "none")], [str(real / "gcc/11")], [tmp_path], "keep"
    )
    assert (found.files, found.inodes, found.system) == (4, 5, ("/usr/lib", "/opt"))
    assert found.leading == ((str(real / "gcc/11/out"), str(real / "other/1/bin")),)
    assert set(found.raised.values()) == {0o750}
    assert found.private == str(real / "gcc/11/again")
    assert set(found.folders) == {str(tree / "gcc/11"), str(real / "gcc/11")}
    lines = "\n".join(found.lines())
    assert f"keeping 4 files, 79 B, of {real}/gcc/11" in re.sub(r"\d+ B", "79 B", lines)
    assert "not kept, as each node has its own: /usr/lib, /opt" in lines
    assert "for you alone, as not everybody may read" in lines
    with pytest.raises(BuildError, match=r"cannot be kept: .* is in it"):
        kept.survey([str(tree)], (), [real / "gcc" / "11"], "keep")


@FUSE
def test_a_file_for_one_user_has_no_program_that_changes_user_and_nothing_that_was_closed(
    top: Path, tree: Path, who: Account | None
) -> None:
    folder, real = top / "closed", tree.resolve()
    (folder / "env").mkdir(parents=True)
    (real / "gcc" / "11" / "bin" / "a program").write_text("#!/bin/sh\n")
    (real / "gcc" / "11" / "bin" / "a program").chmod(0o6751)
    survey = kept.survey([str(tree / "gcc/11")], (), (), "keep")
    closed = kept.Survey(
        **{**{name: getattr(survey, name) for name in survey.__slots__}, "closed": (str(real / "gcc/11/bin/word"),)}
    )
    with pytest.raises(CommandFailed, match="does not hold all of it"):
        pack(folder / "env", folder, tools(), [], software=closed)
    shutil.rmtree(folder)
    (folder / "env").mkdir(parents=True)
    pack(folder / "env", folder, tools(), [], software=survey)
    assert os.stat(folder / "env.sqfs").st_mode & 0o777 == 0o400
    shutil.rmtree(folder / "env")
    (folder / "env").mkdir()
    made = Packed(folder, top, None)
    made.publish()
    said = made.run("stat", "-c", "%a", str(real / "gcc/11/bin/a program"))
    assert said.stdout == "751\n"
    shutil.rmtree(folder)
