"""Which module tool a machine's users have, by what their shells say."""

from __future__ import annotations

from pathlib import Path

import pytest

from ozrepro.modulesystem import tools


@pytest.fixture
def both(tmp_path: Path) -> dict[str, str]:
    """Give the variables of a shell in which both tools were started."""
    lmod, tcl = tmp_path / "lmod" / "libexec" / "lmod", tmp_path / "tcl" / "libexec" / "modulecmd.tcl"
    for path in (lmod, tcl):
        path.parent.mkdir(parents=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
    return {"LMOD_CMD": str(lmod), "MODULES_CMD": str(tcl)}


def kind(environ: dict[str, str], wanted: str = "") -> str | None:
    """Return the kind of the tool that is taken."""
    system = tools.find(environ, wanted)
    return system.kind if system is not None else None


def test_a_shell_with_one_module_tool_uses_that(both: dict[str, str]) -> None:
    assert kind({"LMOD_CMD": both["LMOD_CMD"]}) == "lmod"
    assert kind({"MODULES_CMD": both["MODULES_CMD"]}) == "tcl"
    assert kind({**both, "LMOD_CMD": ":"}) == "tcl"


@pytest.mark.parametrize(
    ("more", "taken"),
    [
        ({"BASH_FUNC_module%%": '() {  eval "$($LMOD_CMD bash "$@")"\n}'}, "lmod"),
        ({"BASH_FUNC_module%%": '() {  _module_raw "$@" 2>&1\n}'}, "tcl"),
        ({"BASH_FUNC__module_raw%%": "() {  eval `/usr/bin/tclsh /x/libexec/modulecmd.tcl bash $@`\n}"}, "tcl"),
        ({"_ModuleTable_Sz_": "1"}, "lmod"),
        ({"__MODULES_LMPREREQ": "a&b"}, "tcl"),
        ({"MODULESHOME": "/usr/share/lmod/lmod"}, "lmod"),
        ({"MODULESHOME": "/usr/share/modules"}, "tcl"),
    ],
)
def test_of_two_module_tools_the_one_that_module_calls_is_taken(both: dict[str, str], more: dict[str, str], taken: str) -> None:
    assert kind({**both, **more}) == taken


@pytest.mark.parametrize("wanted", ["lmod", "tcl"])
def test_a_setting_decides_between_two_module_tools(both: dict[str, str], wanted: str) -> None:
    assert kind({**both, "BASH_FUNC_module%%": "() {  _module_raw\n}"}, wanted) == wanted


def test_no_tool_is_taken_where_the_wanted_one_is_absent(both: dict[str, str]) -> None:
    assert kind({"LMOD_CMD": both["LMOD_CMD"], "MODULES_CMD": "/nowhere"}, "tcl") is None


def test_another_module_tool_is_told_where_the_shell_or_a_lock_names_it(both: dict[str, str]) -> None:
    only_tcl = {"MODULES_CMD": both["MODULES_CMD"], "LMOD_CMD": ":"}
    other = tools.other_than("lmod", only_tcl)
    assert other is not None
    assert other.kind == "tcl"
    assert tools.other_than("tcl", only_tcl) is None
    assert tools.other_than("tcl", {**both, "BASH_FUNC_module%%": "() {  _module_raw\n}"}) is None
    assert tools.other_than("tcl", both, "lmod") is not None
    assert tools.other_than("tcl", {"LMOD_CMD": ":", "MODULES_CMD": "/nowhere"}) is None, "no tool is none other"
