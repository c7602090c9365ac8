"""What a real Lustre client has counted: requests to its metadata servers.

The counters are of the whole node. On one that others use too, their requests are among them.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["read_requests", "requests_between"]

_PLACE = "proc/fs/lustre/mdc"
"""Where each release from 2.10 to 2.16 has `md_stats`, for everybody to read (lustre-release)."""


def read_requests(root: Path = Path("/")) -> dict[str, dict[str, int]]:
    """Return the requests since the client was mounted, by metadata target and kind, as `mdc.*.md_stats` names them.

    Kinds are intent_lock (lookups, stats and opens), close, …. Nothing without Lustre, and where not every target can be read.
    `root` is the folder that proc/ is in.
    """
    try:
        files = sorted((root / _PLACE).glob("*/md_stats"))
        return {path.parent.name: dict(_samples(path.read_text(encoding="utf-8", errors="replace"))) for path in files}
    except OSError:
        return {}


def _samples(text: str) -> Iterator[tuple[str, int]]:
    """Yield kind and number of lines like `close   1638616 samples [reqs]`; the times above them have other words."""
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 3 and words[2] == "samples" and words[1].isdecimal():
            yield words[0], int(words[1])


def requests_between(before: Mapping[str, Mapping[str, int]], after: Mapping[str, Mapping[str, int]]) -> dict[str, int] | None:
    """Return the requests between two readings by kind, of all targets together; None where that cannot be known.

    So it is where they were not read both times, of the same targets, or were set to zero between.
    """
    if not after or after.keys() != before.keys():
        return None
    changes: Counter[str] = Counter()
    for target, table in after.items():
        then = before[target]
        if any(table.get(kind, 0) < number for kind, number in then.items()):
            return None
        changes.update({kind: number - then.get(kind, 0) for kind, number in table.items()})
    return dict(+changes)
