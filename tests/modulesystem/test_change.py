"""The change that modules make, as a value: through the lock, out of a stranger's lock, and from two probes."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ozrepro.modulesystem import LoadedModule
from ozrepro.modulesystem.bookkeeping import is_bookkeeping, is_lua_data, module_table, table_variables
from ozrepro.modulesystem.change import Change, PathChange, read_change, replay
from ozrepro.modulesystem.differences import differences
from ozrepro.modulesystem.following import Case, fill, parts_of, path_table, template
from ozrepro.modulesystem.paths import LMOD, LMOD_8_7_22, counts_in, counts_text, regular, separator_of, split
from ozrepro.modulesystem.probes import Moment, Probes, change_between, path_variables, second_base
from ozrepro.modulesystem.reading import Reading
from ozrepro.project.checking import Checker
from ozrepro.project.toml import dumps, loads

_T = TypeVar("_T")
_NAMES = st.from_regex(r"[A-Z][A-Z0-9]{0,6}", fullmatch=True)
_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
_BYTES = st.binary(max_size=6).filter(lambda text: 0 not in text).map(lambda text: text.decode("utf-8", "surrogateescape"))
_FOLDERS = st.lists(st.from_regex(r"/[a-z ]{1,6}", fullmatch=True), max_size=3, unique=True).map(tuple)
_TIDY = st.lists(st.from_regex(r"/[a-z]{1,3}", fullmatch=True), max_size=4, unique=True).map(tuple)
_COUNTS = st.dictionaries(_TEXT, st.sampled_from([0, 2, 3]), max_size=2)
_PATHS = st.builds(PathChange, _FOLDERS, _FOLDERS, st.sampled_from([":", ";", " "]), _FOLDERS, _COUNTS)
_OWN = st.sampled_from(["MODULEPATH", "LMOD_FAMILY_MPI", "__LMOD_STACK_CXX", "__LMOD_Priority_PATH"])
_TABLES = st.sampled_from([(), ("_ModuleTable_ = {", "version = 3,", 'mT = {["a-b"] = {fn = "/x\\"y",},},', "}")])
_SORTED = st.lists(_NAMES, max_size=2, unique=True).map(sorted).map(tuple)


def escaped(text: str) -> str:
    """Return a text as the template that stands for it."""
    return template(text, {})


_ASKED = st.lists(_NAMES | _NAMES.map("{}:".format), max_size=2).map(tuple)
_TEMPLATES = st.one_of(_TEXT.map(escaped), _NAMES.map("a${{{}}}b".format))
_CASES = st.one_of(
    st.builds(Case, _ASKED, _TEMPLATES),
    st.builds(Case, _ASKED, path=_PATHS.filter(path_table)),
    st.builds(Case, _ASKED, removed=st.booleans()),
)
_CHANGES = st.builds(
    Change,
    st.dictionaries(_NAMES, st.one_of(_TEXT, _BYTES), max_size=3),
    st.dictionaries(_NAMES, st.lists(_CASES, min_size=1, max_size=3).map(tuple), max_size=2),
    st.dictionaries(_NAMES, _PATHS, max_size=3),
    _SORTED,
    _SORTED,
    st.dictionaries(_OWN, _TEXT, max_size=2),
    _TABLES,
    st.sampled_from([512, 256]),
)

_KEYS = st.one_of(_TEXT, st.sampled_from(["set", "path", "follow", "value", "unset", "table", "bookkeeping", "counts", "A"]))
_ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), _TEXT),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=3),
    max_leaves=8,
)


@given(_TEXT, _TEXT, _NAMES)
def test_a_template_comes_to_the_text_that_it_was_made_of(before: str, behind: str, name: str) -> None:
    mark = "\N{SNOWMAN}mark"
    made = template(f"{before}{mark}{behind}", {name: mark})
    assert fill(made, {name: mark}) == f"{before}{mark}{behind}"
    assert parts_of(made) == (before, name, behind)


@given(_CHANGES)
def test_a_change_goes_through_the_lock_unchanged(change: Change) -> None:
    checker = Checker("lock")
    assert read_change(checker, loads(dumps(change.as_table())), ("change",)) == change
    assert checker.mistakes == []


def _backwards(table: Mapping[str, _T]) -> dict[str, _T]:
    return dict(reversed(list(table.items())))


@given(_CHANGES)
def test_a_change_is_written_the_same_in_whatever_order_it_was_found(change: Change) -> None:
    other = Change(_backwards(change.variables), change.follow, _backwards(change.paths))
    same = Change(change.variables, change.follow, change.paths)
    assert dumps(other.as_table()) == dumps(same.as_table())


def test_an_empty_change_is_an_empty_table() -> None:
    assert Change().as_table() == {}
    assert read_change(Checker("lock"), {}, ()) == Change()


def coded(text: str) -> dict[str, str]:
    """Return the bookkeeping in which a text would reach Lmod."""
    return table_variables(text)


class TestHostileLocks:
    WRONG: tuple[tuple[Any, str], ...] = (
        ("text", "change: is a string"),
        ({"unknown": 1}, "change.unknown: unknown key"),
        ({"set": ["A"]}, "change.set: is not a table"),
        ({"set": {"A": 1}}, "change.set.A: is not a string"),
        ({"set": {"A": "x\0y"}}, "change.set.A: holds a NUL"),
        ({"set": {"BASH_FUNC_ls%%": "() { x; }"}}, "change.set.BASH_FUNC_ls%%: is not a variable name"),
        ({"set": {"A B": ""}}, "change.set.A B: is not a variable name"),
        ({"set": {"": ""}}, "is not a variable name"),
        ({"set": {"A\n": ""}}, "is not a variable name"),
        ({"set": {"Ä": ""}}, "is not a variable name"),
        ({"set": {"_ModuleTable001_": "eA=="}}, "is a variable of the module tool's own"),
        ({"follow": {"_ModuleTable_Sz_": []}}, "is a variable of the module tool's own"),
        ({"path": {"__LMOD_REF_COUNT_PATH": {}}}, "is a variable of the module tool's own"),
        ({"unset": ["MODULEPATH"]}, "change.unset[0]: is a variable of the module tool's own"),
        ({"unset": ["A=B"]}, "change.unset[0]: is not a variable name"),
        ({"unset": "A"}, "change.unset: is not an array"),
        ({"dynamic": ["A=B"]}, "change.dynamic[0]: is not a variable name"),
        ({"dynamic": [""]}, "change.dynamic[0]: is not a variable name"),
        ({"dynamic": ["A\x1b[2J"]}, "change.dynamic[0]: is not a variable name"),
        ({"bytes": {"A": "no base64!"}}, "change.bytes.A: is not base64"),
        ({"bytes": {"A": base64.b64encode(b"a\0b").decode()}}, "change.bytes.A: holds a NUL"),
        ({"follow": {"A": "x"}}, "change.follow.A: is not an array"),
        ({"follow": {"A": [{"value": 1}]}}, "change.follow.A[0].value: is not a string"),
        ({"follow": {"A": [{"set": ["x y"]}]}}, "change.follow.A[0].set: 'x y' is not a variable name"),
        ({"follow": {"A": [{"unset": True, "value": "x"}]}}, "change.follow.A[0].unset: cannot be combined with a value"),
        ({"follow": {"A": [{"other": 1}]}}, "unknown key"),
        ({"path": {"A": []}}, "change.path.A: is an array"),
        ({"path": {"A": {"more": 1}}}, "change.path.A.more: unknown key"),
        ({"path": {"A": {"prepend": ["/x\0"]}}}, "change.path.A.prepend[0]: holds a NUL"),
        ({"path": {"A": {"separator": ""}}}, "change.path.A.separator: is not a separator"),
        ({"path": {"A": {"separator": "\n"}}}, "change.path.A.separator: is not a separator"),
        ({"path": {"A": {"separator": "a long one"}}}, "change.path.A.separator: is not a separator"),
        ({"path": {"A": {"counts": {"/x": 10**9}}}}, "change.path.A.counts./x: is not a whole number"),
        ({"path": {"A": {"counts": {"/x": -1}}}}, "is not a whole number"),
        ({"path": {"A": {"counts": {"/x": True}}}}, "is not a whole number"),
        ({"path": {"A": {"counts": {"/x": 1.5}}}}, "is not a whole number"),
        ({"path": {"A": {"counts": []}}}, "change.path.A.counts: is not a table"),
        ({"piece": 0}, "change.piece: is not a whole number"),
        ({"bookkeeping": {"LD_PRELOAD": "/x.so"}}, "change.bookkeeping.LD_PRELOAD: is not a variable of the module tool's own"),
        ({"bookkeeping": {"LMOD_CMD": "/tmp/lmod"}}, "is not a variable of the module tool's own"),
        ({"bookkeeping": {"__LMOD_x y": "1"}}, "is not a variable of the module tool's own"),
        ({"bookkeeping": {"_ModuleTable_": "os.exit()"}}, "is not a table of plain values"),
        ({"bookkeeping": {"_ModuleTable001_": "eA=="}}, "is not a table of plain values"),
        ({"bookkeeping": coded('_ModuleTable_ = {a = os.execute("x"),}')}, "is not a table of plain values"),
        ({"bookkeeping": {**coded("_ModuleTable_ = {}"), "_ModuleTable_more": "x"}}, "is not a table of plain values"),
        ({"table": ["_ModuleTable_ = {", "a = os.exit(),", "}"]}, "change.table: is not a table of plain values"),
        ({"table": ["x"]}, "change.table: is not a table of plain values"),
        ({"table": [1]}, "change.table[0]: is not a string"),
    )

    @pytest.mark.parametrize(("table", "problem"), WRONG)
    def test_a_mistake_in_a_locked_change_is_told_with_its_place(self, table: Any, problem: str) -> None:
        checker = Checker("lock")
        found = read_change(checker, table, ("change",))
        assert len(checker.mistakes) >= 1
        assert problem in checker.mistakes[0]
        assert found.table == ()
        assert not any(name.startswith("_Mod") for name in found.bookkeeping)
        assert all("\0" not in value for value in found.variables.values())

    def test_locked_values_may_hold_control_characters(self) -> None:
        checker = Checker("lock")
        value = "a\nb\x1b[0m\x7f\t\r"
        assert read_change(checker, {"set": {"A": value}}, ()).variables == {"A": value}
        assert checker.mistakes == []

    @given(_ANYTHING)
    def test_any_locked_value_is_read_without_an_exception(self, value: Any) -> None:
        replay(read_change(Checker("lock"), value, ("change",)), {"PATH": "/bin"})


class TestTheTableAsData:
    GOOD = (
        '_ModuleTable_ = {[[prepend_path("MODULEPATH","/x")]]}',
        "_ModuleTable_ = {a = [=[x]] os.exit() [[]=], b = [==[\n]==], c = [[]]}",
        "_ModuleTable_ = {}",
        '_ModuleTable_ = {a = 1, b = "x\\"y", ["c-d"] = {1, 2.5, -3; "z"}, e = true, f = nil, _g = {},}\n',
        '_ModuleTable_ = {\n["a"] = "os.execute(1) -- ]] ",\n}',
    )
    BAD = (
        "",
        "_ModuleTable_ = ",
        "_ModuleTable_ = {",
        "_ModuleTable_ = {} os.exit()",
        "_ModuleTable_ = {} x = 1",
        "os = {}",
        "_ModuleTable_ = os",
        "_ModuleTable_ = {a = os}",
        "_ModuleTable_ = {a = os.getenv}",
        "_ModuleTable_ = {a = f{}}",
        '_ModuleTable_ = {a = f"x"}',
        '_ModuleTable_ = {"x":rep(9)}',
        '_ModuleTable_ = {("x"):rep(9)}',
        "_ModuleTable_ = {[f()] = 1}",
        "_ModuleTable_ = {[a] = 1}",
        "_ModuleTable_ = {function() end}",
        "_ModuleTable_ = {a = 1 + 1}",
        '_ModuleTable_ = {a = "x".."y"}',
        "_ModuleTable_ = {a = 1} --[[",
        "_ModuleTable_ = {[[text]]()}",
        "_ModuleTable_ = {[[text]] .. [[more]]}",
        "_ModuleTable_ = {[=[x]]}",
        "_ModuleTable_ = {[==[x]=]}",
        "_ModuleTable_ = {[[a]] os.exit() [[b]]}",
        "_ModuleTable_ = {a = [[x]]:rep(9)}",
        "_ModuleTable_ = {[[x]] = 1}",
        "_ModuleTable_ = {a = 'x'}",
        '_ModuleTable_ = {a = "x\n"}',
        "_ModuleTable_ = {1 2}",
        "_ModuleTable_ = {a = 0x10}",
        "_ModuleTable_ = {,}",
        "_ModuleTable_ = {}}",
        "_ModuleTable_ = {a = }",
        "_ModuleTable_ == {}",
        "_ModuleTable_ = " + "{" * 500 + "}" * 500,
    )

    @pytest.mark.parametrize("text", GOOD)
    def test_a_lua_table_of_plain_values_is_read_as_data(self, text: str) -> None:
        assert is_lua_data(text)

    @pytest.mark.parametrize("text", BAD)
    def test_a_lua_table_of_anything_but_plain_values_is_refused(self, text: str) -> None:
        assert not is_lua_data(text)

    @given(st.text(max_size=30))
    def test_any_text_is_judged_as_a_lua_table_without_an_exception(self, text: str) -> None:
        is_lua_data(text)
        is_lua_data("_ModuleTable_ = {" + text)

    @given(st.binary(max_size=600), st.integers(1, 600))
    def test_the_pieces_of_a_table_give_the_table(self, content: bytes, piece: int) -> None:
        text = content.decode("utf-8", "surrogateescape")
        assert module_table(table_variables(text, piece)) == text

    def test_a_table_that_python_and_lmod_would_decode_otherwise_is_refused(self) -> None:
        assert module_table({"_ModuleTable_Sz_": "1", "_ModuleTable001_": base64.b64encode(b"~~~???").decode()}) == ""


class TestPaths:
    @given(_TIDY, _TIDY, _TIDY)
    def test_replaying_a_path_twice_changes_nothing_more(
        self, prepend: tuple[str, ...], append: tuple[str, ...], base: tuple[str, ...]
    ) -> None:
        change = PathChange(prepend, tuple(entry for entry in append if entry not in prepend))
        once = change.apply(":".join(base))
        assert change.apply(once) == once
        kept = [entry for entry in base if entry not in (*prepend, *append)]
        assert [entry for entry in once.split(":") if entry in kept] == kept

    @given(st.lists(st.text(st.characters(codec="ascii", exclude_characters=":\0"), max_size=8), max_size=5))
    def test_any_path_is_split_into_entries_as_lmod_writes_them(self, entries: list[str]) -> None:
        once = split(":".join(entries), ":", "/h")
        assert all("//" not in entry.removesuffix("//") for entry in once)
        assert len(once) <= len(entries)

    @pytest.mark.parametrize(
        ("entry", "written"),
        [("/a//b/./c/", "/a/b/c"), (" /a ", "/a"), ("~/x", "/h/x"), ("./x", "x"), (".", "."), ("/", ""), ("/tex//", "/tex//")],
    )
    def test_an_entry_is_cleaned_as_lmod_cleans_it(self, entry: str, written: str) -> None:
        assert regular(entry, "/h") == written

    def test_an_entry_of_the_base_is_dropped_once_and_put_back_where_it_is_put(self) -> None:
        assert PathChange(dropped=("/b",)).apply("/a:/b:/c") == "/a:/c"
        assert PathChange(("/b",), dropped=("/b",), counts={"/b": 0}).entries("/a:/b") == [("/b", 1), ("/a", 1)]

    @given(st.dictionaries(st.from_regex(r"[/a-z;]{1,5}", fullmatch=True), st.integers(1, 99), max_size=4))
    def test_the_counts_of_path_entries_are_read_as_they_are_written(self, counts: dict[str, int]) -> None:
        assert counts_in(counts_text(counts.items())) == counts

    @pytest.mark.parametrize("mark", [":", ";", " ", ",", "%"])
    def test_the_separator_is_found_by_the_entries_that_are_counted(self, mark: str) -> None:
        assert separator_of(f"/a{mark}/b{mark}{mark}/c", "/a:1;/b:2;/c:1") == mark


def probed(first: dict[str, str], one: dict[str, str], two: dict[str, str], moment: Moment | None = None) -> Change:
    """Return the change that two loads with these results show."""
    left = Reading(one, frozenset())
    right = Reading(two, frozenset())
    return change_between(Probes(first, left, second_base(first, left), right, moment=moment or Moment()))


class TestProbes:
    def test_values_that_follow_the_home_are_kept_in_parts_and_other_differences_flagged(self) -> None:
        first = {"HOME": "/ozrepro/home/one", "PATH": "/usr/bin"}
        one = Reading({"FIXED": "1", "CACHE": "/ozrepro/home/one/.cache", "JOB": "a", "ONLY": "1"}, frozenset({"GONE"}))
        second = second_base(first, one)
        two = Reading({"FIXED": "1", "CACHE": "/Oz-Home/Two/.cache", "JOB": "b"}, frozenset({"GONE"}))
        change = change_between(Probes(first, one, second, two))
        assert change.variables == {"FIXED": "1"}
        assert change.follow == {"CACHE": (Case(value="${HOME}/.cache"),)}
        assert change.dynamic == ("JOB", "ONLY")
        assert change.removed == ("GONE",)
        assert replay(change, {"HOME": "/home/me", "GONE": "x", "JOB": "mine"}) == {
            "HOME": "/home/me",
            "FIXED": "1",
            "CACHE": "/home/me/.cache",
        }

    @pytest.mark.parametrize(
        ("value", "is_dynamic"),
        [
            ("node7", True),
            ("on node7.cluster.org", True),
            ("/scratch/node7/x", True),
            ("node77", False),
            ("my-node7", False),
            ("1795532564", True),
            ("t=1795532565.25", True),
            ("1795532566", False),
            ("91795532564", False),
            ("localhost", False),
        ],
    )
    def test_the_host_and_the_second_make_a_value_dynamic(self, value: str, is_dynamic: bool) -> None:
        first = {"HOME": "/ozrepro/home/one", "PATH": "/bin"}
        moment = Moment("node7.cluster.org", 1795532564.9, 1795532565.1)
        change = probed(first, {"A": value}, {"A": value}, moment)
        assert change.dynamic == (("A",) if is_dynamic else ())
        assert ("A" in change.variables) is not is_dynamic

    def test_a_host_without_a_name_makes_nothing_dynamic(self) -> None:
        first = {"HOME": "/ozrepro/home/one", "PATH": "/bin"}
        assert probed(first, {"A": "localhost"}, {"A": "localhost"}, Moment("localhost", 0, 1)).dynamic == ()

    def test_a_path_keeps_what_is_the_same_everywhere(self) -> None:
        first = {"HOME": "/ozrepro/home/one", "PATH": "/bin"}
        one = "/m:/jobs/1:/bin:/end"
        two = "/m:/jobs/2:/ozrepro/sentinel:/bin:/end"
        counts = {"__LMOD_REF_COUNT_PATH": ";".join(f"{entry}:1" for entry in one.split(":"))}
        others = {"__LMOD_REF_COUNT_PATH": ";".join(f"{entry}:1" for entry in two.split(":"))}
        change = probed(first, {"PATH": one, **counts}, {"PATH": two, **others})
        assert change.paths["PATH"] == PathChange(("/m",), ("/end",))
        assert change.dynamic == ("PATH",)
        assert replay(change, {"PATH": "/x"})["PATH"] == "/m:/x:/end"

    def test_an_entry_of_a_path_follows_the_caller(self) -> None:
        first = {"HOME": "/ozrepro/home/one", "PATH": "/bin"}
        one, two = "/m$:/ozrepro/home/one/bin:/bin:ozuserone", "/m$:/Oz-Home/Two/bin:/ozrepro/sentinel:/bin:Second-User"
        change = probed(first, {"PATH": one}, {"PATH": two})
        assert change.follow == {"PATH": (Case(path=PathChange(("/m$$", "${HOME}/bin"), ("${USER}",))),)}
        assert change.dynamic == ()
        assert replay(change, {"PATH": "/x", "HOME": "/h/", "USER": "me"})["PATH"] == "/m$:/h/bin:/x:me"

    def test_a_part_that_is_taken_from_a_caller_s_value_is_seen(self) -> None:
        first = {"HOME": "/ozrepro/home/one", "PATH": "/bin"}
        one = {"A": "/ozrepro/home", "B": "OZUSERONE", "C": "/data/o/ozuserone"}
        two = {"A": "/Oz-Home", "B": "SECOND-USER", "C": "/data/S/Second-User"}
        assert probed(first, one, two).dynamic == ("A", "B", "C")

    def test_the_base_of_the_second_probe_has_the_sentinel_behind_the_right_separator(self) -> None:
        first = {"HOME": "/ozrepro/home/one", "PATH": "/bin", "FLAGS": "a b"}
        one = Reading({"FLAGS": "c a b", "__LMOD_REF_COUNT_FLAGS": "c:1;a:1;b:1"}, frozenset())
        assert path_variables(one) == {"FLAGS": " "}
        assert second_base(first, one)["FLAGS"] == "/ozrepro/sentinel a b"

    def test_a_variable_that_no_shell_can_have_is_left_out(self) -> None:
        first = {"HOME": "/ozrepro/home/one", "PATH": "/bin"}
        change = probed(first, {"BASH_FUNC_x%%": "() { :; }"}, {"BASH_FUNC_x%%": "() { :; }"})
        assert (change.variables, change.dynamic) == ({}, ("BASH_FUNC_x%%",))

    def test_a_table_in_pieces_of_another_length_is_cut_to_that_length_again(self) -> None:
        first = {"HOME": "/ozrepro/home/one", "PATH": "/bin"}
        own = table_variables("_ModuleTable_ = {\n" + "a = 1,\n" * 60 + "}\n", 256)
        change = probed(first, own, own)
        assert (change.piece, change.bookkeeping) == (256, {})
        assert replay(change, first) == {**first, **own}

    def test_a_table_that_is_a_program_is_left_out(self) -> None:
        first = {"HOME": "/ozrepro/home/one", "PATH": "/bin"}
        own = table_variables("_ModuleTable_ = os.exit()\n")
        assert replay(probed(first, own, own), first) == first

    def test_what_does_not_follow_lmod_8_s_form_is_kept_as_it_is(self) -> None:
        first = {"HOME": "/ozrepro/home/one", "PATH": "/bin"}
        own = {"LOADEDMODULES": "a/1;b/2", "MODULEPATH": "/m", "__LMOD_LATER": "9"}
        read = Reading(own, frozenset())
        change = change_between(Probes(first, read, first, read), [LoadedModule("a/1", "/m/a/1.lua")])
        result = replay(change, first, [LoadedModule("a/1", "/m/a/1.lua")])
        assert {name: value for name, value in result.items() if is_bookkeeping(name)} == own


def test_differences_are_told_variable_by_variable() -> None:
    base = {"PATH": "/bin", "HOME": "/h"}
    change = Change(
        {"FOO": "a", "GONE": "1", "SAME": "s"},
        {"CACHE": (Case(value="${HOME}/c"),)},
        {"PATH": PathChange(("/x", "/y"))},
        ("OFF",),
        ("CLOCK",),
    )
    modules = [LoadedModule("gcc/11.3.0", "/old/gcc/11.3.0.lua"), LoadedModule("b/1", "/b/1.lua")]
    values = {"FOO": "b", "SAME": "s", "CACHE": "/h/c", "PATH": "/y:/z:/bin", "CLOCK": "9", "NEW": "\x1b[2J", "OFF": "on"}
    own = {"LOADEDMODULES": "gcc/11.3.0:c/1", "_LMFILES_": "/other/gcc/11.3.0.lua:/c/1.lua"}
    assert differences(change, modules, Reading({**values, **own}, frozenset()), base) == [
        "module b/1 is no longer loaded",
        "module c/1 is loaded now, from /c/1.lua",
        "module gcc/11.3.0 is now read from /other/gcc/11.3.0.lua",
        "FOO: locked 'a', now 'b'",
        "GONE: locked '1', now not set",
        "NEW: not set by the locked modules, now '\\x1b[2J'",
        "OFF: not set by the locked modules, now 'on'",
        "PATH: no longer has /x",
        "PATH: now has /z",
    ]
    right = Reading({"FOO": "a", "GONE": "1", "SAME": "s", "CACHE": "/h/c", "PATH": "/x:/y:/bin"}, frozenset())
    assert differences(change, (), right, base) == []


@pytest.mark.parametrize(
    ("value", "older", "newer"),
    [
        ("/usr/bin:x:::/usr/bin", ["/usr/bin", "x", "", "", "/usr/bin"], ["/usr/bin", "x", "", "/usr/bin"]),
        (":::a", ["", "", "", "a"], ["", "", "a"]),
        ("a::b", ["a", "", "b"], ["a", "", "b"]),
        ("a::::b:::c", ["a", "", "", "", "b", "", "", "c"], ["a", "", "b", "", "c"]),
        ("a:::", ["a", ""], ["a", ""]),
    ],
)
def test_of_many_separators_in_a_row_a_newer_lmod_keeps_two(value: str, older: list[str], newer: list[str]) -> None:
    """As both print the counts of these values: 8.6.19 leaves empty entries uncounted, 8.7.60 counts two of `:::a`."""
    assert split(value, ":", rules=LMOD) == older
    assert split(value, ":", rules=LMOD_8_7_22) == newer
