"""A section of a lock as a CycloneDX 1.6 document (https://cyclonedx.org/docs/1.6/json/), the same bytes for the same section."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

from ozrepro.project.spec import digest_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ozrepro.methods.components import Component
    from ozrepro.project.lock import Section

_NAMESPACE = uuid.UUID("5b7b3d0e-2c52-5c0e-9a7c-1f0b6f6c9f10")
"""Of the serial numbers that are made here, so that no other tool makes the same."""

_AGGREGATES = ("complete", "incomplete", "unknown")
"""How much of what a component needs the lock knows, in CycloneDX's words."""


def document(session: str, section: Section, components: Sequence[Component]) -> str:
    """Return the document. Its serial number follows from the section, and it has no time, host or user."""
    names = references(components)
    root = f"session:{session}"
    edges, sure = _edges(components, names)
    top = _top([name for item, name in zip(components, names, strict=True) if not item.builds], edges)
    compositions = {kind: [name for name in names if sure.get(name, "unknown") == kind] for kind in _AGGREGATES}
    compositions["unknown"].insert(0, root)
    graph = {root: top, **edges}
    value = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, digest_of([session, section.digest]))}",
        "version": 1,
        "metadata": {
            "tools": {"components": [{"type": "application", "name": "ozrepro"}]},
            "component": {"type": "application", "bom-ref": root, "name": session},
            "properties": [_property("section", section.title), _property("digest", section.digest)],
        },
        "components": [_component(item, name) for item, name in zip(components, names, strict=True)],
        "dependencies": [{"ref": name, **({"dependsOn": needed} if needed else {})} for name, needed in graph.items()],
        "compositions": [{"aggregate": kind, "dependencies": which} for kind, which in compositions.items() if which],
    }
    return json.dumps(value, indent=1) + "\n"


def references(components: Iterable[Component]) -> list[str]:
    """Return a name for each component that no other has: its purl; what comes twice, such as for two Pythons, is counted."""
    taken: dict[str, None] = {}
    for item in components:
        plain = item.purl or f"{item.kind}:{item.name}@{item.version}"
        name, number = plain, 2
        while name in taken:
            name, number = f"{plain}#{number}", number + 1
        taken[name] = None
    return list(taken)


def _edges(components: Sequence[Component], names: Sequence[str]) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Return what each component needs, as far as the lock knows, and whether that is `complete` or `incomplete`."""
    places = {item.name: name for item, name in zip(components, names, strict=True) if item.depends is not None}
    edges: dict[str, list[str]] = {}
    sure: dict[str, str] = {}
    for item, name in zip(components, names, strict=True):
        if item.depends is not None:
            edges[name] = sorted({places[other] for other in item.depends if other in places} - {name})
            sure[name] = "complete" if all(other in places for other in item.depends) else "incomplete"
    return edges, sure


def _top(names: Sequence[str], edges: Mapping[str, Sequence[str]]) -> list[str]:
    """Return those of `names` from which all of them are reached: what nothing else needs, and one of each circle."""
    needed = {other for others in edges.values() for other in others}
    top: list[str] = []
    reached: set[str] = set()
    for name in (*(name for name in names if name not in needed), *names):
        if name in reached:
            continue
        top.append(name)
        pending = [name]
        while pending:
            current = pending.pop()
            if current not in reached:
                reached.add(current)
                pending += edges.get(current, ())
    return top


def _component(item: Component, name: str) -> dict[str, Any]:
    """Return a component. A single file's hash is the component's; those of several are properties, as only one is installed."""
    digests = list(item.files.values())
    files = [_property("file", f"{file} sha256:{digest}") for file, digest in item.files.items()]
    properties = [_property(key, value) for key, value in item.properties.items()] + files
    return {
        "type": item.kind,
        "bom-ref": name,
        "name": item.name,
        **({"version": item.version} if item.version else {}),
        **({"scope": "excluded"} if item.builds else {}),
        **({"hashes": [{"alg": "SHA-256", "content": digests[0]}]} if len(digests) == 1 else {}),
        **({"licenses": [{"license": {"name": item.license}}]} if item.license else {}),
        **({"purl": item.purl} if item.purl else {}),
        **({"properties": properties} if properties else {}),
    }


def _property(name: str, value: str) -> dict[str, str]:
    return {"name": f"ozrepro:{name}", "value": value}
