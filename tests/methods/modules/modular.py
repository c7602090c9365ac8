"""A project on the test site: what the tests of the modules method start from."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tests.conftest import Project

if TYPE_CHECKING:
    from tests.fake_cluster import Site

SPEC = """imports = ["numpy", "alpha"]
methods = ["modules", "venv"]

[modules]
load = [{load}]
[modules.venv]
system-site-packages = true
requirements = ["alpha"]

[venv]
requirements = ["alpha"]
"""
NO_VENV = """imports = [{imports}]

[modules]
load = [{load}]
{more}
"""


def quoted(*names: str) -> str:
    """Return names as the inside of a TOML array."""
    return ", ".join(f'"{name}"' for name in names)


@dataclass(frozen=True)
class Modular:
    """A project whose user has the site's Lmod and module directories, as a login shell gives them."""

    project: Project
    site: Site

    @property
    def scientific(self) -> str:
        """The bundle with numpy, below gcc and openmpi."""
        return self.site.names["python-scientific"]

    def spec(self, *load: str, imports: tuple[str, ...] = (), more: str = "", name: str = "work") -> None:
        """Describe a session of the modules method alone."""
        self.project.spec(NO_VENV.format(load=quoted(*load), imports=quoted(*imports), more=more), name)

    def logged(self) -> tuple[Modular, Path]:
        """Give the same with an Lmod that writes each of its calls into a file before it does its work."""
        folder = self.project.root.parent / "lmod" / "libexec"
        folder.mkdir(parents=True)
        log = folder.parent / "calls"
        real = Path(self.site.lmod_cmd).parent
        (folder / "Version.lua").symlink_to(real / "Version.lua")
        for name in ("lmod", "spider"):
            words = shlex.join((str(real / name),))
            script = f'#!/bin/sh\nprintf "%s\\n" "{name} $*" >>{shlex.quote(str(log))}\nexec {words} "$@"\n'
            (folder / name).write_text(script)
            (folder / name).chmod(0o755)
        log.touch()
        environ = {**self.project.environ, "LMOD_CMD": str(folder / "lmod")}
        return replace(self, project=replace(self.project, environ=environ)), log

    def without_lmod(self) -> Project:
        """Give the project to a user on whose machine no Lmod can be called any more: its command is another name."""
        return replace(self.project, environ={**self.project.environ, "LMOD_CMD": ":"})

    def variables(self, *words: str, **more: str) -> dict[str, str]:
        """Return the variables that a program of the session gets."""
        said = self.project.done(*(words or ("run", "work")), "--", "env", "-0", **more)
        return dict(entry.partition("=")[::2] for entry in said.split("\0") if entry)


def modular(project: Project, site: Site, *trees: str) -> Modular:
    """Return a project on the site's trees, the OzSTAR-shaped one without any.

    Its platform has a name, as a cluster's should: a virtual machine may be moved to another processor while tests run.
    """
    environ = {**project.environ, "LMOD_CMD": site.lmod_cmd, "MODULEPATH": site.modulepath(*trees), "OZREPRO_PLATFORM": "site"}
    return Modular(replace(project, environ=environ), site)


def calls(log: Path) -> list[str]:
    """Return what each call of Lmod was for: `spider`, `is-avail`, `load`."""
    found: list[str] = []
    for line in log.read_text().splitlines():
        program, *words = line.split()
        found.append("spider" if program == "spider" else words[1])
    return found


def edit(path: str | os.PathLike[str], more: str) -> None:
    """Append a line to a file."""
    with open(path, "a", encoding="utf-8") as stream:
        stream.write(f"{more}\n")
