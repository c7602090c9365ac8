"""Apptainer's definition files: their stages, bases and files, and the text with its bases pinned.

Format: Apptainer user guide, "Definition Files", and what its parser does where the guide is silent. Pure functions over text.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ozrepro.methods.container.reference import Reference, read_reference

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_STAGE = re.compile(r"bootstrap:", re.IGNORECASE)
"""Where a line begins so, a stage does, even inside a section (Apptainer's pkg/build/types/parser, `All`)."""

_ARGUMENT = re.compile(r"\{\{\s*(\w+)\s*\}\}", re.ASCII)
_PROJECT = re.compile(r"""(\s*)(?:(")\$(?:PWD|\{PWD\})/([^"]*")|\$(?:PWD|\{PWD\})/(\S*))(?=\s+\S)""")
"""A file of the project in front of its place in the image: without one, the place would be the machine's path."""

_OF_THE_SOURCE = ("from", "registry", "namespace")
LOCAL = ("localimage",)
"""Bootstraps whose base is a file or folder of this machine."""


@dataclass(frozen=True, slots=True)
class Part:
    """One section of a stage: its name, the words behind it, the number of its first line (from 1), and its lines."""

    name: str
    words: str
    line: int
    lines: tuple[str, ...]

    def copies(self) -> bool:
        """Say whether its lines name files of this machine that get into the image."""
        return self.name in ("files", "appfiles") and self.words.split()[:1] != ["from"]


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage: its header by lower-case key, the indexes of the header's lines (from 0), and its sections."""

    header: Mapping[str, str]
    places: tuple[int, ...]
    parts: tuple[Part, ...]

    @property
    def bootstrap(self) -> str:
        """How the base is got, in lower case."""
        return self.header.get("bootstrap", "").lower()

    @property
    def source(self) -> str:
        """What the header's `From` says."""
        return self.header.get("from", "")

    def reference(self) -> Reference:
        """Return the image in a registry that the base is. Raises ValueError."""
        name = "/".join(part for part in (self.header.get("namespace", ""), self.source) if part)
        registry = self.header.get("registry", "")
        return read_reference(f"{registry.removeprefix('https://').removeprefix('http://')}/{name}" if registry else name)


@dataclass(frozen=True, slots=True)
class Definition:
    """A definition file, taken apart. `arguments` are the build arguments with their values."""

    text: str
    stages: tuple[Stage, ...]
    arguments: Mapping[str, str]

    def copied(self) -> tuple[str, ...]:
        """Return what `%files` sections copy from this machine, as written, each once; other stages' files are not meant.

        `$PWD/` is `./`: a build runs in the project's folder.
        """
        copying = (part for stage in self.stages for part in stage.parts if part.copies())
        found = [_first_word(self.filled(_from_project(line))) for part in copying for line in part.lines]
        return tuple(dict.fromkeys(word for word in found if word))

    def filled(self, text: str) -> str:
        """Return a text with its `{{ names }}` replaced by the arguments' values."""
        return _fill(text, self.arguments)

    def uses(self, argument: str, text: str) -> bool:
        """Return whether `text`, made from this one, still uses an argument, or this one never did: then its author is told."""
        return argument in _ARGUMENT.findall(text) or argument not in _ARGUMENT.findall(self.text)

    def line_of(self, command: str) -> int | None:
        """Return the number of the `%post` line that `command`, as a shell with `-x` prints it, comes from, or None.

        None also where several lines could be it: a wrong number is worse than none.
        """
        wanted = _bare(command)
        lines = [
            (part.line + offset, _bare(self.filled(line)))
            for stage in self.stages
            for part in stage.parts
            if part.name == "post"
            for offset, line in enumerate(part.lines, 1)
        ]
        for fits in (wanted.__eq__, lambda line: line.startswith(wanted), lambda line: wanted in line):
            found = [number for number, line in lines if wanted and fits(line)]
            if found:
                return found[0] if len(found) == 1 else None
        return None


def read_definition(text: str, given: Mapping[str, str]) -> Definition:
    """Return a definition, taken apart. `given` are values for its arguments.

    Raises ValueError for a text without a header, or an argument without a value.
    """
    if text.startswith("\ufeff"):
        raise ValueError("it begins with a byte order mark (BOM); save it as UTF-8 without one")
    reader = _Reader()
    for number, line in enumerate(_lines(text)):
        reader.take(number, line)
    reader.end_stage()
    if not any("bootstrap" in stage.header for stage in reader.stages):
        raise ValueError("has no line `Bootstrap:`, such as `Bootstrap: docker`")
    defaults = [_defaults(stage) for stage in reader.stages]
    arguments = {name: value for table in (*defaults, given) for name, value in table.items()}
    missing = sorted({name for name in _ARGUMENT.findall(text) if name not in arguments})
    if missing:
        raise ValueError(f"{{{{ {missing[0]} }}}} has no value: write it into build-args or %arguments")
    filled = [
        replace(stage, header={key: _fill(value, {**arguments, **own, **given}) for key, value in stage.header.items()})
        for stage, own in zip(reader.stages, defaults, strict=True)
    ]
    return Definition(text, tuple(filled), arguments)


@dataclass(slots=True)
class _Reader:
    """Takes a definition's lines, one after the other."""

    stages: list[Stage] = field(default_factory=list)
    header: dict[str, str] = field(default_factory=dict)
    places: list[int] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    current: Part | None = None
    body: list[str] = field(default_factory=list)

    def take(self, number: int, line: str) -> None:
        """Take the line with this index."""
        if _STAGE.match(line):
            self.end_stage()
        section, key = _section(line), _key(line)
        if section is not None:
            self.end_part()
            self.current = Part(*section, number + 1, ())
        elif self.current is not None:
            self.body.append(line)
        elif key is not None:
            self.header[key[0]] = key[1]
            self.places.append(number)

    def end_part(self) -> None:
        """Close the section that is open."""
        if self.current is not None:
            self.parts.append(replace(self.current, lines=tuple(self.body)))
        self.current, self.body = None, []

    def end_stage(self) -> None:
        """Close the stage that is open."""
        self.end_part()
        if self.header:
            self.stages.append(Stage(self.header, tuple(self.places), tuple(self.parts)))
        self.header, self.places, self.parts = {}, [], []


def with_sources(definition: Definition, sources: Sequence[str | None]) -> str:
    """Return the definition's text with each stage's `From` replaced; None leaves a stage as it is.

    `$PWD/` in front of a file is replaced too: Apptainer splits its value at spaces (1.4.5).
    """
    lines = _lines(definition.text)
    for part in (part for stage in definition.stages for part in stage.parts if part.copies()):
        lines[part.line : part.line + len(part.lines)] = map(_from_project, part.lines)
    dropped: set[int] = set()
    for stage, source in zip(definition.stages, sources, strict=True):
        if source is None:
            continue
        written = False
        for place in stage.places:
            key = _key(lines[place])
            if key is None or key[0] not in _OF_THE_SOURCE:
                continue
            if key[0] == "from" and not written:
                lines[place], written = f"From: {source}", True
            else:
                dropped.add(place)
    return "\n".join(line for number, line in enumerate(lines) if number not in dropped) + "\n"


def with_first_lines(text: str, lines: Sequence[str]) -> str:
    """Return a definition's text with `lines` in front of each `%post`, such as the variables of a site's mirrors."""
    found: list[str] = []
    for line in _lines(text):
        found.append(line)
        section = _section(line)
        if section is not None and section[0] == "post":
            found += lines
    return "\n".join(found) + "\n"


def with_test(text: str, line: str) -> str:
    """Return a definition's text with a line in front of the `%test` of its last stage, which Apptainer runs before it packs.

    One that names its own interpreter stays as it is: the line is for a shell.
    """
    lines = _lines(text)
    places = [number for number, other in enumerate(lines) if (_section(other) or ("",))[0] == "test"]
    stages = [number for number, other in enumerate(lines) if _STAGE.match(other)]
    own = [number for number in places if number > max(stages, default=0)]
    if not own:
        return "\n".join((*lines, "%test", line)) + "\n"
    if next((other.strip() for other in lines[own[0] + 1 :] if other.strip()), "").startswith("#!"):
        return text
    return "\n".join((*lines[: own[0] + 1], line, *lines[own[0] + 1 :])) + "\n"


def _lines(text: str) -> list[str]:
    """Return the lines as Apptainer sees them: `str.splitlines` also splits at form feeds and the like."""
    return text.removesuffix("\n").split("\n")


def _section(line: str) -> tuple[str, str] | None:
    """Return name and words of the section that a line begins, or None; an indented one begins it too."""
    name, words = (*line.split(None, 1), "", "")[:2]
    return (name.lstrip("%").lower(), words.strip()) if name.startswith("%") else None


def _key(line: str) -> tuple[str, str] | None:
    """Return key and value of a header's line, or None. What follows a # is a comment, also behind a value."""
    key, mark, value = line.partition("#")[0].partition(":")
    return (key.strip().lower(), value.strip()) if mark else None


def _defaults(stage: Stage) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in stage.parts:
        if part.name == "arguments":
            for line in part.lines:
                name, mark, value = line.strip().partition("=")
                if mark and not name.startswith("#"):
                    found[name.strip()] = value.strip()
    return found


def _fill(text: str, arguments: Mapping[str, str]) -> str:
    return _ARGUMENT.sub(lambda found: arguments.get(found[1], found[0]), text)


def _from_project(line: str) -> str:
    found = _PROJECT.match(line)
    if found is None:
        return line
    space, quote, quoted, plain = found.groups("")
    return f"{space}{quote}./{quoted}{plain}{line[found.end() :]}"


def _first_word(line: str) -> str:
    line = line.strip()
    if not line or line.startswith("#"):
        return ""
    try:
        return shlex.split(line)[0]
    except (ValueError, IndexError):
        return line.split()[0]


def _bare(text: str) -> str:
    return re.sub(r"[\s'\"\\]+", "", text)
