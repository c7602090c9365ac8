"""Reads tables of TOML and JSON into frozen dataclasses, by the dataclasses' own annotations.

The class says what a table holds; nothing else has to be written:

    Name = Annotated[str, Check(check_name)]

    @dataclass(frozen=True, slots=True)
    class Package:
        name: Name
        size: Annotated[int, Range(1, 2**40)]
        passed: Annotated[tuple[Name, ...], Key("pass")] = ()   # the key `pass`
        noarch: Literal["", "python", "generic"] = ""
        variables: Mapping[Name, str] = field(default_factory=dict)
        built_by: Tool | None = None                            # a table inside, the key `built-by`

        def problems(self) -> Iterator[tuple[str, str]]:        # optional: rules for several keys, as key and problem
            if self.noarch and not self.variables:
                yield "noarch", "requires variables"

    checker = Checker("fit.lock", text)
    package = read_table(checker, Package, table, ("package",))
    if checker.mistakes: ...

`problems` is asked also where other keys are wrong; what it says of a wrong key is left out. Its key is "" for the table as a
whole, `"name[2]"` for a part of an array, and a tuple for a key inside another.

Types: `str`, `bool`, `int`, `float`, `Literal[…]` of strings, `tuple[X, ...]`, `Mapping[str, X]`, another dataclass,
`X | None`, and `Any`, which is kept as it is. A field without a default is required. Annotations are looked at when a class is
first read, so that what they name is imported outside `if TYPE_CHECKING`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Final,
    Literal,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from ozrepro.project.values import (
    BEYOND,
    INVALID,
    Reader,
    mistyped,
    read_anything,
    read_choice,
    read_flag,
    read_json_text,
    read_lines,
    read_number,
    read_text,
)

if TYPE_CHECKING:
    from ozrepro.project.checking import Checker

__all__ = ["MULTILINE", "Check", "Entry", "Key", "Range", "Read", "entries_of", "read_table"]

_T = TypeVar("_T")
_Path = tuple[str, ...]
Syntax = Literal["toml", "json"]


@dataclass(frozen=True, slots=True)
class Key:
    """The key of a field where it is not the field's name (in TOML with `-` for `_`)."""

    name: str


@dataclass(frozen=True, slots=True)
class Check:
    """A function that returns what is wrong with a value, or None. It gets values of the right type alone."""

    function: Callable[[Any], str | None]


@dataclass(frozen=True, slots=True)
class Range:
    """From what (included) to below what a number is, and its unit. A number without it is from 0 to below 2**63."""

    least: float = 0
    below: float = BEYOND
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Read:
    """A function that reads the value instead: it gets the checker, the value and its path, and notes mistakes itself.

    Attributes:
        function: the reader.
        takes: the types of what the file may hold, for a schema; () for any.

    """

    function: Callable[[Checker, Any, tuple[str, ...]], Any]
    takes: tuple[Any, ...] = ()


class _Multiline:
    pass


MULTILINE: Final = _Multiline()
"""Marks a text of TOML that may hold line breaks and tabs."""


def read_table(checker: Checker, kind: type[_T], value: object, path: tuple[str, ...] = (), syntax: Syntax = "toml") -> _T:
    """Return the value of the dataclass `kind` that a table holds; all that is wrong with it is noted in `checker`.

    What is wrong or missing has its default, or is empty, in what is returned: further checks meet the right types.

    Args:
        checker: collects the mistakes, each with its line and key.
        kind: a dataclass, described as the module says.
        value: what the parser returned.
        path: the table's key; () for the whole file.
        syntax: in `toml`, which people write, an unknown key is a mistake, keys have `-` for `_`, and texts hold no invisible
            characters and arrays no empty texts. In `json`, which programs write, keys are the fields' names, an unknown key is
            one of a newer version and left out, and any text that can be written is taken.

    """
    table = _table_reader(cast("Hashable", kind), syntax)(checker, value, path)
    result: _T = _blank(kind) if table is INVALID else table
    return result


@dataclass(frozen=True, slots=True)
class Entry:
    """A key of a table: the field that it becomes, how it is read, and its type with the marks."""

    name: str
    key: str
    read: Reader
    hint: Any
    field: Field[Any]

    @property
    def required(self) -> bool:
        """Whether a table without the key is wrong."""
        return self.field.default is MISSING and self.field.default_factory is MISSING

    def without(self) -> Any:
        """Return what the field is where the file gives no value that can be used."""
        if self.field.default is not MISSING:
            return self.field.default
        return _blank(self.hint) if self.field.default_factory is MISSING else self.field.default_factory()


@cache
def entries_of(kind: type, syntax: Syntax = "toml") -> Mapping[str, Entry]:
    """Return the keys of the table that a dataclass describes, in order."""
    hints = get_type_hints(kind, include_extras=True)
    entries: dict[str, Entry] = {}
    for item in fields(kind):
        if item.init:
            hint, name = hints[item.name], item.name.replace("_", "-") if syntax == "toml" else item.name
            key = next((mark.name for mark in _marks(hint) if isinstance(mark, Key)), name)
            entries[key] = Entry(item.name, key, _reader(hint, syntax), hint, item)
    return entries


@cache
def _table_reader(kind: type, syntax: Syntax) -> Reader:
    entries = entries_of(kind, syntax)
    problems: Callable[[Any], Iterable[tuple[str | tuple[str, ...], str]]] | None = getattr(kind, "problems", None)

    def read(checker: Checker, value: Any, path: _Path) -> Any:
        if not isinstance(value, dict):
            return mistyped(checker, value, path, "a table")
        if syntax == "toml":
            for key in value:
                if key not in entries:
                    checker.unknown((*path, key), entries)
        given, wrong = _fields(checker, entries, value, path)
        result = kind(**given)
        for key, problem in problems(result) if problems else ():
            inner = tuple(filter(None, (key,) if isinstance(key, str) else key))
            if not inner or inner[0].partition("[")[0] not in wrong:
                checker.wrong((*path, *inner), problem)
        return result

    return read


def _fields(
    checker: Checker, entries: Mapping[str, Entry], value: Mapping[str, Any], path: _Path
) -> tuple[dict[str, Any], set[str]]:
    """Return the fields that a table gives by name, and the keys that are missing or wrong."""
    given, wrong, missing = {}, set(), []
    for key, entry in entries.items():
        if key in value:
            before = len(checker.mistakes)
            item = entry.read(checker, value[key], (*path, key))
            given[entry.name] = entry.without() if item is INVALID else item
            if len(checker.mistakes) > before:
                wrong.add(key)
        elif entry.required:
            given[entry.name] = entry.without()
            missing.append(key)
    if missing:
        checker.wrong(path, f"lacks {', '.join(missing)}")
    return given, wrong.union(missing)


def _marks(hint: Any) -> tuple[Any, ...]:
    return get_args(hint)[1:] if get_origin(hint) is Annotated else ()


def _reader(hint: Any, syntax: Syntax) -> Reader:
    """Return the function that reads a value of the type `hint`; it returns INVALID where there is none."""
    marks = _marks(hint)
    if marks:
        hint = get_args(hint)[0]
    instead = next((mark.function for mark in marks if isinstance(mark, Read)), None)
    read = instead or _unchecked(hint, syntax, marks)
    checks = tuple(mark.function for mark in marks if isinstance(mark, Check))
    return _checked(read, checks) if checks else read


def _unchecked(hint: Any, syntax: Syntax, marks: tuple[Any, ...]) -> Reader:
    origin, inner = get_origin(hint), get_args(hint)
    if hint is str:
        return read_json_text if syntax == "json" else read_lines if MULTILINE in marks else read_text
    if hint is bool:
        return read_flag
    if hint in (int, float):
        bounds = next((mark for mark in marks if isinstance(mark, Range)), Range())
        return read_number(hint, bounds.least, bounds.below, bounds.unit)
    if origin is Literal:
        return read_choice(inner)
    if origin in (Union, UnionType):
        (one,) = (item for item in inner if item is not NoneType)
        return _optional(_reader(one, syntax))
    if origin is tuple and inner[1:] == (...,):
        return _array(_reader(inner[0], syntax), syntax, of_texts=str in (inner[0], *get_args(inner[0])[:1]))
    if origin is Mapping:
        return _mapping(_reader(inner[0], syntax), _reader(inner[1], syntax))
    if isinstance(hint, type) and is_dataclass(hint):
        return _table_reader(hint, syntax)
    if hint is Any:
        return read_anything
    raise TypeError(f"no file holds {hint!r}")


def _checked(read: Reader, checks: tuple[Callable[[Any], str | None], ...]) -> Reader:
    def checked(checker: Checker, value: Any, path: _Path) -> Any:
        item = read(checker, value, path)
        if item is not INVALID:
            for check in checks:
                problem = check(item)
                if problem:
                    checker.wrong(path, problem)
                    return INVALID
        return item

    return checked


def _optional(read: Reader) -> Reader:
    return lambda checker, value, path: None if value is None else read(checker, value, path)


def _array(read: Reader, syntax: Syntax, *, of_texts: bool) -> Reader:
    wanted = 'an array of strings: ["…"]' if of_texts else "an array"

    def array(checker: Checker, value: Any, path: _Path) -> Any:
        if not isinstance(value, list):
            return mistyped(checker, value, path, wanted)
        *above, name = path or ("",)
        items = []
        for index, item in enumerate(value):
            place = (*above, f"{name}[{index}]")
            if of_texts and syntax == "toml" and isinstance(item, str) and not item.strip():
                checker.wrong(place, "is empty", "remove it")
                continue
            entry = read(checker, item, place)
            if entry is not INVALID:
                items.append(entry)
        return tuple(items)

    return array


def _mapping(read_key: Reader, read: Reader) -> Reader:
    def mapping(checker: Checker, value: Any, path: _Path) -> Any:
        if not isinstance(value, dict):
            return mistyped(checker, value, path, "a table")
        items = {}
        for key, item in value.items():
            place = (*path, key)
            entry = read(checker, item, place)
            if read_key(checker, key, place) is not INVALID and entry is not INVALID:
                items[key] = entry
        return items

    return mapping


def _blank(hint: Any) -> Any:
    """Return the empty value of a type."""
    while get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    if isinstance(hint, type) and is_dataclass(hint):
        return hint(**{entry.name: entry.without() for entry in entries_of(hint, "toml").values()})
    origin = get_origin(hint)
    if origin is Literal:
        return get_args(hint)[0]
    empty = {str: "", bool: False, int: 0, float: 0.0, tuple: (), Mapping: {}}
    return empty.get(origin or hint)
