"""From names to a change: parents added, everything refused that is not what was asked for, few processes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from ozrepro.modulesystem import ModuleError
from ozrepro.modulesystem.capture import capture, differences, recapture, with_parents
from ozrepro.modulesystem.index import judge
from ozrepro.modulesystem.lmod import Lmod
from tests.fake_cluster import Site
from tests.fake_cluster.modulefiles import write
from tests.modulesystem.replaying import take, take_from


class TestParents:
    def test_the_parents_of_a_module_in_a_hierarchy_are_added(self, lmod: Lmod, site: Site) -> None:
        captured = take(lmod, site, site.names["python-scientific"])
        assert captured.parents == ("gcc/11.3.0", "openmpi/4.1.4")
        assert captured.load[-1] == site.names["python-scientific"]
        assert [module.name for module in captured.modules if module.requested] == [site.names["python-scientific"]]

    def test_two_ways_to_a_module_are_named_and_one_written_way_decides(self, lmod: Lmod, site: Site) -> None:
        index = lmod.index([site.roots["ozstar"]])
        with pytest.raises(ModuleError, match=r"2 ways: gcc/11\.3\.0 openmpi/4\.1\.4 hdf5/1\.12\.2; or gcc/12\.2\.0"):
            with_parents(["hdf5/1.12.2"], index)
        assert with_parents(["gcc/12.2.0", "hdf5/1.12.2"], index) == ("gcc/12.2.0", "openmpi/4.1.4", "hdf5/1.12.2")

    def test_a_name_that_one_way_leads_to_decides_for_the_others_wherever_it_stands(self, lmod: Lmod, site: Site) -> None:
        index = lmod.index([site.roots["ozstar"]])
        last = site.names["python-scientific"]
        assert with_parents(["hdf5/1.12.2", last], index) == ("gcc/11.3.0", "openmpi/4.1.4", "hdf5/1.12.2", last)
        assert with_parents([last, "hdf5/1.12.2"], index) == ("gcc/11.3.0", "openmpi/4.1.4", last, "hdf5/1.12.2")

    def test_all_names_that_can_be_reached_in_several_ways_are_told_together(self, lmod: Lmod, site: Site) -> None:
        index = lmod.index([site.roots["ozstar"]])
        with pytest.raises(ModuleError) as caught:
            with_parents(["hdf5/1.12.2", "openmpi/4.1.4"], index)
        assert "hdf5/1.12.2 can be reached" in caught.value.what
        assert "openmpi/4.1.4 can be reached" in caught.value.what


class TestRefusals:
    """What Lmod itself would do in silence, or with exit 0, is an error that names cause and next step."""

    @pytest.mark.parametrize(
        ("names", "hint"),
        [
            (("gcc/11.3.0", "gcc/12.2.0"), "keep one of them"),
            (("gcc/11.3.0", "intel-compilers/2022.1.0"), "ozrepro spider "),
        ],
    )
    def test_one_compiler_replacing_another_is_an_error(self, lmod: Lmod, site: Site, names: tuple[str, ...], hint: str) -> None:
        with pytest.raises(ModuleError, match="cannot load") as caught:
            take(lmod, site, *names)
        assert caught.value.hint.startswith(hint)

    def test_a_full_python_is_never_answered_by_its_bare_namesake(self, lmod: Lmod, private_site: Callable[[], Site]) -> None:
        mine = private_site()
        name = mine.names["python"]
        folders = [mine.roots["ozstar"]]
        index = lmod.index(folders)
        Path(index.modules[name][0].file).unlink()
        with pytest.raises(ModuleError, match=name):
            capture(lmod, [name], folders, index)
        with pytest.raises(ModuleError, match=name):
            capture(lmod, [mine.names["python-scientific"]], folders, index)
        judged = judge([name], lmod.index(folders), lambda name: False)
        assert f"{name}-bare" in judged.absent[0]

    def test_a_module_that_was_removed_since_the_index_was_made_is_an_error(
        self, lmod: Lmod, private_site: Callable[[], Site]
    ) -> None:
        folders = [private_site().roots["ozstar"]]
        index = lmod.index(folders)
        Path(index.modules["gcc/12.2.0"][0].file).unlink()
        with pytest.raises(ModuleError, match="was it removed just now"):
            capture(lmod, ["gcc/12.2.0"], folders, index)

    @pytest.mark.parametrize(
        ("name", "reason"),
        [
            ("failing/1.0", "licence server"),
            ("broken/1.0", "broken/1.0"),
            ("needy/1.0", "base-lib/1.0"),
            ("dangling/1.0", "not-there/1.0"),
        ],
    )
    def test_the_tools_own_message_comes_through(self, lmod: Lmod, site: Site, name: str, reason: str) -> None:
        with pytest.raises(ModuleError) as caught:
            take(lmod, site, name, tree="odd")
        assert name in str(caught.value)
        assert reason in str(caught.value)

    def test_a_conflict_is_an_error(self, lmod: Lmod, site: Site) -> None:
        with pytest.raises(ModuleError, match="friend"):
            take(lmod, site, "friend/1.0", "conflicting/1.0", tree="odd")

    def test_a_name_that_a_later_one_of_its_kind_replaces_is_an_error(self, lmod: Lmod, site: Site) -> None:
        """Lmod loads the last of them, with exit 0 and no word, even where the first is not there at all."""
        with pytest.raises(ModuleError, match=r"gcc/99 was asked for and gcc/11\.3\.0 is loaded instead"):
            capture(
                lmod, ["apptainer/latest", "gcc/99", "gcc/11.3.0"], [site.roots["ozstar"]], lmod.index([site.roots["ozstar"]])
            )

    def test_a_module_that_another_unloads_is_an_error(self, lmod: Lmod, tmp_path: Path) -> None:
        write(tmp_path, "lib/1.0", ['setenv("LIB", "1")'])
        write(tmp_path, "breaker/1.0", ['unload("lib")'])
        with pytest.raises(ModuleError, match=r"lib/1\.0"):
            take_from(lmod, str(tmp_path), "lib/1.0", "breaker/1.0")

    def test_modules_that_others_swap_or_make_inactive_are_told_together(self, lmod: Lmod, tmp_path: Path) -> None:
        below = tmp_path / "below"
        core = tmp_path / "core"
        write(below, "inner/1.0", ['setenv("INNER", "1")'])
        write(core, "outer/1.0", [f'prepend_path("MODULEPATH", "{below}")'])
        write(core, "tool/1.0", ['setenv("TOOL", "1")'])
        write(core, "tool/2.0", ['setenv("TOOL", "2")'])
        write(core, "lib/1.0", ['setenv("LIB", "1")'])
        write(core, "lib/1.0-bare", ['setenv("LIB", "2")'])
        swaps = ['unload("tool")', 'load("tool/2.0")', 'unload("lib")', 'load("lib/1.0-bare")']
        write(core, "breaker/1.0", [*swaps, f'remove_path("MODULEPATH", "{below}")'])
        with pytest.raises(ModuleError) as caught:
            take_from(lmod, str(core), "tool/1.0", "outer/1.0", "inner/1.0", "lib/1.0", "breaker/1.0")
        lines = [line.strip() for line in caught.value.what.splitlines()]
        assert "tool/1.0 was asked for and tool/2.0 is loaded instead" in lines
        assert "inner/1.0 was asked for and is inactive: a module after it took away the directory it is in" in lines
        assert "lib/1.0 was asked for and lib/1.0-bare is loaded instead" in lines
        assert "module show breaker/1.0" in caught.value.hint

    def test_modules_that_a_program_chooses_by_the_job_are_an_error_that_names_them(self, lmod: Lmod, tmp_path: Path) -> None:
        write(tmp_path, "lib/1.0", ['setenv("LIB", "1")'])
        write(tmp_path, "made/1.0", ['if capture("echo -n $SLURM_JOB_ID") ~= "" then load("lib/1.0") end'])
        with pytest.raises(ModuleError, match=r"different modules \(lib/1\.0\)"):
            take_from(lmod, str(tmp_path), "made/1.0")


def test_a_resolve_starts_a_walk_a_question_and_two_loads(lmod: Lmod, site: Site, started: list[tuple[str, ...]]) -> None:
    take(lmod, site, site.names["python-scientific"])
    assert [Path(argv[0]).name for argv in started] == ["spider", "lmod", "lmod", "lmod"]
    assert [argv[1:3] for argv in started[1:]] == [("bash", "is-avail"), ("bash", "load"), ("bash", "load")]


def test_the_functions_of_a_module_are_captured(lmod: Lmod, site: Site) -> None:
    assert "conda" in take(lmod, site, "conda/latest").shell.functions


class TestRecapture:
    def test_an_unchanged_site_is_compared_by_one_process_without_a_word(
        self, lmod: Lmod, site: Site, started: list[tuple[str, ...]]
    ) -> None:
        for short in ("python-scientific", "gcc"):
            captured = take(lmod, site, site.names.get(short, "gcc/11.3.0"))
            started.clear()
            modules, reading, base = recapture(lmod, captured.load, [site.roots["ozstar"]])
            assert differences(captured.change, captured.modules, reading, base) == []
            assert [module.name for module in modules] == [module.name for module in captured.modules]
            assert len(started) == 1

    def test_dynamic_variables_and_a_home_are_no_differences(self, lmod: Lmod, site: Site) -> None:
        for short in ("clock", "clock/2.0", "host", "job", "home"):
            captured = take(lmod, site, site.names[short], tree="odd")
            _, reading, base = recapture(lmod, captured.load, [site.roots["odd"]])
            assert differences(captured.change, captured.modules, reading, base) == []

    def test_an_edited_script_behind_a_modulefile_is_seen(self, lmod: Lmod, private_site: Callable[[], Site]) -> None:
        mine = private_site()
        captured = take(lmod, mine, "sourced/1.0", tree="odd")
        script = mine.prefix / "odd" / "software" / "sourced" / "env.sh"
        script.write_text('export SOURCED_VALUE="edited"\nexport PATH="/other/bin:$PATH"\nexport MORE=1\n')
        _, reading, base = recapture(lmod, captured.load, [mine.roots["odd"]])
        assert differences(captured.change, captured.modules, reading, base) == [
            "MORE: not set by the locked modules, now '1'",
            "PATH: no longer has /sourced/bin",
            "PATH: now has /other/bin",
            "SOURCED_VALUE: locked 'as installed', now 'edited'",
        ]

    def test_a_module_read_from_another_file_is_seen(self, lmod: Lmod, site: Site) -> None:
        captured = take(lmod, site, "wrapped/1.0", tree="odd")
        _, reading, base = recapture(lmod, captured.load, [site.roots["overlay"], site.roots["odd"]])
        lines = differences(captured.change, captured.modules, reading, base)
        assert lines[0] == f"module wrapped/1.0 is now read from {site.roots['overlay']}/wrapped/1.0.lua"
        assert "WRAPPED_BY: not set by the locked modules, now 'the overlay'" in lines

    def test_a_module_that_is_gone_is_an_error(self, lmod: Lmod, site: Site) -> None:
        captured = take(lmod, site, "gcc/11.3.0")
        with pytest.raises(ModuleError, match=r"gcc/11\.3\.0"):
            recapture(lmod, captured.load, [site.roots["odd"]])


def test_a_capture_is_the_same_each_time(lmod: Lmod, site: Site) -> None:
    one, two = (take(lmod, site, site.names["python-scientific"]) for _ in range(2))
    assert dataclasses.asdict(one) == dataclasses.asdict(two)
