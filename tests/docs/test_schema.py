"""The JSON Schemas for editors: made from the reader's types, and of one mind with the reader."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import tomlkit
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from ozrepro.errors import SpecError
from ozrepro.frontends.init.text import SCHEMA, SETTINGS_SCHEMA, schema_text
from ozrepro.methods.reading import load_settings, parse_spec
from ozrepro.project.toml import TOMLDecodeError, dumps, loads
from tests.docs.pages import ROOT, all_pages, fences

SPECS = jsonschema.Draft7Validator(json.loads(schema_text(SCHEMA)))
SETTINGS = jsonschema.Draft7Validator(json.loads(schema_text(SETTINGS_SCHEMA)))
Table = dict[str, Any]

NAMES = st.text(st.sampled_from("abz09._-é *+/"), min_size=1, max_size=8)
REQUIREMENTS = st.sampled_from(
    ["numpy", "astropy[all]>=6", "-r requirements.txt", "-e .", "--group dev", "tool @ https://a.example/a.whl"]
)
BUILT = st.sampled_from(["mpi4py", "h5py"])
PASSED = st.sampled_from(["SCRATCH", "UCX_*"])
MODULES = st.sampled_from(["gcc/11.3.0", "python/3.10.4", "openmpi/4.1.4"])
METHODS = ("modules", "conda", "container", "venv")


def listed(of: st.SearchStrategy[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(of, max_size=2)


def table(
    required: dict[str, st.SearchStrategy[Any]] | None = None, **optional: st.SearchStrategy[Any]
) -> st.SearchStrategy[Table]:
    """Draw a table; `_` in a name is `-`."""
    return st.fixed_dictionaries(required or {}, optional={key.replace("_", "-"): value for key, value in optional.items()})


LAYER = table(system_site_packages=st.booleans(), requirements=listed(REQUIREMENTS), build=listed(BUILT))
TABLES: dict[str, st.SearchStrategy[Table]] = {
    "modules": table(
        {"load": st.lists(MODULES, min_size=1, max_size=3), "pass": listed(PASSED)},
        collection=st.sampled_from(["mine", "a.b-c+d"]),
        use=listed(st.sampled_from(["~/modules", "modules"])),
        site_variables=listed(st.sampled_from(["CPU_TARGET", "CLUSTER"])),
        accept_effects=listed(MODULES),
        keep=st.sampled_from(["", "python", "all"]),
        venv=LAYER,
    ),
    "conda": st.one_of(
        *(
            table(
                named,
                channels=listed(st.sampled_from(["conda-forge", "defaults", "https://a.example/channel"])),
                pip=listed(st.sampled_from(["numpy", "six==1.17.0"])),
                platforms=listed(st.sampled_from(["linux-64", "osx-arm64"])),
                virtual_packages=st.fixed_dictionaries({}, optional={"cuda": st.just("12.4"), "glibc": st.just("2.28")}),
                mpi=st.one_of(st.just("openmpi/4.1.4"), st.just(["gcc/11.3.0", "openmpi/4.1.4"])),
                channel_priority=st.sampled_from(["strict", "flexible", "disabled"]),
                exclude_newer=st.just("2026-01-31"),
            )
            for named in (
                {"dependencies": listed(st.sampled_from(["numpy", "python=3.10", "conda-forge::six"]))},
                {"file": st.just("environment.yml")},
            )
        )
    ),
    "container": st.one_of(
        table({"definition": st.just("a.def")}, build_args=st.dictionaries(NAMES, st.just("1"), max_size=2)),
        table({"image": st.sampled_from(["docker://debian:12", "a.sif"])}, gpu=st.sampled_from(["", "nvidia", "amd"])),
        table({"from": st.sampled_from(["venv", "conda", "modules"])}, base=st.just("a.sif"), bind=listed(st.just("/a:/b:ro"))),
    ),
    "venv": table(
        python=st.sampled_from([">=3.10", ">=3.10,<3.13"]),
        requirements=listed(REQUIREMENTS),
        build=listed(BUILT),
        platforms=listed(st.sampled_from(["linux-x86_64", "macos-x86_64"])),
    ),
}


@st.composite
def specs(draw: st.DrawFn) -> Table:
    """Draw a description that ozrepro reads, or would but for what only the reader checks."""
    names = draw(st.lists(st.sampled_from(METHODS), min_size=1, max_size=2, unique=True))
    top: Table = {name: draw(TABLES[name]) for name in sorted(names)}
    top |= draw(
        table(
            description=st.text(st.sampled_from("ab é\n\t"), max_size=8),
            imports=listed(st.one_of(st.sampled_from(["numpy", "scipy.signal", "naïve.módulo", "é"]), NAMES)),
            methods=st.just(names),
        )
    )
    return top


SETTING = table(
    {"pass": listed(PASSED)},
    store=st.just("../store"),
    form=st.sampled_from(["", "tree", "file", "auto"]),
    methods=listed(st.sampled_from(METHODS)),
    platform=st.sampled_from(["", "milan"]),
    platforms=listed(st.sampled_from(["linux-x86_64", "linux-ppc64le"])),
    modulepath=listed(st.just("/apps/modulefiles")),
    module_tool=st.sampled_from(["", "lmod", "tcl"]),
    locks=st.sampled_from(["auto", "flock", "ticket"]),
    record=st.just("records"),
    record_with=listed(st.sampled_from(["host", "user"])),
    lock_timeout=st.one_of(st.integers(-1, 10**9), st.floats(-1, 1e9), st.just(float("inf"))),
    indexes=st.dictionaries(NAMES, st.just("https://packages.example/simple"), max_size=2),
    channels=st.dictionaries(st.sampled_from(["conda-forge", "pkgs/main"]), st.just("file:///mirror"), max_size=2),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of each value inside a table."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] * bool(path) + [place for key, item in inner for place in places(item, (*path, key))]


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def with_wrong_type(draw: st.DrawFn, whole: Table) -> Table:
    """Return a table in which one value has a type that its key never has."""
    changed = copy.deepcopy(whole)
    *above, key = draw(st.sampled_from(places(whole)))
    old = at(changed, (*above, key))
    others = [value for value in (17, True, {"x": 1}, [["x"]], "x") if type(value) is not type(old)]
    if isinstance(old, (int, float)) and not isinstance(old, bool):
        others = [True, "x"]  # a whole number is a number too
    if key == "mpi":
        others = [17, {"x": 1}]  # a name or an array of names
    at(changed, tuple(above))[key] = draw(st.sampled_from(others))
    return changed


def with_unknown_key(draw: st.DrawFn, whole: Table) -> Table:
    """Return a table with a key that no table of a spec has, in one whose keys are fixed."""
    free = ("virtual-packages", "build-args", "indexes", "channels")
    changed = copy.deepcopy(whole)
    tables = [
        path for path in [(), *places(whole)] if isinstance(at(whole, path), dict) and path[-1:] not in [(n,) for n in free]
    ]
    at(changed, draw(st.sampled_from(tables)))[draw(st.sampled_from(["descripton", "Load", "système", ""]))] = "x"
    return changed


@st.composite
def cases(draw: st.DrawFn, of: st.SearchStrategy[Table]) -> tuple[Table, bool]:
    """Draw a table, and whether a key or a type in it is wrong, which the reader and the schema must both refuse."""
    whole = draw(of)
    change = draw(st.sampled_from([None, with_wrong_type, with_unknown_key]))
    if change is None or not places(whole):
        return whole, False
    return change(draw, whole), True


def is_spec(text: str) -> bool:
    try:
        parse_spec(Path("sessions/x.toml"), text)
    except SpecError:
        return False
    return True


@given(cases(specs()))
@hypothesis_settings(max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_spec_that_the_reader_takes_is_valid_and_wrong_keys_and_types_are_refused_by_both(case: tuple[Table, bool]) -> None:
    value, wrong = case
    text = dumps(value)
    taken, valid = is_spec(text), SPECS.is_valid(loads(text))
    assert valid or not taken, text
    assert not (wrong and (taken or valid)), text


@given(cases(SETTING))
@hypothesis_settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_settings_that_the_reader_takes_are_valid_and_wrong_keys_and_types_are_refused_by_both(case: tuple[Table, bool]) -> None:
    value, wrong = case
    text = tomlkit.dumps({"tool": {"ozrepro": value}})  # which writes numbers that no lock has
    with tempfile.TemporaryDirectory() as root:
        (Path(root) / "pyproject.toml").write_text(text, encoding="utf-8")
        try:
            load_settings(Path(root), {})
            taken = True
        except SpecError:
            taken = False
    valid = SETTINGS.is_valid(loads(text))
    assert valid or not taken, text
    assert not (wrong and (taken or valid)), text


def test_most_of_the_drawn_specs_are_taken_by_the_reader() -> None:
    """So that the law above says something of specs that hold."""
    drawn: list[bool] = []

    @given(specs())
    @hypothesis_settings(max_examples=50, deadline=None, database=None, derandomize=True)
    def draw(value: Table) -> None:
        drawn.append(is_spec(dumps({**value, "imports": []})))

    draw()
    assert sum(drawn) > len(drawn) / 2


def test_the_committed_schemas_are_what_the_types_and_the_reference_make() -> None:
    done = subprocess.run([sys.executable, ROOT / "docs" / "schema.py", "--check"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("validator", [SPECS, SETTINGS], ids=["spec", "settings"])
def test_every_key_of_a_schema_has_the_words_of_the_reference(validator: Any) -> None:
    jsonschema.Draft7Validator.check_schema(validator.schema)
    waiting = [validator.schema]
    while waiting:
        schema = waiting.pop()
        for key, inner in schema.get("properties", {}).items():
            assert inner.get("description") or key in ("tool", "ozrepro"), key
            waiting.append(inner)


def test_the_specs_of_the_repository_and_of_the_pages_are_valid() -> None:
    """Those that the reader takes; a page shows some that it refuses."""
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "sessions").glob("*.toml")]
    for page in all_pages():
        texts += [fence.text for fence in fences(page.read_text(encoding="utf-8")) if fence.language == "toml"]
    valid = 0
    for text in texts:
        try:
            value = loads(text)
        except TOMLDecodeError:
            continue
        if is_spec(text):
            assert not list(SPECS.iter_errors(value)), text
            valid += 1
    assert valid > 50


def test_a_misspelt_key_is_named_with_its_place() -> None:
    (error,) = SPECS.iter_errors({"venv": {"requirments": ["numpy"]}})
    assert list(error.absolute_path) == ["venv"]
    assert "'requirments' was unexpected" in error.message
