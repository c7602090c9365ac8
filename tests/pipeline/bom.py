"""What every CycloneDX document of a lock must keep, looked at without anybody's schema."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import unquote

_PURL = re.compile(r"pkg:(?P<kind>[a-z]+)/(?P<name>[^@?#]+)(@(?P<version>[^@?#]+))?(\?(?P<more>[^?#]+))?\Z", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


def read_purl(text: str) -> tuple[str, str, str, dict[str, str]]:
    """Return the type, name, version and qualifiers of a package URL in its canonical form."""
    found = _PURL.match(text)
    assert found, text
    pairs = [pair.split("=") for pair in (found["more"] or "").split("&") if pair]
    assert all(len(pair) == 2 and pair[1] for pair in pairs), text
    assert [key for key, _ in pairs] == sorted({key for key, _ in pairs}), text
    assert all(found["name"].split("/")), text
    return found["kind"], unquote(found["name"]), unquote(found["version"] or ""), {key: unquote(value) for key, value in pairs}


def read_bom(text: str) -> dict[str, Any]:
    """Return a document that keeps the rules: one name a component, no edge to nowhere, purls that can be read, all reached."""
    bom: dict[str, Any] = json.loads(text)
    assert (bom["bomFormat"], bom["specVersion"], bom["version"]) == ("CycloneDX", "1.6", 1)
    assert re.match(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z", bom["serialNumber"])
    assert "timestamp" not in bom["metadata"]
    root = bom["metadata"]["component"]["bom-ref"]
    names = [root, *(item["bom-ref"] for item in bom["components"])]
    assert len(set(names)) == len(names)
    for item in bom["components"]:
        if "purl" in item:
            kind, name, version, _ = read_purl(item["purl"])
            assert version == item.get("version", "")
            assert kind not in ("pypi", "conda") or name == "/".join(filter(None, item["name"].split("/")))
        assert all(_SHA256.match(entry["content"]) for entry in item.get("hashes", ()))
    _check_graph(bom, root, names)
    return bom


def edges(bom: dict[str, Any]) -> dict[str, list[str]]:
    """Return what each component needs, where that is known."""
    return {item["ref"]: item.get("dependsOn", []) for item in bom["dependencies"]}


def _check_graph(bom: dict[str, Any], root: str, names: list[str]) -> None:
    known = edges(bom)
    assert len(known) == len(bom["dependencies"])
    for others in (list(known), *known.values()):
        assert set(others) <= set(names)
        assert len(set(others)) == len(others)
    told = [name for part in bom["compositions"] for name in part["dependencies"]]
    assert sorted(told) == sorted(names)
    reached, pending = set[str](), [root]
    while pending:
        name = pending.pop()
        if name not in reached:
            reached.add(name)
            pending += known.get(name, [])
    excluded = {item["bom-ref"] for item in bom["components"] if item.get("scope") == "excluded"}
    assert reached == set(names) - excluded
