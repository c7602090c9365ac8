"""Reading and checking a session's description."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ozrepro.errors import SpecError, UsageError
from ozrepro.methods.container.table import ContainerTable
from ozrepro.methods.reading import load_spec, parse_spec
from ozrepro.project.spec import check_name
from ozrepro.project.toml import dumps
from tests.tables import table_of

PATH = Path("/project/sessions/analysis.toml")

WHOLE = """
description = "Period of the solar cycle from yearly sunspot numbers"
methods = ["modules", "conda", "container", "venv"]
imports = ["numpy", "scipy.signal", "astropy.timeseries"]

[modules]
load = ["python-scientific/3.10.4-foss-2022a"]
use = []
pass = []
[modules.venv]
system-site-packages = true
requirements = ["astropy"]
build = []

[conda]
channels = ["conda-forge"]
dependencies = ["python=3.10", "numpy", "scipy", "astropy"]

[container]
definition = "sessions/analysis.def"
gpu = "nvidia"

[venv]
python = ">=3.10"
requirements = ["numpy", "scipy", "astropy"]
"""


def mistakes(text: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        parse_spec(PATH, text)
    return list(caught.value.problems)


def test_the_design_s_own_example_is_read_whole() -> None:
    spec = parse_spec(PATH, WHOLE)
    assert spec.name == "analysis"
    assert spec.methods == ("modules", "conda", "container", "venv")
    assert table_of(spec, "modules").venv.system_site_packages
    assert table_of(spec, "conda").dependencies[0] == "python=3.10"
    assert table_of(spec, "container").gpu == "nvidia"
    assert table_of(spec, "venv").python == ">=3.10"


def test_all_keys_of_a_container_are_read() -> None:
    text = (
        '[container]\nfrom = "conda"\nbase = "docker://debian:12"\nmodule = "apptainer/1.4.5"\ngpu = "amd"\n'
        'bind = ["/fred/oz001:/data:ro"]\npass = ["MY_DATA"]\n'
    )
    assert table_of(parse_spec(PATH, text), "container") == ContainerTable(
        source="conda",
        base="docker://debian:12",
        module="apptainer/1.4.5",
        gpu="amd",
        bind=("/fred/oz001:/data:ro",),
        passed=("MY_DATA",),
    )
    text = '[container]\ndefinition = "a.def"\nbuild-args = { VERSION = "1.0" }\n'
    assert table_of(parse_spec(PATH, text), "container") == ContainerTable(definition="a.def", build_args={"VERSION": "1.0"})


def test_all_mistakes_of_a_file_are_reported_together_with_line_key_and_what_would_be_right() -> None:
    text = (
        'methods = ["venv", "conda"]\nimprots = ["numpy"]\n\n[venv]\npython = "3.10 or so"\nrequirements = "numpy"\nbuild = [1]\n'
    )
    found = mistakes(text)
    assert len(found) == 5
    assert found[0] == "line 2, improts: unknown key; did you mean 'imports'?"
    assert "line 5, venv.python: '3.10 or so' is not a version range" in found[1]
    assert found[2] == 'line 6, venv.requirements: is a string; write an array of strings: ["…"]'
    assert "line 7, venv.build[0]: is a whole number; write a string in quotes" in found
    assert "line 1, methods: lists 'conda' but there is no [conda] table; add [conda] or remove it from methods" in found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "describes no method"),
        ("methods = []\n[venv]\n", "methods: is empty"),
        ('methods = ["venv", "venv"]\n[venv]\n', "lists a method twice"),
        ('methods = ["pip"]\n[venv]\n', "'pip' is not known; write one of: modules, conda, container, venv"),
        ("venv = 1\n", "venv: is a whole number; write a table"),
        ("[modules]\n", "modules.load: is missing"),
        ('[modules]\nload = ["python/"]\n', "'python/' is not a module name"),
        ('[modules]\nload = []\ncollection = "../x"\n', "modules.collection: '../x' is not a collection name"),
        ('[modules]\nload = ["gcc /11"]\n', "is not a module name"),
        ("[conda]\n", "conda.dependencies: is missing"),
        ('[conda]\ndependencies = []\nfile = "environment.yml"\n', "cannot be combined with dependencies"),
        ('[conda]\nfile = "../environment.yml"\n', "leaves the project"),
        ('[conda]\nfile = "e.yml"\nchannel-priority = "loose"\n', "write one of: strict, flexible, disabled"),
        ("[container]\n", "names no image; write exactly one of definition, image, from"),
        ('[container]\nimage = "a.sif"\ndefinition = "a.def"\n', "has definition and image"),
        ('[container]\nimage = "a.sif"\ngpu = "intel"\n', "write one of: nvidia, amd"),
        ('[container]\nimage = "a.sif"\ngpu = true\n', "container.gpu: is true or false; write a string in quotes"),
        ("[container]\nfrom = 1\n", "container.from: is a whole number; write a string in quotes"),
        (
            '[container]\nfrom = "spack"\n',
            "container.from: no image can be made from 'spack'; write one of: conda, modules, venv",
        ),
        (
            '[container]\nimage = "a.sif"\nbase = "docker://b"\n',
            "container.base: is given without from; remove it, or write from",
        ),
        ('[container]\nfrom = "venv"\nbuild-args = { A = "1" }\n', "container.build-args: is given without definition"),
        ('[container]\nimage = "a.sif"\nmodule = "-x/1"\n', "container.module: '-x/1' is not a module name"),
        ('[container]\nimage = "a.sif"\nmodule = 5\n', "container.module: is a whole number"),
        ('[container]\ndefinition = "../a.def"\n', "container.definition: '../a.def' leaves the project"),
        ('[container]\ndefinition = "a.def"\nbuild-args = { A = 1 }\n', "container.build-args.A: is a whole number"),
        ('[container]\nimage = "a.sif"\nbind = "/fred"\n', "container.bind: is a string; write an array"),
        ('[container]\nimage = "a.sif"\npass = ["A=B"]\n', "is not a variable's name"),
        ('[container]\nimage = "a.sif"\nbinds = []\n', "container.binds: unknown key; did you mean 'bind'?"),
        ('[venv]\nrequirements = ["numpy >"]\n', "is not a requirement"),
        ('[venv]\nrequirements = ["--index-url https://x"]\n', "is an installer's option"),
        ('[venv]\nrequirements = ["-e ../other"]\n', "is not a folder of the project; write for example -e . or -e ./FOLDER"),
        ('[venv]\nrequirements = ["-e . --pre"]\n', "is not a folder of the project"),
        ('[venv]\nrequirements = ["-r /etc/passwd"]\n', "leaves the project"),
        ('[venv]\nrequirements = ["a @ git+https://x/y"]\n', "git ls-remote https://x/y HEAD gives the commit: write a @ git+"),
        (
            '[venv]\nrequirements = ["six @ git+https://github.com/benjaminp/six@1.16.0"]\n',
            "write six @ git+https://github.com/benjaminp/six@COMMIT",
        ),
        ('[venv]\nrequirements = ["git+https://x/y@main"]\n', "names 'main', which is not a full commit"),
        ('[venv]\nrequirements = ["-e git+https://x/y@main#egg=y"]\n', "write y @ git+https://x/y@COMMIT"),
        ('[venv]\nrequirements = ["six @ file:///home/conda/six_1/work"]\n', "write six==VERSION (pip list --format=freeze)"),
        ('[venv]\nrequirements = ["numpy=1.24.3=py311_1"]\n', "in dependencies of [conda], or write numpy==1.24.3"),
        ('[conda]\ndependencies = ["pip"]\npip = ["numpy=1.24"]\n', "or write numpy==1.24"),
        ('[venv]\nrequirements = ["-r pylock.toml"]\n', "ozrepro lock NAME --from pylock.toml"),
        ('[venv]\nrequirements = ["-c locks/pylock.dev.toml"]\n', "ozrepro lock NAME --from locks/pylock.dev.toml"),
        ('[venv]\nrequirements = ["a @ http://x/a-1-py3-none-any.whl"]\n', "is not an https address"),
        ('[venv]\nrequirements = ["a @ https://me:word@x/a-1-py3-none-any.whl"]\n', "holds a user name or password"),
        ('[venv]\nrequirements = ["  "]\n', "is empty; remove it"),
        ('[venv]\nbuild = ["../x"]\n', "is not a distribution name"),
        ('[venv]\npass = ["A-B"]\n', "is not a variable's name"),
        ('[venv]\nplatforms = ["windows"]\n', "is not known; write one of: linux-x86_64"),
        ('imports = ["os; x"]\n[venv]\n', "is not an importable name"),
        ('description = "a\\u202eb"\n[venv]\n', "invisible character RIGHT-TO-LEFT OVERRIDE"),
        ("[venv\n", "is not valid TOML"),
        ('[venv]\npython = ">=3.10"\npython = ">=3.11"\n', "is not valid TOML"),
    ],
)
def test_a_mistake_in_a_spec_is_named_once(text: str, said: str) -> None:
    found = mistakes(text)
    assert any(said in line for line in found), found
    assert len(set(found)) == len(found)


@pytest.mark.parametrize(
    "requirement",
    ["numpy", "numpy>=1.26,<3", "scipy[test]; python_version > '3.10'", "-r requirements.txt", "-r my file.txt", "-c limits.txt", "-e .",
     "-e .[plot]", "-e.", ".", ".[plot,test]", "./sub", "-e ./sub[x]", "-e sub", "--editable=.", "a @ https://host/a-1-py3-none-any.whl#sha256=" + "0" * 64],
)  # fmt: skip
def test_a_requirement_that_pip_users_write_is_taken(requirement: str) -> None:
    spec = parse_spec(PATH, dumps({"venv": {"requirements": [requirement]}}))
    assert table_of(spec, "venv").requirements == (requirement,)


@pytest.mark.parametrize("name", ["", "-a", "1a", "a b", "a\nb", "é", "a" * 65, "../a"])
def test_a_name_that_no_script_could_hold_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="cannot name a session"):
        check_name(name)


def test_a_missing_spec_names_the_sessions_that_are_there(tmp_path: Path) -> None:
    (tmp_path / "sessions").mkdir()
    (tmp_path / "sessions" / "one.toml").write_text("[venv]\n")
    with pytest.raises(UsageError, match="one of: one"):
        load_spec(tmp_path, "two")


def test_all_mistakes_of_conda_are_told_with_the_others_each_with_line_and_key() -> None:
    found = mistakes(
        'descripton = "x"\n[conda]\nchannels = ["conda-forge", "no channel!"]\n'
        'dependencies = ["python=3.10", "numpy=>1", "https://u:pw@h/c::pkg"]\nplatforms = ["linux"]\nexclude-newer = "yesterday"\n'
        'mpi = "lam/7"\npip = ["--pre"]\n[conda.virtual-packages]\ncuda = "new"\ngpu = "1"\n'
    )
    for start, what in (
        ("line 1, descripton: ", "unknown key"),
        ("line 3, conda.channels[1]: ", "'no channel!' is not a channel"),
        ("line 4, conda.dependencies[1]: ", "'numpy=>1': unable to parse version spec"),
        ("line 4, conda.dependencies[2]: ", "'https://h/c' holds a login or token"),
        ("line 5, conda.platforms[0]: ", "'linux' is not known"),
        ("line 6, conda.exclude-newer: ", "is not a date"),
        ("line 7, conda.mpi: ", "not an MPI that conda knows"),
        ("line 8, conda.pip[0]: ", "installer's option"),
        ("line 10, conda.virtual-packages.cuda: ", "is not a version"),
        ("line 11, conda.virtual-packages.gpu: ", "is not known"),
    ):
        assert [line for line in found if line.startswith(start) and what in line], (start, found)
    assert len(found) == 10


def test_a_channel_that_only_the_settings_can_name_is_no_mistake_of_the_spec() -> None:
    for channels, package in (
        ('["https://mirror.example/x/tools"]', "mine::pkg"),
        ('["conda-forge"]', "https://conda.anaconda.org/conda-forge::pkg"),
        ('["defaults"]', "pkgs/main::pkg"),
        ('["conda-forge/label/dev"]', "conda-forge/label/dev::pkg"),
    ):
        assert "conda" in parse_spec(PATH, f'[conda]\nchannels = {channels}\ndependencies = ["{package}"]\n').tables


def test_mpi_is_a_module_or_several_of_which_the_last_is_the_mpi() -> None:
    for value, names in (('"openmpi/4.1.4"', ("openmpi/4.1.4",)), ('["gcc/11.3.0", "OpenMPI/4"]', ("gcc/11.3.0", "OpenMPI/4"))):
        spec = parse_spec(PATH, f"[conda]\ndependencies = []\nmpi = {value}\n")
        assert table_of(spec, "conda").mpi == names
    for value, problem in (
        ('["openmpi/4", "gcc/11.3.0"]', "to stand last"),
        ('["gcc/", "openmpi/4"]', "conda.mpi[0]: 'gcc/' is not a module name"),
        ("[]", "names no module"),
        ("4", "is a whole number"),
    ):
        assert problem in "".join(mistakes(f"[conda]\ndependencies = []\nmpi = {value}\n"))


@given(st.text(st.characters(codec="utf-8")))
def test_any_text_is_a_spec_or_a_spec_error(text: str) -> None:
    try:
        parse_spec(PATH, text)
    except SpecError as error:
        assert error.problems


_JUNK = st.recursive(
    st.one_of(st.booleans(), st.integers(0, 9), st.text(st.characters(codec="utf-8"), max_size=5)),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5), inner, max_size=2)
    ),
    max_leaves=4,
)
_PLACES = ["description", "methods", "imports", "modules", "conda", "container", "venv", "modules.load", "modules.venv",
           "modules.venv.requirements", "conda.channels", "conda.virtual-packages", "container.bind", "container.build-args", "container.base", "container.from", "container.module", "container.image",
           "venv.python", "venv.requirements", "venv.build", "venv.platforms", "venv.pass", "venv.unknown"]  # fmt: skip


@given(st.lists(st.tuples(st.sampled_from(_PLACES), _JUNK), min_size=1, max_size=4))
def test_any_value_anywhere_is_read_or_reported(changes: list[tuple[str, object]]) -> None:
    from ozrepro.project.toml import loads

    table = loads(WHOLE)
    for place, junk in changes:
        inner: object = table
        *parts, last = place.split(".")
        for part in parts:
            inner = inner.setdefault(part, {}) if isinstance(inner, dict) else {}
        if isinstance(inner, dict):
            inner[last] = junk
    try:
        parse_spec(PATH, dumps(table))
    except SpecError as error:
        assert all(line.strip() for line in error.problems)


FOREIGN = ("1979-05-27", "1979-05-27T07:32:00Z", "07:32:00", "1.5", "inf", "nan", "9223372036854775807", "true", "{ a = 1 }")


@pytest.mark.parametrize("value", FOREIGN)
@pytest.mark.parametrize(
    ("head", "key"),
    [
        ("", "description"),
        ("", "methods"),
        ("", "imports"),
        ("[venv]\n", "venv.python"),
        ("[venv]\n", "venv.requirements"),
        ('[modules]\nload = ["a/1"]\n[modules.venv]\n', "modules.venv.build"),
        ("[conda]\ndependencies = []\n", "conda.exclude-newer"),
        ("[conda]\ndependencies = []\n", "conda.channels"),
        ('[container]\nimage = "a.sif"\n', "container.gpu"),
    ],
)
def test_a_value_of_another_kind_is_refused_with_its_key(head: str, key: str, value: str) -> None:
    rest = "" if head else "[venv]\n"
    with pytest.raises(SpecError) as caught:
        parse_spec(PATH, f"{head}{key.rpartition('.')[2]} = {value}\n{rest}")
    assert any(f"{key}: is " in line for line in caught.value.problems), caught.value.problems


def test_a_number_of_more_than_64_bits_is_refused() -> None:
    with pytest.raises(SpecError, match="a number of more than 64 bits"):
        parse_spec(PATH, f"description = {2**63}\n[venv]\n")
