"""What every crate of a run must keep, looked at without a validator; and records to make crates of."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from ozrepro.methods.reading import load_lock
from ozrepro.pipeline.records.record import Record, line_of, record_of
from tests.conftest import Project

Entities = dict[str, dict[str, Any]]

SPECIFICATION = "https://w3id.org/ro/crate/1.1"
PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
TERMS = {
    *("@id", "@type", "about", "conformsTo", "name", "description", "datePublished", "license", "hasPart", "mentions", "version"),
    *("startTime", "endTime", "actionStatus", "error", "instrument", "object", "result", "agent", "additionalProperty"),
    *("softwareVersion", "softwareRequirements", "encodingFormat", "contentSize", "value"),  # of RO-Crate 1.1's own context
    *("environment", "sha256"),  # of the workflow-run context
}
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{3})?\+\d{2}:\d{2}\Z")


def record_with(**more: object) -> Record:
    """Return the record of a run, with other values than the usual."""
    table: dict[str, object] = {
        "schema": 1,
        "id": "20261129T155500Z-8c1f0a2b3d4e",
        "by": "run",
        "session": "work",
        "method": "venv",
        "section": f"sha256:{'0' * 64}",
        "lock": {"path": "sessions/work.lock", "sha256": "0" * 64},
        "command": ["python", "work.py"],
        "start": "2026-11-29T15:55:00.123Z",
        "end": "2026-11-29T15:56:40.001Z",
        "status": 0,
    }
    return record_of({key: value for key, value in {**table, **more}.items() if value is not None}, "record")


def recorded(project: Project, method: str = "venv", **more: object) -> Path:
    """Write the record of a run that was made with a project's lock as it is now, and return its path."""
    lock = load_lock(project.root, "work")
    assert lock is not None
    (section,) = lock.of_method(method)
    digest = hashlib.sha256(project.lock().read_bytes()).hexdigest()
    own = {"method": method, "section": section.digest, "lock": {"path": "sessions/work.lock", "sha256": digest}}
    path = project.root / "run.json"
    path.write_bytes(line_of(record_with(**{**own, **more})))
    return path


def links(value: object) -> list[str]:
    """Return the ids that a property's value refers to."""
    values = value if isinstance(value, list) else [value]
    return [item["@id"] for item in values if isinstance(item, dict)]


def read_crate(text: str, folder: Path | None = None) -> Entities:
    """Return the entities of a crate's metadata that keeps the rules; the files are compared with those of a folder."""
    document = json.loads(text)
    assert document["@context"] == [f"{SPECIFICATION}/context", "https://w3id.org/ro/terms/workflow-run/context"]
    entities: Entities = {entity["@id"]: entity for entity in document["@graph"]}
    assert len(entities) == len(document["@graph"])
    for entity in entities.values():
        assert set(entity) <= TERMS, entity
        for value in entity.values():
            assert all(set(item) == {"@id"} for item in (value if isinstance(value, list) else [value]) if isinstance(item, dict))
            assert set(links(value)) <= {*entities, SPECIFICATION}, entity
    descriptor, root = entities["ro-crate-metadata.json"], entities["./"]
    assert (descriptor["about"], descriptor["conformsTo"]) == ({"@id": "./"}, {"@id": SPECIFICATION})
    assert root["conformsTo"] == {"@id": PROFILE}
    assert all(root[key] for key in ("name", "description", "license"))
    assert re.match(r"\d{4}-\d{2}-\d{2}\Z", root["datePublished"])
    (action,) = (entity for entity in entities.values() if entity["@type"] == "CreateAction")
    assert root["mentions"] == {"@id": action["@id"]}
    assert all(_TIME.match(action[key]) for key in ("startTime", "endTime") if key in action)
    assert entities[links(action["instrument"])[0]]["@type"] == "SoftwareApplication"
    assert ("error" in action) == action["actionStatus"].endswith("/FailedActionStatus")
    _check_files(entities, folder)
    return entities


def _check_files(entities: Entities, folder: Path | None) -> None:
    files = {name: entity for name, entity in entities.items() if entity["@type"] == "File"}
    assert set(links(entities["./"]["hasPart"])) == set(files)
    for name, entity in files.items() if folder is not None else ():
        assert folder is not None
        content = (folder / unquote(name, errors="surrogateescape")).read_bytes()
        assert (hashlib.sha256(content).hexdigest(), str(len(content))) == (entity["sha256"], entity["contentSize"])
