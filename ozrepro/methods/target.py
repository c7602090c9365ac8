"""Where an environment is built, and where its files are read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ozrepro.store.kept import place_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ozrepro.site import Site


@dataclass(frozen=True, slots=True)
class Target:
    """Where an environment is or will be built, on which machine, and where its files can be read now if that is elsewhere.

    `kept` are the paths of the machine's software that its file keeps, each with its place below it.
    """

    prefix: Path
    site: Site
    seen: Path | None = None
    kept: Mapping[str, str] = field(default_factory=dict)

    @property
    def files(self) -> Path:
        """The path by which this process reads the files of the built environment."""
        return self.seen or self.prefix

    def used(self, path: str) -> str:
        """Return the path by which this process reads the machine's file that programs of the environment use by `path`."""
        place = place_of(path, self.kept)
        return str(self.files / place) if place else path
