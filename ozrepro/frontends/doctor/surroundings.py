"""What the checks may look at: the caller's variables, a home, the settings, the site, and the system's own programs."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ozrepro import process
from ozrepro.site import look_around

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ozrepro.process import Finished
    from ozrepro.project.settings import Settings
    from ozrepro.site import Site

LARGEST = 1 << 20
"""Bytes of a file in the home that are read."""

PATIENCE = 20.0
"""Seconds that a program of the system may take: a file server that does not answer must not hold the doctor."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where the doctor looks."""

    environ: Mapping[str, str]
    home: Path
    settings: Settings
    site: Site

    @property
    def is_project(self) -> bool:
        """Whether there is a project here, or only a folder in which the command was given."""
        return (self.settings.root / "sessions").is_dir()

    @property
    def path(self) -> str:
        """The caller's PATH and the further directories of the settings."""
        return ":".join((self.environ.get("PATH", ""), *self.settings.path))

    def is_in_home(self, path: str | os.PathLike[str]) -> bool:
        """Say whether something is inside the home, by its name or by what its name stands for."""
        homes = {str(self.home), os.path.realpath(self.home)} - {"/"}
        names = (os.path.abspath(path), os.path.realpath(path))
        return any(name == home or name.startswith(f"{home}/") for home in homes for name in names)

    def _is_the_site_s(self, path: str) -> bool:
        """Say whether a path lies neither in the home nor in the project: the doctor starts no program of theirs."""
        return not (self.is_in_home(path) or (self.is_project and process.is_inside(path, self.settings.root)))

    @property
    def site_folders(self) -> list[str]:
        """The folders of the PATH from which a program may be started."""
        return [folder for folder in process.safe_folders(self.path) if self._is_the_site_s(folder)]

    def program(self, name: str) -> str | None:
        """Return the first program of this name on PATH that lies neither in the home nor in the project, or None."""
        for folder in self.site_folders:
            found = process.find_program(name, folder)
            if found is not None and self._is_the_site_s(found):
                return found
        return None

    def ask(self, *words: str) -> Finished:
        """Run a program of the system, with nothing of the caller's variables, and return what it said.

        No home and no user's Python packages: a site's own tool may be a script, and it must run nothing of the user's.
        Raises CommandFailed when it cannot be started or takes too long.
        """
        env = {"PATH": ":".join(self.site_folders), "LC_ALL": "C", "HOME": "/nonexistent", "PYTHONNOUSERSITE": "1"}
        return process.run(words, env=env, cwd="/", timeout=PATIENCE)

    def short(self, text: str | os.PathLike[str]) -> str:
        """Return a text with the home's path as `~`: what is found is shown to others."""
        said = os.fspath(text)
        for home in sorted({str(self.home), os.path.realpath(self.home)} - {"/"}, key=len, reverse=True):
            said = re.sub(rf"(?<![\w.-]){re.escape(home.rstrip('/'))}(?![\w.-])", "~", said)
        return said

    def read(self, path: Path) -> str | None:
        """Return the beginning of a regular file as text, or None where there is none or it may not be read."""
        try:
            if not stat.S_ISREG(os.stat(path).st_mode):
                return None
            with open(path, encoding="utf-8", errors="replace") as stream:
                return stream.read(LARGEST)
        except OSError:
            return None


def surroundings(settings: Settings, environ: Mapping[str, str]) -> Surroundings:
    """Return the surroundings of the caller. Without HOME the home is the one that the system knows for this user."""
    home = environ.get("HOME") or os.path.expanduser("~")
    site = look_around(settings, environ).for_looking()
    return Surroundings(environ, Path(os.path.abspath(home)), site.settings, site)
