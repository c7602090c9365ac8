"""`lock --from` with what ozrepro, conda and pixi write: the same packages by name and digest, whichever host the file names."""

from __future__ import annotations

import dataclasses
import functools
import json
import shutil
import subprocess
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from tests.fake_cluster.channel import Channel
from tests.fake_cluster.server import Server
from tests.methods.conda.test_method import describe, publish, records

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import Project

PIXI = (
    "import json, os, sys\n"
    "from rattler import RepoDataRecord\n"
    "from rattler.lock import LockChannel, LockFile, LockPlatform\n"
    "from ozrepro.methods.conda.worker_common import to_rattler\n"
    "platform = LockPlatform('linux-64')\n"
    "file = LockFile([platform])\n"
    "for environment, tables in json.load(sys.stdin).items():\n"
    "    file.set_channels(environment, [LockChannel('https://conda.anaconda.org/conda-forge')])\n"
    "    for table in tables:\n"
    "        file.add_conda_package(environment, platform, to_rattler(table))\n"
    "    file.add_pypi_package(environment, platform, 'gamma', '3.0', 'https://files.example/gamma-3.0-py3-none-any.whl')\n"
    "file.to_path('pixi.lock')\n"
    "os._exit(0)\n"
)
"""Writes a pixi.lock with rattler's own writer."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Give a mirror over plain http with two versions of alpha and one of beta, in the index alone."""
    publish(tmp_path / "mirror" / "conda-forge", alpha=("1.0", "2.0"), beta=("1.5",))
    with Server(tmp_path / "mirror") as made:
        yield made


@pytest.fixture
def locked(project: Project, server: Server) -> Project:
    """Give a project whose settings name the mirror, with alpha 1.0 and beta locked as `work`, and `again` described."""
    (project.root / "pyproject.toml").write_text(f'[tool.ozrepro.channels]\nconda-forge = "{server.url}/conda-forge"\n')
    describe(project, "alpha=1", "beta")
    project.done("lock", "work")
    describe(project, "alpha", name="again")
    return project


def taken(project: Project, source: str) -> str:
    """Lock `again` from a source, insist that it has the packages of `work`, and return what was said."""
    said = project.ozrepro("lock", "again", "--from", source)
    assert said.returncode == 0, said.stderr
    assert records(project, "again") == records(project)
    return said.stderr


def write_pixi(project: Project, address: str) -> None:
    """Write a pixi.lock with the locked packages in `default`, and with beta alone in `docs`."""
    tables = [{**table, "address": address} for table in records(project).values()]
    environments = {"default": tables, "docs": [table for table in tables if table["name"] == "beta"]}
    argv = [sys.executable, "-c", PIXI]
    subprocess.run(argv, input=json.dumps(environments), text=True, cwd=project.root, check=True)


@pytest.mark.parametrize("form", ["conda-explicit", "conda-lock", "environment.yml"])
def test_an_export_behind_an_http_mirror_is_taken(locked: Project, form: str) -> None:
    locked.done("export", "work", "--format", form, "--output", "file")
    assert "127.0.0.1" not in (locked.root / "file").read_text()
    taken(locked, "file")


@pytest.mark.parametrize("mark", ["sha256", "md5", "none"])
def test_a_list_that_names_the_http_mirror_itself_is_taken(locked: Project, server: Server, mark: str) -> None:
    tails = {"sha256": "#sha256:{sha256}", "md5": "#{md5}", "none": ""}
    lines = [
        f"{server.url}/conda-forge/{item['subdir']}/{item['file']}" + tails[mark].format(**item)
        for item in records(locked).values()
    ]
    (locked.root / "list.txt").write_text("\n".join(("@EXPLICIT", *lines, "")))
    taken(locked, "list.txt")


def test_a_token_in_a_list_is_not_needed_and_told_without_being_shown(locked: Project) -> None:
    text = locked.done("export", "work", "--format", "conda-explicit")
    for token, told in (("<TOKEN>", False), ("tk-s3cret", True)):
        (locked.root / "list.txt").write_text(text.replace("anaconda.org/", f"anaconda.org/t/{token}/"))
        said = taken(locked, "list.txt")
        assert ("list.txt: holds logins or tokens in its addresses, which are not used" in said) is told
        assert "s3cret" not in said + locked.lock("again").read_text()
        locked.lock("again").unlink()


def test_conda_env_export_as_yaml_and_json_and_conda_list_export_are_taken(locked: Project) -> None:
    lines = [f"{item['name']}={item['version']}={item['build']}" for item in records(locked).values()]
    text = "name: x\nchannels:\n  - conda-forge\n  - nodefaults\ndependencies:\n" + "".join(f"  - {line}\n" for line in lines)
    (locked.root / "environment.yml").write_text(
        text + "  - pip:\n    - gamma==3.0\nvariables:\n  MODE: fast\nprefix: /home/me/x\n"
    )
    told = "1 package of pip (gamma==3.0) and 1 variable (MODE); packages go into pip of [conda]"
    assert told in taken(locked, "environment.yml")
    whole = {"channels": ["conda-forge"], "dependencies": [*lines, {"pip": ["gamma==3.0"]}], "name": "x"}
    (locked.root / "environment.json").write_text(json.dumps(whole, indent=2))
    assert "1 package of pip (gamma==3.0)" in taken(locked, "environment.json")
    head = "# This file may be used to create an environment using:\n# $ conda create --name <env> --file <this file>\n"
    (locked.root / "list.txt").write_text(head + "# platform: linux-64\n" + "\n".join((*lines, "gamma=3.0=pypi_0", "")))
    assert "1 package of pip (gamma==3.0)" in taken(locked, "list.txt")


def test_an_environment_file_that_leaves_versions_open_is_refused_by_its_name(locked: Project) -> None:
    (locked.root / "environment.yml").write_text("channels: [conda-forge]\ndependencies: [alpha=1.0, beta=1.5=h0_0]\n")
    said = locked.ozrepro("lock", "again", "--from", "environment.yml")
    assert said.returncode == 2
    assert (
        "environment.yml: is an environment.yml that does not name version and build of each package (alpha=1.0)" in said.stderr
    )
    assert 'file = "environment.yml" in [conda]' in said.stderr


def test_another_tool_s_lock_in_the_place_of_an_environment_file_is_called_by_its_name(locked: Project) -> None:
    for form, kind in (("conda-explicit", "an @EXPLICIT file"), ("conda-lock", "a conda-lock file")):
        locked.done("export", "work", "--format", form, "--output", "given")
        locked.spec('[conda]\nfile = "given"\n', "again")
        said = locked.ozrepro("lock", "again")
        assert said.returncode == 2
        assert f"is {kind}, and not an environment.yml" in said.stderr
        assert "ozrepro lock again --from given" in said.stderr


def test_an_environment_of_a_pixi_lock_is_taken_and_what_is_of_pip_told(locked: Project, server: Server) -> None:
    write_pixi(locked, "https://conda.anaconda.org/conda-forge")
    said = taken(locked, "pixi.lock")
    assert "not taken over from pixi.lock: 1 package of pip (gamma==3.0)" in said
    assert "pixi.lock: its environment default is taken, and not docs: --from pixi.lock#NAME takes another" in said
    describe(locked, "beta", name="docs")
    locked.done("lock", "docs", "--from", "pixi.lock#docs")
    assert list(records(locked, "docs")) == ["beta"]
    said = locked.ozrepro("lock", "docs", "--from", "pixi.lock#test").stderr
    assert "pixi.lock: has no environment 'test': only default, docs" in said
    text = (locked.root / "pixi.lock").read_text()
    (locked.root / "pixi.lock").write_text(text.replace(str(records(locked)["alpha"]["sha256"]), "0" * 64))
    refused = locked.ozrepro("lock", "again", "--from", "pixi.lock")
    assert refused.returncode == 1
    assert "the channels do not give what pixi.lock names" in refused.stderr
    (locked.root / "pixi.lock").write_text("version: 6\nenvironments: 3\n")
    refused = locked.ozrepro("lock", "again", "--from", "pixi.lock")
    assert (refused.returncode, "Traceback" in refused.stderr) == (2, False)
    assert "pixi.lock: 1 mistake:\n  cannot be read: " in refused.stderr


def test_a_package_of_a_later_channel_is_taken_though_an_earlier_one_has_the_name(locked: Project, tmp_path: Path) -> None:
    publish(tmp_path / "lab", alpha=("0.5",))
    lab = (tmp_path / "lab").as_uri()
    there = (locked.root / "pyproject.toml").read_text()
    (locked.root / "pyproject.toml").write_text(f'{there}lab = "{lab}"\n')
    locked.done("export", "work", "--format", "conda-explicit", "--output", "list.txt")
    describe(locked, "alpha", more='channels = ["lab", "conda-forge"]', name="again")
    taken(locked, "list.txt")


def test_the_wrong_table_for_a_file_is_told_with_the_right_one(locked: Project) -> None:
    (locked.root / "pylock.toml").write_text('lock-version = "1.0"\ncreated-by = "x"\n')
    said = locked.ozrepro("lock", "again", "--from", "pylock.toml")
    assert said.returncode == 2
    assert (
        "pylock.toml: is a pylock.toml: --from takes it for [modules] or [venv], which sessions/again.toml lacks" in said.stderr
    )


def test_an_alias_of_http_serves_the_whole_way_too(locked: Project, server: Server) -> None:
    (locked.root / "pyproject.toml").unlink()
    here = dataclasses.replace(locked, environ={**locked.environ, "CONDA_CHANNEL_ALIAS": server.url})
    describe(here, "alpha=1", "beta", more=f'channels = ["{server.url}/conda-forge"]')
    here.done("lock", "work")
    assert "127.0.0.1" not in here.lock().read_text()
    here.done("export", "work", "--format", "conda-lock", "--output", "conda-lock.yml")
    taken(here, "conda-lock.yml")


def test_a_token_that_rattler_keeps_reaches_the_channel_and_nothing_else(project: Project, tmp_path: Path) -> None:
    publish(tmp_path / "private" / "t" / "tk-s3cret" / "lab", alpha=("1.0",))
    with Server(tmp_path / "private") as server:
        host = server.url.removeprefix("http://")
        kept = tmp_path / "credentials.json"
        kept.write_text(json.dumps({host.partition(":")[0]: {"CondaToken": "tk-s3cret"}}))
        (project.root / "pyproject.toml").write_text(f'[tool.ozrepro.channels]\nlab = "{server.url}/lab"\n')
        describe(project, "alpha", more='channels = ["lab"]')
        said = project.ozrepro("lock", RATTLER_AUTH_FILE=str(kept))
        assert said.returncode == 0, said.stderr
        assert any("/t/tk-s3cret/lab/noarch/" in request for request in server.requests)
        refused = project.ozrepro("build", RATTLER_AUTH_FILE=str(kept))
        assert "alpha-1.0-h0_0.conda of the channel lab: the channel has no such file" in refused.stderr
        exported = project.ozrepro("export", "work", "--format", "conda-explicit")
        for text in (said.stdout, said.stderr, refused.stderr, exported.stdout, project.lock().read_text()):
            assert "s3cret" not in text


def test_a_mirror_that_says_not_modified_and_no_more_is_asked_again_without_the_cache(
    project: Project, channel: Channel, tmp_path: Path
) -> None:
    """As the server that comes with Python does: its 304 has neither a time nor a tag, which is legal."""
    folder = tmp_path / "mirror"
    shutil.copytree(
        channel.alias.removeprefix("file://"), folder, ignore=shutil.ignore_patterns("*.conda", "*.tar.bz2"), symlinks=True
    )
    for path in folder.rglob("repodata*"):
        path.touch()
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        settings = f'[tool.ozrepro.channels]\nchannel-alias = "http://127.0.0.1:{server.server_port}"\n'
        (project.root / "pyproject.toml").write_text(settings)
        for name in ("first", "second"):
            project.spec('[conda]\ndependencies = ["six"]\n', name)
            project.done("lock", name)
        server.shutdown()
