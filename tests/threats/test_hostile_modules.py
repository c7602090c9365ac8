"""A lock with modules from someone else's repository: refused by every command, by the key's name, before anything runs."""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ozrepro.modulesystem.change import replay
from ozrepro.modulesystem.index import read_index
from ozrepro.modulesystem.lmod_output import read
from ozrepro.modulesystem.probes import MARKS, Probes, change_between, second_base
from ozrepro.project.toml import loads
from tests.fake_cluster.fixtures import site
from tests.methods.modules.modular import modular, quoted
from tests.threats.helpers import inside, make_project, outside
from tests.threats.locks import Hostile, edited
from tests.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Project
    from tests.fake_cluster import Site

    Table = dict[str, Any]

__all__ = ["site"]

COMMANDS = (("build", "work"), ("run", "work", "--", "true"))
BELL = "\x07"


def _section(lock: Table) -> Table:
    (section,) = lock["modules"].values()
    assert isinstance(section, dict)
    return section


def hostile(name: str, change: Callable[[Table], object], *words: str) -> Hostile:
    """Make a lock whose modules section was changed."""
    return Hostile(name, lambda text: edited(text, lambda lock: change(_section(lock))).encode(), words)


def _set(key: str, value: object) -> Callable[[Table], object]:
    return lambda section: section.update({key: value})


def _change(key: str, value: object) -> Callable[[Table], object]:
    return lambda section: section["change"].update({key: value})


def _module(key: str, value: object) -> Callable[[Table], object]:
    return lambda section: section["module"][0].update({key: value})


def _add_parent(section: Table, name: str) -> None:
    section["load"].insert(0, name)
    section["parents"].append(name)


def _sdist(section: Table) -> None:
    section["package"][0]["files"][0]["name"] = "alpha-1.0.tar.gz"


CALL = ["_ModuleTable_ = {", 'x = os.execute("touch $HOME/executed"),', "}"]
ALL = [
    hostile("unknown-key", _set("onload", "rm"), "onload", "unknown key"),
    hostile("tool-words", _set("tool", "lmod 8; rm -rf"), "tool"),
    hostile("tool-missing", lambda section: section.pop("tool"), "tool"),
    hostile("system-bell", _set("system", f"debian{BELL}"), "system", "U+0007"),
    hostile("python-relative", _set("python", "bin/python"), "python", "absolute path"),
    hostile("version-words", _set("version", "3.10.1; x"), "version"),
    hostile("version-other", _set("version", "2.7.18"), "version"),
    hostile("folders-relative", _set("folders", ["lib"]), "folders[0]"),
    hostile("flag-text", _set("system-site-packages", "yes"), "system-site-packages"),
    hostile("flag-other", _set("system-site-packages", False), "system-site-packages", "where the spec asks for True"),
    hostile("load-more", lambda section: section["load"].append("evil/1.0"), "load", "evil/1.0"),
    hostile("load-hidden-as-parent", lambda section: _add_parent(section, "evil/1.0"), "module", "evil/1.0"),
    hostile("load-less", lambda section: section["load"].pop(), "load"),
    hostile("no-modules", _set("module", []), "module"),
    hostile("modules-no-list", _set("module", "gcc"), "module"),
    hostile("module-number", _set("module", [1]), "module[0]"),
    hostile("module-relative", _module("file", "../gcc.lua"), "module[0].file", "absolute path"),
    hostile("module-two-files", _module("file", "/a.lua:/b.lua"), "module[0].file"),
    hostile("module-no-hash", _module("sha256", ""), "module[0].sha256"),
    hostile("module-short-hash", _module("sha256", "abc"), "module[0].sha256"),
    hostile("module-colon", _module("name", "a:b"), "module[0].name"),
    hostile("module-extra", _module("run", "x"), "module[0].run", "unknown key"),
    hostile("file-no-hash", lambda section: section["file"][0].pop("sha256"), "file[0]", "lacks sha256"),
    hostile("file-hidden", lambda section: section["file"][0].update(path="/x\u202ey"), "file[0].path"),
    hostile("set-odd-name", _change("set", {"BASH_FUNC_ls%%": "() { rm; }"}), "change.set", "is not a variable name"),
    hostile("set-equals", _change("set", {"A=B": "c"}), "change.set"),
    hostile("set-number", _change("set", {"A": 1}), "change.set.A"),
    hostile("set-nul", _change("set", {"A": "a\0b"}), "change.set.A", "NUL"),
    hostile("set-lmod", _change("set", {"_ModuleTable001_": "eA=="}), "change.set._ModuleTable001_"),
    hostile("bytes-no-base64", _change("bytes", {"A": "***"}), "change.bytes.A"),
    hostile("follow-no-list", _change("follow", {"A": "x"}), "change.follow.A"),
    hostile("path-separator", _change("path", {"A": {"separator": "\n"}}), "change.path.A.separator"),
    hostile("path-nul", _change("path", {"A": {"prepend": ["/x\0"]}}), "change.path.A.prepend"),
    hostile("path-counts", _change("path", {"A": {"counts": {"/x": 10**9}}}), "change.path.A.counts"),
    hostile("path-key", _change("path", {"A": {"exec": "x"}}), "change.path.A.exec", "unknown key"),
    hostile("table-calls", _change("table", CALL), "change.table", "Lmod would run it"),
    hostile("table-more", _change("table", ["_ModuleTable_ = {}", "os.exit()"]), "change.table"),
    hostile("table-other-name", _change("table", ["os = {}"]), "change.table"),
    hostile("bookkeeping-foreign", _change("bookkeeping", {"LD_PRELOAD": "/x.so"}), "change.bookkeeping.LD_PRELOAD"),
    hostile("bookkeeping-command", _change("bookkeeping", {"LMOD_CMD": "/x"}), "change.bookkeeping.LMOD_CMD"),
    hostile("shell-function", _set("shell", {"functions": {"a;b": "x"}}), "shell.functions"),
    hostile("shell-limit", _set("shell", {"limits": ["ulimit -c 0; rm x"]}), "shell.limits[0]"),
    hostile("package-built", lambda section: section["package"][0].update(built={"name": "x"}), "package[0].built"),
    hostile("package-unasked-sdist", _sdist, "alpha", "build"),
    hostile("pass-preload", _set("pass", ["LD_PRELOAD"]), "pass", "LD_PRELOAD"),
    hostile("imports-more", lambda section: section["imports"].append("os"), "imports"),
]


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory, site: Site) -> tuple[Project, str]:
    """Give a project on the test site, locked and not built, and the text of its good lock."""
    found = modular(make_project(tmp_path_factory.mktemp("locked")), site)
    make_wheel(found.project.wheelhouse, "alpha")
    load = quoted(site.names["python-scientific"])
    more = '[modules.venv]\nsystem-site-packages = true\nrequirements = ["alpha"]\n'
    found.project.spec(f'imports = ["numpy"]\n\n[modules]\nload = [{load}]\n{more}')
    found.project.done("lock", "work")
    return found.project, found.project.lock().read_text()


@pytest.mark.parametrize("case", ALL, ids=str)
def test_a_hostile_section_is_refused_by_name(locked: tuple[Project, str], case: Hostile) -> None:
    project, good = locked
    project.lock().write_bytes(case.make(good))
    for words in COMMANDS:
        said = inside(project, *words)
        said.refused("sessions/work.lock", *case.words)
        assert said.output == ""
    assert not (project.store() / "gens").exists()


def test_every_command_refuses_a_hostile_modules_section(locked: tuple[Project, str]) -> None:
    project, good = locked
    case = next(item for item in ALL if item.name == "table-calls")
    project.lock().write_bytes(case.make(good))
    for words in (*COMMANDS, ("diff", "work"), ("verify", "work"), ("status", "work"), ("lock", "work", "--check")):
        outside(project, *words).refused(*case.words)
    assert not os.path.exists(os.path.join(project.environ["HOME"], "executed"))
    project.done("lock", "work")
    assert project.lock().read_text() == good, "locking again mends it"


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/tty", "/proc/self/mem", "/"])
def test_a_modulefile_that_is_no_file_is_drift_and_read_to_no_end(locked: tuple[Project, str], path: str) -> None:
    project, good = locked
    table = loads(good)
    name = _section(table)["module"][0]["name"]
    case = hostile("device", _module("file", path), f"module {name}: {path}")
    project.lock().write_bytes(case.make(good))
    inside(project, "run", "work", "--", "true").refused(*case.words)


def test_a_pipe_as_a_modulefile_does_not_block(locked: tuple[Project, str], tmp_path: object) -> None:
    project, good = locked
    pipe = f"{tmp_path}/pipe"
    os.mkfifo(pipe)
    case = hostile("pipe", _module("file", pipe), "is not a regular file")
    project.lock().write_bytes(case.make(good))
    inside(project, "run", "work", "--", "true").refused(*case.words)


def test_a_planted_index_gives_no_other_module(locked: tuple[Project, str]) -> None:
    """Names come from the cached index, files and values from a real load: a forged cache cannot do worse than wrong names."""
    project, good = locked
    project.lock().unlink()
    (index,) = (project.store() / "cache").glob("*/modules/index-*.json")
    index.write_text(index.read_text().replace("gcc/11.3.0.lua", "gcc/99.lua"))
    project.done("lock", "work")
    assert project.lock().read_text() == good
    index.chmod(0o666)
    said = replace(project).ozrepro("lock", "work")
    assert said.returncode == 0


_SHELL_TEXT = st.lists(
    st.one_of(
        st.text(max_size=20),
        st.sampled_from(
            ["export ", "A=1;\n", "export A;\n", "f () { ", "; \n};\n", "alias a=", "unset A;\n", "\\", "'", '"', "$(touch x)"]
        ),
        st.sampled_from(
            ["`touch x`", '[[ -n "${BASH_VERSION:-}" ]] && ', "complete ", "_ModuleTable_Sz_=1;\nexport _ModuleTable_Sz_;\n"]
        ),
        st.sampled_from(
            ["LOADEDMODULES=a/1;\nexport LOADEDMODULES;\n", "\0", "\x1b[31m", "\udcff", "ulimit -s ", "umask 7", "\nfalse\n"]
        ),
    ),
    max_size=12,
).map("".join)


@pytest.mark.slow
@settings(max_examples=5_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_SHELL_TEXT)
def test_whatever_lmod_prints_is_data(text: str) -> None:
    """No traceback, nothing of it run, and each reading is one that a lock can be made of."""
    reading = read(text, text)
    first = {"PATH": "/usr/bin", "HOME": MARKS[0]["HOME"]}
    change = change_between(Probes(first, reading, second_base(first, reading), reading))
    replay(change, first)
    change.as_table()
    assert not any(name.startswith("-") for name in reading.shell.functions)
    with contextlib.suppress(ValueError):
        read_index(text, text)
    assert not os.path.exists("x")
