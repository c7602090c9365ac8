"""The project's state in git, by the caller's git: the commit, and the files that are not as in it."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from ozrepro import process
from ozrepro.pipeline.records.record import Git
from ozrepro.pipeline.revisions import find_git

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

_MOST = 100
"""Files that a record names; of a project with more of them it is said how many more."""

_PATIENCE = 60.0
"""Seconds that git may take: on a busy file system it looks at each file that it knows."""

_KEPT = re.compile(r"(HOME|XDG_CONFIG_HOME|GIT_CONFIG_.*)\Z")
"""Variables of the caller that say which repositories git trusts; one that names another repository is not among them."""

_SAFE = ("core.fsmonitor=false", f"core.hooksPath={os.devnull}", "safe.bareRepository=explicit")
_OBJECT = re.compile(r"[0-9a-f]{40,64}\Z")


def state_of(root: Path, run: Iterable[str], environ: Mapping[str, str]) -> Git | None:
    """Return the state of the project at `root`, None where it is in no repository, has no commit, or git is missing.

    Files that git does not know, and was not told to ignore, are named if they are among `run`, paths in the project. Raises
    CommandFailed where git cannot tell.
    """
    top = next((folder for folder in (root, *root.parents) if os.path.lexists(folder / ".git")), None)
    git = find_git(root, environ) if top is not None else None
    if top is None or git is None:
        return None
    variables = {name: value for name, value in environ.items() if _KEPT.match(name)}
    variables |= {"PATH": environ.get("PATH", ""), "LC_ALL": "C.UTF-8", "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}
    words = [git, *(word for setting in _SAFE for word in ("-c", setting)), "-C", str(root)]

    def ask(*more: str) -> process.Finished:
        return process.run([*words, *more], env=variables, timeout=_PATIENCE)

    told = ask("status", "--porcelain=v2", "--branch", "-z", "--untracked-files=no").checked("asking git for the revision")
    revision, changed = _status(told.output.split("\0"))
    if not revision:
        return None
    asked = [f":(literal){path}" for path in dict.fromkeys(run) if os.path.isfile(root / path)]
    others = ask("ls-files", "-z", "--others", "--exclude-standard", "--", *asked) if asked else None
    unknown = others.output.split("\0") if others is not None and others.status == 0 else []  # else a file of a submodule
    paths = sorted({*(os.path.relpath(top / path, root) for path in changed), *filter(None, unknown)})
    return Git(revision, tuple(paths[:_MOST]), max(len(paths) - _MOST, 0))


def _status(entries: Sequence[str]) -> tuple[str, list[str]]:
    """Return the commit, "" where there is none yet, and the paths that differ from it (git-status(1), porcelain version 2).

    Paths are relative to the repository. An entry is a kind and so many fields, the last of which is the path; one that was
    renamed has the old path as an entry of its own.
    """
    revision, paths = "", []
    left = iter(entries)
    for entry in left:
        kind, _, rest = entry.partition(" ")
        if rest.startswith("branch.oid "):
            revision = rest.removeprefix("branch.oid ")
        elif kind in _FIELDS:
            paths.append(rest.split(" ", _FIELDS[kind])[-1])
            if kind == "2":
                paths.append(next(left, ""))
    return revision if _OBJECT.match(revision) else "", [path for path in paths if path]


_FIELDS = {"1": 7, "2": 8, "u": 9}
"""The fields between an entry's kind and its path."""
