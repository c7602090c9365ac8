"""A harness that edits a project at one step of ozrepro's way, without a sleep: when it opens a file or starts a program.

Python tells of both by audit events (PEP 578). A hook cannot be removed, so one is installed once and asks whoever watches.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_watching: list[Steps] = []
_installed: list[bool] = []


@dataclass
class Steps:
    """The steps of one run in a project: what was opened, replaced or started, and what is done before the step `at`."""

    root: Path
    at: int = -1
    edit: Callable[[], None] = lambda: None
    seen: list[str] = field(default_factory=list)
    edited: str = ""

    def note(self, step: str) -> None:
        """Count a step, and make the edit before it when its number has come."""
        self.seen.append(step)
        if len(self.seen) - 1 == self.at:
            _watching.clear()  # the edit's own steps are none
            self.edited = step
            self.edit()
            _watching.append(self)

    def step_of(self, event: str, words: tuple[object, ...]) -> str:
        """Return the name of the step that an event is, "" for one that has no part in the way."""
        if event == "subprocess.Popen":
            return "start a program"
        path = words[1] if event == "os.rename" else words[0] if event == "open" else None
        if not isinstance(path, (str, bytes)):
            return ""
        inside = os.path.relpath(os.fsdecode(path), self.root)
        if inside.startswith((".", "/")) or os.path.basename(inside).startswith("."):
            return ""  # elsewhere, or in the store, or a temporary file
        return f"{'replace' if event == 'os.rename' else 'open'} {inside}"


def _hook(event: str, words: tuple[object, ...]) -> None:
    if _watching and event in ("open", "os.rename", "subprocess.Popen"):
        steps = _watching[0]
        step = steps.step_of(event, words)
        if step:
            steps.note(step)


@contextmanager
def steps(root: Path, at: int = -1, edit: Callable[[], None] = lambda: None) -> Iterator[Steps]:
    """Watch the steps made below `root` inside the block, and make the edit before step number `at`."""
    if not _installed:
        sys.addaudithook(_hook)
        _installed.append(True)
    watched = Steps(root, at, edit)
    _watching.append(watched)
    try:
        yield watched
    finally:
        _watching.clear()


def put(path: Path, text: str) -> None:
    """Replace a file at once, as an editor does."""
    aside = path.with_name(f".{path.name}.new")
    aside.write_text(text)
    os.replace(aside, path)
