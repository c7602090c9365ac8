"""A small real supercomputer software site: Lmod, EasyBuild's foss-2022a, and OzSTAR's names over a real Python.

`make` builds it, the value `Site` says what is in it, and `fixtures` gives it to tests. Standard library only.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

DESCRIPTION = "site.json"
STRICT = {
    "LMOD_AUTO_SWAP": "no",
    "LMOD_COLORIZE": "no",
    "LMOD_DISABLE_SAME_NAME_AUTOSWAP": "yes",
    "LMOD_EXTENDED_DEFAULT": "no",
    "LMOD_IGNORE_CACHE": "yes",
    "LMOD_PAGER": "none",
    "LMOD_REDIRECT": "no",
    "LMOD_TERM_WIDTH": "120",
    "LMOD_TERSE_DECORATIONS": "no",
}
BASE_PATH = "/usr/local/bin:/usr/bin:/bin"


class SiteUnavailable(Exception):
    """The site cannot be made on this machine; the message is the reason to show."""


@dataclass(frozen=True)
class Site:
    """What a made site offers, and how to ask its Lmod."""

    prefix: Path
    digest: str
    """Of the scripts that made it and of what they found on the machine."""
    lmod_cmd: str
    spider: str
    """Lmod's program that prints the index."""
    lmod_version: str
    python: str
    """The interpreter behind `python/VERSION`."""
    python_version: str
    roots: Mapping[str, str] = field(hash=False)
    """The module trees by name: easybuild, ozstar, odd, overlay."""
    names: Mapping[str, str] = field(hash=False)
    """Full module names by a short one: the versions are the true ones, so they differ between machines."""
    packages: Mapping[str, Mapping[str, str]] = field(hash=False)
    """What is really installed: distributions and versions by module."""

    def as_dict(self) -> dict[str, Any]:
        """Return the description as written to site.json."""
        return {**asdict(self), "prefix": str(self.prefix)}

    def modulepath(self, *trees: str) -> str:
        """Return MODULEPATH for these trees, or for the OzSTAR-shaped one."""
        return ":".join(self.roots[tree] for tree in trees or ("ozstar",))

    def environ(self, *trees: str, **more: str) -> dict[str, str]:
        """Return all that Lmod needs to be asked: nothing of the caller's environment, and no flag."""
        return {"PATH": BASE_PATH, "LANG": "C.UTF-8", "LMOD_CMD": self.lmod_cmd, "MODULEPATH": self.modulepath(*trees), **more}

    def lmod(
        self,
        *words: str,
        trees: tuple[str, ...] = (),
        shell: str = "python",
        strict: bool = False,
        environ: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Ask Lmod and return what it said, decoded as the os module decodes: `site.lmod("load", "gcc/11.3.0")`."""
        flags = STRICT if strict else {}
        return self.run([self.lmod_cmd, shell, *words], {**self.environ(*trees), **flags, **(environ or {})})

    def index(self, *trees: str) -> dict[str, Any]:
        """Return the site's whole index, as Lmod's spider gives it: its last line, for modulefiles may print before."""
        said = self.run([self.spider, "-o", "spider-json", self.modulepath(*trees)], self.environ(*trees)).stdout
        found: dict[str, Any] = json.loads(said.splitlines()[-1])
        return found

    def bash(self, script: str, *trees: str, user: int | None = None, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a script in a bash that has the real `module` function, as a user's terminal has; `user` needs root."""
        setup = f'. "{Path(self.lmod_cmd).parents[1]}/init/bash"\n'
        who = [] if user is None else ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
        command = [*who, "bash", "--noprofile", "--norc", "-c", setup + script]
        return self.run(command, self.environ(*trees, **more))

    @staticmethod
    def run(command: list[str], environ: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """Run a command in exactly this environment."""
        return subprocess.run(
            command, env=environ, cwd="/", capture_output=True, encoding="utf-8", errors="surrogateescape", check=False
        )


def load_site(prefix: str | os.PathLike[str]) -> Site:
    """Read a made site's description; one that was never finished has none."""
    path = Path(prefix) / DESCRIPTION
    try:
        return Site(**{**json.loads(path.read_text(encoding="utf-8")), "prefix": Path(prefix)})
    except (OSError, ValueError, TypeError) as error:
        raise SiteUnavailable(f"{prefix} is not a finished test site: {error}") from error
