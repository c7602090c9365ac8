"""Reads the project's environment.yml: named whole where the conda method can take all of it, else entry by entry."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from ozrepro.errors import SpecError
from ozrepro.frontends.init import Conda
from ozrepro.frontends.init.requirementfile import Taken
from ozrepro.methods.conda.channels import check_public
from ozrepro.methods.conda.environment_yml import read_environment
from ozrepro.methods.conda.matchspec import check_spec
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
    left = [f"{file}: {shown(key)} is not taken" for key in tree if key not in known]
    channels: list[str] = []
    dependencies: list[str] = []
    pip = Taken()
    for channel in _list(tree.get("channels")):
        problem = check_public(str(channel))
        (left if problem else channels).append(f"{file} channels: {problem}" if problem else str(channel))
    for item in _list(tree.get("dependencies")):
        if isinstance(item, dict):
            for text in _list(item.get("pip")):
                pip.take(str(text), f"{file} pip")
            left += [f"{file}: {shown(key)} is not taken" for key in item if key != "pip"]
            continue
        problem = check_spec(item) if isinstance(item, str) else f"{shown(item)} is not a package"
        (left if problem else dependencies).append(f"{file} dependencies: {problem}" if problem else str(item))
    found = next((match for text in dependencies if (match := re.match(r"python\s*[=>~]*\s*(3\.\d+)", text))), None)
    return Conda(
        channels=tuple(channels),
        dependencies=tuple(dependencies),
        versions=tuple(dependencies),
        requirements=tuple(pip.requirements),
        python=found[1] if found else "",
        left=(*left, *pip.left),
        is_project=True,
    )


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
