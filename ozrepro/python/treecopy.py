"""A copy of a project's folder for its build backend: what that writes, it writes there.

Backends leave egg-info, `_version.py` and objects beside the sources, when they are only asked too. Those that take the version
from git find it: the copy has a repository of its own, which borrows the objects of the project's.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ozrepro import process
from ozrepro.errors import BuildError
from ozrepro.faststart.ready import STORE_NAME
from ozrepro.project.formatting import size_words

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

LARGEST = 64 << 20
"""Bytes of a file that git does not track and that is copied: a larger one is data."""

MOST = 1 << 30
"""Bytes of all that is copied of a folder that is in no git repository."""

_NATIVE = (
    *(".c", ".cc", ".cpp", ".cxx", ".cu", ".f", ".f90", ".f95", ".for", ".F", ".F90", ".h", ".hh", ".hpp", ".pxd", ".pyx"),
    *(".rs", ".swg", ".i"),
)
_NATIVE_BUILD = frozenset(("CMakeLists.txt", "Cargo.lock", "Cargo.toml", "meson.build", "meson.options", "meson_options.txt"))
_LEFT_OUT = frozenset(("__pycache__", "build", "dist", "node_modules", "venv"))


@contextmanager
def copy_of(root: Path, environ: Mapping[str, str]) -> Iterator[Path]:
    """Give a copy of the project at `root`, which is removed afterwards. Raises BuildError, CommandFailed.

    In a git repository it has the files that git tracks and those that it would, else all but hidden folders, environments and
    files of more than 64 MiB. `environ` is the caller's, for git.
    """
    with tempfile.TemporaryDirectory(prefix="ozrepro-") as name:
        base = Path(os.path.realpath(name))
        git = _Git.at(root, environ)
        if git is None:
            copy = base / "project" / (root.name or "project")
            copy.mkdir(parents=True)
            _copy(root, copy, list(_walk(root)), most=MOST)
        else:
            top = base / "project" / git.top.name
            copy = top / git.prefix
            copy.mkdir(parents=True)
            tracked = git.lines("ls-files", "-z", "--cached", "--recurse-submodules")
            others = git.lines("ls-files", "-z", "--others", "--exclude-standard")
            _copy(root, copy, tracked)
            _copy(root, copy, [path for path in others if _is_source(root, path)])
            git.borrow(top)
        yield copy


def native_sources(tree: Path) -> list[str]:
    """Return the files of a copied project that are compiled or say how, from the project's folder."""
    found = [path for path in _walk(tree) if _is_native(path)]
    if not any(path.endswith(_NATIVE) for path in found):
        return []
    return sorted({*found, *(name for name in ("setup.py", "setup.cfg") if (tree / name).is_file())})


def _is_native(path: str) -> bool:
    return path.endswith(_NATIVE) or os.path.basename(path) in _NATIVE_BUILD


def beside(root: Path, sources: Collection[str]) -> list[str]:
    """Return these sources with those that are in the same folders now, from `root`."""
    found = set(sources)
    for folder in {os.path.dirname(path) for path in sources}:
        with suppress(OSError):
            found.update(os.path.join(folder, name) for name in os.listdir(root / folder) if _is_native(name))
    return sorted(found)


def _is_source(root: Path, path: str) -> bool:
    with suppress(OSError):
        return not path.startswith(f"{STORE_NAME}/") and os.lstat(root / path).st_size <= LARGEST
    return False


def _walk(root: Path) -> Iterator[str]:
    """Yield the paths of a folder's files, from the folder; those that are no source of a project are passed over."""
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not _passed_over(Path(folder), name))
        for name in sorted(names):
            path = os.path.relpath(os.path.join(folder, name), root)
            if _is_source(root, path):
                yield path


def _passed_over(folder: Path, name: str) -> bool:
    hidden = name.startswith(".") and name not in (".git", ".hg")
    environment = any((folder / name / file).exists() for file in ("pyvenv.cfg", "conda-meta"))
    return hidden or name in _LEFT_OUT or environment


def _copy(root: Path, copy: Path, paths: Sequence[str], most: int = 0) -> None:
    size = 0
    for path in paths:
        source, target = root / path, copy / path
        try:
            found = os.lstat(source)
        except OSError:
            continue  # tracked, and removed in the folder
        if os.path.isdir(source) and not os.path.islink(source):
            continue  # a submodule
        size += found.st_size
        if most and size > most:
            raise BuildError(
                f"has more than {size_words(most)} of files, too much to be copied for its build backend",
                where=str(root),
                hint="put the project under git and its data into .gitignore: only what git would track is copied",
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copy2(source, target, follow_symlinks=False)
        except OSError as error:
            raise BuildError(f"cannot be copied for its build backend: {error.strerror}", where=str(source)) from error


class _Git:
    """git in the repository that a folder belongs to; it writes nothing there and starts none of its programs."""

    def __init__(self, program: str, root: Path, environ: Mapping[str, str]) -> None:
        self._program, self._root = program, root
        kept = {name: environ[name] for name in ("HOME", "PATH", "XDG_CONFIG_HOME") if name in environ}
        self._environ = {**kept, "GIT_OPTIONAL_LOCKS": "0", "LANG": "C.UTF-8"}
        self.top = root
        self.prefix = ""

    @classmethod
    def at(cls, root: Path, environ: Mapping[str, str]) -> _Git | None:
        """Return git for a folder that has something which a repository tracks, else None."""
        program = process.find_program("git", environ.get("PATH", ""), outside=str(root))
        if program is None:
            return None
        git = cls(program, root, environ)
        found = git._run(root, "rev-parse", "--show-toplevel", "--show-prefix")
        lines = found.output.splitlines()
        if found.status != 0 or not lines or not git.lines("ls-files", "-z", "--cached"):
            return None
        git.top, git.prefix = Path(lines[0]), lines[1].rstrip("/") if len(lines) > 1 else ""
        return git

    def _run(self, folder: Path, *words: str, text: str = "") -> process.Finished:
        safe = ("-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}")
        return process.run([self._program, *safe, *words], env=self._environ, cwd=folder, text=text)

    def _checked(self, folder: Path, *words: str, text: str = "") -> str:
        return self._run(folder, *words, text=text).checked(f"cannot copy {self.top.name} with its git history").output

    def lines(self, *words: str) -> list[str]:
        """Return the paths that a command of git prints, from the project's folder."""
        return [path for path in self._checked(self._root, *words).split("\0") if path]

    def borrow(self, copy: Path) -> None:
        """Make the copy a repository at the same commit and with the same branches and tags, the objects those of the original.

        What lies outside the project's folder is not copied, and is no change to git.
        """
        root = self._root
        found = self._run(root, "rev-parse", "--verify", "--quiet", "HEAD")
        head = found.output.strip() if found.status == 0 else ""
        kind = self._checked(root, "rev-parse", "--show-object-format").strip()
        self._checked(copy, "init", "--quiet", f"--object-format={kind}")
        if not head:
            return  # without a commit there is no history
        common = self._checked(root, "rev-parse", "--path-format=absolute", "--git-common-dir").strip()
        own = copy / ".git"
        (own / "objects" / "info").mkdir(parents=True, exist_ok=True)
        (own / "objects" / "info" / "alternates").write_text(f"{common}/objects\n", encoding="utf-8")
        with suppress(FileNotFoundError):
            shutil.copy2(f"{common}/shallow", own / "shallow")
        refs = self._checked(root, "for-each-ref", "--format=create %(refname) %(objectname)", "refs/heads", "refs/tags")
        self._checked(copy, "update-ref", "--stdin", text=refs)
        branch = self._run(root, "symbolic-ref", "--quiet", "HEAD").output.strip()
        if branch:
            self._checked(copy, "symbolic-ref", "HEAD", branch)
        else:
            self._checked(copy, "update-ref", "--no-deref", "HEAD", head)
        self._checked(copy, "read-tree", "HEAD")
        if self.prefix:
            paths = self._checked(copy, "ls-files", "-z").split("\0")
            outside = "".join(f"{path}\0" for path in paths if path and not path.startswith(f"{self.prefix}/"))
            self._checked(copy, "update-index", "-z", "--skip-worktree", "--stdin", text=outside)
