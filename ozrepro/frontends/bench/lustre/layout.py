"""What Lustre's own programs say of a folder and of this client: how new files are striped, and the client's version.

Information for people who read a profile: the model has one stripe, and data on object servers, whatever is said here.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ozrepro import process
from ozrepro.errors import CommandFailed
from ozrepro.project.formatting import size_words

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

__all__ = ["Component", "components", "lustre_notes"]

PATIENCE = 20.0
"""Seconds that a program may take: a server that does not answer holds it for ever."""

_KEYS = r"extent\.e_start|extent\.e_end|stripe_count|stripe_size|pattern|pool"
_WORDS = re.compile(rf"(?:lmm_|lcme_)?({_KEYS}):\s+(\S{{1,60}})")
_LINE = re.compile(rf"\s*(?:lmm_|lcme_)?(?:{_KEYS}):")
_VERSION = re.compile(r"^(?:lustre:\s*)?(\d[\w.+~-]{0,60})\s*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Component:
    """One part of the layout that new files get.

    Attributes:
        stripe_count: as `lfs` has it: -1 for all targets, 0 where there are none as the data are on the metadata server.
        stripe_size: in bytes.
        pattern: such as raid0, or mdt for data on the metadata server; "" where the folder has none of its own.
        start, end: the bytes of a file that it is for; "" where it is for all of them.

    """

    stripe_count: int
    stripe_size: int = 0
    pattern: str = ""
    pool: str = ""
    start: str = ""
    end: str = ""

    @property
    def words(self) -> str:
        """The component in words, such as `1.0 MiB to the end: raid0, 4 stripes of 1.0 MiB`."""
        parts = [self.pattern] if self.pattern else []
        if self.pattern != "mdt":
            size = f" of {size_words(self.stripe_size)}" if self.stripe_size else ""
            several = f"{self.stripe_count} stripe{'s' if self.stripe_count != 1 else ''}{size}"
            parts.append(f"a stripe{size} on each target" if self.stripe_count < 0 else several)
        if self.pool:
            parts.append(f"pool {self.pool}")
        text = ", ".join(parts)
        return f"{_place(self.start)} to {_place(self.end)}: {text}" if self.start else text


def _place(word: str) -> str:
    return size_words(int(word)) if word.isdecimal() else "the end"


def components(text: str) -> tuple[Component, ...]:
    """Return what `lfs getstripe -d` says of a folder: one component, or those of a progressive layout, in order."""
    found: list[dict[str, str]] = []
    for line in filter(_LINE.match, text.splitlines()):
        for key, word in _WORDS.findall(line):
            if not found or key in found[-1]:
                found.append({})
            found[-1][key] = word
    return tuple(_component(table) for table in found if re.fullmatch(r"-?\d+", table.get("stripe_count", "")))


def _component(table: Mapping[str, str]) -> Component:
    size, pattern = table.get("stripe_size", ""), table.get("pattern", "")
    return Component(
        int(table["stripe_count"]),
        int(size) if size.isdecimal() else 0,
        "" if pattern == "0" else pattern,
        table.get("pool", ""),
        table.get("extent.e_start", ""),
        table.get("extent.e_end", ""),
    )


def lustre_notes(folder: Path, path: str, say: Callable[[str], None], patience: float = PATIENCE) -> dict[str, str]:
    """Return `client`, `stripe_count` and `layout`, those that `lctl` and `lfs` on the PATH `path` tell. Never fails.

    `say` is told why one that is there tells nothing. `patience` is in seconds.
    """
    notes: dict[str, str] = {}
    lctl, lfs = (process.find_program(name, path) for name in ("lctl", "lfs"))
    if lctl is not None:
        version = _VERSION.search(_asked([lctl, "get_param", "-n", "version"], say, patience))
        notes |= {"client": version[1]} if version is not None else {}
    if lfs is not None:
        parts = components(_asked([lfs, "getstripe", "-d", os.path.abspath(folder)], say, patience))
        if parts:
            notes["stripe_count"] = ", ".join(str(part.stripe_count) for part in parts)
            notes["layout"] = "; ".join(part.words for part in parts)
    return notes


def _asked(words: Sequence[str], say: Callable[[str], None], patience: float) -> str:
    """Return what a program prints, "" where it fails."""
    variables = {"PATH": process.CLEAN_PATH, "LC_ALL": "C"}
    try:
        return process.run(words, env=variables, cwd="/", timeout=patience).checked("asking Lustre's own program").output
    except CommandFailed as error:
        reason = error.what.splitlines()[-1].strip()
        say(f"{os.path.basename(words[0])} {words[1]} tells nothing here: {reason}")
        return ""
