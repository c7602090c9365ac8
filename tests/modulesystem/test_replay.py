"""A replay gives what a real load gives, variable by variable, and Lmod can go on from there."""

from __future__ import annotations

from pathlib import Path

import pytest

from ozrepro.modulesystem.change import Change, read_change, replay
from ozrepro.modulesystem.lmod import Lmod
from ozrepro.project.checking import Checker
from ozrepro.project.toml import dumps, loads
from tests.fake_cluster import Site
from tests.fake_cluster.modulefiles import write
from tests.fake_cluster.odd import BYTES, HARMLESS, VALUES
from tests.modulesystem.replaying import after, ask, plain, really_loaded, replayed, take, take_from

SCIPY = "SciPy-bundle/2022.05-foss-2022a"
CLEAN = {"PATH": "/usr/bin:/bin", "HOME": "/home/me"}
PRESET = {
    "PATH": "/mine:/usr/local/bin:/usr/bin",
    "HOME": "/h",
    "LD_LIBRARY_PATH": "/q:/r",
    "CC": "cc",
    "CXX": "my g++",
    "PYTHONPATH": "/p",
    "MANPATH": "/man",
}
UNTIDY = {
    "PATH": "/bin:/usr/bin/:/usr/local/bin:/bin::/x//y/./z",
    "HOME": "/h",
    "LD_LIBRARY_PATH": "/q::/q:",
    "CPATH": "",
    "PYTHONPATH": ":",
    "MANPATH": ":/man",
    "APPENDED": "/last:~/mine",
    "ORDER_PATH": "/outer:/x:/inner",
}
BASES = [CLEAN, PRESET, UNTIDY]


def with_module_folder(base: dict[str, str], lmod: Lmod, names: tuple[str, ...]) -> dict[str, str]:
    """Return a base whose PATH has a directory of the modules already, in the middle."""
    first = really_loaded(lmod, names, base)["PATH"].split(":")[1]
    start, _, rest = base["PATH"].partition(":")
    return {**base, "PATH": f"{start}:{first}:{rest}"}


@pytest.mark.parametrize("tree", ["easybuild", "ozstar"])
@pytest.mark.parametrize("base", BASES, ids=["clean", "preset", "untidy"])
def test_a_toolchain_replays_as_it_loads_with_lmods_own_variables(
    lmod: Lmod, site: Site, tree: str, base: dict[str, str]
) -> None:
    name = SCIPY if tree == "easybuild" else site.names["python-scientific"]
    captured = take(lmod, site, name, tree=tree)
    assert len(captured.modules) == (33 if tree == "easybuild" else 4)
    start = {**base, "MODULEPATH": site.roots[tree]}
    assert replayed(captured, start) == really_loaded(lmod, captured.load, start)
    mixed = with_module_folder(start, lmod, captured.load)
    assert replayed(captured, mixed) == really_loaded(lmod, captured.load, mixed)


def test_only_what_follows_from_nothing_is_kept_of_lmods_own_variables(lmod: Lmod, site: Site) -> None:
    kept = take(lmod, site, SCIPY, tree="easybuild").change.bookkeeping
    assert sorted(kept) == ["MODULEPATH"]
    kept = take(lmod, site, site.names["python-scientific"]).change.bookkeeping
    assert {name for name in kept if not name.startswith("LMOD_FAMILY_")} == {"MODULEPATH"}


def follows_something(name: str) -> bool:
    """Say whether a module of the odd tree sets what follows the host or the clock."""
    return name.startswith(("clock", "host"))


@pytest.mark.parametrize("short", HARMLESS)
def test_each_odd_module_goes_through_a_lock_and_replays_as_it_loads(lmod: Lmod, site: Site, short: str) -> None:
    name = site.names[short]
    captured = take(lmod, site, name, tree="odd")
    assert bool(captured.change.dynamic) == follows_something(name)
    checker = Checker("lock")
    assert (
        read_change(checker, loads(dumps(captured.change.as_table())), ("change",), f"lmod {lmod.version()}") == captured.change
    )
    assert checker.mistakes == []
    for base in BASES:
        start = {**base, "MODULEPATH": site.roots["odd"]}
        real = really_loaded(lmod, captured.load, start)
        assert replayed(captured, start) == {key: value for key, value in real.items() if key not in captured.change.dynamic}


def test_odd_values_come_through_exactly(lmod: Lmod, site: Site) -> None:
    found = replayed(take(lmod, site, "odd-values/1.0", tree="odd"), {"PATH": "/usr/bin"})
    assert {name: found.get(name) for name in VALUES} == dict(VALUES)
    assert BYTES in take(lmod, site, "odd-bytes/1.0", tree="odd").change.variables.values()


def test_a_clock_of_whole_seconds_is_told_although_two_loads_agree(lmod: Lmod, site: Site) -> None:
    change = take(lmod, site, "clock/2.0", tree="odd").change
    assert change.dynamic == ("LOADED_AT",)
    assert "LOADED_AT" not in change.variables


def test_the_name_of_the_host_is_told_although_two_loads_agree(lmod: Lmod, site: Site) -> None:
    assert take(lmod, site, "host/1.0", tree="odd").change.dynamic == ("LOADED_ON",)


def test_what_is_removed_from_path_stays_where_it_stood_twice_and_goes_where_it_stood_once(lmod: Lmod, site: Site) -> None:
    captured = take(lmod, site, "remove/1.0", tree="odd")
    assert captured.change.paths["PATH"].dropped == ("/usr/local/bin",)
    for path in ("/usr/local/bin:/bin", "/usr/local/bin:/bin:/usr/local/bin", "/usr/local/bin", "/bin"):
        start = {"PATH": path, "HOME": "/h", "MODULEPATH": site.roots["odd"]}
        assert replayed(captured, start) == really_loaded(lmod, captured.load, start)


MIXED = {
    "a variable set and then prepended to": ['setenv("X", "/a")', 'prepend_path("X", "/b")'],
    "a variable prepended to and then set": ['prepend_path("X", "/b")', 'setenv("X", "/a")'],
    "a variable unset and then prepended to": ['unsetenv("X")', 'prepend_path("X", "/b")'],
    "a priority": ['prepend_path{"X", "/a", priority=10}', 'prepend_path("X", "/b")'],
    "an entry twice in one line": ['prepend_path("X", "/a:/b:/a")'],
    "an entry put there and taken away": ['prepend_path("X", "/a")', 'remove_path("X", "/a")'],
    "an empty entry": ['prepend_path("X", "")', 'append_path("X", "/z")'],
    "an empty entry beside one, as Spack writes it": [
        'prepend_path("MANPATH", "/a/man", ":")',
        'append_path("MANPATH", "", ":")',
    ],
    "an empty entry alone": ['append_path("MANPATH", "", ":")'],
    "an empty entry and spaces": ['append_path("X", "", " ")', 'prepend_path("X", "-O2", " ")'],
    "PATH set": ['setenv("PATH", "/only")'],
    "PATH set to more than it was": ['setenv("PATH", os.getenv("PATH") .. ":/more")'],
    "a pushed value under the home": ['pushenv("PUSHED", pathJoin(os.getenv("HOME"), "x"))'],
    "a value pushed as unset": ['pushenv("PUSHED", false)'],
    "two values pushed": ['pushenv("PUSHED", "a")', 'pushenv("PUSHED", "b~~~???")'],
    "a value set and then pushed": ['setenv("PUSHED", "a")', 'pushenv("PUSHED", "b")'],
    "a family": ['family("compiler")'],
}


@pytest.mark.parametrize("lines", MIXED.values(), ids=MIXED.keys())
def test_unusual_ways_to_change_a_variable_replay_as_they_load(lmod: Lmod, tmp_path: Path, lines: list[str]) -> None:
    write(tmp_path, "made/1.0", lines)
    captured = take_from(lmod, str(tmp_path), "made/1.0")
    assert captured.change.dynamic == ()
    for base in ({"PATH": "/usr/bin"}, {"PATH": "/usr/bin:/q", "X": "/q:/r:/q", "PUSHED": "~~~???"}):
        start = {**base, "HOME": "/h", "MODULEPATH": str(tmp_path)}
        there, real = replayed(captured, start), really_loaded(lmod, captured.load, start)
        assert there == real
        assert plain(after(there, ask(lmod, there, "purge"))) == plain(after(real, ask(lmod, real, "purge")))


def test_entries_under_the_home_follow_it_and_those_of_modulepath_are_left_out_and_named(lmod: Lmod, tmp_path: Path) -> None:
    home = 'pathJoin(os.getenv("HOME"), "x")'
    write(tmp_path, "made/1.0", [f'prepend_path("{name}", {home})' for name in ("PATH", "MODULEPATH", "OTHER")])
    captured = take_from(lmod, str(tmp_path), "made/1.0")
    assert captured.change.dynamic == ("MODULEPATH",)
    base = {"PATH": "/bin:/h/x", "HOME": "/h/", "MODULEPATH": str(tmp_path)}
    there, real = replayed(captured, base), really_loaded(lmod, captured.load, base)
    for name in ("PATH", "OTHER", "__LMOD_REF_COUNT_PATH", "__LMOD_REF_COUNT_OTHER"):
        assert there[name] == real[name]
    assert there["MODULEPATH"] == str(tmp_path)


class TestGoingOn:
    """A shell or a job goes on with real Lmod where a replay ended."""

    @pytest.mark.parametrize("base", [CLEAN, PRESET], ids=["clean", "preset"])
    @pytest.mark.parametrize("tree", ["easybuild", "ozstar"])
    def test_purge_gives_back_the_base(self, lmod: Lmod, site: Site, tree: str, base: dict[str, str]) -> None:
        name = SCIPY if tree == "easybuild" else site.names["python-scientific"]
        captured = take(lmod, site, name, tree=tree)
        start = {**base, "MODULEPATH": site.roots[tree]}
        there = replayed(captured, start)
        assert plain(after(there, ask(lmod, there, "purge"))) == start
        # A directory that was there before stays, where loading has put it: real Lmod does not move it back.
        mixed = with_module_folder(start, lmod, captured.load)
        there = replayed(captured, mixed)
        left = plain(after(there, ask(lmod, there, "purge")))
        assert sorted(left.pop("PATH").split(":")) == sorted(mixed.pop("PATH").split(":"))
        assert left == mixed

    def test_purge_gives_back_what_was_pushed_away(self, lmod: Lmod, site: Site) -> None:
        captured = take(lmod, site, site.names["unset"], tree="odd")
        start = {"PATH": "/bin", "HOME": "/h", "CXX": "my g++", "MODULEPATH": site.roots["odd"]}
        there = replayed(captured, start)
        assert there["CXX"] == "g++-site"
        assert plain(after(there, ask(lmod, there, "purge"))) == start

    def test_list_names_the_modules_and_a_further_load_and_an_unload_work(self, lmod: Lmod, site: Site) -> None:
        captured = take(lmod, site, site.names["python-scientific"])
        start = {**PRESET, "MODULEPATH": site.roots["ozstar"]}
        there = replayed(captured, start)
        said = ask(lmod, there, "-t", "list").messages
        assert [line for line in said.split() if "/" in line] == [module.name for module in captured.modules]
        more = after(there, ask(lmod, there, "load", site.names["pyyaml"]))
        assert more == really_loaded(lmod, [*captured.load, site.names["pyyaml"]], start)
        less = after(more, ask(lmod, more, "unload", site.names["pyyaml"]))
        assert plain(less) == plain(there)

    def test_a_replay_that_went_through_a_lock_serves_as_well(self, lmod: Lmod, site: Site) -> None:
        captured = take(lmod, site, site.names["python-scientific"])
        change = read_change(Checker("lock"), loads(dumps(captured.change.as_table())), (), f"lmod {lmod.version()}")
        start = {**CLEAN, "MODULEPATH": site.roots["ozstar"]}
        there = replay(change, start, captured.modules)
        assert plain(after(there, ask(lmod, there, "purge"))) == start

    def test_without_a_table_lmod_lists_nothing_and_does_not_complain(self, lmod: Lmod) -> None:
        there = replay(Change({"A": "1"}), {"PATH": "/bin", "HOME": "/h", "MODULEPATH": "/nowhere"})
        assert "No modules loaded" in ask(lmod, there, "list").messages
