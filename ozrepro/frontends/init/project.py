"""Looks at the files of the project: requirements, its own packaging, containers, the program to run."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ozrepro.frontends.init import Files
from ozrepro.frontends.init.packaging import look_at_packaging
from ozrepro.frontends.init.requirementfile import read_file
from ozrepro.project.files import SMALL, text_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

REQUIREMENTS = "requirements.txt"

_NOT_READ = {
    "uv.lock": "its versions are not taken; to keep them: uv export --no-emit-project -o requirements.txt, before ozrepro init",
    "poetry.lock": "its versions are not taken; to keep them: poetry export -o requirements.txt, before ozrepro init",
    "pdm.lock": "its versions are not taken; to keep them: pdm export -o requirements.txt, before ozrepro init",
    "pixi.lock": "its versions are not taken; ozrepro lock NAME --from pixi.lock takes them into [conda]",
    "conda-lock.yml": "its versions are not taken; ozrepro lock NAME --from conda-lock.yml takes them into [conda]",
    "pylock.toml": "its versions are not taken; ozrepro lock NAME --from pylock.toml takes them",
    "Pipfile": "its packages are not taken: pipenv requirements > requirements.txt, before ozrepro init",
}
"""Files of other tools that are not read, and what a user may do about each."""

_NOT_READ_PATTERNS = (
    "requirements*.txt",
    "requirements*.in",
    "*-requirements.txt",
    "requirements/*.txt",
    "environment[-_]*.y*ml",
)
_BASE = re.compile(r"^\s*From\s*:\s*(\S+)", re.IGNORECASE | re.MULTILINE)
_NVIDIA = re.compile(r"cuda|nvidia|nvcr\.io", re.IGNORECASE)


def look_at_files(root: Path, name: str) -> tuple[Files, list[str], Mapping[str, Any]]:
    """Return what the project has for a session of this name, what to say of it, and `[tool]` of its pyproject.toml."""
    packaging, tool = look_at_packaging(root)
    file = read_file(root, REQUIREMENTS) if (root / REQUIREMENTS).is_file() else None
    if file is not None:
        packaging.add(file)
    definitions, images = _below(root, name, ".def"), _below(root, name, ".sif")
    chosen, rest = (definitions[:1], [*definitions[1:], *images]) if definitions else (images[:1], images[1:])
    notes = [f"{other} is left out: a session has one container, here {chosen[0]}" for other in rest]
    script = next((path for path in (f"sessions/{name}.py", f"{name}.py") if (root / path).is_file()), "")
    files = Files(
        requirements=tuple(dict.fromkeys(packaging.requirements)),
        named=frozenset(packaging.named),
        definition=chosen[0] if definitions else "",
        image=chosen[0] if images and not definitions else "",
        script=script,
        gpu=_gpu(root / chosen[0]) if definitions else "",
        python=packaging.python,
        left=tuple(packaging.left),
        offers=tuple(packaging.offers),
    )
    return files, [*notes, *_not_read(root, files)], tool


def _not_read(root: Path, files: Files) -> list[str]:
    """Return a line for each file that names packages and is not read."""
    notes = [f"{name}: {advice}" for name, advice in _NOT_READ.items() if (root / name).is_file()]
    read = {REQUIREMENTS, *(line[3:] for line in files.requirements if line.startswith(("-r ", "-c ")))}
    paths = sorted(
        {str(path.relative_to(root)) for pattern in _NOT_READ_PATTERNS for path in root.glob(pattern) if path.is_file()}
    )
    for path in paths:
        if path not in read and not any(line.startswith(f"{path} ") for line in files.left):
            advice = f'to take it, add "-r {path}" to requirements' if path.endswith(".txt") else "it is left to you"
            notes.append(f"{path} is not read: {advice}")
    return notes


def _gpu(path: Path) -> str:
    """Return "nvidia" for a definition whose base is made for its GPUs, "amd" for one of ROCm, else ""."""
    try:
        bases = _BASE.findall(text_of(path, SMALL))
    except OSError:
        return ""
    if any(_NVIDIA.search(base) for base in bases):
        return "nvidia"
    return "amd" if any("rocm" in base.lower() for base in bases) else ""


def _below(root: Path, name: str, suffix: str) -> list[str]:
    """Return the files with this ending in the project and in its `sessions`, that of the session's name first."""
    found = [*root.glob(f"*{suffix}"), *(root / "sessions").glob(f"*{suffix}")]
    paths = [path.relative_to(root) for path in found if path.is_file()]
    return [str(path) for path in sorted(paths, key=lambda path: (path.stem != name, path))]
