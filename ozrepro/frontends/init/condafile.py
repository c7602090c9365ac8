"""Reads the project's environment.yml: named whole where the conda method can take all of it, else entry by entry."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ozrepro.errors import SpecError
from ozrepro.frontends.init import Conda
from ozrepro.frontends.init.condapackages import CondaPackages
from ozrepro.methods.conda.environment_yml import read_environment
from ozrepro.methods.conda.yamlfile import Reader
from ozrepro.project.checking import shown
from ozrepro.project.files import text_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def look_at_file(root: Path, file: str) -> Conda:
    """Return what an environment file gives a spec."""
    try:
        text = text_of(root / file)
    except OSError as error:
        return Conda(left=(f"{file}: {error.strerror}",), is_project=True)
    try:
        read_environment(text, file, os.path.dirname(file))
        return Conda(file=file, is_project=True)
    except SpecError as error:
        problem = error.problems[0] if error.problems else error.what
    try:
        tree = Reader(text, file).tree
    except SpecError:
        tree = None
    if not isinstance(tree, dict):
        return Conda(left=(f"{file}: {problem}",), is_project=True)
    return _by_entry(tree, file)


def _by_entry(tree: Mapping[str, object], file: str) -> Conda:
    known = ("channels", "dependencies", "name", "prefix")
    taken = CondaPackages(file, left=[f"{file}: {shown(key)} is not taken" for key in tree if key not in known])
    for channel in _list(tree.get("channels")):
        taken.take_channel(channel)
    for item in _list(tree.get("dependencies")):
        if not isinstance(item, dict):
            taken.take(item)
            continue
        for text in _list(item.get("pip")):
            taken.pip.take(str(text), f"{file} pip")
        taken.left += [f"{file}: {shown(key)} is not taken" for key in item if key != "pip"]
    return taken.as_conda()


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
