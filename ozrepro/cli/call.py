"""One call of the command line: its parsed words, its project, where it prints."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ozrepro.cli.output import Output


class Arguments(argparse.Namespace):
    """The parsed words of a command line."""

    command: str
    action: str
    project: str | None
    names: list[str]
    name: str
    method: str | None
    check: bool
    upgrade: list[str] | None
    as_json: bool
    plain: bool
    level: int
    sides: list[str]
    rebuild: bool
    words: list[str]
    format: str
    output: str | None
    yes: bool
    even_with_jobs: bool
    handler: Callable[[Call], int]


@dataclass(frozen=True, slots=True)
class Call:
    """One command to be carried out: its arguments, the project's folder, and where to print."""

    arguments: Arguments
    root: Path
    out: Output
