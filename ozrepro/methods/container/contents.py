"""What is inside an image: asked of its own Python, and compared between two images of one definition."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.utils import canonicalize_name

from ozrepro import process
from ozrepro.errors import BuildError
from ozrepro.methods.comparing import Inside
from ozrepro.methods.container.apptainer import Program, alone, closed_words
from ozrepro.project.checking import shown
from ozrepro.python import look
from ozrepro.python.distributions import UNREADABLE, Distribution, check_texts, read_distributions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_ANSWER = re.compile(r"<ozrepro>([A-Za-z0-9+/=]*)</ozrepro>")
_PYTHON = re.compile(r"[0-9]+(\.[0-9]+){2}\Z", re.ASCII)
_TREE = re.compile(r"[0-9a-f]{64}\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Contents:
    """What is inside an image.

    Attributes:
        python: the version of the Python that `python3` is.
        tree: a sha256 over path, mode and content of its files, in hexadecimal.
        distributions: Python distributions by name.
        system: packages of the image's own package tools, each as `name version`.

    """

    python: str
    tree: str
    distributions: tuple[Distribution, ...]
    system: tuple[str, ...]

    def versions(self) -> dict[str, str]:
        """Return the version of each Python distribution, and Python's own."""
        return {"python": self.python, **{item.name: item.version for item in self.distributions}}

    def inside(self) -> Inside:
        """Return what a Python of the image finds, and the packages of other tools."""
        imports = {item.name: frozenset(item.imports) for item in self.distributions}
        others: dict[str, str] = {}
        for name, version in (line.split()[:2] for line in self.system if len(line.split()) > 1):
            name = canonicalize_name(name)  # noqa: PLW2901  # names of several tools, compared as Python's are
            others[name] = f"{others[name]} | {version}" if name in others else version
        return Inside(self.versions(), imports, others=others)


def look_inside(program: Program, image: str, environ: Mapping[str, str]) -> Contents:
    """Return what is inside an image. Raises BuildError where it cannot be started, or has no Python to ask."""
    words = [*closed_words(program, image), "python3", "-I", *question()]
    done = process.run(words, env=alone(program, environ))
    coded = _ANSWER.search(done.output)
    if coded is None:
        said = (done.errors.strip() or done.output.strip()).splitlines()[-8:]
        missing = any("python3" in line and "not found" in line for line in said)
        what = "the image has no python3, which is asked what is inside" if missing else "the image cannot be started:"
        raise BuildError("\n    ".join((what, *said)), where=image, hint="install python3 in %post" if missing else "")
    try:
        return read_contents(json.loads(base64.b64decode(coded[1])))
    except UNREADABLE as error:
        raise BuildError(f"what the image's Python says of it cannot be read: {error}", where=image) from error


def question() -> list[str]:
    """Return the words behind a Python that have it say what is inside."""
    return ["-c", Path(look.__file__).read_text(encoding="utf-8")]


def read_contents(table: Mapping[str, Any]) -> Contents:
    """Return what `look.py` said, as a lock can hold it.

    Raises ValueError, KeyError, TypeError, AttributeError: an image may be a stranger's.
    """
    python, distributions = str(table["python"]), read_distributions(table["distributions"])
    if not _PYTHON.match(python):
        raise ValueError(f"{shown(python)} is not a Python version")
    tree, system = str(table["tree"]), sorted(map(str, table["system"]))
    check_texts(system, system)
    if not _TREE.match(tree):
        raise ValueError(f"{shown(tree)} is not a sha256")
    return Contents(python=python, tree=tree, distributions=distributions, system=tuple(system))


def as_table(contents: Contents) -> dict[str, Any]:
    """Return what is inside as JSON can hold it and `read_contents` takes it."""
    named = {item.name: [item.version, list(item.imports)] for item in contents.distributions}
    return {"python": contents.python, "tree": contents.tree, "distributions": named, "system": list(contents.system)}


def differences(locked: Contents, here: Contents) -> Iterator[str]:
    """Yield a line for each package that is not the same inside, `~ name a -> b`, `+ name b`, `- name a`."""
    yield from _changes(locked.versions(), here.versions())
    yield from _changes(_of_system(locked), _of_system(here))


def _of_system(contents: Contents) -> dict[str, str]:
    """Return versions by name; one name may have several: of two architectures, or of two package tools."""
    found: dict[str, str] = {}
    for name, _, version in sorted(line.partition(" ") for line in contents.system):
        found[name] = f"{found[name]}, {version}" if name in found else version
    return found


def _changes(left: Mapping[str, str], right: Mapping[str, str]) -> Iterator[str]:
    for name in sorted(left.keys() | right.keys()):
        if name not in right:
            yield f"- {name} {left[name]}"
        elif name not in left:
            yield f"+ {name} {right[name]}"
        elif left[name] != right[name]:
            yield f"~ {name} {left[name]} -> {right[name]}"
