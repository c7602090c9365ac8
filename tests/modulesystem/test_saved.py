"""Collections of modules as the tools save them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ozrepro import process
from ozrepro.modulesystem import ModuleError
from ozrepro.modulesystem.lmod import FLAGS, Lmod
from ozrepro.modulesystem.saved import exact, lmod_names, tcl_names, text_of
from tests.fake_cluster import Site

TCL = """#%Module5.1
module use --append /site/core
module use {/with space}
module load gcc
module load --tag=auto-loaded python/3.10.13
module load --notuasked zlib/1.2
module load {python-scientific/3.10.13} +flavour
"""


def test_names_of_environment_modules_are_those_asked_for() -> None:
    assert tcl_names(TCL) == (("gcc", "python-scientific/3.10.13"), ("/site/core", "/with space"))
    assert tcl_names('exec touch /x\nmodule load\nmodule load [exec id]\nmodule "load" a/1') == (("[exec",), ())


def test_a_collection_s_name_gives_the_module_that_was_loaded_for_it() -> None:
    loaded, others = ["gcc/11.3.0", "openmpi/4.1.4", "mkl/2"], "gcc/11.3.0&al|compiler:openmpi/4.1.4&al|mpi&as|openmpi/latest"
    assert exact(["compiler", "openmpi", "mkl/2"], loaded, others) == ("gcc/11.3.0", "openmpi/4.1.4", "mkl/2")
    with pytest.raises(ModuleError, match="zlib of the collection is not loaded by it"):
        exact(["zlib"], loaded, others)


def test_lmods_own_file_has_exact_names_in_load_order(lmod: Lmod, site: Site, tmp_path: Path) -> None:
    environ = {**site.environ("ozstar"), **FLAGS, "HOME": str(tmp_path)}
    names = (site.names["gcc"], site.names["openmpi"], site.names["python-scientific"])
    loaded = lmod.load(names, environ)
    done = process.run([lmod.command, "bash", "save", "mine"], env={**environ, **loaded.values})
    assert done.status == 0, done.errors
    assert lmod.collection("mine", {"HOME": str(tmp_path)}, ()) == names
    with pytest.raises(ModuleError, match="there is no collection 'other' of yours; saved are mine"):
        lmod.collection("other", {"HOME": str(tmp_path)}, ())


def test_another_systems_collections_are_not_taken(tmp_path: Path) -> None:
    for name in ("mine.milan", "mine", "mine~", "__old.milan", ".hidden.milan"):
        (tmp_path / name).write_text(name)
    assert text_of("mine", [str(tmp_path)], ".milan") == "mine.milan"
    with pytest.raises(ModuleError, match=r"saved are mine\n"):
        text_of("other", [str(tmp_path)], ".milan")


def test_a_file_that_is_no_collection_has_no_names() -> None:
    assert lmod_names("os.execute('touch /x')") == ()
