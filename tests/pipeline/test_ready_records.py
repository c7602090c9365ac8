"""Nodes that share a store: each kind has a record of its own, and none starts by another's."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from ozrepro.environment import Environment
from ozrepro.faststart import ready
from ozrepro.methods.container import apptainer
from ozrepro.pipeline.preparing import prepare
from ozrepro.pipeline.session import open_session
from tests.conftest import Project
from tests.methods.container.standin import boxed


@dataclass(frozen=True)
class Nodes:
    """The nodes of a cluster, whose GPU drivers differ; one process goes from node to node."""

    project: Project
    driver: Path

    def go(self, version: str) -> None:
        """Go to the node with this version of the driver, "" for one without."""
        self.driver.unlink(missing_ok=True)
        if version:
            self.driver.write_text(f"{version}\n")

    def ready(self) -> Environment | None:
        """Return how a start by the record of an earlier one runs programs, None where there is no record."""
        found = ready.find_ready(str(self.project.root), "work", None, self.project.environ)
        return found.environment if found is not None else None

    def prepare(self) -> Environment:
        """Go the long way, which leaves a record."""
        session = open_session(self.project.root, "work", self.project.environ)
        return prepare(session, lambda _: None, lambda *_: None).environment

    def records(self) -> dict[str, str]:
        """Return the driver of each record, by the record's name."""
        files = (self.project.store() / "ready").iterdir()
        return {file.name: json.loads(file.read_bytes())["facts"]["driver"] for file in files}


@pytest.fixture
def nodes(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Nodes:
    """Give a session that is an image, on nodes of which some have a GPU; no node has a record yet."""
    driver = tmp_path / "driver"
    for module in (ready, apptainer):
        monkeypatch.setattr(module, "DRIVER", str(driver))
        monkeypatch.setattr(module, "AMD", str(tmp_path / "none"))
    found = Nodes(boxed(project), driver)
    for file in (project.store() / "ready").iterdir():
        file.unlink()
    return found


def test_each_kind_of_node_gets_a_record_and_starts_by_its_own(nodes: Nodes) -> None:
    made: dict[str, Environment] = {}
    for version in ("", "550.1", "560.2"):
        nodes.go(version)
        assert nodes.ready() is None, "a record of another kind of node"
        made[version] = nodes.prepare()
        assert nodes.ready() == made[version]
    assert sorted(nodes.records().values()) == ["", "550.1", "560.2"]
    assert ["--nv" in environment.prefix for environment in made.values()] == [False, True, True]
    records = nodes.records()
    for version in ("560.2", "", "550.1", ""):
        nodes.go(version)
        assert nodes.ready() == made[version], "another kind of node has replaced it"
        nodes.prepare()
    assert nodes.records() == records


def test_a_record_that_names_an_unknown_fact_is_not_taken_and_is_written_again(nodes: Nodes) -> None:
    nodes.go("")
    first = nodes.prepare()
    (file,) = (nodes.project.store() / "ready").iterdir()
    record = json.loads(file.read_bytes())
    file.write_text(json.dumps({**record, "facts": {**record["facts"], "gpu": "one"}}))
    assert nodes.ready() is None
    assert nodes.prepare() == first
    assert nodes.ready() == first
