"""What a site offers: names judged, and the index kept for as long as it holds."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ozrepro.errors import OzreproError
from ozrepro.modulesystem.cache import cached_index, watched
from ozrepro.modulesystem.index import Index, IndexedModule, judge
from ozrepro.modulesystem.lmod import Lmod
from tests.fake_cluster import Site
from tests.fake_cluster.modulefiles import write


def offering(*names: str, hidden: tuple[str, ...] = ()) -> Index:
    """Return an index of these names."""
    return Index({name: (IndexedModule(name, f"/m/{name}.lua", hidden=name in hidden),) for name in (*names, *hidden)})


def never(name: str) -> bool:
    """Know no alias."""
    return False


class TestJudging:
    def test_a_part_of_a_name_is_loose_and_names_what_it_is_a_part_of(self) -> None:
        index = offering("python/3.10.13", "python/3.10.13-bare", "gcc/11.3.0", "gcc/12.2.0", "a/b/1.0")
        judged = judge(["python/3.10", "python/3", "gcc", "a/b", "python/3.10.13"], index, never)
        assert judged.absent == ()
        assert [line.split(" ")[0] for line in judged.loose] == ["'python/3.10'", "'python/3'", "gcc", "'a/b'"]
        assert judged.loose[0].endswith(": python/3.10.13, python/3.10.13-bare")
        assert judged.loose[2] == "gcc has no version: write gcc/11.3.0 or gcc/12.2.0"

    def test_a_module_that_has_no_versions_cannot_be_locked(self) -> None:
        assert judge(["null"], offering("null"), never).loose == ("null has no version, which a lock needs",)

    def test_a_full_name_of_which_only_a_bare_namesake_is_there_is_absent(self) -> None:
        judged = judge(["python/3.10.4"], offering("python/3.10.4-bare", "python/3.9.1"), never)
        assert judged.loose == ()
        assert judged.absent == ("there is no module 'python/3.10.4' here; there are python/3.10.4-bare, python/3.9.1",)

    def test_a_name_that_only_the_tool_resolves_is_loose_and_asked_about_once(self) -> None:
        asked: list[str] = []

        def is_alias(name: str) -> bool:
            asked.append(name)
            return name == "gcc/lts"

        judged = judge(["gcc/lts", "gcc/99", "gcc", "gcc/11.3.0"], offering("gcc/11.3.0"), is_alias)
        assert asked == ["gcc/lts", "gcc/99"]
        assert ["gcc/lts" in line for line in judged.loose] == [True, False]
        assert "exact names: gcc/11.3.0" in judged.loose[0]
        assert judged.absent == ("there is no module 'gcc/99' here; there are gcc/11.3.0",)

    @pytest.mark.parametrize("name", ["Python/3.10.13", "pyhton/3.10.13", "PYTHON"])
    def test_a_misspelt_name_is_absent_and_like_ones_are_named(self, name: str) -> None:
        judged = judge([name], offering("python/3.10.13", "gcc/11.3.0"), never)
        assert "python/3.10.13" in judged.absent[0]

    def test_hidden_modules_are_no_candidates_and_a_long_list_is_cut(self) -> None:
        judged = judge(["shy"], offering("gcc/11.3.0", hidden=("shy/.1.0",)), never)
        assert judged.absent == ("there is no module 'shy' here; nothing has a like name",)
        many = judge(["tool"], offering(*(f"tool/{number}" for number in range(20))), never)
        assert many.loose[0].endswith("and 12 more")

    def test_a_symbolic_version_of_the_real_tool_is_loose(self, lmod: Lmod, tmp_path: Path) -> None:
        (tmp_path / "gcc").mkdir()
        (tmp_path / "gcc" / "11.3.0.lua").write_text('setenv("A", "1")\n')
        (tmp_path / "gcc" / ".modulerc.lua").write_text('module_version("gcc/11.3.0", "lts")\n')
        base = {"PATH": "/bin", "HOME": "/h", "MODULEPATH": str(tmp_path)}
        judged = judge(["gcc/lts", "gcc/99"], lmod.index([str(tmp_path)]), lambda name: lmod.is_available(name, base))
        assert ["gcc/lts" in line for line in judged.loose] == [True]
        assert ["gcc/99" in line for line in judged.absent] == [True]


class Counting:
    """The real Lmod, with its walks counted."""

    def __init__(self, lmod: Lmod) -> None:
        self.walks = 0
        self.kind, self.identity, self.version = lmod.kind, lmod.identity, lmod.version
        self.is_available, self.load = lmod.is_available, lmod.load
        self._index = lmod.index

    def index(self, modulepath: object) -> Index:
        self.walks += 1
        assert isinstance(modulepath, list)
        return self._index(modulepath)


def settle(root: Path) -> None:
    """Make a tree's directories and rc files a minute old, as they mostly are."""
    then = time.time() - 60
    for folder, _, files in os.walk(root):
        os.utime(folder, (then, then))
        for name in files:
            os.utime(os.path.join(folder, name), (then, then))


@pytest.fixture
def kept(lmod: Lmod, private_site: Callable[[], Site], tmp_path: Path) -> tuple[Counting, list[str], Path]:
    """Give a tree of one's own, its index in the cache, and the folder of the cache."""
    mine = private_site()
    settle(mine.prefix)
    system, folders, cache = Counting(lmod), [mine.roots["ozstar"]], tmp_path / "cache"
    index, _ = cached_index(system, folders, cache)
    assert cached_index(system, folders, cache)[0] == index == lmod.index(folders)
    assert system.walks == 1
    return system, folders, cache


def _behind_a_link(path: Path) -> None:
    path.rename(path.with_suffix(".x"))
    path.symlink_to(path.with_suffix(".x"))


def _a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


class TestCache:
    def test_a_cached_index_says_when_it_was_made(self, kept: tuple[Counting, list[str], Path]) -> None:
        system, folders, cache = kept
        made = cached_index(system, folders, cache)[1]
        assert time.time() - 60 < made < time.time()
        assert made == cached_index(system, folders, cache)[1]

    @pytest.mark.parametrize(
        "place",
        ["core/gcc", "compiler/gcc/11.3.0/python", "mpi/gcc/11.3.0/openmpi/4.1.4/hdf5", "compiler/intel-compilers/2022.1.0"],
    )
    def test_a_module_added_anywhere_in_a_hierarchy_is_seen(self, kept: tuple[Counting, list[str], Path], place: str) -> None:
        system, folders, cache = kept
        folder = Path(folders[0]).parent / place
        name = f"{folder.name}/99" if place.count("/") != 2 else "new/99"
        path = folder / "99.lua" if name != "new/99" else folder / "new" / "99.lua"
        if place.startswith("compiler/gcc"):
            name, path = "python/99", folder / "99.lua"
        path.parent.mkdir(exist_ok=True)
        path.write_text('setenv("NEW", "1")\n')
        index, _ = cached_index(system, folders, cache)
        assert name in index.modules

    def test_a_new_family_of_modules_is_seen(self, kept: tuple[Counting, list[str], Path]) -> None:
        system, folders, cache = kept
        path = Path(folders[0]) / "brandnew" / "1.0.lua"
        path.parent.mkdir()
        path.write_text('setenv("NEW", "1")\n')
        assert "brandnew/1.0" in cached_index(system, folders, cache)[0].modules

    @pytest.mark.parametrize(
        "place", ["core/survey", "core/a/b", "compiler/gcc/11.3.0/survey", "mpi/gcc/11.3.0/openmpi/4.1.4/survey"]
    )
    def test_a_first_module_in_a_directory_that_was_empty_is_seen(
        self, lmod: Lmod, private_site: Callable[[], Site], tmp_path: Path, place: str
    ) -> None:
        mine = private_site()
        folders, cache = [mine.roots["ozstar"]], tmp_path / "cache"
        folder = Path(folders[0]).parent / place
        folder.mkdir(parents=True)
        settle(mine.prefix)
        assert not [name for name in cached_index(lmod, folders, cache)[0].modules if name.endswith("/99")]
        (folder / "99.lua").write_text('setenv("NEW", "1")\n')
        found = cached_index(lmod, folders, cache)[0].modules
        assert [name for name in found if name.endswith("/99")] == [f"{'a/b' if place == 'core/a/b' else 'survey'}/99"]

    def test_directories_that_lead_to_each_other_are_watched_and_end(self, tmp_path: Path) -> None:
        (tmp_path / "survey").mkdir()
        (tmp_path / "other").symlink_to("survey")
        (tmp_path / "survey" / "up").symlink_to("..")
        seen = watched(Index({}), [str(tmp_path), str(tmp_path / "nowhere")])
        assert {str(tmp_path / "survey"), str(tmp_path / "nowhere")} < set(seen)
        assert len(seen) == len(set(seen)) < 8

    def test_a_removed_module_is_seen(self, kept: tuple[Counting, list[str], Path]) -> None:
        system, folders, cache = kept
        (Path(folders[0]) / "gcc" / "12.2.0.lua").unlink()
        assert "gcc/12.2.0" not in cached_index(system, folders, cache)[0].modules

    def test_a_module_that_is_hidden_and_shown_again_is_seen(self, kept: tuple[Counting, list[str], Path]) -> None:
        system, folders, cache = kept
        rc = Path(folders[0]) / "gcc" / ".modulerc.lua"
        rc.write_text('hide_version("gcc/12.2.0")\n')
        assert cached_index(system, folders, cache)[0].modules["gcc/12.2.0"][0].hidden
        settle(rc.parent)
        cached_index(system, folders, cache)
        rc.write_text("-- nothing is hidden\n")  # in place: the directory does not change
        assert not cached_index(system, folders, cache)[0].modules["gcc/12.2.0"][0].hidden

    def test_an_index_of_directories_that_are_being_changed_is_not_kept(
        self, lmod: Lmod, private_site: Callable[[], Site], tmp_path: Path
    ) -> None:
        system, folders = Counting(lmod), [private_site().roots["ozstar"]]
        soon = time.time() + 5
        os.utime(folders[0], (soon, soon))
        cached_index(system, folders, tmp_path / "cache")
        assert not (tmp_path / "cache").exists()

    def test_other_directories_and_another_configuration_have_a_cache_of_their_own(
        self, kept: tuple[Counting, list[str], Path]
    ) -> None:
        system, folders, cache = kept
        cached_index(system, [*folders, "/nowhere"], cache)
        system.identity += " LMOD_MODULERC=/x"
        cached_index(system, folders, cache)
        assert (system.walks, len(list(cache.iterdir()))) == (3, 3)

    def test_an_rc_file_of_the_site_that_changes_makes_another_identity(self, tmp_path: Path) -> None:
        rc = tmp_path / "rc.lua"
        rc.write_text("")
        system = Lmod("/lmod", site={"LMOD_MODULERCFILE": str(rc)})
        before = system.identity
        rc.write_text('hide_version("gcc/12.2.0")\n')
        assert system.identity != before

    DAMAGE: tuple[Callable[[Path], object], ...] = (
        lambda path: path.write_text(""),
        lambda path: path.write_text("{"),
        lambda path: path.write_text("[" * 100_000),
        lambda path: path.write_bytes(b"\xff\xfe"),
        lambda path: path.write_text("null"),
        lambda path: path.write_text(path.read_text().replace('"schema": 2', '"schema": 1')),
        lambda path: path.write_text(path.read_text().replace('"gcc/11.3.0"', "7")),
        lambda path: path.write_text(path.read_text().replace("[[", "{").replace("]]", "}")),
        lambda path: path.write_text(json.dumps({**json.loads(path.read_text()), "made": time.time() + 999})),
        lambda path: path.write_text(json.dumps({**json.loads(path.read_text()), "made": "now"})),
        lambda path: path.write_text(json.dumps({**json.loads(path.read_text()), "stamps": {}})),
        lambda path: path.write_text(json.dumps({**json.loads(path.read_text()), "stamps": {"\0": 1}})),
        lambda path: path.write_text(json.dumps({**json.loads(path.read_text()), "modules": [["a\0", "/f", [], [], False]]})),
        lambda path: path.write_text(json.dumps({**json.loads(path.read_text()), "modules": [["a"]]})),
        lambda path: path.chmod(0o666),
        _behind_a_link,
        _a_folder,
        _a_pipe,
    )

    @pytest.mark.parametrize("damage", DAMAGE)
    def test_a_damaged_or_foreign_cache_is_made_again_in_silence(
        self, kept: tuple[Counting, list[str], Path], damage: Callable[[Path], object], lmod: Lmod
    ) -> None:
        system, folders, cache = kept
        (path,) = cache.iterdir()
        damage(path)
        assert cached_index(system, folders, cache)[0] == lmod.index(folders)
        assert system.walks == 2

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
    def test_another_users_cache_is_passed_over(self, kept: tuple[Counting, list[str], Path]) -> None:
        system, folders, cache = kept
        (path,) = cache.iterdir()
        os.chown(path, 12345, 12345)
        cached_index(system, folders, cache)
        assert system.walks == 2

    def test_a_folder_that_cannot_be_written_is_passed_over(self, kept: tuple[Counting, list[str], Path], tmp_path: Path) -> None:
        system, folders, _ = kept
        (tmp_path / "file").write_text("")
        assert "gcc/11.3.0" in cached_index(system, folders, tmp_path / "file")[0].modules

    def test_the_directories_of_a_hierarchy_are_watched_up_to_its_trees(self, kept: tuple[Counting, list[str], Path]) -> None:
        system, folders, cache = kept
        trees = Path(folders[0]).parent
        seen = watched(cached_index(system, folders, cache)[0], folders)
        for place in ("core", "core/gcc", "compiler", "compiler/gcc", "compiler/gcc/11.3.0", "compiler/intel-compilers/2022.1.0"):
            assert str(trees / place) in seen


def test_an_index_that_cannot_be_read_is_an_error_with_the_tools_words(tmp_path: Path) -> None:
    spider = tmp_path / "spider"
    spider.write_text("#!/bin/sh\necho 'lua: not found' >&2\necho oops\n")
    spider.chmod(0o755)
    with pytest.raises(OzreproError, match="lua: not found"):
        Lmod(str(tmp_path / "lmod")).index(["/m"])


def test_a_module_that_is_hidden_from_everybody_hides_no_other(lmod: Lmod, tmp_path: Path) -> None:
    """Lua writes the table of a name of which no version is left as an array."""
    write(tmp_path, "hard/1.0", ['setenv("S", "1")'])
    write(tmp_path, "ok/1.0", ['setenv("S", "1")'])
    (tmp_path / ".modulerc.lua").write_text('hide{name="hard/1.0", kind="hard"}\n')
    assert "ok/1.0" in lmod.index([str(tmp_path)]).modules
