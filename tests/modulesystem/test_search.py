"""Looking up modules: what is found, in which order, and that it is what Lmod's own spider says of each module of the site."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from ozrepro.modulesystem.capture import with_parents
from ozrepro.modulesystem.index import Index, IndexedModule
from ozrepro.modulesystem.lmod import Lmod
from ozrepro.modulesystem.search import Offer, Way, as_table, load_names, nothing, search, version_key
from tests.fake_cluster import Site

TREES = ("ozstar", "easybuild", "odd", "overlay")


def made(*modules: IndexedModule) -> Index:
    """Return an index of these modules."""
    names = dict.fromkeys(module.name for module in modules)
    return Index({name: tuple(module for module in modules if module.name == name) for name in names})


def module(name: str, *chains: str, has: tuple[str, ...] = (), hidden: bool = False) -> IndexedModule:
    """Return a module behind chains, each written as names with spaces between."""
    return IndexedModule(name, f"/m/{name}/{'+'.join(chains)}.lua", tuple(tuple(chain.split()) for chain in chains), has, hidden)


def names(found: tuple[Offer, ...]) -> list[str]:
    """Return the full names that were found."""
    return [offer.name for offer in found]


SMALL = made(
    module("gcc/9.3.0"),
    module("gcc/11.3.0"),
    module("Python/3.10.4", "gcc/11.3.0", has=("pip/22.0.4", "zope.interface/5.4.0")),
    module("python/3.10.4", "gcc/11.3.0", has=("pip/22.0.4",)),
    module("python/3.10.4-bare", "gcc/11.3.0"),
    module("python/3.9.1", "gcc/9.3.0", has=("Zope_Interface/5.0.0", "a-package-without-version")),
    module("shy/.1.0", hidden=True, has=("numpy/1.0",)),
)


class TestVersions:
    @pytest.mark.parametrize(
        "ordered",
        [
            ["4.1.4", "4.1.10"],
            ["1.0dev1", "1.0a1", "1.0b2", "1.0rc1", "1.0", "1.0.1"],
            ["3.10.4", "3.10.4-bare", "3.10.4-foss-2022a", "3.10.13"],
            ["2021b", "2022", "2022a", "2022b"],
            ["latest", "1.0"],
        ],
    )
    def test_versions_are_sorted_as_people_read_them(self, ordered: list[str]) -> None:
        assert sorted(set(ordered), key=version_key) == ordered

    def test_a_list_is_sorted_by_name_and_then_by_version(self) -> None:
        assert names(search(SMALL)) == [
            "gcc/9.3.0",
            "gcc/11.3.0",
            "Python/3.10.4",
            "python/3.9.1",
            "python/3.10.4",
            "python/3.10.4-bare",
        ]


class TestPatterns:
    def test_a_pattern_is_a_part_of_the_name_in_any_case(self) -> None:
        assert names(search(SMALL, "YTHON/3.10")) == ["Python/3.10.4", "python/3.10.4", "python/3.10.4-bare"]

    def test_an_exact_name_finds_that_module_alone(self) -> None:
        assert names(search(SMALL, "python/3.10.4")) == ["python/3.10.4"]

    def test_hidden_modules_are_found_only_when_asked_for(self) -> None:
        assert search(SMALL, "shy/.1.0") == ()
        found = search(SMALL, "shy/.1.0", hidden=True)
        assert [(offer.name, offer.hidden) for offer in found] == [("shy/.1.0", True)]
        assert nothing(SMALL, "shy", "")[1] == ("ozrepro", "spider", "shy", "--hidden")

    def test_bare_modules_are_marked(self) -> None:
        assert [offer.name for offer in search(SMALL) if offer.bare] == ["python/3.10.4-bare"]

    def test_a_modulefile_without_a_version_is_a_module(self) -> None:
        (found,) = search(made(module("texlive")), "tex")
        assert (found.short, found.version) == ("texlive", "")


class TestPackages:
    @pytest.mark.parametrize("written", ["zope.interface", "Zope-Interface", "ZOPE__interface"])
    def test_a_package_is_found_however_its_name_is_written(self, written: str) -> None:
        found = search(SMALL, package=written)
        assert [(offer.name, offer.versions_of(written)) for offer in found] == [
            ("Python/3.10.4", ("5.4.0",)),
            ("python/3.9.1", ("5.0.0",)),
        ]

    def test_a_search_for_a_package_can_be_combined_with_a_pattern(self) -> None:
        assert names(search(SMALL, "3.9", package="zope.interface")) == ["python/3.9.1"]
        assert search(SMALL, "gcc", package="pip") == ()

    def test_a_package_without_a_version_is_listed_without_one(self) -> None:
        assert search(SMALL, package="a-package-without-version")[0].versions_of("a_package_without_version") == ("",)

    def test_only_the_ways_to_a_module_that_have_the_package_are_given(self) -> None:
        index = made(
            module("gcc/1"),
            module("gcc/2"),
            module("py/1", "gcc/1", has=("numpy/1.22.3",)),
            module("py/1", "gcc/2", has=("scipy/1.8.1",)),
        )
        (found,) = search(index, package="numpy")
        assert found.ways == (Way(("gcc/1",), (("numpy", "1.22.3"),)),)
        assert len(search(index, "py/1")[0].ways) == 2

    def test_one_name_in_two_trees_is_one_way(self) -> None:
        (found,) = search(made(module("py/1", has=("a/1",)), IndexedModule("py/1", "/other/py/1.lua", (), ("b/2",))))
        assert found.ways == (Way((), (("a", "1"), ("b", "2"))),)


class TestALineForASpec:
    def test_parents_that_are_found_anyway_are_not_named(self) -> None:
        assert load_names(SMALL, "python/3.10.4", ("gcc/11.3.0",)) == ("python/3.10.4",)

    def test_of_several_ways_each_names_as_much_as_chooses_it(self) -> None:
        index = made(
            *(module(f"gcc/{number}") for number in (1, 2)),
            module("mpi/4", "gcc/1", "gcc/2"),
            module("mpi/5", "gcc/2"),
            module("hdf5/1", "gcc/1 mpi/4", "gcc/2 mpi/4", "gcc/2 mpi/5"),
        )
        assert [load_names(index, "hdf5/1", way.first) for way in search(index, "hdf5/1")[0].ways] == [
            ("gcc/1", "hdf5/1"),
            ("gcc/2", "mpi/4", "hdf5/1"),
            ("mpi/5", "hdf5/1"),
        ]

    @pytest.mark.parametrize("tree", TREES)
    def test_each_line_of_the_site_loads_by_its_way(self, lmod: Lmod, site: Site, tree: str) -> None:
        index = lmod.index([site.roots[tree]])
        for offer in search(index, hidden=True):
            for way in offer.ways:
                load = load_names(index, offer.name, way.first)
                assert with_parents(load, index) == (*way.first, offer.name)
                assert len(load) == 1 or len(offer.ways) > 1

    def test_the_json_of_a_module_has_its_line_for_a_spec(self) -> None:
        table = as_table(search(SMALL, "python/3.10.4")[0], SMALL)
        assert table["ways"] == [{"load_first": ["gcc/11.3.0"], "load": ["python/3.10.4"], "packages": {"pip": "22.0.4"}}]
        assert (table["name"], table["version"], table["bare"], table["hidden"]) == ("python", "3.10.4", False, False)


class TestNothing:
    @pytest.mark.parametrize(
        ("pattern", "package", "said", "command"),
        [
            ("pyhton", "", "no module's name has 'pyhton' in it; there are ", "ozrepro spider"),
            ("python/3.11", "", "there are python/3.10.4, python/3.10.4-bare, python/3.9.1", "ozrepro spider"),
            ("pip", "", "but there is such a package", "ozrepro spider --provides pip"),
            ("", "pipp", "'pipp'; there are pip", "ozrepro spider"),
            ("", "interface", "there are zope-interface", "ozrepro spider"),
            ("gcc", "pip", "no module with 'gcc' in its name has the package 'pip'", "ozrepro spider --provides pip"),
            ("", "numpy", "only hidden modules", "ozrepro spider --provides numpy --hidden"),
            ("qqqq", "", "no module's name has 'qqqq' in it", "ozrepro spider"),
        ],
    )
    def test_a_search_that_finds_nothing_names_near_names_and_the_next_command(
        self, pattern: str, package: str, said: str, command: str
    ) -> None:
        assert search(SMALL, pattern, package=package) == ()
        what, words = nothing(SMALL, pattern, package)
        assert said in what
        assert " ".join(words) == command

    def test_a_search_on_a_site_without_modules_says_so(self) -> None:
        assert "hold no module" in nothing(made(), "", "")[0]


class TestAgainstLmodItself:
    """What `module spider` prints, read as a person reads it, is what the index says."""

    @pytest.mark.parametrize("tree", TREES)
    def test_each_name_has_the_versions_that_lmod_lists(self, lmod: Lmod, site: Site, tree: str) -> None:
        offers = search(lmod.index([site.roots[tree]]))
        shorts = sorted({offer.short for offer in offers})
        with ThreadPoolExecutor(4) as pool:
            said = dict(zip(shorts, pool.map(lambda name: _spider(site, tree, name), shorts), strict=True))
        assert {short: _versions(text, short) for short, text in said.items()} == {
            short: {offer.name for offer in offers if offer.short == short} for short in shorts
        }

    @pytest.mark.parametrize("tree", TREES)
    def test_each_module_has_the_parents_and_packages_that_lmod_prints(self, lmod: Lmod, site: Site, tree: str) -> None:
        offers = search(lmod.index([site.roots[tree]]))
        assert offers
        with ThreadPoolExecutor(4) as pool:
            said = list(pool.map(lambda offer: _spider(site, tree, offer.name), offers))
        for offer, text in zip(offers, said, strict=True):
            assert {way.first for way in offer.ways} == _chains(text), offer.name
            assert {package for way in offer.ways for package in way.packages} == _packages(text), offer.name
        if tree != "odd" and tree != "overlay":
            assert any(_packages(text) for text in said)

    def test_what_lmod_hides_is_found_only_with_hidden(self, lmod: Lmod, site: Site) -> None:
        index = lmod.index([site.roots["odd"]])
        hidden = set(names(search(index, hidden=True))) - set(names(search(index)))
        assert hidden == {"shy/.1.0", "concealed/1.0"}
        for name in hidden:
            assert "Unable to find" in site.lmod("spider", name, trees=("odd",), strict=True).stderr


def _spider(site: Site, tree: str, name: str) -> str:
    done = site.lmod("spider", name, trees=(tree,), strict=True, environ={"LMOD_TERM_WIDTH": "100000"})
    assert name in done.stderr
    return done.stderr


def _versions(text: str, short: str) -> set[str]:
    """Return the full names below `Versions:`, or that of the heading where there is one version."""
    lines = [line.strip() for line in text.splitlines()]
    if "Versions:" not in lines:
        return {one[1] for line in lines if (one := re.fullmatch(rf"{re.escape(short)}: (\S+)", line))}
    found: set[str] = set()
    for line in lines[lines.index("Versions:") + 1 :]:
        if not line or " " in line:
            break
        found.add(line)
    return found


def _chains(text: str) -> set[tuple[str, ...]]:
    """Return the chains below the sentence on what must be loaded; the empty one where a module can be loaded directly."""
    lines = text.splitlines()
    found: set[tuple[str, ...]] = set()
    if any("This module can be loaded directly: " in line for line in lines):
        found.add(())
    for number, line in enumerate(lines):
        if "You will need to load all module(s) on any one of the lines below" in line:
            for chain in lines[number + 2 :]:
                # A package of the module's own name has its sentence right behind.
                if not chain.strip() or chain.strip().startswith("This extension is provided by"):
                    break
                found.add(tuple(chain.split()))
    return found


def _packages(text: str) -> set[tuple[str, str]]:
    """Return the packages below the sentence on the extensions."""
    found: set[tuple[str, str]] = set()
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if line.strip() == "This module provides the following extensions:":
            for row in lines[number + 2 :]:
                if not row.strip():
                    break
                items = (item.removesuffix(" (E)").strip() for item in row.split(","))
                found |= {(name, version) for item in items if item for name, _, version in (item.rpartition("/"),)}
    return found
