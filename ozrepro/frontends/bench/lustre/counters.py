"""What a real Lustre client has counted: requests to its metadata servers, and calls of its programs.

The counters are of the whole node. On one that others use too, their requests are among them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

__all__ = ["Counters", "read_counters"]

_PLACES = ("proc/fs/lustre", "sys/fs/lustre", "sys/kernel/debug/lustre")
"""Where Lustre has had its statistics. `md_stats` is below /proc, for everybody to read, in each release from 2.10 to 2.16; the
`stats` of llite moved to debugfs, which only root may read, in 2.12 (lustre-release)."""


@dataclass(frozen=True, slots=True)
class Counters:
    """Counts since the client was mounted, or between two readings."""

    mds: Mapping[str, int]
    """Requests to metadata servers by their kind, as `mdc.*.md_stats` names them: intent_lock (lookups, stats and opens),
    close, …"""
    llite: Mapping[str, int]
    """Calls of programs by their kind, as `llite.*.stats` names them; what caches answered is among them."""
    targets: tuple[str, ...]
    """The metadata targets and mounts that were read."""
    notes: tuple[str, ...] = ()
    """What could not be read, or cannot be trusted, and why."""

    def __bool__(self) -> bool:
        """Tell whether anything was read: there is a Lustre client here."""
        return bool(self.targets)

    def since(self, before: Counters) -> Counters:
        """Return what was counted after `before`. Kinds whose counts fell were set to zero between; a note names them."""
        fallen = sorted(
            kind
            for name in ("mds", "llite")
            for kind, number in getattr(before, name).items()
            if getattr(self, name).get(kind, 0) < number
        )
        notes = [*self.notes, *before.notes]
        if fallen:
            notes.append(f"counters were set to zero in between: {', '.join(fallen)}")
        if self.targets != before.targets:
            notes.append("other targets were there before")
        return Counters(
            _difference(self.mds, before.mds), _difference(self.llite, before.llite), self.targets, tuple(dict.fromkeys(notes))
        )

    def requests_since(self, before: Counters) -> dict[str, int] | None:
        """Return requests to metadata servers after `before`, by kind; None where that cannot be known.

        So it is where they were not read both times, of the same targets, or were set to zero between.
        """
        now, then = ([name for name in item.targets if name.startswith("mdc.")] for item in (self, before))
        fallen = any(self.mds.get(kind, 0) < number for kind, number in before.mds.items())
        return None if not now or now != then or fallen else _difference(self.mds, before.mds)

    def as_dict(self) -> dict[str, Any]:
        """Return the counters as a table of plain values."""
        return {"mds": dict(self.mds), "llite": dict(self.llite), "targets": list(self.targets), "notes": list(self.notes)}


def _difference(after: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    changes = {kind: number - before.get(kind, 0) for kind, number in after.items()}
    return {kind: number for kind, number in changes.items() if number > 0}


def read_counters(root: Path = Path("/")) -> Counters:
    """Return what this node's client has counted, as far as it may be read. Never fails: without Lustre the result is false.

    `root` is the folder that proc/ and sys/ are in.
    """
    notes: list[str] = []
    mds, mds_names = _read(root, "mdc", "md_stats", notes)
    llite, llite_names = _read(root, "llite", "stats", notes)
    return Counters(mds, llite, (*mds_names, *llite_names), tuple(notes))


def _read(root: Path, device: str, name: str, notes: list[str]) -> tuple[dict[str, int], tuple[str, ...]]:
    found: Counter[str] = Counter()
    read: dict[str, Path] = {}
    for place in _PLACES:
        try:
            files = sorted((root / place / device).glob(f"*/{name}"))
        except OSError as error:
            notes.append(f"{device}.*.{name} cannot be read below /{place}: {error.strerror}")
            continue
        for path in files:
            if path.parent.name in read:  # the same one, at its old place too
                continue
            try:
                text = path.read_text(encoding="utf-8", errors="replace")
            except OSError as error:
                notes.append(f"{device}.{path.parent.name}.{name} cannot be read: {error.strerror}")
                continue
            read[path.parent.name] = path
            found.update(dict(_samples(text)))
    return dict(sorted(found.items())), tuple(f"{device}.{target}" for target in read)


def _samples(text: str) -> Iterator[tuple[str, int]]:
    """Yield kind and number of lines like `close   1638616 samples [reqs]`; the times above them have other words."""
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 3 and words[2] == "samples" and words[1].isdecimal():
            yield words[0], int(words[1])
