"""Files of a project as a git revision has them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ozrepro import process

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def find_git(root: Path, environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the git on PATH, None where there is none outside of the project."""
    return process.find_program("git", environ.get("PATH", ""), outside=str(root))


def text_at(git: str, root: Path, revision: str, path: str) -> str | None:
    """Return a file's text in a revision, None where there is no such revision, or no such file in it.

    Args:
        git: the program.
        root: the project's folder.
        revision: any name that git knows; it must not begin with `-`.
        path: the file, from the project's folder.

    """
    # A repository's own configuration names programs; of those only transports could be asked for a missing object.
    words = [git, "-c", "safe.bareRepository=explicit", "-C", str(root), "cat-file", "blob", f"{revision}:./{path}"]
    done = process.run(words, env={**os.environ, "GIT_ALLOW_PROTOCOL": "", "GIT_NO_LAZY_FETCH": "1"})
    return done.output if done.status == 0 else None
