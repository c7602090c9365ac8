"""A program: runs a command line of ozrepro in this process and writes how often it has read the lock and each of its sections.

    python counting.py FILE COMMAND…

`run` ends in exec: the count is written before.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ozrepro.__main__ import main
from ozrepro.methods import registry
from ozrepro.project import lock

if TYPE_CHECKING:
    from ozrepro.methods.contract import AnyMethod
    from ozrepro.project.checking import Checker
    from ozrepro.project.lock import Lock, Section
    from ozrepro.site import Site

file = Path("counts.json")
counts: Counter[str] = Counter()
load_method, read_lock, replace_process = registry.load, lock.read_text, os.execvpe


def counted(name: str) -> AnyMethod:
    """Return a method whose reading of a section is counted."""
    method: Any = load_method(name)
    if "read_section" not in vars(method):
        read = method.read_section

        def read_section(checker: Checker, section: Section, site: Site) -> object:
            counts[section.title] += 1
            return read(checker, section, site)

        method.read_section = read_section
    found: AnyMethod = method
    return found


def read_text(*words: Any, **more: Any) -> Lock:
    """Read a lock, and count that."""
    counts["lock"] += 1
    return read_lock(*words, **more)


def write() -> None:
    """Write the counts."""
    file.write_text(json.dumps(counts), encoding="utf-8")


def execvpe(*words: Any) -> None:
    """Become another program."""
    write()
    replace_process(*words)


if __name__ == "__main__":
    registry.load, lock.read_text, os.execvpe = counted, read_text, execvpe  # type: ignore[assignment]
    file = Path(sys.argv.pop(1)).absolute()
    try:
        main()
    finally:
        write()
