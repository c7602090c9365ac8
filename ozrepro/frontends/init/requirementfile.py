"""Reads requirement files line by line: what a spec can take, and why it cannot take the rest."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ozrepro.project.checking import shown
from ozrepro.project.files import Files, text_of
from ozrepro.project.requirement import (
    check_requirement,
    check_requirement_file,
    entries_of,
    file_in,
    from_root,
    local_project,
    option_in,
    package_in,
)
from ozrepro.python.requirementtexts import texts_of

if TYPE_CHECKING:
    from pathlib import Path

_DEEPEST = 8


@dataclass(slots=True)
class Taken:
    """What is taken of a project's files: lines for `requirements`, the packages that they name, and what is left out and why."""

    requirements: list[str] = field(default_factory=list)
    named: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    def take(self, text: str, where: str) -> None:
        """Take a requirement, or note why a spec cannot."""
        problem = check_requirement(text)
        if problem:
            self.left.append(f"{where}: {problem}")
            return
        self.requirements.append(text)
        self.name(text)

    def name(self, text: str) -> None:
        """Note the package that a requirement names."""
        if package := package_in(text):
            self.named.append(package)

    def add(self, other: Taken) -> None:
        """Take what was taken elsewhere."""
        self.requirements += other.requirements
        self.named += other.named
        self.left += other.left


def read_file(root: Path, path: str, above: tuple[str, ...] = ()) -> Taken:
    """Return what is taken of a requirement file, the file itself where all of it can be, else its lines.

    `path` is from the project's root; `above` are the files that led to it.
    """
    taken = Taken()
    try:
        text = text_of(root / path)
    except OSError as error:
        taken.left.append(f"{path}: {error.strerror}")
        return taken
    if not any(entries_of(text)):
        taken.left.append(f"{path}: it names nothing")
        return taken
    if _is_whole(root, path):
        taken.requirements.append(f"-r {path}")
        for entry in entries_of(text):
            taken.name(entry.text)
        return taken
    for entry in entries_of(text):
        where = f"{path} line {entry.line}"
        if file_in(entry.text):
            taken.add(_nested_file(root, from_root(entry.text, os.path.dirname(path)), where, (*above, path)))
            continue
        hashes = "".join(f" --hash={value}" for value in entry.hashes)
        problem = check_requirement_file(entry.text + hashes)
        if problem:
            taken.left.append(f"{where}: {problem[0].removeprefix('line 1: ')}")
        elif local_project(entry.text) is None or not os.path.dirname(path):
            taken.take(entry.text, where)
        else:
            taken.left.append(f"{where}: {shown(entry.text)} counts from another folder; write it from the project's root")
    if any(entry.hashes for entry in entries_of(text)):
        taken.left.append(f"{path}: its --hash values; the lock has hashes of its own")
    return taken


def _is_whole(root: Path, path: str) -> bool:
    """Say whether a spec takes a file and all that it names; a local project is named from the project's root."""
    texts = texts_of(root, Files(), (f"-r {path}",))
    if any(not text or check_requirement_file(text, os.path.dirname(name)) for name, text in texts.items()):
        return False
    below = (text for name, text in texts.items() if os.path.dirname(name))
    return not any(local_project(entry.text) for text in below for entry in entries_of(text))


def _nested_file(root: Path, line: str, where: str, above: tuple[str, ...]) -> Taken:
    """Return what is taken of a file that a line of another one names."""
    taken, (kind, path) = Taken(), option_in(line)
    problem = check_requirement(line)
    if problem:
        taken.left.append(f"{where}: {problem}")
    elif path in above or len(above) > _DEEPEST:
        taken.left.append(f"{where}: {path} is read already")
    elif kind == "-r":
        return read_file(root, path, above)
    else:
        _constraints(root, path, where, taken)
    return taken


def _constraints(root: Path, path: str, where: str, taken: Taken) -> None:
    """Take a file of constraints whole, or leave it out: constraints that are not its all would give other versions."""
    try:
        mistakes = check_requirement_file(text_of(root / path), os.path.dirname(path))
    except OSError as error:
        mistakes = [str(error.strerror)]
    if mistakes:
        taken.left.append(f"{where}: the constraints of {path}: {mistakes[0]}")
    else:
        taken.requirements.append(f"-c {path}")
