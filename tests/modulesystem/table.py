"""What a module tool is measured by for the table of the reference: each column is a check of its own on real trees.

A row is made by `measured(system, trees)`. A tool that cannot read a tree has none of that name in `trees`.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ozrepro import process
from ozrepro.modulesystem.capture import Captured, capture, recapture
from ozrepro.modulesystem.change import replay
from ozrepro.modulesystem.differences import differences

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ozrepro.modulesystem import ModuleSystem

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "module-systems.md"
BASE = {
    "HOME": "/home/me",
    "USER": "me",
    "PATH": "/mine:/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin",
    "CC": "icc",
}
_OF_THE_SHELL = ("_", "SHLVL", "PWD", "OLDPWD", "FPATH", "MODULESHOME", "MODULES_CMD", "LOADEDMODULES_modshare", "MANPATH_INIT")
_OF_THE_INIT = ("BASH_FUNC_", "BASH_ENV", "ENV", "LMOD_", "MODULES_", "_ModuleTable")


@dataclass(frozen=True, slots=True)
class Tree:
    """A tree of modulefiles: its first directory, names to load together, and a further name that can be loaded then."""

    path: str
    load: tuple[str, ...]
    further: str = ""

    def captured(self, system: ModuleSystem) -> Captured:
        """Return what loading the names does."""
        return capture(system, self.load, [self.path], system.index([self.path]))


@dataclass(frozen=True, slots=True)
class Bench:
    """A tool with the trees that it can read, by name, and a folder to write into."""

    system: ModuleSystem
    trees: Mapping[str, Tree]
    scratch: Path

    def bash(self, script: str, base: Mapping[str, str]) -> dict[str, str]:
        """Return the variables of a bash with the tool's `module` after a script, without those of the shell and the tool's start."""
        init = self.system.init_file("bash")
        words = ["/bin/bash", "--noprofile", "--norc", "-c", f". {init} >/dev/null 2>&1\n{script}\nenv -0"]
        said = process.run(words, env=base).output.rpartition("@@@\n")[2]
        pairs = (entry.partition("=")[::2] for entry in said.split("\0") if entry)
        return {key: value for key, value in pairs if key not in _OF_THE_SHELL and not key.startswith(_OF_THE_INIT)}

    def as_loaded(self, tree: Tree, more: str) -> bool:
        """Say whether a session, and a bash with the modules loaded, have the same after further commands."""
        captured = tree.captured(self.system)
        start = {**BASE, "MODULEPATH": tree.path}
        inside = self.bash(f"{more}\necho @@@", replay(captured.change, start, captured.modules))
        real = self.bash(f"module use {tree.path}; module load {' '.join(captured.load)}\n{more}\necho @@@", BASE)
        return inside == real and bool(inside)


def _index(bench: Bench) -> bool:
    return all(set(tree.load) <= set(bench.system.index([tree.path]).modules) for tree in bench.trees.values())


def _same(name: str) -> Callable[[Bench], bool | None]:
    return lambda bench: bench.as_loaded(bench.trees[name], "") if name in bench.trees else None


def _session(bench: Bench) -> bool | None:
    tree = next((tree for tree in bench.trees.values() if tree.further), None)
    if tree is None:
        return None
    listed = bench.as_loaded(tree, 'export LISTED="$(module -t list 2>&1)"')
    loaded = bench.as_loaded(tree, f"module load {tree.further}")
    return listed and loaded and bench.as_loaded(tree, "module purge")


def _drift(bench: Bench) -> bool:
    tree = bench.trees.get("spack-lua") or bench.trees["spack-tcl"]
    copied = shutil.copytree(tree.path, bench.scratch / "drift")
    before = Tree(str(copied), tree.load).captured(bench.system)
    file = before.modules[-1].file
    with open(file, "a", encoding="utf-8") as stream:
        stream.write('setenv("DRIFTED", "1")\n' if file.endswith(".lua") else "setenv DRIFTED 1\n")
    _, reading, base = recapture(bench.system, before.load, [str(copied)])
    return any("DRIFTED" in line for line in differences(before.change, before.modules, reading, base))


def _functions(bench: Bench) -> bool:
    folder = bench.scratch / "shell" / "shelly"
    folder.mkdir(parents=True)
    if bench.system.kind == "lmod":
        (folder / "1.lua").write_text('set_shell_function("greet", "echo hello", "")\nset_alias("ll", "ls -l")\n')
    else:
        (folder / "1").write_text("#%Module1.0\nset-function greet {echo hello}\nset-alias ll {ls -l}\n")
    path = os.path.dirname(folder)
    shell = capture(bench.system, ["shelly/1"], [path], bench.system.index([path])).shell
    return "greet" in shell.functions and shell.aliases == {"ll": "ls -l"}


COLUMNS: dict[str, Callable[[Bench], bool | None]] = {
    "index": _index,
    "lock": lambda bench: all(tree.captured(bench.system).lost == () for tree in bench.trees.values()),
    "replay, OzSTAR-like tree": _same("ozstar"),
    "replay, EasyBuild hierarchy": _same("hierarchy"),
    "`module list`, `load`, `purge` in a session": _session,
    "Spack, Lua": _same("spack-lua"),
    "Spack, Tcl": _same("spack-tcl"),
    "drift": _drift,
    "functions, aliases": _functions,
}
_WORDS = {True: "yes", False: "no", None: "-"}


def measured(system: ModuleSystem, trees: Mapping[str, Tree], scratch: Path) -> str:
    """Return a tool's row of the table, as it is in the page."""
    bench = Bench(system, trees, scratch)
    return row_of(system, [check(bench) for check in COLUMNS.values()])


def row_of(system: ModuleSystem, cells: Iterable[bool | None]) -> str:
    """Return the row of a tool with what its checks gave; None stands for a tree that it cannot read."""
    return f"| {' | '.join((f'{system.title} {system.version()}', *(_WORDS[cell] for cell in cells)))} |"


def head() -> str:
    """Return the table's first line."""
    return f"| | {' | '.join(COLUMNS)} |"


def committed() -> Sequence[str]:
    """Return the lines of the page's table."""
    text = PAGE.read_text(encoding="utf-8")
    return text.partition("<!-- rows -->\n")[2].partition("<!-- end -->")[0].splitlines()


_SPACK = {
    "python/3.10.13-7xyz123": ("python", (), ""),
    "py-setuptools/68.0.0-aaa": ("py-setuptools", ("python/3.10.13-7xyz123",), "lib/python3.10/site-packages"),
    "py-numpy/1.25.2-bbb": (
        "py-numpy",
        ("python/3.10.13-7xyz123", "py-setuptools/68.0.0-aaa"),
        "lib/python3.10/site-packages",
    ),
}


def spack_trees(folder: Path) -> dict[str, Tree]:
    """Write modulefiles as Spack's templates do, in Lua and in Tcl."""
    for full, (name, needed, packages) in _SPACK.items():
        root = f"/opt/spack/{name}"
        paths = {"PATH": f"{root}/bin", "MANPATH": f"{root}/share/man", "CMAKE_PREFIX_PATH": f"{root}/."}
        paths |= {"PYTHONPATH": f"{root}/{packages}"} if packages else {}
        lua = [f"whatis([[Name : {name}]])", *(f'depends_on("{item}")' for item in needed)]
        lua += [f'prepend_path("{key}", "{value}", ":")' for key, value in paths.items()]
        lua += [f'setenv("{name.upper().replace("-", "_")}_ROOT", "{root}")', 'append_path("MANPATH", "", ":")']
        tcl = ["#%Module1.0", f"module-whatis {{{name}}}", f"conflict {name}"]
        tcl += [f"depends-on {item}" for item in needed]
        tcl += [f"prepend-path --delim {{:}} {key} {{{value}}}" for key, value in paths.items()]
        tcl += [f"setenv {name.upper().replace('-', '_')}_ROOT {{{root}}}", "append-path --delim {:} MANPATH {}"]
        for kind, end, lines in (("lua", ".lua", lua), ("tcl", "", tcl)):
            path = folder / kind / f"{full}{end}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join((*lines, "")), encoding="utf-8")
    return {f"spack-{kind}": Tree(str(folder / kind), ("py-numpy/1.25.2-bbb",)) for kind in ("lua", "tcl")}
