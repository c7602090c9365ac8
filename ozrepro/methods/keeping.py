"""What of the machine's software an environment's file is to hold too, for every method that loads modules."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ozrepro.modulesystem.prefixes import prefixes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ozrepro.modulesystem.record import Record


@dataclass(frozen=True, slots=True)
class Kept:
    """Software of the machine that an environment's file is to hold too.

    Attributes:
        asked: what asks for it in the spec, such as `keep = "all"` of [modules].
        folders: the folders to hold, as the environment names them.
        named: all folders of software that the section names.
        digests: the sha256 of the machine's files that are locked, by path, in them and elsewhere.
        descriptions: those of them that say where software is, such as modulefiles.
        whole: whether programs need none of the machine's other software.

    """

    asked: str
    folders: tuple[str, ...]
    named: tuple[str, ...]
    digests: Mapping[str, str] = field(default_factory=dict)
    descriptions: tuple[str, ...] = ()
    whole: bool = False

    @property
    def without_effect(self) -> str:
        """What is said where the environment is a folder, which keeps nothing."""
        return f'{self.asked} has no effect on a folder; form = "file" in [tool.ozrepro] makes it a file'

    def covered(self, is_kept: Callable[[str], bool]) -> list[str]:
        """Return the locked files whose change no longer matters where some folders are kept.

        All of them where nothing else is needed, else the descriptions that name no software beyond. Raises OSError.
        """
        if self.whole:
            return sorted(self.digests)
        kept = [folder for folder in self.named if is_kept(folder)]
        other = [folder for folder in self.named if folder not in kept]
        texts = {path: Path(path).read_text(encoding="utf-8", errors="replace") for path in self.descriptions}
        return sorted(path for path, text in texts.items() if _names(text, kept) and not _names(text, other))


def _names(text: str, folders: Iterable[str]) -> bool:
    return any(re.search(rf"{re.escape(folder)}(?![^/\s\"':;)\]])", text) for folder in folders)


def kept_of(load: Record, asked: str, folders: tuple[str, ...], *, whole: bool) -> Kept:
    """Return that folders of a load's software are to be kept."""
    digests = {item.path: item.sha256 for item in (*load.prints, *load.files)}
    return Kept(asked, folders, prefixes(load), digests, tuple(item.path for item in load.prints), whole)
