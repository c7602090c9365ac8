"""Calls uv: the one that ozrepro depends on, in a clean environment, with the caller's indexes."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ozrepro import process
from ozrepro.environment import BASE_PATH
from ozrepro.errors import CommandFailed
from ozrepro.pypi.indexes import Indexes, base_variables, find_indexes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ozrepro.settings import Settings

    Progress = Callable[[str, int, int], None]

_LOGIN = re.compile(r"(?<=://)[^/@\s]+@")
_DONE = re.compile(r"^\s*(Downloaded|Built) (\S+)")


@dataclass(frozen=True, slots=True)
class Uv:
    """A uv ready to be called: its path, its whole environment, and the indexes it is told of."""

    path: str
    variables: Mapping[str, str]
    indexes: Indexes

    def run(
        self,
        arguments: Sequence[str],
        *,
        doing: str,
        text: str = "",
        cwd: Path | None = None,
        variables: Mapping[str, str] | None = None,
        progress: Progress | None = None,
        total: int = 0,
        hint: str = "",
    ) -> process.Finished:
        """Run one uv command and return what it printed.

        `doing` says in an error what was being done; `progress` is told how many of `total` files have come.
        Raises CommandFailed with uv's own words, logins in addresses removed.
        """
        seen = 0

        def on_line(line: str) -> None:
            nonlocal seen
            done = _DONE.match(line)
            if done and progress is not None:
                seen += 1
                progress(f"{done[1].lower()} {done[2]}", seen, total)

        finished = process.run(
            [self.path, *arguments], env={**self.variables, **(variables or {})}, text=text, cwd=cwd, on_line=on_line
        )
        hidden = process.Finished(finished.argv, finished.status, finished.output, _LOGIN.sub("", finished.errors))
        return hidden.checked(doing, hint=hint)


def find_uv(settings: Settings, environ: Mapping[str, str], cache: Path) -> Uv:
    """Return the uv installed beside ozrepro. One planted earlier in PATH is never taken. Raises CommandFailed."""
    try:
        from uv import find_uv_bin

        path = find_uv_bin()
    except (ImportError, FileNotFoundError) as error:
        raise CommandFailed("uv is not installed beside ozrepro", hint="pip install uv") from error
    indexes = find_indexes(settings.root, settings.indexes, environ)
    variables = {
        **base_variables(environ),
        **indexes.variables(),
        "PATH": ":".join((*settings.path, *BASE_PATH)),
        "UV_CACHE_DIR": str(cache),
        "UV_NO_PROGRESS": "1",
        "UV_PYTHON_DOWNLOADS": "never",
        "NO_COLOR": "1",
    }
    return Uv(os.path.abspath(path), variables, indexes)


def cache_folder(settings: Settings, environ: Mapping[str, str]) -> Path:
    """Return where uv keeps downloaded files: a setting, uv's own variable, else the store.

    Not `~/.cache/uv`: a home on a cluster has a small quota, and a cache on the store's own file system can be hard-linked from.
    """
    if settings.cache is None and environ.get("UV_CACHE_DIR"):
        return Path(os.path.abspath(environ["UV_CACHE_DIR"]))
    return (settings.cache or settings.store / "cache") / "uv"
