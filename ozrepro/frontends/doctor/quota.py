"""The home's quota in bytes and in files, as `quota` and `lfs quota` tell it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ozrepro.frontends.doctor.finding import Finding, fine, note, wrong
from ozrepro.project.formatting import size_words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ozrepro.frontends.doctor.surroundings import Surroundings

NEAR = 0.8
"""The part of a quota from which on it is wrong: one environment of conda has tens of thousands of files."""

_NUMBER = re.compile(r"\[?(\d+)\]?\*{0,2}\Z", re.ASCII)
"""`[…]` is what Lustre prints while a server does not answer, `*` stands behind a value that is over its quota."""


@dataclass(frozen=True, slots=True)
class Quota:
    """One file system's line: what is used and what may be used, in bytes and in files; 0 is no limit."""

    place: str
    bytes_used: int
    bytes_limit: int
    files_used: int
    files_limit: int


def read_quotas(text: str) -> Iterator[Quota]:
    """Yield the quotas in what `quota -w -p` or `lfs quota -q` prints, passing over lines that are none.

    Both print, in 1 KiB units: file system, used, quota, limit, grace, files, quota, limit, grace (quota(1); lfs-quota(1)).
    The grace may be missing where it is empty, and a long name stands on a line of its own.
    """
    place = ""
    for line in text.splitlines():
        words = line.split()
        if len(words) == 1 and not _NUMBER.match(words[0]):
            place = words[0]
            continue
        if words and not _NUMBER.match(words[0]):
            place, words = words[0], words[1:]
        values = _values(words)
        if values and place:
            yield Quota(place, values[0] * 1024, _limit(values[1:3]) * 1024, values[3], _limit(values[4:6]))
        place = ""


def _values(words: list[str]) -> list[int]:
    """Return the six numbers of a line without the two graces, or nothing for a line of another kind."""
    found = [_NUMBER.match(word) for word in words]
    if len(words) == 8:
        found = [*found[:3], *found[4:7]]
    elif len(words) == 7:
        # One grace is missing: the last where the fourth word is not a number, else the first.
        found = [*found[:3], *found[4:]] if found[3] is None else found[:6]
    return [int(item[1]) for item in found if item] if len(found) == 6 and all(found) else []


def _limit(limits: list[int]) -> int:
    """Return the lower of the soft and the hard limit: over the soft one, writing stops some days later."""
    return min((limit for limit in limits if limit), default=0)


def check_quota(place: Surroundings) -> list[Finding]:
    """Ask the system's own tools how full the user's quota is."""
    found: dict[str, Quota] = {}
    unread: list[str] = []
    for words in _commands(place):
        done = place.ask(*words)
        here = list(read_quotas(done.output))
        found.update((item.place, item) for item in here)
        if not here and not _says_none(done.output, done.errors):
            unread.append(os.path.basename(words[0]))
    if found:
        return [finding for item in found.values() for finding in _judge(place, item)]
    if unread:
        seen = f"what {' and '.join(unread)} says cannot be read: the home's quota is not known"
        return [note(seen, "A full home stops logins and jobs, by its bytes or by its number of files.", f"{unread[0]} -s")]
    if place.program("quota") or place.program("lfs"):
        return [fine("the system's tools know of no quota here")]
    return [note("no quota or lfs command: the home's quota cannot be read")]


def _commands(place: Surroundings) -> Iterator[list[str]]:
    quota, lfs = place.program("quota"), place.program("lfs")
    if quota:
        yield [quota, "-w", "-p"]
    if lfs:
        yield [lfs, "quota", "-q", "-u", str(os.getuid()), str(place.home)]


def _says_none(output: str, errors: str) -> bool:
    """Say whether a tool said that there is no quota: quota(1) prints `none` or nothing, lfs-quota(1) names what is missing."""
    said = output + errors
    return not said.strip() or bool(re.search(r": none\s*$|not on a mounted Lustre|quotas are not enabled", said, re.MULTILINE))


def _judge(place: Surroundings, quota: Quota) -> Iterator[Finding]:
    where = place.short(quota.place)
    space = "du -h -d 2 ~ | sort -h | tail"
    files = "du --inodes -d 2 ~ | sort -n | tail"
    used, limit = size_words(quota.bytes_used), size_words(quota.bytes_limit)
    yield _full(f"{where}: {used} used", f" of {limit}", quota.bytes_used, quota.bytes_limit, space)
    used, limit = f"{quota.files_used:,} files", f" of {quota.files_limit:,}"
    yield _full(f"{where}: {used}", limit, quota.files_used, quota.files_limit, files)


def _full(seen: str, of: str, used: int, limit: int, remedy: str) -> Finding:
    if not limit:
        return fine(f"{seen}, no limit")
    seen = f"{seen}{of} ({100 * used // limit} %)"
    if used < NEAR * limit:
        return fine(seen)
    return wrong(seen, "A full quota stops logins and jobs, and leaves half-written files behind.", remedy)
