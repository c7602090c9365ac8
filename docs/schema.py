"""Makes the JSON Schemas of specs and settings from the reader's types, with the words of the reference; --check only compares.

They are committed, since `ozrepro init` and editors have no reference at hand.
"""

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import is_dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Protocol, Union, get_args, get_origin, runtime_checkable

from ozrepro.methods import registry
from ozrepro.modulesystem import tools
from ozrepro.project.reader import Check, Range, Read, entries_of
from ozrepro.project.settings import OneOf, Table
from ozrepro.project.spec import Common, Matching
from ozrepro.project.values import BEYOND

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "ozrepro" / "frontends" / "init"
DRAFT = "http://json-schema.org/draft-07/schema#"
"""The newest draft that taplo, tombi and VS Code's Even Better TOML all read."""

JUDGE = (
    "ozrepro itself checks more, such as versions, paths and keys that exclude each other, and is the judge: ozrepro lock --check"
)
_OTHER_THAN_ASCII_WORD = r"[^\x00-/:-@\[-^`{-\x7f]"
_ROW = re.compile(r"\| (?P<keys>`.+?`) \|.*\| (?P<words>.+) \|\Z")
Schema = dict[str, Any]
Words = Mapping[str, str]


@runtime_checkable
class _HasTable(Protocol):
    """A method whose table of a spec is a dataclass of the reader's, as those of this package are."""

    table: type


def main() -> int:
    """Write the schemas; with --check, say which of them would be others."""
    made = {FOLDER / "spec.schema.json": spec(), FOLDER / "settings.schema.json": settings()}
    texts = {path: json.dumps(schema, indent=1, ensure_ascii=False) + "\n" for path, schema in made.items()}
    stale = [path for path, text in texts.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if "--check" in sys.argv[1:]:
        sys.stdout.writelines(f"{path.relative_to(ROOT)} is out of date: python docs/schema.py\n" for path in stale)
        return 1 if stale else 0
    for path in stale:
        path.write_text(texts[path], encoding="utf-8")
    return 0


def spec() -> Schema:
    """Return the schema of sessions/NAME.toml, with the tables of this package's methods."""
    page = (ROOT / "docs" / "reference" / "spec.md").read_text(encoding="utf-8")
    schema = _table(Common, _words(page, "At the top"))
    methods = schema["properties"]["methods"]
    methods |= {"items": {"enum": list(registry.BUILTIN)}, "minItems": 1, "uniqueItems": True}
    for name in registry.BUILTIN:
        method = registry.load(name)
        assert isinstance(method, _HasTable), name
        schema["properties"][name] = {
            "description": _first_sentence(page, name),
            **_table(method.table, _words(page, f"`[{name}]`")),
        }
    schema["anyOf"] = [{"required": [name]} for name in registry.BUILTIN]
    return {"$schema": DRAFT, "title": "A session of ozrepro: sessions/NAME.toml", "description": JUDGE, **schema}


def settings() -> Schema:
    """Return the schema of a pyproject.toml, of which it knows [tool.ozrepro] alone: tools take a schema for a whole file."""
    page = (ROOT / "docs" / "reference" / "settings.md").read_text(encoding="utf-8")
    schema = _table(Table, _words(page, "Keys of `[tool.ozrepro]`"))
    schema["properties"]["methods"]["items"] = {"enum": list(registry.BUILTIN)}
    schema["properties"]["module-tool"]["enum"] = [*tools.known(), ""]
    title = "Settings of ozrepro: [tool.ozrepro] of pyproject.toml"
    tool = {"type": "object", "properties": {"ozrepro": schema}, "additionalProperties": True}
    whole = {"type": "object", "properties": {"tool": tool}, "additionalProperties": True}
    return {"$schema": DRAFT, "title": title, "description": JUDGE, **whole}


def _words(page: str, heading: str) -> Words:
    """Return what the reference says of each key in the tables below a heading, without its marks."""
    part = page.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = (row for line in part.splitlines() if (row := _ROW.match(line)))
    return {key: _plain(row["words"]) for row in rows for key in re.findall(r"`([^`]+)`", row["keys"])}


def _first_sentence(page: str, method: str) -> str:
    part = page.partition(f"\n## `[{method}]`\n")[2].strip()
    return _plain(part.splitlines()[0])


def _plain(text: str) -> str:
    """Return words of the reference without marks, and without where the page says more."""
    text = re.sub(r"[.,]? (see )?(\[[^\]]+\]\([^)]+\)|below)\Z", "", text).replace(", see below;", ";")
    return re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", text).replace("`", "")


def _table(kind: type, words: Words) -> Schema:
    """Return the schema of a dataclass; keys of tables in it are described where the same words name them."""
    properties: Schema = {}
    for key, entry in entries_of(kind).items():
        properties[key] = {**({"description": words[key]} if key in words else {}), **_type(entry.hint, words)}
    required = [key for key, entry in entries_of(kind).items() if entry.required]
    return {
        "type": "object",
        "properties": properties,
        **({"required": required} if required else {}),
        "additionalProperties": False,
    }


def _type(hint: Any, words: Words) -> Schema:
    """Return the schema of a type with its marks. It never refuses what the reader takes."""
    marks: tuple[Any, ...] = ()
    while get_origin(hint) is Annotated:
        hint, *more = get_args(hint)
        marks += tuple(more)
    instead = next((mark for mark in marks if isinstance(mark, Read)), None)
    if instead is not None:
        return {"anyOf": [_type(item, words) for item in instead.takes]} if instead.takes else {}
    schema = _plain_type(hint, marks, words)
    for check in (mark.function for mark in marks if isinstance(mark, Check)):
        schema |= _checked(check)
    return schema


def _plain_type(hint: Any, marks: tuple[Any, ...], words: Words) -> Schema:
    origin, inner = get_origin(hint), get_args(hint)
    if hint is str:
        return {"type": "string"}
    if hint is bool:
        return {"type": "boolean"}
    if hint in (int, float):
        return _number(hint, next((mark for mark in marks if isinstance(mark, Range)), Range()))
    if origin is Literal:
        return {"enum": sorted(inner, key=lambda choice: choice == "")}
    if origin is tuple:
        return {"type": "array", "items": _type(inner[0], words) | ({"minLength": 1} if _is_text(inner[0]) else {})}
    if origin is Mapping:
        return {"type": "object", "propertyNames": _type(inner[0], words), "additionalProperties": _type(inner[1], words)}
    if is_dataclass(hint) and isinstance(hint, type):
        return _table(hint, words)
    if origin in (Union, UnionType) or hint is Any:
        return {}
    raise TypeError(f"no schema for {hint!r}")


def _is_text(hint: Any) -> bool:
    return str in (hint, *get_args(hint)[:1])


def _number(hint: type, bounds: Range) -> Schema:
    limit = {} if bounds.below >= BEYOND else {"exclusiveMaximum": bounds.below}
    return {"type": "number" if hint is float else "integer", "minimum": bounds.least, **limit}


def _checked(check: Any) -> Schema:
    """Return what a schema can say of a check; nothing of a function, which only the reader runs."""
    if isinstance(check, OneOf):
        return {"enum": list(check.choices)}
    if isinstance(check, Matching):
        return {"pattern": f"^(?:{_ecma(check.pattern)})$"}
    return {}


def _ecma(pattern: re.Pattern[str]) -> str:
    r"""Return a pattern in the words of ECMA 262, whose \w knows ASCII alone."""
    text = pattern.pattern.removesuffix(r"\Z")
    return text if pattern.flags & re.ASCII else text.replace(r"\w", _OTHER_THAN_ASCII_WORD)


if __name__ == "__main__":
    sys.exit(main())
