"""Which folders a program reached through symbolic links, learnt from where its opens led.

strace tells of an open where it led, of a stat or a miss only what was asked for. Without the links between the two, each file
would be two paths, and be looked up twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

__all__ = ["Links", "above", "learn"]

_MOST = 40
"""Links that Linux follows in one path (path_resolution(7))."""


class Links:
    """Folders that are links, and where they lead. A folder below one of them is looked for before that one."""

    def __init__(self, leads: Mapping[str, str]) -> None:
        self.leads = leads
        self._known: dict[tuple[str, bool], tuple[str, tuple[str, ...]]] = {}

    def follow(self, path: str, *, last: bool) -> tuple[str, tuple[str, ...]]:
        """Return where a path leads, and the links on the way. `last` tells whether a link at its very end is followed too."""
        if not self.leads:
            return path, ()
        key = (path, last)
        if key not in self._known:
            self._known[key] = self._follow(path, last=last)
        return self._known[key]

    def _follow(self, path: str, *, last: bool) -> tuple[str, tuple[str, ...]]:
        passed: list[str] = []
        while len(passed) < _MOST:
            parts = above(path)
            head = next((part for part in ((path, *parts) if last else parts) if part in self.leads), None)
            if head is None:
                break
            passed.append(head)
            path = self.leads[head] + path[len(head) :]
        return path, tuple(passed)


def learn(opened: Mapping[str, str], folders: Collection[str]) -> Links:
    """Return the links to folders that explain where opens led: `opened` has for each path asked for the one that was opened.

    `folders` are those asked for that are folders. A path `/a/link/x` that led to `/a/real/x` may tell of a folder `/a/link`, or
    of a file that is a link to one of the same name. It is taken for a folder's where two files or one folder agree, none led
    elsewhere, and nothing that was opened has its place below `/a/link` itself. Of the folders that would do, the outermost is
    taken.
    """
    real = {part for path in opened.values() for part in (path, *above(path))}
    waiting = {
        asked: [(head, target) for head, target in _shared(asked, led, whole=asked in folders) if head not in real]
        for asked, led in opened.items()
        if asked != led
    }
    leads: dict[str, str] = {}
    while True:
        # What a link deeper down explains says no more of the folders above it, so that another round may agree on those.
        votes: dict[str, dict[str, int]] = {}
        for asked, pairs in waiting.items():
            for head, target in pairs:
                table = votes.setdefault(head, {})
                table[target] = table.get(target, 0) + (2 if asked in folders else 1)
        found = {
            asked: pair
            for asked, pairs in waiting.items()
            if (pair := next((pair for pair in pairs if len(votes[pair[0]]) == 1 and votes[pair[0]][pair[1]] > 1), None))
        }
        if not found:
            return Links(leads)
        leads.update(found.values())
        waiting = {asked: pairs for asked, pairs in waiting.items() if asked not in found}


def _shared(asked: str, led: str, *, whole: bool) -> Iterator[tuple[str, str]]:
    """Yield the folders that may be links, outermost first, each with where it would lead; `whole`: the path is one itself."""
    if led == "/":
        return
    ours, theirs = asked.split("/"), led.split("/")
    alike = 0
    while alike < min(len(ours), len(theirs)) - 2 and ours[-1 - alike] == theirs[-1 - alike]:
        alike += 1
    for tail in range(alike, -1 if whole else 0, -1):
        yield "/".join(ours[: len(ours) - tail]), "/".join(theirs[: len(theirs) - tail])


def above(path: str) -> tuple[str, ...]:
    """Return the folders above an absolute path, innermost first, without `/`."""
    found = []
    while path := path.rpartition("/")[0]:
        found.append(path)
    return tuple(found)
