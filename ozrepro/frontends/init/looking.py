"""Looks at all that a first spec can be made of."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ozrepro.frontends.init import ENVIRONMENT_FILES, PIXI_FILE, Found
from ozrepro.frontends.init.project import look_at_files

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any

    from ozrepro.frontends.init import Conda, Loaded, Venv
    from ozrepro.site import Site


def look(site: Site, root: Path, name: str) -> Found:
    """Return what is there for a session of this name: in the caller's shell and in the project."""
    modules, of_modules = _modules(site, root)
    venv, of_venv = _venv(site.environ, root)
    conda, of_conda = _conda(site.environ, root)
    files, of_files, tool = look_at_files(root, name)
    pixi = _pixi(root, tool)
    if pixi is not None and (conda is None or not conda.is_project):
        of_conda = ["the pixi workspace is taken, not the active conda environment"] if conda is not None else []
        conda = pixi
    elif pixi is not None:
        of_conda.append(
            f"{PIXI_FILE if 'pixi' not in tool else 'tool.pixi of pyproject.toml'} is not read: environment.yml is taken"
        )
    if venv is not None and venv.has_project and "-e ." not in files.requirements:
        files = replace(files, requirements=("-e .", *files.requirements))
    return Found(modules, venv, conda, files, (*of_modules, *of_venv, *of_conda, *of_files))


# What reads modules, environments and pixi is loaded where there is a sign of them: the first result need not wait for it.


def _modules(site: Site, root: Path) -> tuple[Loaded | None, list[str]]:
    if not site.environ.get("LOADEDMODULES"):
        return None, []
    from ozrepro.frontends.init.shell import look_at_modules

    return look_at_modules(site, root)


def _venv(environ: Mapping[str, str], root: Path) -> tuple[Venv | None, list[str]]:
    if not environ.get("VIRTUAL_ENV"):
        return None, []
    from ozrepro.frontends.init.virtual import look_at_venv

    return look_at_venv(environ, root)


def _conda(environ: Mapping[str, str], root: Path) -> tuple[Conda | None, list[str]]:
    if not environ.get("CONDA_PREFIX") and not any((root / name).is_file() for name in ENVIRONMENT_FILES):
        return None, []
    from ozrepro.frontends.init.conda import look_at_conda

    return look_at_conda(environ, root)


def _pixi(root: Path, tool: Mapping[str, Any]) -> Conda | None:
    if "pixi" not in tool and not (root / PIXI_FILE).is_file():
        return None
    from ozrepro.frontends.init.pixi import look_at_pixi

    return look_at_pixi(root, tool)
