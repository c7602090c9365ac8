"""A recorded run as the metadata of an RO-Crate 1.1 of the profile Process Run Crate 0.5, the same bytes for the same run.

https://www.researchobject.org/ro-crate/specification/1.1/ and https://w3id.org/ro/wfrun/process/0.5
"""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from mimetypes import MimeTypes
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ozrepro.pipeline.cyclonedx import references
from ozrepro.pipeline.records.record import as_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from ozrepro.methods.components import Component
    from ozrepro.pipeline.records.record import Record

    Entity = dict[str, Any]

METADATA = "ro-crate-metadata.json"
_CRATE = "https://w3id.org/ro/crate/1.1"
_PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
_TERMS = "https://w3id.org/ro/terms/workflow-run/context"
_SPDX = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]*\Z", re.ASCII)
"""One license's short name (SPDX specification, annex D)."""

_ELSEWHERE = ("schema", "start", "end", "command")
"""What of a record has a place of its own in an action."""


@dataclass(frozen=True, slots=True)
class Part:
    """A file of a crate: its path from the crate's folder, the sha256 and size in bytes of its content, and what it is."""

    path: str
    sha256: str
    size: int
    about: str


@dataclass(frozen=True, slots=True)
class Parts:
    """The files of a crate; one may be read and written by the run. `others` are neither."""

    lock: Part
    inputs: tuple[Part, ...] = ()
    results: tuple[Part, ...] = ()
    others: tuple[Part, ...] = ()

    @property
    def each(self) -> tuple[Part, ...]:
        """All of them, each once."""
        return tuple({item.path: item for item in (self.lock, *self.others, *self.inputs, *self.results)}.values())


def metadata(record: Record, parts: Parts, components: Sequence[Component], terms: str) -> str:
    """Return the metadata file's text.

    Args:
        record: the run.
        parts: the files that the crate holds.
        components: what the section of the lock names that the run was made with.
        terms: the license, as SPDX names it or in words; "" where none is stated.

    """
    software = [item for item in components if not item.builds]
    packages = [_package(item, name) for item, name in zip(software, references(software), strict=True)]
    facts = [_fact(f"ozrepro:{name}", value) for name, value in _flat(as_table(record)) if name not in _ELSEWHERE and value != []]
    variables = [_fact("OMP_NUM_THREADS", record.machine.omp)] if record.machine.omp else []
    agents: list[Entity] = [{"@id": "#agent", "@type": "Person", "name": record.user}] if record.user else []
    license_, licenses = _license(terms)
    files = [_file(item) for item in parts.each]
    action = {
        **_action(record),
        "instrument": {"@id": "#program"},
        "object": _links([_file(item) for item in (*parts.inputs, parts.lock)]),
        **_some("result", [_file(item) for item in parts.results]),
        **_some("agent", agents),
        **_some("environment", variables),
        **_some("additionalProperty", facts),
    }
    graph = [
        {"@id": METADATA, "@type": "CreativeWork", "about": {"@id": "./"}, "conformsTo": {"@id": _CRATE}},
        {**_root(record), "license": license_, "hasPart": _links(files), "mentions": {"@id": action["@id"]}},
        {"@id": _PROFILE, "@type": "CreativeWork", "name": "Process Run Crate", "version": "0.5"},
        action,
        {**_program(record), **_some("softwareRequirements", packages)},
        *(*licenses, *agents, *files, *packages, *variables, *facts),
    ]
    return json.dumps({"@context": [f"{_CRATE}/context", _TERMS], "@graph": graph}, indent=1) + "\n"


def _root(record: Record) -> Entity:
    command = shlex.join(record.command)
    return {
        "@id": "./",
        "@type": "Dataset",
        "name": f"A run of the session {record.session}, {record.start[:10]}",
        "description": f"What was run: {command}. The lock names every package of the environment that it ran in.",
        "datePublished": (record.end or record.start)[:10],
        "conformsTo": {"@id": _PROFILE},
    }


def _action(record: Record) -> Entity:
    """Return the run. One without an end is called active: consumers take a run without a status for a good one."""
    front_end = "nox -s" if record.by == "nox" else f"ozrepro {record.by}"
    ended = record.signal or f"status {record.status}"
    state = "Active" if record.status is None else "Failed" if record.status else "Completed"
    return {
        "@id": f"#{record.id}",
        "@type": "CreateAction",
        "name": f"{front_end} {record.session}",
        "description": shlex.join(record.command),
        "startTime": _time(record.start),
        **({"endTime": _time(record.end)} if record.end else {}),
        "actionStatus": f"http://schema.org/{state}ActionStatus",
        **({"error": f"ended with {ended}"} if record.status else {}),
    }


def _program(record: Record) -> Entity:
    """Return what was run. Its version is the project's, where git knows one, else what is locked."""
    git = record.git
    version = f"{git.revision}{' with changes' if git.dirty else ''}" if git is not None else record.section
    return {
        "@id": "#program",
        "@type": "SoftwareApplication",
        "name": next((word.rpartition("/")[2] for word in record.command[:1]), "") or record.session,
        "description": f"started in the session {record.session}, by the method {record.method}",
        "softwareVersion": version,
    }


def _license(terms: str) -> tuple[object, list[Entity]]:
    """Return the value of `license`, and the entity that it names."""
    if not _SPDX.match(terms):
        return terms or "No license is stated: ask the authors before you use it.", []
    address = f"https://spdx.org/licenses/{terms}"
    return {"@id": address}, [{"@id": address, "@type": "CreativeWork", "name": terms, "description": f"SPDX license {terms}"}]


def _file(part: Part) -> Entity:
    kind, _ = MimeTypes().guess_type(f"file{''.join(PurePosixPath(part.path).suffixes[-2:])}")
    return {
        "@id": quote(part.path.encode("utf-8", "surrogateescape")),
        "@type": "File",
        "name": part.path.encode("utf-8", "surrogateescape").decode("utf-8", "replace"),
        "description": part.about,
        "encodingFormat": "application/toml" if part.path.endswith((".lock", ".toml")) else kind or "application/octet-stream",
        "contentSize": str(part.size),
        "sha256": part.sha256,
    }


def _package(item: Component, name: str) -> Entity:
    digests = list(item.files.values())
    return {
        "@id": name if item.purl else f"#{quote(name, safe='')}",
        "@type": "SoftwareApplication",
        "name": item.name,
        **({"softwareVersion": item.version} if item.version else {}),
        **({"description": f"only where {item.properties['marker']}"} if "marker" in item.properties else {}),
        **({"sha256": digests[0]} if len(digests) == 1 else {}),
    }


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of nested tables, each with the names that lead to it."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flat(item, f"{name}.{key}" if name else key)
    else:
        yield name, value


def _fact(name: str, value: object) -> Entity:
    single = value[0] if isinstance(value, list) and len(value) == 1 else value  # RO-Crate 1.1, appendix on JSON-LD
    return {"@id": f"#{name}", "@type": "PropertyValue", "name": name, "value": single}


def _time(text: str) -> str:
    return f"{text.removesuffix('Z')}+00:00"


def _links(entities: Iterable[Mapping[str, Any]]) -> object:
    """Return references to entities, each once; of a single one without a list, as the profile's examples have it."""
    found = [{"@id": name} for name in dict.fromkeys(item["@id"] for item in entities)]
    return found[0] if len(found) == 1 else found


def _some(key: str, entities: Sequence[Mapping[str, Any]]) -> Entity:
    return {key: _links(entities)} if entities else {}
