"""Calls uv: the one that ozrepro depends on, in a clean environment, with the caller's indexes."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ozrepro import process
from ozrepro.environment import BASE_PATH
from ozrepro.errors import CommandFailed, without_login
from ozrepro.python.advice import hint_for, is_of_network, of_the_files
from ozrepro.python.indexes import STRATEGY, Indexes, base_variables, find_indexes
from ozrepro.store import caches, failed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ozrepro.project.settings import Settings

    Progress = Callable[[str, int, int], None]

_NOISE = re.compile(
    r"^\s*(Using (Python|CPython|PyPy)|Resolved (\d|in )|Prepared \d|Downloading |Downloaded "
    r"|warning: (A managed Python|The requested Python version|No dependencies found in))"
)
"""What is said of every call. The Python of `--python-version` is the oldest that the lock serves, and need not be there."""
_DONE = re.compile(r"^\s*(Downloaded|Built) (\S+)")


@dataclass(frozen=True, slots=True)
class Uv:
    """A uv ready to be called: its path, its whole environment, and the indexes it is told of."""

    path: str
    variables: Mapping[str, str]
    indexes: Indexes

    @property
    def notes(self) -> Path:
        """The folder beside the cache in which stands what the files of each archive were when it was first installed."""
        return Path(self.variables["UV_CACHE_DIR"]).parent / "wheels"

    @property
    def links(self) -> bool:
        """Whether files of an environment are hard links to its cache."""
        return self.variables["UV_LINK_MODE"] == "hardlink"

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
    ) -> process.Finished:
        """Run one uv command and return what it printed.

        `doing` says in an error what was being done; `progress` is told how many of `total` files have come.
        Raises CommandFailed with uv's own words, logins in addresses removed; StoreError where it could not write its files.
        """
        finished = self._finish(arguments, text, cwd, variables, progress, total)
        return self._checked(self._with_hints(finished, arguments, text, cwd, variables), doing)

    def run_cached(
        self,
        arguments: Sequence[str],
        *,
        doing: str,
        text: str = "",
        variables: Mapping[str, str] | None = None,
        progress: Progress | None = None,
        total: int = 0,
        known: bool = True,
    ) -> process.Finished:
        """Run one uv command from the cache alone, and only when that lacks something with the network.

        uv asks the index again about what it has in its cache when ten minutes have passed; a file that is named by its hash
        needs no such question, and a node without network cannot ask it. Where it is not `known` that the cache has all, the
        network is asked first, and the cache alone where that cannot be reached. Raises CommandFailed as `run` does.
        """
        online = None
        if not known and not self.variables.get("UV_OFFLINE"):
            online = self._finish(arguments, text, None, variables, progress, total)
            # What was begun in another way is not tried again: uv takes a package that is half linked for a whole one.
            if online.status == 0 or self._is_full(online) or not is_of_network(online.errors):
                return self._checked(self._with_hints(online, arguments, text, None, variables), doing)
        cached = self._finish([*arguments, "--offline"], text, None, variables, progress, total)
        # What a full disk has cut short is left half installed, and a second call would take it for whole.
        if cached.status == 0 or self._is_full(cached) or self.variables.get("UV_OFFLINE"):
            return self._checked(cached, doing)
        finished = online or self._finish(arguments, text, None, variables, progress, total)
        if finished.status != 0 and "Hash mismatch" in cached.errors and "Hash mismatch" not in finished.errors:
            finished = cached
        return self._checked(self._with_hints(finished, arguments, text, None, variables), doing)

    def _is_full(self, finished: process.Finished) -> bool:
        return finished.status != 0 and of_the_files(finished.errors, self.variables["UV_CACHE_DIR"]) is not None

    def _with_hints(
        self,
        finished: process.Finished,
        arguments: Sequence[str],
        text: str,
        cwd: Path | None,
        variables: Mapping[str, str] | None,
    ) -> process.Finished:
        """Return what failed with the hints that uv has where it does not look into all indexes."""
        if finished.status == 0 or STRATEGY[0] not in arguments or "not found" not in finished.errors:
            return finished
        words = [word for word in arguments if word not in STRATEGY]
        told = self._finish(words, text, cwd, variables, None, 0).errors.splitlines()
        hints = [line for line in told if line.startswith("hint: ") and line not in finished.errors]
        return replace(finished, errors="\n".join((finished.errors, *hints)))

    def _checked(self, finished: process.Finished, doing: str) -> process.Finished:
        """Return what finished well. Raises StoreError where files could not be written, else CommandFailed."""
        target = next((word for word in reversed(finished.argv) if os.path.isabs(word)), "")
        found = of_the_files(finished.errors, self.variables["UV_CACHE_DIR"], target) if finished.status != 0 else None
        if found is None:
            return finished.checked(doing, hint=hint_for(finished.errors))
        raise failed(
            doing.removeprefix("cannot "),
            Path(found.path),
            OSError(found.number, os.strerror(found.number)),
            setting=found.setting,
        )

    def _finish(
        self,
        arguments: Sequence[str],
        text: str,
        cwd: Path | None,
        variables: Mapping[str, str] | None,
        progress: Progress | None,
        total: int,
    ) -> process.Finished:
        seen = 0

        def on_line(line: str) -> None:
            nonlocal seen
            done = _DONE.match(line)
            if done and progress is not None:
                seen += 1
                progress(f"{done[1].lower()} {done[2]}", seen, total)

        environment = {**self.variables, **(variables or {})}
        done = process.run([self.path, *arguments], env=environment, text=text, cwd=cwd, on_line=on_line)
        lines = (line for line in done.errors.splitlines() if not _NOISE.match(line))
        return replace(done, errors=without_login("\n".join(lines)))


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
        "UV_LINK_MODE": "hardlink" if caches.shares(settings, cache) else "copy",
        "UV_NO_CONFIG": "1",  # a uv.toml above the project or in HOME could install elsewhere, or other versions
        "UV_NO_PROGRESS": "1",
        "UV_PYTHON_DOWNLOADS": "never",
        "NO_COLOR": "1",
    }
    return Uv(os.path.abspath(path), variables, indexes)
