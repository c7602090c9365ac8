"""Reads the YAML that conda's files are written in, and nothing that such a file never needs.

Aliases (a few lines of them can stand for gigabytes), tags, several documents, deep nesting and huge files are refused. Plain
words stay the text that they are: `3.10` is no number and `no` is no truth value, as nobody who writes a version means one.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ozrepro.errors import SpecError
from ozrepro.project.checking import shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Path = tuple[str | int, ...]

_LARGEST = 16 << 20
_DEEPEST = 20
_EVENTS = 2_000_000


class Reader:
    """Reads one file: `tree` is what it holds, `lines` the line of each entry by its path, `quoted` the paths of quoted words."""

    def __init__(self, text: str, where: str) -> None:
        """Read `text`. Raises SpecError where it is no such YAML; `where` stands in messages."""
        self.where = where
        self.lines: dict[Path, int] = {}
        self.quoted: set[Path] = set()
        self.mistakes: list[str] = []
        if len(text) > _LARGEST:
            raise SpecError(where, [f"is larger than {_LARGEST >> 20} MiB"])
        # Through the loader's events, so that nothing is built of what is refused. Without stubs: all of PyYAML is Any here.
        yaml: Any = import_module("yaml")
        self._yaml = yaml
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        try:
            self._events = self._checked(yaml.parse(text, Loader=loader))
            self.tree: Any = self._document()
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            place = f"line {mark.line + 1}: " if mark is not None else ""
            problem = getattr(error, "problem", None) or str(error).splitlines()[0]
            raise SpecError(where, [f"{place}is no valid YAML: {problem}"]) from error
        except RecursionError as error:
            raise SpecError(where, ["is nested too deeply"]) from error

    def _refuse(self, event: Any, problem: str) -> SpecError:
        return SpecError(self.where, [f"line {event.start_mark.line + 1}: {problem}"])

    def _checked(self, events: Iterator[Any]) -> Iterator[Any]:
        yaml, depth, documents = self._yaml, 0, 0
        for number, event in enumerate(events):
            if number > _EVENTS:
                raise self._refuse(event, "the file has more entries than anyone can have meant")
            documents += isinstance(event, yaml.DocumentStartEvent)
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                raise self._refuse(event, "anchors and aliases are not taken; write the value out")
            if getattr(event, "tag", None):
                raise self._refuse(event, f"the tag {shown(event.tag)} is not taken; write a plain value")
            if depth > _DEEPEST:
                raise self._refuse(event, "is nested too deeply")
            if documents > 1:
                raise self._refuse(event, "a second document begins; keep one")
            yield event

    def _document(self) -> Any:
        yaml = self._yaml
        for event in self._events:
            if isinstance(event, (yaml.ScalarEvent, yaml.CollectionStartEvent)):
                found = self._value(event, ())
                for _ in self._events:
                    pass  # the rest is read so that it is checked
                return found
        return ""

    def _value(self, event: Any, path: Path) -> Any:
        yaml = self._yaml
        self.lines[path] = event.start_mark.line + 1
        if isinstance(event, yaml.ScalarEvent):
            if event.style:
                self.quoted.add(path)
            return event.value
        if isinstance(event, yaml.SequenceStartEvent):
            items: list[Any] = []
            while not isinstance(inner := next(self._events), yaml.SequenceEndEvent):
                items.append(self._value(inner, (*path, len(items))))
            return items
        table: dict[str, Any] = {}
        while not isinstance(inner := next(self._events), yaml.MappingEndEvent):
            if not isinstance(inner, yaml.ScalarEvent):
                raise self._refuse(inner, "a key is a list or a table; write a word")
            key, line = inner.value, inner.start_mark.line + 1
            if key in table:
                self.mistakes.append(f"line {line}, {shown(key)}: stands there twice")
            table[key] = self._value(next(self._events), (*path, key))
            self.lines[path + (key,)] = line  # noqa: RUF005  # Python 3.10 takes no star here
        return table

    def wrong(self, path: Path, problem: str, right: str = "") -> None:
        """Note a mistake at a path: what is wrong, and what would be right."""
        line = next((self.lines[path[:end]] for end in range(len(path), -1, -1) if path[:end] in self.lines), None)
        key = ".".join(f"[{part}]" if isinstance(part, int) else part for part in path).replace(".[", "[") or "the file"
        place = f"line {line}, " if line else ""
        self.mistakes.append(f"{place}{key}: {problem}" + (f"; {right}" if right else ""))

    def is_null(self, path: Path, value: object) -> bool:
        """Say whether a value is YAML's nothing: an empty or unquoted null word."""
        return value in ("", "~", "null", "Null", "NULL") and path not in self.quoted

    def words(self, path: Path, value: object) -> list[tuple[Path, str]]:
        """Return the words of a list with their paths; anything else is noted as a mistake."""
        if self.is_null(path, value):
            return []
        if not isinstance(value, list):
            self.wrong(path, f"is {_kind(value)}", "write a list: - …")
            return []
        found: list[tuple[Path, str]] = []
        for number, item in enumerate(value):
            if isinstance(item, str) and not self.is_null((*path, number), item):
                found.append(((*path, number), item))
            else:
                self.wrong((*path, number), f"is {_kind(item)}", "write a word")
        return found

    def finish(self, hint: str = "") -> None:
        """Raise SpecError with all mistakes where there are any."""
        if self.mistakes:
            raise SpecError(self.where, self.mistakes[:30], hint=hint)


def _kind(value: object) -> str:
    if isinstance(value, str):
        return "a word" if value else "empty"
    return "a table" if isinstance(value, dict) else "a list"


def dump(table: Mapping[str, object]) -> str:
    """Return a table as YAML, keys in the order given; the same table gives the same bytes."""
    yaml: Any = import_module("yaml")
    text: str = yaml.safe_dump(dict(table), sort_keys=False, allow_unicode=False, default_flow_style=False, width=4096)
    return text
