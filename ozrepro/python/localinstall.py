"""Installs the local projects into an environment in editable form: their code is that of the project's folder, as it is now.

What a build makes for it, such as compiled modules and `_version.py`, is made in a copy, see `treecopy`, and kept in the
environment, where a finder has Python look after the project's folder. A backend whose editable packages cannot be moved gives a
wheel, of which each file that is in the project's folder too is a link there.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import os
import re
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from packaging.utils import canonicalize_name

from ozrepro.errors import BuildError
from ozrepro.python.backend import read_build_system
from ozrepro.python.build_hashes import constraints
from ozrepro.python.compiled import build_wheel, building_variables
from ozrepro.python.install import site_packages
from ozrepro.python.treecopy import copy_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ozrepro.python.packages import LockedPackage, LockedProject
    from ozrepro.python.uv import Uv

_NATIVE = re.compile(r"\.(so(\.[0-9]+)*|dylib|pyd)\Z")
_FINDER = """# Finds the modules that the project's build has written: they are not in the project's folder.
import os
import sys

MODULES = {}


class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name not in MODULES:
            return None
        from importlib.util import spec_from_file_location

        return spec_from_file_location(name, os.path.join(os.path.dirname(__file__), MODULES[name]))


sys.meta_path.append(Finder)
"""

_LARGEST = 1 << 20
"""Bytes of a file in which a backend may have written where the project is."""


def install_projects(
    uv: Uv,
    prefix: Path,
    root: Path,
    projects: Sequence[LockedProject],
    build: Sequence[LockedPackage],
    environ: Mapping[str, str],
    variables: Mapping[str, str],
) -> None:
    """Install local projects of the folder `root`, without what they require. Raises BuildError, CommandFailed.

    `build` are the only packages that building may use, `environ` is the caller's, `variables` are those that compilers get.
    """
    if not projects:
        return
    with copy_of(root, environ) as copy:
        for project in projects:
            tree = copy / project.path
            if not tree.is_dir():
                raise BuildError("is not in the project: it is not copied with it", where=str(root / project.path))
            task = _Task(uv, prefix, tree, root / project.path, project.name, build, building_variables(uv, variables))
            if any(mark in str(task.place) for mark in "'\"\\\n") or read_build_system(tree)[1].startswith("mesonpy"):
                _install_wheel(task)
            else:
                _install_editable(task)


@dataclass(frozen=True, slots=True)
class _Task:
    """One project to install: its copy, `tree`, and its folder, `place`; `variables` are those of its build."""

    uv: Uv
    prefix: Path
    tree: Path
    place: Path
    name: str
    build: Sequence[LockedPackage]
    variables: Mapping[str, str]


def _install_editable(task: _Task) -> None:
    """Install a project as its backend makes it editable, its paths those of its own folder, with what the build has written."""
    tree, before = task.tree, set(_files(task.tree))
    with constraints(task.uv, task.build) as flags:
        words = ["pip", "install", "--python", str(task.prefix / "bin" / "python"), "--no-deps", "--no-sources"]
        words += [*task.uv.indexes.flags(), *flags, "-e", tree.as_uri()]
        task.uv.run_cached(words, doing="cannot install the project itself", variables=task.variables)
    info = _info(task.prefix, task.name)
    rows, site = _rows(info), info.parent
    roots = [tree]
    for row in rows:
        path = site / row[0]
        if path.is_file() and path.stat().st_size <= _LARGEST:
            content = path.read_bytes()
            if row[0].endswith(".pth"):
                roots += [Path(line) for line in content.decode("utf-8", "replace").splitlines() if line.startswith(str(tree))]
            now = content.replace(os.fsencode(tree), os.fsencode(task.place))
            now = now.replace(quote(str(tree)).encode(), quote(str(task.place)).encode())
            if now != content:
                _write(path, now)
                row[1:] = [_digest(now), str(len(now))] if row[1] else row[1:]
    modules: dict[str, str] = {}
    for path in sorted(map(Path, set(_files(tree)) - before)):
        top = _top(path, roots)
        inside = path.relative_to(top)
        if len(inside.parts) > 1 or _NATIVE.search(path.name):
            place = f"{_folder(task.name)}/{inside.as_posix()}"
            (site / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, site / place)
            rows.append(_row(site, place))
            modules[_module(inside)] = place
    _write_rows(info, [*rows, *_finder(site, task.name, modules)])


def _files(tree: Path) -> Iterator[str]:
    """Yield the files of a tree that may be imported, without those of a backend's own folder for a build."""
    for folder, folders, names in os.walk(tree):
        folders[:] = [name for name in folders if name not in (".git", "build", "__pycache__")]
        yield from (os.path.join(folder, name) for name in names if name.endswith(".py") or _NATIVE.search(name))


def _top(path: Path, roots: Sequence[Path]) -> Path:
    """Return the folder that a module's name counts from: one put into the search path, else that above its package."""
    above = [root for root in roots[1:] if root in path.parents]
    if above:
        return max(above, key=lambda root: len(root.parts))
    top = path.parent
    while top != roots[0] and (top / "__init__.py").is_file():
        top = top.parent
    return top


def _module(path: Path) -> str:
    """Return the name of the module in a file, such as `a.b` of a/b.cpython-312-x86_64-linux-gnu.so."""
    return ".".join((*path.parts[:-1], path.name.split(".")[0])).removesuffix(".__init__")


def _folder(name: str) -> str:
    return f"_ozrepro_{name.replace('-', '_').replace('.', '_')}"


def _finder(site: Path, name: str, modules: Mapping[str, str]) -> list[list[str]]:
    """Write what has Python find modules in these files where it finds them nowhere else; return the rows of RECORD for it."""
    if not modules:
        return []
    own = _folder(name)
    texts = {f"{own}_finder.py": _FINDER.replace("{}", repr(dict(modules))), f"{own}.pth": f"import {own}_finder\n"}
    for place, text in texts.items():
        (site / place).write_text(text, encoding="utf-8")
    return [_row(site, place) for place in texts]


def _install_wheel(task: _Task) -> None:
    """Install a project's wheel, with links to its sources in the project's folder."""
    python, tree = str(task.prefix / "bin" / "python"), task.tree
    sources = _sources(tree)
    with tempfile.TemporaryDirectory(prefix="ozrepro-") as folder:
        build_wheel(task.uv, tree, python, task.build, task.variables, Path(folder))
        wheels = [str(path) for path in Path(folder).glob("*.whl")]
        words = ["pip", "install", "--python", python, "--no-deps", "--no-index", *wheels]
        task.uv.run(words, doing="cannot install the project itself")
    info = _info(task.prefix, task.name)
    rows, site = _rows(info), info.parent
    modules: dict[str, str] = {}
    for row in rows:
        if ".dist-info/" in row[0] or row[0].startswith("../"):
            continue
        source = _same_source(site / row[0], row[0], sources, task)
        if source is not None:
            (site / row[0]).unlink()
            (site / row[0]).symlink_to(source)
            row[1:] = ["", ""]
        elif row[0].endswith(".py") or _NATIVE.search(row[0]):
            modules[_module(Path(row[0]))] = row[0]
    _write_rows(info, [*rows, *_finder(site, task.name, modules)])


def _sources(tree: Path) -> dict[str, list[str]]:
    """Return the files of a tree by their names."""
    found: dict[str, list[str]] = {}
    for folder, folders, names in os.walk(tree):
        folders[:] = [name for name in folders if name not in (".git", "build")]
        for name in names:
            found.setdefault(name, []).append(os.path.relpath(os.path.join(folder, name), tree))
    return found


def _same_source(path: Path, row: str, sources: Mapping[str, list[str]], task: _Task) -> Path | None:
    """Return the file of the project that an installed one was copied from: of that path or one that ends so, and the same."""
    for source in sorted(sources.get(os.path.basename(row), ()), key=len):
        if source == row or source.endswith(f"/{row}"):
            with suppress(OSError):
                content = path.read_bytes()
                if content == (task.tree / source).read_bytes() and content == (task.place / source).read_bytes():
                    return task.place / source
    return None


def _info(prefix: Path, name: str) -> Path:
    """Return the folder of an installed distribution's metadata. Raises BuildError."""
    for path in site_packages(prefix).glob("*.dist-info"):
        if canonicalize_name(path.name.removesuffix(".dist-info").partition("-")[0]) == name:
            return path
    raise BuildError(f"the project was to be {name}, and installs as another; its name has changed", hint="ozrepro lock")


def _rows(info: Path) -> list[list[str]]:
    return list(csv.reader(io.StringIO((info / "RECORD").read_text(encoding="utf-8"))))


def _write_rows(info: Path, rows: Sequence[Sequence[str]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    _write(info / "RECORD", text.getvalue().encode())


def _write(path: Path, content: bytes) -> None:
    """Write a file anew: it may be a link to one of uv's cache."""
    path.unlink()
    path.write_bytes(content)


def _row(site: Path, place: str) -> list[str]:
    content = (site / place).read_bytes()
    return [place, _digest(content), str(len(content))]


def _digest(content: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
