"""Looks at the files of the project: requirements, its own packaging, containers, the program to run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from ozrepro.frontends.init import Files
from ozrepro.project.files import SMALL, text_of
from ozrepro.project.requirement import check_requirement_file
from ozrepro.project.toml import TOMLDecodeError, loads

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

REQUIREMENTS = "requirements.txt"


def look_at_files(root: Path, name: str) -> tuple[Files, list[str]]:
    """Return what the project has for a session of this name, and what to say of it."""
    lines, named, notes = _packaging(root)
    more, also, problems = _requirement_file(root)
    definitions, images = _below(root, name, ".def"), _below(root, name, ".sif")
    chosen, rest = (definitions[:1], [*definitions[1:], *images]) if definitions else (images[:1], images[1:])
    notes += [*problems, *(f"{other} is left out: a session has one container, here {chosen[0]}" for other in rest)]
    script = next((path for path in (f"sessions/{name}.py", f"{name}.py") if (root / path).is_file()), "")
    return (
        Files(
            requirements=(*lines, *more),
            named=frozenset((*named, *also)),
            definition=chosen[0] if definitions else "",
            image=chosen[0] if images and not definitions else "",
            script=script,
        ),
        notes,
    )


def _below(root: Path, name: str, suffix: str) -> list[str]:
    """Return the files with this ending in the project and in its `sessions`, that of the session's name first."""
    found = [*root.glob(f"*{suffix}"), *(root / "sessions").glob(f"*{suffix}")]
    paths = [path.relative_to(root) for path in found if path.is_file()]
    return [str(path) for path in sorted(paths, key=lambda path: (path.stem != name, path))]


def _packaging(root: Path) -> tuple[list[str], list[str], list[str]]:
    """Return the line for the project itself where its pyproject.toml has dependencies, and what that names."""
    path = root / "pyproject.toml"
    try:
        project = loads(text_of(path, SMALL)).get("project") if path.is_file() else None
    except (OSError, TOMLDecodeError) as error:
        return [], [], [f"pyproject.toml is passed over: {error}"]
    if not isinstance(project, dict) or not isinstance(project.get("name"), str):
        return [], [], []
    wanted, dynamic = project.get("dependencies"), project.get("dynamic")
    if not wanted and not (isinstance(dynamic, list) and "dependencies" in dynamic):
        return [], [], []
    texts = [text for text in wanted if isinstance(text, str)] if isinstance(wanted, list) else []
    return ["-e ."], [canonicalize_name(project["name"]), *_names(texts)], []


def _requirement_file(root: Path) -> tuple[list[str], list[str], list[str]]:
    path = root / REQUIREMENTS
    if not path.is_file():
        return [], [], []
    try:
        text = text_of(path)
    except OSError as error:
        return [], [], [f"{REQUIREMENTS} is passed over: {error.strerror}"]
    if mistakes := check_requirement_file(text):
        return [], [], [f"{REQUIREMENTS} is passed over: {line}" for line in mistakes]
    return [f"-r {REQUIREMENTS}"], _names(text.splitlines()), []


def _names(lines: Iterable[str]) -> list[str]:
    found: list[str] = []
    for line in lines:
        try:
            found.append(canonicalize_name(Requirement(line.partition(" #")[0].strip()).name))
        except (InvalidRequirement, RecursionError, ValueError):
            continue
    return found
