"""Package URLs, and what layers, loads and images are made of."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ozrepro.methods.components import of_package, purl
from ozrepro.methods.container.inventory import _of_base, _of_system
from ozrepro.methods.container.lock import Base
from ozrepro.python.packages import LockedFile, LockedPackage
from tests.conftest import Project
from tests.fake_cluster.channel import Channel
from tests.fake_cluster.containers import Containers
from tests.fake_cluster.fixtures import OrdinaryProject
from tests.fake_cluster.tools import make_tools
from tests.methods.modules.modular import Modular, quoted
from tests.pipeline.bom import edges, read_bom, read_purl
from tests.pipeline.crate import Entities, read_crate, recorded
from tests.wheels import make_wheel

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (purl("pypi", "six", "1.17.0"), "pkg:pypi/six@1.17.0"),
        (purl("pypi", "torch", "2.1+cu118"), "pkg:pypi/torch@2.1%2Bcu118"),
        (purl("generic", "Core/gcc", "11.3.0"), "pkg:generic/Core/gcc@11.3.0"),
        (purl("generic", "/a//b/"), "pkg:generic/a/b"),
        (purl("generic", "//", "1"), ""),
        (purl("conda", "six", "1", subdir="noarch", build="h0_0", channel=""), "pkg:conda/six@1?build=h0_0&subdir=noarch"),
        (purl("pypi", "a", "1", vcs_url=f"git+https://h/o/r@{COMMIT}"), f"pkg:pypi/a@1?vcs_url=git%2Bhttps://h/o/r%40{COMMIT}"),
    ],
)
def test_a_package_url_is_written_in_its_canonical_form(made: str, text: str) -> None:
    assert made == text


@given(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8")))
def test_what_a_package_url_was_made_of_is_read_from_it(name: str, version: str) -> None:
    made = purl("generic", name, version, build=version)
    parts = [part for part in name.split("/") if part]
    assert (not made) == (not parts)
    if made:
        assert read_purl(made) == ("generic", "/".join(parts), version, {"build": version} if version else {})


def test_a_package_of_a_commit_or_an_address_says_where_it_is_from() -> None:
    wheel = LockedFile("alpha-1.0-py3-none-any.whl", "0" * 64)
    address = "https://files.example/alpha-1.0-py3-none-any.whl"
    direct = of_package(LockedPackage("alpha", "1.0", (wheel,), url=address))
    built = of_package(LockedPackage("alpha", "1.0", (wheel,), url=f"git+https://h.example/o/r@{COMMIT}"))
    plain = of_package(LockedPackage("alpha", "1.0", (wheel,), index="mirror", marker='python_version < "3.12"'))
    assert direct.purl == f"pkg:pypi/alpha@1.0?download_url={address}"
    assert built.purl == f"pkg:pypi/alpha@1.0?vcs_url=git%2Bhttps://h.example/o/r%40{COMMIT}"
    assert (plain.purl, dict(plain.files)) == ("pkg:pypi/alpha@1.0", {wheel.name: wheel.sha256})
    assert plain.properties == {"index": "mirror", "marker": 'python_version < "3.12"'}


def test_a_base_of_a_registry_has_an_address_and_a_file_its_name_alone() -> None:
    digest = f"sha256:{'a' * 64}"
    hub = _of_base(Base("docker", "docker.io/library/python:3.11", digest))
    assert hub.purl == f"pkg:oci/python@{digest}?repository_url=docker.io/library/python&tag=3.11"
    for source in ("/home/me/base.sif", "~/base.sif", "../base.sif"):
        assert (_of_base(Base("localimage", source)).name, _of_base(Base("localimage", source)).purl) == ("base.sif", "")


def test_a_package_of_conda_in_an_image_is_told_from_those_of_its_system() -> None:
    found = [_of_system(line) for line in ("bash 5.2.15-2+b2", "numpy 1.26.4 py310h1_0", "odd", "")]
    assert [(item.name, item.version, item.purl) for item in found] == [
        ("bash", "5.2.15-2+b2", ""),
        ("numpy", "1.26.4", "pkg:conda/numpy@1.26.4?build=py310h1_0"),
        ("odd", "", ""),
        ("", "", ""),
    ]


STRICT = """
import json, sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

validator = JsonStrictValidator(SchemaVersion.V1_6)
for path in sys.argv[1:]:
    text = open(path, encoding="utf-8").read()
    wrong = validator.validate_str(text)
    print(path.rpartition("/")[2], "valid" if wrong is None else f"invalid: {wrong}")
    for item in json.loads(text)["components"]:
        url = item.get("purl", "")
        if url and PackageURL.from_string(url).to_string() != url:
            print(path, url, "is", PackageURL.from_string(url).to_string())
"""
SPEC = """
[modules]
load = [{load}]
[modules.venv]
system-site-packages = true
requirements = ["alpha"]

[conda]
dependencies = ["python=3.10", "numpy", "six"]
pip = ["alpha"]

[venv]
requirements = ["alpha"]
"""


@pytest.mark.network
def test_the_inventories_of_all_four_methods_pass_cyclonedx_s_own_strict_validation(
    empty: Modular, channel: Channel, ordinary: OrdinaryProject, containers: Containers, tmp_path: Path
) -> None:
    python = make_tools("cyclonedx", ["cyclonedx-python-lib[json-validation]==11.12.0"]) / "python"
    project = replace(empty.project, environ={**empty.project.environ, "CONDA_CHANNEL_ALIAS": channel.alias})
    make_wheel(project.wheelhouse, "alpha", "1.0+local.1")
    project.spec(SPEC.format(load=quoted(empty.scientific)))
    project.done("lock", "work")
    ordinary.account.give(Path(shutil.copy(containers.base, ordinary.root / "base.sif")))
    ordinary.spec('[container]\nimage = "base.sif"\n')
    ordinary.done("lock", "work")
    export = ("export", "work", "--format", "cyclonedx")
    texts = {name: project.done(*export, "--method", name) for name in ("modules", "conda", "venv")}
    texts["container"] = ordinary.done(*export)
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        bom = read_bom(text)
        check_inventory(name, bom)
        crate = crate_of(ordinary if name == "container" else project, name)
        required = [entities["name"] for entities in crate.values() if entities["@type"] == "SoftwareApplication"]
        assert required == ["python", *(item["name"] for item in bom["components"])]
        both = text + json.dumps(crate)
        assert not any(place in both for place in (str(empty.site.prefix), str(project.root.parent), "file://"))
    (tmp_path / "wrong").write_text(texts["venv"].replace('"bomFormat"', '"bomFromat"'))
    paths = [str(tmp_path / name) for name in (*texts, "wrong")]
    said = subprocess.run([str(python), "-c", STRICT, *paths], capture_output=True, text=True, check=True).stdout.splitlines()
    assert said[:4] == [f"{name} valid" for name in texts]
    assert said[4].startswith("wrong invalid"), "a validator that takes everything proves nothing"


def crate_of(project: Project, method: str) -> Entities:
    """Return the crate of a run by a method."""
    record = recorded(project, method)
    return read_crate(project.done("export", "--format", "ro-crate", "--record", record.name), project.root)


def check_inventory(method: str, bom: dict[str, Any]) -> None:
    """Insist on what is known of the packages of the test site."""
    urls = {item.get("purl", ""): item for item in bom["components"]}
    of = [entry["value"] for item in bom["components"] for entry in item.get("properties", ()) if entry["name"] == "ozrepro:of"]
    if method == "venv":
        assert list(urls) == ["pkg:pypi/alpha@1.0%2Blocal.1"]
        assert bom["components"][0]["hashes"]
    elif method == "conda":
        numpy, python = (next(url for url in urls if url.startswith(f"pkg:conda/{name}@")) for name in ("numpy", "python"))
        assert python in edges(bom)[numpy]
        assert [part["aggregate"] for part in bom["compositions"]] == ["complete", "unknown"]
        assert "pkg:pypi/alpha@1.0%2Blocal.1" in urls
    elif method == "modules":
        assert any(url.startswith("pkg:generic/gcc@") for url in urls)
        assert any(url.startswith("pkg:pypi/numpy@") for url in urls)
        assert set(of) == {"modules"}
    else:
        assert (bom["components"][0]["type"], bom["components"][0]["name"]) == ("container", "base.sif")
        assert "system" in of
