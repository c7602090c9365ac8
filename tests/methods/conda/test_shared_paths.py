"""Paths that several packages have: who keeps them is decided here, and does not depend on what rattler wrote last."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from ozrepro.methods.conda.helper import Answer, Helper, Linked
from ozrepro.methods.conda.installed import damaged, installed
from ozrepro.methods.conda.records import LockedRecord, link_order
from ozrepro.methods.conda.shared_paths import linked_late
from ozrepro.store.manifest import Digests
from tests.conftest import Project
from tests.fake_cluster.condapackage import Package, write_channel
from tests.methods.conda.conftest import ask, ignore

PYTHON = Package("python", "3.10.1", suffix=".tar.bz2", files={"bin/python": "#!/bin/sh\n", "lib/python3.10/site-packages/x": ""})


def noarch(name: str, **files: str) -> Package:
    """Return a noarch Python package with the entry point `tool`."""
    more = {f"site-packages/{path}/__init__.py": text for path, text in files.items()}
    return Package(
        name,
        noarch="python",
        suffix=".tar.bz2",
        depends=("python >=3.8",),
        entry_points=(f"tool = {name}:main",),
        files={f"site-packages/{name}/__init__.py": "def main(): pass\n", **more},
    )


def plain(name: str, *depends: str, **files: str) -> Package:
    """Return a package with these files under share/, `_` of a key standing for a dot."""
    contents = {f"share/{path.replace('_', '.')}": text for path, text in files.items()}
    return Package(name, suffix=".tar.bz2", depends=depends, files={**contents, f"share/{name}": name})


def link(helper: Helper, channel: Path, answer: Answer, prefix: Path) -> Linked:
    """Install what was solved, and hold that records and files agree and nothing of the others is left."""
    linked = helper.install(answer.records, {"site": channel.as_uri()}, prefix, ignore)
    assert not (prefix / "__clobbers__").exists()
    assert installed(prefix) == linked.packages
    assert damaged(prefix, linked.packages, Digests()) == {}
    listed = [file.path for package in linked.packages for file in package.files]
    assert len(listed) == len(set(listed)), "each file has one owner"
    for record in (prefix / "conda-meta").glob("*.json"):
        table = json.loads(record.read_bytes())
        assert table["files"] == [item["_path"] for item in table["paths_data"]["paths"]]
    return linked


def test_packages_are_ordered_as_conda_links_them() -> None:
    def record(name: str, *depends: str) -> LockedRecord:
        return LockedRecord(
            name=name, version="1", build="0", build_number=0, channel="c", subdir="noarch", file="", sha256="", depends=depends
        )

    pip = (record("python", "pip", "zlib"), record("pip", "python"), record("zlib"), record("alone"), record("user", "pip"))
    assert link_order(pip) == ("alone", "zlib", "python", "pip", "user")
    circle = (record("a", "b", "c"), record("b", "a"), record("c"), record("d", "d", "not-there"))
    assert link_order(circle) == ("d", "c", "a", "b")


@pytest.mark.parametrize("shares", [True, False], ids=["links", "copies"])
def test_the_package_that_conda_links_last_keeps_a_path(helper: Helper, tmp_path: Path, shares: bool) -> None:
    """By itself rattler prefers `one` to `two`, and `two` to `base`, which would be linked after it."""
    channel = write_channel(
        tmp_path / "channel",
        [
            plain("one", same="1", other="1", equal="x", third="1"),
            plain("two", same="2", other="2", equal="x"),
            plain("top", "base", same="top"),
            plain("base", third="base"),
        ],
    )
    sharing = dataclasses.replace(helper, shares=shares)
    answer = ask(sharing, channel.as_uri(), "one", "two", "top")
    for number in range(3):
        prefix = tmp_path / f"env{number}"
        linked = link(sharing, channel, answer, prefix)
        share = {path.name: path.read_text() for path in (prefix / "share").iterdir()}
        names = {name: name for name in ("one", "two", "top", "base")}
        assert share == {**names, "same": "top", "other": "2", "equal": "x", "third": "base"}
        assert linked.shared == (
            "one and base both have share/third: base's is kept, as in conda",
            "one and top both have share/same: top's is kept, as in conda",
            "one and two both have share/other: two's is kept, as in conda",
            "two and top both have share/same: top's is kept, as in conda",
        )


@pytest.mark.parametrize("shares", [True, False], ids=["links", "copies"])
def test_an_entry_point_of_two_packages_is_the_last_one_s_at_each_build(helper: Helper, tmp_path: Path, shares: bool) -> None:
    script = Package("zz", suffix=".tar.bz2", depends=("python",), files={"bin/tool": "#!/bin/sh\n"})
    early = Package("aa", suffix=".tar.bz2", files={"bin/tool": "#!/bin/sh\nexit 3\n"})
    channel = write_channel(tmp_path / "channel", [PYTHON, noarch("na", shared="na"), noarch("nb", shared="nb"), script, early])
    sharing = dataclasses.replace(helper, shares=shares)
    answers = {last: ask(sharing, channel.as_uri(), "na", "nb", *more) for last, more in (("nb", ("aa",)), ("zz", ("zz",)))}
    for number in range(3):
        for last, answer in answers.items():
            prefix = tmp_path / f"{last}{number}"
            linked = link(sharing, channel, answer, prefix)
            text = (prefix / "bin" / "tool").read_text()
            assert text == "#!/bin/sh\n" if last == "zz" else "from nb import main" in text
            assert (prefix / "lib/python3.10/site-packages/shared/__init__.py").read_text() == "nb"
            assert f"na and {last} both have bin/tool" in " ".join(linked.shared)
            assert linked.fetched == () or number == 0, "the cache is never written into"


def test_a_build_names_both_packages_and_the_environment_is_whole(project: Project, tmp_path: Path) -> None:
    files = {"same": "1", "other": "1", "third": "1"}
    channel = write_channel(tmp_path / "channel", [plain("one", **files), plain("two", **dict.fromkeys(files, "2"))])
    project.spec(f'[conda]\nchannels = ["{channel.as_uri()}"]\ndependencies = ["one", "two"]\n')
    project.done("lock")
    for words in (("build",), ("build", "--rebuild")):
        said = project.ozrepro(*words)
        assert said.returncode == 0, said.stderr
        assert "one and two both have share/other and 2 other files: two's are kept, as in conda" in said.stderr
        assert project.done("run", "work", "--", "sh", "-c", 'cat "$CONDA_PREFIX/share/same"; ls "$CONDA_PREFIX"').startswith("2")
        project.done("verify", "work", "--level", "2")


@pytest.mark.parametrize("text", ["", "[]", '{"noarch": "python"}', '{"noarch": {"entry_points": [1]}}', '{"noarch": null}'])
def test_a_damaged_list_of_entry_points_is_left_to_the_installer(tmp_path: Path, text: str) -> None:
    (tmp_path / "info").mkdir()
    (tmp_path / "info" / "link.json").write_text(text)
    (tmp_path / "bin").touch()
    assert linked_late([{"name": "a", "noarch": "python"}], [str(tmp_path)], ["a"]) == []


def test_an_entry_point_outside_bin_is_never_touched(tmp_path: Path) -> None:
    (tmp_path / "info").mkdir()
    points = ["../x = a:main", " = a:main", "tool=a:main"]
    (tmp_path / "info" / "link.json").write_text(json.dumps({"noarch": {"entry_points": points}}))
    tables, folders = [{"name": name, "noarch": "python"} for name in ("a", "b", "c")], [str(tmp_path)] * 3
    assert linked_late(tables, folders, ["b", "a", "c"]) == [(name, ["bin/tool"]) for name in ("b", "a", "c")]
