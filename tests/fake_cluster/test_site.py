"""The test site is what it says: each module loads, or fails, as real Lmod makes it, and the software behind it runs."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.fake_cluster import Site, SiteUnavailable, load_site, make, odd
from tests.fake_cluster.flavour import make_sdist

if TYPE_CHECKING:
    from collections.abc import Callable

NOBODY = 65534
USER = NOBODY if os.geteuid() == 0 else None


def loaded(said: subprocess.CompletedProcess[str]) -> list[str]:
    """Return the modules that a load left loaded."""
    return values(said).get("LOADEDMODULES", "").split(":")


def values(said: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """Read simple assignments of Lmod's Python text: enough for these tests, and never executed."""
    return dict(re.findall(r'^os\.environ\["([^"]+)"\] = "([^"]*)";$', said.stdout, re.MULTILINE))


def chain(site: Site, *more: str) -> list[str]:
    """Return what to load for a module below Open MPI, with the short names of more."""
    return [site.names[name] for name in ("gcc", "openmpi", *more)]


def test_the_easybuild_tree_loads_33_modules(site: Site) -> None:
    said = site.lmod("load", site.names["scipy-bundle"], trees=("easybuild",))
    assert said.returncode == 0, said.stderr
    assert len(loaded(said)) == 33
    found = values(said)
    assert found["EBVERSIONPYTHON"] == "3.10.4"
    assert os.path.isdir(found["EBROOTPYTHON"])
    assert len(list(Path(site.roots["easybuild"]).glob("*/*.lua"))) == 75


def test_the_chain_of_python_scientific(site: Site) -> None:
    said = site.lmod("load", *chain(site, "python-scientific"))
    assert said.returncode == 0, said.stderr
    assert loaded(said) == [*chain(site), site.names["python"], site.names["python-scientific"]]
    alone = site.lmod("load", site.names["python-scientific"])
    assert alone.returncode == 1
    assert "exist" in alone.stderr
    wrong_order = site.lmod("load", *reversed(chain(site, "python-scientific")))
    assert wrong_order.returncode == 1
    by_toolchain = site.lmod("load", site.names["foss"], site.names["python-scientific"])
    assert by_toolchain.returncode == 0, by_toolchain.stderr


def test_an_ordinary_user_imports_numpy_and_scipy_after_a_real_module_load(site: Site) -> None:
    program = (
        "import json, numpy, pandas, scipy.signal as s; print(json.dumps([numpy.__version__, s.__file__, pandas.__version__]))"
    )
    script = f"module load {' '.join(chain(site, 'python-scientific'))} && command -v python && python -c '{program}'"
    said = site.bash(script, user=USER)
    assert said.returncode == 0, said.stderr
    python, answer = said.stdout.splitlines()
    assert os.path.realpath(python) == os.path.realpath(site.python)
    numpy, scipy, pandas = json.loads(answer)
    assert {"numpy": numpy, "pandas": pandas}.items() <= site.packages["python-scientific"].items()
    assert scipy.startswith(f"{site.prefix}/apps/software/python-scientific/")


@pytest.mark.parametrize("name", ["python", "python-bare", "python-scientific", "pyyaml"])
def test_extension_lists_say_what_is_really_installed(site: Site, name: str) -> None:
    report = "import importlib.metadata as m, json; print(json.dumps({d.metadata['Name'].lower(): d.version for d in m.distributions()}))"
    script = f'module load {" ".join(chain(site, name))} && python -c "{report}"'
    said = site.bash(script, user=USER)
    assert said.returncode == 0, said.stderr
    installed = json.loads(said.stdout)
    assert site.packages[name].items() <= installed.items()
    if name.startswith("python-bare") or name == "python":
        assert installed == site.packages[name]
    (entry,) = (item for item in site.index()[site.names[name].split("/")[0]].values() if item["fullName"] == site.names[name])
    listed = dict(item.split("/") for item in entry.get("provides", []))
    assert listed == ({} if name == "python-bare" else site.packages[name])


def test_a_bundle_is_found_through_ebpythonprefixes(site: Site) -> None:
    script = f"module load {' '.join(chain(site, 'pyyaml'))} && python -c 'import yaml; print(yaml.__version__)'"
    assert site.bash(script, user=USER).stdout.strip() == site.packages["pyyaml"]["pyyaml"]


def test_names_carry_the_true_version_and_none_is_a_default(site: Site) -> None:
    asked = subprocess.run([site.python, "-V"], env={}, capture_output=True, text=True, check=True)
    assert asked.stdout.split()[1] == site.python_version
    assert site.names["python"] == f"python/{site.python_version}"
    entries = [entry for versions in site.index().values() for entry in versions.values()]
    assert not [entry["fullName"] for entry in entries if entry["wV"].startswith("^")]
    exact = site.lmod("load", "gcc", environ={"LMOD_EXACT_MATCH": "yes"})
    assert exact.returncode == 1


def test_hdf5_has_two_chains(site: Site) -> None:
    found = site.index()["hdf5"].values()
    assert {entry["fullName"] for entry in found} == {site.names["hdf5"]}
    chains = sorted(entry["parentAA"] for entry in found)
    assert chains == [[[site.names["gcc"], site.names["openmpi"]]], [[site.names["gcc-other"], site.names["openmpi"]]]]
    roots = set()
    for (parents,) in chains:
        said = site.lmod("load", *parents, site.names["hdf5"])
        assert said.returncode == 0, said.stderr
        roots.add(values(said)["EBROOTHDF5"])
    assert len(roots) == 2


def test_what_is_replaced_silently_and_what_strict_flags_refuse(site: Site) -> None:
    first, second = site.names["gcc"], site.names["gcc-other"]
    swapped = site.lmod("load", first, second)
    assert (swapped.returncode, loaded(swapped), swapped.stderr.strip()) == (0, [second], "")
    family = site.lmod("load", first, site.names["intel"])
    assert (family.returncode, loaded(family)) == (0, [site.names["intel"]])
    assert "replacing" in family.stderr
    bare = site.lmod("load", *chain(site, "python-scientific", "python-bare"))
    assert bare.returncode == 0
    assert site.names["python"] not in loaded(bare)
    for words in ([first, second], [first, site.names["intel"]], chain(site, "python-scientific", "python-bare")):
        assert site.lmod("load", *words, strict=True).returncode == 1


def test_the_bare_python_loads_where_the_full_one_was_meant(private_site: Callable[[], Site]) -> None:
    copied = private_site()
    (file,) = copied.prefix.glob(f"apps/modulefiles/*/*/*/{copied.names['python']}.lua")
    file.unlink()
    said = copied.lmod("load", *chain(copied, "python"))
    assert (said.returncode, said.stderr.strip()) == (0, "")
    assert loaded(said)[-1] == copied.names["python-bare"]
    assert copied.lmod("load", *chain(copied, "python"), environ={"LMOD_EXTENDED_DEFAULT": "no"}).returncode == 1


@pytest.mark.parametrize("name", odd.HARMLESS)
def test_odd_modules_that_load(site: Site, name: str) -> None:
    for said in (
        site.lmod("load", site.names[name], trees=("odd",)),
        site.lmod("load", site.names[name], trees=("odd",), strict=True),
    ):
        assert said.returncode == 0, said.stderr
        assert loaded(said)[-1] == site.names[name]
        assert said.stdout.startswith("import os\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["failing/1.0"], "licence server"),
        (["broken/1.0"], "broken/1.0.lua"),
        (["friend/1.0", "conflicting/1.0"], "conflicting/1.0"),
        (["needy/1.0"], "base-lib/1.0"),
        (["dangling/1.0"], "not-there/1.0"),
        (["base-lib/1.0", "failing/1.0"], "licence server"),
    ],
)
def test_odd_modules_that_fail(site: Site, words: list[str], message: str) -> None:
    said = site.lmod("load", *words, trees=("odd",))
    assert said.returncode == 1
    assert message in said.stderr
    assert said.stdout.strip() == "_mlstatus = False"


def test_modules_that_fail_only_in_company_load_otherwise(site: Site) -> None:
    for words in (["conflicting/1.0"], ["base-lib/1.0", "needy/1.0"]):
        assert site.lmod("load", *words, trees=("odd",)).returncode == 0


def test_hidden_modules_load_by_their_full_name_only(site: Site) -> None:
    shown = site.lmod("-t", "avail", trees=("odd",)).stderr
    every = site.lmod("--show-hidden", "-t", "avail", trees=("odd",)).stderr
    index = site.index("odd")
    for name in ("shy", "concealed"):
        assert site.names[name] not in shown
        assert site.names[name] in every
        assert [entry["hidden"] for entry in index[name].values()] == [True]


def test_a_sticky_module_stays(site: Site) -> None:
    said = site.bash(
        "module load sticky/1.0 friend/1.0; module purge; echo $LOADEDMODULES; module --force purge; echo x$LOADEDMODULES", "odd"
    )
    assert said.stdout.split() == ["sticky/1.0", "x"]


def test_noisy_modules_print_before_lmod_does(site: Site) -> None:
    said = site.lmod("load", "noisy/1.0", trees=("odd",))
    assert said.returncode == 0
    assert said.stdout.startswith("Welcome to noisy\nhave a nice day\nimport os\n")
    assert "noisy: a note" in said.stderr
    hostile = site.lmod("load", "noisy/2.0", trees=("odd",))
    assert hostile.returncode == 0
    assert hostile.stdout.startswith("\n".join(odd.HOSTILE))
    raw = site.run([site.spider, "-o", "spider-json", site.modulepath("odd")], site.environ("odd"))
    assert raw.stdout.splitlines()[:-1].count('{"forged": {}}') == 1
    assert site.lmod("load", "noisy/3.0", trees=("odd",)).returncode == 0
    assert "noisy" not in json.dumps(site.index("ozstar"))


def test_odd_values_are_what_they_say(site: Site) -> None:
    """Lmod writes Lua strings whatever the shell is, so Lua itself can read them back."""
    lua = Path(site.lmod_cmd).read_text(encoding="utf-8").splitlines()[0].removeprefix("#!").split()[0]
    for module, wanted in (("odd-values/1.0", odd.VALUES), ("odd-bytes/1.0", {"ODD_BYTES": odd.BYTES})):
        said = site.lmod("load", module, trees=("odd",))
        body = said.stdout.removeprefix("import os\n")
        show = 'for k, v in pairs(os.environ) do io.write(k, "=", (v:gsub(".", function(c) return ("%02x"):format(c:byte()) end)), "\\n") end'
        printed = site.run([lua, "-e", f"os = {{environ = {{}}}}\n{body}\n{show}"], {}).stdout
        found = dict(line.split("=") for line in printed.splitlines())
        for name, value in wanted.items():
            assert bytes.fromhex(found[name]) == os.fsencode(value), name


def test_values_that_depend_on_who_where_and_when(site: Site) -> None:
    def result(name: str, more: dict[str, str]) -> dict[str, str]:
        found = values(site.lmod("load", name, trees=("odd",), environ=more))
        return {key: value for key, value in found.items() if not key.startswith(("__LMOD", "_ModuleTable"))}

    def twice(name: str, first: dict[str, str], second: dict[str, str]) -> bool:
        return result(name, first) != result(name, second)

    assert twice("home/1.0", {"HOME": "/a"}, {"HOME": "/b"})
    assert twice("job/1.0", {}, {"SLURM_JOB_ID": "7"})
    assert twice("clock/1.0", {}, {})
    assert not twice("base-lib/1.0", {"HOME": "/a"}, {"HOME": "/b", "SLURM_JOB_ID": "7"})
    assert values(site.lmod("load", "host/1.0", trees=("odd",)))["LOADED_ON"] == os.uname().nodename


def test_functions_aliases_and_limits_live_in_the_shell(site: Site) -> None:
    said = site.bash("ulimit -Sc 0; module load conda/latest; conda activate here; echo $CONDA_DEFAULT_ENV; type -t mamba")
    assert said.stdout.split() == ["here", "function"]
    said = site.bash("module load conda-like/1.0; greet you; alias ll; ulimit -c", "odd")
    assert said.stdout.splitlines() == ["hello you", "alias ll='ls -l'", "0"]


def test_a_sourced_script_changes_what_a_module_does(private_site: Callable[[], Site]) -> None:
    copied = private_site()
    assert values(copied.lmod("load", "sourced/1.0", trees=("odd",)))["SOURCED_VALUE"] == "as installed"
    script = copied.prefix / "odd" / "software" / "sourced" / "env.sh"
    script.write_text('export SOURCED_VALUE="edited"\n', encoding="utf-8")
    assert values(copied.lmod("load", "sourced/1.0", trees=("odd",)))["SOURCED_VALUE"] == "edited"


def test_loaded_paths_come_in_the_order_in_which_modules_put_them(site: Site) -> None:
    def after(*names: str, trees: tuple[str, ...] = ("odd",), **more: str) -> dict[str, str]:
        return values(site.lmod("load", *names, trees=trees, environ=more))

    assert after("path-first/1.0")["ORDER_PATH"] == "/inner:/outer"
    assert after("deps-first/1.0")["ORDER_PATH"] == "/outer:/inner"
    assert after("append/1.0", PYTHONPATH="/mine")["PYTHONPATH"] == "/mine:/append/lib"
    assert after("remove/1.0")["PATH"] == "/usr/bin:/bin"
    assert after("library-path/1.0")["LD_LIBRARY_PATH"] == "/library-path/lib:/library-path/lib64"
    unset = site.lmod("load", "unset/1.0", trees=("odd",), environ={"CC": "cc", "CXX": "c++"})
    assert 'del os.environ["CC"]' in unset.stdout
    assert values(unset)["CXX"] == "g++-site"
    inherited = after("wrapped/1.0", trees=("overlay", "odd"))
    assert (inherited["WRAPPED"], inherited["WRAPPED_BY"], inherited["WRAPPED_PATH"]) == ("1", "the overlay", "/overlay:/wrapped")


def test_an_extension_compiles_against_the_library_of_the_loaded_module(site: Site, tmp_path: Path) -> None:
    sdist = make_sdist(tmp_path)
    for version in ("1.0", "2.0"):
        wheels = tmp_path / version
        load = f"module load {site.names['gcc']} {site.names['python']} libflavour/{version}"
        build = f"python -m pip wheel -q --no-index --no-deps --no-build-isolation --no-cache-dir -w '{wheels}' '{sdist}'"
        unpack = f"cd '{wheels}' && python -m zipfile -e *.whl . && readelf -d flavoured.*.so"
        program = "import flavoured; print(flavoured.built(), flavoured.linked())"
        said = site.bash(f"{load} && {build} && {unpack} && python -c '{program}'", HOME=str(tmp_path))
        assert said.returncode == 0, said.stderr
        assert f"[libflavour.so.{version[0]}]" in said.stdout
        assert said.stdout.splitlines()[-1] == f"{version} {version}"


def test_everybody_may_read_the_site_and_only_its_owner_write(site: Site) -> None:
    for folder, _, files in os.walk(site.prefix):
        for path in (folder, *(os.path.join(folder, name) for name in files)):
            mode = os.lstat(path).st_mode
            if not stat.S_ISLNK(mode):
                assert mode & 0o022 == 0, path
                assert mode & 0o444 == 0o444, path


def test_editing_a_private_copy_leaves_the_site_alone(site: Site, private_site: Callable[[], Site]) -> None:
    copied, other = private_site(), private_site()
    said = copied.lmod("load", *chain(copied, "python-scientific"))
    assert said.returncode == 0, said.stderr
    assert f'"{site.prefix}/' not in said.stdout
    (Path(copied.roots["ozstar"]) / f"{copied.names['gcc']}.lua").unlink()
    for untouched in (site, other):
        assert untouched.lmod("load", *chain(untouched, "hdf5")).returncode == 0
    assert copied.lmod("load", *chain(copied), environ={"LMOD_EXTENDED_DEFAULT": "no"}).returncode == 1


def test_making_the_site_again_takes_what_is_there(site: Site) -> None:
    before = (site.prefix / "site.json").stat()
    assert make.make(site.prefix) == site
    assert (site.prefix / "site.json").stat().st_ino == before.st_ino
    assert load_site(site.prefix) == site


def test_a_killed_making_of_the_site_is_not_taken_for_whole(site: Site, tmp_path: Path) -> None:
    prefix = tmp_path / "killed"
    command = [sys.executable, "-m", "tests.fake_cluster.make", "--prefix", str(prefix)]
    root = Path(__file__).parents[2]
    maker = subprocess.Popen(command, cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 60
    while not (prefix / "apps").exists() and maker.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(maker.pid, signal.SIGKILL)
    maker.wait()
    assert (prefix / "apps").is_dir()
    with pytest.raises(SiteUnavailable, match="not a finished test site"):
        load_site(prefix)
    make._clear(prefix)
    assert [path.name for path in prefix.iterdir()] == [make._MARK]


def test_a_folder_of_somebody_s_is_not_replaced(site: Site, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    tmp_path.chmod(0o755)
    with pytest.raises(SiteUnavailable, match="not a test site"):
        make.make(tmp_path)
    assert (tmp_path / "thesis.tex").exists()
