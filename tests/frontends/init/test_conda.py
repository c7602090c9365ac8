"""Environments of conda: a real one of tiny packages, installed from a channel on disk, and histories as conda writes them."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from rattler import Channel, MatchSpec, Subdir, install, solve

from ozrepro.frontends.init import Conda, Found, Package
from ozrepro.frontends.init.conda import asked_for, look_at_conda
from ozrepro.frontends.init.text import spec_text
from ozrepro.methods.reading import parse_spec

SITE = "lib/python3.11/site-packages"


def put_package(channel: Path, name: str, version: str, files: dict[str, str], depends: tuple[str, ...] = ()) -> None:
    """Write a conda package into a channel, and the channel's list of packages."""
    folder = channel / "linux-64"
    folder.mkdir(parents=True, exist_ok=True)
    index = {"name": name, "version": version, "build": "0", "build_number": 0, "depends": list(depends), "subdir": "linux-64"}
    paths = [
        {"_path": path, "path_type": "hardlink", "sha256": hashlib.sha256(text.encode()).hexdigest(), "size_in_bytes": len(text)}
        for path, text in files.items()
    ]
    inner = {"info/index.json": json.dumps(index), "info/paths.json": json.dumps({"paths": paths, "paths_version": 1}), **files}
    archive = folder / f"{name}-{version}-0.tar.bz2"
    with tarfile.open(archive, "w:bz2") as tar:
        for path, text in inner.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(text.encode())
            tar.addfile(entry, io.BytesIO(text.encode()))
    listing = folder / "repodata.json"
    table: dict[str, Any] = {"info": {"subdir": "linux-64"}, "packages": {}, "packages.conda": {}}
    table = json.loads(listing.read_text()) if listing.exists() else table
    content = archive.read_bytes()
    more = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest(), "md5": hashlib.md5(content).hexdigest()}
    table["packages"][archive.name] = {**index, **more}
    listing.write_text(json.dumps(table))


def dist(name: str, version: str, *requires: str) -> dict[str, str]:
    """Return the files of a Python distribution of one module."""
    info = f"{SITE}/{name}-{version}.dist-info"
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {text}" for text in requires)]
    return {f"{SITE}/{name}.py": "", f"{info}/METADATA": "\n".join(lines) + "\n", f"{info}/top_level.txt": f"{name}\n"}


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """Give an environment in which python and alpha were asked for, and beta and a library came along."""
    channel, prefix = tmp_path / "tiny-channel", tmp_path / "env"
    put_package(channel, "python", "3.11.4", {"bin/python3.11": ""})
    put_package(channel, "libdata", "2.0", {"lib/libdata.so": ""})
    put_package(channel, "beta-core", "1.5", dist("beta", "1.5"), ("python", "libdata"))
    put_package(channel, "alpha", "1.0", dist("alpha", "1.0", "beta"), ("python", "beta-core"))

    asked = {"python": "python=3.11", "alpha": "alpha>=1", "libdata": "libdata"}

    async def make() -> None:
        specs = [MatchSpec(text) for text in asked.values()]
        where = Channel(channel.as_uri())
        records = await solve(sources=[where], specs=specs, platforms=[Subdir("linux-64")])
        await install(records=records, target_prefix=prefix, cache_dir=tmp_path / "cache", show_progress=False)

    asyncio.run(make())
    # As conda and mamba note it; the installer's own argument for it does not take what the solver takes.
    for path in (prefix / "conda-meta").glob("*.json"):
        record = json.loads(path.read_text())
        path.write_text(json.dumps({**record, "requested_spec": asked.get(record["name"], "None")}))
    return prefix


def active(prefix: Path, name: str = "work") -> dict[str, str]:
    """Return the variables that conda sets in a shell."""
    return {"CONDA_PREFIX": str(prefix), "CONDA_DEFAULT_ENV": name}


def test_what_was_asked_for_is_told_by_the_records(environment: Path, tmp_path: Path) -> None:
    found, notes = look_at_conda(active(environment), tmp_path)
    assert found is not None
    assert [text.replace(" ", "") for text in found.dependencies] == ["python=3.11", "alpha>=1", "libdata"]
    assert found.versions == ("python=3.11.4", "alpha=1.0", "libdata=2.0")
    assert found.channels == ((tmp_path / "tiny-channel").as_uri(),)
    assert found.python == "3.11"
    assert found.packages == (Package("alpha", "1.0", ("alpha",)),)
    assert found.pip == ()
    assert notes == []


def test_the_history_comes_first_and_what_pip_installed_is_told_apart(environment: Path, tmp_path: Path) -> None:
    history = [
        "==> 2026-01-01 10:00:00 <==",
        "# cmd: conda install beta-core",
        "# update specs: ['beta-core', 'gone']",
        "+x::y-1-0",
    ]
    (environment / "conda-meta" / "history").write_text("\n".join(history))
    for path, text in dist("gamma", "3.0").items():
        (environment / path).parent.mkdir(parents=True, exist_ok=True)
        (environment / path).write_text(text)
    found, _ = look_at_conda(active(environment), tmp_path)
    assert found is not None
    assert found.dependencies == ("beta-core",)
    assert found.packages == (Package("beta", "1.5", ("beta",)),)
    assert found.pip == (Package("gamma", "3.0", ("gamma",)),)


def test_what_a_spec_cannot_hold_is_left_out_and_the_spec_can_be_read(environment: Path, tmp_path: Path) -> None:
    asked = {"alpha": "elsewhere::alpha>=1", "libdata": "libdata[version='>=1,<", "python": "python=3.11"}
    for path in (environment / "conda-meta").glob("*.json"):
        record = json.loads(path.read_text())
        channel = "http://mirror.host/tiny/linux-64" if record["name"] == "libdata" else record["channel"]
        path.write_text(json.dumps({**record, "channel": channel, "requested_spec": asked.get(record["name"], "None")}))
    found, notes = look_at_conda(active(environment), tmp_path)
    assert found is not None
    (note,) = notes
    assert note.startswith("a channel of the conda environment is left out: 'http://mirror.host/tiny' is not https; ")
    assert found.dependencies == ("python=3.11", "elsewhere::alpha>=1", "libdata"), "an address may have any name"
    spec = spec_text(Found(conda=found), "work")
    assert "conda" in parse_spec(tmp_path / "work.toml", spec).tables


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["# update specs: ['python=3.10', 'numpy']", "# remove specs: ['numpy']"], ["python=3.10"]),
        (["# update specs: ['numpy=1.2']", '# update specs: ["conda-forge::numpy>=1.3"]'], ["conda-forge::numpy>=1.3"]),
        (["# install specs: numpy, scipy"], ["numpy", "scipy"]),
        (["# update specs: [", "# neutered specs: ['x']", "# update specs: [1, 'a']"], ["a"]),
    ],
)
def test_the_wanted_packages_are_read_from_a_conda_history(lines: list[str], expected: list[str]) -> None:
    assert list(asked_for("\n".join(lines), {}).values()) == expected


def test_channels_are_named_as_users_write_them(tmp_path: Path) -> None:
    (tmp_path / "conda-meta").mkdir()
    addresses = {
        "a": "https://conda.anaconda.org/conda-forge/linux-64",
        "b": "https://conda.anaconda.org/conda-forge/noarch",
        "c": "https://repo.anaconda.com/pkgs/main/linux-64",
        "d": "https://me:secret@example.org/mine/noarch",
        "e": "https://conda.anaconda.org/t/tk-secret/hidden/noarch",
        "f": "bioconda",
    }
    for name, address in addresses.items():
        (tmp_path / "conda-meta" / f"{name}.json").write_text(
            json.dumps({"name": name, "version": "1", "channel": address, "requested_spec": name})
        )
    found, _ = look_at_conda(active(tmp_path), tmp_path / "project")
    assert found is not None
    assert found.channels == ("conda-forge", "defaults", "https://example.org/mine", "hidden", "bioconda")


def test_the_project_s_file_comes_before_the_active_environment(environment: Path, tmp_path: Path) -> None:
    (tmp_path / "environment.yml").write_text("dependencies: [python]\n")
    assert look_at_conda(active(environment), tmp_path) == (
        Conda(file="environment.yml", is_project=True),
        ["environment.yml is taken, not the active conda environment"],
    )


def test_base_and_what_says_nothing_are_passed_over(environment: Path, tmp_path: Path) -> None:
    assert look_at_conda({}, tmp_path) == (None, [])
    assert look_at_conda(active(environment, "base"), tmp_path)[1] == [
        "conda's base environment is passed over: it holds conda itself"
    ]
    (tmp_path / "empty" / "conda-meta").mkdir(parents=True)
    (tmp_path / "empty" / "conda-meta" / "x.json").write_text("[")
    assert "does not say what was asked for" in look_at_conda(active(tmp_path / "empty"), tmp_path)[1][0]
