"""One call of the command line: its parsed words, its project, where it prints; options that several commands take."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ozrepro.faststart.ready import with_python
from ozrepro.methods import registry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from ozrepro.frontends.cli.output import Output

    Handler = Callable[["Call"], int]
    Add = Callable[[str, str, Handler], argparse.ArgumentParser]
    """Adds a command: its name, what it does in one line, the function that carries it out."""

INTERRUPTED = 130
"""The status of what was interrupted: 128 and SIGINT, also where another signal is taken as Ctrl-C is."""


class Arguments(argparse.Namespace):
    """The parsed words of a command line."""

    command: str
    action: str
    project: str | None
    anywhere: bool
    """Whether the command also works where there is no project."""
    names: list[str]
    name: str
    method: str | None
    python: str | None
    form: str | None
    check: bool
    here: bool
    quiet: bool
    upgrade: list[str] | None
    source: str | None
    accept: bool
    as_json: bool
    plain: bool
    verbose: bool
    level: int
    sides: list[str]
    rebuild: bool
    remove: bool
    listed: bool
    display_name: str | None
    words: list[str]
    words_given: list[str]
    group: str
    format: str
    output: str | None
    inputs: list[str]
    results: list[str]
    folder: str
    shell: str | None
    ipython: bool
    yes: bool
    everything: bool
    even_with_jobs: bool
    pattern: str
    provides: str
    hidden: bool
    refresh: bool
    pin: bool
    methods: list[str] | None
    workloads: list[str] | None
    states: list[str] | None
    fresh_nodes: bool
    ranks: str
    rounds: int | None
    seed: int | None
    budget: float
    jobs: int
    profile: str | None
    emulate: str | None
    record: str | None
    records: str | None
    what: str
    json_file: str | None
    html_file: str | None
    handler: Handler


@dataclass(frozen=True, slots=True)
class Call:
    """One command to be carried out: its arguments, the project's folder, and where to print."""

    arguments: Arguments
    root: Path
    out: Output

    @property
    def environ(self) -> Mapping[str, str]:
        """The caller's variables, with the Python and the form that options ask for."""
        environ = with_python(self.arguments.python, os.environ)
        return {**environ, "OZREPRO_FORM": self.arguments.form} if self.arguments.form else environ


def take_name(parser: argparse.ArgumentParser, count: str | None = None, words: str | None = None) -> None:
    """Let a command take one session, which may be left out where argparse's `count` says so."""
    _completed(parser.add_argument("name", metavar="NAME", nargs=count, help=words))


def take_names(
    parser: argparse.ArgumentParser, count: str = "*", words: str = "sessions; all of the project without any"
) -> None:
    """Let a command take sessions: as many as argparse's `count` says, by default any number and none for all."""
    _completed(parser.add_argument("names", metavar="NAME", nargs=count, help=words))


def take_sessions_word(parser: argparse.ArgumentParser) -> None:
    """Let a command take a session and packages; the session may be left out where the project has one."""
    words = "the session, which may be left out where there is one, and packages such as numpy or 'numpy>=2'"
    _completed(parser.add_argument("words_given", metavar="NAME PKG", nargs="+", help=words))


def _completed(action: argparse.Action) -> None:
    """Let a shell offer the names of the project's sessions."""
    action.completer = _sessions  # type: ignore[attr-defined]


def _sessions(**_given: object) -> list[str]:
    from pathlib import Path

    here = Path.cwd()
    folders = (folder for folder in (here, *here.parents) if (folder / "sessions").is_dir())
    return sorted(path.stem for path in (next(folders, here) / "sessions").glob("*.toml"))


def take_method(parser: argparse.ArgumentParser) -> None:
    """Let a command take a method."""
    # Not by argparse's choices: a method of another distribution is looked for when it is named.
    option = parser.add_argument("--method", metavar="METHOD", help=f"use only this method: {', '.join(registry.known())}")
    option.completer = lambda **_: registry.known()  # type: ignore[attr-defined]


def take_python(parser: argparse.ArgumentParser) -> None:
    """Let a command take the Python of an environment."""
    parser.add_argument("--python", metavar="3.N", help="use this Python, which the lock must cover, such as 3.12")


def take_form(parser: argparse.ArgumentParser) -> None:
    """Let a command take how an environment lies in the store."""
    words = "how it lies in the store: a folder, one file, or a file on a cluster's file system"
    parser.add_argument("--form", choices=("tree", "file", "auto"), help=words)


def take_quiet(parser: argparse.ArgumentParser) -> None:
    """Let a command be quiet about methods that it skips."""
    parser.add_argument("-q", "--quiet", action="store_true", help="do not say which methods are skipped")


def take_json(parser: argparse.ArgumentParser) -> None:
    """Let a command print JSON."""
    parser.add_argument("--json", dest="as_json", action="store_true", help="print JSON")
