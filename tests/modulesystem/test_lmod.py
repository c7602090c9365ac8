"""The binding against real Lmod and real modules: what is captured, what is refused, what a replay gives."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ozrepro.modulesystem.capture import Captured, capture, missing, with_parents
from ozrepro.modulesystem.change import is_bookkeeping, replay
from ozrepro.modulesystem.lmod import Lmod, ModuleError, base_modulepath, find_lmod
from tests.site import Site
from tests.site.odd import BYTES, VALUES

SCIPY = "SciPy-bundle/2022.05-foss-2022a"


def take(lmod: Lmod, site: Site, *names: str, trees: tuple[str, ...] = ("ozstar",)) -> Captured:
    """Capture modules of the site's trees."""
    folders = [site.roots[tree] for tree in trees]
    return capture(lmod, names, folders, lmod.index(folders))


def really_loaded(lmod: Lmod, captured: Captured, base: Mapping[str, str]) -> dict[str, str]:
    """Return what a real load makes of a base, without Lmod's own variables."""
    reading = lmod.load(captured.load, base)
    values = {name: value for name, value in {**base, **reading.values}.items() if name not in reading.deleted}
    return {name: value for name, value in values.items() if not is_bookkeeping(name)}


def replayed(captured: Captured, base: Mapping[str, str]) -> dict[str, str]:
    """Return what the replay makes of a base."""
    return {name: value for name, value in replay(captured.change, base).items() if not is_bookkeeping(name)}


class TestFinding:
    def test_lmod_is_found_by_its_variable_and_not_where_that_switches_it_off(self, site: Site) -> None:
        assert find_lmod({"LMOD_CMD": site.lmod_cmd}) == Lmod(site.lmod_cmd)
        assert find_lmod({"LMOD_CMD": ":"}) is None
        assert find_lmod({"LMOD_DIR": os.path.dirname(site.lmod_cmd)}) == Lmod(site.lmod_cmd)

    def test_it_says_its_version(self, lmod: Lmod, site: Site) -> None:
        assert lmod.version() == site.lmod_version

    def test_the_base_directories_are_those_from_before_anything_was_loaded(self, lmod: Lmod, site: Site) -> None:
        base = site.environ("ozstar")
        loaded = {**base, **lmod.load(["gcc/11.3.0"], base).values}
        assert loaded["MODULEPATH"] != base["MODULEPATH"]
        assert base_modulepath(loaded, ()) == (site.roots["ozstar"],)
        assert base_modulepath(loaded, ("/mine",)) == ("/mine",)


class TestNames:
    def test_a_loose_name_is_an_error_that_lists_candidates(self, lmod: Lmod, site: Site) -> None:
        index = lmod.index([site.roots["ozstar"]])
        version = site.names["python"].partition("/")[2]
        (line,) = missing([f"python/{version.rpartition('.')[0]}"], index)
        assert f"python/{version}" in line
        assert f"python/{version}-bare" in line
        assert missing([site.names["python"]], index) == []

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

    def test_modules_that_print_do_not_spoil_the_index(self, lmod: Lmod, site: Site) -> None:
        index = lmod.index([site.roots["odd"]])
        assert "odd-values/1.0" in index.modules
        assert "forged" not in index.modules

    def test_included_packages_are_found_by_name(self, lmod: Lmod, site: Site) -> None:
        index = lmod.index([site.roots["ozstar"]])
        name = site.names["python-scientific"]
        assert (name, site.packages[name]["numpy"] if name in site.packages else "") in index.providers("numpy") or any(
            module == name for module, _ in index.providers("numpy")
        )


class TestRefusals:
    def test_a_same_name_swap_is_an_error(self, lmod: Lmod, site: Site) -> None:
        with pytest.raises(ModuleError):
            take(lmod, site, "gcc/11.3.0", "gcc/12.2.0")

    def test_a_full_python_is_never_answered_by_its_bare_namesake(self, lmod: Lmod, private_site: Callable[[], Site]) -> None:
        mine = private_site()
        name = mine.names["python"]
        folders = [mine.roots["ozstar"]]
        index = lmod.index(folders)
        Path(index.modules[name][0].file).unlink()
        with pytest.raises(ModuleError):
            capture(lmod, [name], folders, index)
        (line,) = missing([name], lmod.index(folders))
        assert f"{name}-bare" in line

    def test_the_tool_s_own_message_comes_through(self, lmod: Lmod, site: Site) -> None:
        index = lmod.index([site.roots["odd"]])
        failing = next(name for name in index.modules if name.startswith("failing/"))
        with pytest.raises(ModuleError) as caught:
            take(lmod, site, failing, trees=("odd",))
        assert failing in str(caught.value)


class TestReplay:
    BASES = (
        {"PATH": "/usr/bin:/bin", "HOME": "/home/me"},
        {"PATH": "/mine:/usr/local/bin:/usr/bin", "HOME": "/h", "LD_LIBRARY_PATH": "/q:/r", "CC": "cc", "PYTHONPATH": "/p"},
    )

    @pytest.mark.parametrize("base", BASES)
    def test_the_easybuild_tree_replays_as_it_loads(self, lmod: Lmod, site: Site, base: dict[str, str]) -> None:
        captured = take(lmod, site, SCIPY, trees=("easybuild",))
        assert len(captured.modules) == 33
        base = {**base, "MODULEPATH": site.roots["easybuild"]}
        assert replayed(captured, base) == really_loaded(lmod, captured, base)

    @pytest.mark.parametrize("base", BASES)
    def test_the_ozstar_shaped_tree_replays_as_it_loads(self, lmod: Lmod, site: Site, base: dict[str, str]) -> None:
        captured = take(lmod, site, site.names["python-scientific"])
        base = {**base, "MODULEPATH": site.roots["ozstar"]}
        assert replayed(captured, base) == really_loaded(lmod, captured, base)

    def test_odd_values_come_through_exactly(self, lmod: Lmod, site: Site) -> None:
        captured = take(lmod, site, "odd-values/1.0", trees=("odd",))
        found = replayed(captured, {"PATH": "/usr/bin"})
        assert {name: found.get(name) for name in VALUES} == dict(VALUES)
        assert BYTES in take(lmod, site, "odd-bytes/1.0", trees=("odd",)).change.variables.values()

    def test_nothing_that_a_modulefile_prints_or_sets_is_executed(self, lmod: Lmod, site: Site, tmp_path: Path) -> None:
        for name in ("noisy/1.0", "noisy/2.0", "noisy/3.0", "odd-values/1.0"):
            if name in lmod.index([site.roots["odd"]]).modules:
                captured = take(lmod, site, name, trees=("odd",))
                assert "FORGED" not in captured.change.variables
        assert not (tmp_path / "executed").exists()


_FOLDERS = st.lists(st.from_regex(r"/[a-d]{1,2}", fullmatch=True), min_size=1, max_size=3, unique=True)
_LINES = st.lists(
    st.tuples(
        st.sampled_from(["setenv", "prepend_path", "append_path"]), st.sampled_from(["AA", "BB", "PATH"]), st.sampled_from("abcd")
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=_LINES, front=_FOLDERS, back=_FOLDERS)
def test_replay_equals_a_real_load_for_generated_modulefiles_and_bases(
    site: Site, tmp_path: Path, lines: list[tuple[str, str, str]], front: list[str], back: list[str]
) -> None:
    """A variable that one module both sets and prepends to is left out: Lmod's answer then depends on what was there."""
    lmod = Lmod(site.lmod_cmd)
    kinds: dict[str, set[str]] = {}
    for verb, name, _ in lines:
        kinds.setdefault(name, set()).add("set" if verb == "setenv" else "path")
    lines = [line for line in lines if len(kinds[line[1]]) == 1 and not (line[1] == "PATH" and "set" in kinds["PATH"])]
    folder = tmp_path / "made"
    folder.mkdir(exist_ok=True)
    (folder / "1.0.lua").write_text("".join(f'{verb}("{name}", "/{value}")\n' for verb, name, value in lines))
    captured = take_from(lmod, tmp_path)
    base = {"PATH": ":".join(("/usr/bin", *front)), "BB": ":".join(back), "HOME": "/h", "MODULEPATH": str(tmp_path)}
    assert replayed(captured, base) == really_loaded(lmod, captured, base)


def take_from(lmod: Lmod, folder: Path) -> Captured:
    """Capture the only module of a folder."""
    return capture(lmod, ["made/1.0"], [str(folder)], lmod.index([str(folder)]))
