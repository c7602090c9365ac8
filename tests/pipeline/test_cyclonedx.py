"""Inventories of locks: what any section gives, and what is in that of one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ozrepro.methods import registry
from ozrepro.methods.components import Component
from ozrepro.methods.reading import load_settings
from ozrepro.pipeline.cyclonedx import document, references
from ozrepro.project.lock import Section
from ozrepro.site import Site, look_around
from tests.pipeline.bom import edges, read_bom

SHA = st.text("0123456789abcdef", min_size=64, max_size=64)
NAME = st.from_regex(r"[a-z][a-z0-9]{0,6}(-[a-z0-9]{1,4})?", fullmatch=True)
VERSION = st.sampled_from(["1.0", "2.1+cu118", "1!3.0a1", "2026.1.post2", "0.0.0"])
TEXT = st.text(st.characters(categories=("L", "N", "P", "S")), max_size=12)
"""Whatever a lock's text may hold, spaces apart."""


@st.composite
def packages(draw: st.DrawFn, least: int = 0) -> list[dict[str, Any]]:
    """Return packages of a layer; the same one may come twice, for two Pythons."""
    found = []
    for name, version in draw(st.lists(st.tuples(NAME, VERSION), min_size=least, max_size=4)):
        tags = draw(st.lists(st.sampled_from(["py3-none-any", "cp310-cp310-linux_x86_64"]), min_size=1, unique=True))
        files = [{"name": f"{name.replace('-', '_')}-{version}-{tag}.whl", "sha256": draw(SHA)} for tag in tags]
        marker = draw(st.sampled_from([{}, {"marker": 'python_version < "3.12"'}]))
        index = draw(st.sampled_from([{}, {"index": "pypi"}]))
        found.append({"name": name, "version": version, **marker, **index, "files": files})
    return found


@st.composite
def venv_sections(draw: st.DrawFn) -> Section:
    """Return a section of Python packages and of projects of the folder."""
    project = draw(st.sampled_from([{}, {"project": {"name": "own"}}]))
    content = {"python": ">=3.10", **project, "package": draw(packages()), "build": draw(packages())}
    return Section("venv", "any", f"sha256:{'0' * 64}", content)


@st.composite
def conda_sections(draw: st.DrawFn) -> Section:
    """Return a section of records that need each other in any way, circles and packages that are not there included."""
    names = draw(st.lists(NAME, unique=True, max_size=5))
    needs = st.lists(st.sampled_from([*names, "absent", "__glibc >=2.17", "python >=3.10,<4"]), max_size=4)
    records = [
        {
            "name": name,
            "version": "1.0+x!2",
            "build": "py310_0",
            "build-number": 0,
            "channel": "conda-forge",
            "subdir": "linux-64",
            "file": f"{name}-1.0+x!2-py310_0.conda",
            "sha256": draw(SHA),
            "license": draw(TEXT),
            "depends": draw(needs),
        }
        for name in names
    ]
    content = {"channels": [{"name": "conda-forge"}], "record": records, "package": draw(packages())}
    return Section("conda", "linux-64", f"sha256:{'0' * 64}", content)


@st.composite
def container_sections(draw: st.DrawFn) -> Section:
    """Return a section of an image with packages of any name."""
    image = draw(st.sampled_from(["own.sif", "/home/somebody/own.sif", "~/own.sif", "docker://python:3.11"]))
    base = {"bootstrap": "docker", "from": "docker.io/library/python:3.11", "digest": f"sha256:{draw(SHA)}"}
    lines = st.tuples(TEXT, TEXT, TEXT).map(" ".join)
    content = {
        "tool": "apptainer 1.4.5",
        "image": image,
        "inputs": f"sha256:{draw(SHA)}",
        "base": [base] if "://" in image else [],
        "sha256": draw(SHA),
        "size": 1,
        "tree": draw(SHA),
        "python": "3.11.2",
        "distribution": [{"name": name, "version": draw(TEXT)} for name in draw(st.lists(NAME, max_size=4))],
        "system": draw(st.lists(lines.filter(str.strip), max_size=4)),
    }
    return Section("container", "linux-64", f"sha256:{'0' * 64}", content)


@st.composite
def modules_sections(draw: st.DrawFn) -> Section:
    """Return a section of modules of any name, one loaded by its path in a home, whose Python has packages of any name."""
    name = st.one_of(TEXT, st.tuples(TEXT, TEXT).map("/".join)).filter(lambda text: text and ":" not in text)
    names = ["<home>/modulefiles/mine/1.0", *draw(st.lists(name, max_size=3))]
    python = "/apps/python/bin/python3.10"
    content = {
        "tool": "lmod 8.7.60",
        "module": [{"name": each, "file": f"/apps/{number}.lua", "sha256": draw(SHA)} for number, each in enumerate(names)],
        "file": [{"path": python, "sha256": draw(SHA)}],
        "python": python,
        "version": "3.10.4",
        "provides": draw(st.dictionaries(TEXT, TEXT, max_size=4)),
        "package": draw(packages()),
    }
    return Section("modules", "linux-64/v3", f"sha256:{'0' * 64}", content)


SECTIONS = st.one_of(venv_sections(), conda_sections(), container_sections(), modules_sections())


def look(folder: Path, home: str) -> Site:
    """Return this machine as the user of a home sees it."""
    environ = {"HOME": home}
    return look_around(load_settings(folder, environ), environ)


def inventory(section: Section, site: Site) -> str:
    """Return the document of a section, which must be one that the reader takes."""
    copied = Section(section.method, section.platform, section.spec, section.content)
    locked = registry.read_section(copied, site, "work.lock", "work")
    method: Any = registry.load(section.method)
    return document("work", copied, method.components(locked))


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> tuple[Site, Site]:
    """Give two users of a machine, with projects in other folders."""
    folders = [tmp_path_factory.mktemp("project") for _ in range(2)]
    return look(folders[0], "/home/somebody"), look(folders[1], "/users/other")


@settings(max_examples=150)
@given(section=SECTIONS)
def test_any_section_that_the_reader_takes_has_an_inventory_that_is_sound_and_the_same_for_everybody(
    sites: tuple[Site, Site], section: Section
) -> None:
    one, other = (inventory(section, site) for site in sites)
    assert one == other
    assert "/home/" not in one
    bom = read_bom(one)
    assert {"name": "ozrepro:section", "value": section.title} in bom["metadata"]["properties"]


@given(
    st.lists(st.builds(Component, name=st.sampled_from(["a", "a#2", "b"]), purl=st.sampled_from(["", "pkg:x/a", "pkg:x/a#2"])))
)
def test_every_component_has_a_name_of_its_own(components: list[Component]) -> None:
    assert len(set(references(components))) == len(components)


def of(*components: Component) -> dict[str, Any]:
    """Return the document of components that have no section to be read from."""
    return read_bom(document("work", Section("conda", "linux-64", "", {}), components))


def test_the_graph_has_what_the_lock_knows_and_says_of_each_component_how_much_that_is() -> None:
    bom = of(
        Component("numpy", "1", depends=("python", "libblas")),
        Component("python", "3", depends=("pip",)),
        Component("pip", "25", depends=("python",)),
        Component("libblas", "3", depends=("gone",)),
        Component("six", "1"),
        Component("setuptools", "80", builds=True),
    )
    assert edges(bom) == {
        "session:work": ["library:numpy@1", "library:six@1"],
        "library:numpy@1": ["library:libblas@3", "library:python@3"],
        "library:python@3": ["library:pip@25"],
        "library:pip@25": ["library:python@3"],
        "library:libblas@3": [],
    }
    assert {part["aggregate"]: part["dependencies"] for part in bom["compositions"]} == {
        "complete": ["library:numpy@1", "library:python@3", "library:pip@25"],
        "incomplete": ["library:libblas@3"],
        "unknown": ["session:work", "library:six@1", "library:setuptools@80"],
    }


def test_a_circle_that_nothing_else_needs_hangs_on_the_session() -> None:
    bom = of(Component("python", "3", depends=("pip",)), Component("pip", "25", depends=("python",)))
    assert edges(bom)["session:work"] == ["library:python@3"]


def test_one_file_s_hash_is_the_component_s_and_those_of_several_are_properties() -> None:
    one, several = of(Component("a", files={"a.whl": "0" * 64}), Component("b", files={"b": "1" * 64, "c": "2" * 64}))[
        "components"
    ]
    assert one["hashes"] == [{"alg": "SHA-256", "content": "0" * 64}]
    assert "hashes" not in several
    assert [item["value"] for item in several["properties"]] == [f"b sha256:{'1' * 64}", f"c sha256:{'2' * 64}"]


def test_the_serial_number_follows_from_what_is_locked() -> None:
    texts = [document("work", Section("venv", "any", "", {"python": python}), ()) for python in (">=3.10", ">=3.11", ">=3.10")]
    first, second, third = (json.loads(text)["serialNumber"] for text in texts)
    assert first == third != second
