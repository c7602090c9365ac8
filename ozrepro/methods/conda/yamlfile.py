"""Reads the YAML that conda's files are written in, and nothing that such a file never needs.

Aliases (a few lines of them can stand for gigabytes), tags, several documents, deep nesting and huge files are refused. Plain
words stay the text that they are: `3.10` is not a number and `no` is not a truth value, as nobody who writes a version means one.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ozrepro.errors import SpecError
from ozrepro.project.checking import MOST, Checker, shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Path = tuple[str, ...]

_LARGEST = 16 << 20
_DEEPEST = 20
_EVENTS = 2_000_000
_NOTHING = ("", "~", "null", "Null", "NULL")


class Reader(Checker):
    """Reads one file: `tree` is what it holds, `quoted` the paths of quoted words; mistakes are noted with their lines."""

    def __init__(self, text: str, where: str) -> None:
        """Read `text`. Raises SpecError where it is no such YAML; `where` is for messages."""
        super().__init__(where)
        self._lines: dict[Path, int] = {}
        self.quoted: set[Path] = set()
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
            raise SpecError(where, [f"{place}is not valid YAML: {problem}"]) from error
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
                tree = self._value(event, ())
                for _ in self._events:
                    pass  # the rest is read so that it is checked
                return tree
        return None

    def _value(self, event: Any, path: Path) -> Any:
        yaml = self._yaml
        self._lines[path] = event.start_mark.line + 1
        if isinstance(event, yaml.ScalarEvent):
            if event.style:
                self.quoted.add(path)
            return None if event.value in _NOTHING and not event.style else event.value
        if isinstance(event, yaml.SequenceStartEvent):
            items: list[Any] = []
            while not isinstance(inner := next(self._events), yaml.SequenceEndEvent):
                items.append(self._value(inner, (*path[:-1], f"{path[-1] if path else ''}[{len(items)}]")))
            return items
        table: dict[str, Any] = {}
        while not isinstance(inner := next(self._events), yaml.MappingEndEvent):
            if not isinstance(inner, yaml.ScalarEvent):
                raise self._refuse(inner, "a key is a list or a table; write a word")
            key, line = inner.value, inner.start_mark.line + 1
            if key in table:
                self.mistakes.append(f"line {line}, {shown(key)}: is given twice")
            table[key] = self._value(next(self._events), (*path, key))
            self._lines[path + (key,)] = line  # noqa: RUF005  # Python 3.10 takes no star here
        return table

    def wrong(self, path: Path, problem: str, right: str = "") -> None:
        """Note a mistake at a path: what is wrong, and what would be right."""
        super().wrong(path, problem, right)
        line = next((self._lines[path[:end]] for end in range(len(path), -1, -1) if path[:end] in self._lines), None)
        if line and len(self.mistakes) <= MOST:
            self.mistakes[-1] = f"line {line}, {self.mistakes[-1]}"

    def finish(self, hint: str = "") -> None:
        """Raise SpecError with all mistakes where there are any."""
        if self.mistakes:
            raise SpecError(self.where, self.mistakes, hint=hint)


def dump(table: Mapping[str, object]) -> str:
    """Return a table as YAML, keys in the order given; the same table gives the same bytes."""
    yaml: Any = import_module("yaml")
    text: str = yaml.safe_dump(dict(table), sort_keys=False, allow_unicode=False, default_flow_style=False, width=4096)
    return text
