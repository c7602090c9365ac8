"""What Lmod 9.2.9 printed for two modulefiles, recorded: no Debian release has a Lmod 9.

The recordings are of a compiler that adds a directory and pushes CC away, an MPI below it that warns and has an effect, an
alias, a function and an empty entry of MANPATH, and of a module that is hidden with `kind="hard"`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from ozrepro.modulesystem.bookkeeping import asked_for, is_lua_data, module_table, pushed_away
from ozrepro.modulesystem.lmod import Lmod

RECORDED = Path(__file__).with_name("recorded")
CORE = "/opt/apps/modules/core"
NAMES = ("gcc/11.3.0", "openmpi/4.1.4")


@pytest.fixture
def lmod(tmp_path: Path) -> Lmod:
    """Give a program that prints what Lmod 9.2.9 printed."""
    for name, output, errors in (("lmod", "load.txt", "load-errors.txt"), ("spider", "spider.json", "")):
        lines = ["#!/bin/sh", f"cat '{RECORDED}/lmod-9.2.9-{output}'"]
        lines += [f"cat '{RECORDED}/lmod-9.2.9-{errors}' >&2"] if errors else []
        program = tmp_path / name
        program.write_text("\n".join((*lines, "")))
        program.chmod(0o755)
    (tmp_path / "Version.lua").write_text('function version() return "9.2.9" end\n')
    return Lmod(str(tmp_path / "lmod"))


def test_a_hidden_module_takes_no_other_from_the_index(lmod: Lmod) -> None:
    index = lmod.index([CORE])
    assert sorted(index.modules) == ["gcc/11.3.0", "openmpi/4.1.4"]
    assert index.chains("openmpi/4.1.4") == (("gcc/11.3.0",),)


def test_the_table_of_loaded_modules_with_its_long_strings_is_kept(lmod: Lmod) -> None:
    values = lmod.load(NAMES, {"PATH": "/usr/bin:/bin", "MODULEPATH": CORE}).values
    table = module_table(values)
    assert '[[prepend_path("MODULEPATH","/opt/apps/modules/gcc/11.3.0")]]' in table
    assert is_lua_data(table)
    assert asked_for(values) == list(NAMES)
    assert values["__LMOD_STACK_CC"] == pushed_away(None)


def test_variables_and_what_a_shell_gets_are_read_and_a_warning_stops_nothing(lmod: Lmod) -> None:
    found = lmod.load(NAMES, {"PATH": "/usr/bin:/bin", "MODULEPATH": CORE})
    assert found.values["EBROOTGCC"] == "/opt/apps/gcc 11"
    assert found.values["MANPATH"] == "/opt/apps/openmpi/man::"
    assert found.values["__LMOD_REF_COUNT_MANPATH"] == "/opt/apps/openmpi/man:1;:1"
    assert "openmpi 4.1.4 is deprecated" in found.messages
    assert dict(found.shell.aliases) == {"mpi": "mpirun -n 2"}
    assert list(found.shell.functions) == ["ranks"]
    assert (found.values["LOADEDMODULES"], found.effects) == (":".join(NAMES), ())
