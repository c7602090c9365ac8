"""What a modulefile's text is seen to read."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ozrepro.modulesystem.lmod import Lmod
from ozrepro.modulesystem.texts import MADE, read_lua, read_tcl, texts_of


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ('local a = os.getenv("RSNT_ARCH") or "avx2"', {"RSNT_ARCH"}),
        ("local a = os.getenv 'SCRATCH'", {"SCRATCH"}),
        ('local getenv = os.getenv; setenv("A", getenv("PROJECT"))', {"PROJECT"}),
        ('-- os.getenv("COMMENTED")', set()),
        ('--[==[ os.getenv("COMMENTED") ]==] setenv("A", "--" .. os.getenv("B"))', {"B"}),
        ('help([[ set os.getenv("HELPED") ]])', set()),
        ('if os.getenv("PATH") or os.getenv("LD_LIBRARY_PATH") or os.getenv("LMOD_CMD") then end', set()),
    ],
)
def test_the_variables_that_a_lua_file_names_are_found(line: str, names: set[str]) -> None:
    assert read_lua(line).names == names


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("setenv A $env(SCRATCH)/x", {"SCRATCH"}),
        ("setenv A $::env(SCRATCH)/x", {"SCRATCH"}),
        ("if {[info exists env(OMP_NUM_THREADS)]} {}", {"OMP_NUM_THREADS"}),
        ("setenv A [getenv PROJECT none]", {"PROJECT"}),
        ("  # setenv A $env(COMMENTED)", set()),
    ],
)
def test_the_variables_that_a_tcl_file_names_are_found(line: str, names: set[str]) -> None:
    assert read_tcl(f"#%Module1.0\n{line}\n").names == names


def test_names_that_are_put_together_are_told_and_words_that_may_be_names_are_guessed() -> None:
    lua = read_lua('for _, v in ipairs({"SCRATCH", "PROJECT", "x"}) do setenv("OUT_" .. v, os.getenv(v) or "") end')
    assert not lua.names
    assert lua.guessed >= {"SCRATCH", "PROJECT"}
    assert lua.unfollowed == (MADE,)
    tcl = read_tcl("foreach v {SCRATCH PROJECT} { setenv OUT $env($v) }")
    assert not tcl.names
    assert tcl.guessed >= {"SCRATCH", "PROJECT"}
    assert tcl.unfollowed == (MADE,)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('local h = capture("hostname -s"):gsub("%s", "")', "runs 'hostname -s'"),
        ("local h = (subprocess and subprocess('uname -n') or '')", "runs 'uname -n'"),
        ('local f = io.popen("id -gn")', "runs 'id -gn'"),
        ("capture(cmd)", "runs a program (capture)"),
        ('setenv("T", os.time())', "asks the clock"),
        ('if userInGroup("root") then end', "asks for the groups of the user"),
        ('local f = io.open("/etc/cluster")', "reads a file"),
    ],
)
def test_what_a_lua_file_asks_that_cannot_be_followed_is_named(text: str, said: str) -> None:
    assert read_lua(text).unfollowed == (said,)
    assert read_lua(f"help([[{text}]])").unfollowed == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("set h [exec uname -n]", "runs 'uname -n'"),
        ('system "echo hi"', "runs '\"echo hi\"'"),
        ("set p [open |hostname]", "runs a program"),
        ("setenv T [clock seconds]", "asks the clock"),
        ("setenv H [info hostname]", "asks for the host"),
        ("setenv P [pid]", "asks for the number of the process"),
    ],
)
def test_what_a_tcl_file_asks_that_cannot_be_followed_is_named(text: str, said: str) -> None:
    assert said in read_tcl(text).unfollowed


def test_what_values_are_compared_with_is_found() -> None:
    lua = 'if a == "avx512" or "old" ~= a or a:match("^sky") or n > 4 then end\nlocal t = {milan = "m", ["rome"] = "r"}; x = t[a]'
    assert read_lua(lua).literals == ("avx512", "old", "sky", "milan", "rome", "4", "5")
    tcl = 'if {$a eq "avx512" || [string match sky* $a]} {}\nswitch $a {\n  milan { }\n  default { }\n}\n'
    assert read_tcl(tcl).literals == ("avx512", "sky", "milan", "default")


def test_the_names_in_a_script_that_is_sourced_are_guessed(tmp_path: Path) -> None:
    script = tmp_path / "env.sh"
    script.write_text("export DATA=${SCRATCH:-/tmp}/$PROJECT\n")
    lua, tcl = tmp_path / "1.lua", tmp_path / "1"
    lua.write_text(f'source_sh("bash", "{script} --quiet")\n')
    tcl.write_text(f"#%Module\nsource-sh bash {script}\n")
    found = texts_of([str(lua), str(tcl), str(tmp_path / "gone.lua")], Lmod("").read_text)
    assert [text.guessed for text in found.values()] == [{"SCRATCH", "PROJECT"}, {"SCRATCH", "PROJECT"}, set()]


@given(st.text())
def test_any_text_of_a_modulefile_is_read_without_an_error(text: str) -> None:
    read_lua(text)
    read_tcl(text)
