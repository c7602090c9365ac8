"""Each thing that modulefiles do: the replay equals a real load in a bash, or what differs is told when locking."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ozrepro import process
from ozrepro.modulesystem import ModuleError
from ozrepro.modulesystem.capture import capture
from ozrepro.modulesystem.change import replay
from ozrepro.modulesystem.lmod import Lmod
from tests.fake_cluster.modulefiles import write
from tests.modulesystem.features import LUA, TCL

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.fake_cluster import Site

PATH = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"
BASES = (
    {"HOME": "/home/me", "USER": "me", "PATH": PATH},
    {
        "HOME": "/home/me",
        "USER": "me",
        "PATH": f"/mine:{PATH}",
        "LD_LIBRARY_PATH": "/q:/opt/base/lib",
        "FOO": "foo",
        "CC": "icc",
        "LD_PRELOAD": "",
        "SLURM_JOB_ID": "4711",
        "TMPDIR": "/jobfs/4711",
        "MYLIST": "z",
        "SCRATCH": "/scratch/me",
    },
)
OF_THE_SHELL = ("_", "SHLVL", "PWD", "OLDPWD", "MODULESHOME", "FPATH", "LMOD_SHELL_PRGM", "TEST_OUT")
OF_THE_INIT = ("BASH_FUNC_", "LMOD_CMD", "LMOD_DIR", "LMOD_PKG", "LMOD_ROOT", "LMOD_VERSION", "LMOD_SETTARG", "_ModuleTable")


def make_tree(folder: Path) -> list[str]:
    """Write the modulefiles and what they need, and return their names."""
    for name, lines in LUA.items():
        write(folder, name, [line.replace("@TREE@", str(folder)) for line in lines])
    for name, lines in TCL.items():
        path = folder / name
        path.parent.mkdir(parents=True)
        path.write_text("\n".join(("#%Module1.0", *lines, "")).replace("@TREE@", str(folder)))
    write(folder / "dyn", "dynmod/1", ['setenv("DYN", "1")'])
    (folder / "scripts").mkdir()
    (folder / "scripts" / "s.sh").write_text("export SCR=1\nf1() { echo f; }\nalias al=ls\nexport PATH=/scr/bin:$PATH\n")
    return [*LUA, *TCL]


def really_loaded(site: Site, folder: Path, names: list[str], out: Path, base: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return the variables that a bash has after `module load` of each name, those of Lmod's start and of the shell aside."""
    out.mkdir()
    init = Path(site.lmod_cmd).parents[1] / "init" / "bash"
    loop = f'for m in {shlex.join(names)}; do (module load $m; env -0 > "$TEST_OUT/${{m//\\//_}}"); done'
    script = f". {init}; export MODULEPATH={folder}; {loop}"
    process.run(["/bin/bash", "--noprofile", "--norc", "-c", script], env={**base, "TEST_OUT": str(out)})
    found: dict[str, dict[str, str]] = {}
    for name in names:
        text = (out / name.replace("/", "_")).read_bytes().decode("utf-8", "surrogateescape")
        pairs = [entry.partition("=")[::2] for entry in text.split("\0") if entry]
        found[name] = {key: value for key, value in pairs if key not in OF_THE_SHELL and not key.startswith(OF_THE_INIT)}
    return found


def test_each_feature_is_as_in_a_bash_or_told(site: Site, tmp_path: Path) -> None:
    folder = tmp_path / "tree"
    names = make_tree(folder)
    lmod = Lmod(site.lmod_cmd)
    index = lmod.index([str(folder)])
    real = [really_loaded(site, folder, names, tmp_path / str(number), base) for number, base in enumerate(BASES)]
    wrong: list[str] = []
    for name in names:
        try:
            captured = capture(lmod, [name], [str(folder)], index)
        except ModuleError:
            if "LOADEDMODULES" in real[0][name]:
                wrong.append(f"{name}: refused, and a bash loads it")
            continue
        assert captured.lost == (), name
        for base, seen in zip(BASES, real, strict=True):
            mine = replay(captured.change, {**base, "MODULEPATH": str(folder)}, captured.modules)
            mine = {key: value for key, value in mine.items() if not key.startswith(OF_THE_INIT)}
            for key in sorted(mine.keys() | seen[name].keys()):
                # Before Lmod 8.7.29 a newline ends the value in a bash, which runs the rest as a command.
                broken = "\n" in mine.get(key, "") and seen[name].get(key) == mine[key].partition("\n")[0]
                if mine.get(key) != seen[name].get(key) and key not in captured.change.dynamic and not broken:
                    wrong.append(f"{name}: {key} is {mine.get(key)!r}, in a bash {seen[name].get(key)!r}")
    assert not wrong, "\n".join(wrong)


EFFECTS = {
    "complete/1": ("complete -W 'a b' mytool",),
    "stdout/1": ("echo hi", "hello"),
    "tcl-puts/1": ("echo TCLPUTS",),
    "mode2/1": ("echo loaded >&2",),
    "exec/1": (),
    "execulimit/1": (),
}
LIMITS = {"exec/1": ("umask 027",), "execulimit/1": ("ulimit -s unlimited",)}


@pytest.mark.parametrize("name", EFFECTS)
def test_what_a_module_has_the_shell_run_is_read_or_kept_as_text(lmod: Lmod, tmp_path: Path, name: str) -> None:
    make_tree(tmp_path)
    shell = capture(lmod, [name], [str(tmp_path)], lmod.index([str(tmp_path)])).shell
    assert (shell.effects.get(name, ()), shell.limits) == (EFFECTS[name], LIMITS.get(name, ()))


def test_the_effects_of_two_modules_are_told_apart(lmod: Lmod, tmp_path: Path) -> None:
    write(tmp_path, "low/1", ['execute{cmd="source /low", modeA={"load"}}'])
    write(tmp_path, "top/1", ['depends_on("low/1")', "execute{cmd=\"source \"..os.getenv('HOME')..\"/top\", modeA={'load'}}"])
    shell = capture(lmod, ["top/1"], [str(tmp_path)], lmod.index([str(tmp_path)])).shell
    assert shell.effects == {"low/1": ("source /low",), "top/1": ("source $HOME/top",)}
