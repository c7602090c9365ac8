"""Environments as one file beside trees: which are measured, how a start is cold, and what is counted of it."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from ozrepro.errors import OzreproError
from ozrepro.frontends.bench import forms
from ozrepro.frontends.bench.cache_states import FreshCopy
from ozrepro.frontends.bench.candidate import Candidate, find
from ozrepro.frontends.bench.counting import count
from ozrepro.frontends.bench.forms import Compared, compared_forms
from ozrepro.frontends.bench.launch import Starter, look
from ozrepro.frontends.bench.lustre.emulator import Emulator
from ozrepro.frontends.bench.lustre.model import BUSY, METADATA
from ozrepro.frontends.bench.staging import node_copies
from ozrepro.frontends.bench.workload import of_imports
from ozrepro.pipeline.session import Session, open_session
from ozrepro.site import Mount
from ozrepro.store.forms import find_tools, why_no_mount
from tests.conftest import Project
from tests.faststart import strace
from tests.wheels import make_wheel

_TOOLS = find_tools(os.environ.get("PATH", ""), None)
REASON = _TOOLS if isinstance(_TOOLS, str) else why_no_mount(_TOOLS)
needs_tools = pytest.mark.skipif(bool(REASON), reason=REASON or "a file can be mounted")
_SERVED = Emulator.unavailable(in_place=True)
needs_emulator = pytest.mark.skipif(bool(_SERVED), reason=_SERVED or "the emulator works")
_UNTRACED = strace.why_not()
needs_strace = pytest.mark.skipif(bool(_UNTRACED), reason=_UNTRACED or "strace works")

MODULES = 150
IMPORTS = ("large",)


def opened(project: Project, form: str = "") -> Session:
    return open_session(project.root, "work", {**project.environ, "OZREPRO_FORM": form} if form else project.environ)


def on(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the store on a file system of this type."""
    monkeypatch.setattr(forms, "mount_of", lambda _: Mount("/", kind, frozenset()))


@needs_tools
def test_both_forms_are_measured_where_a_file_may_gain_something(small: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    on("lustre", monkeypatch)
    assert compared_forms(opened(small)) == Compared(("tree", "file"))
    assert compared_forms(opened(small, "auto")) == Compared(("tree", "file"))
    on("xfs", monkeypatch)
    assert compared_forms(opened(small), emulated=True) == Compared(("tree", "file"))
    assert compared_forms(opened(small), ("tree", "file")) == Compared(("tree", "file"))
    why = "environments as a file: the store is on xfs; --form tree,file compares them"
    assert compared_forms(opened(small)) == Compared(("tree",), why)


@needs_tools
def test_a_form_that_is_set_is_measured_alone_and_comes_first_beside_another(small: Project) -> None:
    assert compared_forms(opened(small, "file")) == Compared(("file",))
    assert compared_forms(opened(small, "tree"), emulated=True) == Compared(("tree",))
    assert compared_forms(opened(small, "file"), ("tree", "file")) == Compared(("file", "tree"))
    assert compared_forms(opened(small, "file"), ("tree",)) == Compared(("tree",))


def test_a_machine_that_cannot_mount_measures_trees_and_refuses_a_file_that_is_asked_for(
    small: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forms, "find_tools", lambda *_: "no squashfuse_ll here")
    for setting in ("", "file"):
        found = compared_forms(opened(small, setting), emulated=True)
        assert found == Compared(("tree",), "environments as a file: no squashfuse_ll here")
    with pytest.raises(OzreproError, match=r"no environment can be one file here: no squashfuse_ll here\n  try: .* --form tree"):
        compared_forms(opened(small), ("tree", "file"))


@pytest.fixture
def large(project: Project) -> Project:
    """Give a project with a package of many modules, built in both forms."""
    names = [f"part{number}" for number in range(MODULES)]
    content = {f"large/{name}.py": f"NUMBER = {number}\n" for number, name in enumerate(names)}
    content["large/__init__.py"] = "".join(f"from large import {name}\n" for name in names)
    make_wheel(project.wheelhouse, "large", "1.0", modules=content)
    project.spec('imports = ["large"]\n\n[venv]\nrequirements = ["large"]\n')
    project.done("lock", "work")
    for form in ("tree", "file"):
        project.done("build", "work", OZREPRO_FORM=form)
    return project


def pair(project: Project) -> tuple[Candidate, Candidate]:
    """Return the environment as a tree and as a file."""
    tree, file = find(project.root, "work", project.environ, forms=("tree", "file")).candidates
    return tree, file


@needs_tools
@needs_strace
def test_a_form_is_a_candidate_whose_start_asks_for_the_file_and_what_mounts_it_and_nothing_else(
    large: Project, tmp_path: Path
) -> None:
    tree, file = pair(large)
    assert [(item.name, item.about().form) for item in (tree, file)] == [("venv", "tree"), ("venv as a file", "file")]
    assert tree.files > MODULES > file.files
    assert file.mount == f"{tree.mount}, the file through squashfuse"
    assert str(Path(file.file).parent) in file.roots
    assert tree.versions == file.versions == {"large": "1.0"}
    assert tree.build_seconds is not None
    assert file.build_seconds is not None
    asked = {}
    with Starter(large.environ, tmp_path, tmp_path / "work") as starter:
        for item in (tree, file):
            alone = replace(item, roots=(str(Path(item.prefix).parent),))
            found = count(starter, alone, of_imports("imports", IMPORTS), 60, profile=BUSY)
            asked[item.about().form] = found.metadata[0]
    # The file, which is opened and closed, and the place of its mount.
    assert asked["file"] == {"lookup": 2, "open": 1, "close": 1}
    assert sum(asked["tree"].values()) > 50 * sum(asked["file"].values())


@needs_tools
@needs_strace
def test_what_a_file_keeps_of_other_folders_is_read_from_it_and_asks_them_for_nothing(large: Project, tmp_path: Path) -> None:
    _, file = pair(large)
    base = look(file, large.environ, tmp_path)["base"]
    whole = replace(file, roots=(str(Path(file.prefix).parent), base))
    with Starter(large.environ, tmp_path, tmp_path / "work") as starter:
        bare, kept = (
            count(starter, item, of_imports("imports", IMPORTS), 60, profile=BUSY).metadata[0]
            for item in (whole, replace(whole, covered=(base,)))
        )
    assert kept == {"lookup": 2, "open": 1, "close": 1}
    assert bare["open"] > kept["open"]


@needs_tools
def test_a_cold_start_of_a_file_is_one_from_a_fresh_copy_of_it(large: Project, tmp_path: Path) -> None:
    _, file = pair(large)
    state = FreshCopy(tmp_path / "work")
    with Starter({"HOME": str(tmp_path), "SLURM_JOB_ID": "1"}, tmp_path, tmp_path / "work") as starter:
        copied = state.prepare(file)
        assert copied.prefix == file.prefix
        started = starter.start(copied, of_imports("imports", IMPORTS))
        assert (started.status, started.error) == (0, "")
        assert started.phases["environment"] > 0  # what mounts is no part of the interpreter's time
        state.after(copied)
        assert list((tmp_path / "work").iterdir()) == []
        copied = state.prepare(file)
        (place,) = tmp_path.glob("work/*/*")
        place.chmod(0o600)
        place.write_bytes(b"no image")
        assert starter.start(copied, of_imports("imports", IMPORTS)).status != 0
        state.after(copied)
    assert Path(file.file).exists()


@needs_tools
@needs_emulator
@needs_strace
def test_a_cold_start_asks_the_metadata_server_for_a_few_requests_in_the_place_of_hundreds(
    large: Project, tmp_path: Path
) -> None:
    """The base interpreter, which both start, is outside of the folders that are compared here."""
    path = tmp_path / "a.json"
    words = ("--emulate", "busy", "--workload", "imports", "--state", "cold-client", "--rounds", "1", "--json", str(path))
    large.done("bench", "work", "--form", "tree,file,staged", *words, JOBFS=str(tmp_path))
    found = json.loads(path.read_text())
    assert [row["status"] for row in found["rows"]] == [0, 0, 0]
    asked = {row["candidate"]: sum(row["requests"][kind] for kind in METADATA) for row in found["rows"]}
    # Each module is a lookup, an open and a close of its bytecode, and a lookup of its source.
    assert asked["venv"] - asked["venv as a file"] > 4 * MODULES
    counts = {item["candidate"]: item["requests"] for item in found["counts"] if item["state"] == "cold-client"}
    (row,) = (row["requests"] for row in found["rows"] if row["candidate"] == "venv as a file")
    for kind in ("lookup", "open", "close", "glimpse"):
        assert abs(counts["venv as a file"][kind] - row[kind]) <= 0.03 * row[kind] + 1, kind
    (staged,) = (row["requests"] for row in found["rows"] if row["candidate"] == "venv as a staged file")
    assert row["bytes"] - staged["bytes"] > 0.9 * Path(pair(large)[1].file).stat().st_size
    seconds = {item["name"]: item["stage_seconds"] for item in found["candidates"]}
    assert [name for name, number in seconds.items() if number is not None] == ["venv as a staged file"]
    assert list(tmp_path.glob("ozrepro-bench-*")) == []


@needs_tools
def test_a_staged_file_is_the_third_of_a_method_where_it_is_asked_for(small: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    on("xfs", monkeypatch)
    assert compared_forms(opened(small), ("staged",)) == Compared(("staged",))
    assert compared_forms(opened(small, "file"), ("tree", "file", "staged")) == Compared(("file", "tree", "staged"))
    assert forms.forms_of("container", ("tree", "staged")) == ("tree",)


@needs_tools
def test_a_staged_file_is_started_from_the_node_s_copy_which_is_removed(large: Project, tmp_path: Path) -> None:
    _, file = pair(large)
    local = {"JOBFS": str(tmp_path)}
    with node_copies((file, replace(file, is_staged=True)), local) as (shared, staged):
        assert shared is file
        assert (staged.form, Path(staged.file).read_bytes()) == ("staged", Path(file.file).read_bytes())
        assert staged.stage_seconds is not None
        state = FreshCopy(tmp_path / "work")
        copied = state.prepare(staged)
        with Starter({"HOME": str(tmp_path)}, tmp_path, tmp_path / "work") as starter:
            assert starter.start(copied, of_imports("imports", IMPORTS)).status == 0
            place = Path(copied.file)
            place.chmod(0o600)
            place.write_bytes(b"no image")
            assert starter.start(copied, of_imports("imports", IMPORTS)).status != 0
        state.after(copied)
        assert place.exists()
    assert not place.exists()


def test_a_tree_is_started_as_it_is(here: Candidate) -> None:
    assert here.mounted_anew() is here
    assert replace(here, file="/f").mounted_anew().environment.variables["_OZMOUNT_FILE"] == "/f"
