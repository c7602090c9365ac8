"""Whatever stands in a conda section: a clean error or the same environment, and reading it starts and connects nothing."""

from __future__ import annotations

import random
from contextlib import suppress
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ozrepro.errors import OzreproError
from ozrepro.methods import registry
from ozrepro.methods.conda import lock as conda_lock
from ozrepro.methods.conda import method as conda
from ozrepro.methods.conda.condalock import read_condalock, write_condalock
from ozrepro.methods.conda.environment_yml import read_environment
from ozrepro.methods.conda.explicit import read_explicit, write_explicit
from ozrepro.methods.conda.formats import FORMATS
from ozrepro.methods.conda.virtual import Virtual, needed, satisfied
from ozrepro.methods.contract import ExportRequest
from ozrepro.methods.reading import load_settings, parse_spec, read_text
from ozrepro.methods.target import Target
from ozrepro.project.lock import write_text
from ozrepro.project.toml import dumps, loads
from ozrepro.site import look_around
from tests.methods.conda.packages import index, make_package
from tests.threats.helpers import inside, make_project
from tests.threats.test_any_bytes import MANY, SOME, TOKENS, any_text, gives_a_value_or_our_error, values

if TYPE_CHECKING:
    from tests.conftest import Project

GOOD_LOCK = f"""# Written by `ozrepro lock`: commit it, and change it only by that command.
schema = 1
session = "work"

[conda.linux-64]
spec = "sha256:{"a" * 64}"
channels = [
    {{ name = "conda-forge" }},
    {{ name = "tools", address = "https://host.example/tools" }},
]
virtual = ["__cuda=12.4=0", "__glibc=2.28=0"]
imports = ["numpy"]
pass = ["MY_DATA"]

[conda.linux-64.variables]
MY_MODE = "fast \\"and\\" $loose"

[[conda.linux-64.record]]
name = "numpy"
version = "1.22.3"
build = "py310h0_0"
build-number = 0
channel = "conda-forge"
subdir = "linux-64"
file = "numpy-1.22.3-py310h0_0.conda"
size = 7000
sha256 = "{"b" * 64}"
md5 = "{"c" * 32}"
license = "BSD-3-Clause"
depends = ["__cuda >=12", "libblas >=3.9,<4.0a0", "python >=3.10,<3.11.0a0"]
constrains = ["numpy-base <0a0"]

[[conda.linux-64.record]]
name = "python"
version = "3.10.4"
build = "h0_0_cpython"
build-number = 2
channel = "tools"
subdir = "noarch"
file = "python-3.10.4-h0_0_cpython.tar.bz2"
sha256 = "{"d" * 64}"
md5 = "{"e" * 32}"
noarch = "python"
python-site-packages-path = "lib/python3.10/site-packages"
depends = []

[conda.linux-64.mpi]
tool = "lmod 8.7.60"
system = "rocky 9.4, glibc 2.34"
modulepath = ["/apps/modulefiles"]
load = ["gcc/12.3.0", "openmpi/4.1.4"]
parents = ["gcc/12.3.0"]
module = [
    {{ name = "gcc/12.3.0", file = "/apps/modulefiles/gcc/12.3.0.lua", sha256 = "{"c" * 64}", requested = false }},
    {{ name = "openmpi/4.1.4", file = "/apps/modulefiles/openmpi/4.1.4.lua", sha256 = "{"d" * 64}", requested = true }},
]

[conda.linux-64.mpi.change.set]
MPI_HOME = "/apps/openmpi"

[[conda.linux-64.package]]
name = "alpha"
version = "1.0"
files = [
    {{ name = "alpha-1.0-py3-none-any.whl", size = 917, sha256 = "{"f" * 64}" }},
]
"""
GOOD_EXPLICIT = f"""# platform: linux-64
@EXPLICIT
https://conda.anaconda.org/conda-forge/linux-64/numpy-1.22.3-py310h0_0.conda#sha256:{"b" * 64}
file:///srv/tools/noarch/six-1.16.0-pyh6c4a22f_0.tar.bz2#{"c" * 32}
"""
GOOD_ENVIRONMENT = """name: work
channels:
  - conda-forge
  - nodefaults
dependencies:
  - python=3.10
  - conda-forge::numpy>=1.22,<2
  - pip:
      - emcee==3.1.6
variables:
  MY_MODE: 'fast'
platforms: [linux-64]
"""
GOOD_SPEC = """[conda]
channels = ["conda-forge", "https://host.example/tools"]
dependencies = ["python=3.10", "conda-forge::numpy>=1.22,<2", "x[build='h*']"]
pip = ["emcee"]
platforms = ["linux-64", "osx-arm64"]
mpi = ["gcc/12.3.0", "openmpi/4.1.4"]
channel-priority = "flexible"
exclude-newer = "2025-06-30T12:00:00Z"
pass = ["MY_DATA"]
[conda.virtual-packages]
cuda = "12.4"
"""
MACHINE = (Virtual("__cuda", "11.8"), Virtual("__glibc", "2.36"), Virtual("__linux", "6.1"))


def read_whole_lock(text: str) -> object:
    """Read a lock as the commands do, and use all that its conda sections say of an environment."""
    lock = read_text(text, "work", "work.lock")
    site = look_around(load_settings(Path("/nonexistent"), {}), {})
    for section in lock.sections:
        section.digest  # noqa: B018
        if section.method != "conda":
            continue
        locked = registry.read_section(section, site, "work.lock", "work")
        assert conda.METHOD.plan(locked, site).identity
        satisfied([line for item in locked.records for line in item.depends], MACHINE)
        assert all(name.startswith("__") for name in needed(line for item in locked.records for line in item.depends))
        if locked.mpi is not None:
            assert locked.mpi.as_table()
            locked.mpi.drift()
        with suppress(OzreproError):  # there is no environment at all
            conda.METHOD.environment(locked, Target(Path("/nonexistent"), site))
        spec = parse_spec(Path("sessions/work.toml"), GOOD_SPEC)
        subject = registry.subject_of("conda", spec, site)
        for write in FORMATS.values():
            with suppress(OzreproError):  # an md5 may be missing
                write(ExportRequest(subject, {section.platform: locked}, section.platform, lambda line: None))
    assert read_text(write_text(lock), "work", "again") == lock
    return lock


@pytest.fixture(scope="module", autouse=True)
def _everything_is_imported() -> None:
    """Load what the parsers load on first use: an import compiles, and that is not what is watched for."""
    lock = read_whole_lock(GOOD_LOCK)
    assert lock
    assert "conda" in parse_spec(Path("sessions/work.toml"), GOOD_SPEC).tables
    assert read_environment(GOOD_ENVIRONMENT, "environment.yml").variables
    named, _ = read_explicit(GOOD_EXPLICIT, "env.txt")
    assert len(named) == 2
    with suppress(OzreproError):
        parse_spec(Path("sessions/work.toml"), GOOD_SPEC.replace("channels", "chanels").replace("12.4", "x"))
    with suppress(OzreproError):
        read_whole_lock(GOOD_LOCK.replace("build-number", "buildnumber"))


@MANY
@given(text=any_text(GOOD_LOCK, "schema", "session", "conda"))
def test_any_text_is_read_as_a_conda_lock_or_refused(text: str) -> None:
    gives_a_value_or_our_error(lambda: read_whole_lock(text))


@MANY
@given(section=st.dictionaries(st.sampled_from(["pass", *conda_lock.Content.__dataclass_fields__]), values()))
def test_any_values_are_read_as_a_conda_section_or_refused(section: dict[str, object]) -> None:
    text = dumps({"schema": 1, "session": "work", "conda": {"linux-64": {**section, "spec": f"sha256:{'0' * 64}"}}})
    gives_a_value_or_our_error(lambda: read_whole_lock(text))


_RECORD = {
    "name": "a",
    "version": "1",
    "build": "0",
    "build-number": 0,
    "channel": "c",
    "subdir": "noarch",
    "file": "a-1-0.conda",
    "sha256": "0" * 64,
}
_WORDS = st.one_of(st.text(max_size=20), st.sampled_from([token for token in TOKENS if len(token) < 80]), values())


@MANY
@given(
    change=st.dictionaries(
        st.sampled_from((*_RECORD, "md5", "size", "noarch", "python-site-packages-path", "license", "depends", "constrains")),
        _WORDS,
    ),
    lines=st.lists(
        st.one_of(st.text(max_size=20), st.from_regex(r"__[a-z]{1,8} [<>=!~]{1,2}[0-9.*]{1,6}( [a-z0-9*]{1,4})?")), max_size=3
    ),
)
def test_any_values_are_read_as_a_conda_record_or_refused(change: dict[str, object], lines: list[str]) -> None:
    record = {**_RECORD, "depends": lines, **change}
    section = {"spec": f"sha256:{'0' * 64}", "channels": [{"name": "c"}], "record": [record]}
    text = dumps({"schema": 1, "session": "work", "conda": {"linux-64": section}})
    gives_a_value_or_our_error(lambda: read_whole_lock(text))


@MANY
@given(text=any_text(GOOD_SPEC, "conda"))
def test_any_text_is_read_as_a_conda_spec_or_refused(text: str) -> None:
    gives_a_value_or_our_error(lambda: parse_spec(Path("sessions/work.toml"), text))


@SOME
@given(text=any_text(GOOD_ENVIRONMENT, "dependencies"))
def test_any_text_is_read_as_an_environment_file_or_refused(text: str) -> None:
    gives_a_value_or_our_error(lambda: read_environment(text, "environment.yml"))


@SOME
@given(text=any_text(GOOD_EXPLICIT, "@EXPLICIT"))
def test_any_text_is_read_as_an_explicit_file_or_refused(text: str) -> None:
    gives_a_value_or_our_error(lambda: read_explicit(text, "env.txt"))


@SOME
@given(data=st.data())
def test_any_text_is_read_as_a_conda_lock_file_or_refused(data: st.DataObject) -> None:
    lock = read_text(GOOD_LOCK, "work", "work.lock")
    locked = registry.read_section(
        lock.sections[0], look_around(load_settings(Path("/nonexistent"), {}), {}), "work.lock", "work"
    )
    good = write_condalock({"linux-64": locked.records}, locked.channels)
    text = data.draw(any_text(good, "package"))
    gives_a_value_or_our_error(lambda: read_condalock(text, "conda-lock.yml"))
    assert write_explicit(locked.records, locked.addresses, "linux-64")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Give a session of two tiny conda packages, locked and built."""
    folder = tmp_path_factory.mktemp("conda")
    made = make_project(folder)
    channel = folder / "channels" / "conda-forge"
    make_package(channel, "alpha", depends=("beta >=1", "__glibc >=2.17"), constrains=("gamma <2",))
    make_package(channel, "beta", "1.5")
    make_package(channel, "beta", "0.5")
    index(channel)
    environ = {**made.environ, "CONDA_CHANNEL_ALIAS": (folder / "channels").as_uri()}
    project = replace(made, environ=environ)
    project.spec('[conda]\ndependencies = ["alpha", "beta"]\n')
    project.done("lock")
    project.done("build")
    return project


def rewritten(text: str, chance: random.Random) -> str:
    """Return a lock's text with one to three pieces of its section taken out, doubled, or replaced by another token."""
    for _ in range(chance.randint(1, 3)):
        start = chance.randrange(text.index("[conda"), len(text))
        length = chance.choice((0, 1, 2, 8, 40))
        put = chance.choice((*TOKENS, text[start : start + length] * 2, chance.choice("0123456789abcdef"), ""))
        text = text[:start] + put + text[start + length :]
    return text


def with_another_value(text: str, chance: random.Random) -> str:
    """Return a lock's text, still well-formed, with one value of its section changed a little, changed entirely, or gone."""
    whole = deepcopy(dict(loads(text)))
    inner: Any = whole["conda"]["linux-64"]
    while True:
        key = chance.choice(list(inner) if isinstance(inner, dict) else range(len(inner)))
        if not isinstance(inner[key], (dict, list)) or not inner[key] or chance.random() < 0.1:
            break
        inner = inner[key]
    old = inner[key]
    choices: list[Any] = [None, "", "x", 1, [], {}, chance.choice([token for token in TOKENS if len(token) < 80])]
    if isinstance(old, str) and old:
        place = chance.randrange(len(old))
        choices += [f"{old[:place]}{char}{old[place + 1 :]}" for char in "0aZ./"] * 3
    elif isinstance(old, int):
        choices += [old + 1, old - 1, -old, 1 << 60] * 3
    elif isinstance(old, list):
        choices += [old[1:], [*old, *old], [*old, "libx >=1"]] * 3
    new = chance.choice(choices)
    if new is None:
        del inner[key]
    else:
        inner[key] = new
    return dumps(whole)


@pytest.mark.parametrize("seed", range(100))
def test_any_change_of_a_section_is_a_clean_error_or_gives_the_same_environment(built: Project, seed: int) -> None:
    chance = random.Random(seed)
    change = rewritten if seed < 20 else with_another_value
    good, names = built.lock().read_text(encoding="utf-8"), sorted((built.store() / "names").iterdir())
    try:
        built.lock().write_text(change(good, chance), encoding="utf-8")
        said = inside(built, "build", "work")
        if said.status == 0:
            assert "was built before" in said.output
        else:
            said.refused(statuses=(1, 3))
        assert sorted((built.store() / "names").iterdir()) == names
    finally:
        built.lock().write_text(good, encoding="utf-8")
    assert "was built before" in inside(built, "build", "work").output


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ('version = "1.5"', 'version = "0.5"', "file"),
        ("beta-1.5-0.tar.bz2", "beta-0.5-0.tar.bz2", "file"),
        ('name = "beta"', 'name = "alpha"', "file"),
        ('subdir = "linux-64"', 'subdir = "../linux-64"', "subdir"),
    ],
)
def test_another_package_in_a_record_s_place_is_refused(built: Project, old: str, new: str, word: str) -> None:
    good = built.lock().read_text(encoding="utf-8")
    assert old in good
    try:
        built.lock().write_text(good.replace(old, new), encoding="utf-8")
        inside(built, "build", "work").refused("record[", word)
    finally:
        built.lock().write_text(good, encoding="utf-8")
