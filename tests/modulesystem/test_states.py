"""What modulefiles read of a caller: found by real loads, followed by a replay as by a load in the caller's own bash."""

from __future__ import annotations

import itertools
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ozrepro.environment import BASE_PATH, Environment, is_inherited
from ozrepro.modulesystem import ModuleError
from ozrepro.modulesystem.bookkeeping import is_bookkeeping
from ozrepro.modulesystem.capture import Asked, Captured, capture
from ozrepro.modulesystem.change import Change, read_change, replay
from ozrepro.modulesystem.following import Case
from ozrepro.modulesystem.lmod import Lmod
from ozrepro.modulesystem.reads import Reads, ReadsContent
from ozrepro.modulesystem.record import Record
from ozrepro.modulesystem.shell import ShellParts
from ozrepro.project.checking import Checker
from ozrepro.project.reader import read_table
from ozrepro.project.toml import dumps, loads
from tests.fake_cluster import Site
from tests.fake_cluster.modulefiles import write
from tests.modulesystem.replaying import really_loaded, take_from

NAMES = ("SCRATCH", "PROJECT", "OMP_NUM_THREADS", "SLURM_CPUS_PER_TASK")
CLEAN = {"PATH": ":".join(BASE_PATH), "HOME": "/home/me", "USER": "me", "LOGNAME": "me"}
CALLERS = [
    CLEAN,
    {**CLEAN, "SCRATCH": "/scratch/me", "PROJECT": "oz123", "OMP_NUM_THREADS": "8", "SLURM_CPUS_PER_TASK": "4"},
    {**CLEAN, "SCRATCH": "", "PROJECT": "oz 1$x", "USER": "you", "HOME": "/home/you"},
]
FOLLOWED = {
    "kept": ['if os.getenv("OMP_NUM_THREADS") == nil then setenv("OMP_NUM_THREADS", "1") end'],
    "copied": ['setenv("OMP_NUM_THREADS", os.getenv("SLURM_CPUS_PER_TASK") or "1")'],
    "joined": ['setenv("CACHE", pathJoin(os.getenv("SCRATCH") or "/tmp", "cache"))'],
    "blank": ['local s = os.getenv("SCRATCH")', 'if s == nil or s == "" then s = "/tmp" end', 'setenv("S", s)'],
    "two": ['setenv("DATA", (os.getenv("SCRATCH") or "/g") .. "/" .. (os.getenv("PROJECT") or "none") .. "/" .. os.getenv("USER"))'],
    "entries": [
        'prepend_path("PATH", pathJoin(os.getenv("SCRATCH") or "/opt", "bin"))',
        'if os.getenv("PROJECT") then append_path("LIBS", "/g/" .. os.getenv("PROJECT")) end',
        'append_path("LIBS", "/fixed$x")',
        'prepend_path("LIBS", "~/lib")',
    ],
    "both": ['if os.getenv("SCRATCH") and os.getenv("PROJECT") then setenv("BOTH", "1") end'],
    "job": ['if os.getenv("SLURM_JOB_ID") then setenv("JOBDIR", "/jobfs/" .. os.getenv("SLURM_JOB_ID")) else setenv("JOBDIR", "/tmp") end'],
    "user": ['setenv("CACHE", "/scratch/" .. (os.getenv("USER") or "x") .. "/cache")', 'setenv("CONF", os.getenv("HOME") .. "/.c")'],
    "unset": ['if os.getenv("PROJECT") then unsetenv("PROJECT") end'],
    "idle": ['local x = os.getenv("NOTHING_OF_IT")', 'setenv("A", "1")'],
}  # fmt: skip
TCL = """#%Module1.0
if {![info exists env(OMP_NUM_THREADS)]} { setenv OMP_NUM_THREADS 1 }
if {[info exists ::env(SCRATCH)]} { prepend-path PATH $::env(SCRATCH)/mine } else { prepend-path PATH /opt/bin }
setenv CACHE $env(HOME)/.cache
foreach v {PROJECT} { if {[info exists env($v)]} { setenv OUT_$v $env($v)/x } }
"""


def plain(variables: dict[str, str]) -> dict[str, str]:
    """Return an environment without the tool's own variables."""
    return {name: value for name, value in variables.items() if not is_bookkeeping(name)}


def tidy(variables: dict[str, str]) -> dict[str, str]:
    """Return an environment in which no slash is doubled: Lmod tidies entries, a replay what it puts into them."""
    return {name: value.replace("//", "/") for name, value in variables.items()}


def in_bash(lmod: Lmod, folder: str, name: str, caller: dict[str, str]) -> dict[str, str]:
    """Return what a caller's bash has after `module load`, without what bash and the tool's own file set."""
    text = f'. {lmod.init_file("bash")} >/dev/null 2>&1; export MODULEPATH="$0"; module load "$1" && exec env -0'
    words = ["bash", "--noprofile", "--norc", "-c", text, folder, name]
    done = subprocess.run(words, env=caller, capture_output=True, text=True, check=True)
    found = dict(entry.partition("=")[::2] for entry in done.stdout.split("\0") if entry)
    started = {"_", "SHLVL", "PWD", "MODULESHOME", "FPATH", "BASH_ENV", "MANPATH"}
    keep = plain(found).items()
    return {key: value for key, value in keep if key not in started and not key.startswith(("BASH_FUNC_", "LMOD_"))}


def run_in(captured: Captured, caller: dict[str, str]) -> dict[str, str]:
    """Return what a locked run gives a program, as the lock that `captured` goes into says."""
    record = Record("lmod", "", (), captured.load, (), captured.modules, (), (), captured.change, captured.shell,
                    captured.reads)  # fmt: skip
    environment = Environment(
        path=record.front(),
        base=record.behind(),
        variables=record.fixed(),
        following=record.following(),
        removed=record.change.removed,
        passed=record.asked(),
    )
    return plain(environment.variables_for(caller))


@pytest.mark.parametrize("short", [*FOLLOWED, "tcl"])
def test_what_follows_the_caller_is_in_a_run_as_in_the_caller_s_own_bash(lmod: Lmod, tmp_path: Path, short: str) -> None:
    write(tmp_path, f"{short}/1.0", FOLLOWED.get(short, []))
    if short == "tcl":
        (tmp_path / "tcl" / "1.0.lua").unlink()
        (tmp_path / "tcl" / "1.0").write_text(TCL)
    captured = take_from(lmod, str(tmp_path), f"{short}/1.0")
    assert captured.change.dynamic == ()
    checker = Checker("lock")
    tool = f"lmod {lmod.version()}"
    assert read_change(checker, loads(dumps(captured.change.as_table())), ("change",), tool) == captured.change
    assert checker.mistakes == []
    for caller in CALLERS if short != "job" else [*CALLERS[:2], {**CLEAN, "SLURM_JOB_ID": "7"}]:
        real = in_bash(lmod, str(tmp_path), f"{short}/1.0", caller)
        start = {**caller, "MODULEPATH": str(tmp_path)}
        assert plain(replay(captured.change, start, captured.modules)) == real
        found = run_in(captured, caller)
        asked = {name for cases in captured.change.follow.values() for case in cases for name in case.asks()}
        dropped = {name for name in caller if name not in asked and not is_inherited(name)} - {"PATH"}
        assert found == {name: value for name, value in real.items() if name not in dropped}


_VARIABLE = st.sampled_from(NAMES)
_TARGET = st.sampled_from(["AA", "BB", "OMP_NUM_THREADS"])
_PATHS = st.sampled_from(["PATH", "LIBS"])
_LINES = st.one_of(
    st.builds('if os.getenv("{0}") == nil then setenv("{0}", "1") end'.format, _VARIABLE),
    st.builds('setenv("{0}", pathJoin(os.getenv("{1}") or "/tmp", "x"))'.format, _TARGET, _VARIABLE),
    st.builds('prepend_path("{0}", pathJoin("/p", os.getenv("{1}") or "none"))'.format, _PATHS, _VARIABLE),
    st.builds('if os.getenv("{1}") then append_path("{0}", "/a/" .. os.getenv("{1}")) end'.format, _PATHS, _VARIABLE),
    st.builds('setenv("{0}", "/s/" .. os.getenv("USER") .. os.getenv("HOME"))'.format, _TARGET),
    st.builds('if not os.getenv("{0}") and os.getenv("{1}") then unsetenv("{1}") end'.format, _VARIABLE, _VARIABLE),
)
_CALLER = st.fixed_dictionaries(
    {"HOME": st.sampled_from(["/h", "/home/me"]), "USER": st.sampled_from(["me", "you"]), "PATH": st.just("/usr/bin:/x")},
    optional={name: st.sampled_from(["", "8", "/scratch/me", "oz 1"]) for name in NAMES},
)
_number = itertools.count()


@settings(max_examples=4, phases=[Phase.generate], deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(_LINES, min_size=1, max_size=3, unique=True), callers=st.lists(_CALLER, min_size=3, max_size=3))
def test_a_replay_equals_a_real_load_for_generated_modulefiles_and_callers(
    site: Site, tmp_path: Path, lines: list[str], callers: list[dict[str, str]]
) -> None:
    lmod, folder = Lmod(site.lmod_cmd), tmp_path / str(next(_number))
    write(folder, "made/1.0", lines)
    try:
        captured = take_from(lmod, str(folder), "made/1.0")
    except ModuleError as error:
        assert "decide what the modules load or set" in str(error), "told, where it cannot be followed"
        return
    for caller in callers:
        start = {**caller, "MODULEPATH": str(folder)}
        replayed, real = replay(captured.change, start, captured.modules), really_loaded(lmod, captured.load, start)
        assert tidy(plain(replayed)) == tidy(plain(real))


class TestOutcomes:
    def told(self, captured: Captured) -> str:
        return "\n".join(captured.reads.lines(captured.change.follow))

    def test_each_outcome_of_what_a_module_reads_is_told(self, lmod: Lmod, tmp_path: Path) -> None:
        for short in ("kept", "joined", "idle"):
            write(tmp_path, f"{short}/1.0", FOLLOWED[short])
        captured = take_from(lmod, str(tmp_path), "kept/1.0", "joined/1.0", "idle/1.0")
        assert self.told(captured).splitlines() == [
            "the modules set OMP_NUM_THREADS only where the caller has not: its value stays",
            "follow variables of who starts the session: CACHE (SCRATCH)",
            "the modules read NOTHING_OF_IT, which was not seen to change anything",
        ]

    @pytest.mark.parametrize(
        ("name", "lines"),
        [
            ("RSNT_ARCH", ['if os.getenv("RSNT_ARCH") == "avx512" then setenv("FAST", "1") end']),
            ("CLUSTER", ['local t = { milan = "zn3" }', 'setenv("A", t[os.getenv("CLUSTER") or "x"] or "generic")']),
            ("PROJECT", ['if os.getenv("PROJECT") then load("other/1.0") end']),
            ("SLURM_CPUS_PER_TASK", ['if tonumber(os.getenv("SLURM_CPUS_PER_TASK") or "1") > 4 then setenv("MANY", "1") end']),
            ("SCRATCH", ['setenv("TOP", (os.getenv("SCRATCH") or "/a/b"):match("^/([^/]*)") or "none")']),
            ("PROJECT", ['setenv("UP", (os.getenv("PROJECT") or "x"):upper())']),
        ],
    )
    def test_a_value_that_decides_is_refused_with_the_line_to_add_and_locked_where_it_is_named(
        self, lmod: Lmod, tmp_path: Path, name: str, lines: list[str]
    ) -> None:
        write(tmp_path, "made/1.0", lines)
        write(tmp_path, "other/1.0", ['setenv("OTHER", "1")'])
        with pytest.raises(ModuleError, match=f"{name}, read by made/1.0") as caught:
            take_from(lmod, str(tmp_path), "made/1.0")
        assert (
            caught.value.hint
            == f'to lock their values here, add to [tool.ozrepro] of pyproject.toml: site-variables = ["{name}"]'
        )
        for value in ("8", None):
            given = {name: value} if value else {}
            tool, asked = lmod.given(given), Asked({name: value}, frozenset({name}))
            captured = capture(tool, ["made/1.0"], [str(tmp_path)], lmod.index([str(tmp_path)]), asked)
            assert captured.reads.site == {name: value}
            start = {**CLEAN, **given, "MODULEPATH": str(tmp_path)}
            assert plain(replay(captured.change, start, captured.modules)) == plain(really_loaded(lmod, captured.load, start))

    def test_a_module_that_loads_only_in_a_job_is_locked_with_that(self, lmod: Lmod, tmp_path: Path) -> None:
        lines = ['if os.getenv("SLURMD_NODENAME") == nil then LmodError("only on a compute node") end']
        write(tmp_path, "made/1.0", [*lines, 'setenv("NODE", os.getenv("SLURMD_NODENAME"))'])
        captured = take_from(lmod, str(tmp_path), "made/1.0")
        assert captured.reads.needed == ("SLURMD_NODENAME",)
        assert captured.reads.drift({})[0].startswith("SLURMD_NODENAME is not set, and the modules were locked with it")
        remedy = "start it where SLURMD_NODENAME is set, as inside a job; locking again does not help"
        assert (captured.reads.remedy({}), captured.reads.remedy({"SLURMD_NODENAME": "n7"})) == (remedy, None)
        assert replay(captured.change, {"SLURMD_NODENAME": "n7"})["NODE"] == "n7"

    def test_a_module_that_refuses_by_more_than_variables_is_to_be_looked_at(self, lmod: Lmod, tmp_path: Path) -> None:
        write(tmp_path, "made/1.0", ['if capture("uname -n") ~= "n7" then LmodError("only on a compute node") end'])
        with pytest.raises(ModuleError, match="only on a compute node") as caught:
            take_from(lmod, str(tmp_path), "made/1.0")
        assert caught.value.hint == "module show made/1.0, for what it asks; ozrepro loads it without a job's variables"

    def test_a_load_that_fails_by_a_value_names_what_the_modulefiles_read(self, lmod: Lmod, tmp_path: Path) -> None:
        write(tmp_path, "made/1.0", ['if os.getenv("RSNT_ARCH") ~= "avx2" then LmodError("unknown arch") end'])
        with pytest.raises(ModuleError, match="unknown arch") as caught:
            take_from(lmod, str(tmp_path), "made/1.0")
        assert "read RSNT_ARCH" in caught.value.what
        assert 'site-variables = ["RSNT_ARCH"]' in caught.value.hint

    def test_what_cannot_be_followed_is_named_with_its_module(self, lmod: Lmod, tmp_path: Path) -> None:
        host = ['local h = capture("hostname -s"):gsub("%s", "")', 'setenv("NODETYPE", h:match("^zz") and "zz" or "other")']
        write(tmp_path, "host/1.0", host)
        write(tmp_path, "user/1.0", ['if os.getenv("USER") == "root" then setenv("ROOT", "1") end'])
        captured = take_from(lmod, str(tmp_path), "host/1.0", "user/1.0")
        assert captured.reads.unfollowed == {"host/1.0": ("runs 'hostname -s'",), "user/1.0": ("compares USER",)}
        assert "host/1.0 runs 'hostname -s': what that gives cannot be followed" in self.told(captured)


def test_a_stranger_s_lock_lets_no_variable_in_that_changes_a_program() -> None:
    case = Case(("PYTHONPATH", "SCRATCH"), "${LD_PRELOAD}${PATH}")
    change, reads = Change(follow={"A": (case,)}), Reads({"PYTHONSTARTUP": "x"}, ("BASH_ENV", "JOB"))
    record = Record("lmod 8.6.19", "", (), (), (), (), (), (), change, ShellParts(), reads)
    assert record.asked() == ("JOB", "SCRATCH")


class TestReads:
    READS = Reads({"ARCH": "avx2", "NONE": None}, ("JOB",), ("IDLE",), {"host/1.0": ("runs 'hostname'",)})

    def test_what_a_module_reads_goes_through_a_lock_unchanged(self) -> None:
        checker = Checker("lock")
        assert read_table(checker, ReadsContent, loads(dumps(self.READS.as_table())), ("reads",)).reads() == self.READS
        assert checker.mistakes == []
        assert Reads().as_table() == {}

    @pytest.mark.parametrize(
        ("table", "problem"),
        [
            ({"other": 1}, "unknown key"),
            ({"site": 1}, "reads.site"),
            ({"site": {"a b": "x"}}, "is not a variable name"),
            ({"site": {"A": "x"}, "site-unset": ["A"]}, "is among site-unset too"),
            ({"needed": ["$x"]}, "is not a variable name"),
            ({"unfollowed": {"a": 1}}, "reads.unfollowed.a"),
        ],
    )
    def test_what_is_wrong_in_a_stranger_s_lock_is_told(self, table: object, problem: str) -> None:
        checker = Checker("lock")
        read_table(checker, ReadsContent, table, ("reads",))
        assert problem in "\n".join(checker.mistakes)

    def test_what_a_caller_has_otherwise_is_told_with_both_values(self) -> None:
        assert self.READS.drift({"ARCH": "avx2", "JOB": ""}) == []
        assert self.READS.drift({"ARCH": "avx512", "NONE": "1"}) == [
            "ARCH is 'avx512', locked is 'avx2': export it as it was, or lock again",
            "JOB is not set, and the modules were locked with it: they do not load without",
            "NONE is '1', locked is not set: export it as it was, or lock again",
        ]
