"""What `python -X importtime` prints, as a tree of modules: which of them make an import slow.

The text has a line for each module when its import ends, what it imports before it and two spaces deeper, and times in
microseconds: its own, and with all that it imports (CPython's documentation, "-X importtime").
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ozrepro.errors import CommandFailed
from ozrepro.frontends.bench.result import Imports, Module

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ozrepro.frontends.bench.candidate import Candidate
    from ozrepro.frontends.bench.launch import Starter
    from ozrepro.frontends.bench.workload import Workload

KEPT = 40
_LINE = re.compile(r"^import time:\s+(\d+) \|\s+(\d+) \| ( *)(\S+)\s*$", re.MULTILINE)


@dataclass(slots=True)
class _Node:
    name: str
    own: int
    total: int
    level: int
    inner: list[_Node] = field(default_factory=list)


def read_importtime(text: str) -> tuple[Module, ...]:
    """Return all modules of the text, each before those that it imports, in the order in which their imports began.

    What else was printed, such as warnings of the program, is passed over.
    """
    waiting: list[_Node] = []  # imports that have ended, whose importer has not
    for match in _LINE.finditer(text):
        node = _Node(match[4], int(match[1]), int(match[2]), len(match[3]) // 2)
        place = len(waiting)
        while place and waiting[place - 1].level > node.level:
            place -= 1
        node.inner = waiting[place:]
        waiting[place:] = [node]
    return begun(tuple(_flat(waiting, 0)))


def _flat(nodes: list[_Node], depth: int) -> Iterator[Module]:
    for node in nodes:
        yield Module(node.name, node.own, node.total, depth)
        yield from _flat(node.inner, depth + 1)


def begun(modules: Iterable[Module]) -> tuple[Module, ...]:
    """Return modules with where they began, which is right where none is left out.

    A module begins when the one before it on its level has ended, or with the one that imports it: the text does not say when an
    importer's own time was, and it is taken to come last.
    """
    found: list[Module] = []
    begins = [0]
    for module in modules:
        del begins[module.depth + 1 :]
        begins += begins[-1:] * (module.depth + 1 - len(begins))
        begin = begins[module.depth]
        found.append(replace(module, begin_us=begin))
        begins[module.depth] = begin + module.cumulative_us
        begins.append(begin)
    return tuple(found)


def total_us(modules: Iterable[Module]) -> int:
    """Return the microseconds of a whole tree of imports."""
    return sum(module.cumulative_us for module in modules if module.depth == 0)


def slowest(modules: tuple[Module, ...], kept: int = KEPT) -> tuple[Module, ...]:
    """Return the part of the tree with the `kept` modules that took longest, those that they import included.

    An importer takes at least as long as what it imports, so the part hangs together.
    """
    by_time = sorted(range(len(modules)), key=lambda place: (-modules[place].cumulative_us, place))
    return tuple(modules[place] for place in sorted(by_time[:kept]))


def imports_of(starter: Starter, candidate: Candidate, workload: Workload, timeout: float) -> Imports | None:
    """Start a workload under `-X importtime` and return its slowest imports, None where it failed or was not there.

    A start of its own, not one of those that are timed: what is printed takes time.
    """
    try:
        done = starter.start(candidate, workload, options=("-X", "importtime"), timeout=timeout)
    except CommandFailed:
        return None
    if done.status:
        return None
    modules = read_importtime(done.errors)
    return Imports(candidate.name, workload.name, slowest(modules), total_us(modules))
