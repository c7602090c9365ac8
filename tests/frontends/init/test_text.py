"""From what was found to texts: each is a spec that is accepted, says what was found, and names nobody's machine."""

from __future__ import annotations

import ast
import itertools
from pathlib import Path

import pytest

from ozrepro.frontends.init import Conda, Files, Found, Loaded, Package, Venv
from ozrepro.frontends.init.text import function_text, noxfile_text, spec_text
from ozrepro.methods.reading import parse_spec
from ozrepro.project.spec import Spec
from tests.tables import table_of

NUMPY = Package("numpy", "1.22.3", ("numpy",))
ASTROPY = Package("astropy", "6.1.0", ("astropy",))
MODULES = Loaded(("python-scientific/3.10.4-foss-2022a",), ("gcc/11.3.0", "openmpi/4.1.4"), (), (NUMPY,))
VENV = Venv("3.10", True, (ASTROPY,))
CONDA = Conda(
    "",
    ("conda-forge",),
    ("python=3.10", "alpha"),
    ("python=3.10.4", "alpha=1.0"),
    (),
    "3.10",
    (Package("alpha", "1.0", ("alpha",)),),
)


def spec_of(found: Found, *, pin: bool = False) -> Spec:
    """Return what ozrepro reads in the text of a spec."""
    return parse_spec(Path("sessions/work.toml"), spec_text(found, "work", pin=pin))


def test_modules_with_an_environment_on_top_and_a_way_without_them() -> None:
    assert spec_text(Found(MODULES, VENV), "work") == (
        "#:schema ./spec.schema.json\n"
        "# Made by ozrepro init from what was there. Edit it, then: ozrepro lock work\n"
        'description = ""   # what it does, in one line\n'
        'methods = ["modules", "venv"]   # the first available one is used\n'
        'imports = ["astropy", "numpy"]   # checked after a build\n'
        "\n"
        "[modules]\n"
        'load = ["python-scientific/3.10.4-foss-2022a"]   # gcc/11.3.0 openmpi/4.1.4, needed first, are found\n'
        "[modules.venv]\n"
        "system-site-packages = true\n"
        'requirements = ["astropy"]\n'
        "\n"
        "# Away from the cluster\n"
        "[venv]\n"
        'python = ">=3.10"\n'
        'requirements = ["astropy", "numpy"]\n'
    )


def test_versions_are_written_only_when_asked_for() -> None:
    found = spec_of(Found(MODULES, VENV, CONDA), pin=True)
    assert table_of(found, "modules").venv.requirements == ("astropy==6.1.0",)
    assert table_of(found, "venv").requirements == ("astropy==6.1.0", "numpy==1.22.3", "alpha==1.0")
    assert table_of(found, "conda").dependencies == ("python=3.10.4", "alpha=1.0")


def test_another_version_than_the_modules_is_named_and_the_same_is_left_to_them() -> None:
    venv = Venv(
        "3.10", False, (Package("numpy", "1.24.4", ("numpy",), "", "1.22.3"), Package("scipy", "1.8.1", ("scipy",), "", "1.8.1"))
    )
    found = spec_of(Found(MODULES, venv))
    assert table_of(found, "modules").venv.requirements == ("numpy==1.24.4",)
    assert table_of(found, "venv").requirements == ("numpy", "scipy")


def test_what_the_project_s_files_name_is_not_named_twice() -> None:
    files = Files(("-e .", "-r requirements.txt"), frozenset(("numpy", "astropy")))
    found = spec_of(Found(MODULES, VENV, None, files))
    assert table_of(found, "modules").venv.requirements == ("-e .", "-r requirements.txt")
    assert table_of(found, "venv").requirements == ("-e .", "-r requirements.txt")


def test_the_address_of_a_requirement_is_kept() -> None:
    address = "https://example.org/a-1.0-py3-none-any.whl"
    found = spec_of(Found(None, Venv("", False, (Package("a", "1.0", (), address),))))
    assert table_of(found, "venv").requirements == (f"a @ {address}",)
    assert found.imports == ()


def test_names_to_import_are_those_that_each_method_has() -> None:
    both = Conda("", (), ("numpy",), ("numpy=1",), (), "", (NUMPY,))
    assert spec_of(Found(MODULES, VENV, both)).imports == ("numpy",)
    assert spec_of(Found(MODULES, VENV, CONDA)).imports == ()


@pytest.mark.parametrize("found", [Found(MODULES, VENV, Conda("environment.yml")), Found(None, VENV, None, Files(image="a.sif"))])
def test_names_to_import_are_proposals_where_a_method_s_packages_are_unknown(found: Found) -> None:
    assert spec_of(found).imports == ()
    assert '# imports = ["astropy"' in spec_text(found, "work")


def test_no_venv_is_proposed_where_no_package_is_known() -> None:
    for found in (
        Found(Loaded(("gcc/11.3.0",))),
        Found(None, None, Conda("environment.yml")),
        Found(files=Files(definition="a.def")),
    ):
        assert "venv" not in spec_of(found).tables
        assert "# For machines without these" in spec_text(found, "work")


def test_a_spec_of_an_empty_folder_has_a_table_to_fill_in() -> None:
    found = spec_of(Found())
    assert table_of(found, "venv").requirements == ()
    assert "name your packages here" in spec_text(Found(), "work")


def test_an_environment_that_sees_more_than_the_spec_s_is_told() -> None:
    assert "also sees the packages of the Python below it" in spec_text(Found(None, VENV), "work")


ODD = Found(
    Loaded(('na"me/1\\2',), ("gcc/\n1",), ("~/my modules",), (NUMPY,)),
    Venv("3.10", False, (ASTROPY,)),
    Conda("", ('https://x.org/"é"',), ("numpy[version='>=1']",), ("numpy=1",), (NUMPY,), "3.10", ()),
    Files(("-r requirements.txt",), frozenset(), "sessions/a b.def"),
)


@pytest.mark.parametrize("pin", [False, True])
def test_every_combination_of_proposals_is_a_valid_spec(pin: bool) -> None:
    for modules, venv, conda, files in itertools.product(
        (None, MODULES, ODD.modules),
        (None, VENV),
        (None, CONDA, ODD.conda, Conda("environment.yml")),
        (Files(), ODD.files, Files(image="x.sif")),
    ):
        found = spec_of(Found(modules, venv, conda, files), pin=pin)
        kinds = (modules, conda, files.definition or files.image)
        assert [name for name in found.methods if name != "venv"] == [
            name for name, there in zip(("modules", "conda", "container"), kinds, strict=True) if there
        ]


def test_a_noxfile_runs_the_project_s_program_or_what_is_given() -> None:
    for script in ("", "sessions/work.py", 'a"b.py', "é\n.py"):
        text = noxfile_text(Found(files=Files(script=script)), "work")
        ast.parse(text)
        assert text.startswith("import ozrepro\n")
        assert function_text(Found(files=Files(script=script)), "work") in text
    assert 'session.run("python", "sessions/work.py", *session.posargs)' in noxfile_text(
        Found(files=Files(script="sessions/work.py")), "work"
    )
