"""Looks at all that a first spec can be made of."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ozrepro.frontends.init import Found
from ozrepro.frontends.init.conda import look_at_conda
from ozrepro.frontends.init.pixi import FILE, look_at_pixi
from ozrepro.frontends.init.project import look_at_files
from ozrepro.frontends.init.shell import look_at_modules
from ozrepro.frontends.init.virtual import look_at_venv

if TYPE_CHECKING:
    from pathlib import Path

    from ozrepro.site import Site


def look(site: Site, root: Path, name: str) -> Found:
    """Return what is there for a session of this name: in the caller's shell and in the project."""
    modules, of_modules = look_at_modules(site, root)
    venv, of_venv = look_at_venv(site.environ, root)
    conda, of_conda = look_at_conda(site.environ, root)
    files, of_files, tool = look_at_files(root, name)
    pixi = look_at_pixi(root, tool)
    if pixi is not None and (conda is None or not conda.is_project):
        of_conda = ["the pixi workspace is taken, not the active conda environment"] if conda is not None else []
        conda = pixi
    elif pixi is not None:
        of_conda.append(f"{FILE if 'pixi' not in tool else 'tool.pixi of pyproject.toml'} is not read: environment.yml is taken")
    if venv is not None and venv.has_project and "-e ." not in files.requirements:
        files = replace(files, requirements=("-e .", *files.requirements))
    return Found(modules, venv, conda, files, (*of_modules, *of_venv, *of_conda, *of_files))
