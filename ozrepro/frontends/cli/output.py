"""What a person sees: lines, tables, JSON, and a progress bar for work over a second on a terminal."""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ozrepro.errors import visible, without_login

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ozrepro.methods.contract import Progress

BAR_AFTER = 1.0
"""Seconds of work before a progress bar is shown."""

COUNTED = 0.95
"""The share of a bar for what is counted, such as packages; the rest is for the steps behind it: bytecode, checks, publishing."""


@dataclass(frozen=True, slots=True)
class Output:
    """How to print: `as_json` one JSON value on standard output; `plain` no colours and no bars."""

    as_json: bool = False
    plain: bool = False

    def line(self, text: str = "") -> None:
        """Print a result."""
        if not self.as_json:
            print(visible(text))

    def styled(self, text: str, style: str) -> None:
        """Print a result in one of rich's styles where colours are wanted, else as it is."""
        if self.as_json:
            return
        if not style or not self.is_fancy():
            self.line(text)
            return
        from rich.console import Console
        from rich.text import Text

        Console().print(Text(visible(text), style), soft_wrap=True)

    def is_fancy(self) -> bool:
        """Say whether results may have colours."""
        return self._is_fancy(sys.stdout.isatty())

    def say(self, text: str) -> None:
        """Tell what is going on, on standard error."""
        print(f"ozrepro: {visible(without_login(text))}", file=sys.stderr, flush=True)

    def value(self, value: Any) -> None:
        """Print the JSON value, if JSON was asked for."""
        if self.as_json:
            print(json.dumps(value, indent=2, sort_keys=True))

    def table(self, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print rows under a head, each column as wide as it must be."""
        if self.as_json:
            return
        head, *rows = [[visible(cell) for cell in row] for row in (head, *rows)]
        if self._is_fancy(sys.stdout.isatty()):
            from rich.console import Console
            from rich.table import Table

            table = Table(*head, box=None, header_style="bold", pad_edge=False)
            for row in rows:
                table.add_row(*(cell.replace("[", r"\[") for cell in row))
            Console().print(table)
            return
        widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
        for row in (head, *rows):
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())

    def _is_fancy(self, terminal: bool) -> bool:
        return terminal and not self.plain and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """Give a function that shows how far the work is: a bar on a terminal once it takes over a second, else nothing."""
        if not self._is_fancy(sys.stderr.isatty()):
            yield lambda step, done, total: None
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

        columns = (
            SpinnerColumn(),
            TextColumn("{task.description:<32.32}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
        )
        bar = Progress(*columns, console=Console(stderr=True), transient=True)
        task = bar.add_task("", total=None)
        began = time.monotonic()
        shown = False

        def show(step: str, done: int, total: int) -> None:
            nonlocal shown
            if not shown and time.monotonic() - began > BAR_AFTER:
                bar.start()
                shown = True
            bar.update(task, description=step.replace("[", r"\["))
            if total:  # a step that cannot be counted leaves the bar where it is
                bar.update(task, completed=COUNTED * done / total, total=1.0)

        try:
            yield show
        finally:
            if shown:
                bar.stop()
