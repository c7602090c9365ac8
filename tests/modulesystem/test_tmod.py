"""Real Environment Modules, beside the system's Lmod: its index, its loads, and their replay beside a real bash."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from ozrepro.environment import BASE_PATH
from ozrepro.modulesystem import ModuleError
from ozrepro.modulesystem.capture import Captured, capture
from ozrepro.modulesystem.change import replay
from ozrepro.modulesystem.fingerprint import changed, modulefiles, rc_files
from ozrepro.modulesystem.fingerprint import take as take_prints
from ozrepro.modulesystem.tmod import FLAGS, EnvironmentModules, find_environment_modules
from tests.fake_cluster import Site, SiteUnavailable, tmod
from tests.modulesystem.table import COLUMNS, committed, row_of

PATH = ":".join(BASE_PATH)
BASES: tuple[dict[str, str], ...] = (
    {"HOME": "/home/me", "USER": "me", "PATH": PATH},
    {
        "HOME": "/home/me",
        "USER": "me",
        "PATH": f"/mine:{PATH}",
        "LD_LIBRARY_PATH": "/q:/q:/opt/base/lib",
        "MANPATH": "/m::",
        "CPATH": "",
        "FOO": "foo",
        "CC": "icc",
        "EDIT": "vi:m",
        "LIST": "x;/opt/y",
    },
)
pytestmark = pytest.mark.site

_SPACK = """conflict {name}
prepend-path --delim {{:}} PATH {{/spack/{name}/bin}}
prepend-path --delim {{:}} MANPATH {{/spack/{name}/share/man}}
prepend-path --delim {{:}} CMAKE_PREFIX_PATH {{/spack/{name}/.}}
setenv {root} {{/spack/{name}}}
append-path --delim {{:}} MANPATH {{}}"""
SPACK = {
    "spack-python/3.10.13-gcc-12.3.0-7xyz123": _SPACK.format(name="spack-python", root="PYTHON_ROOT"),
    "spack-numpy/1.25.2-gcc-12.3.0-bbb": "depends-on spack-python/3.10.13-gcc-12.3.0-7xyz123\n"
    + _SPACK.format(name="spack-numpy", root="PY_NUMPY_ROOT"),
}
"""As Spack's template for Tcl writes them."""

FEATURES = {
    "path/1": "prepend-path P /a//b/:/c /d/.\nappend-path P /c/ /e\nprepend-path PATH /usr/bin /opt/x/bin\nremove-path PATH /sbin",
    "empty/1": 'append-path MANPATH ""\nappend-path --delim ";" LIST /opt/y\nprepend-path -d " " WORDS a b',
    "twice/1": "prepend-path P /a\nprepend-path P /a\nappend-path P /b\nprepend-path CPATH /inc",
    "set/1": 'setenv Q "it\'s \\"a\\" \\\\ \\$x {b} *? \\[c\\] ~ #! a;b|c&d <e>"\nsetenv EMPTY ""\nunsetenv FOO\nsetenv U été',
    "push/1": "pushenv CC gcc\npushenv EDIT emacs\npushenv NEW 1",
    "home/1": "setenv CACHE $env(HOME)/cache\nsetenv TILDE ~/x",
    "shell/1": 'setenv SH [module-info shell]\nsetenv SHT [module-info shelltype]\nset-alias tal {ls -l "$@"}\n'
    'set-function tfn {echo "a b" $1; ls}',
    "needs/1": "prereq path\ndepends-on twice/1\nsetenv NEEDS 1",
    "loads/1": "module load push/1\nfamily mpi\nconflict nothing",
}


@pytest.fixture(params=list(tmod.SUITES), scope="module")
def tool(request: pytest.FixtureRequest) -> EnvironmentModules:
    """Give Environment Modules in each version."""
    try:
        script = tmod.make(request.param)
    except SiteUnavailable as reason:
        pytest.skip(f"no Environment Modules {request.param}: {reason}")
    found = find_environment_modules({"MODULES_CMD": script, "MODULESHOME": tmod.home_of(script)})
    assert found is not None
    return found


def plant(folder: Path, modules: Mapping[str, str]) -> str:
    """Write modulefiles and return their directory."""
    for name, body in modules.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#%Module\n{body}\n", encoding="utf-8")
    return str(folder)


def take(tool: EnvironmentModules, folder: str, *names: str) -> Captured:
    """Capture modules of a folder."""
    return capture(tool, names, [folder], tool.index([folder]))


def in_bash(tool: EnvironmentModules, names: Sequence[str], base: Mapping[str, str], folder: str, *more: str) -> dict[str, str]:
    """Return what `module load` in a real bash makes of an environment."""
    flags = " ".join(f"{name}='{value}'" for name, value in FLAGS.items())
    call = f'module() {{ eval "$({flags} tclsh {tool.command} bash "$@")"; }}'
    script = "; ".join((call, f"module load {' '.join(names)} || exit 3", *more, "env -0"))
    done = subprocess.run(
        ["/bin/bash", "--norc", "--noprofile", "-c", script],
        env={**base, "MODULEPATH": folder},
        capture_output=True,
        text=True,
        check=True,
        errors="surrogateescape",
    )
    found = dict(entry.partition("=")[::2] for entry in done.stdout.split("\0") if entry)
    own = ("_", "SHLVL", "PWD", "OLDPWD")
    return {name: value for name, value in found.items() if name not in own and not name.startswith("BASH_FUNC_")}


def continued(tool: EnvironmentModules, replayed: Mapping[str, str], *more: str) -> dict[str, str]:
    """Return what commands in a bash make of an environment that was replayed."""
    call = f'module() {{ eval "$(tclsh {tool.command} bash "$@")"; }}'
    said = subprocess.run(
        ["/bin/bash", "--norc", "--noprofile", "-c", "; ".join((call, *more, "env -0"))],
        env={**replayed, **FLAGS},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found = dict(entry.partition("=")[::2] for entry in said.split("\0") if entry)
    own = ("_", "SHLVL", "PWD", *FLAGS)
    return {name: value for name, value in found.items() if name not in own and not name.startswith("BASH_FUNC_")}


def same_counts(variables: Mapping[str, str]) -> dict[str, object]:
    """Return variables with those that count entries as sets: the tool writes these in no order."""
    counted = [name for name in variables if name.startswith("__MODULES_SHARE_")]
    return {**variables, **{name: sorted(variables[name].replace(":", " ").split()) for name in counted}}


class TestLoading:
    @pytest.mark.parametrize("base", BASES, ids=["clean", "own"])
    @pytest.mark.parametrize("name", FEATURES)
    def test_a_replay_equals_a_real_load_variable_by_variable(
        self, tool: EnvironmentModules, tmp_path: Path, name: str, base: Mapping[str, str]
    ) -> None:
        folder = plant(tmp_path, FEATURES)
        captured = take(tool, folder, name)
        replayed = replay(captured.change, {**base, "MODULEPATH": folder}, captured.modules)
        assert captured.change.dynamic == ()
        assert same_counts(replayed) == same_counts(in_bash(tool, captured.load, base, folder))

    def test_what_a_modulefile_reads_of_the_caller_is_followed(self, tool: EnvironmentModules, tmp_path: Path) -> None:
        body = """if {![info exists env(OMP_NUM_THREADS)]} { setenv OMP_NUM_THREADS 1 }
if {[info exists ::env(SCRATCH)]} { prepend-path PATH $::env(SCRATCH)/mine } else { prepend-path PATH /opt/bin }
setenv CACHE /scratch/$env(USER)/cache"""
        folder = plant(tmp_path, {"reads/1": body})
        captured = take(tool, folder, "reads/1")
        for more in ({}, {"SCRATCH": "/s", "OMP_NUM_THREADS": "8"}, {"SCRATCH": ""}):
            base = {**BASES[0], **more}
            replayed = replay(captured.change, {**base, "MODULEPATH": folder}, captured.modules)
            assert same_counts(replayed) == same_counts(in_bash(tool, captured.load, base, folder))

    @pytest.mark.parametrize("base", BASES, ids=["clean", "own"])
    def test_the_ozstar_shaped_tree_is_replayed_with_its_parents(
        self, tool: EnvironmentModules, site: Site, tmp_path: Path, base: Mapping[str, str]
    ) -> None:
        folder = tmod.make_tree(site, tmp_path)
        captured = take(tool, folder, site.names["python-scientific"], site.names["conda"])
        assert captured.parents == (site.names["gcc"], site.names["openmpi"])
        assert set(captured.shell.functions) == {"conda", "mamba", "__conda_exe"}
        replayed = replay(captured.change, {**base, "MODULEPATH": folder}, captured.modules)
        assert same_counts(replayed) == same_counts(in_bash(tool, captured.load, base, folder))

    def test_functions_and_aliases_are_those_of_a_bash(self, tool: EnvironmentModules, tmp_path: Path) -> None:
        captured = take(tool, plant(tmp_path, FEATURES), "shell/1")
        assert captured.change.variables["SH"] == "bash"
        assert captured.shell.functions == {"tfn": 'echo "a b" $1; ls'}
        assert captured.shell.aliases == {"tal": 'ls -l "$@"'}

    def test_what_a_module_prints_is_an_assignment_or_told(self, tool: EnvironmentModules, tmp_path: Path) -> None:
        lines = "puts stdout {export SEEN=1}\nputs stdout {source /opt/x/activate}\nputs prestdout {export EARLY=2}"
        captured = take(tool, plant(tmp_path, {"loud/1": lines}), "loud/1")
        assert captured.change.variables == {"EARLY": "2", "SEEN": "1"}
        assert captured.shell.effects == {"loud/1": ("source /opt/x/activate",)}

    @pytest.mark.parametrize(
        ("body", "said", "hint"),
        [
            ("puts stderr {licence server down}; break", "licence server down", "module show good/1 bad/1, for what it asks"),
            ("conflict good", "cannot load good/1 bad/1", "ozrepro spider "),
            ("error {no such thing}", "no such thing", "module show bad/1, for what it asks"),
            ("prereq nowhere/1", "nowhere/1", "ozrepro spider "),
            ("module load good/2", "good/2", "ozrepro spider "),
        ],
    )
    def test_a_failure_is_told_in_the_tools_own_words(
        self, tool: EnvironmentModules, tmp_path: Path, body: str, said: str, hint: str
    ) -> None:
        folder = plant(tmp_path, {"good/1": "setenv GOOD 1", "good/2": "conflict good/1", "bad/1": body})
        with pytest.raises(ModuleError, match="cannot load") as caught:
            take(tool, folder, "good/1", "bad/1")
        assert said in str(caught.value)
        assert caught.value.hint.startswith(hint)

    def test_a_variable_that_a_modulefile_reads_before_it_sets_it_does_not_hide_the_paths(
        self, tool: EnvironmentModules, tmp_path: Path
    ) -> None:
        body = "if {[info exists env(MODE)] && $env(MODE) ni {a b}} {error wrong}\nsetenv MODE a\nprepend-path P /p"
        folder = plant(tmp_path, {"picky/1": body})
        reading = tool.load(["picky/1"], {"PATH": PATH, "MODULEPATH": folder})
        assert reading.paths == {"PATH": ":", "P": ":"}
        assert reading.values["MODE"] == "a"

    @pytest.mark.parametrize("more", [("module purge",), ("module unload push",), ("module load twice/1", "module purge")])
    def test_module_goes_on_from_what_was_replayed(self, tool: EnvironmentModules, tmp_path: Path, more: tuple[str, ...]) -> None:
        folder = plant(tmp_path, FEATURES)
        captured = take(tool, folder, "path/1", "push/1", "empty/1")
        replayed = replay(captured.change, {**BASES[1], "MODULEPATH": folder}, captured.modules)
        real = in_bash(tool, captured.load, BASES[1], folder, *more)
        assert same_counts(continued(tool, replayed, *more)) == same_counts(real)


class TestIndex:
    def test_parents_are_found_through_what_modulefiles_use(self, tool: EnvironmentModules, site: Site, tmp_path: Path) -> None:
        index = tool.index([tmod.make_tree(site, tmp_path)])
        assert index.chains(site.names["python-scientific"]) == ((site.names["gcc"], site.names["openmpi"]),)
        assert len(index.chains(site.names["hdf5"])) == 2
        assert index.chains(site.names["gcc"]) == ((),)

    def test_hidden_modules_are_marked_and_aliases_are_none(self, tool: EnvironmentModules, tmp_path: Path) -> None:
        folder = plant(
            tmp_path, {"a/1": "", "a/2": "", ".modulerc": "module-hide a/2\nmodule-alias b a/1\nmodule-version a/1 lts"}
        )
        index = tool.index([folder])
        assert {name: modules[0].hidden for name, modules in index.modules.items()} == {"a/1": False, "a/2": True}

    def test_an_index_of_directories_that_lead_to_each_other_ends(self, tool: EnvironmentModules, tmp_path: Path) -> None:
        one, two = tmp_path / "one", tmp_path / "two"
        plant(one, {"a/1": f"module use {two}"})
        plant(two, {"b/1": f"module use {one}\nmodule use {two}"})
        assert set(tool.index([str(one)]).modules) == {"a/1", "b/1"}

    def test_a_loose_name_is_not_available(self, tool: EnvironmentModules, tmp_path: Path) -> None:
        folder = plant(tmp_path, {"python/3.10.4-bare": "setenv X 1"})
        variables = {"PATH": PATH, "MODULEPATH": folder}
        assert tool.is_available("python/3.10.4-bare", variables)
        assert not tool.is_available("python/3.10.4", variables)
        assert not tool.is_available("python/3.10", variables)


class TestSite:
    def test_nothing_of_the_user_changes_an_answer(self, tool: EnvironmentModules, tmp_path: Path) -> None:
        folder = plant(tmp_path / "m", {"a/1": "setenv A 1", "a/2": "setenv A 2"})
        (tmp_path / ".modulerc").write_text("#%Module\nmodule-hide a/1\nmodule-version a/2 default\n")
        environ = {"MODULES_CMD": tool.command, "HOME": str(tmp_path), "MODULES_ICASE": "always", "MODULES_EXTENDED_DEFAULT": "1"}
        users = find_environment_modules(environ)
        assert users is not None
        assert users.index([folder]) == tool.index([folder])
        assert take(users, folder, "a/1").change == take(tool, folder, "a/1").change

    def test_the_sites_own_tcl_runs_in_each_load_and_decides(self, tool: EnvironmentModules, tmp_path: Path) -> None:
        config = tmp_path / "site.tcl"
        config.write_text("proc siteload {name args} {}\nset ::env(HOOKED) yes\nset ::g_stateEnvVars(HOOKED) new\n")
        folder = plant(tmp_path / "m", {"a/1": "setenv A 1"})
        hooked = find_environment_modules({"MODULES_CMD": tool.command, "MODULES_SITECONFIG": str(config)})
        assert hooked is not None
        assert take(hooked, folder, "a/1").change.variables == {"A": "1", "HOOKED": "yes"}
        assert str(config) in hooked.hook_files()
        assert hooked.identity != tool.identity

    def test_rc_files_of_the_site_and_of_the_directories_decide(self, tool: EnvironmentModules, tmp_path: Path) -> None:
        rc = tmp_path / "rc"
        rc.write_text("#%Module\n")
        folder = plant(tmp_path / "m", {"a/1": "", "a/.version": "set ModulesVersion 1", ".modulerc": ""})
        system = find_environment_modules({"MODULES_CMD": tool.command, "MODULERCFILE": str(rc)})
        assert system is not None
        names = {os.path.basename(path) for path in rc_files([folder], take(tool, folder, "a/1").modules, system.rc_files())}
        assert names == {"rc", ".version", ".modulerc"}

    def test_the_base_directories_are_those_without_what_modules_added(
        self, tool: EnvironmentModules, site: Site, tmp_path: Path
    ) -> None:
        folder = tmod.make_tree(site, tmp_path)
        loaded = in_bash(tool, [site.names["gcc"]], BASES[0], folder)
        assert loaded["MODULEPATH"] != folder
        assert tool.base_modulepath(loaded) == (folder,)

    def test_a_script_that_is_not_environment_modules_is_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "modulecmd.tcl").write_text("puts hello\n")
        system = find_environment_modules({"MODULES_CMD": str(tmp_path / "modulecmd.tcl")})
        assert system is not None
        with pytest.raises(ModuleError, match="is it Environment Modules"):
            system.version()
        with pytest.raises(ModuleError, match="printed no index"):
            system.index(["/nowhere"])
        with pytest.raises(ModuleError, match="does not say what loading a/1 does"):
            system.load(["a/1"], {})


def test_the_table_in_the_reference_is_what_was_run(tool: EnvironmentModules, site: Site, tmp_path: Path) -> None:
    """Each cell is worked out here with the real tool."""
    folder = tmod.make_tree(site, tmp_path / "tree")
    plant(tmp_path / "spack", SPACK)
    plant(tmp_path / "odd", {"odd/1": FEATURES["shell/1"] + "\nputs stdout {source /opt/x}"})
    index = tool.index([folder])
    captured = take(tool, folder, site.names["python-scientific"], site.names["conda"])
    replayed = replay(captured.change, {**BASES[0], "MODULEPATH": folder}, captured.modules)
    spack = take(tool, str(tmp_path / "spack"), *list(SPACK)[1:])
    odd = take(tool, str(tmp_path / "odd"), "odd/1").shell
    commands = ("module list 2>/dev/null", "module load libflavour/1.0", "module purge")
    old = take_prints(modulefiles(captured.modules))
    Path(captured.modules[0].file).write_text("#%Module\n")
    moved = changed(old)
    Path(captured.modules[0].file).write_bytes(Path(tmod.make_tree(site, tmp_path / "tree"), site.names["gcc"]).read_bytes())
    assert odd.effects == {"odd/1": ("source /opt/x",)}
    columns: dict[str, bool | None] = {
        "index": index.chains(site.names["python-scientific"]) == ((site.names["gcc"], site.names["openmpi"]),),
        "lock": captured.lost == spack.lost == (),
        "replay, OzSTAR-like tree": same_counts(replayed) == same_counts(in_bash(tool, captured.load, BASES[0], folder)),
        "replay, EasyBuild hierarchy": None,  # EasyBuild's own is in Lua
        "`module list`, `load`, `purge` in a session": same_counts(continued(tool, replayed, *commands))
        == same_counts(in_bash(tool, captured.load, BASES[0], folder, *commands)),
        "Spack, Lua": None,
        "Spack, Tcl": same_counts(replay(spack.change, {**BASES[1], "MODULEPATH": str(tmp_path / "spack")}, spack.modules))
        == same_counts(in_bash(tool, spack.load, BASES[1], str(tmp_path / "spack"))),
        "drift": moved == [(captured.modules[0].file, "was changed")],
        "functions, aliases": (dict(odd.functions), dict(odd.aliases)) == ({"tfn": 'echo "a b" $1; ls'}, {"tal": 'ls -l "$@"'}),
    }
    assert list(columns) == list(COLUMNS)
    assert row_of(tool, columns.values()) in committed()
