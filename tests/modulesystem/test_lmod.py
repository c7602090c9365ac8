"""Finding Lmod and calling it: its answers depend on the site and the modules, not on who calls."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ozrepro import process
from ozrepro.modulesystem import ModuleError
from ozrepro.modulesystem.capture import first_base
from ozrepro.modulesystem.lmod import FLAGS, SITE_VARIABLES, Lmod, find_lmod
from tests.fake_cluster import Site
from tests.fake_cluster.modulefiles import write
from tests.modulesystem.replaying import take, take_from


class TestFinding:
    def test_lmod_is_found_by_its_variable_and_not_where_that_switches_it_off(self, site: Site) -> None:
        assert find_lmod({"LMOD_CMD": site.lmod_cmd}) == Lmod(site.lmod_cmd)
        assert find_lmod({"LMOD_CMD": ":"}) is None
        assert find_lmod({"LMOD_DIR": os.path.dirname(site.lmod_cmd)}) == Lmod(site.lmod_cmd)

    def test_a_found_lmod_has_the_site_s_configuration_and_nothing_of_the_user_s(self, site: Site) -> None:
        wanted = {"LMOD_PACKAGE_PATH": "/site", "LMOD_SITE_NAME": "SWIN", "LMOD_MODULERCFILE": "/etc/rc.lua"}
        others = {
            "HOME": "/home/me",
            "LMOD_USER_CACHE_DIR": "/home/me/cache",
            "LMOD_EXTENDED_DEFAULT": "yes",
            "LMOD_SYSTEM_DEFAULT_MODULES": "StdEnv",
            "_ModuleTable001_": "x",
            "LOADEDMODULES": "x",
            "LMOD_ADMIN_FILE": "",
        }
        found = find_lmod({"LMOD_CMD": site.lmod_cmd, **wanted, **others})
        assert found is not None
        assert dict(found.site) == wanted
        assert not set(FLAGS) & set(SITE_VARIABLES)

    def test_the_base_directories_are_those_from_before_anything_was_loaded(self, lmod: Lmod, site: Site) -> None:
        base = site.environ("ozstar")
        loaded = {**base, **lmod.load(["gcc/11.3.0"], base).values}
        assert loaded["MODULEPATH"] != base["MODULEPATH"]
        assert lmod.base_modulepath(loaded) == (site.roots["ozstar"],)


class TestVersion:
    def test_lmod_s_version_is_read_without_starting_a_process(
        self, lmod: Lmod, site: Site, started: list[tuple[str, ...]]
    ) -> None:
        assert lmod.version() == site.lmod_version
        assert started == []

    @pytest.mark.parametrize("beside", [None, "return nothing\n"])
    def test_lmod_is_asked_for_its_version_where_no_file_says_it(
        self, site: Site, tmp_path: Path, beside: str | None, started: list[tuple[str, ...]]
    ) -> None:
        command = tmp_path / "lmod"
        command.write_text(f'#!/bin/sh\nexec {site.lmod_cmd} "$@"\n')
        command.chmod(0o755)
        if beside is not None:
            (tmp_path / "Version.lua").write_text(beside)
        assert Lmod(str(command)).version() == site.lmod_version
        assert started == [(str(command), "bash", "--version")]

    def test_a_program_that_is_not_lmod_is_an_error(self) -> None:
        with pytest.raises(ModuleError, match="is it Lmod"):
            Lmod("/bin/true").version()


class TestHermetic:
    def test_no_variable_of_the_caller_reaches_a_call(
        self, lmod: Lmod, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("strict.lua", "posix.lua", "lfs.lua", "SitePackage.lua"):
            (tmp_path / name).write_text(f'io.open("{tmp_path}/executed", "w"):close()\nos.exit(3)\n')
        plain = take(lmod, site, site.names["python-scientific"])
        hostile = {
            "LUA_PATH": f"{tmp_path}/?.lua",
            "LUA_PATH_5_3": f"{tmp_path}/?.lua",
            "LUA_INIT": f"@{tmp_path}/strict.lua",
            "LUA_INIT_5_3": f"@{tmp_path}/strict.lua",
            "LUA_CPATH": f"{tmp_path}/?.so",
            "LD_LIBRARY_PATH": str(tmp_path),
            "LD_PRELOAD": f"{tmp_path}/none.so",
            "BASH_ENV": f"{tmp_path}/strict.lua",
            "LMOD_PACKAGE_PATH": str(tmp_path),
            "MODULEPATH": str(tmp_path),
            "_ModuleTable_Sz_": "1",
            "_ModuleTable001_": "b3MuZXhpdCgp",
        }
        for name, value in hostile.items():
            monkeypatch.setenv(name, value)
        assert take(lmod, site, site.names["python-scientific"]) == plain
        assert lmod.version() == site.lmod_version
        assert not (tmp_path / "executed").exists()

    def test_a_users_own_rc_file_changes_nothing(
        self, lmod: Lmod, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plain = take(lmod, site, "gcc/11.3.0")
        (tmp_path / ".modulerc.lua").write_text(
            'hide_version("gcc/11.3.0")\nmodule_alias("mine", "gcc/12.2.0")\nmodule_version("gcc/12.2.0", "default")\n'
        )
        (tmp_path / ".lmodrc.lua").write_text("error('the user's own')\n")
        monkeypatch.setenv("HOME", str(tmp_path))
        assert take(lmod, site, "gcc/11.3.0") == plain
        assert not lmod.is_available("mine", first_base([site.roots["ozstar"]]))
        (tmp_path / ".lmodrc.lua").unlink()
        assert lmod.is_available("mine", {**first_base([site.roots["ozstar"]]), "HOME": str(tmp_path)}), "the file is a good one"

    def test_a_load_hook_of_the_site_is_seen(self, site: Site, tmp_path: Path) -> None:
        (tmp_path / "SitePackage.lua").write_text(
            'require("strict")\n'
            'local hook = require("Hook")\n'
            'local function load_hook(t)\n   setenv("SITE_HOOK", t.modFullName)\nend\n'
            'hook.register("load", load_hook)\n'
        )
        system = find_lmod({"LMOD_CMD": site.lmod_cmd, "LMOD_PACKAGE_PATH": str(tmp_path)})
        assert system is not None
        assert take(system, site, "gcc/11.3.0").change.variables["SITE_HOOK"] == "gcc/11.3.0"
        assert "SITE_HOOK" not in take(Lmod(site.lmod_cmd), site, "gcc/11.3.0").change.variables

    def test_the_sites_rc_file_hides_a_module_from_the_index(self, site: Site, tmp_path: Path) -> None:
        (tmp_path / "rc.lua").write_text('hide_version("gcc/12.2.0")\n')
        system = find_lmod({"LMOD_CMD": site.lmod_cmd, "LMOD_MODULERCFILE": str(tmp_path / "rc.lua")})
        assert system is not None
        assert system.index([site.roots["ozstar"]]).modules["gcc/12.2.0"][0].hidden

    @pytest.mark.parametrize("name", ["noisy/1.0", "noisy/2.0", "noisy/3.0", "odd-values/1.0", "odd-bytes/1.0", "conda-like/1.0"])
    def test_nothing_that_a_modulefile_prints_or_sets_is_executed(
        self, lmod: Lmod, site: Site, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.chdir(tmp_path)
        captured = take(lmod, site, name, tree="odd")
        # `export FORGED=stdout` is what a user's shell runs too; the forgeries inside values are values.
        assert captured.change.variables.get("FORGED") == ("stdout" if name == "noisy/2.0" else None)
        assert "FORGED" not in os.environ
        assert list(tmp_path.iterdir()) == []

    def test_duplicates_that_a_site_allows_do_not_hide_which_variables_are_paths(self, lmod: Lmod, site: Site) -> None:
        assert "LMOD_DUPLICATE_PATHS" not in lmod.site
        done = process.run(
            [lmod.command, "python", "load", "gcc/11.3.0"],
            env={**first_base([site.roots["ozstar"]]), **FLAGS, "LMOD_DUPLICATE_PATHS": "yes"},
        )
        assert "__LMOD_REF_COUNT_PATH" not in done.output
        assert take(lmod, site, "gcc/11.3.0").change.paths["PATH"].prepend != ()


def test_an_error_names_a_command_that_there_is(lmod: Lmod, site: Site) -> None:
    with pytest.raises(ModuleError) as caught:
        lmod.load(["gcc/99"], first_base([site.roots["ozstar"]]))
    assert caught.value.hint == "ozrepro spider gcc/99"
    with pytest.raises(ModuleError) as caught:
        lmod.load(["nowhere/1", "gcc/11.3.0"], first_base([site.roots["ozstar"]]))
    assert caught.value.hint == "ozrepro spider nowhere/1"


def test_a_printing_module_does_not_spoil_the_index(lmod: Lmod, site: Site) -> None:
    index = lmod.index([site.roots["odd"]])
    assert "odd-values/1.0" in index.modules
    assert "forged" not in index.modules


def test_a_module_directory_with_a_space_in_its_name_works(lmod: Lmod, tmp_path: Path) -> None:
    write(tmp_path / "a tree", "made/1.0", ['setenv("A", "1")', 'prepend_path("PATH", "/a b/bin")'])
    captured = take_from(lmod, str(tmp_path / "a tree"), "made/1.0")
    assert captured.change.paths["PATH"].prepend == ("/a b/bin",)


def test_a_private_copy_serves_as_the_site(lmod: Lmod, private_site: Callable[[], Site]) -> None:
    assert len(take(lmod, private_site(), "foss/2022a").modules) == 3


class TestTheShellThatAsks:
    def test_a_directory_that_a_loaded_module_added_is_not_one_of_the_site_s(self, site: Site) -> None:
        core = site.roots["ozstar"]
        script = f"module use {core}; module load {site.names['gcc']}; env -0"
        setup = f'. "{Path(site.lmod_cmd).parents[1]}/init/bash"\n'
        base = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}
        said = process.run(["/bin/bash", "--noprofile", "--norc", "-c", setup + script], env=base).output
        environ = dict(entry.partition("=")[::2] for entry in said.split("\0") if entry)
        assert environ["MODULEPATH"].count(":") == 1
        assert Lmod(site.lmod_cmd).base_modulepath(environ) == (core,)


def test_an_rc_file_that_ends_lmod_is_told_in_its_own_words(lmod: Lmod, tmp_path: Path) -> None:
    write(tmp_path, "tool/1.0", ['setenv("TOOL", "1")'])
    (tmp_path / "cluster").mkdir()
    (tmp_path / "cluster" / "milan").write_text("#%Module1.0\nsetenv CLUSTER milan\n")
    rc = 'if {![info exists ::env(MY_CLUSTER)]} { puts stderr "Set MY_CLUSTER to choose a cluster."; exit 1 }\n'
    (tmp_path / "cluster" / ".modulerc").write_text(f"#%Module1.0\n{rc}")
    with pytest.raises(ModuleError, match="Set MY_CLUSTER to choose a cluster") as caught:
        lmod.index([str(tmp_path)])
    assert lmod.version() in caught.value.what
    assert "site-variables" in caught.value.hint
    assert "tool/1.0" in lmod.given({"MY_CLUSTER": "milan"}).index([str(tmp_path)]).modules


def test_a_modulefile_that_warns_is_loaded_and_the_warning_told(lmod: Lmod, tmp_path: Path) -> None:
    write(tmp_path, "old/1.0", ['LmodWarning("old/1.0 goes away in May")', 'setenv("OLD", "1")'])
    captured = take_from(lmod, str(tmp_path), "old/1.0")
    assert captured.change.variables == {"OLD": "1"}
    assert "goes away in May" in captured.messages
